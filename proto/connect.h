/* CONNECT [MQTT-3.1] and CONNACK [MQTT-3.2], 3.1 to 5.0, both directions.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_PROTO_CONNECT_H
#define CADDIS_PROTO_CONNECT_H

#include "proto/props.h"

struct connect {
    enum version version;
    bool clean_start;       /* Clean Session in 3.x */
    bool bridge;            /* 3.x: the level's high bit was set (mosquitto's "try_private") */
    bool has_will, will_retain;
    uint8_t will_qos;
    bool has_username, has_password;
    uint16_t keepalive_s;
    struct view client_id;  /* may be empty */
    struct view will_topic, will_payload;
    struct view username;   /* UTF-8 */
    struct view password;   /* binary */
    struct props props;
    struct props will_props;
};

/* head: the first byte of the packet, body: the rest, whole.
 * R_UNSUPPORTED_VERSION: protocol name is MQTT/MQIsdp but its level is none of ours; c->version is
 *   then the nearest version to answer in (5 for levels above 5, otherwise 4) [MQTT-3.1.2-2].
 * R_MALFORMED, R_PROTOCOL_ERROR: everything else. c->version says how far to answer: 0 = not known,
 *   close silently. Protocol name MQIsdp goes with level 3, MQTT with 4 and 5, nothing else.
 * 3.1 limits the client id to 23 characters; we accept longer ones (as peers do) and refuse empty ones:
 *   that, and empty with clean_start false in 3.1.1, is R_CLIENTID_NOT_VALID, decoded whole [MQTT311-3.1.3-8].
 * A will topic with wildcards or empty: R_TOPIC_INVALID.  5.0 AUTH_DATA without AUTH_METHOD: R_PROTOCOL_ERROR.
 * Payload format 1 with a will payload that is not UTF-8: R_PAYLOAD_FORMAT_INVALID. */
enum reason connect_decode(uint8_t head, struct view body, struct connect *c);

/* For the client role (tools, bridges). c->props and c->will_props: raw is sent as it is. */
size_t connect_size(const struct connect *c);              /* whole packet */
void connect_encode(const struct connect *c, struct writer *w);

struct connack {
    bool session_present;
    enum reason reason;     /* 3.x: already mapped back to a 5.0 reason by the decoder */
    struct props props;     /* decode only */
};

/* body of a CONNACK from a server, in the version we connected with. */
enum reason connack_decode(uint8_t head, struct view body, enum version v, struct connack *out);
/* props: an encoded property block without its length; ignored before 5.0.
 * For 3.x reason_connack_v3(reason) must be >= 0. session_present is forced to 0 on failure [MQTT311-3.2.2-4],
 * [MQTT5-3.2.2-6], and in 3.1. */
size_t connack_size(enum version v, struct view props);
void connack_encode(enum version v, bool session_present, enum reason reason, struct view props, struct writer *w);

#endif
