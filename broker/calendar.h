/* Times in the store.
 *
 * RAM knows the monotonic clock alone. The store has UTC, for people and for the next run, and this translates. A wall
 * clock that is set (a board that booted in 1970 and hears from a time server; a date put right by hand) means that it
 * was wrong since the machine booted: what has been recorded since is moved by as much, in the store too, so that an
 * instant stays the same instant. What earlier boots recorded was recorded by another clock, and stays; unless that
 * one was never right either.
 *
 *  C1  What was recorded before lies before all that this clock records: it begins after the newest of it, even if the
 *      wall clock does not agree. So nothing is ever in the future, and a time says by which clock it is.
 *  C2  Setting the clock makes nothing expire: what this clock recorded keeps its age, and the age of the rest is judged
 *      as it was when the broker started. The next start judges anew.
 *  C3  The move and the note of it are one commit. If the broker dies before it, the next start in the same boot sees
 *      that the clock has been set since.
 *
 * A clock that is wrong, but later than all that is stored, can't be told from a right one until it is set.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_CALENDAR_H
#define CADDIS_BROKER_CALENDAR_H

#include "broker/loop.h"
#include "broker/timer.h"
#include "persist/persist.h"

struct broker;

struct calendar {
    int64_t zero_ms;            /* UTC of monotonic 0, for what was recorded by this clock */
    int64_t old_zero_ms;        /* the same for what was recorded before; stays */
    int64_t first_ms;           /* monotonic: when this clock began; negative: before the machine booted */
    int64_t before_ms;          /* UTC: the newest of what was recorded before; 0: nothing */
    int64_t move_ms;            /* with the next commit */
    uint64_t next_ms;           /* no move before, lest a clock gone mad keep the disk busy */
    struct timer timer;
    struct loop_source set;     /* wakes a broker that sleeps when the wall clock is set */
};

/* Without a store, or before there is one: the wall clock as it is. */
void calendar_init(struct broker *b);
/* With the loop. Where the kernel can't tell, the setting of the clock is noticed when something else happens. */
void calendar_watch(struct broker *b);
void calendar_fini(struct broker *b);
/* At start, before anything is read; may change the store. */
enum persist_rc calendar_start(struct broker *b);
/* Has the wall clock been set? Once a turn. */
void calendar_turn(struct broker *b);
/* The part of a commit that moves what is stored, and what is to be done when that has succeeded. */
enum persist_rc calendar_write(struct broker *b);
void calendar_written(struct broker *b);

/* Of a monotonic time at which something was recorded: what to store; and back. Negative: before the machine
 * booted. */
int64_t calendar_utc(const struct broker *b, int64_t recorded_ms);
int64_t calendar_mono(const struct broker *b, int64_t recorded_utc_ms);
int64_t calendar_now(const struct broker *b);
/* What was recorded from then on was recorded by this clock. */
int64_t calendar_since(const struct broker *b);
/* The same for when something is due that was recorded at that time. Not 0; may be past. */
int64_t calendar_due_utc(const struct broker *b, int64_t recorded_ms, uint64_t due_ms);
uint64_t calendar_due(const struct broker *b, int64_t recorded_utc_ms, int64_t due_utc_ms);

#endif
