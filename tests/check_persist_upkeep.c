/* The store's upkeep: syncs, checkpoints, the diary, what is swept.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "check_persist.h"
#include "persist/db.h"

#include <poll.h>

START_TEST(sync_rings)
{
    struct persist *p = open_as(PERSIST_CREATED);
    struct pollfd f = { .fd = persist_sync_fd(p), .events = POLLIN };
    struct persist_stats st;

    ck_assert_int_eq(f.fd >= 0, kernel_has_aio());
    if (f.fd < 0) {
        persist_close(&p);
        return;         /* syncs at once: kernel_without_aio in check_persist_faults.c */
    }
    for (int i = 1; i <= 3; i++) {
        OK(persist_begin(p));
        OK(put_session(p, i, (const char *[]){ "a", "b", "c" }[i - 1]));
        OK(persist_commit(p));
        ck_assert_int_eq(poll(&f, 1, 0), 0);
        OK(persist_sync_start(p));
        ck_assert_int_eq(poll(&f, 1, 10000), 1);
        OK(persist_sync_finish(p));
        ck_assert_int_eq(poll(&f, 1, 0), 0);
    }
    persist_stats(p, &st);
    ck_assert_uint_eq(st.syncs, 3);
    /* Nothing to do is told in the same way. */
    OK(persist_sync_start(p));
    ck_assert_int_eq(poll(&f, 1, 10000), 1);
    OK(persist_sync_finish(p));
    OK(persist_sync_wait(p));
    persist_stats(p, &st);
    ck_assert_uint_eq(st.syncs, 3);
    /* Waiting for one that is under way. */
    OK(persist_begin(p));
    OK(put_session(p, 4, "d"));
    OK(persist_commit(p));
    OK(persist_sync_start(p));
    OK(persist_sync_wait(p));
    ck_assert_int_eq(poll(&f, 1, 0), 0);
    persist_stats(p, &st);
    ck_assert_uint_eq(st.syncs, 4);
    persist_close(&p);
}
END_TEST

START_TEST(sync_failure_is_final)
{
    struct persist *p = open_as(PERSIST_CREATED);
    int pipes[2];

    fill(p, 3, 10);
    /* A pipe can't be made durable. */
    ck_assert_int_eq(pipe(pipes), 0);
    ck_assert_int_ge(dup2(pipes[0], p->wal_fd), 0);
    if (kernel_has_aio()) {
        OK(persist_sync_start(p));
        ck_assert_int_eq(persist_sync_finish(p), PERSIST_IO);
    } else {
        ck_assert_int_eq(persist_sync_start(p), PERSIST_IO);
    }
    ck_assert_ptr_nonnull(strstr(persist_error(p), "durable"));
    ck_assert_int_eq(persist_sync_start(p), PERSIST_IO);
    ck_assert_int_eq(persist_sync_wait(p), PERSIST_IO);
    ck_assert_int_eq(persist_begin(p), PERSIST_IO);
    ck_assert_int_eq(persist_checkpoint(p, true), PERSIST_IO);
    persist_close(&p);
    /* The log was left for the next start. */
    ck_assert_uint_eq(count_files("caddis.db-wal", NULL), 1);
    p = open_as(PERSIST_OPENED);
    ck_assert_uint_eq(queue_length(p, 1), 3);
    persist_close(&p);
}
END_TEST

START_TEST(sync_commit_needs_no_sync)
{
    struct persist_options o = { .path = test_store, .sync_commit = true };
    struct persist *p = open_with(&o, PERSIST_CREATED);

    fill(p, 3, 10);
    ck_assert_int_eq(persist_sync_fd(p), -1);
    OK(persist_sync_start(p));
    OK(persist_sync_wait(p));
    persist_close(&p);
}
END_TEST

START_TEST(log_is_checkpointed)
{
    struct persist *p = open_as(PERSIST_CREATED);
    struct persist_stats st;

    for (int i = 1; i <= 2000; i++) {
        OK(persist_begin(p));
        if (i == 1)
            OK(put_session(p, 1, "c"));
        OK(put_message(p, i, test_dir, 30));
        OK(put_queue(p, 1, i, i, false));
        OK(persist_commit(p));
        OK(persist_checkpoint(p, false));
    }
    persist_stats(p, &st);
    ck_assert_uint_eq(st.commits, 2000);
    ck_assert_uint_ge(st.checkpoints, 10);
    ck_assert_uint_le(st.wal_bytes, 2 << 20);
    /* Three pages for most commits, one for the others, and what the checkpoints moved. */
    ck_assert_uint_ge(st.bytes_written, 2000 * 4096);
    ck_assert_uint_le(st.bytes_written, 2000 * 4 * 4120);
    ck_assert_uint_gt(st.memory_bytes, 0);
    OK(persist_checkpoint(p, true));
    ck_assert_uint_eq(queue_length(p, 1), 2000);
    persist_close(&p);
}
END_TEST

START_TEST(file_shrinks_after_a_backlog)
{
    struct persist *p = open_as(PERSIST_CREATED);
    struct persist_stats before, after;
    bool more = true;

    fill(p, 2000, 4000);
    OK(persist_checkpoint(p, true));
    persist_stats(p, &before);
    while (more) {
        OK(persist_begin(p));
        OK(persist_session_del(p, 1, 500, &more));
        OK(persist_commit(p));
    }
    for (int i = 0; i < 10; i++)
        OK(persist_checkpoint(p, true));
    persist_stats(p, &after);
    ck_assert_uint_lt(after.file_bytes, before.file_bytes / 4);
    persist_close(&p);
}
END_TEST

/* ---- housekeeping ---- */

START_TEST(diary_is_bounded)
{
    struct persist *p = open_as(PERSIST_CREATED);
    char name[32];

    OK(persist_begin(p));
    for (int i = 1; i <= 1500; i++) {
        snprintf(name, sizeof name, "client %d", i);
        OK(persist_dropped_add(p, text(name), "queue full", 1, text("a"), i));
    }
    OK(persist_dropped_add(p, text(NULL), "no session", 1, text(NULL), 2000));
    OK(persist_commit(p));
    ck_assert_int_le(side_int("SELECT count(*) FROM dropped"), 1064);
    ck_assert_int_eq(side_int("SELECT count(*) FROM dropped WHERE client_id IN ('client 1500', '')"), 2);
    persist_close(&p);
    side_exec("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) INSERT INTO run"
              " SELECT i, '1', '3', NULL, 1, i, i, 'clean', 'clean', 0, 0, 0, 0, 0, 0, NULL, NULL, NULL FROM n");
    p = open_as(PERSIST_OPENED);
    OK(persist_begin(p));
    OK(persist_run_start(p, &(struct persist_run){ .version = "1", .started_ms = 1 }));
    OK(persist_commit(p));
    ck_assert_str_eq(side_text("SELECT min(run_id) || ' ' || max(run_id) FROM run"), "202 301");
    ck_assert_int_eq(side_int("SELECT count(*) FROM dropped"), 1000);
    persist_close(&p);
}
END_TEST

START_TEST(sweep_takes_what_nobody_needs)
{
    struct persist *p = open_as(PERSIST_CREATED);
    unsigned swept, all = 0;

    fill(p, 10, 10);
    OK(persist_begin(p));
    for (int i = 11; i <= 30; i++)
        OK(put_message(p, i, "x", 1));
    for (int i = 0; i < 8; i++) {
        OK(persist_sweep(p, 7, &swept));
        all += swept;
    }
    OK(persist_commit(p));
    ck_assert_uint_eq(all, 20);
    ck_assert_int_eq(side_int("SELECT max(message_id) FROM message"), 10);
    ck_assert_uint_eq(queue_length(p, 1), 10);
    persist_close(&p);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("persist upkeep");
    TCase *t = tcase_create("all");

    tcase_add_checked_fixture(t, make_dir, remove_dir);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, sync_rings);
    tcase_add_test(t, sync_failure_is_final);
    tcase_add_test(t, sync_commit_needs_no_sync);
    tcase_add_test(t, log_is_checkpointed);
    tcase_add_test(t, file_shrinks_after_a_backlog);
    tcase_add_test(t, diary_is_bounded);
    tcase_add_test(t, sweep_takes_what_nobody_needs);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return run_suite(suite());
}
