/* Decisions from a seed, and the clock: see dice.h.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/crash/dice.h"

#include <time.h>

static uint64_t random_state;

void rnd_seed(uint64_t seed)
{
    random_state = seed;
}

uint32_t rnd(uint32_t below)
{
    uint64_t x = random_state += 0x9E3779B97F4A7C15u;

    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    x ^= x >> 31;
    return below > 1 ? (uint32_t)(x % below) : 0;
}

bool chance(uint32_t one_in)
{
    return rnd(one_in) == 0;
}

uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}
