/* SipHash-1-3.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/hash.h"

#include "broker/clock.h"

#include <string.h>
#include <sys/random.h>

void hash_key_init(struct hash_key *k)
{
    if (getrandom(k, sizeof *k, GRND_NONBLOCK) == (ssize_t)sizeof *k)
        return;
    k->k0 = clock_mono_ms() * 0x9E3779B97F4A7C15u ^ (uint64_t)(uintptr_t)k;
    k->k1 = (uint64_t)clock_wall_ms() * 0xC2B2AE3D27D4EB4Fu;
}

static inline uint64_t rotl(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

struct sip {
    uint64_t a, b, c, d;
};

static inline void sip_round(struct sip *s)
{
    s->a += s->b;
    s->c += s->d;
    s->b = rotl(s->b, 13) ^ s->a;
    s->d = rotl(s->d, 16) ^ s->c;
    s->a = rotl(s->a, 32);
    s->c += s->b;
    s->a += s->d;
    s->b = rotl(s->b, 17) ^ s->c;
    s->d = rotl(s->d, 21) ^ s->a;
    s->c = rotl(s->c, 32);
}

uint64_t hash_bytes(const struct hash_key *k, uint64_t seed, const void *p, size_t n)
{
    struct sip s = { k->k0 ^ 0x736f6d6570736575u ^ seed, k->k1 ^ 0x646f72616e646f6du,
                     k->k0 ^ 0x6c7967656e657261u ^ rotl(seed, 32), k->k1 ^ 0x7465646279746573u };
    const uint8_t *q = p;
    uint64_t w, last = (uint64_t)n << 56;

    for (; n >= 8; n -= 8, q += 8) {
        memcpy(&w, q, 8);
        s.d ^= w;
        sip_round(&s);
        s.a ^= w;
    }
    for (size_t i = 0; i < n; i++)
        last |= (uint64_t)q[i] << (8 * i);
    s.d ^= last;
    sip_round(&s);
    s.a ^= last;
    s.c ^= 0xff;
    sip_round(&s);
    sip_round(&s);
    sip_round(&s);
    return s.a ^ s.b ^ s.c ^ s.d;
}
