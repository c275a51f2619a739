/* What members of shared groups leave when their sessions end: it goes to the other members. [MQTT5-4.8.2-6]
 *
 * What is in RAM alone goes at once (session.c). What waits in the store can be any number of messages; it goes in
 * order, a bounded part before each commit, as long as journal.ended has the session.
 *
 *  E1  The session's row goes at once; its subscriptions and its queue stay under its number, which is in
 *      ended_session. That is all that is needed to go on, after a kill as well.
 *  E2  The commit that deletes rows which were handed on holds the new ones of durable sessions that got them: after a
 *      kill a message waits for the one or the other.
 *  E3  A member that is there gets what it has room for, and what is kept in RAM alone is no more than its window. For
 *      that, and for a group whose members are all gone, the rest waits; after ESTATE_PATIENCE_MS without room anywhere
 *      limits are what they are for every message, and what has no group left is dropped.
 *
 * By which subscription a row came is not in the store. With several that match, the rows of one message are taken for
 * the subscription of its own (that one is not handed on) and for the groups, in this order.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_ESTATE_H
#define CADDIS_BROKER_ESTATE_H

#include <stdbool.h>

enum { ESTATE_PATIENCE_MS = 60000 };

struct broker;
struct incoming;
struct sub;

/* May another member get it? At QoS 2 not once it was sent: the client may have it already. [MQTT5-4.8.2-5] */
bool estate_may_pass(unsigned state, unsigned qos);
/* Delivers it to this member, in whose turn it is. */
void estate_give(struct broker *b, struct sub *to, struct incoming *in);
/* The next part of it; a commit follows. */
void estate_hand_on(struct broker *b);

#endif
