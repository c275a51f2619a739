/* Subscriptions: the tree of filters, shared groups, and the question "who gets this message?".
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_SUB_H
#define CADDIS_BROKER_SUB_H

#include "broker/list.h"
#include "broker/tree.h"

struct session;
struct incoming;

/* Value of a tree node: everybody who subscribed with this filter. */
struct filter {
    struct tree_node *node;
    struct link subs;               /* struct sub.by_filter, not shared */
    struct link shares;             /* struct share.by_filter */
    uint32_t sub_count;             /* in subs */
};

/* A shared subscription group on one filter [MQTT5-4.8.2]. */
struct share {
    struct link by_filter;
    struct link members;            /* struct sub.by_filter; the first is next in turn */
    struct filter *filter;
    uint32_t refs;                  /* members, and deliveries that may have to be handed on */
    uint16_t name_len;
    char name[];
};

struct sub {
    struct link by_filter, by_session;
    struct session *s;
    struct filter *filter;
    struct share *share;            /* NULL: an ordinary subscription */
    uint32_t subid;                 /* Subscription Identifier, 0: none */
    uint8_t qos, retain_handling;
    bool no_local, retain_as_published;
};
_Static_assert(sizeof(struct sub) <= 64, "there can be 1,000,000 of these");

struct sub_options {
    uint8_t qos, retain_handling;
    bool no_local, retain_as_published;
    uint32_t subid;
};

struct subs {
    struct tree tree;
    uint32_t count, shared_count;
};

bool subs_init(struct subs *t, const struct hash_key *key);
void subs_fini(struct subs *t);

enum sub_result { SUB_NEW, SUB_CHANGED, SUB_SAME, SUB_NO_MEMORY };
/* Adds or replaces. filter: as subscribed, $share/ included; valid. */
enum sub_result subs_add(struct subs *t, struct session *s, struct view filter, const struct sub_options *o);
/* Was there one? */
bool subs_remove(struct subs *t, struct session *s, struct view filter);
void subs_remove_all(struct subs *t, struct session *s);
struct sub *subs_find(struct subs *t, struct session *s, struct view filter);
/* The filter's text, $share/ included; its length. buf: SUB_FILTER_MAX bytes. */
#define SUB_FILTER_MAX 65536
size_t sub_filter_text(const struct sub *sub, uint8_t *buf);

/* The member that a message to the group goes to now; NULL: nobody can take it. */
struct sub *share_pick(struct share *g);
/* The group by which, and by no subscription of its own, the session gets messages on this topic; NULL: none.
 * buf: SUB_FILTER_MAX bytes. */
struct share *subs_only_shared(const struct session *s, struct view topic, uint8_t *buf);
void share_unref(struct subs *t, struct share **sp);

/* One recipient. With overlapping subscriptions merged, qos is the highest and subids holds all of them. */
struct match {
    struct session *s;
    struct share *share;            /* set: this delivery belongs to the group */
    uint32_t subid_first;           /* index + 1 into matches.ids, 0: none */
    uint8_t qos;                    /* the subscription's */
    bool retain_as_published;
};

struct matches {
    struct match *v;
    uint32_t n, cap;
    struct { uint32_t id, next; } *ids;
    uint32_t id_n, id_cap;
    uint8_t *encoded;               /* room for one recipient's identifiers */
    uint32_t encoded_cap;
    uint64_t gen;                   /* marks sessions already in v */
    bool no_memory;                 /* at least one recipient is missing */
};

/* Fills m with the recipients of a message on this topic; origin: the publisher's session (No Local) or NULL.
 * merge: one delivery per session even if several of its filters match (allow_duplicate_messages = false).
 * For shared groups one member is chosen: online ones in turn, otherwise a durable one that is away. */
void subs_match(struct subs *t, struct view topic, const struct session *origin, bool merge, struct matches *m);
/* All Subscription Identifiers of one recipient as encoded properties; valid until the next call. */
struct view matches_subids(struct matches *m, const struct match *of);
void matches_fini(struct matches *m);

#endif
