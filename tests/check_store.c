/* What waits in the store: its bytes are counted right, whatever becomes of it.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "lab.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>

enum { PUB, SUB, BYTES = 101 };      /* of each message: topic "t", 100 of payload */

static const struct lab_connect publisher = { .id = "pub", .version = MQTT_50, .clean = true };
static const struct lab_connect durable = { .id = "sub", .version = MQTT_311 };

static struct lab lab;

static void start(const char *limits)
{
    char settings[512];

    snprintf(settings, sizeof settings, "[limits]\nmax_inflight_messages = 3\n%s[persistence]\ndurability = crash\n",
             limits);
    lab_init(&lab, settings);
    ck_assert(lab_start(&lab));
}

static void connect_as(unsigned i, const struct lab_connect *p)
{
    lab_join(&lab, i, p);
    lab_pass(&lab, 50, 50);         /* a commit */
}

/* Publisher connected, subscriber known and gone. */
static void leave_subscriber(void)
{
    connect_as(SUB, &durable);
    lab_subscribe(&lab, SUB, "t", 1, 1);
    lab_settle(&lab, 20);
    lab_disconnect(&lab, SUB);
    connect_as(PUB, &publisher);
}

static void publish(unsigned first, unsigned n)
{
    for (unsigned i = first; i < first + n; i++) {
        lab_publish(&lab, PUB, "t", 100, 1, false, (uint16_t)i, 0);
        lab_pass(&lab, 50, 50);
    }
    lab_settle(&lab, 20);
}

static const struct session *subscriber(void)
{
    return session_find(&lab.b->sessions, (struct view){ (const uint8_t *)"sub", 3 });
}

static void drain(void)
{
    for (unsigned i = 0; i < 100 && session_waiting(subscriber()) > 0; i++) {
        lab_ack_all(&lab, SUB);
        lab_forget(&lab.clients[SUB]);
        lab_pass(&lab, 50, 50);
    }
    lab_ack_all(&lab, SUB);
    lab_settle(&lab, 20);
}

/* The store lets one go for each that comes, and no more. */
START_TEST(drop_oldest_by_bytes)
{
    start("max_queued_bytes = 505\nqueue_full = drop-oldest\n");
    leave_subscriber();
    publish(1, 12);
    ck_assert_uint_eq(subscriber()->dropped, 7);
    ck_assert_uint_eq(subscriber()->backlog, 5);
    ck_assert_uint_eq(subscriber()->queued_bytes, 5 * BYTES);
    connect_as(SUB, &durable);
    drain();
    ck_assert_uint_eq(subscriber()->queued_bytes, 0);
    lab_fini(&lab);
}
END_TEST

/* Messages of different sizes: what is given up is guessed first, and known after the commit. */
START_TEST(drop_oldest_of_any_size)
{
    uint64_t left = 0;

    start("max_queued_messages = 5\nqueue_full = drop-oldest\n");
    leave_subscriber();
    for (uint16_t i = 1; i <= 20; i++) {
        size_t size = (size_t)i * i * 10;
        lab_publish(&lab, PUB, "t", size, 1, false, i, 0);
        lab_pass(&lab, 50, 50);
        left += i > 15 ? size + 1 : 0;
    }
    lab_pass(&lab, 10000, 1000);
    ck_assert_uint_eq(subscriber()->backlog, 5);
    ck_assert_uint_eq(subscriber()->queued_bytes, left);
    lab_fini(&lab);
}
END_TEST

/* What was in flight does not wait, neither before a restart nor after it. */
START_TEST(restart_with_messages_in_flight)
{
    start("");
    leave_subscriber();
    publish(1, 10);
    connect_as(SUB, &durable);
    lab_pass(&lab, 6000, 1000);                 /* the states are written */
    ck_assert_uint_eq(subscriber()->flow->inflight, 3);
    ck_assert_uint_eq(subscriber()->queued_bytes, 7 * BYTES);
    lab_stop(&lab);
    ck_assert(lab_start(&lab));
    ck_assert_uint_eq(subscriber()->backlog, 10);
    ck_assert_uint_eq(subscriber()->queued_bytes, 7 * BYTES);
    connect_as(SUB, &durable);
    drain();
    ck_assert_uint_eq(subscriber()->queued_bytes, 0);
    lab_fini(&lab);
}
END_TEST

/* Rows that somebody took away, and sizes that somebody changed, do not count for ever. */
START_TEST(changed_by_others)
{
    start("");
    leave_subscriber();
    publish(1, 10);
    lab_stop(&lab);
    lab_sql(&lab, "DELETE FROM message WHERE message_id IN (SELECT message_id FROM queue LIMIT 3);"
                  "UPDATE queue SET bytes = iif(position % 2, -1, 1000000000000)");
    ck_assert(lab_start(&lab));
    ck_assert_uint_eq(subscriber()->backlog, 10);
    connect_as(PUB, &publisher);
    connect_as(SUB, &durable);
    drain();
    ck_assert_uint_eq(subscriber()->backlog, 0);
    ck_assert_uint_eq(subscriber()->queued_bytes, 0);
    lab_fini(&lab);
}
END_TEST

static uint64_t log_bytes(void)
{
    struct persist_stats st;

    persist_stats(lab.b->journal.db, &st);
    return st.wal_bytes;
}

/* Somebody reads for long: the log grows, and is short again soon after, however little is written then. */
START_TEST(log_after_a_reader)
{
    sqlite3 *reader;

    start("max_queued_messages = 0\n");
    leave_subscriber();
    publish(1, 1);
    reader = lab_side(&lab, "BEGIN; SELECT count(*) FROM queue");
    for (uint16_t i = 2; i < 220; i++) {
        lab_publish(&lab, PUB, "t", 100000, 1, false, i, 0);
        lab_pass(&lab, 50, 50);
    }
    lab_pass(&lab, 11000, 1000);
    ck_assert_uint_gt(log_bytes(), 20 << 20);
    sqlite3_close(reader);
    for (uint16_t i = 220; i < 223; i++) {
        publish(i, 1);
        lab_pass(&lab, 11000, 1000);
    }
    ck_assert_uint_le(log_bytes(), 2 << 20);
    lab_fini(&lab);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("store");
    TCase *t = tcase_create("all");

    tcase_set_timeout(t, 60);
    tcase_add_test(t, drop_oldest_by_bytes);
    tcase_add_test(t, drop_oldest_of_any_size);
    tcase_add_test(t, restart_with_messages_in_flight);
    tcase_add_test(t, changed_by_others);
    tcase_add_test(t, log_after_a_reader);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return run_suite(suite());
}
