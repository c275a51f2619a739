/* SUBSCRIBE and UNSUBSCRIBE.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/handle.h"

#include "broker/auth.h"
#include "broker/listen.h"
#include "broker/shed.h"

#include <string.h>

#define SHARE_PREFIX "$share/"

/* One filter with the listener's mount point put in. Returns its length, 0: too long. buf: room() of its packet. */
static size_t mounted(const struct conn *c, struct view filter, uint8_t *buf)
{
    struct view group, path = filter;
    size_t n = 0;

    if (filter.len + c->listener->mount_len > UINT16_MAX)
        return 0;
    if (topic_split_share(filter, &group, &path)) {
        memcpy(buf, SHARE_PREFIX, sizeof SHARE_PREFIX - 1);
        n = sizeof SHARE_PREFIX - 1;
        memcpy(buf + n, group.p, group.len);
        n += group.len;
        buf[n++] = '/';
    }
    if (c->listener->mount_len > 0)
        memcpy(buf + n, c->listener->cfg->mount_point, c->listener->mount_len);
    memcpy(buf + n + c->listener->mount_len, path.p, path.len);
    return n + c->listener->mount_len + path.len;
}

/* For the longest filter there can be in the packet. */
static uint8_t *room(const struct conn *c, const struct frame *f)
{
    return mem_alloc(MEM_OTHER, f->body.len + c->listener->mount_len + sizeof SHARE_PREFIX);
}

static struct view without_share(struct view filter)
{
    struct view group, path = filter;

    topic_split_share(filter, &group, &path);
    return path;
}

/* What SUBACK is going to say, and what is left to do for it afterwards. */
struct answer {
    uint8_t *codes;             /* a reason code per filter */
    bool *send_retained;
    uint64_t seq;
};

/* May it be? filter: mount point included. */
static enum reason judge(struct broker *b, struct conn *c, const struct subscription *p, struct view filter)
{
    struct session *s = c->session;

    if (!p->filter_ok || filter.len == 0 || topic_levels(filter) > b->cfg->max_topic_levels)
        return R_FILTER_INVALID;
    if (((b->cfg->max_subscriptions > 0 && s->sub_count >= b->cfg->max_subscriptions) ||
         shed(b, SHED_SUBSCRIPTIONS)) && subs_find(&b->subs, s, filter) == NULL)
        return R_QUOTA_EXCEEDED;
    if (!auth_allowed(b, s, ACCESS_SUBSCRIBE, without_share(filter)))
        return R_NOT_AUTHORIZED;
    return R_OK;
}

static enum reason add(struct broker *b, struct conn *c, const struct subscription *p, struct view filter,
                       uint32_t subid, bool *send_retained, uint64_t *seq)
{
    const uint8_t max_qos = c->listener->cfg->max_qos;
    const struct sub_options o = {
        .qos = p->qos < max_qos ? p->qos : max_qos, .retain_handling = p->retain_handling, .no_local = p->no_local,
        .retain_as_published = p->retain_as_published, .subid = subid,
    };
    enum reason r = judge(b, c, p, filter);
    enum sub_result result;
    struct view group, path;

    if (r != R_OK)
        return r;
    result = subs_add(&b->subs, c->session, filter, &o);
    if (result == SUB_NO_MEMORY)
        return R_QUOTA_EXCEEDED;
    if (result != SUB_SAME && c->session->durable) {
        journal_sub_put(b, c->session, filter, subs_find(&b->subs, c->session, filter));
        session_promise(b, c->session);
    }
    *seq = c->session->promise_seq;
    *send_retained = !topic_split_share(filter, &group, &path) &&       /* [MQTT5-3.3.1-9..11] */
                     (p->retain_handling == 0 || (p->retain_handling == 1 && result == SUB_NEW));
    return (enum reason)o.qos;
}

static void say_subscribed(const struct broker *b, const struct conn *c, const struct subscription *p, enum reason r)
{
    if (r >= R_UNSPECIFIED)
        log_info("subscription refused id=%s filter=%s reason=\"%s\"", conn_name(c), log_q(p->filter.p, p->filter.len),
                 reason_text(r));
    else
        log_debug("subscribed id=%s filter=%s qos=%u", conn_name(c), log_q(p->filter.p, p->filter.len), (unsigned)r);
    (void)b;
}

/* SUBACK or UNSUBACK, once what they promise is durable. */
static enum reason send_codes(struct broker *b, struct conn *c, enum packet type, uint16_t pid, const struct answer *a,
                              unsigned count)
{
    const enum version v = (enum version)c->version;
    const struct view why = { NULL, 0 };
    size_t n = type == PKT_SUBACK ? suback_size(v, count, why) : unsuback_size(v, count, why);
    uint8_t *p = conn_hold_bytes(b, c, type, a->seq, n);
    struct writer w;

    if (p == NULL)
        return R_UNSPECIFIED;
    w = wr_make(p, n);
    if (type == PKT_SUBACK)
        suback_encode(v, pid, a->codes, count, why, &w);
    else
        unsuback_encode(v, pid, a->codes, count, why, &w);
    return R_OK;
}

static void send_retained(struct broker *b, struct conn *c, const struct subscribe *s, const struct answer *a,
                          uint8_t *buf)
{
    struct reader r = rd_make(s->filters);
    struct subscription p;

    for (unsigned i = 0; subscribe_next(&r, (enum version)c->version, &p); i++) {
        struct view filter = { buf, 0 };
        struct sub *sub;

        if (!a->send_retained[i])
            continue;
        filter.len = mounted(c, p.filter, buf);
        sub = subs_find(&b->subs, c->session, filter);
        if (sub == NULL)
            continue;
        retain_send(b, sub, a->seq);
        sys_subscribed(b, c->session, filter, sub->subid);
    }
}

static enum reason subscribe(struct broker *b, struct conn *c, const struct subscribe *s, struct answer *a, uint8_t *buf)
{
    uint32_t subid = props_num(&s->props, PROP_SUBSCRIPTION_ID, 0);
    struct reader r = rd_make(s->filters);
    struct subscription p;
    enum reason result;

    for (unsigned i = 0; subscribe_next(&r, (enum version)c->version, &p); i++) {
        struct view filter = { buf, p.filter_ok ? mounted(c, p.filter, buf) : 0 };
        enum reason code = add(b, c, &p, filter, subid, &a->send_retained[i], &a->seq);

        say_subscribed(b, c, &p, code);
        a->codes[i] = (uint8_t)code;
    }
    sys_watch(b);
    result = send_codes(b, c, PKT_SUBACK, s->packet_id, a, s->count);
    if (result == R_OK)
        send_retained(b, c, s, a, buf);
    return result;
}

enum reason handle_subscribe(struct broker *b, struct conn *c, const struct frame *f)
{
    struct subscribe s;
    enum reason r = subscribe_decode(f->head, f->body, (enum version)c->version, &s);
    struct answer a = { 0 };
    uint8_t *buf;

    if (r != R_OK)
        return r;
    if (suback_size((enum version)c->version, s.count, (struct view){ NULL, 0 }) > c->max_packet)
        return R_PACKET_TOO_LARGE;                              /* [MQTT5-3.1.2-24] */
    a.codes = mem_zero(MEM_OTHER, s.count);
    a.send_retained = mem_zero(MEM_OTHER, s.count * sizeof *a.send_retained);
    buf = room(c, f);
    r = a.codes != NULL && a.send_retained != NULL && buf != NULL ? subscribe(b, c, &s, &a, buf) : R_UNSPECIFIED;
    mem_free(MEM_OTHER, buf);
    mem_free(MEM_OTHER, a.send_retained);
    mem_free(MEM_OTHER, a.codes);
    return r;
}

/* ---- UNSUBSCRIBE ---- */

static enum reason unsubscribe(struct broker *b, struct conn *c, const struct subscribe *s, struct answer *a,
                               uint8_t *buf)
{
    struct reader r = rd_make(s->filters);
    struct view filter;

    for (unsigned i = 0; unsubscribe_next(&r, &filter); i++) {
        struct view full = { buf, 0 };

        a->codes[i] = R_FILTER_INVALID;
        if (!topic_filter_valid(filter) || (full.len = mounted(c, filter, buf)) == 0)
            continue;
        log_debug("unsubscribed id=%s filter=%s", conn_name(c), log_q(filter.p, filter.len));
        if (!subs_remove(&b->subs, c->session, full)) {
            a->codes[i] = R_NO_SUBSCRIPTION_EXISTED;
            a->seq = c->session->promise_seq;
            continue;
        }
        a->codes[i] = R_OK;
        if (c->session->durable) {
            journal_sub_del(b, c->session, full);
            a->seq = session_promise(b, c->session);
        }
    }
    return send_codes(b, c, PKT_UNSUBACK, s->packet_id, a, s->count);
}

enum reason handle_unsubscribe(struct broker *b, struct conn *c, const struct frame *f)
{
    struct subscribe s;
    enum reason r = unsubscribe_decode(f->head, f->body, (enum version)c->version, &s);
    struct answer a = { 0 };
    uint8_t *buf;

    if (r != R_OK)
        return r;
    if (unsuback_size((enum version)c->version, s.count, (struct view){ NULL, 0 }) > c->max_packet)
        return R_PACKET_TOO_LARGE;                              /* [MQTT5-3.1.2-24] */
    a.codes = mem_zero(MEM_OTHER, s.count);
    buf = room(c, f);
    r = a.codes != NULL && buf != NULL ? unsubscribe(b, c, &s, &a, buf) : R_UNSPECIFIED;
    mem_free(MEM_OTHER, buf);
    mem_free(MEM_OTHER, a.codes);
    return r;
}
