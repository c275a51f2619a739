/* PUBLISH from a client.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/handle.h"

#include "broker/alias.h"
#include "broker/auth.h"
#include "broker/listen.h"
#include "broker/route.h"
#include "broker/shed.h"

#include <string.h>

/* While the store can't be written, 5.0 publishers are refused from here on; 3.x ones are not read from. */
#define UNSTORED_MAX 1000

/* What the message needs besides its packet, allocated when the stack's share is too small. */
struct room {
    uint8_t small[512];
    uint8_t *large;
};

static uint8_t *room_get(struct room *r, size_t n)
{
    if (n <= sizeof r->small)
        return r->small;
    return r->large = mem_alloc(MEM_OTHER, n);
}

/* Answers QoS 1 and 2 with a refusal where the version can say it; a 3.x client gets its acknowledgement, because the
 * alternative is a client that sends the same again for ever. Nothing is remembered: sent again it is refused again. */
static enum reason refuse(struct broker *b, struct conn *c, const struct publish *p, enum reason why)
{
    if (p->qos == 0)
        return R_OK;
    if (c->receiving < UINT16_MAX)
        c->receiving++;
    conn_ack(b, c, p->qos == 1 ? PKT_PUBACK : PKT_PUBREC, p->packet_id, c->version == MQTT_50 ? why : R_OK, 0, NULL);
    return R_OK;
}

/* The topic behind an alias, or the alias for a topic [MQTT5-3.3.2-7..12]. */
static enum reason resolve_alias(struct broker *b, struct conn *c, struct publish *p)
{
    uint16_t alias = (uint16_t)props_num(&p->props, PROP_TOPIC_ALIAS, 0), max = c->listener->cfg->max_topic_alias;

    if (alias == 0)
        return R_OK;
    if (alias > max && alias > alias_in_max(c->rare->aliases_in))      /* a reload does not take back what was said */
        return R_TOPIC_ALIAS_INVALID;
    if (p->topic.len > 0 && shed(b, SHED_MESSAGES))
        return R_QUOTA_EXCEEDED;
    if (p->topic.len > 0)
        return conn_rare(c) != NULL && alias_in_set(&c->rare->aliases_in, max, alias, p->topic) ? R_OK : R_UNSPECIFIED;
    p->topic = alias_in_get(c->rare->aliases_in, alias);
    return p->topic.len > 0 ? R_OK : R_PROTOCOL_ERROR;
}

static enum reason check(const struct broker *b, const struct conn *c, const struct publish *p)
{
    if (p->props.subid_count > 0)                                       /* [MQTT5-3.3.4-6] */
        return R_PROTOCOL_ERROR;
    if (p->qos > c->listener->cfg->max_qos)
        return R_QOS_NOT_SUPPORTED;
    if (p->retain && !b->cfg->retain_available)
        return R_RETAIN_NOT_SUPPORTED;
    if (c->version == MQTT_50 && p->qos > 0 && c->receiving >= c->receive_max_in &&
        !(p->qos == 2 && idset_has(&c->session->flow->inbound, p->packet_id)))
        return R_RECEIVE_MAX_EXCEEDED;                                  /* [MQTT5-3.3.4-9] */
    return R_OK;
}

static struct view mounted(const struct conn *c, struct view topic, struct room *r)
{
    size_t n = c->listener->mount_len;
    uint8_t *at;

    if (n == 0)
        return topic;
    if (n + topic.len > UINT16_MAX || (at = room_get(r, n + topic.len)) == NULL)
        return (struct view){ NULL, 0 };
    memcpy(at, c->listener->cfg->mount_point, n);
    memcpy(at + n, topic.p, topic.len);
    return (struct view){ at, n + topic.len };
}

static struct view forwarded(const struct conn *c, const struct publish *p, struct room *r)
{
    size_t n = c->version == MQTT_50 && p->props.raw.len > 0 ? props_forward_size(&p->props) : 0;
    uint8_t *at = n > 0 ? room_get(r, n) : NULL;
    struct writer w;

    if (at == NULL)
        return (struct view){ NULL, 0 };
    w = wr_make(at, n);
    props_forward(&p->props, &w);
    return (struct view){ at, n };
}

/* Routed: now the publisher's acknowledgement. */
static void acknowledge(struct broker *b, struct conn *c, const struct publish *p, struct incoming *in, uint64_t seq,
                        enum reason reason)
{
    struct session *s = c->session;

    if (p->qos == 0)
        return;
    if (c->receiving < UINT16_MAX)
        c->receiving++;
    if (p->qos == 1) {
        conn_ack(b, c, PKT_PUBACK, p->packet_id, reason, seq, in->msg);
        return;
    }
    if (s->durable) {
        journal_inbound_put(b, s, p->packet_id);
        seq = session_promise(b, s);
    } else if (in->msg != NULL && in->msg->ticket != NULL) {
        seq = journal_next(b);
    }
    conn_ack(b, c, PKT_PUBREC, p->packet_id, reason, seq, NULL);
}

static enum reason route(struct broker *b, struct conn *c, struct publish *p, struct view topic, struct view props)
{
    struct incoming in = {
        .topic = topic, .payload = p->payload, .props = props, .qos = p->qos, .retain = p->retain,
        .received_ms = (int64_t)b->now_ms, .from = c->session->ident, .origin = c->session,
    };
    unsigned recipients;
    uint64_t seq;
    bool ok;

    if (props_has(&p->props, PROP_MESSAGE_EXPIRY))
        in.expires_ms = b->now_ms + (uint64_t)props_num(&p->props, PROP_MESSAGE_EXPIRY, 0) * 1000;
    if (p->qos == 2 && !session_inbound(c->session, p->packet_id))
        return R_UNSPECIFIED;
    seq = route_publish(b, &in, &recipients, &ok);
    if (ok)
        acknowledge(b, c, p, &in, seq, recipients > 0 || c->version < MQTT_50 ? R_OK : R_NO_MATCHING_SUBSCRIBERS);
    else if (p->qos == 2)               /* it must come again, and be taken for new */
        idset_remove(&c->session->flow->inbound, p->packet_id);
    incoming_done(&in);
    if (p->qos > 0 && journal_failing(&b->journal) && !c->paused)
        conn_pause(b, c, true);
    return ok ? R_OK : R_UNSPECIFIED;
}

/* Would it make the retained messages take more, while memory is short? */
static bool too_much_to_retain(struct broker *b, const struct publish *p, struct view topic)
{
    const struct retained *old;

    if (!p->retain || p->payload.len == 0 || !shed(b, SHED_RETAINED))
        return false;
    old = retain_find(b, topic);
    return old == NULL || old->bytes < topic.len + p->payload.len;
}

static enum reason publish(struct broker *b, struct conn *c, struct publish *p, struct room *topic_room)
{
    struct room props_room = { .large = NULL };
    struct view topic = mounted(c, p->topic, topic_room), props;
    enum reason r;

    if (topic.len == 0 || topic_levels(topic) > b->cfg->max_topic_levels)
        return R_TOPIC_INVALID;
    if (!auth_allowed(b, c->session, ACCESS_WRITE, topic))
        return refuse(b, c, p, R_NOT_AUTHORIZED);
    if (p->qos > 0 && c->version == MQTT_50 && journal_failing(&b->journal) && b->journal.unstored > UNSTORED_MAX)
        return refuse(b, c, p, R_QUOTA_EXCEEDED);
    if (too_much_to_retain(b, p, topic)) {
        if (p->qos > 0)             /* 3.x can't be told, and an acknowledgement would be a lie */
            return c->version == MQTT_50 ? refuse(b, c, p, R_QUOTA_EXCEEDED) : R_QUOTA_EXCEEDED;
        p->retain = false;
    }
    props = forwarded(c, p, &props_room);
    if (props.p == NULL && p->props.raw.len > 0 && props_forward_size(&p->props) > 0)
        return R_UNSPECIFIED;
    r = route(b, c, p, topic, props);
    mem_free(MEM_OTHER, props_room.large);
    return r;
}

enum reason handle_publish(struct broker *b, struct conn *c, const struct frame *f)
{
    struct room room = { .large = NULL };
    struct publish p;
    enum reason r = publish_decode(f->head, f->body, (enum version)c->version, &p);

    METRIC(b, PUBLISH_RECEIVED)++;
    if (r != R_OK && !(r == R_PAYLOAD_FORMAT_INVALID && p.qos > 0))
        return r;
    METRIC(b, PUBLISH_BYTES_RECEIVED) += p.payload.len;
    if (r == R_PAYLOAD_FORMAT_INVALID)
        return refuse(b, c, &p, r);
    r = check(b, c, &p);
    if (r == R_OK && c->version == MQTT_50)
        r = resolve_alias(b, c, &p);
    if (r != R_OK)
        return r;
    if (p.qos == 2 && idset_has(&c->session->flow->inbound, p.packet_id)) {
        /* Sent again: it was routed already [MQTT-4.3.3-2], [MQTT5-4.3.3-10]. */
        conn_ack(b, c, PKT_PUBREC, p.packet_id, R_OK, c->session->promise_seq, NULL);
        return R_OK;
    }
    r = publish(b, c, &p, &room);
    mem_free(MEM_OTHER, room.large);
    return r;
}
