/* Verified credentials: sets of four, the oldest of a set goes.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/passwd_cache.h"

#include "broker/mem.h"

#include <string.h>

enum { WAYS = 4, MAC_KEPT = 24 };

struct entry {
    uint64_t seen;              /* 0: free */
    uint8_t mac[MAC_KEPT];
};

struct passwd_cache {
    uint8_t key[SHA256_LEN];
    uint64_t clock;             /* counts uses */
    uint32_t sets;
    struct entry *v;            /* NULL until there is something to remember */
};

struct passwd_cache *passwd_cache_new(uint32_t entries)
{
    struct passwd_cache *c = mem_zero(MEM_OTHER, sizeof *c);

    if (c == NULL)
        return NULL;
    for (c->sets = 1; c->sets < entries / WAYS && c->sets < 1u << 20;)
        c->sets *= 2;
    if (!crypto_random(c->key, sizeof c->key))
        passwd_cache_free(&c);
    return c;
}

void passwd_cache_free(struct passwd_cache **cp)
{
    if (*cp == NULL)
        return;
    mem_free(MEM_OTHER, (*cp)->v);
    explicit_bzero(*cp, sizeof **cp);
    mem_free(MEM_OTHER, *cp);
    *cp = NULL;
}

bool passwd_cache_mark(const struct passwd_cache *c, struct view user, struct view password, struct view stored,
                       struct passwd_mark *m)
{
    /* Lengths first: "ab" with "c" is not "a" with "bc". */
    uint64_t lengths[2] = { user.len, password.len };
    struct view parts[] = { { (const uint8_t *)lengths, sizeof lengths }, user, password, stored };

    return crypto_hmac(CRYPTO_SHA256, (struct view){ c->key, sizeof c->key }, parts, 4, m->mac);
}

static struct entry *set_of(struct passwd_cache *c, const struct passwd_mark *m)
{
    uint32_t i;

    memcpy(&i, m->mac + MAC_KEPT, sizeof i);
    return &c->v[(size_t)(i & (c->sets - 1)) * WAYS];
}

static struct entry *find(struct passwd_cache *c, const struct passwd_mark *m)
{
    struct entry *e = set_of(c, m);

    for (unsigned i = 0; i < WAYS; i++)
        if (e[i].seen != 0 && crypto_same(e[i].mac, m->mac, MAC_KEPT))
            return &e[i];
    return NULL;
}

bool passwd_cache_has(struct passwd_cache *c, const struct passwd_mark *m)
{
    struct entry *e = c->v != NULL ? find(c, m) : NULL;

    if (e != NULL)
        e->seen = ++c->clock;
    return e != NULL;
}

void passwd_cache_add(struct passwd_cache *c, const struct passwd_mark *m)
{
    struct entry *e, *oldest;

    if (c->v == NULL)
        c->v = mem_zero(MEM_OTHER, (size_t)c->sets * WAYS * sizeof *c->v);
    if (c->v == NULL || passwd_cache_has(c, m))
        return;                 /* without memory it is slower, nothing else */
    e = oldest = set_of(c, m);
    for (unsigned i = 1; i < WAYS; i++)
        if (e[i].seen < oldest->seen)
            oldest = &e[i];
    memcpy(oldest->mac, m->mac, MAC_KEPT);
    oldest->seen = ++c->clock;
}
