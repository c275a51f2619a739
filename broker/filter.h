/* The filters that somebody subscribed with, and which of them match a topic.
 *
 * Each stands in one hash table under its text, so that a topic finds the filter that is its equal at one glance: with
 * a topic of its own for each device that is all there is to find. Those with wildcards hang in a tree of levels, too.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_FILTER_H
#define CADDIS_BROKER_FILTER_H

#include "broker/list.h"
#include "broker/tree.h"

struct share;

struct filter {
    struct filter *hash_next;
    struct link *subs;              /* ring of struct sub.by_filter, not shared */
    struct share *shares;           /* by share.next */
    uint32_t hash;
    uint32_t sub_count;             /* in subs */
    uint16_t len;                   /* of text */
    bool wild;                      /* value of a node of the tree */
    char text[];                    /* without $share/GROUP/; no NUL */
};
_Static_assert(offsetof(struct filter, text) <= 35, "one for each device that subscribes to a topic of its own");

struct filters {
    struct filter **slots;
    uint32_t mask, count;           /* slots - 1; filters */
    uint32_t sys_count;             /* of these, begin with the level $SYS */
    struct tree tree;
};

/* false: no memory. */
bool filters_init(struct filters *t, const struct hash_key *key);
/* Everything must have been pruned before. */
void filters_fini(struct filters *t);

struct filter *filter_find(const struct filters *t, struct view text);
/* Made when missing: it must get a subscription or a group, or be given to filter_prune(). NULL: no memory. */
struct filter *filter_get(struct filters *t, struct view text);
/* Frees it if it has neither subscriptions nor groups. */
void filter_prune(struct filters *t, struct filter *f);

static inline struct view filter_text(const struct filter *f)
{
    return (struct view){ (const uint8_t *)f->text, f->len };
}

/* Calls hit(filter) for every filter that matches the topic name. */
void filters_match(const struct filters *t, struct view topic, void (*hit)(void *arg, void *filter), void *arg);

#endif
