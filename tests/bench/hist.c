/* A histogram of times: see hist.h.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/hist.h"

/* Below 32 every value has its slot; above, the five bits after the leading one choose it. */
static unsigned slot_of(uint64_t ns)
{
    if (ns < HIST_STEPS)
        return (unsigned)ns;
    unsigned shift = 58 - (unsigned)__builtin_clzll(ns);

    return (shift + 1) * HIST_STEPS + (unsigned)((ns >> shift) & (HIST_STEPS - 1));
}

static uint64_t slot_end_ns(unsigned slot)
{
    if (slot < HIST_STEPS)
        return slot;
    unsigned shift = slot / HIST_STEPS - 1;

    return ((uint64_t)(HIST_STEPS + slot % HIST_STEPS + 1) << shift) - 1;
}

void hist_add(struct hist *h, uint64_t ns)
{
    h->slots[slot_of(ns)]++;
    h->count++;
    if (ns > h->max_ns)
        h->max_ns = ns;
}

uint64_t hist_quantile_ns(const struct hist *h, double share)
{
    uint64_t seen = 0;

    if (h->count == 0)
        return 0;
    for (unsigned i = 0; i < HIST_SLOTS; i++) {
        seen += h->slots[i];
        if ((double)seen >= share * (double)h->count)
            return slot_end_ns(i) < h->max_ns ? slot_end_ns(i) : h->max_ns;
    }
    return h->max_ns;
}
