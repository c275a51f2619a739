/* Two clocks. Timers and intervals run on the monotonic one, which counts suspended time too; only what is stored or
 * shown to people is wall-clock time. The turn reads both once (broker.now_ms, broker.wall_ms).
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_CLOCK_H
#define CADDIS_BROKER_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/timex.h>
#include <time.h>

static inline uint64_t clock_mono_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static inline int64_t clock_wall_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Does a time server keep the wall clock right? */
static inline bool clock_is_synchronized(void)
{
    struct timex t = { .modes = 0 };
    int state = adjtimex(&t);

    return state >= 0 && state != TIME_ERROR && (t.status & STA_UNSYNC) == 0;
}

#endif
