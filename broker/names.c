/* A table of names: open addressing, at most half full.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/names.h"

#include "broker/mem.h"

#include <string.h>

void names_init(struct names *n)
{
    memset(n, 0, sizeof *n);
    hash_key_init(&n->key);
}

void names_fini(struct names *n)
{
    mem_free(MEM_OTHER, n->v);
    mem_free(MEM_OTHER, n->slots);
    n->v = NULL;
    n->slots = NULL;
    n->count = n->cap = 0;
}

/* The slot of the name, or the free one where it belongs. */
static uint32_t *slot(const struct names *n, struct view name)
{
    uint32_t i = (uint32_t)hash_bytes(&n->key, 0, name.p, name.len) & (n->cap - 1);

    while (n->slots[i] != 0 && !view_same(n->v[n->slots[i] - 1].name, name))
        i = (i + 1) & (n->cap - 1);
    return &n->slots[i];
}

uint32_t names_find(const struct names *n, struct view name)
{
    return n->cap > 0 ? *slot(n, name) - 1 : NAMES_NONE;    /* a free slot: 0 - 1 */
}

static bool grow(struct names *n)
{
    struct names bigger = *n;

    bigger.cap = n->cap > 0 ? n->cap * 2 : 16;
    if (bigger.cap == 0)
        return false;
    bigger.slots = mem_zero(MEM_OTHER, bigger.cap * sizeof *bigger.slots);
    bigger.v = bigger.slots != NULL ? mem_grow(MEM_OTHER, n->v, bigger.cap / 2 * sizeof *bigger.v) : NULL;
    if (bigger.v == NULL) {
        mem_free(MEM_OTHER, bigger.slots);
        return false;
    }
    for (uint32_t i = 0; i < n->count; i++)
        *slot(&bigger, bigger.v[i].name) = i + 1;
    mem_free(MEM_OTHER, n->slots);
    *n = bigger;
    return true;
}

uint32_t names_add(struct names *n, struct view name, struct view value)
{
    if (n->count == n->cap / 2 && !grow(n))
        return NAMES_NONE;
    n->v[n->count] = (struct name){ name, value };
    *slot(n, name) = n->count + 1;
    return n->count++;
}
