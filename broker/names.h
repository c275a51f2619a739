/* A table of names, each with a number (the first that is added is 0, the next 1, and so on) and a value. A keyed hash
 * finds them, so a client that may choose what is looked up can't make it slow. Names and values are borrowed and must
 * outlive the table.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_NAMES_H
#define CADDIS_BROKER_NAMES_H

#include "broker/hash.h"
#include "proto/reader.h"

#define NAMES_NONE UINT32_MAX

struct name {
    struct view name, value;
};

struct names {
    struct hash_key key;
    struct name *v;             /* by number; room for cap / 2 */
    uint32_t *slots;            /* number + 1; 0: free */
    uint32_t count, cap;        /* cap: slots, a power of two, or 0 */
};

void names_init(struct names *n);
void names_fini(struct names *n);
/* NAMES_NONE: not there. */
uint32_t names_find(const struct names *n, struct view name);
/* A name that is not there yet. NAMES_NONE: no memory, nothing changed. */
uint32_t names_add(struct names *n, struct view name, struct view value);

#endif
