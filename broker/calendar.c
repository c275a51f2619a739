/* Times in the store: what the wall clock says, and what it should have said.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/broker.h"
#include "broker/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* A clock that is off by less is left alone. One that is slewed does not get there: the monotonic clock goes with it. */
#define SET_MS 2000
/* What moves once need not move again soon. */
#define PAUSE_MS 10000
/* 2025-01-01. No clock that is right says less. */
#define PLAUSIBLE_MS INT64_C(1735689600000)

/* ---- translating ---- */

static int64_t zero_of(const struct calendar *c, int64_t recorded_ms)
{
    return recorded_ms < c->first_ms ? c->old_zero_ms : c->zero_ms;
}

int64_t calendar_utc(const struct broker *b, int64_t recorded_ms)
{
    return zero_of(&b->calendar, recorded_ms) + recorded_ms;
}

int64_t calendar_mono(const struct broker *b, int64_t recorded_utc_ms)
{
    const struct calendar *c = &b->calendar;

    return recorded_utc_ms - (recorded_utc_ms < calendar_since(b) ? c->old_zero_ms : c->zero_ms);
}

int64_t calendar_now(const struct broker *b)
{
    return b->calendar.zero_ms + (int64_t)b->now_ms;
}

int64_t calendar_since(const struct broker *b)
{
    return b->calendar.zero_ms + b->calendar.first_ms;
}

int64_t calendar_due_utc(const struct broker *b, int64_t recorded_ms, uint64_t due_ms)
{
    int64_t utc_ms = zero_of(&b->calendar, recorded_ms) + (int64_t)due_ms;

    return utc_ms > 0 ? utc_ms : 1;
}

uint64_t calendar_due(const struct broker *b, int64_t recorded_utc_ms, int64_t due_utc_ms)
{
    int64_t recorded_ms = calendar_mono(b, recorded_utc_ms), due_ms = due_utc_ms - zero_of(&b->calendar, recorded_ms);

    return due_ms > 0 ? (uint64_t)due_ms : 1;
}

/* ---- the clock was set ---- */

/* What zero_ms should be. C1 */
static int64_t wanted_zero(const struct broker *b)
{
    const struct calendar *c = &b->calendar;
    int64_t by_clock = b->wall_ms - (int64_t)b->now_ms, least = c->before_ms + 1 - c->first_ms;

    return by_clock > least ? by_clock : least;
}

static int64_t move_wanted(const struct broker *b)
{
    int64_t by_ms = wanted_zero(b) - b->calendar.zero_ms;

    return by_ms > SET_MS || by_ms < -SET_MS ? by_ms : 0;
}

static void say(int64_t by_ms, const char *when)
{
    log_notice("the clock was set %s: what has been recorded since the machine booted is moved by_s=%" PRId64, when,
               by_ms / 1000);
}

static void idle(struct timer *t, void *arg)
{
    (void)t;
    (void)arg;
}

void calendar_turn(struct broker *b)
{
    struct calendar *c = &b->calendar;

    c->move_ms = move_wanted(b);
    if (c->move_ms == 0)
        return;
    if (b->now_ms < c->next_ms && !b->stopping) {
        c->move_ms = 0;
        timer_arm(&b->wheel, &c->timer, c->next_ms);
        return;
    }
    if (!journal_on(&b->journal))
        calendar_written(b);
    else if (!b->journal.broken)
        journal_next(b);
}

enum persist_rc calendar_write(struct broker *b)
{
    const struct calendar *c = &b->calendar;

    return c->move_ms == 0 ? PERSIST_OK : persist_clock_move(b->journal.db, calendar_since(b), c->move_ms);
}

void calendar_written(struct broker *b)
{
    struct calendar *c = &b->calendar;
    int64_t since_ms = calendar_since(b), by_ms = c->move_ms;

    if (by_ms == 0)
        return;
    say(by_ms, "while the broker runs");
    for (struct session *s = NULL; (s = session_each(&b->sessions, s)) != NULL;) {
        if (s->connected_ms >= since_ms)
            s->connected_ms += by_ms;
        if (s->disconnected_ms >= since_ms)
            s->disconnected_ms += by_ms;
    }
    c->zero_ms += by_ms;
    c->move_ms = 0;
    c->next_ms = b->now_ms + PAUSE_MS;
}

/* ---- to hear of it at once ---- */

/* A timer that never runs out, but ends when somebody sets the clock that it runs on. */
static bool wait_for_set(int fd)
{
    const struct itimerspec never = { .it_value.tv_sec = sizeof(time_t) > 4 ? (time_t)LONG_MAX : (time_t)INT32_MAX };

    return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) == 0;
}

static void was_set(struct loop_source *s, unsigned events, void *arg)
{
    struct broker *b = arg;
    uint64_t n;

    (void)events;
    if (read(s->fd, &n, sizeof n) < 0 && errno == EAGAIN)
        return;
    if (!wait_for_set(s->fd))
        calendar_fini(b);
}

/* ---- start ---- */

void calendar_init(struct broker *b)
{
    int64_t zero_ms = b->wall_ms - (int64_t)b->now_ms;

    b->calendar = (struct calendar){ .zero_ms = zero_ms, .old_zero_ms = zero_ms, .first_ms = (int64_t)b->now_ms };
    timer_init(&b->calendar.timer, idle);
    b->calendar.set = (struct loop_source){ .fd = -1, .ready = was_set };
}

void calendar_watch(struct broker *b)
{
    int fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);

    if (fd >= 0 && (!wait_for_set(fd) || loop_add(&b->loop, &b->calendar.set, fd, LOOP_READ) < 0))
        close(fd);
}

void calendar_fini(struct broker *b)
{
    int fd = b->calendar.set.fd;

    timer_disarm(&b->calendar.timer);
    if (fd < 0)
        return;
    loop_del(&b->loop, &b->calendar.set);
    close(fd);
}

static enum persist_rc move_now(struct broker *b, int64_t since_ms, int64_t by_ms)
{
    struct persist *db = b->journal.db;
    enum persist_rc rc = persist_begin(db);

    if (rc == PERSIST_OK)
        rc = persist_clock_move(db, since_ms, by_ms);
    if (rc == PERSIST_OK)
        rc = persist_commit(db);
    if (rc != PERSIST_OK)
        persist_rollback(db);
    return rc;
}

/* The store is ahead of a clock that a time server vouches for: a wrong clock has been at work in it. What is in the
 * future is moved to end now. */
static enum persist_rc bring_back(struct broker *b, struct persist_clock *then)
{
    int64_t newest_ms = then->same_boot ? then->zero_ms + (int64_t)b->now_ms : then->newest_ms;
    enum persist_rc rc = move_now(b, b->wall_ms + 1, b->wall_ms - newest_ms);

    log_warning("the store was ahead of the clock, which a time server has set: what was in the future is moved by_s=%"
                PRId64, (b->wall_ms - newest_ms) / 1000);
    if (rc == PERSIST_OK)
        rc = persist_clock(b->journal.db, then);
    then->before_ms = then->same_boot ? then->since_ms - 1 : then->before_ms;
    return rc;
}

/* Was the clock that the last run recorded by never right? It began where the one before ended (C1), or long ago. */
static bool was_unset(const struct persist_clock *then)
{
    return then->since_ms != 0 && (then->since_ms == then->before_ms + 1 || then->since_ms < PLAUSIBLE_MS);
}

/* The machine has not booted since the last run. */
static enum persist_rc go_on(struct broker *b, const struct persist_clock *then)
{
    struct calendar *c = &b->calendar;
    enum persist_rc rc = PERSIST_OK;
    int64_t by_ms;

    c->zero_ms = then->zero_ms;
    c->first_ms = then->since_ms - then->zero_ms;
    c->before_ms = then->before_ms;
    by_ms = move_wanted(b);
    if (by_ms != 0) {
        say(by_ms, "while the broker was down");
        rc = move_now(b, then->since_ms, by_ms);
        c->zero_ms += by_ms;
    }
    return rc;
}

/* How long the machine was off is known if its clock was right before and is now. What was recorded by a clock that was
 * never right keeps its age: it moves at once if this clock is right, or else when this one is set. */
static enum persist_rc begin_anew(struct broker *b, const struct persist_clock *then)
{
    struct calendar *c = &b->calendar;
    int64_t by_ms = b->wall_ms - then->newest_ms;
    bool unset = by_ms < 0 || b->wall_ms < PLAUSIBLE_MS;
    enum persist_rc rc = PERSIST_OK;

    c->first_ms = (int64_t)b->now_ms;
    c->before_ms = then->newest_ms;
    if (was_unset(then) && !unset) {
        say(by_ms, "while the machine was down");
        rc = move_now(b, then->since_ms, by_ms);
        c->before_ms = b->wall_ms;
    }
    c->zero_ms = wanted_zero(b);
    if (was_unset(then) && unset) {
        c->zero_ms = then->newest_ms + 1 - (int64_t)b->now_ms;
        c->first_ms = then->since_ms - c->zero_ms;
        c->before_ms = then->since_ms - 1;
    }
    return rc;
}

enum persist_rc calendar_start(struct broker *b)
{
    struct calendar *c = &b->calendar;
    struct persist_clock then;
    enum persist_rc rc = persist_clock(b->journal.db, &then);

    if (rc == PERSIST_OK && (then.same_boot ? then.before_ms : then.newest_ms) > b->wall_ms && clock_is_synchronized())
        rc = bring_back(b, &then);
    if (rc == PERSIST_OK)
        rc = then.same_boot ? go_on(b, &then) : begin_anew(b, &then);
    c->old_zero_ms = c->zero_ms;
    if (b->wall_ms + SET_MS < calendar_now(b))
        log_warning("the clock is earlier than what is stored: until it is set the time that the machine was off does "
                    "not count behind_s=%" PRId64, (calendar_now(b) - b->wall_ms) / 1000);
    return rc;
}
