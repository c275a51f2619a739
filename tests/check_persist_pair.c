/* A log that lies beside the store: is it this store's?
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "check_persist.h"

#include <sys/wait.h>

static int64_t size_at(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? (int64_t)st.st_size : -1;
}

static void killed_after(int n)
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        struct persist *p = open_as(PERSIST_OPENED);
        fill(p, n, 100);
        _exit(0);
    }
    waitpid(child, &status, 0);
    ck_assert_int_eq(status, 0);
}

/* Somebody puts a copy in place of a store whose broker was killed. */
START_TEST(log_of_another_file)
{
    struct persist *p = open_as(PERSIST_CREATED);
    char copy[512], wal[160], *why;

    snprintf(copy, sizeof copy, "%s/copy", test_dir);
    snprintf(wal, sizeof wal, "%s-wal", test_store);
    fill(p, 3, 100);
    ck_assert_int_eq(persist_backup(p, copy, &why), PERSIST_OK);
    persist_close(&p);
    killed_after(500);
    ck_assert_int_gt(size_at(wal), 0);
    ck_assert_int_eq(rename(copy, test_store), 0);
    p = open_as(PERSIST_OPENED);
    ck_assert_uint_eq(queue_length(p, 1), 3);
    ck_assert_uint_eq(count_files("caddis.db.stale-", copy), 1);
    ck_assert_str_eq(copy, test_info.stale_log);
    ck_assert_int_gt(size_at(copy), 500 * 100);
    persist_close(&p);
}
END_TEST

static void copy_to_new(const char *path)
{
    char other[170], buf[4096];
    FILE *in = fopen(path, "r"), *out;
    size_t n;

    snprintf(other, sizeof other, "%s.copied", path);
    out = fopen(other, "w");
    while ((n = fread(buf, 1, sizeof buf, in)) > 0)
        ck_assert_uint_eq(fwrite(buf, 1, n, out), n);
    fclose(in);
    fclose(out);
    ck_assert_int_eq(rename(other, path), 0);
}

/* The whole directory was moved to another disk, or nothing was: the log belongs here. */
START_TEST(log_of_this_file)
{
    struct persist *p = open_as(PERSIST_CREATED);
    char wal[160];

    persist_close(&p);
    killed_after(500);
    snprintf(wal, sizeof wal, "%s-wal", test_store);
    if (_i == 1) {
        copy_to_new(test_store);
        copy_to_new(wal);
    }
    p = open_as(PERSIST_OPENED);
    ck_assert_uint_eq(queue_length(p, 1), 500);
    ck_assert_str_eq(test_info.stale_log, "");
    persist_close(&p);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("persist pair");
    TCase *t = tcase_create("all");

    tcase_add_checked_fixture(t, make_dir, remove_dir);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, log_of_another_file);
    tcase_add_loop_test(t, log_of_this_file, 0, 2);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return run_suite(suite());
}
