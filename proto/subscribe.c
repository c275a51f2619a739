/* SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK. The filters stay where they lie in the packet: decode checks all
 * of them and counts, next() cuts one after the other out of what has been checked.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "proto/subscribe.h"

#include "proto/frame.h"
#include "proto/reason.h"
#include "proto/topic.h"

enum { OPTION_QOS = 0x03, OPTION_NO_LOCAL = 0x04, OPTION_AS_PUBLISHED = 0x08, OPTION_HANDLING = 0x30 };

/* What both begin with: flags, packet id, properties. The rest of r are the filters. */
static enum reason decode_head(uint8_t head, enum packet type, enum version v, struct reader *r,
                               struct subscribe *out)
{
    enum reason why = R_OK;

    props_clear(&out->props);
    out->count = 0;
    if (frame_type(head) != type || !frame_flags_ok(head, v))
        return R_MALFORMED; /* [MQTT-3.8.1-1], [MQTT-3.10.1-1] */
    out->packet_id = rd_u16(r);
    if (v == MQTT_50)
        why = props_decode(r, 1u << type, &out->props);
    if (why != R_OK)
        return why;
    if (r->bad)
        return R_MALFORMED;
    out->filters = (struct view){ r->p, rd_left(r) };
    return R_OK;
}

/* What both end with, the filters having been read. */
static enum reason check_tail(const struct reader *r, const struct subscribe *s)
{
    if (r->bad)
        return R_MALFORMED;
    if (s->count == 0)
        return R_PROTOCOL_ERROR; /* [MQTT311-3.8.3-3], [MQTT5-3.8.3-2], [MQTT-3.10.3-2] */
    if (s->packet_id == 0)
        return R_PROTOCOL_ERROR; /* [MQTT311-2.3.1-1], [MQTT5-2.2.1-3] */
    return R_OK;
}

static enum reason check_options(struct view filter, unsigned options, enum version v)
{
    struct view group, rest;

    if (v != MQTT_50)
        return options > 2 ? R_MALFORMED : R_OK; /* [MQTT311-3.8.3-4] */
    if ((options & 0xC0) != 0)
        return R_MALFORMED; /* [MQTT5-3.8.3-5] */
    if ((options & OPTION_QOS) == 3 || (options & OPTION_HANDLING) == OPTION_HANDLING)
        return R_PROTOCOL_ERROR; /* (3.8.3.1) */
    if ((options & OPTION_NO_LOCAL) != 0 && topic_split_share(filter, &group, &rest))
        return R_PROTOCOL_ERROR; /* [MQTT5-3.8.3-4] */
    return R_OK;
}

enum reason subscribe_decode(uint8_t head, struct view body, enum version v, struct subscribe *out)
{
    struct reader r = rd_make(body);
    enum reason why = decode_head(head, PKT_SUBSCRIBE, v, &r, out);

    if (why != R_OK)
        return why;
    while (rd_left(&r) > 0 && !r.bad) {
        struct view filter = rd_utf8(&r); /* [MQTT-3.8.3-1] */
        unsigned options = rd_u8(&r);

        if (r.bad || filter.len == 0)
            return R_MALFORMED; /* [MQTT-4.7.3-1] */
        why = check_options(filter, options, v);
        if (why != R_OK)
            return why;
        out->count++;
    }
    if (out->props.subid_count > 1)
        return R_PROTOCOL_ERROR; /* repeatable in PUBLISH only [MQTT5-3.8.2.1.2] */
    return check_tail(&r, out);
}

bool subscribe_next(struct reader *r, enum version v, struct subscription *out)
{
    unsigned options;

    if (rd_left(r) == 0)
        return false;
    out->filter = rd_bin(r);
    options = rd_u8(r);
    out->filter_ok = topic_filter_valid(out->filter);
    out->qos = options & OPTION_QOS;
    out->no_local = v == MQTT_50 && (options & OPTION_NO_LOCAL) != 0;
    out->retain_as_published = v == MQTT_50 && (options & OPTION_AS_PUBLISHED) != 0;
    out->retain_handling = v == MQTT_50 ? (uint8_t)((options & OPTION_HANDLING) >> 4) : 0;
    return !r->bad;
}

enum reason unsubscribe_decode(uint8_t head, struct view body, enum version v, struct subscribe *out)
{
    struct reader r = rd_make(body);
    enum reason why = decode_head(head, PKT_UNSUBSCRIBE, v, &r, out);

    if (why != R_OK)
        return why;
    while (rd_left(&r) > 0 && !r.bad) {
        if (rd_utf8(&r).len == 0) /* [MQTT-3.10.3-1], [MQTT-4.7.3-1] */
            return R_MALFORMED;
        out->count++;
    }
    return check_tail(&r, out);
}

bool unsubscribe_next(struct reader *r, struct view *filter)
{
    if (rd_left(r) == 0)
        return false;
    *filter = rd_bin(r);
    return !r->bad;
}

/* Packet id and property block. */
static size_t head_remaining(enum version v, size_t raw_len)
{
    return 2 + (v == MQTT_50 ? props_block_size(raw_len) : 0);
}

static size_t subscribe_remaining(enum version v, const struct subscription *subs, unsigned count, size_t raw_len)
{
    size_t n = head_remaining(v, raw_len);

    for (unsigned i = 0; i < count; i++)
        n += 2 + subs[i].filter.len + 1;
    return n;
}

size_t subscribe_size(enum version v, const struct subscription *subs, unsigned count, struct view raw)
{
    return frame_size(subscribe_remaining(v, subs, count, raw.len));
}

static unsigned options_of(const struct subscription *s, enum version v)
{
    if (v != MQTT_50)
        return s->qos;
    return s->qos | (s->no_local ? OPTION_NO_LOCAL : 0u) | (s->retain_as_published ? OPTION_AS_PUBLISHED : 0u) |
           (unsigned)s->retain_handling << 4;
}

void subscribe_encode(enum version v, uint16_t packet_id, const struct subscription *subs, unsigned count,
                      struct view raw, struct writer *w)
{
    frame_write_head(w, PKT_SUBSCRIBE, subscribe_remaining(v, subs, count, raw.len));
    wr_u16(w, packet_id);
    if (v == MQTT_50)
        props_write_block(w, raw);
    for (unsigned i = 0; i < count; i++) {
        wr_bin(w, subs[i].filter);
        wr_u8(w, options_of(&subs[i], v));
    }
}

static size_t unsubscribe_remaining(enum version v, const struct view *filters, unsigned count)
{
    size_t n = head_remaining(v, 0);

    for (unsigned i = 0; i < count; i++)
        n += 2 + filters[i].len;
    return n;
}

size_t unsubscribe_size(enum version v, const struct view *filters, unsigned count)
{
    return frame_size(unsubscribe_remaining(v, filters, count));
}

void unsubscribe_encode(enum version v, uint16_t packet_id, const struct view *filters, unsigned count,
                        struct writer *w)
{
    frame_write_head(w, PKT_UNSUBSCRIBE, unsubscribe_remaining(v, filters, count));
    wr_u16(w, packet_id);
    if (v == MQTT_50)
        props_write_block(w, (struct view){ NULL, 0 });
    for (unsigned i = 0; i < count; i++)
        wr_bin(w, filters[i]);
}

/* What the two answers begin with: packet id, and the Reason String if there is one. */
static size_t answer_remaining(enum version v, struct view why)
{
    return head_remaining(v, why.len > 0 ? props_size_bytes(why) : 0);
}

static void answer_head(enum packet type, enum version v, uint16_t packet_id, unsigned codes, struct view why,
                        struct writer *w)
{
    frame_write_head(w, type, answer_remaining(v, why) + codes);
    wr_u16(w, packet_id);
    if (v != MQTT_50)
        return;
    wr_varint(w, why.len > 0 ? (uint32_t)props_size_bytes(why) : 0);
    if (why.len > 0)
        props_write_bytes(w, PROP_REASON_STRING, why);
}

size_t suback_size(enum version v, unsigned count, struct view why)
{
    return frame_size(answer_remaining(v, why) + count);
}

void suback_encode(enum version v, uint16_t packet_id, const uint8_t *codes, unsigned count, struct view why,
                   struct writer *w)
{
    answer_head(PKT_SUBACK, v, packet_id, count, why, w);
    for (unsigned i = 0; i < count; i++)
        wr_u8(w, v == MQTT_50 ? codes[i] : reason_suback_v3(codes[i]));
}

size_t unsuback_size(enum version v, unsigned count, struct view why)
{
    return frame_size(answer_remaining(v, why) + (v == MQTT_50 ? count : 0));
}

void unsuback_encode(enum version v, uint16_t packet_id, const uint8_t *codes, unsigned count, struct view why,
                     struct writer *w)
{
    if (v != MQTT_50)
        count = 0;
    answer_head(PKT_UNSUBACK, v, packet_id, count, why, w);
    wr_bytes(w, codes, count);
}

static bool code_fits(unsigned type, enum version v, unsigned code)
{
    if (v == MQTT_50)
        return reason_fits(1u << type, code);
    return code <= 2 || code == 0x80; /* [MQTT311-3.9.3-2] */
}

enum reason suback_decode(uint8_t head, struct view body, enum version v, struct suback *out)
{
    struct reader r = rd_make(body);
    unsigned type = frame_type(head);
    enum reason why = R_OK;

    props_clear(&out->props);
    if ((type != PKT_SUBACK && type != PKT_UNSUBACK) || !frame_flags_ok(head, v))
        return R_MALFORMED;
    out->packet_id = rd_u16(&r);
    if (v == MQTT_50)
        why = props_decode(&r, 1u << type, &out->props);
    if (why != R_OK)
        return why;
    if (r.bad)
        return R_MALFORMED;
    out->codes = rd_rest(&r);
    if (type == PKT_UNSUBACK && v != MQTT_50) {
        if (out->codes.len > 0)
            return R_MALFORMED;
    } else if (out->codes.len == 0) {
        return R_PROTOCOL_ERROR;
    }
    for (size_t i = 0; i < out->codes.len; i++) {
        if (!code_fits(type, v, out->codes.p[i]))
            return R_PROTOCOL_ERROR; /* [MQTT5-3.9.3-2], [MQTT5-3.11.3-2] */
    }
    return out->packet_id == 0 ? R_PROTOCOL_ERROR : R_OK;
}
