/* PUBACK, PUBREC, PUBREL, PUBCOMP: a packet id, and in 5.0 what became of it.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "proto/ack.h"

#include "proto/frame.h"
#include "proto/reason.h"

enum reason ack_decode(uint8_t head, struct view body, enum version v, struct ack *out)
{
    struct reader r = rd_make(body);
    unsigned type = frame_type(head), code = R_OK;
    enum reason why;

    props_clear(&out->props);
    out->reason = R_OK;
    out->packet_id = rd_u16(&r);
    if (type < PKT_PUBACK || type > PKT_PUBCOMP || !frame_flags_ok(head, v))
        return R_MALFORMED; /* [MQTT311-2.2.2-2], [MQTT5-2.1.3-1], [MQTT-3.6.1-1] */
    if (v == MQTT_50 && rd_left(&r) > 0) {
        code = rd_u8(&r);
        if (rd_left(&r) > 0) { /* both may be left out [MQTT5-3.4.2.1], [MQTT5-3.4.2.2.1] */
            why = props_decode(&r, 1u << type, &out->props);
            if (why != R_OK)
                return why;
        }
    }
    if (r.bad || rd_left(&r) > 0)
        return R_MALFORMED;
    if (out->packet_id == 0) /* [MQTT5-2.2.1-3] */
        return R_PROTOCOL_ERROR;
    if (code != R_OK && !reason_fits(1u << type, code))
        return R_PROTOCOL_ERROR; /* [MQTT5-3.4.2-1], [MQTT5-3.5.2-1], [MQTT5-3.6.2-1], [MQTT5-3.7.2-1] */
    out->reason = code;
    return R_OK;
}

static size_t ack_remaining(enum version v, enum reason reason, struct view why)
{
    if (v != MQTT_50 || (reason == R_OK && why.len == 0))
        return 2;
    return why.len == 0 ? 3 : 3 + props_block_size(props_size_bytes(why));
}

size_t ack_size(enum version v, enum reason reason, struct view why)
{
    return frame_size(ack_remaining(v, reason, why));
}

void ack_encode(enum packet type, uint16_t packet_id, enum version v, enum reason reason, struct view why,
                struct writer *w)
{
    size_t remaining = ack_remaining(v, reason, why);

    frame_write_head(w, type, remaining);
    wr_u16(w, packet_id);
    if (remaining > 2)
        wr_u8(w, reason);
    if (remaining > 3) {
        wr_varint(w, (uint32_t)props_size_bytes(why));
        props_write_bytes(w, PROP_REASON_STRING, why);
    }
}
