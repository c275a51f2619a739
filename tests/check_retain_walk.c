/* What a new subscription brings while the topic goes on changing: never an older value behind a newer one.
 * What many of them bring: all of it, and not all at once.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "lab.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { READER, WRITER, OLD_LEN = 10, NEW_LEN = 20 };
/* Of many_retained(), and of filters that match them all. */
#define TOPICS  256u
#define FILTERS 256u

static const struct lab_connect reader = { .id = "reader", .version = MQTT_311 };
static const struct lab_connect writer = { .id = "writer", .version = MQTT_311, .clean = true };

static struct lab lab;

static void setup(void)
{
    lab_init(&lab, "[persistence]\ndurability = power\n");
    ck_assert(lab_start(&lab));
    lab_join(&lab, READER, &reader);
    lab_join(&lab, WRITER, &writer);
    lab_publish(&lab, WRITER, "t", OLD_LEN, 1, true, 1, 0);
    lab_pass(&lab, 500, 20);
    /* Its SUBACK waits for the disk, and what is retained waits behind it. */
    lab_forget(&lab.clients[READER]);
    lab.hold_sync = true;
    lab_subscribe(&lab, READER, "t", 1, 7);
    lab_pass(&lab, 100, 20);
    ck_assert_uint_eq(lab.clients[READER].out_len, 0);
}

static void teardown(void)
{
    lab_fini(&lab);
}

static void let_go(void)
{
    lab.hold_sync = false;
    lab_pass(&lab, 500, 20);
}

/* One PUBLISH has come, with a payload of this length. */
static void one_came(size_t len)
{
    const struct lab_client *c = &lab.clients[READER];
    struct view in = { c->out, c->out_len };
    struct frame f;
    unsigned n = 0;

    while (frame_next(&in, SIZE_MAX, &f) == FRAME_OK) {
        struct publish p;

        if (frame_type(f.head) != PKT_PUBLISH)
            continue;
        ck_assert_int_eq(publish_decode(f.head, f.body, MQTT_311, &p), R_OK);
        ck_assert_uint_eq(p.payload.len, len);
        n++;
    }
    ck_assert_uint_eq(n, 1);
}

START_TEST(what_was_retained_comes)
{
    let_go();
    one_came(OLD_LEN);
}
END_TEST

START_TEST(replaced_meanwhile)
{
    lab_publish(&lab, WRITER, "t", NEW_LEN, 0, true, 0, 0);
    lab_pass(&lab, 20, 20);
    let_go();
    one_came(NEW_LEN);
}
END_TEST

START_TEST(removed_meanwhile)
{
    lab_publish(&lab, WRITER, "t", 0, 0, true, 0, 0);
    lab_pass(&lab, 20, 20);
    let_go();
    one_came(0);
}
END_TEST

/* What a connection has not brought is queued at its end. */
START_TEST(replaced_and_queued)
{
    lab_publish(&lab, WRITER, "t", NEW_LEN, 1, true, 2, 0);
    lab_pass(&lab, 20, 20);
    lab_open(&lab, READER);
    let_go();
    lab_connect(&lab, READER, &reader);
    lab_pass(&lab, 500, 20);
    one_came(NEW_LEN);
}
END_TEST

/* ---- many filters, and many messages for each ---- */

static void many_retained(void)
{
    char topic[32];

    lab_init(&lab, "[persistence]\ndurability = power\n");
    ck_assert(lab_start(&lab));
    lab_join(&lab, READER, &reader);
    lab_join(&lab, WRITER, &writer);
    for (unsigned i = 0; i < TOPICS; i++) {
        snprintf(topic, sizeof topic, "a/a/a/a/a/a/a/a/%u", i);
        lab_publish(&lab, WRITER, topic, OLD_LEN, 0, true, 0, 0);
    }
    lab_pass(&lab, 1000, 20);
    ck_assert_uint_eq(lab.b->retain.count, TOPICS);
    lab_forget(&lab.clients[READER]);
}

/* FILTERS in one SUBSCRIBE: of eight levels, 'a' or '+', and '#'. same: FILTERS times the same one. */
static void subscribe_many(bool same)
{
    static char text[FILTERS][17];
    static struct subscription subs[FILTERS];
    static uint8_t buf[FILTERS * 32];
    struct writer w = wr_make(buf, sizeof buf);

    for (unsigned i = 0; i < FILTERS; i++) {
        for (unsigned level = 0; level < 8; level++) {
            text[i][level * 2] = same || (i >> level & 1) != 0 ? '+' : 'a';
            text[i][level * 2 + 1] = '/';
        }
        text[i][16] = '#';
        subs[i].filter = (struct view){ (const uint8_t *)text[i], sizeof text[i] };
    }
    subscribe_encode(MQTT_311, 7, subs, FILTERS, (struct view){ NULL, 0 }, &w);
    ck_assert(!w.bad);
    lab_send(&lab, READER, buf, (size_t)(w.p - buf));
}

/* Until nothing comes any more. What all that is retained, and refers to it, has taken at most. */
static size_t to_the_end(void)
{
    const struct lab_client *c = &lab.clients[READER];
    size_t most = 0;

    for (unsigned quiet = 0; quiet < 50; quiet++) {
        uint32_t before = c->got[PKT_PUBLISH];

        lab_pass(&lab, 20, 20);
        if (mem_bytes[MEM_RETAIN] > most)
            most = mem_bytes[MEM_RETAIN];
        if (c->got[PKT_PUBLISH] != before)
            quiet = 0;
    }
    return most;
}

/* Of each topic so many have come. */
static void each_came(unsigned want)
{
    const struct lab_client *c = &lab.clients[READER];
    struct view in = { c->out, c->out_len };
    struct frame f;
    struct publish p;
    unsigned n[TOPICS] = { 0 };

    while (frame_next(&in, SIZE_MAX, &f) == FRAME_OK) {
        char topic[32] = "";
        unsigned i = TOPICS;

        if (frame_type(f.head) != PKT_PUBLISH)
            continue;
        ck_assert_int_eq(publish_decode(f.head, f.body, MQTT_311, &p), R_OK);
        ck_assert(p.retain && p.topic.len < sizeof topic);
        memcpy(topic, p.topic.p, p.topic.len);
        ck_assert_int_eq(sscanf(topic, "a/a/a/a/a/a/a/a/%u", &i), 1);
        ck_assert_uint_lt(i, TOPICS);
        n[i]++;
    }
    for (unsigned i = 0; i < TOPICS; i++)
        ck_assert_msg(n[i] == want, "topic %u came %u times, not %u", i, n[i], want);
}

/* Each filter brings what it matches; they do not all refer to it at the same time. [MQTT5-3.8.4-4] */
START_TEST(filters_that_match_the_same)
{
    size_t before = mem_bytes[MEM_RETAIN], taken;

    subscribe_many(false);
    taken = to_the_end() - before;
    each_came(FILTERS);
    ck_assert_msg(taken < 256 * 1024, "%zu bytes", taken);
    ck_assert_uint_eq(mem_bytes[MEM_RETAIN], before);
}
END_TEST

/* Who subscribes again begins anew. */
START_TEST(the_same_filter_again_and_again)
{
    size_t before = mem_bytes[MEM_RETAIN], taken;

    subscribe_many(true);
    taken = to_the_end() - before;
    ck_assert_msg(taken < 16 * 1024, "%zu bytes", taken);
    each_came(1);
    ck_assert_uint_eq(mem_bytes[MEM_RETAIN], before);
}
END_TEST

/* [MQTT-3.10.4-2] */
START_TEST(unsubscribed_before_suback)
{
    lab.hold_sync = true;
    lab_subscribe(&lab, READER, "#", 0, 7);
    lab_pass(&lab, 100, 20);
    lab_unsubscribe(&lab, READER, "#", 8);
    lab_pass(&lab, 100, 20);
    ck_assert_uint_eq(lab.clients[READER].out_len, 0);
    lab.hold_sync = false;
    to_the_end();
    ck_assert_uint_eq(lab.clients[READER].got[PKT_UNSUBACK], 1);
    each_came(0);
}
END_TEST

/* UNSUBSCRIBE of the filter whose turn it is, and of one that is not collected yet: the others bring theirs.
 * [MQTT-3.10.4-2] */
START_TEST(unsubscribed_meanwhile)
{
    const struct lab_client *c = &lab.clients[READER];

    subscribe_many(false);
    while (c->got[PKT_PUBLISH] == 0)
        lab_pass(&lab, 20, 20);
    ck_assert_uint_lt(c->got[PKT_PUBLISH], TOPICS);
    lab_unsubscribe(&lab, READER, "a/a/a/a/a/a/a/a/#", 8);
    lab_unsubscribe(&lab, READER, "+/+/+/+/+/+/+/+/#", 9);
    to_the_end();
    ck_assert_uint_eq(c->got[PKT_UNSUBACK], 2);
    ck_assert_uint_ge(c->got[PKT_PUBLISH], TOPICS * (FILTERS - 2));
    ck_assert_uint_lt(c->got[PKT_PUBLISH], TOPICS * (FILTERS - 1));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("retain_walk");
    TCase *t = tcase_create("retain_walk"), *many = tcase_create("many");

    suite_add_tcase(s, t);
    suite_add_tcase(s, many);
    tcase_set_timeout(many, 120);
    tcase_add_checked_fixture(many, many_retained, teardown);
    tcase_add_test(many, filters_that_match_the_same);
    tcase_add_test(many, the_same_filter_again_and_again);
    tcase_add_test(many, unsubscribed_before_suback);
    tcase_add_test(many, unsubscribed_meanwhile);
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, what_was_retained_comes);
    tcase_add_test(t, replaced_meanwhile);
    tcase_add_test(t, removed_meanwhile);
    tcase_add_test(t, replaced_and_queued);
    return run_suite(s);
}
