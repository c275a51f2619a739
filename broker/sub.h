/* Subscriptions: the tree of filters, shared groups, and the question "who gets this message?".
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_SUB_H
#define CADDIS_BROKER_SUB_H

#include "broker/filter.h"

struct session;
struct incoming;

/* A shared subscription group on one filter [MQTT5-4.8.2]. */
struct share {
    struct share *next;             /* on the same filter */
    struct filter *filter;
    struct link *members;           /* ring of struct sub.by_filter; the first is next in turn */
    uint32_t refs;                  /* members, and deliveries that may have to be handed on */
    uint16_t name_len;
    char name[];
};

struct sub {
    struct link by_filter, by_session;
    struct session *s;
    union {                         /* what by_filter hangs on */
        struct filter *filter;
        struct share *share;        /* shared */
    };
    uint32_t subid : 28;            /* Subscription Identifier, 0: none */
    uint32_t qos : 2, retain_handling : 2;
    uint32_t walk : 29;             /* its retained messages are on their way, see retain.c; 0: no */
    uint32_t no_local : 1, retain_as_published : 1, shared : 1;
};
#define SUBID_MAX    268435455u     /* a Variable Byte Integer */
#define SUB_WALK_MAX 0x1FFFFFFFu
_Static_assert(sizeof(struct sub) <= 56, "there can be 1,000,000 of these");

struct sub_options {
    uint8_t qos, retain_handling;
    bool no_local, retain_as_published;
    uint32_t subid;
};

struct subs {
    struct filters filters;
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
/* The member that a message to the group goes to now; NULL: nobody can take it. */
struct sub *share_pick(struct share *g);
/* The group that the filter of a shared subscription names; NULL: there is none. */
struct share *subs_share(struct subs *t, struct view filter);
void share_unref(struct subs *t, struct share **sp);

static inline struct share *sub_share(const struct sub *sub)
{
    return sub->shared ? sub->share : NULL;
}
static inline struct filter *sub_filter(const struct sub *sub)
{
    return sub->shared ? sub->share->filter : sub->filter;
}

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
