/* What the world does to the store while it is in use: others write, read, delete; rows that break the rules; no room.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "check_persist.h"
#include "persist/db.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* ---- rows that break the rules ---- */

/* Each is one bad row among good ones. */
static const struct { const char *name, *sql; unsigned bad; } hostile[] = {
    { "session id 0", "INSERT INTO session VALUES (0, 'x', 5, NULL, NULL, NULL, NULL, NULL)", 1 },
    { "negative session id", "INSERT INTO session VALUES (-4, 'x', 5, NULL, NULL, NULL, NULL, NULL)", 1 },
    { "no client id", "INSERT INTO session VALUES (50, '', 5, NULL, NULL, NULL, NULL, NULL)", 1 },
    { "client id not UTF-8",
      "INSERT INTO session VALUES (50, CAST(x'61FF' AS TEXT), 5, NULL, NULL, NULL, NULL, NULL)", 1 },
    { "client id with NUL",
      "INSERT INTO session VALUES (50, CAST(x'610062' AS TEXT), 5, NULL, NULL, NULL, NULL, NULL)", 1 },
    { "client id too long",
      "INSERT INTO session VALUES (50, hex(zeroblob(40000)), 5, NULL, NULL, NULL, NULL, NULL)", 1 },
    { "version 9", "INSERT INTO session VALUES (50, 'x', 9, NULL, NULL, NULL, NULL, NULL)", 1 },
    { "negative expiry", "INSERT INTO session VALUES (50, 'x', 5, NULL, -7, NULL, NULL, NULL)", 1 },
    { "time beyond reason", "INSERT INTO session VALUES (50, 'x', 5, NULL, NULL, 9223372036854775807, NULL, NULL)", 1 },
    { "will of nobody", "INSERT INTO will VALUES (50, 'a', 0, 0, 0, NULL, NULL, NULL, x'')", 1 },
    { "will with QoS 3", "INSERT INTO will VALUES (8, 'a', 3, 0, 0, NULL, NULL, NULL, x'')", 1 },
    { "subscription of nobody", "INSERT INTO subscription VALUES (50, 'a', 0, 0, 0, 0, NULL)", 1 },
    { "no filter", "INSERT INTO subscription VALUES (7, '', 0, 0, 0, 0, NULL)", 1 },
    { "overlong encoding", "INSERT INTO subscription VALUES (7, CAST(x'C0AF' AS TEXT), 0, 0, 0, 0, NULL)", 1 },
    { "surrogate", "INSERT INTO subscription VALUES (7, CAST(x'EDA080' AS TEXT), 0, 0, 0, 0, NULL)", 1 },
    { "no local 2", "INSERT INTO subscription VALUES (7, 'x', 0, 2, 0, 0, NULL)", 1 },
    { "retain handling 3", "INSERT INTO subscription VALUES (7, 'x', 0, 0, 0, 3, NULL)", 1 },
    { "subscription identifier 0", "INSERT INTO subscription VALUES (7, 'x', 0, 0, 0, 0, 0)", 1 },
    { "inbound id 0", "INSERT INTO inbound_qos2 VALUES (7, 0)", 1 },
    { "inbound id 70000", "INSERT INTO inbound_qos2 VALUES (7, 70000)", 1 },
    { "inbound id of nobody", "INSERT INTO inbound_qos2 VALUES (50, 7)", 1 },
    { "retained id 0", "INSERT INTO retained VALUES (0, 1, NULL, 1, NULL, NULL, 'x', NULL, x'')", 1 },
    { "retained at a bad time", "INSERT INTO retained VALUES (9, -1, NULL, 1, NULL, NULL, 'x', NULL, x'')", 1 },
    { "retained topic not UTF-8",
      "INSERT INTO retained VALUES (9, 1, NULL, 1, NULL, NULL, CAST(x'FF' AS TEXT), NULL, x'')", 1 },
    { "queue of nobody", "INSERT INTO queue VALUES (50, 100, 11, 1, 0, 0, NULL, 1, NULL, 0)", 1 },
    /* Twice each: in the summary, and when the page is read. */
    { "state 9", "INSERT INTO queue VALUES (7, 100, 11, 1, 0, 9, 5, 1, NULL, 0)", 2 },
    { "packet id 70000", "INSERT INTO queue VALUES (7, 100, 11, 1, 0, 0, 70000, 1, NULL, 0)", 2 },
    { "sent without packet id", "INSERT INTO queue VALUES (7, 100, 11, 1, 0, 1, NULL, 1, NULL, 0)", 2 },
    { "message id beyond the position", "INSERT INTO queue VALUES (7, 100, 101, 1, 0, 0, NULL, 0, NULL, 9)", 2 },
    { "negative message id", "INSERT INTO queue VALUES (7, 100, -11, 1, 0, 0, NULL, 0, NULL, 0)", 2 },
    { "QoS 3", "INSERT INTO queue VALUES (7, 100, 11, 3, 0, 0, NULL, 0, NULL, 0)", 2 },
    { "shared 7", "INSERT INTO queue VALUES (7, 100, 11, 1, 0, 0, NULL, 7, NULL, 0)", 2 },
    /* Only the page looks for the message, and into it. */
    { "no such message", "INSERT INTO queue VALUES (7, 100, 99, 1, 0, 0, NULL, 0, NULL, 9)", 1 },
    { "message topic not UTF-8",
      "INSERT INTO message VALUES (60, 1, NULL, 1, 0, NULL, NULL, CAST(x'FF' AS TEXT), NULL, x'');"
      "INSERT INTO queue VALUES (7, 100, 60, 1, 0, 0, NULL, 0, NULL, 0)", 1 },
    { "message with QoS 3", "INSERT INTO message VALUES (60, 1, NULL, 3, 0, NULL, NULL, 'x', NULL, x'');"
      "INSERT INTO queue VALUES (7, 100, 60, 1, 0, 0, NULL, 0, NULL, 0)", 1 },
};

static int one(void *arg)
{
    ++*(unsigned *)arg;
    return 0;
}
static int one_session(void *arg, const struct persist_session *s) { (void)s; return one(arg); }
static int one_will(void *arg, const struct persist_will *w) { (void)w; return one(arg); }
static int one_sub(void *arg, const struct persist_subscription *s) { (void)s; return one(arg); }
static int one_inbound(void *arg, int64_t id, int pid) { (void)id; (void)pid; return one(arg); }
static int one_retained(void *arg, const struct persist_retained *r) { (void)r; return one(arg); }
static int one_summary(void *arg, const struct persist_queue_summary *s) { (void)s; return one(arg); }

START_TEST(hostile_rows)
{
    struct persist *p = open_as(PERSIST_CREATED);
    struct persist_stats st;
    struct persist_clock clock;
    unsigned n = 0, queued = 0;

    put_all(p);
    persist_close(&p);
    side_exec(hostile[_i].sql);
    p = open_as(PERSIST_OPENED);
    OK(persist_each_session(p, one_session, &n));
    OK(persist_each_will(p, one_will, &n));
    OK(persist_each_subscription(p, one_sub, &n));
    OK(persist_each_inbound(p, one_inbound, &n));
    OK(persist_each_retained(p, 1000, one_retained, &n));
    OK(persist_each_queue_summary(p, one_summary, &n));
    /* A page of one row each: what is skipped is not the end. */
    OK(persist_queue_page(p, 7, 0, 1, 1, count_queued, &queued));
    OK(persist_queue_page(p, 7, 12, 1, 1, count_queued, &queued));
    ck_assert_msg(n == 9 && queued == 1, "%s: %u, %u", hostile[_i].name, n, queued);
    persist_stats(p, &st);
    ck_assert_msg(st.bad_rows == hostile[_i].bad, "%s: %u bad", hostile[_i].name, (unsigned)st.bad_rows);
    OK(persist_clock(p, &clock));
    ck_assert_int_ge(clock.newest_ms, 8000);
    ck_assert_int_lt(clock.newest_ms, INT64_C(100000000000000));
    persist_close(&p);
}
END_TEST

START_TEST(ids_of_orphans_are_not_given_again)
{
    struct persist *p = open_as(PERSIST_CREATED);
    struct persist_maxima m;

    put_all(p);
    persist_close(&p);
    side_exec("INSERT INTO queue VALUES (50, 200, 200, 1, 0, 0, NULL, 1, NULL, 0);"
              "INSERT INTO inbound_qos2 VALUES (60, 7); INSERT INTO ended_session VALUES (70)");
    p = open_as(PERSIST_OPENED);
    OK(persist_maxima(p, &m));
    ck_assert(m.session_id == 70 && m.position == 200 && m.retained_id == 21);
    persist_close(&p);
}
END_TEST

START_TEST(triggers_do_not_run)
{
    struct persist *p = open_as(PERSIST_CREATED);

    persist_close(&p);
    side_exec("CREATE TRIGGER t AFTER INSERT ON session BEGIN DELETE FROM session; END");
    p = open_as(PERSIST_OPENED);
    fill(p, 1, 1);
    persist_close(&p);
    ck_assert_int_eq(side_int("SELECT count(*) FROM session"), 1);
}
END_TEST

/* ---- others at the store ---- */

START_TEST(busy_while_another_writes)
{
    struct persist *p = open_as(PERSIST_CREATED);
    sqlite3 *db = side();

    ck_assert_int_eq(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    ck_assert_int_eq(persist_begin(p), PERSIST_BUSY);
    ck_assert_int_eq(persist_begin(p), PERSIST_BUSY);
    ck_assert_ptr_nonnull(strstr(persist_error(p), "locked"));
    ck_assert_int_eq(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    fill(p, 1, 1);
    sqlite3_close(db);
    persist_close(&p);
}
END_TEST

/* A child that runs the SQL, tells by a byte that it has, and waits until it is killed. */
static pid_t holder(const char *sql)
{
    int pipes[2];
    char c;
    pid_t pid;

    ck_assert_int_eq(pipe(pipes), 0);
    pid = fork();
    if (pid == 0) {
        sqlite3 *db;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (sqlite3_open(test_store, &db) == SQLITE_OK && sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK &&
            write(pipes[1], "x", 1) == 1)
            for (;;)
                pause();
        _exit(1);
    }
    close(pipes[1]);
    ck_assert_int_eq(read(pipes[0], &c, 1), 1);
    close(pipes[0]);
    return pid;
}

static void end(pid_t pid)
{
    int status;

    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
}

START_TEST(blocker_is_named)
{
    static const char *const sql[] = { "BEGIN IMMEDIATE", "BEGIN; SELECT count(*) FROM session" };
    struct persist *p = open_as(PERSIST_CREATED);
    char name[64], own[64] = "";
    FILE *comm = fopen("/proc/self/comm", "r");
    int pid = 0;
    pid_t child;

    ck_assert(comm != NULL && fscanf(comm, "%63s", own) == 1);
    fclose(comm);
    fill(p, 1, 1);
    ck_assert(!persist_blocker(p, &pid, name));
    child = holder(sql[_i]);
    ck_assert(persist_blocker(p, &pid, name));
    ck_assert_int_eq(pid, child);
    ck_assert_str_eq(name, own);
    end(child);
    ck_assert(!persist_blocker(p, &pid, name));
    persist_close(&p);
}
END_TEST

/* Messages with these numbers, a commit for each. */
static void queue_one_by_one(struct persist *p, int first, int last)
{
    for (int i = first; i <= last; i++) {
        OK(persist_begin(p));
        OK(put_message(p, i, test_dir, 30));
        OK(put_queue(p, 1, i, i, false));
        OK(persist_commit(p));
        OK(persist_checkpoint(p, false));
    }
}

START_TEST(reader_holds_the_log_back)
{
    struct persist *p = open_as(PERSIST_CREATED);
    struct persist_stats st;
    uint64_t checkpoints;
    pid_t child;

    fill(p, 1, 1);
    child = holder("BEGIN; SELECT count(*) FROM session");
    queue_one_by_one(p, 2, 1000);
    persist_stats(p, &st);
    ck_assert_uint_gt(st.wal_bytes, 6 << 20);
    /* Not tried at every commit. */
    ck_assert_uint_le(st.checkpoints, 12);
    checkpoints = st.checkpoints;
    end(child);
    queue_one_by_one(p, 1001, 1600);
    persist_stats(p, &st);
    ck_assert_uint_gt(st.checkpoints, checkpoints);
    ck_assert_uint_le(st.wal_bytes, 2 << 20);
    persist_close(&p);
}
END_TEST

/* 16 MiB is where it ends for a small store. */
START_TEST(reader_does_not_fill_the_disk)
{
    struct persist_options o = { .path = test_store, .max_bytes = 8 << 20 };
    struct persist *p;
    struct persist_stats st;
    enum persist_rc rc = PERSIST_OK;
    char *payload = calloc(1, 100000), pid[32];
    pid_t child;

    p = open_with(&o, PERSIST_CREATED);
    fill(p, 1, 1);
    child = holder("BEGIN; SELECT count(*) FROM session");
    for (int i = 2; rc == PERSIST_OK && i < 1000; i++) {
        rc = persist_begin(p);
        if (rc != PERSIST_OK)
            break;
        OK(put_message(p, 2 + i % 2, payload, 100000));
        OK(persist_queue_del(p, 1, 9, 2 + (i + 1) % 2, false));
        OK(persist_commit(p));
        OK(persist_checkpoint(p, false));
    }
    ck_assert_int_eq(rc, PERSIST_FULL);
    snprintf(pid, sizeof pid, "process %d", child);
    ck_assert_ptr_nonnull(strstr(persist_error(p), pid));
    persist_stats(p, &st);
    ck_assert_uint_le(st.wal_bytes, 17 << 20);
    end(child);
    OK(persist_begin(p));
    OK(put_session(p, 2, "d"));
    OK(persist_commit(p));
    persist_stats(p, &st);
    ck_assert_uint_le(st.wal_bytes, 2 << 20);
    free(payload);
    persist_close(&p);
}
END_TEST

static void delete_store(int what)
{
    char path[160], to[200];

    if (what == 0 || what == 3)
        ck_assert_int_eq(unlink(test_store), 0);
    if (what == 1 || what == 3) {
        snprintf(path, sizeof path, "%s-wal", test_store);
        ck_assert_int_eq(unlink(path), 0);
    }
    if (what == 2) {
        snprintf(path, sizeof path, "%s-shm", test_store);
        ck_assert_int_eq(unlink(path), 0);
    }
    if (what == 4) {
        snprintf(to, sizeof to, "%s.elsewhere", test_store);
        ck_assert_int_eq(rename(test_store, to), 0);
    }
    if (what == 5) {
        snprintf(path, sizeof path, "%s.other", test_store);
        FILE *f = fopen(path, "w");
        fputs("something else\n", f);
        fclose(f);
        ck_assert_int_eq(rename(path, test_store), 0);
    }
}

START_TEST(deleted_and_rescued)
{
    struct persist *p = open_as(PERSIST_CREATED);
    int fd = persist_sync_fd(p);
    char path[512], *why;

    fill(p, 300, 100);
    OK(persist_checkpoint(p, true));
    OK(persist_begin(p));
    OK(put_session(p, 2, "in the log"));
    OK(persist_commit(p));
    ck_assert(!persist_moved(p));
    delete_store(_i);
    ck_assert(persist_moved(p));
    ck_assert_msg(persist_rescue(p, &why) == PERSIST_OK, "%s", why);
    ck_assert(!persist_moved(p));
    ck_assert_int_eq(persist_sync_fd(p), fd);
    ck_assert_uint_eq(queue_length(p, 1), 300);
    OK(persist_begin(p));
    OK(put_session(p, 3, "after"));
    OK(persist_commit(p));
    OK(persist_sync_start(p));
    OK(persist_sync_wait(p));
    OK(persist_checkpoint(p, true));
    persist_close(&p);
    ck_assert_uint_eq(count_files("caddis.db.new", NULL), 0);
    ck_assert_uint_eq(count_files("caddis.db.replaced", path), _i == 5);
    if (_i == 5) {
        struct stat st;
        ck_assert_int_eq(stat(path, &st), 0);
        ck_assert_int_eq(st.st_size, 15);
    }
    p = open_as(PERSIST_OPENED);
    ck_assert_uint_eq(queue_length(p, 1), 300);
    persist_close(&p);
    ck_assert_int_eq(side_int("SELECT count(*) FROM session"), 3);
    ck_assert_str_eq(side_text("PRAGMA integrity_check"), "ok");
}
END_TEST

/* ---- no room ---- */

START_TEST(full_by_max_bytes)
{
    struct persist_options o = { .path = test_store, .max_bytes = 1 << 20 };
    struct persist *p = open_with(&o, PERSIST_CREATED);
    char payload[1000] = "";
    struct persist_stats st;
    unsigned stored = 0;
    enum persist_rc rc;

    fill(p, 1, 1);
    for (int i = 2; i < 2000; i++) {
        OK(persist_begin(p));
        rc = put_message(p, i, payload, sizeof payload);
        if (rc == PERSIST_OK)
            rc = put_queue(p, 1, i, i, false);
        if (rc == PERSIST_OK)
            rc = persist_commit(p);
        if (rc != PERSIST_OK)
            break;
        stored++;
    }
    ck_assert_int_eq(rc, PERSIST_FULL);
    ck_assert_uint_ge(stored, 500);
    persist_rollback(p);
    OK(persist_checkpoint(p, true));
    persist_stats(p, &st);
    ck_assert_uint_le(st.file_bytes, 1 << 20);
    ck_assert_uint_eq(queue_length(p, 1), stored + 1);
    OK(persist_begin(p));
    for (int i = 1; i <= 100; i++)
        OK(persist_queue_del(p, 1, i, i, false));
    OK(persist_commit(p));
    OK(persist_begin(p));
    for (int i = 3001; i <= 3050; i++) {
        OK(put_message(p, i, payload, sizeof payload));
        OK(put_queue(p, 1, i, i, false));
    }
    OK(persist_commit(p));
    ck_assert_uint_eq(queue_length(p, 1), stored + 1 - 50);
    persist_close(&p);
    ck_assert_str_eq(side_text("PRAGMA integrity_check"), "ok");
}
END_TEST

/* The system's word instead of our own: a limit to the size of files. */
START_TEST(full_by_the_system)
{
    struct persist *p = open_as(PERSIST_CREATED);
    struct rlimit limit = { 1 << 20, RLIM_INFINITY };
    char payload[1000] = "";
    enum persist_rc rc = PERSIST_OK;
    int i = 2;

    signal(SIGXFSZ, SIG_IGN);
    fill(p, 1, 1);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (; rc == PERSIST_OK && i < 2000; i++) {
        OK(persist_begin(p));
        rc = put_message(p, i, payload, sizeof payload);
        if (rc == PERSIST_OK)
            rc = put_queue(p, 1, i, i, false);
        if (rc == PERSIST_OK)
            rc = persist_commit(p);
    }
    ck_assert_msg(rc == PERSIST_FULL, "%d: %s", (int)rc, persist_error(p));
    persist_rollback(p);
    ck_assert_uint_eq(queue_length(p, 1), (unsigned)i - 2);
    limit.rlim_cur = RLIM_INFINITY;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    OK(persist_begin(p));
    OK(put_message(p, i, payload, sizeof payload));
    OK(put_queue(p, 1, i, i, false));
    OK(persist_commit(p));
    persist_close(&p);
    ck_assert_str_eq(side_text("PRAGMA integrity_check"), "ok");
}
END_TEST

/* ---- no asynchronous sync ---- */

START_TEST(kernel_without_aio)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, _i == 0 ? SYS_io_setup : SYS_io_submit, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = { sizeof code / sizeof code[0], code };
    struct persist *p;
    struct persist_stats st;

    ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    /* Refused where the kernel has no filters, and by qemu. What has no AIO anyway can still show the first case. */
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0) {
        ck_assert_int_eq(errno, EINVAL);
        if (_i == 1 || kernel_has_aio())
            return;
    }
    p = open_as(PERSIST_CREATED);
    ck_assert_int_eq(persist_sync_fd(p) < 0, _i == 0);
    fill(p, 1, 1);
    OK(persist_sync_start(p));
    if (_i == 1)
        OK(persist_sync_finish(p));
    persist_stats(p, &st);
    ck_assert_uint_eq(st.syncs, 1);
    persist_close(&p);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("persist faults");
    TCase *t = tcase_create("all");

    tcase_add_checked_fixture(t, make_dir, remove_dir);
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, hostile_rows, 0, COUNT(hostile));
    tcase_add_test(t, ids_of_orphans_are_not_given_again);
    tcase_add_test(t, triggers_do_not_run);
    tcase_add_test(t, busy_while_another_writes);
    tcase_add_loop_test(t, blocker_is_named, 0, 2);
    tcase_add_test(t, reader_holds_the_log_back);
    tcase_add_test(t, reader_does_not_fill_the_disk);
    tcase_add_loop_test(t, deleted_and_rescued, 0, 6);
    tcase_add_test(t, full_by_max_bytes);
    tcase_add_test(t, full_by_the_system);
    tcase_add_loop_test(t, kernel_without_aio, 0, 2);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return run_suite(suite());
}
