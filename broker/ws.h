/* MQTT over WebSocket (RFC 6455), above a plain socket or TLS.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_WS_H
#define CADDIS_BROKER_WS_H

#include <stdbool.h>

struct conn;

/* Everything on this new connection, which has its TLS already if it is to have any, goes through a WebSocket, whose
 * handshake is still to come. false: no memory. */
bool ws_accept(struct conn *c);
/* Does it speak so? */
bool ws_used(const struct conn *c);

#endif
