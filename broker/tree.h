/* A tree of topic levels, used twice: for filters with wildcards and for retained messages. There is one hash of edges
 * (parent, level) for the whole tree and no table per node. Wildcard children are the first of their parent's children,
 * so that matching a name looks up one hash entry per level.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_TREE_H
#define CADDIS_BROKER_TREE_H

#include "broker/hash.h"
#include "broker/mem.h"
#include "proto/reader.h"

struct tree_node {
    struct tree_node *parent;
    struct tree_node *hash_next;
    struct tree_node *child;            /* first child; all of them, for walking; '+' and '#' come first */
    struct tree_node *prev, *next;      /* siblings */
    void *value;                        /* the user's; a node without value and children goes away */
    uint32_t hash_value;
    uint16_t len;
    bool has_plus, has_hash;            /* the children '+' and '#', among the first two */
    uint8_t level[];                    /* len bytes */
};
_Static_assert(offsetof(struct tree_node, level) <= 56, "one for each level of a million retained topics");

struct tree {
    struct hash_key key;
    enum mem_class mem;
    struct tree_node **slots;
    uint32_t mask, count;               /* slots - 1; nodes without the root */
    struct tree_node *root;             /* no level of its own */
};

/* false: no memory. */
bool tree_init(struct tree *t, const struct hash_key *key, enum mem_class mem);
/* Values must have been released before. */
void tree_fini(struct tree *t);

/* The node for this path, with all its parents; made when missing. NULL: no memory, nothing left behind.
 * A node made here must get a value or be given to tree_prune(). */
struct tree_node *tree_get(struct tree *t, struct view path);
struct tree_node *tree_find(const struct tree *t, struct view path);
/* Frees the node and its parents as long as they have neither value nor children. */
void tree_prune(struct tree *t, struct tree_node *n);
/* Writes the node's path; its length, or 0 when it is longer than cap. */
#define TREE_PATH_MAX 65535
size_t tree_path(const struct tree_node *n, uint8_t *buf, size_t cap);

/* Calls hit(value) for every node with a value whose path, read as a topic filter, matches the topic name.
 * No recursion; stack bounded by the depth of the name. */
void tree_match_name(const struct tree *t, struct view name, void (*hit)(void *arg, void *value), void *arg);
/* Calls hit(node) for every node with a value whose path, read as a topic name, is matched by the filter (no $share).
 * hit() must not change the tree. Stops early when it returns false. Returns how many nodes were looked at. */
size_t tree_match_filter(const struct tree *t, struct view filter, bool (*hit)(void *arg, struct tree_node *n), void *arg);

#endif
