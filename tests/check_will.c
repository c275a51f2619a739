/* A CONNACK promises the will that came with the CONNECT: it survives the broker [MQTT-3.1.2-8].
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "lab.h"
#include "suite.h"

#include <stdlib.h>

enum { READER, WILLER };

static const struct lab_connect reader = { .id = "reader", .version = MQTT_311 };
static const struct lab_connect plain = { .id = "willer", .version = MQTT_50, .expiry_s = 600 };
static const struct lab_connect dying = { .id = "willer", .version = MQTT_50, .expiry_s = 600, .will_topic = "w",
                                          .will_qos = 1 };
static const struct lab_connect delayed = { .id = "willer", .version = MQTT_50, .expiry_s = 600, .will_topic = "w",
                                            .will_qos = 1, .will_delay_s = 60 };

static struct lab lab;

static void connect_as(unsigned i, const struct lab_connect *p)
{
    lab_join(&lab, i, p);
}

static void setup(void)
{
    lab_init(&lab, "[persistence]\ndurability = power\n");
    ck_assert(lab_start(&lab));
    connect_as(READER, &reader);
    lab_subscribe(&lab, READER, "w", 1, 1);
    connect_as(WILLER, &plain);
    lab_pass(&lab, 500, 20);
    lab_disconnect(&lab, WILLER);
    lab_pass(&lab, 500, 20);
}

static void teardown(void)
{
    lab_fini(&lab);
}

/* Back to its session; not a moment goes by after CONNACK. */
static void return_as(const struct lab_connect *p)
{
    connect_as(WILLER, p);
    for (unsigned i = 0; i < 100 && lab.clients[WILLER].got[PKT_CONNACK] == 0; i++)
        lab_pass(&lab, 5, 5);
    ck_assert_uint_eq(lab.clients[WILLER].got[PKT_CONNACK], 1);
}

/* After a kill and a new start, and that time: does the reader get a will? */
static unsigned wills_after_kill(uint64_t ms)
{
    lab_kill(&lab);
    ck_assert(lab_start(&lab));
    lab_pass(&lab, ms, 1000);
    connect_as(READER, &reader);
    lab_pass(&lab, 1000, 20);
    return lab.clients[READER].got[PKT_PUBLISH];
}

START_TEST(will_of_a_resumed_session)
{
    return_as(&dying);
    ck_assert_uint_eq(wills_after_kill(1000), 1);
}
END_TEST

START_TEST(return_cancels_for_good)
{
    return_as(&delayed);
    lab_pass(&lab, 5000, 100);
    lab_open(&lab, WILLER);         /* the old connection breaks; the will waits */
    lab_pass(&lab, 5000, 100);
    lab_forget(&lab.clients[WILLER]);
    return_as(&plain);
    ck_assert_uint_eq(wills_after_kill(120000), 0);
}
END_TEST

/* The delay runs once, however often the broker dies meanwhile. */
START_TEST(delay_goes_on)
{
    return_as(&delayed);
    ck_assert_uint_eq(wills_after_kill(40000), 0);
    ck_assert_uint_eq(wills_after_kill(40000), 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("will");
    TCase *t = tcase_create("will");

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, will_of_a_resumed_session);
    tcase_add_test(t, return_cancels_for_good);
    tcase_add_test(t, delay_goes_on);
    return run_suite(s);
}
