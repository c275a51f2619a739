/* Timers: a hierarchical wheel of 1 ms ticks. A timer is embedded in what it times, so arming can't fail; arming,
 * moving and disarming cost a few stores. Nothing due means no wake-up.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_TIMER_H
#define CADDIS_BROKER_TIMER_H

#include "broker/list.h"

#include <stdint.h>

#define WHEEL_LEVELS 6
#define WHEEL_SLOTS  64

struct timer {
    struct link link;
    uint64_t due_ms;
    void (*fire)(struct timer *t, void *arg);
};

struct wheel {
    uint64_t now_ms;                             /* everything due up to here has fired */
    uint64_t used[WHEEL_LEVELS];                 /* bit per slot that may hold timers */
    struct link slots[WHEEL_LEVELS][WHEEL_SLOTS];
};

void wheel_init(struct wheel *w, uint64_t now_ms);

/* Before the first timer_arm(). fire() is called once, disarmed; it may arm itself or any other timer again. */
void timer_init(struct timer *t, void (*fire)(struct timer *, void *arg));
/* Arms or moves. due_ms in the past fires at the next wheel_run(). */
void timer_arm(struct wheel *w, struct timer *t, uint64_t due_ms);
void timer_disarm(struct timer *t);
static inline bool timer_armed(const struct timer *t)
{
    return link_used(&t->link);
}

/* Fires everything due at or before now_ms, in order of slots (within 1 ms: of arming). */
void wheel_run(struct wheel *w, uint64_t now_ms, void *arg);
/* Milliseconds until something may be due: 0 now, -1 never. May be early (a slot that must be cascaded), never late. */
int wheel_wait_ms(const struct wheel *w, uint64_t now_ms);

#endif
