/* What was promised to a peer is kept, when the broker dies at the wrong moment and when the store is slow, locked,
 * full or touched by others.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "lab.h"
#include "suite.h"

#include "persist/db.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUB, PUB, OTHER };

static const struct lab_connect durable = { .id = "sub", .version = MQTT_311 };
static const struct lab_connect lasting = { .id = "sub", .version = MQTT_50, .expiry_s = UINT32_MAX };
static const struct lab_connect anew = { .id = "sub", .version = MQTT_50, .clean = true };
static const struct lab_connect pub = { .id = "pub", .version = MQTT_311, .clean = true };
static const struct lab_connect durable_pub = { .id = "pub", .version = MQTT_311 };
static const struct lab_connect other = { .id = "other", .version = MQTT_311 };

static struct lab lab;

static void start(const char *settings)
{
    lab_init(&lab, settings);
    ck_assert(lab_start(&lab));
}

static void teardown(void)
{
    if (lab.b != NULL)
        lab_check_store(&lab, false);
    lab_fini(&lab);
}

/* Killed, and up again. */
static void restart(void)
{
    lab_kill(&lab);
    ck_assert_msg(lab_start(&lab), "%s", lab.why);
}

static void come(unsigned i, const struct lab_connect *p)
{
    lab_join(&lab, i, p);
    lab_settle(&lab, 20);
}

static void join(unsigned i, const struct lab_connect *p, const char *filter, unsigned qos)
{
    come(i, p);
    lab_subscribe(&lab, i, filter, qos, 1);
    lab_settle(&lab, 20);
}

static void leave(unsigned i)
{
    lab_disconnect(&lab, i);
    lab_settle(&lab, 20);
    lab_pass(&lab, 100, 50);
}

/* To topic "q", at QoS 1, with first, first + 1, ... bytes. */
static void publish(unsigned first, unsigned n)
{
    for (unsigned k = first; k < first + n; k++) {
        lab_publish(&lab, PUB, "q", k, 1, false, (uint16_t)k, 0);
        if (k % 100 == 0)
            lab_pass(&lab, 40, 20);
    }
    lab_pass(&lab, 200, 50);
}

static unsigned got(unsigned i, unsigned type)
{
    return lab.clients[i].got[type];
}

/* The first packet of this type among what has come. */
static struct frame packet(unsigned i, unsigned type)
{
    struct view in = { lab.clients[i].out, lab.clients[i].out_len };
    struct frame f;

    while (in.len > 0 && frame_next(&in, FRAME_MAX_REMAINING, &f) == FRAME_OK)
        if (frame_type(f.head) == type)
            return f;
    ck_abort_msg("no packet of type %u", type);
}

static struct publish first_publish(unsigned i)
{
    struct frame f = packet(i, PKT_PUBLISH);
    struct publish p;

    ck_assert_int_eq(publish_decode(f.head, f.body, lab.clients[i].version, &p), R_OK);
    return p;
}

/* CONNACK has come, and says that the session is there. */
static bool session_present(unsigned i)
{
    return packet(i, PKT_CONNACK).body.p[0] == 1;
}

static struct session *subscriber(void)
{
    return session_find(&lab.b->sessions, (struct view){ (const uint8_t *)"sub", 3 });
}

/* Acknowledges until nothing waits for the subscriber any more; PUBLISHes that came. */
static unsigned fetch(void)
{
    unsigned n = 0;

    for (unsigned rounds = 0; rounds < 1000; rounds++) {
        unsigned some = got(SUB, PKT_PUBLISH);

        n += some;
        lab_ack_all(&lab, SUB);
        if (some == 0 && session_waiting(subscriber()) == 0)
            break;
        lab_pass(&lab, 50, 50);
    }
    return n;
}

/* One number out of the store. */
static int64_t ask(const char *sql)
{
    sqlite3 *db = lab_side(&lab, "");
    sqlite3_stmt *st;
    int64_t n;

    ck_assert_int_eq(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
    n = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return n;
}

static struct persist_stats stats(void)
{
    struct persist_stats st;

    persist_stats(lab.b->journal.db, &st);
    return st;
}

/* Two ways of not getting on with a commit: somebody holds the store's lock, or the device takes its time. */
static sqlite3 *hold(bool lock)
{
    lab.hold_sync = !lock;
    return lock ? lab_side(&lab, "BEGIN IMMEDIATE") : NULL;
}

static void let_go(sqlite3 *lock)
{
    lab.hold_sync = false;
    sqlite3_close(lock);
}

/* ---- sessions ---- */

#define CRASH "[persistence]\ndurability = crash\n"
#define POWER "[persistence]\ndurability = power\n"

static const struct { const char *name, *first, *then; uint8_t version; uint32_t first_s, then_s, away_s, there_s; }
lives[] = {
    { "a longer life asked for", CRASH, NULL, MQTT_50, 10, UINT32_MAX, 6, 1800 },
    { "the same, and killed soon", CRASH, NULL, MQTT_50, 10, UINT32_MAX, 8, 4 },
    { "a longer life configured", CRASH "[limits]\npersistent_client_expiration = 10m\n", CRASH, MQTT_311, 0, 0, 6,
      1200 },
    { "just in time", CRASH, NULL, MQTT_50, 60, 60, 58, 4 },
};

/* Whoever was told that its session is there finds it again, however long ago it left before that.
 * [MQTT5-3.1.2-23], [MQTT311-4.1.0-1] */
START_TEST(back_in_time_is_back)
{
    const struct lab_connect first = { .id = "sub", .version = lives[_i].version, .expiry_s = lives[_i].first_s };
    const struct lab_connect then = { .id = "sub", .version = lives[_i].version, .expiry_s = lives[_i].then_s };

    start(lives[_i].first);
    join(SUB, &first, "q", 1);
    lab_pass(&lab, 6000, 1000);
    leave(SUB);
    lab_pass(&lab, lives[_i].away_s * 1000 - 1000, 1000);
    if (lives[_i].then != NULL) {
        lab_stop(&lab);
        free(lab.settings);
        lab.settings = strdup(lives[_i].then);
        ck_assert(lab_start(&lab));
    }
    come(SUB, &then);
    lab_pass(&lab, 500, 500);
    ck_assert(session_present(SUB));
    lab_pass(&lab, lives[_i].there_s * 1000, lives[_i].there_s * 50);
    restart();
    come(SUB, &then);
    ck_assert_msg(session_present(SUB), "%s", lives[_i].name);
    ck_assert_uint_eq(subscriber()->sub_count, 1);
}
END_TEST

/* Nobody is told that its session is there before the store has it: not the one that made it, and not the one that
 * finds it. [MQTT311-3.2.2-2], [MQTT5-3.2.2-3] */
START_TEST(present_when_stored)
{
    sqlite3 *lock;

    start(POWER);
    lock = hold(_i == 0);
    for (unsigned n = 0; n < 2; n++) {
        come(SUB, &durable);
        lab_pass(&lab, 500, 50);
        ck_assert_uint_eq(got(SUB, PKT_CONNACK), 0);
    }
    let_go(lock);
    lab_pass(&lab, 3000, 50);
    ck_assert(session_present(SUB));
    restart();
    come(SUB, &durable);
    ck_assert(session_present(SUB));
}
END_TEST

/* ---- QoS 2 ---- */

/* Published at QoS 2 to one who is there, and the store can't have it; then the subscriber comes again. */
static sqlite3 *not_stored(void)
{
    sqlite3 *lock;

    start(POWER);
    join(SUB, &durable, "q", 2);
    come(PUB, &durable_pub);
    lab_pass(&lab, 6000, 500);
    lock = hold(true);
    lab_publish(&lab, PUB, "q", 10, 2, false, 7, 0);
    lab_pass(&lab, 500, 50);
    come(SUB, &durable);
    lab_pass(&lab, 500, 50);
    return lock;
}

/* What the store does not have has not left, and does not when its subscriber comes again. Once it has it, it is a
 * first time. [MQTT311-4.3.3-1], [MQTT5-4.3.3-2] */
START_TEST(sent_when_stored)
{
    sqlite3 *lock = not_stored();

    ck_assert_uint_eq(got(SUB, PKT_PUBLISH), 0);
    let_go(lock);
    lab_pass(&lab, 3000, 50);
    ck_assert_uint_eq(got(PUB, PKT_PUBREC), 1);
    ck_assert_uint_eq(got(SUB, PKT_PUBLISH), 1);
    ck_assert(!first_publish(SUB).dup);
}
END_TEST

/* Nor may its packet identifier be another message's after a crash: who has had it waits for PUBREL, and would take
 * the other one for a repetition. [MQTT311-4.3.3-1], [MQTT5-4.3.3-1] */
START_TEST(identifiers_are_not_used_twice)
{
    sqlite3 *lock = not_stored();
    unsigned had = got(SUB, PKT_PUBLISH) > 0 ? first_publish(SUB).packet_id : 0;

    lab_kill(&lab);
    let_go(lock);
    ck_assert(lab_start(&lab));
    come(OTHER, &other);
    lab_publish(&lab, OTHER, "q", 99, 2, false, 7, 0);
    lab_pass(&lab, 500, 50);
    come(SUB, &durable);
    lab_pass(&lab, 500, 50);
    ck_assert_uint_eq(first_publish(SUB).payload.len, 99);
    ck_assert_uint_ne(first_publish(SUB).packet_id, had);
}
END_TEST

/* A PUBREC that comes before the broker has sent again what it answers: PUBREL and then PUBLISH is what no sender may
 * do. Known from RAM, and from the store. [MQTT311-4.3.3-1], [MQTT5-4.3.3-6] */
START_TEST(no_publish_after_pubrel)
{
    const struct lab_connect *p = _i % 2 == 0 ? &durable : &lasting;

    start(POWER);
    join(SUB, p, "q", 2);
    come(PUB, &pub);
    lab_publish(&lab, PUB, "q", 10, 2, false, 7, 0);
    lab_pass(&lab, 6000, 50);
    ck_assert_uint_eq(first_publish(SUB).packet_id, 1);
    if (_i / 2 == 1)
        restart();
    lab_join(&lab, SUB, p);
    lab_ack(&lab, SUB, PKT_PUBREC, 1);
    lab_pass(&lab, 500, 50);
    ck_assert_uint_eq(got(SUB, PKT_PUBLISH), 1);
    ck_assert_uint_eq(got(SUB, PKT_PUBREL), 0);
    lab_ack_all(&lab, SUB);
    lab_pass(&lab, 500, 50);
    ck_assert_uint_eq(got(SUB, PKT_PUBREL), 1);
    lab_ack_all(&lab, SUB);
    lab_pass(&lab, 500, 50);
    ck_assert_uint_eq(subscriber()->flow->inflight, 0);
}
END_TEST

/* ---- the device ---- */

/* What a killed run has left in the file counts as stored in the next one, and who repeats it is answered at once: so
 * it has been made durable before. */
START_TEST(what_was_found_is_durable)
{
    start(POWER);
    join(SUB, &durable, "q", 2);
    come(PUB, &durable_pub);
    lab_forget(&lab.clients[PUB]);
    hold(false);
    lab_publish(&lab, PUB, "q", 10, 2, false, 7, 0);
    lab_pass(&lab, 500, 50);
    ck_assert_uint_eq(got(PUB, PKT_PUBREC), 0);
    restart();
    let_go(NULL);
    ck_assert_uint_gt(stats().syncs, 0);
    come(PUB, &durable_pub);
    lab_publish(&lab, PUB, "q", 10, 2, false, 7, 0);
    lab_settle(&lab, 20);
    ck_assert_uint_eq(got(PUB, PKT_PUBREC), 1);
}
END_TEST

/* On a device so slow that a sync is always under way the log is emptied nevertheless. */
START_TEST(a_slow_device_has_a_short_log)
{
    start(POWER "[limits]\nmax_queued_messages = 0\n");
    join(SUB, &durable, "q", 1);
    leave(SUB);
    come(PUB, &pub);
    for (unsigned n = 0; n < 400; n++) {
        lab_publish(&lab, PUB, "q", 2000, 1, false, (uint16_t)(n + 1), 0);
        lab.hold_sync = n % 7 != 0;
        lab_pass(&lab, 10, 10);
        lab_forget(&lab.clients[PUB]);
    }
    let_go(NULL);
    ck_assert_uint_gt(stats().checkpoints, 0);
    ck_assert_uint_le(stats().wal_bytes, 2 << 20);
}
END_TEST

/* ---- wills ---- */

/* A will is in the store until what has come of it is there: a commit in between loses it with the next crash. Its
 * subscriber's link is dead, so that nothing arrives before. [MQTT-3.1.2-8] */
START_TEST(a_will_is_not_lost)
{
    const struct lab_connect mortal = { .id = "mortal", .version = MQTT_311, .will_topic = "q",
                                        .will_qos = 1, .will_retain = _i == 1 };

    start(POWER);
    join(SUB, &durable, "q", 2);
    join(OTHER, &other, "other", 1);
    come(PUB, &mortal);
    lab_pass(&lab, 6000, 500);
    lab.clients[SUB].room = 0;
    lab.clients[PUB].reset = true;
    lab_turn(&lab);
    lab_subscribe(&lab, OTHER, "anything", 1, 2);           /* a commit that others want */
    lab_turn(&lab);
    lab_turn(&lab);
    ck_assert_int_eq(ask("SELECT count(*) FROM will"), 0);
    restart();
    come(SUB, &durable);
    lab_pass(&lab, 5000, 500);
    ck_assert_uint_eq(got(SUB, PKT_PUBLISH), 1);
    ck_assert_uint_eq(lab.b->retain.count, (unsigned)_i);
}
END_TEST

/* ---- room ---- */

/* A store that is full is no reason not to start: what it holds is delivered, and that makes room. Here there is no
 * room for this start in its diary. */
START_TEST(full_and_started)
{
    start(CRASH);
    join(SUB, &durable, "q", 1);
    leave(SUB);
    come(PUB, &pub);
    publish(500, 100);
    lab_stop(&lab);
    lab_sql(&lab, "UPDATE run SET version = printf('%.*c', 3900, 'x'); VACUUM");
    free(lab.settings);
    lab.settings = strdup(CRASH "max_size = 16K\n");
    ck_assert_msg(lab_start(&lab), "%s", lab.why);
    come(SUB, &durable);
    ck_assert_uint_eq(fetch(), 100);
    come(PUB, &pub);
    lab_publish(&lab, PUB, "q", 500, 1, false, 1, 0);
    lab_pass(&lab, 3000, 50);
    ck_assert_uint_eq(got(PUB, PKT_PUBACK), 1);
}
END_TEST

/* A store that is full to the last page gives what it holds, and then takes again: as it is, and after kill -9. */
START_TEST(full_and_healed)
{
    unsigned waiting;

    start(CRASH "max_size = 200K\n[limits]\nmax_queued_messages = 0\n");
    join(SUB, &durable, "q", 1);
    leave(SUB);
    for (unsigned k = 1; k <= 3000 && lab.b->journal.failures <= 3; k++) {
        if (lab.clients[PUB].c == NULL || lab.clients[PUB].c->paused)
            come(PUB, &pub);
        lab_publish(&lab, PUB, "q", k < 2000 ? 500 : 1, 1, false, (uint16_t)k, 0);
        lab_pass(&lab, 40, 20);
        lab_forget(&lab.clients[PUB]);
    }
    ck_assert_uint_gt(lab.b->journal.failures, 3);
    if (_i == 1) {
        lab_kill(&lab);
        ck_assert_msg(lab_start(&lab), "%s", lab.why);
    }
    waiting = session_waiting(subscriber());
    ck_assert_uint_gt(waiting, 100);
    come(SUB, &durable);
    ck_assert_uint_ge(fetch(), waiting);
    come(PUB, &pub);
    lab_publish(&lab, PUB, "q", 500, 1, false, 1, 0);
    lab_pass(&lab, 3000, 50);
    ck_assert_uint_eq(got(PUB, PKT_PUBACK), 1);
}
END_TEST

/* drop-oldest gives up what it must for the new one to fit. One that never fits goes itself. */
START_TEST(one_that_never_fits)
{
    start("[limits]\nmax_queued_bytes = 1000\nqueue_full = drop-oldest\n");
    join(SUB, &durable, "q", 1);
    leave(SUB);
    come(PUB, &pub);
    publish(50, 8);
    lab_publish(&lab, PUB, "q", 2000, 1, false, 9, 0);
    lab_pass(&lab, 500, 50);
    ck_assert_uint_eq(session_waiting(subscriber()), 8);
    ck_assert_uint_eq(subscriber()->dropped, 1);
    come(SUB, &durable);
    ck_assert_uint_eq(fetch(), 8);
}
END_TEST

/* Rows that break MQTT's rules stay where they are: they are not the oldest messages that drop-oldest means, and take
 * no room. */
START_TEST(rows_of_others_are_not_the_oldest)
{
    start(CRASH "[limits]\nmax_queued_messages = 10\nqueue_full = drop-oldest\n");
    join(SUB, &durable, "q", 1);
    leave(SUB);
    come(PUB, &pub);
    publish(101, 10);
    lab_stop(&lab);
    lab_sql(&lab, "UPDATE queue SET qos = 7 WHERE position < (SELECT min(position) + 3 FROM queue)");
    ck_assert(lab_start(&lab));
    come(PUB, &pub);
    publish(201, 6);
    ck_assert_uint_eq(subscriber()->dropped, 3);
    lab_pass(&lab, 6000, 500);
    ck_assert_int_eq(ask("SELECT count(*) FROM queue WHERE qos = 7"), 3);
    ck_assert_int_eq(ask("SELECT count(*) FROM queue"), 3 + 10);
    come(SUB, &durable);
    lab_pass(&lab, 50, 50);
    ck_assert_uint_eq(first_publish(SUB).payload.len, 107);
    ck_assert_uint_eq(fetch(), 10);
    lab_pass(&lab, 6000, 500);
    ck_assert_int_eq(ask("SELECT count(*) FROM queue"), 3);
}
END_TEST

/* What drop-oldest has given up does not come after all, and nothing goes in its place, though the store could not be
 * told before the subscriber came to it. */
START_TEST(dropped_while_locked)
{
    unsigned n = 0;
    sqlite3 *lock;

    start(CRASH "[limits]\nmax_queued_messages = 120\nmax_inflight_messages = 2\nqueue_full = drop-oldest\n");
    join(SUB, &durable, "q", 1);
    leave(SUB);
    come(PUB, &pub);
    publish(1, 120);
    come(SUB, &durable);
    lab_pass(&lab, 500, 50);
    lock = hold(true);
    come(PUB, &pub);
    publish(121, 100);
    for (unsigned k = 0; k < 10 + (unsigned)_i * 40; k++) {
        n += got(SUB, PKT_PUBLISH);
        lab_ack_all(&lab, SUB);
        lab_pass(&lab, 50, 50);
    }
    let_go(lock);
    n += fetch();
    ck_assert_uint_eq(n + subscriber()->dropped, 220);
    ck_assert_uint_eq(subscriber()->backlog, 0);
    ck_assert_uint_eq(subscriber()->queued_bytes, 0);
    lab_pass(&lab, 6000, 500);
    ck_assert_int_eq(ask("SELECT count(*) FROM queue"), 0);
}
END_TEST

/* Who subscribes to much that is retained and leaves in the same turn has the last of it waiting, and only that is
 * read. */
START_TEST(leaving_costs_what_is_kept)
{
    uint64_t reads;
    char topic[16];

    start(CRASH "retained_memory = 4K\n[limits]\nmax_queued_messages = 10\nqueue_full = drop-oldest\n");
    come(PUB, &pub);
    for (unsigned k = 0; k < 300; k++) {
        snprintf(topic, sizeof topic, "r/%u", k);
        lab_publish(&lab, PUB, topic, 100, 1, true, (uint16_t)(k + 1), 0);
    }
    lab_pass(&lab, 6000, 500);
    ck_assert_uint_lt(lab.b->retain.ram_count, 50);
    come(SUB, &durable);
    lab_subscribe(&lab, SUB, "r/#", 1, 1);
    lab_disconnect(&lab, SUB);
    reads = lab.b->retain.reads;
    lab_turn(&lab);
    ck_assert_ptr_null(subscriber()->conn);
    ck_assert_uint_eq(session_waiting(subscriber()), 10);
    ck_assert_uint_eq(subscriber()->dropped, 290);
    ck_assert_uint_le(lab.b->retain.reads - reads, 10);
}
END_TEST

/* ---- what ended sessions leave ---- */

static int refuse(void *arg)
{
    (void)arg;
    return 1;
}

/* More than goes in one commit, and the commit with the rest of it fails: the next one takes it. */
START_TEST(nothing_stays_of_an_ended_session)
{
    start(CRASH "[limits]\nmax_queued_messages = 0\n");
    join(SUB, &lasting, "q", 1);
    leave(SUB);
    come(PUB, &pub);
    publish(1, 2100);
    come(SUB, &anew);
    ck_assert_uint_eq(lab.b->journal.ended.n, 1);
    sqlite3_commit_hook(lab.b->journal.db->db, refuse, NULL);
    lab_pass(&lab, 2000, 20);
    ck_assert_uint_gt(lab.b->journal.failures, 0);
    sqlite3_commit_hook(lab.b->journal.db->db, NULL, NULL);
    lab_pass(&lab, 60000, 500);
    ck_assert_uint_eq(lab.b->journal.ended.n, 0);
    ck_assert_int_eq(ask("SELECT count(*) FROM queue"), 0);
    ck_assert_int_eq(ask("SELECT count(*) FROM ended_session"), 0);
}
END_TEST

/* What goes on for long pauses while nobody has room for it. Commits before there was anything are no reason. */
START_TEST(what_is_left_goes_at_once)
{
    uint64_t began;

    start(CRASH "[limits]\nmax_queued_messages = 0\n");
    join(SUB, &lasting, "q", 1);
    leave(SUB);
    come(PUB, &pub);
    publish(1, 2100);
    for (unsigned n = 0; n < 20; n++) {
        publish(2101 + n, 1);
        ck_assert_uint_eq(lab.b->journal.ended.n, 0);
    }
    come(SUB, &anew);
    began = lab_mono_ms;
    while (lab.b->journal.ended.n > 0 && lab_mono_ms < began + 5000)
        lab_pass(&lab, 10, 10);
    ck_assert_uint_le(lab_mono_ms - began, 100);
    ck_assert_int_eq(ask("SELECT count(*) FROM queue"), 0);
}
END_TEST

/* A journal that has lost a mark writes nothing any more: half of what belongs together would be promised. */
START_TEST(broken_is_silent)
{
    start(CRASH);
    join(SUB, &durable, "q", 1);
    leave(SUB);
    come(PUB, &pub);
    lab_pass(&lab, 6000, 500);
    lab.b->journal.last_commit_ms = lab_mono_ms;            /* so that the next commit takes its time */
    lab_publish(&lab, PUB, "q", 10, 1, false, 1, 0);
    lab_turn(&lab);
    ck_assert_int_eq(ask("SELECT count(*) FROM queue"), 0);
    lab.b->journal.broken = true;
    come(SUB, &durable);
    ck_assert_int_eq(ask("SELECT count(*) FROM queue"), 0);
    lab_kill(&lab);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("promise");
    TCase *t = tcase_create("all");

    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, back_in_time_is_back, 0, COUNT(lives));
    tcase_add_loop_test(t, present_when_stored, 0, 2);
    tcase_add_test(t, sent_when_stored);
    tcase_add_test(t, identifiers_are_not_used_twice);
    tcase_add_loop_test(t, no_publish_after_pubrel, 0, 4);
    tcase_add_test(t, what_was_found_is_durable);
    tcase_add_test(t, a_slow_device_has_a_short_log);
    tcase_add_loop_test(t, a_will_is_not_lost, 0, 2);
    tcase_add_test(t, full_and_started);
    tcase_add_loop_test(t, full_and_healed, 0, 2);
    tcase_add_test(t, one_that_never_fits);
    tcase_add_test(t, rows_of_others_are_not_the_oldest);
    tcase_add_loop_test(t, dropped_while_locked, 0, 2);
    tcase_add_test(t, leaving_costs_what_is_kept);
    tcase_add_test(t, nothing_stays_of_an_ended_session);
    tcase_add_test(t, what_is_left_goes_at_once);
    tcase_add_test(t, broken_is_silent);
    suite_add_tcase(s, t);
    return run_suite(s);
}
