/* What waits in the store for a member of a shared group goes to the others when its session ends [MQTT5-4.8.2-6].
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "lab.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GONE, HEIR, PUB, OTHER, MESSAGES = 5000, SOME = 300 };

static const struct lab_connect away = { .id = "gone", .version = MQTT_50, .expiry_s = 600 };
static const struct lab_connect anew = { .id = "gone", .version = MQTT_50, .clean = true };
static const struct lab_connect durable = { .id = "heir", .version = MQTT_50, .expiry_s = UINT32_MAX };
static const struct lab_connect passing = { .id = "heir", .version = MQTT_50, .clean = true };
static const struct lab_connect other = { .id = "other", .version = MQTT_50, .expiry_s = UINT32_MAX };
static const struct lab_connect pub = { .id = "pub", .version = MQTT_311, .clean = true };

static struct lab lab;

static struct {
    unsigned count[MESSAGES], total, last, disorder;
} got;

static void setup(void)
{
    lab_init(&lab, "[persistence]\ndurability = crash\n[limits]\nmax_queued_messages = 0\n");
    ck_assert(lab_start(&lab));
    memset(&got, 0, sizeof got);
}

static void teardown(void)
{
    lab_check_store(&lab, true);
    lab_fini(&lab);
}

static void come(unsigned i, const struct lab_connect *p)
{
    lab_open(&lab, i);
    lab_connect(&lab, i, p);
    lab_settle(&lab, 10);
}

static void join(unsigned i, const struct lab_connect *p, const char *filter, unsigned qos)
{
    come(i, p);
    lab_subscribe(&lab, i, filter, qos, 1);
    lab_settle(&lab, 10);
}

static void leave(unsigned i)
{
    lab_disconnect(&lab, i);
    lab_pass(&lab, 100, 50);
}

static void publish(unsigned n, unsigned qos)
{
    char topic[16];

    come(PUB, &pub);
    for (unsigned k = 0; k < n; k++) {
        snprintf(topic, sizeof topic, "t/%u", k);
        lab_publish(&lab, PUB, topic, 10, qos, false, (uint16_t)(k + 1), 0);
        if (k % 100 == 99)
            lab_pass(&lab, 40, 20);
    }
    for (unsigned k = 0; k < 100 && qos == 2; k++) {
        lab_pass(&lab, 40, 20);
        lab_forget(&lab.clients[PUB]);
    }
    lab_pass(&lab, 200, 20);
    if (qos == 1)
        ck_assert_uint_eq(lab.clients[PUB].got[PKT_PUBACK], n);
}

/* One who is away, and has n messages for the group waiting in the store. */
static void somebody_away(unsigned n, unsigned qos)
{
    join(GONE, &away, "$share/g/t/#", qos);
    leave(GONE);
    publish(n, qos);
}

/* Its client makes it end. */
static void end(void)
{
    come(GONE, &anew);
}

/* Notes what has come to a client, and acknowledges it. */
static void take(unsigned i)
{
    struct lab_client *cl = &lab.clients[i];
    struct view in = { cl->out, cl->out_len };
    struct frame f;

    while (in.len > 0 && frame_next(&in, FRAME_MAX_REMAINING, &f) == FRAME_OK) {
        struct publish p;
        unsigned n;

        if (frame_type(f.head) != PKT_PUBLISH || publish_decode(f.head, f.body, MQTT_50, &p) != R_OK)
            continue;
        n = (unsigned)strtoul((const char *)p.topic.p + 2, NULL, 10);
        ck_assert_uint_lt(n, MESSAGES);
        ck_assert_msg(got.count[n] == 0 || p.dup, "%u again without DUP", n);
        got.disorder += got.count[n] == 0 && got.total > 0 && n < got.last;
        got.last = n;
        got.count[n]++;
        got.total++;
    }
    lab_ack_all(&lab, i);
}

static void take_for(unsigned i, uint64_t ms)
{
    for (uint64_t t = 0; t < ms; t += 20) {
        lab_pass(&lab, 20, 20);
        take(i);
    }
}

static unsigned missing(unsigned n)
{
    unsigned lost = 0;

    for (unsigned k = 0; k < n; k++)
        lost += got.count[k] == 0;
    return lost;
}

static const struct { const char *name; const struct lab_connect *p; unsigned qos; bool away; } heirs[] = {
    { "durable, QoS 1", &durable, 1, false },
    { "durable, QoS 2", &durable, 2, false },
    { "durable and away, QoS 2", &durable, 2, true },
    { "for as long as its connection, QoS 1", &passing, 1, false },
};

START_TEST(all_of_it_in_order)
{
    somebody_away(MESSAGES, heirs[_i].qos);
    join(HEIR, heirs[_i].p, "$share/g/t/#", heirs[_i].qos);
    if (heirs[_i].away)
        leave(HEIR);
    end();
    if (heirs[_i].away) {
        lab_pass(&lab, 2000, 20);
        come(HEIR, heirs[_i].p);
    }
    take_for(HEIR, 15000);
    ck_assert_uint_eq(missing(MESSAGES), 0);
    ck_assert_msg(got.total == MESSAGES && got.disorder == 0, "%s: %u, %u out of order", heirs[_i].name, got.total,
                  got.disorder);
    ck_assert_uint_eq(lab.b->journal.ended.n, 0);
}
END_TEST

/* Nobody waits long for it: a turn does a part. */
START_TEST(a_part_at_a_time)
{
    unsigned turns = 0, had = 0;

    somebody_away(MESSAGES, 1);
    join(HEIR, &durable, "$share/g/t/#", 1);
    leave(HEIR);
    end();
    for (; had < MESSAGES && turns < 1000; turns++) {
        unsigned has = session_find(&lab.b->sessions, (struct view){ (const uint8_t *)"heir", 4 })->backlog;

        ck_assert_uint_le(has - had, 1000);
        had = has;
        lab_pass(&lab, 20, 20);
    }
    ck_assert_uint_eq(had, MESSAGES);
    ck_assert_uint_le(turns, 100);
}
END_TEST

/* Killed after so many steps, and again. QoS 2 for one who is away: neither lost nor twice. */
START_TEST(kills_on_the_way)
{
    somebody_away(MESSAGES, 2);
    join(HEIR, &durable, "$share/g/t/#", 2);
    leave(HEIR);
    end();
    for (unsigned k = 0; k < 4; k++) {
        lab_pass(&lab, (uint64_t)_i * 20, 20);
        lab_kill(&lab);
        ck_assert(lab_start(&lab));
        lab_pass(&lab, 5000, 1000);
    }
    lab_check_store(&lab, true);
    lab_pass(&lab, 10000, 20);
    come(HEIR, &durable);
    take_for(HEIR, 15000);
    ck_assert_uint_eq(missing(MESSAGES), 0);
    ck_assert_uint_eq(got.total, MESSAGES);
    ck_assert_uint_eq(got.disorder, 0);
}
END_TEST

/* The same for one who is there, at QoS 1: again comes only what says so. */
START_TEST(kills_while_it_is_taken)
{
    somebody_away(MESSAGES, 1);
    join(HEIR, &durable, "$share/g/t/#", 1);
    end();
    for (unsigned k = 0; k < 4; k++) {
        take_for(HEIR, (uint64_t)_i * 20);
        lab_kill(&lab);
        ck_assert(lab_start(&lab));
        come(HEIR, &durable);
        take_for(HEIR, 5000);
    }
    take_for(HEIR, 15000);
    ck_assert_uint_eq(missing(MESSAGES), 0);
}
END_TEST

/* A member that lives in RAM is gone with the broker. It gets the rest when it comes back soon; it is not waited for
 * for ever. */
START_TEST(the_only_heir_comes_back)
{
    somebody_away(SOME, 1);
    join(HEIR, &passing, "$share/g/t/#", 1);
    end();
    lab_pass(&lab, 40, 20);
    lab_settle(&lab, 10);
    take(HEIR);
    ck_assert_uint_lt(got.total, SOME / 2);
    lab_kill(&lab);
    ck_assert(lab_start(&lab));
    lab_pass(&lab, _i == 0 ? 10000 : 120000, 1000);
    join(HEIR, &passing, "$share/g/t/#", 1);
    take_for(HEIR, 5000);
    ck_assert_uint_eq(missing(SOME) == 0, _i == 0);
    ck_assert_uint_eq(lab.b->journal.ended.n, 0);
}
END_TEST

/* Its limits are kept, and what it has no room for yet waits where it is. */
START_TEST(no_room_yet)
{
    uint64_t commits;

    somebody_away(SOME, 1);
    lab_stop(&lab);
    free(lab.settings);
    lab.settings = strdup("[persistence]\ndurability = crash\n[limits]\nmax_queued_messages = 10\n"
                          "max_inflight_messages = 5\n");
    ck_assert(lab_start(&lab));
    join(HEIR, _i == 0 ? &durable : &passing, "$share/g/t/#", 1);
    end();
    lab_pass(&lab, 1000, 20);
    commits = lab.b->journal.seq;
    lab_pass(&lab, 29000, 20);
    ck_assert_uint_le(lab.b->journal.seq - commits, 300);       /* it does not look all the time */
    ck_assert_uint_le(session_waiting(session_find(&lab.b->sessions, (struct view){ (const uint8_t *)"heir", 4 })), 10);
    take_for(HEIR, 30000);
    ck_assert_uint_eq(missing(SOME), 0);
    ck_assert_uint_eq(got.disorder, 0);
}
END_TEST

/* The rows that its client has in RAM when it ends, some of them sent, come first. */
START_TEST(in_the_middle_of_fetching)
{
    somebody_away(SOME, 1);
    if (_i == 1) {
        lab_kill(&lab);
        ck_assert(lab_start(&lab));
    }
    come(GONE, &away);
    lab_pass(&lab, 100, 20);
    lab_forget(&lab.clients[GONE]);
    join(HEIR, &durable, "$share/g/t/#", 1);
    end();
    take_for(HEIR, 3000);
    ck_assert_uint_eq(missing(SOME), 0);
    ck_assert_uint_eq(got.total, SOME);
    ck_assert_uint_eq(got.disorder, 0);
}
END_TEST

/* All that there is fits into the window and came from the store. */
START_TEST(fetched_to_the_last)
{
    somebody_away(15, 1);
    come(GONE, &away);
    lab_pass(&lab, 6000, 500);
    lab_forget(&lab.clients[GONE]);
    join(HEIR, &durable, "$share/g/t/#", 1);
    end();
    take_for(HEIR, 3000);
    ck_assert_uint_eq(missing(15), 0);
    ck_assert_uint_eq(got.total, 15);
}
END_TEST

/* With nobody else in the group it ends with the session, and the store lets go of it without being asked. */
START_TEST(no_heir)
{
    somebody_away(MESSAGES, 1);
    end();
    join(GONE, &anew, "$share/g/t/#", 1);
    lab_forget(&lab.clients[GONE]);
    lab_pass(&lab, 10000, 20);
    ck_assert_uint_eq(lab.clients[GONE].got[PKT_PUBLISH], 0);
    ck_assert_uint_eq(lab.b->journal.ended.n, 0);
}
END_TEST

START_TEST(expired)
{
    somebody_away(SOME, 1);
    join(HEIR, &durable, "$share/g/t/#", 1);
    leave(HEIR);
    if (_i == 1)
        lab_stop(&lab);
    lab_mono_ms += 600000;
    lab_wall_ms += 600000;
    if (_i == 1)
        ck_assert(lab_start(&lab));
    lab_pass(&lab, 10000, 100);
    come(HEIR, &durable);
    take_for(HEIR, 3000);
    ck_assert_uint_eq(missing(SOME), 0);
    ck_assert_uint_eq(got.total, SOME);
}
END_TEST

/* Each group gets its own, and nobody what came by a subscription that was the client's alone. */
START_TEST(two_groups_and_a_subscription_of_its_own)
{
    join(GONE, &away, "$share/g/t/#", 1);
    lab_subscribe(&lab, GONE, "$share/h/t/#", 1, 2);
    lab_subscribe(&lab, GONE, "t/1", 1, 3);
    leave(GONE);
    publish(SOME, 1);
    join(HEIR, &durable, "$share/g/t/#", 1);
    join(OTHER, &other, "$share/h/t/#", 1);
    end();
    take_for(HEIR, 3000);
    ck_assert_uint_eq(missing(SOME), 0);
    ck_assert_uint_eq(got.total, SOME);
    memset(&got, 0, sizeof got);
    take_for(OTHER, 3000);
    ck_assert_uint_eq(missing(SOME), 0);
    ck_assert_uint_eq(got.total, SOME);
}
END_TEST

/* While somebody holds the store's lock nothing is lost, and after a kill nothing either. */
START_TEST(the_store_can_not_be_written)
{
    char path[128];
    sqlite3 *db;

    somebody_away(SOME * 5, 2);
    join(HEIR, &durable, "$share/g/t/#", 2);
    leave(HEIR);
    end();
    lab_pass(&lab, (uint64_t)_i / 2 * 20, 20);
    snprintf(path, sizeof path, "%s/s.db", lab.dir);
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    lab_pass(&lab, 1000, 20);
    sqlite3_close(db);
    if (_i % 2 == 1) {
        lab_kill(&lab);
        ck_assert(lab_start(&lab));
    }
    lab_pass(&lab, 10000, 20);
    come(HEIR, &durable);
    take_for(HEIR, 5000);
    ck_assert_uint_eq(missing(SOME * 5), 0);
    ck_assert_uint_eq(got.total, SOME * 5);
}
END_TEST

/* One who is there has it all in RAM, too. */
START_TEST(killed_before_it_is_acknowledged)
{
    somebody_away(SOME, 1);
    join(HEIR, &durable, "$share/g/t/#", 1);
    end();
    lab_pass(&lab, (uint64_t)_i * 20, 20);
    lab_kill(&lab);
    ck_assert(lab_start(&lab));
    come(HEIR, &durable);
    take_for(HEIR, 10000);
    ck_assert_uint_eq(missing(SOME), 0);
}
END_TEST

/* Published in the turn in which it ends, behind what waits in the store. */
START_TEST(in_order_with_what_is_new)
{
    char topic[16];

    somebody_away(SOME, 1);
    come(GONE, &away);
    join(HEIR, &durable, "$share/g/t/#", 1);
    leave(HEIR);
    for (unsigned k = SOME; k < SOME + 10; k++) {
        snprintf(topic, sizeof topic, "t/%u", k);
        lab_publish(&lab, PUB, topic, 10, 1, false, (uint16_t)(k + 1), 0);
    }
    lab_open(&lab, OTHER);
    lab_connect(&lab, OTHER, &anew);
    lab_settle(&lab, 10);
    come(HEIR, &durable);
    take_for(HEIR, 3000);
    ck_assert_uint_eq(missing(SOME + 10), 0);
    ck_assert_uint_eq(got.disorder, 0);
}
END_TEST

/* A lock while it ends: what is not written yet is handed on from RAM, and its publisher's answers still wait. */
START_TEST(not_written_yet)
{
    unsigned qos = _i == 0 ? 1 : 2;
    char path[128];
    sqlite3 *db;

    join(GONE, &away, "$share/g/t/#", qos);
    publish(10, qos);
    join(HEIR, &durable, "$share/g/t/#", qos);
    leave(HEIR);
    lab_pass(&lab, 6000, 500);
    lab_forget(&lab.clients[PUB]);
    snprintf(path, sizeof path, "%s/s.db", lab.dir);
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    lab_publish(&lab, PUB, "t/10", 10, qos, false, 11, 0);
    lab_publish(&lab, PUB, "t/11", 10, qos, false, 12, 0);
    lab_pass(&lab, 200, 20);
    end();
    lab_pass(&lab, 200, 20);
    ck_assert_uint_eq(lab.clients[PUB].got[PKT_PUBACK] + lab.clients[PUB].got[PKT_PUBREC], 0);
    sqlite3_close(db);
    lab_pass(&lab, 3000, 20);
    ck_assert_uint_eq(lab.clients[PUB].got[PKT_PUBACK] + lab.clients[PUB].got[PKT_PUBREC], 2);
    lab_kill(&lab);
    ck_assert(lab_start(&lab));
    come(HEIR, &durable);
    take_for(HEIR, 3000);
    ck_assert_uint_eq(got.count[10] + got.count[11], 2);
    ck_assert_uint_eq(missing(10), qos == 1 ? 0 : 10);      /* at QoS 2 its client may have had them */
}
END_TEST

/* The row of one who is away was written as the only one of its message; then another gets it from a member's RAM. */
START_TEST(others_keep_theirs)
{
    const unsigned first = _i == 0 ? HEIR : OTHER, second = _i == 0 ? OTHER : HEIR;

    join(OTHER, &other, "t/#", 1);
    leave(OTHER);
    join(HEIR, &durable, "$share/g/t/#", 1);
    leave(HEIR);
    join(GONE, &anew, "$share/g/t/#", 1);
    publish(10, 1);
    ck_assert_uint_eq(lab.clients[GONE].got[PKT_PUBLISH], 10);
    lab.clients[GONE].ended = true;
    lab_pass(&lab, 200, 20);
    come(first, first == HEIR ? &durable : &other);
    take_for(first, 1000);
    ck_assert_uint_eq(missing(10), 0);
    lab_pass(&lab, 6000, 500);
    memset(&got, 0, sizeof got);
    come(second, second == HEIR ? &durable : &other);
    take_for(second, 1000);
    ck_assert_uint_eq(missing(10), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("estate");
    TCase *t = tcase_create("all");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, all_of_it_in_order, 0, COUNT(heirs));
    tcase_add_test(t, a_part_at_a_time);
    tcase_add_loop_test(t, kills_on_the_way, 0, 4);
    tcase_add_loop_test(t, kills_while_it_is_taken, 1, 4);
    tcase_add_loop_test(t, the_only_heir_comes_back, 0, 2);
    tcase_add_loop_test(t, no_room_yet, 0, 2);
    tcase_add_loop_test(t, in_the_middle_of_fetching, 0, 2);
    tcase_add_test(t, fetched_to_the_last);
    tcase_add_test(t, no_heir);
    tcase_add_loop_test(t, expired, 0, 2);
    tcase_add_test(t, two_groups_and_a_subscription_of_its_own);
    tcase_add_loop_test(t, the_store_can_not_be_written, 0, 6);
    tcase_add_loop_test(t, killed_before_it_is_acknowledged, 1, 6);
    tcase_add_test(t, in_order_with_what_is_new);
    tcase_add_loop_test(t, not_written_yet, 0, 2);
    tcase_add_loop_test(t, others_keep_theirs, 0, 2);
    suite_add_tcase(s, t);
    return run_suite(s);
}
