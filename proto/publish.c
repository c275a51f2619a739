/* PUBLISH: the packet that everything else is for. Decoding touches each byte of topic and properties once and the
 * payload not at all, unless it claims to be UTF-8.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "proto/publish.h"

#include "proto/frame.h"
#include "proto/topic.h"
#include "proto/utf8.h"

enum { FLAG_RETAIN = 0x1, FLAG_DUP = 0x8 };

static enum reason check_topic(const struct publish *p, enum version v)
{
    if (p->topic.len == 0) {
        if (v != MQTT_50)
            return R_TOPIC_INVALID; /* [MQTT-4.7.3-1] */
        return props_has(&p->props, PROP_TOPIC_ALIAS) ? R_OK : R_PROTOCOL_ERROR;
    }
    return topic_name_valid(p->topic) ? R_OK : R_TOPIC_INVALID; /* [MQTT-3.3.2-2] */
}

static enum reason check_props(const struct publish *p)
{
    if (props_has(&p->props, PROP_RESPONSE_TOPIC) &&
        !topic_name_valid(props_bytes(&p->props, PROP_RESPONSE_TOPIC)))
        return R_PROTOCOL_ERROR; /* [MQTT5-3.3.2-14] */
    if (props_num(&p->props, PROP_PAYLOAD_FORMAT, 0) == 1 && !utf8_wellformed(p->payload))
        return R_PAYLOAD_FORMAT_INVALID;
    return R_OK;
}

enum reason publish_decode(uint8_t head, struct view body, enum version v, struct publish *out)
{
    struct reader r = rd_make(body);
    enum reason why;

    out->retain = (head & FLAG_RETAIN) != 0;
    out->qos = head >> 1 & 3;
    out->dup = (head & FLAG_DUP) != 0;
    props_clear(&out->props);
    if (frame_type(head) != PKT_PUBLISH || out->qos == 3 || (out->qos == 0 && out->dup))
        return R_MALFORMED; /* [MQTT-3.3.1-4], [MQTT-3.3.1-2] */

    out->topic = rd_utf8(&r); /* [MQTT-3.3.2-1] */
    out->packet_id = out->qos > 0 ? rd_u16(&r) : 0;
    if (v == MQTT_50) {
        why = props_decode(&r, IN(PUBLISH), &out->props);
        if (why != R_OK)
            return why;
    }
    if (r.bad)
        return R_MALFORMED;
    out->payload = rd_rest(&r);

    if (out->qos > 0 && out->packet_id == 0)
        return R_PROTOCOL_ERROR; /* [MQTT311-2.3.1-1], [MQTT5-2.2.1-3] */
    why = check_topic(out, v);
    if (why != R_OK || out->props.has == 0)
        return why;
    return check_props(out);
}

bool publish_keepable(struct view topic, struct view props, struct view subids, struct view payload)
{
    struct publish p = { .topic = topic, .payload = { payload.p, payload.p != NULL ? payload.len : 0 } };
    struct props ids;

    if (!utf8_valid(topic) || !topic_name_valid(topic))
        return false;
    props_clear(&p.props);
    if (props.len > 0 && (props_decode_raw(props, IN(PUBLISH), &p.props) != R_OK ||
                          props_forward_size(&p.props) != props.len || check_props(&p) != R_OK))
        return false;
    return subids.len == 0 ||
           (props_decode_raw(subids, IN(PUBLISH), &ids) == R_OK && ids.has == 1u << PROP_SUBSCRIPTION_ID);
}

/* Between the fixed header and the payload. */
static size_t head_remaining(const struct publish_out *p)
{
    size_t n = 2 + p->topic.len;

    if (p->qos > 0)
        n += 2;
    if (p->version == MQTT_50)
        n += props_block_size(p->props.len + p->props2.len);
    return n;
}

size_t publish_size(const struct publish_out *p)
{
    size_t head = head_remaining(p);

    if (p->payload_len > FRAME_MAX_REMAINING || head > FRAME_MAX_REMAINING - p->payload_len)
        return 0;
    return frame_size(head + p->payload_len);
}

size_t publish_head_size(const struct publish_out *p)
{
    size_t head = head_remaining(p);

    return 1 + varint_size((uint32_t)(head + p->payload_len)) + head;
}

void publish_head_encode(const struct publish_out *p, struct writer *w)
{
    size_t remaining = head_remaining(p) + p->payload_len;

    if (remaining > FRAME_MAX_REMAINING)
        w->bad = true;
    wr_u8(w, PKT_PUBLISH << 4 | (p->dup ? FLAG_DUP : 0u) | p->qos * 2u | (p->retain ? FLAG_RETAIN : 0u));
    wr_varint(w, (uint32_t)remaining);
    wr_bin(w, p->topic);
    if (p->qos > 0)
        wr_u16(w, p->packet_id);
    if (p->version == MQTT_50) {
        wr_varint(w, (uint32_t)(p->props.len + p->props2.len));
        wr_view(w, p->props);
        wr_view(w, p->props2);
    }
}
