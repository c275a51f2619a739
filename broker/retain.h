/* Retained messages [MQTT-3.3.1-5..12].
 *
 * The index is in RAM: the topic, and what can be told without the payload. The message itself is in RAM too as long
 * as it is not stored, and afterwards while [persistence] retained_memory has room for it; else it is read by its id
 * when a subscriber wants it. What is set takes the place of what was set longest ago; what is only read takes what
 * room there is. After a start nothing is in RAM. Without a store everything is.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_RETAIN_H
#define CADDIS_BROKER_RETAIN_H

#include "broker/list.h"
#include "broker/log.h"
#include "broker/msg.h"
#include "broker/tree.h"

struct broker;
struct conn;
struct session;
struct sub;

struct retained {
    struct tree_node *node;         /* its topic; node->value points back here. NULL: gone, but walks refer to it */
    struct msg *msg;                /* NULL: only in the store */
    struct link mark;               /* journal.retained: to be written; retain.kept: written, and in RAM */
    struct retained_expiry *expiry; /* NULL: stays for ever */
    int64_t id;                     /* row in the store */
    uint32_t bytes;                 /* topic + payload + properties */
    unsigned refs : 29;             /* the index, and walks */
    unsigned qos : 2;
    unsigned kept : 1;              /* mark is in retain.kept */
};
_Static_assert(sizeof(void *) > 8 || sizeof(struct retained) <= 56, "there can be 100,000 of these");

struct retain {
    struct tree tree;
    struct link kept;               /* struct retained.mark: could be read from the store; the oldest first */
    uint32_t count, ram_count;      /* all; of these, in RAM */
    uint64_t bytes;                 /* topic + payload + properties of all */
    uint64_t ram_bytes, kept_bytes; /* taken by messages in RAM; of these, by those in kept */
    uint64_t reads;                 /* from the store */
    size_t looked;                  /* topics that filters were compared with in this turn, for new subscribers */
    struct log_limit limit;
};

bool retain_init(struct retain *r, const struct hash_key *key);
void retain_fini(struct broker *b);

/* Sets, replaces or (empty payload) clears. Returns the commit that holds it, 0 if nothing needs waiting.
 * *ok false: no memory, nothing changed. */
uint64_t retain_set(struct broker *b, struct incoming *in, bool *ok);
/* What is retained there; NULL: nothing. */
const struct retained *retain_find(const struct broker *b, struct view topic);
/* At start: one that is in the store. Times are monotonic; expires_ms 0: never. false: no memory. */
struct persist_retained;
bool retain_restore(struct broker *b, const struct persist_retained *p, int64_t received_ms, uint64_t expires_ms);
/* A commit has written it. */
void retain_stored(struct broker *b, struct retained *r);
/* Gives up what can be read from the store, until the rest fits into retained_memory. */
void retain_trim(struct broker *b);
/* Does what is not yet written take so much that it should be written soon? */
bool retain_presses(const struct broker *b);
/* Sends the retained messages that the subscription matches (no shared one) to its connection, some each turn, once
 * commit seq is durable. If that is under way already, it begins anew. */
void retain_send(struct broker *b, struct sub *sub, uint64_t seq);
/* The subscription goes: what of that is not yet sent is not. */
void walk_drop(struct sub *sub);
/* A turn begins. */
void retain_turn(struct broker *b);
/* Goes on with that. */
void retain_walk(struct broker *b, struct conn *c);
/* Is there more that can be sent now? */
bool retain_walk_ready(const struct broker *b, const struct conn *c);
/* The connection goes: what a durable session has not got yet is queued for it. */
void walk_finish(struct broker *b, struct conn *c);
/* What the connection's walks still refer to, for checks; asserts that they are sound. */
void retain_each_waiting(const struct conn *c, void (*one)(void *arg, const struct retained *r), void *arg);
/* Clears every retained message that the filter matches; how many. */
uint32_t retain_clear(struct broker *b, struct view filter);

#endif
