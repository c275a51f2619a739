/* Retained messages [MQTT-3.3.1-5..12].
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_RETAIN_H
#define CADDIS_BROKER_RETAIN_H

#include "broker/list.h"
#include "broker/msg.h"
#include "broker/tree.h"

struct broker;
struct conn;
struct session;
struct sub;
struct walk;

struct retained {
    struct tree_node *node;         /* its topic; node->value points back here */
    struct msg *msg;
    struct link mark;               /* journal.retained */
    struct retained_expiry *expiry; /* NULL: stays for ever */
    int64_t id;                     /* row in the store */
};

struct retain {
    struct tree tree;
    uint32_t count;
    uint64_t bytes;                 /* topic + payload + properties of all */
};

bool retain_init(struct retain *r, const struct hash_key *key);
void retain_fini(struct broker *b);

/* Sets, replaces or (empty payload) clears. Returns the commit that holds it, 0 if nothing needs waiting.
 * *ok false: no memory, nothing changed. */
uint64_t retain_set(struct broker *b, struct incoming *in, bool *ok);
/* What is retained there; NULL: nothing. */
const struct msg *retain_find(const struct broker *b, struct view topic);
/* At start: takes m (a reference is moved) as stored under id. false: no memory. */
bool retain_restore(struct broker *b, struct msg *m, int64_t id);
/* Sends the retained messages that match to the session's connection, some each turn, once commit seq is durable. */
void retain_send(struct broker *b, struct session *s, struct view filter, const struct sub *sub, uint64_t seq);
/* Goes on with that. */
void retain_walk(struct broker *b, struct conn *c);
/* Is there more that can be sent now? */
bool retain_walk_ready(const struct broker *b, const struct conn *c);
/* The connection goes: what a durable session has not got yet is queued for it. */
void walk_finish(struct broker *b, struct conn *c);
/* Clears every retained message that the filter matches; how many. */
uint32_t retain_clear(struct broker *b, struct view filter);

#endif
