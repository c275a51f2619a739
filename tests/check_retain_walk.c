/* What a new subscription brings while the topic goes on changing: never an older value behind a newer one.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "lab.h"
#include "suite.h"

#include <stdlib.h>

enum { READER, WRITER, OLD_LEN = 10, NEW_LEN = 20 };

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

int main(void)
{
    Suite *s = suite_create("retain_walk");
    TCase *t = tcase_create("retain_walk");

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, what_was_retained_comes);
    tcase_add_test(t, replaced_meanwhile);
    tcase_add_test(t, removed_meanwhile);
    tcase_add_test(t, replaced_and_queued);
    return run_suite(s);
}
