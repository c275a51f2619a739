/* Filters.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/filter.h"

#include "proto/topic.h"

#include <assert.h>
#include <string.h>

#define SLOTS_MIN 64u

bool filters_init(struct filters *t, const struct hash_key *key)
{
    *t = (struct filters){ .mask = SLOTS_MIN - 1 };
    t->slots = mem_zero(MEM_TREE, SLOTS_MIN * sizeof(struct filter *));
    return t->slots != NULL && tree_init(&t->tree, key, MEM_TREE);
}

void filters_fini(struct filters *t)
{
    assert(t->count == 0);
    mem_free(MEM_TREE, t->slots);
    t->slots = NULL;
    tree_fini(&t->tree);
}

/* ---- the table ---- */

static uint32_t hash_of(const struct filters *t, struct view text)
{
    return (uint32_t)hash_bytes(&t->tree.key, 0, text.p, text.len);
}

static struct filter *find(const struct filters *t, uint32_t hash, struct view text)
{
    for (struct filter *f = t->slots[hash & t->mask]; f != NULL; f = f->hash_next)
        if (f->hash == hash && f->len == text.len && memcmp(f->text, text.p, text.len) == 0)
            return f;
    return NULL;
}

struct filter *filter_find(const struct filters *t, struct view text)
{
    return find(t, hash_of(t, text), text);
}

/* Keeps about one filter per slot. Failing to resize only costs time. */
static void resize(struct filters *t, uint32_t size)
{
    struct filter **slots = mem_zero(MEM_TREE, size * sizeof(struct filter *));

    if (slots == NULL)
        return;
    for (uint32_t i = 0; i <= t->mask; i++)
        for (struct filter *f = t->slots[i], *next; f != NULL; f = next) {
            next = f->hash_next;
            f->hash_next = slots[f->hash & (size - 1)];
            slots[f->hash & (size - 1)] = f;
        }
    mem_free(MEM_TREE, t->slots);
    t->slots = slots;
    t->mask = size - 1;
}

static void table_add(struct filters *t, struct filter *f)
{
    if (t->count > t->mask)
        resize(t, (t->mask + 1) * 2);
    f->hash_next = t->slots[f->hash & t->mask];
    t->slots[f->hash & t->mask] = f;
    t->count++;
}

static void table_remove(struct filters *t, const struct filter *f)
{
    struct filter **at = &t->slots[f->hash & t->mask];

    while (*at != f)
        at = &(*at)->hash_next;
    *at = f->hash_next;
    t->count--;
    if (t->mask + 1 > SLOTS_MIN && t->count < (t->mask + 1) / 8)
        resize(t, (t->mask + 1) / 2);
}

/* ---- come and go ---- */

static bool is_sys(const struct filter *f)
{
    return f->len >= 4 && memcmp(f->text, "$SYS", 4) == 0 && (f->len == 4 || f->text[4] == '/');
}

static bool hang_in_tree(struct filters *t, struct filter *f)
{
    struct tree_node *n = tree_get(&t->tree, filter_text(f));

    if (n == NULL)
        return false;
    n->value = f;
    return true;
}

static void take_from_tree(struct filters *t, const struct filter *f)
{
    struct tree_node *n = tree_find(&t->tree, filter_text(f));

    assert(n != NULL && n->value == f);
    n->value = NULL;
    tree_prune(&t->tree, n);
}

struct filter *filter_get(struct filters *t, struct view text)
{
    uint32_t hash = hash_of(t, text);
    struct filter *f = find(t, hash, text);

    if (f != NULL)
        return f;
    f = mem_zero(MEM_TREE, offsetof(struct filter, text) + text.len);
    if (f == NULL)
        return NULL;
    f->hash = hash;
    f->len = (uint16_t)text.len;
    f->wild = topic_has_wildcard(text);
    memcpy(f->text, text.p, text.len);
    if (f->wild && !hang_in_tree(t, f)) {
        mem_free(MEM_TREE, f);
        return NULL;
    }
    table_add(t, f);
    t->sys_count += is_sys(f);
    return f;
}

void filter_prune(struct filters *t, struct filter *f)
{
    if (f->subs != NULL || f->shares != NULL)
        return;
    if (f->wild)
        take_from_tree(t, f);
    table_remove(t, f);
    t->sys_count -= is_sys(f);
    mem_free(MEM_TREE, f);
}

/* ---- matching ---- */

void filters_match(const struct filters *t, struct view topic, void (*hit)(void *arg, void *filter), void *arg)
{
    struct filter *equal = filter_find(t, topic);

    if (equal != NULL)
        hit(arg, equal);
    if (t->tree.count > 0)
        tree_match_name(&t->tree, topic, hit, arg);
}
