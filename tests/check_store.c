/* What waits in the store: its bytes are counted right, whatever becomes of it, and nothing of it is cut off.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "lab.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* 'a' or '+' in each of its levels: all match one topic. */
enum { LEVELS = 15, MANY = 16400, FILTER_LEN = LEVELS * 2 - 1 };
static const char deep[] = "a/a/a/a/a/a/a/a/a/a/a/a/a/a/a";

/* All in one SUBSCRIBE, with the largest identifier. */
static void subscribe_deep(void)
{
    const struct view id = { (const uint8_t *)"\x0B\xFF\xFF\xFF\x7F", 5 };
    struct subscription *subs = calloc(MANY, sizeof *subs);
    char *text = malloc(MANY * FILTER_LEN);
    size_t cap;
    struct writer w;
    uint8_t *buf;

    ck_assert(subs != NULL && text != NULL);
    for (unsigned i = 0; i < MANY; i++) {
        char *at = text + i * FILTER_LEN;

        memcpy(at, deep, FILTER_LEN);
        for (unsigned level = 0; level < LEVELS; level++)
            if ((i >> level & 1) != 0)
                at[level * 2] = '+';
        subs[i] = (struct subscription){ .filter = { (const uint8_t *)at, FILTER_LEN }, .qos = 1 };
    }
    cap = subscribe_size(MQTT_50, subs, MANY, id);
    buf = malloc(cap);
    ck_assert_ptr_nonnull(buf);
    w = wr_make(buf, cap);
    subscribe_encode(MQTT_50, 1, subs, MANY, id, &w);
    ck_assert(!w.bad);
    lab_send(&lab, SUB, buf, (size_t)(w.p - buf));
    free(buf);
    free(text);
    free(subs);
}

/* More identifiers than a length of 16 bits can tell, once for a subscriber that is there and once for one that comes
 * back after a kill: all of them come. [MQTT5-3.3.4-4] */
START_TEST(identifiers_of_many_subscriptions)
{
    static const struct lab_connect lasting = { .id = "sub", .version = MQTT_50, .expiry_s = UINT32_MAX };
    const struct lab_client *c = &lab.clients[SUB];
    struct view in;
    struct frame f;
    struct publish p = { .qos = 0 };

    start("");
    connect_as(SUB, &lasting);
    subscribe_deep();
    lab_pass(&lab, 200, 50);
    ck_assert_uint_eq(c->got[PKT_SUBACK], 1);
    if (_i == 1)
        lab_disconnect(&lab, SUB);
    connect_as(PUB, &publisher);
    lab_forget(&lab.clients[SUB]);
    lab_publish(&lab, PUB, deep, 10, 1, false, 1, 0);
    lab_pass(&lab, 100, 50);
    if (_i == 1) {
        ck_assert_uint_eq(lab.clients[PUB].got[PKT_PUBACK], 1);
        lab_kill(&lab);
        ck_assert_msg(lab_start(&lab), "%s", lab.why);
        connect_as(SUB, &lasting);
    }
    lab_pass(&lab, 200, 50);
    ck_assert_uint_eq(c->got[PKT_PUBLISH], 1);
    in = (struct view){ c->out, c->out_len };
    while (frame_next(&in, SIZE_MAX, &f) == FRAME_OK)
        if (frame_type(f.head) == PKT_PUBLISH)
            ck_assert_int_eq(publish_decode(f.head, f.body, MQTT_50, &p), R_OK);
    ck_assert_uint_eq(p.props.subid_count, MANY);
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
    tcase_add_loop_test(t, identifiers_of_many_subscriptions, 0, 2);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return run_suite(suite());
}
