/* The store is taken away from a broker that runs.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "lab.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SUB, PUB };

static const struct lab_connect sub = { .id = "sub", .version = MQTT_311 };
static const struct lab_connect pub = { .id = "pub", .version = MQTT_311, .clean = true };

static struct lab lab;

static void setup(void)
{
    lab_init(&lab, "[persistence]\ndurability = crash\ncommit_interval = 0\n");
    ck_assert(lab_start(&lab));
    lab_join(&lab, SUB, &sub);
    lab_subscribe(&lab, SUB, "t", 1, 1);
    lab_settle(&lab, 20);
    lab_disconnect(&lab, SUB);
    lab_join(&lab, PUB, &pub);
    lab_settle(&lab, 20);
}

static void teardown(void)
{
    lab_fini(&lab);
}

static void queue_one(uint16_t pid)
{
    lab_forget(&lab.clients[PUB]);
    lab_publish(&lab, PUB, "t", 100, 1, pid % 2 == 0, pid, 0);
    lab_settle(&lab, 20);
    ck_assert_uint_eq(lab.clients[PUB].got[PKT_PUBACK], 1);
}

/* With and without its log and the log's index; it is looked for when there is work, but not at every turn. */
START_TEST(a_deleted_store_is_written_anew)
{
    static const char *const files[] = { "", "-wal", "-shm" };
    char path[128];

    queue_one(1);
    queue_one(2);
    for (unsigned i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s%s", lab.b->cfg->store_path, files[i]);
        if (i <= (unsigned)_i)
            ck_assert_int_eq(unlink(path), 0);
    }
    lab_pass(&lab, 11000, 1000);
    queue_one(3);
    lab_pass(&lab, 11000, 1000);
    ck_assert_int_eq(access(lab.b->cfg->store_path, F_OK), 0);
    queue_one(4);
    lab_kill(&lab);
    ck_assert(lab_start(&lab));
    ck_assert_uint_eq(lab.b->retain.count, 1);
    lab_join(&lab, SUB, &sub);
    lab_settle(&lab, 20);
    ck_assert_uint_eq(lab.clients[SUB].got[PKT_PUBLISH], 4);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lost");
    TCase *t = tcase_create("lost");

    suite_add_tcase(s, t);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, a_deleted_store_is_written_anew, 0, 3);
    return run_suite(s);
}
