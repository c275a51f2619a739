/* memory_limit: what is refused first, what second, and what goes on all the time.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "lab.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>

enum { V5, V3, NEW, LIMIT = 20000000 };

static const struct lab_connect five = { .id = "five", .version = MQTT_50, .clean = true };
static const struct lab_connect three = { .id = "three", .version = MQTT_311 };

static struct lab lab;
static void *ballast;

/* Allocates until so many percent of the limit are in use. */
static void fill(unsigned percent)
{
    size_t want = (size_t)LIMIT / 100 * percent, has;

    mem_free(MEM_OTHER, ballast);
    ballast = NULL;
    has = mem_total + (size_t)persist_memory_bytes();
    ck_assert_uint_lt(has, want);
    ballast = mem_alloc(MEM_OTHER, want - has);
    ck_assert_ptr_nonnull(ballast);
}

static void setup(void)
{
    lab_init(&lab, "[limits]\nmemory_limit = 20000000\nmax_inflight_messages = 2\n[persistence]\ndurability = crash\n"
             "commit_interval = 0\n");
    ck_assert(lab_start(&lab));
    lab_join(&lab, V5, &five);
    lab_join(&lab, V3, &three);
    lab_publish(&lab, V5, "kept", 100, 1, true, 1, 0);
    lab_subscribe(&lab, V5, "old/#", 1, 1);
    lab_settle(&lab, 20);
}

static void teardown(void)
{
    mem_free(MEM_OTHER, ballast);
    ballast = NULL;
    lab_fini(&lab);
}

/* The last byte of what came back: a reason code in all the packets that are asked for here. */
static unsigned last(unsigned i)
{
    const struct lab_client *c = &lab.clients[i];

    lab_settle(&lab, 20);
    return c->out_len > 0 ? c->out[c->out_len - 1] : 0x100;
}

static unsigned connect_new(uint8_t version, const char *id)
{
    const struct lab_connect p = { .id = id, .version = version, .clean = true };

    lab_join(&lab, NEW, &p);
    lab_settle(&lab, 20);
    return lab.clients[NEW].out_len > 3 ? lab.clients[NEW].out[3] : 0x100;
}

static unsigned subscribe(unsigned i, const char *filter)
{
    lab_forget(&lab.clients[i]);
    lab_subscribe(&lab, i, filter, 1, 2);
    return last(i);
}

/* PUBACK's reason code; 0: the short form. */
static unsigned retain(unsigned i, const char *topic, size_t len)
{
    lab_forget(&lab.clients[i]);
    lab_publish(&lab, i, topic, len, 1, true, 9, 0);
    lab_settle(&lab, 20);
    ck_assert_uint_eq(lab.clients[i].got[PKT_PUBACK], 1);
    return lab.clients[i].out[1] == 2 ? 0 : lab.clients[i].out[4];
}

START_TEST(clients_first)
{
    fill(91);
    ck_assert_uint_eq(connect_new(MQTT_50, "new"), R_QUOTA_EXCEEDED);
    ck_assert_uint_eq(connect_new(MQTT_311, "new"), 3);
    ck_assert_uint_eq(connect_new(MQTT_311, "three"), 0);           /* its session is there */
    ck_assert_uint_lt(retain(V5, "r", 10), 0x80);
    ck_assert_uint_eq(subscribe(V5, "new/#"), 1);
}
END_TEST

START_TEST(then_retained)
{
    fill(94);
    ck_assert_uint_eq(retain(V5, "r", 10), R_QUOTA_EXCEEDED);
    ck_assert_uint_eq(retain(V5, "kept", 101), R_QUOTA_EXCEEDED);
    ck_assert_uint_lt(retain(V5, "kept", 100), 0x80);               /* takes no more than before */
    ck_assert_uint_lt(retain(V5, "kept", 0), 0x80);                 /* gives some back */
    ck_assert_uint_eq(subscribe(V5, "new/#"), 1);
    lab_publish(&lab, V5, "r0", 10, 0, true, 0, 0);                 /* delivered, not kept */
    lab_settle(&lab, 20);
    ck_assert_uint_eq(lab.b->retain.count, 0);
    lab_publish(&lab, V3, "r", 10, 1, true, 9, 0);                  /* 3.x: an acknowledgement would be a lie */
    lab_settle(&lab, 20);
    ck_assert_ptr_null(lab.clients[V3].c);
    ck_assert_uint_eq(lab.clients[V3].got[PKT_PUBACK], 0);
}
END_TEST

START_TEST(then_subscriptions)
{
    fill(97);
    ck_assert_uint_eq(subscribe(V5, "new/#"), R_QUOTA_EXCEEDED);
    ck_assert_uint_eq(subscribe(V3, "new/#"), 0x80);
    ck_assert_uint_eq(subscribe(V5, "old/#"), 1);
    lab_forget(&lab.clients[V5]);
    for (uint16_t i = 1; i <= 5; i++)
        lab_publish(&lab, V3, "old/1", 10, 1, false, i, 0);
    lab_settle(&lab, 20);
    ck_assert_uint_eq(lab.clients[V5].got[PKT_PUBLISH], 2);         /* and three wait */
    lab_ack_all(&lab, V5);
    lab_settle(&lab, 20);
    ck_assert_uint_eq(lab.clients[V5].got[PKT_PUBLISH], 2);
}
END_TEST

/* A window that is closed: what comes next would wait in memory, but for the session in the store. */
START_TEST(then_messages)
{
    uint32_t n;

    subscribe(V3, "old/#");
    fill(101);
    lab_forget(&lab.clients[V5]);
    lab_forget(&lab.clients[V3]);
    for (uint16_t i = 1; i <= 20; i++)
        lab_publish(&lab, V3, "old/1", 10, 1, false, i, 0);
    lab_settle(&lab, 20);
    lab_pass(&lab, 1000, 50);
    ck_assert_uint_eq(lab.clients[V3].got[PKT_PUBACK], 20);
    ck_assert_uint_gt(lab.b->metrics.count[M_PUBLISH_DROPPED], 0);
    for (n = 0; lab.clients[V3].got[PKT_PUBLISH] > 0; lab_settle(&lab, 20)) {
        n += lab.clients[V3].got[PKT_PUBLISH];
        lab_ack_all(&lab, V3);
    }
    ck_assert_uint_eq(n, 20);
    for (n = 0; lab.clients[V5].got[PKT_PUBLISH] > 0; lab_settle(&lab, 20)) {
        n += lab.clients[V5].got[PKT_PUBLISH];
        lab_ack_all(&lab, V5);
    }
    ck_assert_uint_lt(n, 20);
}
END_TEST

START_TEST(large_packets_last)
{
    const size_t announced = 1000000;

    fill(101);
    lab_send(&lab, V5, "\x30\xc5\x84\x3d\0\1a", 7);
    lab_settle(&lab, 5);
    ck_assert_ptr_nonnull(lab.clients[V5].c);           /* announcing takes nothing */
    for (size_t n = 0; n < announced - 8192 && lab.clients[V5].c != NULL; n += 4096) {
        static const uint8_t x[4096];

        lab_send(&lab, V5, x, sizeof x);
        lab_turn(&lab);
    }
    ck_assert_ptr_null(lab.clients[V5].c);              /* before the packet was complete */
    ck_assert_uint_lt(mem_total, LIMIT * 1.05);
}
END_TEST

/* Nor is much kept for a client that does not read. */
START_TEST(nothing_for_the_deaf)
{
    size_t before;

    lab_subscribe(&lab, V3, "old/#", 0, 2);
    lab_settle(&lab, 20);
    fill(101);
    lab_forget(&lab.clients[V3]);
    lab.clients[V3].room = 0;
    before = mem_total;
    for (unsigned i = 0; i < 200; i++) {
        lab_publish(&lab, V5, "old/1", 1000, 0, false, 0, 0);
        lab_turn(&lab);
    }
    ck_assert_uint_gt(lab.b->metrics.count[M_PUBLISH_DROPPED], 100);
    ck_assert_uint_lt(mem_total, before + 100000);
    lab.clients[V3].room = SIZE_MAX;
    lab_settle(&lab, 50);
    ck_assert_uint_gt(lab.clients[V3].got[PKT_PUBLISH], 0);
}
END_TEST

START_TEST(and_all_is_well_again)
{
    fill(101);
    ck_assert_uint_eq(connect_new(MQTT_50, "new"), R_QUOTA_EXCEEDED);
    fill(50);
    ck_assert_uint_eq(connect_new(MQTT_50, "new"), 0);
    ck_assert_uint_lt(retain(V5, "r", 10), 0x80);
    ck_assert_uint_eq(subscribe(V5, "new/#"), 1);
}
END_TEST

/* Everything that takes memory at once, until nothing is taken any more. */
START_TEST(a_flood_stays_below)
{
    char name[32];

    for (unsigned i = 0; i < 40000; i++) {
        snprintf(name, sizeof name, "flood/%u", i);
        if (lab.clients[V5].c == NULL) {
            lab_join(&lab, V5, &five);
        }
        lab_publish(&lab, V5, name, 900, 0, true, 0, 0);
        if (i % 2 == 0)
            lab_subscribe(&lab, V3, name, 1, 2);
        if (i % 100 == 0)
            lab_turn(&lab);
        ck_assert_uint_lt(mem_total, LIMIT * 1.02);
    }
    lab_settle(&lab, 20);
    ck_assert_uint_gt(lab.b->retain.count, 1000);
    ck_assert_uint_lt(lab.b->retain.count, 40000);
}
END_TEST

/* Messages dropped for many clients in turn, while nothing is written: what is noted of them has an end. */
START_TEST(drops_take_no_room)
{
    const struct journal *j = &lab.b->journal;
    const struct view topic = { (const uint8_t *)"t", 1 };
    size_t one_round = 0;

    for (unsigned round = 0; round < 100; round++) {
        for (unsigned i = 0; i < 300; i++) {
            char id[16];
            struct view v = { (const uint8_t *)id, (size_t)snprintf(id, sizeof id, "client-%u", i) };

            journal_dropped(lab.b, v, "queue-full", 1, topic);
            journal_dropped(lab.b, v, "slow-reader", 2, topic);
        }
        if (round == 0)
            one_round = mem_total;
    }
    ck_assert_uint_eq(mem_total, one_round);
    ck_assert_uint_eq(j->dropped.n, 600);
    ck_assert_uint_eq(j->dropped.v[0].count, 100);
    ck_assert_uint_eq(j->dropped.v[599].count, 200);
    for (unsigned i = 0; i < 100000; i++) {             /* and clients that are new each time */
        char id[16];
        struct view v = { (const uint8_t *)id, (size_t)snprintf(id, sizeof id, "new-%u", i) };

        journal_dropped(lab.b, v, "queue-full", 1, topic);
    }
    ck_assert_uint_lt(mem_total, one_round + 300000);
    lab_pass(&lab, 10000, 100);
    ck_assert_uint_eq(j->dropped.n, 0);
    ck_assert_uint_lt(mem_total, one_round);
}
END_TEST

/* Changes that nobody waits for do not pile up until their commit would take long. */
START_TEST(no_commit_grows_large)
{
    uint64_t before = lab.b->journal.seq;

    for (unsigned i = 0; i < 10000; i++) {
        char name[32];

        snprintf(name, sizeof name, "many/%u", i);
        lab_publish(&lab, V5, name, 10, 0, true, 0, 0);
        if (i % 100 == 99)
            lab_pass(&lab, 1, 1);
    }
    ck_assert_uint_eq(lab.b->retain.count, 10001);
    ck_assert_uint_ge(lab.b->journal.seq - before, 4);
    ck_assert_uint_le(lab.b->journal.seq - before, 6);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("shed");
    TCase *t = tcase_create("shed");

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, clients_first);
    tcase_add_test(t, then_retained);
    tcase_add_test(t, then_subscriptions);
    tcase_add_test(t, then_messages);
    tcase_add_test(t, large_packets_last);
    tcase_add_test(t, nothing_for_the_deaf);
    tcase_add_test(t, and_all_is_well_again);
    tcase_add_test(t, a_flood_stays_below);
    tcase_add_test(t, drops_take_no_room);
    tcase_add_test(t, no_commit_grows_large);
    return run_suite(s);
}
