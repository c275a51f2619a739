/* Timer wheel.
 * Level n has 64 slots of 64^n ms. A timer sits in the lowest level whose span still reaches its due time; when the
 * clock enters a slot of a higher level, its timers are put in again and sink. used[] lets runs of empty slots be
 * skipped without looking at them.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/timer.h"

#include <limits.h>

#define SLOT_BITS 6
#define SPAN_MAX  ((1ull << (SLOT_BITS * WHEEL_LEVELS)) - 1)   /* 2.2 years; later ones are put in again */

static unsigned slot_of(uint64_t ms, unsigned level)
{
    return (unsigned)(ms >> (SLOT_BITS * level)) & (WHEEL_SLOTS - 1);
}

void wheel_init(struct wheel *w, uint64_t now_ms)
{
    w->now_ms = now_ms;
    for (unsigned l = 0; l < WHEEL_LEVELS; l++) {
        w->used[l] = 0;
        for (unsigned s = 0; s < WHEEL_SLOTS; s++)
            list_init(&w->slots[l][s]);
    }
}

void timer_init(struct timer *t, void (*fire)(struct timer *, void *arg))
{
    list_init(&t->link);
    t->due_ms = 0;
    t->fire = fire;
}

static void wheel_put(struct wheel *w, struct timer *t)
{
    /* Slot `now` of level 0 has been run already: the earliest place is the next millisecond. */
    uint64_t due = t->due_ms > w->now_ms ? t->due_ms : w->now_ms + 1;
    unsigned level = 0, slot;

    if (due - w->now_ms > SPAN_MAX)
        due = w->now_ms + SPAN_MAX;
    while (level + 1 < WHEEL_LEVELS && (due ^ w->now_ms) >> (SLOT_BITS * (level + 1)) != 0)
        level++;
    slot = slot_of(due, level);
    list_push(&w->slots[level][slot], &t->link);
    w->used[level] |= 1ull << slot;
}

void timer_arm(struct wheel *w, struct timer *t, uint64_t due_ms)
{
    list_unlink(&t->link);
    t->due_ms = due_ms;
    wheel_put(w, t);
}

void timer_disarm(struct timer *t)
{
    list_unlink(&t->link);
}

/* Ticks from now to the next used slot of this level, in that level's units; 0: none ahead. The highest level wraps. */
static unsigned next_used(const struct wheel *w, unsigned level)
{
    unsigned now = slot_of(w->now_ms, level);
    uint64_t rot = w->used[level];

    if (rot == 0)
        return 0;
    /* Rotate so that bit 0 is the slot after now. */
    now = (now + 1) & (WHEEL_SLOTS - 1);
    if (now > 0)
        rot = rot >> now | rot << (WHEEL_SLOTS - now);
    return (unsigned)__builtin_ctzll(rot) + 1;
}

/* The next moment at which a slot must be looked at; UINT64_MAX: none. */
static uint64_t next_event_ms(const struct wheel *w)
{
    uint64_t best = UINT64_MAX;

    for (unsigned l = 0; l < WHEEL_LEVELS; l++) {
        unsigned d = next_used(w, l);
        uint64_t at;

        if (d == 0)
            continue;
        at = ((w->now_ms >> (SLOT_BITS * l)) + d) << (SLOT_BITS * l);
        if (at < best)
            best = at;
    }
    return best;
}

static void run_slot(struct wheel *w, unsigned level, void *arg)
{
    unsigned slot = slot_of(w->now_ms, level);
    struct link due;

    if ((w->used[level] >> slot & 1) == 0)
        return;
    w->used[level] &= ~(1ull << slot);
    list_init(&due);
    list_splice(&due, &w->slots[level][slot]);
    while (!list_empty(&due)) {
        struct timer *t = LIST_ENTRY(due.next, struct timer, link);

        list_unlink(&t->link);
        if (t->due_ms <= w->now_ms)
            t->fire(t, arg);
        else
            wheel_put(w, t);
    }
}

void wheel_run(struct wheel *w, uint64_t now_ms, void *arg)
{
    for (;;) {
        uint64_t at = next_event_ms(w);

        if (at > now_ms)
            break;
        w->now_ms = at;
        for (unsigned l = WHEEL_LEVELS; l-- > 0;)
            if ((at & ((1ull << (SLOT_BITS * l)) - 1)) == 0)
                run_slot(w, l, arg);
    }
    if (now_ms > w->now_ms)
        w->now_ms = now_ms;
}

int wheel_wait_ms(const struct wheel *w, uint64_t now_ms)
{
    uint64_t at = next_event_ms(w);

    if (at == UINT64_MAX)
        return -1;
    if (at <= now_ms)
        return 0;
    return at - now_ms > INT_MAX ? INT_MAX : (int)(at - now_ms);
}
