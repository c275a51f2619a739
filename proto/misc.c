/* PINGREQ, PINGRESP, DISCONNECT, AUTH.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "proto/misc.h"

#include "proto/frame.h"
#include "proto/reason.h"

enum reason ping_decode(uint8_t head, struct view body)
{
    if ((head != PKT_PINGREQ << 4 && head != PKT_PINGRESP << 4) || body.len > 0)
        return R_MALFORMED;
    return R_OK;
}

void ping_encode(enum packet type, struct writer *w)
{
    frame_write_head(w, type, 0);
}

enum reason disconnect_decode(uint8_t head, struct view body, enum version v, bool from_client,
                              struct disconnect *out)
{
    struct reader r = rd_make(body);
    uint32_t where = from_client ? IN_CLIENT_BYE : IN(DISCONNECT);
    unsigned code = R_OK;
    enum reason why;

    props_clear(&out->props);
    out->reason = R_OK;
    if (head != PKT_DISCONNECT << 4)
        return R_MALFORMED; /* [MQTT-3.14.1-1] */
    if (v == MQTT_50 && rd_left(&r) > 0) {
        code = rd_u8(&r);
        if (rd_left(&r) > 0) { /* both may be left out [MQTT5-3.14.2.1], [MQTT5-3.14.2.2.1] */
            why = props_decode(&r, IN(DISCONNECT), &out->props);
            if (why != R_OK)
                return why;
        }
    }
    if (rd_left(&r) > 0)
        return R_MALFORMED;
    if (!from_client && (v != MQTT_50 || props_has(&out->props, PROP_SESSION_EXPIRY)))
        return R_PROTOCOL_ERROR; /* [MQTT5-3.14.2-2] */
    if (!reason_fits(where, code))
        return R_PROTOCOL_ERROR; /* [MQTT5-3.14.2-1] */
    out->reason = code;
    return R_OK;
}

static size_t disconnect_remaining(enum version v, enum reason reason, struct view raw)
{
    if (v != MQTT_50 || (reason == R_OK && raw.len == 0))
        return 0;
    return raw.len == 0 ? 1 : 1 + props_block_size(raw.len);
}

size_t disconnect_size(enum version v, enum reason reason, struct view raw)
{
    return frame_size(disconnect_remaining(v, reason, raw));
}

void disconnect_encode(enum version v, enum reason reason, struct view raw, struct writer *w)
{
    size_t remaining = disconnect_remaining(v, reason, raw);

    frame_write_head(w, PKT_DISCONNECT, remaining);
    if (remaining > 0)
        wr_u8(w, reason);
    if (remaining > 1)
        props_write_block(w, raw);
}

enum reason auth_decode(uint8_t head, struct view body, struct auth_message *out)
{
    struct reader r = rd_make(body);
    unsigned code;
    enum reason why;

    props_clear(&out->props);
    out->reason = R_OK;
    if (head != PKT_AUTH << 4)
        return R_MALFORMED; /* [MQTT5-3.15.1-1] */
    if (body.len == 0)
        return R_OK;
    code = rd_u8(&r);
    why = props_decode(&r, IN(AUTH), &out->props);
    if (why != R_OK)
        return why;
    if (rd_left(&r) > 0)
        return R_MALFORMED;
    if (!reason_fits(IN(AUTH), code) || !props_has(&out->props, PROP_AUTH_METHOD))
        return R_PROTOCOL_ERROR; /* [MQTT5-3.15.2-1] */
    out->reason = code;
    return R_OK;
}

static size_t auth_remaining(enum reason reason, struct view raw)
{
    return reason == R_OK && raw.len == 0 ? 0 : 1 + props_block_size(raw.len);
}

size_t auth_size(enum reason reason, struct view raw)
{
    return frame_size(auth_remaining(reason, raw));
}

void auth_encode(enum reason reason, struct view raw, struct writer *w)
{
    size_t remaining = auth_remaining(reason, raw);

    frame_write_head(w, PKT_AUTH, remaining);
    if (remaining > 0) {
        wr_u8(w, reason);
        props_write_block(w, raw);
    }
}
