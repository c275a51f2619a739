/* PINGREQ, PINGRESP, DISCONNECT, AUTH [MQTT-3.12..3.15].
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_PROTO_MISC_H
#define CADDIS_PROTO_MISC_H

#include "proto/props.h"

/* Both must be empty and without flags. */
enum reason ping_decode(uint8_t head, struct view body);
/* Two bytes. */
void ping_encode(enum packet type, struct writer *w);

struct disconnect {
    enum reason reason;
    struct props props;
};
/* Client to server or back. Reason codes that DISCONNECT may not carry, or (from_client) that only a server may
 * send: R_PROTOCOL_ERROR. */
enum reason disconnect_decode(uint8_t head, struct view body, enum version v, bool from_client,
                              struct disconnect *out);
/* 5.0; raw: encoded properties without length. For 3.x only a client sends it (two bytes). */
size_t disconnect_size(enum version v, enum reason reason, struct view raw);
void disconnect_encode(enum version v, enum reason reason, struct view raw, struct writer *w);

struct auth_message {
    enum reason reason;    /* OK, CONTINUE_AUTHENTICATION, REAUTHENTICATE */
    struct props props;    /* AUTH_METHOD always there [MQTT5-4.12.0-..] unless the short form (R_OK) */
};
enum reason auth_decode(uint8_t head, struct view body, struct auth_message *out);
size_t auth_size(enum reason reason, struct view raw);
void auth_encode(enum reason reason, struct view raw, struct writer *w);

#endif
