/* Packet identifier sets.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/idset.h"

#include "broker/mem.h"

#define IDSET_ARRAY 32

static int array_find(const struct idset *s, uint16_t id)
{
    const uint16_t *v = s->mem;

    for (int i = 0; i < s->count; i++)
        if (v[i] == id)
            return i;
    return -1;
}

bool idset_has(const struct idset *s, uint16_t id)
{
    const uint64_t *bits = s->mem;

    if (s->is_bitmap)
        return (bits[id >> 6] >> (id & 63) & 1) != 0;
    return array_find(s, id) >= 0;
}

static bool to_bitmap(struct idset *s)
{
    uint64_t *bits = mem_zero(MEM_SESSION, 65536 / 8);
    uint16_t *v = s->mem;

    if (bits == NULL)
        return false;
    for (int i = 0; i < s->count; i++)
        bits[v[i] >> 6] |= 1ull << (v[i] & 63);
    mem_free(MEM_SESSION, v);
    s->mem = bits;
    s->is_bitmap = true;
    return true;
}

bool idset_add(struct idset *s, uint16_t id)
{
    if (idset_has(s, id))
        return true;
    if (s->mem == NULL && (s->mem = mem_alloc(MEM_SESSION, IDSET_ARRAY * sizeof(uint16_t))) == NULL)
        return false;
    if (!s->is_bitmap && s->count == IDSET_ARRAY && !to_bitmap(s))
        return false;
    if (s->is_bitmap)
        ((uint64_t *)s->mem)[id >> 6] |= 1ull << (id & 63);
    else
        ((uint16_t *)s->mem)[s->count] = id;
    s->count++;
    return true;
}

bool idset_remove(struct idset *s, uint16_t id)
{
    uint16_t *v = s->mem;
    int i;

    if (s->is_bitmap) {
        if (!idset_has(s, id))
            return false;
        ((uint64_t *)s->mem)[id >> 6] &= ~(1ull << (id & 63));
    } else {
        if ((i = array_find(s, id)) < 0)
            return false;
        v[i] = v[s->count - 1];
    }
    if (--s->count == 0)
        idset_clear(s);
    return true;
}

void idset_clear(struct idset *s)
{
    mem_free(MEM_SESSION, s->mem);
    *s = (struct idset){ 0 };
}
