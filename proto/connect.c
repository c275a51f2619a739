/* CONNECT and CONNACK, for the server and the client role.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "proto/connect.h"

#include "proto/frame.h"
#include "proto/reason.h"
#include "proto/topic.h"
#include "proto/utf8.h"

enum {
    FLAG_RESERVED = 0x01,
    FLAG_CLEAN = 0x02,
    FLAG_WILL = 0x04,
    FLAG_WILL_QOS = 0x18,
    FLAG_WILL_RETAIN = 0x20,
    FLAG_PASSWORD = 0x40,
    FLAG_USERNAME = 0x80,
};

#define LEVEL_BRIDGE 0x80u /* mosquitto's bridges announce themselves so, in 3.x */

static struct view protocol_name(enum version v)
{
    const char *name = v == MQTT_31 ? "MQIsdp" : "MQTT";

    return (struct view){ (const uint8_t *)name, strlen(name) };
}

static bool is_name(struct view name, enum version v)
{
    return view_same(name, protocol_name(v));
}

/* Name and level [MQTT-3.1.2-1], [MQTT-3.1.2-2]. */
static enum reason read_version(struct reader *r, struct connect *c)
{
    struct view name = rd_bin(r);
    unsigned level = rd_u8(r);

    if (r->bad)
        return R_MALFORMED;
    if (!is_name(name, MQTT_31) && !is_name(name, MQTT_311))
        return R_PROTOCOL_ERROR;
    for (unsigned v = MQTT_31; v <= MQTT_50; v++) {
        bool bridge = v < MQTT_50 && level == (v | LEVEL_BRIDGE);

        if (is_name(name, v) && (level == v || bridge)) {
            c->version = v;
            c->bridge = bridge;
            return R_OK;
        }
    }
    c->version = level > MQTT_50 ? MQTT_50 : MQTT_311;
    return R_UNSUPPORTED_VERSION;
}

static enum reason read_flags(struct reader *r, struct connect *c)
{
    unsigned flags = rd_u8(r);

    if ((flags & FLAG_RESERVED) != 0)
        return R_MALFORMED; /* [MQTT-3.1.2-3] */
    c->clean_start = (flags & FLAG_CLEAN) != 0;
    c->has_will = (flags & FLAG_WILL) != 0;
    c->has_username = (flags & FLAG_USERNAME) != 0;
    c->has_password = (flags & FLAG_PASSWORD) != 0;
    if (c->has_will) {
        c->will_qos = (uint8_t)((flags & FLAG_WILL_QOS) / 0x08);
        c->will_retain = (flags & FLAG_WILL_RETAIN) != 0;
        if (c->will_qos > 2)
            return R_MALFORMED; /* [MQTT311-3.1.2-14], [MQTT5-3.1.2-12] */
    } else if ((flags & (FLAG_WILL_QOS | FLAG_WILL_RETAIN)) != 0 && c->version != MQTT_31) {
        /* 3.1 disregards them. [MQTT311-3.1.2-13], [MQTT311-3.1.2-15], [MQTT5-3.1.2-11], [MQTT5-3.1.2-13] */
        return R_MALFORMED;
    }
    if (c->has_password && !c->has_username && c->version != MQTT_50)
        return R_MALFORMED; /* [MQTT311-3.1.2-22] */
    return R_OK;
}

static enum reason read_will(struct reader *r, struct connect *c)
{
    enum reason why = R_OK;

    if (c->version == MQTT_50)
        why = props_decode(r, IN_WILL, &c->will_props);
    c->will_topic = rd_utf8(r);
    c->will_payload = rd_bin(r);
    return why;
}

static void read_credentials(struct reader *r, struct connect *c)
{
    /* 3.1 lets the packet end before what the flags announce; then it is not there. */
    if (c->version == MQTT_31 && rd_left(r) == 0)
        c->has_username = false;
    if (c->has_username)
        c->username = rd_utf8(r);
    if (c->version == MQTT_31 && rd_left(r) == 0)
        c->has_password = false;
    if (c->has_password)
        c->password = rd_bin(r);
}

/* Rules between fields, once all of them are known to be there. */
static enum reason check(const struct connect *c)
{
    if (props_has(&c->props, PROP_AUTH_DATA) && !props_has(&c->props, PROP_AUTH_METHOD))
        return R_PROTOCOL_ERROR; /* [MQTT5-3.1.2.11.10] */
    if (c->has_will) {
        if (!topic_name_valid(c->will_topic))
            return R_TOPIC_INVALID;
        if (props_has(&c->will_props, PROP_RESPONSE_TOPIC) &&
            !topic_name_valid(props_bytes(&c->will_props, PROP_RESPONSE_TOPIC)))
            return R_PROTOCOL_ERROR; /* [MQTT5-3.3.2-14] */
        if (props_num(&c->will_props, PROP_PAYLOAD_FORMAT, 0) == 1 && !utf8_wellformed(c->will_payload))
            return R_PAYLOAD_FORMAT_INVALID;
    }
    if (c->client_id.len == 0 && (c->version == MQTT_31 || (c->version == MQTT_311 && !c->clean_start)))
        return R_CLIENTID_NOT_VALID; /* [MQTT311-3.1.3-8] */
    return R_OK;
}

enum reason connect_decode(uint8_t head, struct view body, struct connect *c)
{
    struct reader r = rd_make(body);
    enum reason why;

    memset(c, 0, offsetof(struct connect, props));
    props_clear(&c->props);
    props_clear(&c->will_props);
    if (head != PKT_CONNECT << 4)
        return R_MALFORMED; /* [MQTT311-2.2.2-2], [MQTT5-2.1.3-1] */
    why = read_version(&r, c);
    if (why != R_OK)
        return why;
    why = read_flags(&r, c);
    if (why != R_OK)
        return why;
    c->keepalive_s = rd_u16(&r);
    if (c->version == MQTT_50)
        why = props_decode(&r, IN(CONNECT), &c->props);
    if (why != R_OK)
        return why;
    c->client_id = rd_utf8(&r); /* [MQTT-3.1.3-4] */
    if (c->has_will)
        why = read_will(&r, c);
    if (why != R_OK)
        return why;
    read_credentials(&r, c);
    if (r.bad || rd_left(&r) > 0)
        return R_MALFORMED;
    return check(c);
}

static size_t connect_remaining(const struct connect *c)
{
    bool v5 = c->version == MQTT_50;
    size_t n = 2 + protocol_name(c->version).len + 1 + 1 + 2 + 2 + c->client_id.len;

    if (v5)
        n += props_block_size(c->props.raw.len);
    if (c->has_will) {
        if (v5)
            n += props_block_size(c->will_props.raw.len);
        n += 2 + c->will_topic.len + 2 + c->will_payload.len;
    }
    if (c->has_username)
        n += 2 + c->username.len;
    if (c->has_password)
        n += 2 + c->password.len;
    return n;
}

size_t connect_size(const struct connect *c)
{
    return frame_size(connect_remaining(c));
}

static unsigned flags_of(const struct connect *c)
{
    unsigned flags = 0;

    if (c->clean_start)
        flags |= FLAG_CLEAN;
    if (c->has_will)
        flags |= FLAG_WILL | c->will_qos * 0x08u;
    if (c->has_will && c->will_retain)
        flags |= FLAG_WILL_RETAIN;
    if (c->has_username)
        flags |= FLAG_USERNAME;
    if (c->has_password)
        flags |= FLAG_PASSWORD;
    return flags;
}

void connect_encode(const struct connect *c, struct writer *w)
{
    bool v5 = c->version == MQTT_50;

    frame_write_head(w, PKT_CONNECT, connect_remaining(c));
    wr_bin(w, protocol_name(c->version));
    wr_u8(w, c->version | (c->bridge && !v5 ? LEVEL_BRIDGE : 0));
    wr_u8(w, flags_of(c));
    wr_u16(w, c->keepalive_s);
    if (v5)
        props_write_block(w, c->props.raw);
    wr_bin(w, c->client_id);
    if (c->has_will) {
        if (v5)
            props_write_block(w, c->will_props.raw);
        wr_bin(w, c->will_topic);
        wr_bin(w, c->will_payload);
    }
    if (c->has_username)
        wr_bin(w, c->username);
    if (c->has_password)
        wr_bin(w, c->password);
}

/* The five refusals of 3.x, read by a client. */
static enum reason from_code_v3(unsigned code)
{
    static const enum reason reasons[] = {
        R_OK, R_UNSUPPORTED_VERSION, R_CLIENTID_NOT_VALID,
        R_SERVER_UNAVAILABLE, R_BAD_CREDENTIALS, R_NOT_AUTHORIZED,
    };

    return reasons[code];
}

enum reason connack_decode(uint8_t head, struct view body, enum version v, struct connack *out)
{
    struct reader r = rd_make(body);
    unsigned flags = rd_u8(&r), code = rd_u8(&r);
    enum reason why = R_OK;

    props_clear(&out->props);
    if (head != PKT_CONNACK << 4)
        return R_MALFORMED;
    if (v == MQTT_50)
        why = props_decode(&r, IN(CONNACK), &out->props);
    if (why != R_OK)
        return why;
    if (r.bad || rd_left(&r) > 0)
        return R_MALFORMED;
    if (v == MQTT_31)
        flags = 0; /* a byte without a meaning there */
    if (flags > 1)
        return R_MALFORMED; /* [MQTT5-3.2.2-1] */
    if (v == MQTT_50 ? !reason_fits(IN(CONNACK), code) : code > 5)
        return R_PROTOCOL_ERROR; /* [MQTT5-3.2.2-8] */
    if (flags == 1 && code != 0)
        return R_PROTOCOL_ERROR; /* [MQTT311-3.2.2-4], [MQTT5-3.2.2-6] */
    out->session_present = flags == 1;
    out->reason = v == MQTT_50 ? (enum reason)code : from_code_v3(code);
    return R_OK;
}

static size_t connack_remaining(enum version v, struct view props)
{
    return v == MQTT_50 ? 2 + props_block_size(props.len) : 2;
}

size_t connack_size(enum version v, struct view props)
{
    return frame_size(connack_remaining(v, props));
}

void connack_encode(enum version v, bool session_present, enum reason reason, struct view props, struct writer *w)
{
    int code = v == MQTT_50 ? (int)reason : reason_connack_v3(reason);

    if (code < 0)
        w->bad = true; /* 3.x has no word for it: the caller closes instead */
    frame_write_head(w, PKT_CONNACK, connack_remaining(v, props));
    wr_u8(w, session_present && reason == R_OK && v != MQTT_31);
    wr_u8(w, (unsigned)code);
    if (v == MQTT_50)
        props_write_block(w, props);
}
