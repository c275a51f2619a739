/* From a message to its recipients, and from there to bytes.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/route.h"

#include "broker/alias.h"
#include "broker/auth.h"
#include "broker/listen.h"

#include <string.h>

uint64_t route_publish(struct broker *b, struct incoming *in, unsigned *recipients, bool *ok)
{
    struct matches *m = &b->matches;
    uint64_t seq = 0;

    *ok = true;
    if (in->retain)
        seq = retain_set(b, in, ok);
    subs_match(&b->subs, in->topic, in->origin, !b->cfg->allow_duplicate_messages, m);
    memset(b->encoded->len, 0, sizeof b->encoded->len);
    in->encoded = b->encoded;
    *recipients = 0;
    for (uint32_t i = 0; i < m->n; i++) {
        const struct match *to = &m->v[i];
        uint8_t qos = b->cfg->upgrade_outgoing_qos || to->qos < in->qos ? to->qos : in->qos;

        if (!auth_may_read(to->s, in->topic))
            continue;
        (*recipients)++;
        session_deliver(b, to->s, in, qos, to->retain_as_published && in->retain, matches_subids(m, to), to->share);
    }
    *ok &= !m->no_memory && !in->no_memory;
    return seq;
}

/* ---- encoding ---- */

/* Seconds left, rounded up: it is not over before its time. */
static uint32_t expiry_left_s(const struct broker *b, uint64_t expires_ms)
{
    uint64_t left = expires_ms > b->now_ms ? (expires_ms - b->now_ms + 999) / 1000 : 0;

    return left < UINT32_MAX ? (uint32_t)left : UINT32_MAX;
}

static void count_sent(struct broker *b, size_t payload_len)
{
    METRIC(b, MESSAGES_SENT)++;
    METRIC(b, PUBLISH_SENT)++;
    METRIC(b, PUBLISH_BYTES_SENT) += payload_len;
}

/* The slot for a packet that other connections may get byte for byte, NULL: this one is special. */
static uint8_t *encoded_slot(const struct conn *c, const struct send *p, uint16_t **len)
{
    unsigned i = (c->version == MQTT_50 ? 2u : 0u) | (p->retain ? 1u : 0u);

    if (p->encoded == NULL || p->qos > 0 || p->subids.len > 0 || c->alias_out_max > 0 || c->listener->mount_len > 0)
        return NULL;
    *len = &p->encoded->len[i];
    return p->encoded->bytes[i];
}

static bool send_copy(struct broker *b, struct conn *c, const uint8_t *bytes, size_t n, size_t payload_len)
{
    uint8_t *at;

    if (n > c->max_packet)
        return false;
    at = conn_room(b, c, n);
    if (at == NULL)
        return false;
    memcpy(at, bytes, n);
    count_sent(b, payload_len);
    return true;
}

/* Writes the 5.0 properties that the broker adds. */
static struct view extra_props(struct broker *b, struct conn *c, const struct send *p, bool with_alias,
                               struct publish_out *o, uint8_t *buf, size_t cap)
{
    struct writer w = wr_make(buf, cap);

    if (with_alias && conn_rare(c) != NULL) {
        bool known;
        uint16_t alias = alias_out_use(&c->rare->aliases_out, c->alias_out_max, o->topic, &known);

        if (alias != 0) {
            props_write_num(&w, PROP_TOPIC_ALIAS, alias);
            if (known)
                o->topic.len = 0;
        }
    }
    if (p->expires_ms != 0)
        props_write_num(&w, PROP_MESSAGE_EXPIRY, expiry_left_s(b, p->expires_ms));
    wr_view(&w, p->subids);
    return (struct view){ buf, (size_t)(w.p - buf) };
}

static bool send_encoded(struct broker *b, struct conn *c, const struct send *p, struct publish_out *o)
{
    bool by_reference = p->msg != NULL && p->payload.len >= OUTQ_BY_REFERENCE;
    size_t head = publish_head_size(o), n = publish_size(o);
    uint8_t *slot, *at;
    uint16_t *slot_len = NULL;
    struct writer w;

    if (n == 0 || n > c->max_packet)
        return false;
    at = conn_room(b, c, by_reference ? head : n);
    if (at == NULL)
        return false;
    w = wr_make(at, head);
    publish_head_encode(o, &w);
    if (by_reference) {
        if (!outq_payload(&c->out, p->msg)) {
            conn_close(b, c, CLOSE_NO_MEMORY);
            return false;
        }
    } else if (p->payload.len > 0) {
        memcpy(at + head, p->payload.p, p->payload.len);
    }
    slot = n <= ENCODED_MAX && !by_reference ? encoded_slot(c, p, &slot_len) : NULL;
    if (slot != NULL) {
        memcpy(slot, at, n);
        *slot_len = (uint16_t)n;
    }
    count_sent(b, p->payload.len);
    return true;
}

bool send_publish(struct broker *b, struct conn *c, const struct send *p)
{
    uint8_t small[32], *buf = small;
    size_t cap = p->subids.len + 16;
    uint16_t *slot_len = NULL;
    uint8_t *slot = encoded_slot(c, p, &slot_len);
    size_t mount = c->listener->mount_len;
    struct publish_out o = {
        .version = c->version, .dup = p->dup, .retain = p->retain, .qos = p->qos, .packet_id = p->pid,
        .topic = { p->topic.p + mount, p->topic.len - mount }, .props = p->props,
        .payload_len = p->payload.len,
    };
    bool sent, alias;

    if (slot != NULL && *slot_len > 0)
        return send_copy(b, c, slot, *slot_len, p->payload.len);
    if (c->version == MQTT_50) {
        /* Looked at first: a topic alias that was never sent must not count as known. */
        o.props2.len = p->subids.len + (p->expires_ms != 0 ? 5u : 0u);
        if (publish_size(&o) > c->max_packet)
            return false;
        o.props2.len += 3;
        alias = c->alias_out_max > 0 && publish_size(&o) <= c->max_packet;
        if (cap > sizeof small && (buf = mem_alloc(MEM_OTHER, cap)) == NULL) {
            conn_close(b, c, CLOSE_NO_MEMORY);
            return false;
        }
        o.props2 = extra_props(b, c, p, alias, &o, buf, cap);
    }
    sent = send_encoded(b, c, p, &o);
    if (buf != small)
        mem_free(MEM_OTHER, buf);
    return sent;
}
