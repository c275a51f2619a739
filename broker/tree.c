/* Tree of topic levels.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/tree.h"

#include "proto/topic.h"

#include <string.h>

#define SLOTS_MIN 64u

bool tree_init(struct tree *t, const struct hash_key *key, enum mem_class mem)
{
    memset(t, 0, sizeof *t);
    t->key = *key;
    t->mem = mem;
    t->slots = mem_zero(mem, SLOTS_MIN * sizeof(struct tree_node *));
    t->mask = SLOTS_MIN - 1;
    t->root = mem_zero(mem, sizeof *t->root);
    if (t->slots != NULL && t->root != NULL)
        return true;
    tree_fini(t);
    return false;
}

static uint32_t edge_hash(const struct tree *t, const struct tree_node *parent, struct view level)
{
    return (uint32_t)hash_bytes(&t->key, (uint64_t)(uintptr_t)parent, level.p, level.len);
}

static struct tree_node *child_of(const struct tree *t, const struct tree_node *parent, struct view level)
{
    uint32_t h;

    if (parent->child == NULL)
        return NULL;
    h = edge_hash(t, parent, level);
    for (struct tree_node *n = t->slots[h & t->mask]; n != NULL; n = n->hash_next)
        if (n->hash_value == h && n->parent == parent && n->len == level.len &&
            (level.len == 0 || memcmp(n->level, level.p, level.len) == 0))
            return n;
    return NULL;
}

/* Keeps about one node per slot. Failing to resize only costs time. */
static void resize(struct tree *t, uint32_t size)
{
    struct tree_node **slots = mem_zero(t->mem, size * sizeof(struct tree_node *));

    if (slots == NULL)
        return;
    for (uint32_t i = 0; i <= t->mask; i++) {
        struct tree_node *n = t->slots[i];

        while (n != NULL) {
            struct tree_node *next = n->hash_next;

            n->hash_next = slots[n->hash_value & (size - 1)];
            slots[n->hash_value & (size - 1)] = n;
            n = next;
        }
    }
    mem_free(t->mem, t->slots);
    t->slots = slots;
    t->mask = size - 1;
}

static bool is_wild(const struct tree_node *n, char wildcard)
{
    return n->len == 1 && n->level[0] == wildcard;
}

/* The child '+' or '#', which is there. */
static struct tree_node *wild_child(const struct tree_node *parent, char wildcard)
{
    struct tree_node *n = parent->child;

    return is_wild(n, wildcard) ? n : n->next;
}

static void add_sibling(struct tree_node *parent, struct tree_node *n)
{
    struct tree_node *before = NULL;

    if (!is_wild(n, '+') && !is_wild(n, '#'))
        for (struct tree_node *c = parent->child; c != NULL && (is_wild(c, '+') || is_wild(c, '#')); c = c->next)
            before = c;
    n->prev = before;
    n->next = before != NULL ? before->next : parent->child;
    if (n->next != NULL)
        n->next->prev = n;
    if (before != NULL)
        before->next = n;
    else
        parent->child = n;
}

static struct tree_node *child_new(struct tree *t, struct tree_node *parent, struct view level)
{
    struct tree_node *n = mem_zero(t->mem, offsetof(struct tree_node, level) + level.len);

    if (n == NULL)
        return NULL;
    n->parent = parent;
    n->len = (uint16_t)level.len;
    if (level.len > 0)
        memcpy(n->level, level.p, level.len);
    n->hash_value = edge_hash(t, parent, level);
    if (t->count > t->mask)
        resize(t, (t->mask + 1) * 2);
    n->hash_next = t->slots[n->hash_value & t->mask];
    t->slots[n->hash_value & t->mask] = n;
    add_sibling(parent, n);
    parent->has_plus |= is_wild(n, '+');
    parent->has_hash |= is_wild(n, '#');
    t->count++;
    return n;
}

static void node_free(struct tree *t, struct tree_node *n)
{
    struct tree_node **at = &t->slots[n->hash_value & t->mask];

    while (*at != n)
        at = &(*at)->hash_next;
    *at = n->hash_next;
    if (n->prev != NULL)
        n->prev->next = n->next;
    else
        n->parent->child = n->next;
    if (n->next != NULL)
        n->next->prev = n->prev;
    n->parent->has_plus &= !is_wild(n, '+');
    n->parent->has_hash &= !is_wild(n, '#');
    t->count--;
    mem_free(t->mem, n);
}

void tree_prune(struct tree *t, struct tree_node *n)
{
    while (n != t->root && n->value == NULL && n->child == NULL) {
        struct tree_node *parent = n->parent;

        node_free(t, n);
        n = parent;
    }
    if (t->mask + 1 > SLOTS_MIN && t->count < (t->mask + 1) / 8)
        resize(t, (t->mask + 1) / 2);
}

struct tree_node *tree_get(struct tree *t, struct view path)
{
    struct tree_node *n = t->root;
    struct view level;

    while (topic_next_level(&path, &level)) {
        struct tree_node *c = child_of(t, n, level);

        if (c == NULL && (c = child_new(t, n, level)) == NULL) {
            tree_prune(t, n);
            return NULL;
        }
        n = c;
    }
    return n;
}

struct tree_node *tree_find(const struct tree *t, struct view path)
{
    struct tree_node *n = t->root;
    struct view level;

    while (n != NULL && topic_next_level(&path, &level))
        n = child_of(t, n, level);
    return n;
}

size_t tree_path(const struct tree_node *n, uint8_t *buf, size_t cap)
{
    size_t len = 0, at;

    for (const struct tree_node *i = n; i->parent != NULL; i = i->parent)
        len += i->len + (size_t)(i->parent->parent != NULL);
    if (len > cap)
        return 0;
    for (at = len; n->parent != NULL; n = n->parent) {
        at -= n->len;
        memcpy(buf + at, n->level, n->len);
        if (n->parent->parent != NULL)
            buf[--at] = '/';
    }
    return len;
}

void tree_fini(struct tree *t)
{
    for (uint32_t i = 0; t->slots != NULL && i <= t->mask; i++)
        while (t->slots[i] != NULL) {
            struct tree_node *n = t->slots[i];

            t->slots[i] = n->hash_next;
            mem_free(t->mem, n);
        }
    mem_free(t->mem, t->slots);
    mem_free(t->mem, t->root);
    memset(t, 0, sizeof *t);
}

static void hit_if_value(const struct tree_node *n, void (*hit)(void *, void *), void *arg)
{
    if (n != NULL && n->value != NULL)
        hit(arg, n->value);
}

/* Depth first. At each node the literal child is followed at once and '+' is remembered for later: one entry per
 * level at most waits, because a later entry is always deeper than the ones before it. */
void tree_match_name(const struct tree *t, struct view name, void (*hit)(void *, void *), void *arg)
{
    struct { struct tree_node *n; struct view rest; } wait[256], *stack = wait, *grown = NULL;
    size_t depth = 0, cap = sizeof wait / sizeof wait[0];
    struct tree_node *n = t->root;
    struct view rest = name, level;
    bool dollar = name.len > 0 && name.p[0] == '$';   /* [MQTT-4.7.2-1] */

    for (;;) {
        bool top = n == t->root;

        if (n->has_hash && !(top && dollar))
            hit_if_value(wild_child(n, '#'), hit, arg);        /* also matches the parent level itself */
        if (!topic_next_level(&rest, &level)) {
            hit_if_value(n, hit, arg);
            n = NULL;
        } else {
            if (n->has_plus && !(top && dollar)) {
                if (depth == cap) {
                    void *p = mem_grow(MEM_OTHER, grown, 2 * cap * sizeof wait[0]);

                    if (p == NULL)
                        break;
                    if (grown == NULL)
                        memcpy(p, wait, sizeof wait);
                    stack = grown = p;
                    cap *= 2;
                }
                stack[depth].n = wild_child(n, '+');
                stack[depth++].rest = rest;
            }
            n = child_of(t, n, level);
        }
        if (n == NULL) {
            if (depth == 0)
                break;
            n = stack[--depth].n;
            rest = stack[depth].rest;
        }
    }
    mem_free(MEM_OTHER, grown);
}

/* The next node after n in the subtree of top, parents before children; NULL at the end. */
static struct tree_node *preorder(const struct tree_node *top, struct tree_node *n)
{
    if (n->child != NULL)
        return n->child;
    while (n != top && n->next == NULL)
        n = n->parent;
    return n == top ? NULL : n->next;
}

static bool hit_subtree(struct tree_node *top, bool skip_dollar, bool (*hit)(void *, struct tree_node *), void *arg,
                        size_t *looked)
{
    struct tree_node *n = top;

    while (n != NULL) {
        ++*looked;
        if (skip_dollar && n->parent == top && n->len > 0 && n->level[0] == '$') {
            while (n != top && n->next == NULL)
                n = n->parent;
            n = n == top ? NULL : n->next;
            continue;
        }
        if (n->value != NULL && !hit(arg, n))
            return false;
        n = preorder(top, n);
    }
    return true;
}

/* '+' over the children of a node needs a way back: the sibling links are it, so the stack holds the filter's
 * position only, one entry per level. */
size_t tree_match_filter(const struct tree *t, struct view filter, bool (*hit)(void *, struct tree_node *), void *arg)
{
    size_t levels = topic_levels(filter), at = 0, looked = 0;
    struct view *part = mem_alloc(MEM_OTHER, levels * sizeof *part), rest = filter;
    struct tree_node *n = t->root;

    if (part == NULL)
        return 0;
    for (size_t i = 0; i < levels; i++)
        topic_next_level(&rest, &part[i]);
    for (;;) {
        bool descend = false;

        looked++;
        if (at < levels && part[at].len == 1 && part[at].p[0] == '#') {
            if (!hit_subtree(n, at == 0, hit, arg, &looked))
                break;
        } else if (at == levels) {
            if (n->value != NULL && !hit(arg, n))
                break;
        } else if (part[at].len == 1 && part[at].p[0] == '+') {
            struct tree_node *c = n->child;

            while (at == 0 && c != NULL && c->len > 0 && c->level[0] == '$')
                c = c->next;                          /* [MQTT-4.7.2-1] */
            descend = c != NULL;
            n = descend ? c : n;
        } else {
            struct tree_node *c = child_of(t, n, part[at]);

            descend = c != NULL;
            n = descend ? c : n;
        }
        if (descend) {
            at++;
            continue;
        }
        /* Back up to the nearest '+' that has another child to try. */
        for (;;) {
            if (at == 0)
                goto done;
            at--;
            if (part[at].len == 1 && part[at].p[0] == '+') {
                struct tree_node *c = n->next;

                while (at == 0 && c != NULL && c->len > 0 && c->level[0] == '$')
                    c = c->next;
                if (c != NULL) {
                    n = c;
                    at++;
                    break;
                }
            }
            n = n->parent;
        }
    }
done:
    mem_free(MEM_OTHER, part);
    return looked;
}
