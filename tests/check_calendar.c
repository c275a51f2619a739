/* The wall clock is set while there are things in the store: nothing may expire before its time, everything must
 * expire in the end, and what the store says must be UTC once the clock is right.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "lab.h"
#include "suite.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TRUE_START INT64_C(1764288000000)       /* 2025-11-28 00:00 */
#define MONO_START 1000000
#define MINUTE     60
#define HOUR       3600
#define DAY        86400
#define YEAR       (365 * DAY)
#define UNSET      (-TRUE_START / 1000)         /* 1970 */
#define RIGHT      INT64_MAX                    /* not wrong; 0: as it is */

enum { LIVES_S = HOUR };                        /* everything in here lives for so long */
enum what { A_SESSION, A_RETAINED, A_QUEUED, A_WILL, WHATS };
static const char *const what_names[] = { "session", "retained", "queued", "will" };

/* How wrong the clock is, in seconds, and what happens. Everything is stored in the first minute. */
static const struct scenario {
    const char *name;
    bool earlier;               /* a boot a day ago, with a right clock, left a session and a retained message */
    int64_t at_start;           /* first start */
    int64_t set[4];             /* set so after 2, 4, 6, 8 minutes */
    int64_t set_at_end;         /* with no turn after it */
    bool stop;                  /* else it is killed */
    bool boot;                  /* the machine starts anew, too */
    int64_t outage_s;
    int64_t at_restart;
    int64_t set_later;          /* a minute after the restart */
    bool synchronized;          /* a time server looks after the clock from the restart on */
    bool again;                 /* and killed and started once more after that */
    bool outage_counts;
    bool utc;                   /* in the end the store must say the right times */
} rows[] = {
    { "nothing special", .outage_s = 20 * MINUTE, .outage_counts = true, .utc = true },
    { "nothing special, stopped", .stop = true, .outage_s = 20 * MINUTE, .outage_counts = true, .utc = true },
    { "nothing special, boot", .boot = true, .outage_s = 20 * MINUTE, .outage_counts = true, .utc = true },
    { "1970, then right, killed", .at_start = UNSET, .set = { RIGHT }, .utc = true },
    { "1970, then right, stopped", .at_start = UNSET, .set = { RIGHT }, .stop = true, .utc = true },
    { "1970, then right, boot with a right clock", .at_start = UNSET, .set = { 0, RIGHT }, .boot = true,
        .outage_s = 20 * MINUTE, .outage_counts = true, .utc = true },
    { "1970, right, boot in 1970, right again", .at_start = UNSET, .set = { RIGHT }, .boot = true,
        .outage_s = 20 * MINUTE, .at_restart = UNSET, .set_later = RIGHT, .utc = true },
    { "1970, right, boot in 1970, right again, killed", .at_start = UNSET, .set = { RIGHT }, .boot = true,
        .outage_s = 20 * MINUTE, .at_restart = UNSET, .set_later = RIGHT, .again = true, .outage_counts = true,
        .utc = true },
    { "1970 and killed again and again", .at_start = UNSET, .again = true },
    { "1970 at every boot", .at_start = UNSET, .boot = true, .outage_s = 20 * MINUTE, .at_restart = UNSET - 30 * MINUTE,
        .again = true },
    { "1970 at every boot, and then right", .at_start = UNSET, .boot = true, .outage_s = 20 * MINUTE,
        .at_restart = UNSET - 30 * MINUTE, .set_later = RIGHT, .again = true },
    { "1970, and right at the next boot", .at_start = UNSET, .boot = true, .outage_s = 20 * MINUTE,
        .at_restart = RIGHT, .again = true },
    { "a wall clock that says how long the machine is up", .at_start = (MONO_START - TRUE_START) / 1000,
        .set = { RIGHT }, .utc = true },
    { "right while it was down", .at_start = UNSET, .outage_s = 5 * MINUTE, .at_restart = RIGHT, .outage_counts = true,
        .utc = true },
    { "right while it was stopped", .at_start = UNSET, .stop = true, .outage_s = 5 * MINUTE, .at_restart = RIGHT,
        .outage_counts = true, .utc = true },
    { "right, and killed before anything could be written", .at_start = UNSET, .set_at_end = RIGHT, .utc = true },
    { "a year ahead, set back, killed", .at_start = YEAR, .set = { 0, RIGHT }, .utc = true },
    { "a year ahead, set back, stopped", .at_start = YEAR, .set = { 0, RIGHT }, .stop = true, .utc = true },
    { "a year ahead, set back, boot", .at_start = YEAR, .set = { 0, RIGHT }, .boot = true,
        .outage_s = 20 * MINUTE, .outage_counts = true, .utc = true },
    { "a year ahead, right while it was down", .at_start = YEAR, .at_restart = RIGHT, .utc = true },
    { "a year ahead, set back and killed", .at_start = YEAR, .set_at_end = RIGHT, .utc = true },
    { "a year ahead until the next boot", .at_start = YEAR, .boot = true, .outage_s = 20 * MINUTE,
        .at_restart = RIGHT },
    { "a year ahead until the next boot, with a time server", .at_start = YEAR, .boot = true, .outage_s = 20 * MINUTE,
        .at_restart = RIGHT, .synchronized = true },
    { "the same, and once more", .at_start = YEAR, .boot = true, .outage_s = 20 * MINUTE, .at_restart = RIGHT,
        .synchronized = true, .again = true },
    { "1970 a day after a boot with a right clock, then right", .earlier = true, .at_start = UNSET, .set = { RIGHT },
        .utc = true },
    { "1970 a day after a boot with a right clock, not put right", .earlier = true, .at_start = UNSET },
    { "1970 a day after a boot with a right clock, right while it was down", .earlier = true, .at_start = UNSET,
        .outage_s = 5 * MINUTE, .at_restart = RIGHT, .outage_counts = true, .utc = true },
    { "1970 a day after a boot with a right clock, right after the next", .earlier = true, .at_start = UNSET,
        .boot = true, .outage_s = 5 * MINUTE, .at_restart = UNSET - 15 * MINUTE, .set_later = RIGHT, .again = true },
    { "1970 a day after a boot with a right clock, and right at the next", .earlier = true, .at_start = UNSET,
        .boot = true, .outage_s = 5 * MINUTE, .at_restart = RIGHT, .again = true },
    { "a year ahead a day after a boot with a right clock, set back", .earlier = true, .at_start = YEAR,
        .set = { 0, 0, RIGHT }, .outage_s = MINUTE, .outage_counts = true, .utc = true },
    { "to and fro a day after a boot with a right clock", .earlier = true, .set = { -2 * DAY, YEAR, -YEAR, RIGHT },
        .outage_s = MINUTE, .outage_counts = true, .utc = true },
    { "an hour behind, killed", .at_start = -HOUR, .set = { RIGHT }, .utc = true },
    { "an hour ahead, killed", .at_start = HOUR, .set = { RIGHT }, .utc = true },
    { "to and fro", .set = { YEAR, -YEAR, 2 * HOUR, RIGHT }, .outage_s = MINUTE, .outage_counts = true, .utc = true },
    { "to and fro, the last not noticed", .set = { YEAR, -YEAR, 2 * HOUR, -DAY }, .set_at_end = RIGHT, .stop = true,
        .outage_s = MINUTE, .outage_counts = true, .utc = true },
    { "wrong for a while after a restart", .outage_s = MINUTE, .set_later = 30 * YEAR, .outage_counts = true },
    { "wrong from a restart on, and killed", .outage_s = MINUTE, .set_later = 30 * YEAR, .again = true,
        .outage_counts = true },
    { "the clock begins where it was when the machine died", .boot = true, .outage_s = 20 * MINUTE,
        .at_restart = -20 * MINUTE, .set_later = RIGHT, .again = true, .outage_counts = true, .utc = true },
    { "it begins an hour before that", .boot = true, .outage_s = 20 * MINUTE, .at_restart = -80 * MINUTE,
        .set_later = RIGHT, .again = true, .outage_counts = true, .utc = true },
    { "it begins an hour before that, not put right", .boot = true, .outage_s = 20 * MINUTE,
        .at_restart = -80 * MINUTE },
    { "slowly wrong by a second and a half", .set = { 1 }, .outage_s = MINUTE, .outage_counts = true,
        .utc = true },
};
enum { ROWS = sizeof rows / sizeof rows[0] };

static struct lab lab;
static int64_t true_ms, wrong_s;

static void set_clock(int64_t seconds)
{
    if (seconds != 0)
        wrong_s = seconds == RIGHT ? 0 : seconds;
    lab_wall_ms = true_ms + wrong_s * 1000;
}

static void pass(int64_t seconds)
{
    lab_pass(&lab, (uint64_t)seconds * 1000, 30000);
    lab_settle(&lab, 20);
    true_ms += seconds * 1000;
}

/* ---- the store, from the side ---- */

static int64_t number(const char *sql, int64_t parameter)
{
    sqlite3 *db = lab_side(&lab, "");
    sqlite3_stmt *st;
    int64_t v;

    ck_assert_msg(sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(db));
    sqlite3_bind_int64(st, 1, parameter);
    ck_assert_msg(sqlite3_step(st) == SQLITE_ROW, "%s", sql);
    v = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return v;
}

/* ---- one scenario ---- */

static void join(unsigned i, const char *id, uint32_t expiry_s, const char *will)
{
    lab_join(&lab, i, &(struct lab_connect){ .id = id, .version = MQTT_50, .expiry_s = expiry_s,
                                             .will_topic = will, .will_delay_s = will != NULL ? LIVES_S : 0 });
    lab_settle(&lab, 20);
    ck_assert_uint_eq(lab.clients[i].got[PKT_CONNACK], 1);
}

static void leave(unsigned i)
{
    lab.clients[i].ended = true;
    lab_settle(&lab, 20);
}

static void store_everything(void)
{
    join(0, "early", UINT32_MAX, NULL);
    lab_subscribe(&lab, 0, "wait", 1, 1);
    join(1, "late", UINT32_MAX, NULL);
    lab_subscribe(&lab, 1, "wait", 1, 1);
    lab_settle(&lab, 20);
    leave(0);
    leave(1);
    join(2, "will", UINT32_MAX, "gone");
    leave(2);
    join(3, "session", LIVES_S, NULL);
    leave(3);
    join(4, "publisher", 0, NULL);
    lab_publish(&lab, 4, "keep", 10, 1, true, 1, LIVES_S);
    lab_publish(&lab, 4, "wait", 10, 1, false, 2, LIVES_S);
    lab_settle(&lab, 20);
    leave(4);
}

static struct session *session(const char *id)
{
    return session_find(&lab.b->sessions, (struct view){ (const uint8_t *)id, strlen(id) });
}

static bool retained(const char *topic)
{
    return retain_find(lab.b, (struct view){ (const uint8_t *)topic, strlen(topic) }) != NULL;
}

/* `id`: of a client that can see once whether the message waits. */
static bool is_there(enum what what, const char *id)
{
    switch (what) {
    case A_SESSION: return session("session") != NULL;
    case A_RETAINED: return retained("keep");
    case A_QUEUED:
        join(5, id, UINT32_MAX, NULL);
        lab_settle(&lab, 20);
        return lab.clients[5].got[PKT_PUBLISH] > 0;
    case A_WILL: return session("will") != NULL && session("will")->will != NULL;
    case WHATS: break;
    }
    return false;
}

static void end(bool stop, bool boot)
{
    if (stop)
        lab_stop(&lab);
    else
        lab_kill(&lab);
    if (boot) {
        sqlite3 *db = lab_side(&lab, "");

        sqlite3_exec(db, "UPDATE run SET boot_id = 'another' || random()", NULL, NULL, NULL);
        ck_assert_int_gt(sqlite3_changes(db), 0);
        sqlite3_close(db);
        lab_mono_ms = 20000;
    }
}

/* A session of two days, and a message to be kept for ever. */
static void play_earlier_boot(void)
{
    true_ms = TRUE_START - DAY * INT64_C(1000);
    set_clock(RIGHT);
    ck_assert(lab_start(&lab));
    join(6, "old", 2 * DAY, NULL);
    lab_publish(&lab, 6, "old", 10, 1, true, 1, 0);
    lab_settle(&lab, 20);
    leave(6);
    pass(HOUR);
    end(false, true);
}

/* Ends after the first restart; gives the age, in seconds, that things must have then. */
static int64_t play(const struct scenario *s)
{
    int64_t running_s = 10 * MINUTE;

    lab_mono_ms = MONO_START;
    if (s->earlier)
        play_earlier_boot();
    true_ms = TRUE_START;
    set_clock(s->at_start != 0 ? s->at_start : RIGHT);
    ck_assert(lab_start(&lab));
    store_everything();
    for (unsigned i = 0; i < 4; i++) {
        pass(2 * MINUTE);
        set_clock(s->set[i]);
    }
    pass(2 * MINUTE);
    set_clock(s->set_at_end);
    end(s->stop, s->boot);
    lab_mono_ms += (uint64_t)s->outage_s * 1000;
    true_ms += s->outage_s * 1000;
    set_clock(s->at_restart);
    lab_synchronized = s->synchronized;
    ck_assert(lab_start(&lab));
    if (s->set_later != 0) {
        pass(MINUTE);
        set_clock(s->set_later);
        pass(MINUTE);
        running_s += 2 * MINUTE;
    }
    if (s->again) {
        end(false, s->boot && s->set_later == 0);
        ck_assert(lab_start(&lab));
    }
    return running_s + (s->outage_counts ? s->outage_s : 0);
}

static void settings(void)
{
    lab_init(&lab, "[broker]\nsys_interval = 0\n[persistence]\ndurability = crash\ncommit_interval = 0\n"
             "gather = 0\n");
}

/* Check looks at the clock, and can't count above an hour. */
static void done(void)
{
    lab_fini(&lab);
    lab_mono_ms = MONO_START;
}

START_TEST(nothing_too_early_everything_in_the_end)
{
    const struct scenario *s = &rows[_i / WHATS];
    enum what what = (enum what)(_i % WHATS);
    int64_t age_s;
    bool early, late;

    settings();
    age_s = play(s);
    pass(LIVES_S - age_s - MINUTE);
    early = is_there(what, "early");
    pass(2 * MINUTE);
    late = is_there(what, "late");
    done();
    ck_assert_msg(early, "%s: %s: gone too early", what_names[what], s->name);
    ck_assert_msg(!late, "%s: %s: still there", what_names[what], s->name);
}
END_TEST

static const char *const instants[] = {
    "SELECT received_at FROM retained WHERE topic = 'keep'",
    "SELECT received_at FROM message",
    "SELECT expires_at - 3600000 FROM retained WHERE topic = 'keep'",
    "SELECT expires_at - 3600000 FROM message",
    "SELECT disconnected_at FROM session WHERE client_id = 'session'",
    "SELECT connected_at FROM session WHERE client_id = 'session'",
    "SELECT publish_at - 3600000 FROM will",
    "SELECT started_at FROM run WHERE run_id = ?1",
};
enum { INSTANTS = sizeof instants / sizeof instants[0] };

static const char in_the_future[] =
    "SELECT count(*) FROM (SELECT received_at AS at FROM retained UNION ALL SELECT received_at FROM message"
    " UNION ALL SELECT connected_at FROM session UNION ALL SELECT disconnected_at FROM session"
    " UNION ALL SELECT started_at FROM run UNION ALL SELECT ended_at FROM run) WHERE at > ?1";

START_TEST(the_store_says_utc)
{
    const struct scenario *s = &rows[_i];
    int64_t off_ms[INSTANTS], future, old_ms[2] = { 0, 0 };

    settings();
    play(s);
    pass(10);
    for (unsigned i = 0; i < INSTANTS; i++)
        off_ms[i] = number(instants[i], s->earlier ? 2 : 1) - TRUE_START;
    future = number(in_the_future, true_ms + 5000);
    if (s->earlier) {
        int64_t then_ms = TRUE_START - DAY * INT64_C(1000);

        old_ms[0] = number("SELECT received_at FROM retained WHERE topic = 'old'", 0) - then_ms;
        /* Its two days seem to be over, if the clock is a year ahead when the broker starts. */
        if (s->at_start != YEAR)
            old_ms[1] = number("SELECT disconnected_at FROM session WHERE client_id = 'old'", 0) - then_ms;
    }
    done();
    for (unsigned i = 0; s->utc && i < INSTANTS; i++)
        ck_assert_msg(off_ms[i] > -5000 && off_ms[i] < 5000, "%s: %s: wrong by %" PRId64 " s", s->name, instants[i],
                      off_ms[i] / 1000);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_msg(old_ms[i] > -5000 && old_ms[i] < 5000, "%s: what was right was moved by %" PRId64 " s", s->name,
                      old_ms[i] / 1000);
    if (s->utc || s->synchronized)
        ck_assert_msg(future == 0, "%s: %" PRId64 " times are in the future", s->name, future);
}
END_TEST

/* ---- while it runs ---- */

static void start(const char *persistence)
{
    char text[200];

    snprintf(text, sizeof text, "[broker]\nsys_interval = 0\n[persistence]\ndurability = crash\n%s", persistence);
    lab_mono_ms = MONO_START;
    true_ms = TRUE_START;
    set_clock(RIGHT);
    lab_init(&lab, text);
    ck_assert(lab_start(&lab));
}

/* Nobody who is connected is thrown out, and nobody gets more time. */
START_TEST(connected_clients_do_not_notice)
{
    static const int64_t to[] = { YEAR, -YEAR, RIGHT, 30 * YEAR, UNSET };

    start(_i == 0 ? "commit_interval = 0\n" : "enabled = false\n");
    lab_join(&lab, 0, &(struct lab_connect){ .id = "up", .version = MQTT_50, .keepalive_s = 60, .clean = true });
    lab_subscribe(&lab, 0, "a", 1, 1);
    lab_settle(&lab, 20);
    for (unsigned i = 0; i < sizeof to / sizeof to[0]; i++) {
        pass(30);
        set_clock(to[i]);
        lab_forget(&lab.clients[0]);
        lab_publish(&lab, 0, "a", 1, 1, false, 2, MINUTE);
        lab_settle(&lab, 20);
        ck_assert_uint_eq(lab.clients[0].got[PKT_PUBLISH], 1);
        ck_assert_uint_eq(lab.clients[0].got[PKT_PUBACK], 1);
        lab_ack_all(&lab, 0);
        lab_settle(&lab, 20);
        ck_assert_ptr_nonnull(lab.clients[0].c);
    }
    pass(80);
    ck_assert_ptr_nonnull(lab.clients[0].c);
    pass(20);
    ck_assert_ptr_null(lab.clients[0].c);
    done();
}
END_TEST

/* What is not yet written when the clock is set is written right. */
START_TEST(with_marks_in_ram)
{
    int64_t off_ms[INSTANTS];

    start("commit_interval = 1m\ngather = 0\n");
    set_clock(UNSET);
    pass(1);
    lab.b->journal.last_commit_ms = lab.b->now_ms;
    lab_join(&lab, 0, &(struct lab_connect){ .id = "sub", .version = MQTT_50, .expiry_s = LIVES_S });
    lab_subscribe(&lab, 0, "a", 1, 1);
    lab_turn(&lab);
    leave(0);
    lab_join(&lab, 1, &(struct lab_connect){ .id = "pub", .version = MQTT_50, .clean = true });
    lab_publish(&lab, 1, "a", 1, 1, true, 1, LIVES_S);
    lab_turn(&lab);
    ck_assert_int_eq(number("SELECT count(*) FROM message", 0), 0);
    set_clock(RIGHT);
    lab_turn(&lab);
    ck_assert_int_eq(number("SELECT count(*) FROM message", 0), 0);
    lab_stop(&lab);
    off_ms[0] = number("SELECT received_at FROM message", 0) - TRUE_START;
    off_ms[1] = number("SELECT expires_at FROM message", 0) - TRUE_START - LIVES_S * 1000;
    off_ms[2] = number("SELECT received_at FROM retained", 0) - TRUE_START;
    off_ms[3] = number("SELECT disconnected_at FROM session WHERE client_id = 'sub'", 0) - TRUE_START;
    off_ms[4] = number("SELECT ended_at FROM run", 0) - TRUE_START;
    for (unsigned i = 0; i < 5; i++)
        ck_assert_msg(off_ms[i] > -5000 && off_ms[i] < 5000, "%u: %" PRId64, i, off_ms[i]);
    done();
}
END_TEST

/* Somebody has locked the store: the move waits, and what comes meanwhile is moved with the rest. */
START_TEST(with_a_commit_that_fails)
{
    sqlite3 *db;
    bool kill = _i == 1;

    start("commit_interval = 0\ngather = 0\n");
    set_clock(UNSET);
    pass(20);
    db = lab_side(&lab, "");
    ck_assert_int_eq(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    set_clock(RIGHT);
    pass(5);
    lab_join(&lab, 0, &(struct lab_connect){ .id = "new", .version = MQTT_50, .expiry_s = LIVES_S });
    pass(1);
    leave(0);
    pass(5);
    sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    sqlite3_close(db);
    if (!kill) {
        pass(5);
        ck_assert_int_gt(number("SELECT disconnected_at FROM session", 0), TRUE_START);
        ck_assert_int_lt(number("SELECT disconnected_at FROM session", 0), true_ms);
    }
    lab_kill(&lab);
    ck_assert_int_eq(number("SELECT started_at > ?1 FROM run", TRUE_START - 60000), !kill);
    ck_assert(lab_start(&lab));
    ck_assert_int_eq(number("SELECT count(*) FROM run WHERE started_at > ?1", TRUE_START - 60000), 2);
    done();
}
END_TEST

/* A clock that is set every second: the store is not rewritten as often, and right in the end. */
START_TEST(a_clock_gone_mad)
{
    struct persist_stats before, after;

    start("commit_interval = 0\ngather = 0\n");
    join(0, "s", 2 * HOUR, NULL);
    leave(0);
    pass(10);
    persist_stats(lab.b->journal.db, &before);
    for (int i = 0; i < 1000; i++) {
        set_clock(i % 2 == 0 ? i * HOUR : -i * DAY);
        pass(1);
    }
    persist_stats(lab.b->journal.db, &after);
    ck_assert_uint_le(after.commits - before.commits, 101);
    set_clock(RIGHT);
    pass(20);
    ck_assert_int_eq(number("SELECT (disconnected_at - ?1) / 5000 FROM session", TRUE_START), 0);
    ck_assert_ptr_nonnull(session("s"));
    pass(2 * HOUR - 1040);
    ck_assert_ptr_nonnull(session("s"));
    pass(20);
    ck_assert_ptr_null(session("s"));
    done();
}
END_TEST

/* The clock is no reason to write: an idle broker does not, nor does one whose clock is slewed. */
START_TEST(a_good_clock_costs_nothing)
{
    struct persist_stats before, after;

    start("commit_interval = 0\n");
    pass(30);
    persist_stats(lab.b->journal.db, &before);
    for (unsigned i = 0; i < 60; i++) {
        lab_wall_ms += i % 2 == 0 ? 1500 : -1500;
        lab_pass(&lab, 60000, 30000);
    }
    persist_stats(lab.b->journal.db, &after);
    ck_assert_uint_eq(after.commits, before.commits);
    done();
}
END_TEST

/* ---- how it is written ---- */

/* TZ is set to a place with summer time: neither the log nor the views may care. */
static const struct { int64_t s; const char *date, *time, *next; } dates[] = {
    { INT64_C(1835395199), "2028-02-28", "23:59:59", "2028-02-29 00:00:01" },
    { INT64_C(1835481599), "2028-02-29", "23:59:59", "2028-03-01 00:00:01" },
    { INT64_C(1867017599), "2029-02-28", "23:59:59", "2029-03-01 00:00:01" },
    { INT64_C(1806195599), "2027-03-28", "00:59:59", "2027-03-28 01:00:01" },   /* summer begins */
    { INT64_C(1824944399), "2027-10-31", "00:59:59", "2027-10-31 01:00:01" },   /* and ends */
    { INT64_C(1830297599), "2027-12-31", "23:59:59", "2028-01-01 00:00:01" },
    { INT64_C(2147483647), "2038-01-19", "03:14:07", "2038-01-19 03:14:09" },
    { INT64_C(4107542399), "2100-02-28", "23:59:59", "2100-03-01 00:00:01" },
    { INT64_C(4294967295), "2106-02-07", "06:28:15", "2106-02-07 06:28:17" },
};
enum { DATES = sizeof dates / sizeof dates[0] };

static void read_text(const char *sql, char *out, size_t size)
{
    sqlite3 *db = lab_side(&lab, "");
    sqlite3_stmt *st;

    ck_assert_msg(sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(db));
    ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
    snprintf(out, size, "%s", (const char *)sqlite3_column_text(st, 0));
    sqlite3_finalize(st);
    sqlite3_close(db);
}

START_TEST(dates_are_utc)
{
    char path[128], want[64], got[512] = "";
    struct log_options o = { .dests = DEST_FILE, .file = path, .level = LEVEL_INFO };
    FILE *f;

    setenv("TZ", "Europe/Berlin,M3.5.0,M10.5.0/3", 1);
    tzset();
    start("commit_interval = 0\n");
    snprintf(path, sizeof path, "%s/log", lab.dir);
    lab_wall_ms = dates[_i].s * 1000 + 250;
    ck_assert_int_eq(log_open(&o), 0);
    log_notice("here");
    f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    ck_assert_ptr_nonnull(fgets(got, sizeof got, f));
    fclose(f);
    snprintf(want, sizeof want, "%sT%s.250Z notice here\n", dates[_i].date, dates[_i].time);
    ck_assert_str_eq(got, want);
    lab_pass(&lab, 1, 1);
    join(0, "s", 2, NULL);
    leave(0);
    ck_assert(journal_commit_now(lab.b));
    snprintf(want, sizeof want, "offline since %s %s", dates[_i].date, dates[_i].time);
    read_text("SELECT status FROM v_session", got, sizeof got);
    ck_assert_str_eq(got, want);
    read_text("SELECT expires FROM v_session", got, sizeof got);
    ck_assert_str_eq(got, dates[_i].next);
    lab_pass(&lab, 1990, 1990);
    ck_assert_ptr_nonnull(session("s"));
    lab_pass(&lab, 20, 20);
    ck_assert_ptr_null(session("s"));
    log_open(&(struct log_options){ .level = LEVEL_ERROR });
    done();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("calendar");
    TCase *t = tcase_create("calendar");

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, nothing_too_early_everything_in_the_end, 0, ROWS * WHATS);
    tcase_add_loop_test(t, the_store_says_utc, 0, ROWS);
    tcase_add_loop_test(t, connected_clients_do_not_notice, 0, 2);
    tcase_add_test(t, with_marks_in_ram);
    tcase_add_loop_test(t, with_a_commit_that_fails, 0, 2);
    tcase_add_test(t, a_clock_gone_mad);
    tcase_add_test(t, a_good_clock_costs_nothing);
    tcase_add_loop_test(t, dates_are_utc, 0, DATES);
    return run_suite(s);
}
