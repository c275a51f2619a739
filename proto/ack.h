/* PUBACK, PUBREC, PUBREL, PUBCOMP [MQTT-3.4..3.7].
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_PROTO_ACK_H
#define CADDIS_PROTO_ACK_H

#include "proto/props.h"

struct ack {
    uint16_t packet_id;
    enum reason reason;    /* R_OK before 5.0 */
    struct props props;
};

/* The type is in head; its flags are checked [MQTT-3.6.1-1]. Packet id 0, a reason code that this packet may not
 * carry: R_PROTOCOL_ERROR; wrong length: R_MALFORMED. */
enum reason ack_decode(uint8_t head, struct view body, enum version v, struct ack *out);

/* 5.0: reason OK without properties takes the short form. why: Reason String, or empty. */
size_t ack_size(enum version v, enum reason reason, struct view why);
void ack_encode(enum packet type, uint16_t packet_id, enum version v, enum reason reason, struct view why,
                struct writer *w);

#endif
