/* Retained messages [MQTT-3.3.1-5..12].
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_RETAIN_H
#define CADDIS_BROKER_RETAIN_H

#include "broker/list.h"
#include "broker/msg.h"
#include "broker/timer.h"
#include "broker/tree.h"

struct broker;
struct conn;
struct session;
struct sub;
struct walk;

struct retained {
    struct tree_node *node;         /* its topic; node->value points back here */
    struct msg *msg;                /* NULL: cleared, waiting for the journal to delete its row */
    struct link mark;               /* journal.retained */
    struct link expiring;           /* retain.expiring, when msg->expires_ms is set */
    int64_t id;                     /* row in the store, 0: none yet */
};

struct retain {
    struct tree tree;
    uint32_t count;
    uint64_t bytes;                 /* topic + payload + properties of all */
    struct link expiring;
    struct timer timer;             /* sweeps expired ones */
};

bool retain_init(struct retain *r, const struct hash_key *key);
void retain_fini(struct broker *b);

/* Sets, replaces or (empty payload) clears. Returns the commit that holds it, 0 if nothing needs waiting.
 * *ok false: no memory, nothing changed. */
uint64_t retain_set(struct broker *b, struct incoming *in, bool *ok);
/* At start: takes m (a reference is moved) as stored under id. false: no memory. */
bool retain_restore(struct broker *b, struct msg *m, int64_t id);
/* Sends the retained messages that match to the session's connection, a few a turn, after commit seq is durable. */
void retain_send(struct broker *b, struct session *s, struct view filter, const struct sub *sub, uint64_t seq);
/* Goes on with that. false: finished. */
bool retain_walk(struct broker *b, struct conn *c);
void walk_free(struct walk **w);
/* Clears every retained message that the filter matches; how many. */
uint32_t retain_clear(struct broker *b, struct view filter);

#endif
