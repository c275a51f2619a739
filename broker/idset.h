/* A set of packet identifiers. Empty costs nothing, a few cost an array, many a bitmap of 8 KiB.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_IDSET_H
#define CADDIS_BROKER_IDSET_H

#include <stdbool.h>
#include <stdint.h>

struct idset {
    uint16_t count;
    bool is_bitmap;
    void *mem;              /* uint16_t[IDSET_ARRAY] or uint64_t[1024] */
};

bool idset_has(const struct idset *s, uint16_t id);
/* false: no memory, nothing changed. Adding what is there is fine. */
bool idset_add(struct idset *s, uint16_t id);
/* Was it there? */
bool idset_remove(struct idset *s, uint16_t id);
void idset_clear(struct idset *s);

#endif
