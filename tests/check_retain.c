/* Retained messages beyond what retained_memory has room for: every one is delivered, whole and as it is now.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "lab.h"
#include "suite.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PUB, SUB, OLD, COUNT = 300 };

static const struct lab_connect publisher = { .id = "pub", .version = MQTT_50, .clean = true };
static const struct lab_connect subscriber = { .id = "sub", .version = MQTT_311, .clean = true };
static const struct lab_connect durable = { .id = "durable", .version = MQTT_311 };

static struct lab lab;
static unsigned seen[COUNT];        /* payload length + 1 of what came last, 0: nothing */

static void start(const char *persistence, const char *limits)
{
    char settings[512];

    snprintf(settings, sizeof settings, "[limits]\n%s[persistence]\ndurability = crash\nmemory = 65536\n%s%s", limits,
             persistence, strstr(persistence, "commit_interval") == NULL ? "commit_interval = 0\n" : "");
    lab_init(&lab, settings);
    ck_assert(lab_start(&lab));
}

static void connect_as(unsigned i, const struct lab_connect *p)
{
    lab_join(&lab, i, p);
    lab_pass(&lab, 50, 50);
}

static size_t size_of(unsigned i)
{
    return 1000 + i;
}

static void retain(unsigned i, size_t size, unsigned qos)
{
    char topic[16];

    snprintf(topic, sizeof topic, "t/%u", i);
    lab_publish(&lab, PUB, topic, size, qos, true, (uint16_t)(i + 1), 0);
    lab_settle(&lab, 5);
    if (qos == 2)
        lab_ack(&lab, PUB, PKT_PUBREL, (uint16_t)(i + 1));
}

static void retain_all(unsigned qos)
{
    connect_as(PUB, &publisher);
    for (unsigned i = 0; i < COUNT; i++)
        retain(i, size_of(i), qos);
    lab_pass(&lab, 6000, 1000);
}

static void restart(void)
{
    lab_stop(&lab);
    ck_assert(lab_start(&lab));
}

/* Notes what the client has got, and forgets it. */
static void look(unsigned i)
{
    struct lab_client *c = &lab.clients[i];
    struct view in = { c->out, c->out_len };
    struct frame f;
    struct publish p;

    while (in.len > 0 && frame_next(&in, FRAME_MAX_REMAINING, &f) == FRAME_OK)
        if (frame_type(f.head) == PKT_PUBLISH && publish_decode(f.head, f.body, c->version, &p) == R_OK) {
            char topic[16];
            unsigned n = COUNT;

            snprintf(topic, sizeof topic, "%.*s", (int)p.topic.len, (const char *)p.topic.p);
            ck_assert_msg(sscanf(topic, "t/%u", &n) == 1 && n < COUNT, "topic %s", topic);
            seen[n] = (unsigned)p.payload.len + 1;
        }
    lab_ack_all(&lab, i);
    lab_forget(c);
}

static unsigned collect(unsigned i)
{
    unsigned n = 0;

    for (unsigned turns = 0; turns < 200; turns++) {
        lab_pass(&lab, 20, 20);
        look(i);
    }
    for (unsigned k = 0; k < COUNT; k++)
        n += seen[k] > 0;
    return n;
}

static unsigned subscribe(unsigned i, const struct lab_connect *as, unsigned qos)
{
    memset(seen, 0, sizeof seen);
    connect_as(i, as);
    lab_subscribe(&lab, i, "t/#", qos, 1);
    return collect(i);
}

static void all_are_right(void)
{
    for (unsigned i = 0; i < COUNT; i++)
        ck_assert_uint_eq(seen[i], size_of(i) + 1);
}

START_TEST(delivered_by_any_qos)
{
    start("retained_memory = 50K\n", "");
    retain_all((unsigned)_i);
    ck_assert_uint_eq(lab.b->retain.count, COUNT);
    ck_assert_uint_le(lab.b->retain.ram_bytes, 50 * 1024);
    ck_assert_uint_gt(lab.b->retain.ram_bytes, 48 * 1024);
    ck_assert_uint_eq(subscribe(SUB, &subscriber, (unsigned)_i), COUNT);
    all_are_right();
    ck_assert_uint_le(lab.b->retain.ram_bytes, 50 * 1024);
    lab_fini(&lab);
}
END_TEST

/* What is not written yet can't be read either, so it stays. */
START_TEST(unwritten_stays)
{
    start("retained_memory = 0\ncommit_interval = 60s\n", "");
    connect_as(PUB, &publisher);
    for (unsigned i = 0; i < 20; i++)
        retain(i, size_of(i), 0);
    ck_assert_uint_eq(lab.b->retain.ram_count, 20);
    ck_assert_uint_eq(subscribe(SUB, &subscriber, 0), 20);
    ck_assert_uint_eq(lab.b->retain.reads, 0);
    lab_pass(&lab, 6000, 1000);
    ck_assert_uint_eq(lab.b->retain.ram_count, 0);
    ck_assert_uint_eq(subscribe(SUB, &subscriber, 0), 20);
    ck_assert_uint_eq(lab.b->retain.reads, 20);
    lab_fini(&lab);
}
END_TEST

/* A flood of QoS 0 does not wait for its lazy commit in RAM. */
START_TEST(unwritten_is_bounded)
{
    uint64_t most = 0;

    start("retained_memory = 100K\ncommit_interval = 20ms\n", "");
    connect_as(PUB, &publisher);
    for (unsigned i = 0; i < COUNT; i++) {
        retain(i, 3000, 0);
        lab_pass(&lab, 5, 5);
        most = lab.b->retain.ram_bytes > most ? lab.b->retain.ram_bytes : most;
    }
    ck_assert_uint_lt(most, 200 * 1024);
    lab_fini(&lab);
}
END_TEST

START_TEST(after_restart)
{
    start("retained_memory = 50K\n", "");
    retain_all(1);
    restart();
    ck_assert_uint_eq(lab.b->retain.count, COUNT);
    ck_assert_uint_eq(lab.b->retain.bytes, COUNT * (1000 + 149) + COUNT / 2 + 10 * 3 + 90 * 4 + 200 * 5);
    ck_assert_uint_eq(lab.b->retain.ram_count, 0);
    ck_assert_uint_eq(subscribe(SUB, &subscriber, 1), COUNT);
    all_are_right();
    /* What there is room for stays. */
    ck_assert_uint_gt(lab.b->retain.ram_bytes, 48 * 1024);
    ck_assert_uint_le(lab.b->retain.ram_bytes, 50 * 1024);
    lab_fini(&lab);
}
END_TEST

/* The newest ones are in RAM. */
START_TEST(set_again)
{
    uint64_t reads;

    start("retained_memory = 50K\n", "");
    retain_all(1);
    for (unsigned i = 0; i < 10; i++)
        retain(i, 2000, 1);
    lab_pass(&lab, 6000, 1000);
    reads = lab.b->retain.reads;
    memset(seen, 0, sizeof seen);
    connect_as(SUB, &subscriber);
    for (unsigned i = 0; i < 10; i++) {
        char topic[16];
        snprintf(topic, sizeof topic, "t/%u", i);
        lab_subscribe(&lab, SUB, topic, 0, 1);
        lab_settle(&lab, 20);
    }
    ck_assert_uint_eq(collect(SUB), 10);
    ck_assert_uint_eq(seen[9], 2001);
    ck_assert_uint_eq(lab.b->retain.reads, reads);
    lab_fini(&lab);
}
END_TEST

/* While a slow subscriber is being sent them, they change: nothing old comes behind what is new. */
START_TEST(changed_during_the_walk)
{
    start("retained_memory = 50K\n", "");
    retain_all(1);
    memset(seen, 0, sizeof seen);
    connect_as(SUB, &subscriber);
    lab.clients[SUB].room = 4096;
    lab_subscribe(&lab, SUB, "t/#", 0, 1);
    lab_pass(&lab, 20, 20);
    for (unsigned i = 0; i < COUNT; i++)
        retain(i, i % 2 == 0 ? 5 : 0, 1);
    lab.clients[SUB].room = SIZE_MAX;
    collect(SUB);
    for (unsigned i = 0; i < COUNT; i++)
        ck_assert_msg(seen[i] == (i % 2 == 0 ? 6 : 1), "%u: %u", i, seen[i]);
    ck_assert_uint_eq(lab.b->retain.count, COUNT / 2);
    lab_fini(&lab);
}
END_TEST

START_TEST(rows_taken_away)
{
    start("retained_memory = 0\n", "");
    retain_all(1);
    lab_sql(&lab, "DELETE FROM retained WHERE topic LIKE 't/1%'");
    ck_assert_uint_eq(subscribe(SUB, &subscriber, 1), COUNT - 111);
    ck_assert_uint_eq(lab.b->retain.count, COUNT - 111);
    lab_fini(&lab);
}
END_TEST

/* Damage: what can be read is sent, and the broker goes on. */
START_TEST(pages_lost)
{
    char path[128], bad[4096];
    unsigned n;
    int fd;

    start("retained_memory = 0\n", "");
    retain_all(1);
    lab_sql(&lab, "PRAGMA wal_checkpoint(TRUNCATE)");
    restart();
    snprintf(path, sizeof path, "%s/s.db", lab.dir);
    memset(bad, 0xFF, sizeof bad);
    fd = open(path, O_WRONLY);
    for (int page = 60; page < 80; page++)
        ck_assert_int_eq(pwrite(fd, bad, sizeof bad, (off_t)page * 4096), 4096);
    close(fd);
    n = subscribe(SUB, &subscriber, 1);
    ck_assert_uint_gt(n, 100);
    ck_assert_uint_lt(n, COUNT);
    ck_assert_uint_eq(lab.b->retain.count, COUNT);
    retain_all(0);
    ck_assert_ptr_nonnull(lab.clients[SUB].c);
    lab_kill(&lab);
    lab_fini(&lab);
}
END_TEST

/* A durable subscriber goes in the middle: what its queue takes is queued, the others are not even read. */
START_TEST(subscriber_leaves)
{
    const struct session *s;
    uint64_t reads;

    start("retained_memory = 0\n", "max_queued_messages = 20\nmax_inflight_messages = 5\n");
    retain_all(1);
    connect_as(OLD, &durable);
    reads = lab.b->retain.reads;
    lab_subscribe(&lab, OLD, "t/#", 1, 1);
    lab_pass(&lab, 50, 50);
    lab_disconnect(&lab, OLD);
    lab_pass(&lab, 50, 50);
    s = session_find(&lab.b->sessions, (struct view){ (const uint8_t *)"durable", 7 });
    ck_assert_ptr_nonnull(s);
    ck_assert_uint_ge(session_waiting(s), 20);
    ck_assert_uint_le(session_waiting(s), 25);
    ck_assert_uint_eq(session_waiting(s) + s->dropped, COUNT);
    ck_assert_uint_lt(lab.b->retain.reads - reads, 100);
    lab_fini(&lab);
}
END_TEST

/* Of QoS 0 nothing is kept for it, so nothing is read. */
START_TEST(subscriber_of_qos_0_leaves)
{
    uint64_t reads;

    start("retained_memory = 0\n", "");
    retain_all(1);
    connect_as(OLD, &durable);
    lab.clients[OLD].room = 4096;
    lab_subscribe(&lab, OLD, "t/#", 0, 1);
    lab_pass(&lab, 50, 50);
    reads = lab.b->retain.reads;
    lab_disconnect(&lab, OLD);
    lab_pass(&lab, 50, 50);
    ck_assert_uint_eq(lab.b->retain.reads, reads);
    lab_fini(&lab);
}
END_TEST

START_TEST(expires_unread)
{
    start("retained_memory = 0\n", "");
    connect_as(PUB, &publisher);
    lab_publish(&lab, PUB, "t/1", 10, 1, true, 1, 10);
    lab_publish(&lab, PUB, "t/2", 10, 1, true, 2, 100);
    lab_pass(&lab, 100, 50);
    restart();
    lab_pass(&lab, 11000, 1000);
    ck_assert_uint_eq(lab.b->retain.count, 1);
    ck_assert_uint_eq(subscribe(SUB, &subscriber, 1), 1);
    ck_assert_uint_eq(seen[2], 11);
    lab_fini(&lab);
}
END_TEST

START_TEST(without_a_store)
{
    start("retained_memory = 1K\nenabled = false\n", "");
    retain_all(1);
    ck_assert_uint_eq(lab.b->retain.ram_count, COUNT);
    ck_assert_uint_eq(subscribe(SUB, &subscriber, 1), COUNT);
    all_are_right();
    lab_fini(&lab);
}
END_TEST

/* retain_expiry_interval counts from when a message came, not from the last start. */
START_TEST(default_expiry_goes_on)
{
    start("", "[broker]\nretain_expiry_interval = 100s\n");
    connect_as(PUB, &publisher);
    retain(0, size_of(0), 1);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_uint_eq(lab.b->retain.count, 1);
        lab_pass(&lab, 40000, 1000);
        restart();
    }
    lab_pass(&lab, 50, 50);
    ck_assert_uint_eq(lab.b->retain.count, 0);
    lab_fini(&lab);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("retain");
    TCase *t = tcase_create("all");

    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, delivered_by_any_qos, 0, 3);
    tcase_add_test(t, unwritten_stays);
    tcase_add_test(t, default_expiry_goes_on);
    tcase_add_test(t, unwritten_is_bounded);
    tcase_add_test(t, after_restart);
    tcase_add_test(t, set_again);
    tcase_add_test(t, changed_during_the_walk);
    tcase_add_test(t, rows_taken_away);
    tcase_add_test(t, pages_lost);
    tcase_add_test(t, subscriber_leaves);
    tcase_add_test(t, subscriber_of_qos_0_leaves);
    tcase_add_test(t, expires_unread);
    tcase_add_test(t, without_a_store);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return run_suite(suite());
}
