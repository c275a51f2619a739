/* Credentials that were verified lately, so that a client that reconnects does not cost a key derivation each time.
 *
 * An entry is an HMAC over user name, password and the stored hash, under a random key that never leaves the process.
 * It says nothing to who reads the memory later, and a changed hash in the file makes it worthless: nothing has to be
 * cleared when the file is loaded again, and one cache serves several files. Only successes are remembered.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_PASSWD_CACHE_H
#define CADDIS_BROKER_PASSWD_CACHE_H

#include "broker/crypto.h"

struct passwd_cache;

struct passwd_mark {
    uint8_t mac[SHA256_LEN];
};

/* entries: how many at most, rounded up to a power of two; 32 bytes each, allocated with the first success. NULL: no
 * memory or no random bytes. */
struct passwd_cache *passwd_cache_new(uint32_t entries);
void passwd_cache_free(struct passwd_cache **cp);
/* What the cache knows these credentials by. */
bool passwd_cache_mark(const struct passwd_cache *c, struct view user, struct view password, struct view stored,
                       struct passwd_mark *m) CRYPTO_MUST_CHECK;
bool passwd_cache_has(struct passwd_cache *c, const struct passwd_mark *m);
/* Forgets another one of the same set where there is no room: the one not seen for longest. */
void passwd_cache_add(struct passwd_cache *c, const struct passwd_mark *m);

#endif
