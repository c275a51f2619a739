/* SipHash-1-3 with a key drawn at start: whoever chooses client ids and topics can't choose collisions.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_HASH_H
#define CADDIS_BROKER_HASH_H

#include <stddef.h>
#include <stdint.h>

struct hash_key {
    uint64_t k0, k1;
};

/* From getrandom(2); falls back to the clock and addresses where the kernel has no entropy yet (early boot). */
void hash_key_init(struct hash_key *k);
/* seed: mixed in, so that (parent, level) pairs need no copying. */
uint64_t hash_bytes(const struct hash_key *k, uint64_t seed, const void *p, size_t n);

#endif
