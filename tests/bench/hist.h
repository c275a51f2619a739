/* A histogram of times in ns: 32 steps per power of two, so a percentile is right within 3 %, in 15 KB.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BENCH_HIST_H
#define CADDIS_BENCH_HIST_H

#include <stdint.h>

enum { HIST_STEPS = 32, HIST_SLOTS = 60 * HIST_STEPS };

struct hist {
    uint64_t slots[HIST_SLOTS];
    uint64_t count, max_ns;
};

void hist_add(struct hist *h, uint64_t ns);
/* The time that `share` (0..1) of the values do not exceed; 0 when there are none. */
uint64_t hist_quantile_ns(const struct hist *h, double share);

#endif
