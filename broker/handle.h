/* Packets from clients: one function per packet type, called with a whole packet.
 * R_OK: done. Any other reason: the connection is to be closed with it (handle_packet() does).
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_HANDLE_H
#define CADDIS_BROKER_HANDLE_H

#include "broker/broker.h"

/* Dispatches by type and state; closes the connection on errors. */
void handle_packet(struct broker *b, struct conn *c, const struct frame *f);
/* Maps a handler's reason to the close reason. */
enum close_reason close_for(enum reason r);

enum reason handle_connect(struct broker *b, struct conn *c, const struct frame *f);
/* Carries on with a CONNECT whose client was looked at for longer. final: AUTH_DATA for CONNACK, or empty. */
void handle_connect_verdict(struct broker *b, struct conn *c, const struct frame *f, enum reason verdict,
                            struct view final);
enum reason handle_publish(struct broker *b, struct conn *c, const struct frame *f);
enum reason handle_ack(struct broker *b, struct conn *c, const struct frame *f);
enum reason handle_subscribe(struct broker *b, struct conn *c, const struct frame *f);
enum reason handle_unsubscribe(struct broker *b, struct conn *c, const struct frame *f);
enum reason handle_pingreq(struct broker *b, struct conn *c, const struct frame *f);
enum reason handle_disconnect(struct broker *b, struct conn *c, const struct frame *f);
enum reason handle_auth(struct broker *b, struct conn *c, const struct frame *f);

#endif
