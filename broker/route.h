/* From a message to its recipients.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_ROUTE_H
#define CADDIS_BROKER_ROUTE_H

#include "broker/broker.h"

/* Sets the retained message if asked to, and delivers to every matching session. *recipients: how many. Returns the
 * commit that an acknowledgement must wait for besides in->msg's own ticket, 0: none. *ok false: no memory. */
uint64_t route_publish(struct broker *b, struct incoming *in, unsigned *recipients, bool *ok);

/* Small QoS 0 packets as they were sent to the first connection of their kind: 3.x or 5.0, RETAIN or not. */
#define ENCODED_MAX 512
struct encoded {
    uint16_t len[4];                /* 0: not encoded yet */
    uint8_t bytes[4][ENCODED_MAX];
};

/* Encodes one PUBLISH into the connection's output. false: nothing was sent (too large for the client, no memory). */
struct send {
    struct view topic, payload;
    struct view props, subids;      /* encoded */
    struct msg *msg;                /* if there is one: large payloads are sent by reference */
    struct encoded *encoded;        /* may be NULL */
    uint64_t expires_ms;
    uint16_t pid;
    uint8_t qos;
    bool retain, dup;
};
bool send_publish(struct broker *b, struct conn *c, const struct send *p);

#endif
