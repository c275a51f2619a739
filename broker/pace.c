/* Pacing of failed logins. A bucket is kept as one number: the time when it will be full again. That needs no
 * refilling, and an empty place in the table is a bucket that was full at time 0.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/pace.h"

#include "broker/hash.h"
#include "broker/mem.h"

#include <arpa/inet.h>
#include <string.h>

enum { SETS = 64, WAYS = 4 };

struct bucket {
    uint64_t who;
    uint64_t full_ms;           /* monotonic */
};

struct pace {
    struct hash_key key;
    struct bucket v[SETS][WAYS];
};

struct pace *pace_new(void)
{
    struct pace *p = mem_zero(MEM_OTHER, sizeof *p);

    if (p != NULL)
        hash_key_init(&p->key);
    return p;
}

void pace_free(struct pace **pp)
{
    mem_free(MEM_OTHER, *pp);
    *pp = NULL;
}

static uint64_t who_is(const struct pace *p, const char *peer)
{
    const char *colon = strrchr(peer, ':');
    size_t n = colon != NULL ? (size_t)(colon - peer) : strlen(peer);
    char text[INET6_ADDRSTRLEN];
    struct in6_addr in6;

    if (n > 2 && peer[0] == '[' && peer[n - 1] == ']' && n - 2 < sizeof text) {
        memcpy(text, peer + 1, n - 2);
        text[n - 2] = '\0';
        text[strcspn(text, "%")] = '\0';        /* a link-local address names its interface */
        if (inet_pton(AF_INET6, text, &in6) == 1)
            return IN6_IS_ADDR_V4MAPPED(&in6) ? hash_bytes(&p->key, 4, in6.s6_addr + 12, 4)
                                              : hash_bytes(&p->key, 6, in6.s6_addr, 8);
    }
    return hash_bytes(&p->key, 0, peer, n);
}

/* The peer's bucket, or the one it would take over: that which is, or will be, full first. */
static struct bucket *bucket(struct pace *p, const char *peer)
{
    uint64_t who = who_is(p, peer);
    struct bucket *set = p->v[who % SETS], *first = set;

    for (unsigned i = 0; i < WAYS; i++) {
        if (set[i].who == who)
            return &set[i];
        if (set[i].full_ms < first->full_ms)
            first = &set[i];
    }
    return first;
}

uint64_t pace_wait_ms(struct pace *p, const char *peer, uint64_t now_ms)
{
    const struct bucket *b = bucket(p, peer);
    uint64_t last = now_ms + (PACE_BURST - 1) * PACE_REFILL_MS;     /* full by then: there is a token now */

    return b->who == who_is(p, peer) && b->full_ms > last ? b->full_ms - last : 0;
}

bool pace_may_try(struct pace *p, const char *peer, uint64_t now_ms)
{
    return pace_wait_ms(p, peer, now_ms) == 0;
}

void pace_failed(struct pace *p, const char *peer, uint64_t now_ms)
{
    struct bucket *b = bucket(p, peer);
    uint64_t who = who_is(p, peer), most = now_ms + PACE_BURST * PACE_REFILL_MS;

    if (b->who != who || b->full_ms < now_ms)
        *b = (struct bucket){ who, now_ms };
    b->full_ms = b->full_ms + PACE_REFILL_MS < most ? b->full_ms + PACE_REFILL_MS : most;
}
