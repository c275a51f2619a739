/* Will messages [MQTT-3.1.2-8], will delay [MQTT5-3.1.3.2.2].
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_WILL_H
#define CADDIS_BROKER_WILL_H

#include "broker/broker.h"

struct will {
    struct msg *msg;                /* expires_ms is not set here: the interval starts when it is published */
    struct session *s;
    struct timer timer;             /* delay */
    uint32_t delay_s;
    uint32_t expiry_s;
    bool has_expiry;
};

/* Replaces the session's will by that of the CONNECT (or none). topic: mount point included. false: no memory. */
bool will_set(struct broker *b, struct session *s, const struct connect *p, struct view topic);
/* The connection ended without DISCONNECT, or the session ends: publishes now or after its delay. */
void will_trigger(struct broker *b, struct session *s, bool session_ends);
/* The client is back or said goodbye: forgets it. */
void will_drop(struct broker *b, struct session *s);
/* At start. due_ms: monotonic time at which it is to be published. */
bool will_restore(struct broker *b, struct session *s, struct msg *m, uint32_t delay_s, uint32_t expiry_s, bool has_expiry,
                  uint64_t due_ms);

#endif
