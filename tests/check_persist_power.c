/* Power cuts: what has been said to be durable is there afterwards, whatever became of the rest; and what is there
 * is the state after one of the commits, not something between two.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "check_persist.h"
#include "crash/vfs_record.h"

#include <poll.h>

enum { COMMITS = 60, SESSION = 1 };

/* After commit n: retained message "n" says n; queued are the positions from n / 3 + 1 (older ones were
 * acknowledged) to n; every tenth commit is fat. */
static void change(struct persist *p, int n)
{
    char payload[12000], number[16];
    struct persist_retained r = { .id = 1, .m = { .topic = text("n"), .received_ms = 1 } };

    memset(payload, 'a' + n % 26, sizeof payload);
    snprintf(number, sizeof number, "%d", n);
    r.m.payload = text(number);
    OK(persist_begin(p));
    if (n == 1)
        OK(put_session(p, SESSION, "c"));
    OK(put_message(p, n, payload, n % 10 == 0 ? sizeof payload : 50));
    OK(put_queue(p, SESSION, n, n, false));
    if (n % 3 == 0)
        OK(persist_queue_del(p, SESSION, n / 3, n / 3, false));
    OK(persist_retained_put(p, &r));
    OK(persist_commit(p));
}

/* A store as it is when somebody puts a copy back: without a log, and not in the mode that has one. */
static void restore_copy(void)
{
    struct persist *p = open_as(PERSIST_CREATED);
    char copy[200], *why;

    snprintf(copy, sizeof copy, "%s/copy", test_dir);
    ck_assert_int_eq(persist_backup(p, copy, &why), PERSIST_OK);
    persist_close(&p);
    ck_assert_int_eq(rename(copy, test_store), 0);
}

/* What the broker does, and now and then a checkpoint; every commit that is known to be durable is marked. Returns
 * the records of what was there before. */
static unsigned work(bool sync_commit, bool restored)
{
    struct persist_options o = { .path = test_store, .sync_commit = sync_commit };
    struct persist *p;
    unsigned before;

    if (restored)
        restore_copy();
    before = vfs_record_start(test_store);
    p = open_with(&o, restored ? PERSIST_OPENED : PERSIST_CREATED);
    for (int n = 1; n <= COMMITS; n++) {
        struct pollfd f = { .fd = persist_sync_fd(p), .events = POLLIN };
        change(p, n);
        if (sync_commit) {
            vfs_record_add(RECORD_MARK, "", n);
        } else if (n % 4 != 0) {
            if (n % 4 == 1) {
                OK(persist_sync_start(p));
                if (f.fd >= 0) {
                    ck_assert_int_eq(poll(&f, 1, 10000), 1);
                    OK(persist_sync_finish(p));
                    vfs_record_add(RECORD_SYNC, "-wal", 0); /* the kernel did it by itself */
                }
            } else {
                OK(persist_sync_wait(p));
            }
            vfs_record_add(RECORD_MARK, "", n);
        }
        if (n % 7 == 0)
            OK(persist_checkpoint(p, true));
    }
    persist_close(&p);
    vfs_record_stop();
    return before;
}

static int read_number(void *arg, const struct persist_retained *r)
{
    char number[16];

    snprintf(number, sizeof number, "%.*s", (int)r->m.payload.len, (const char *)r->m.payload.p);
    *(int *)arg = atoi(number);
    return 0;
}

struct expected {
    int next, last;
};

static int see_next(void *arg, const struct persist_queue *q, const struct persist_message *m)
{
    static char want[12000];
    struct expected *e = arg;
    size_t len = e->next % 10 == 0 ? 12000 : 50;

    ck_assert_int_eq(q->position, e->next);
    ck_assert_uint_eq(m->payload.len, len);
    memset(want, 'a' + e->next % 26, len);
    ck_assert_mem_eq(m->payload.p, want, len);
    e->next++;
    return 0;
}

/* The commit whose state the store has. */
static int state_of(struct persist *p)
{
    struct persist_stats st;
    struct expected e;
    int n = 0;

    OK(persist_retained_get(p, 1, read_number, &n));
    e = (struct expected){ n / 3 + 1, n };
    OK(persist_queue_page(p, SESSION, 0, 1000, SIZE_MAX, see_next, &e));
    ck_assert_int_eq(e.next, n + 1);
    persist_stats(p, &st);
    ck_assert_uint_eq(st.bad_rows, 0);
    return n;
}

static void cut_at(unsigned records, enum vfs_fate fate, uint64_t luck, int durable)
{
    char path[200];
    struct persist_options o = { .path = path, .sync_commit = true };   /* the end of an AIO context takes 20 ms */
    struct persist *p;
    char *why;
    int n;

    snprintf(path, sizeof path, "%s/after.db", test_dir);
    vfs_record_replay(records, fate, luck, path);
    if (persist_open(&o, &p, &test_info, &why) == PERSIST_REFUSED)
        ck_abort_msg("cut after %u (%d, %u): %s", records, (int)fate, (unsigned)luck, why);
    n = state_of(p);
    ck_assert_msg(n >= durable, "cut after %u (%d, %u): commit %d of %d durable ones", records, (int)fate,
                  (unsigned)luck, n, durable);
    /* It goes on from there. */
    change(p, n + 1);
    ck_assert_int_eq(state_of(p), n + 1);
    persist_close(&p);
    for (unsigned i = 0; i < 5; i++) {
        static const char *const suffixes[] = { "", "-wal", "-shm", "-journal", ".lock" };

        snprintf(path, sizeof path, "%s/after.db%s", test_dir, suffixes[i]);
        unlink(path);
    }
}

START_TEST(power_cut)
{
    static const struct { bool sync_commit, restored; enum vfs_fate fate; uint64_t luck; } rows[] = {
        { false, false, FATE_ALL, 0 },  { false, false, FATE_NOTHING, 0 }, { false, false, FATE_LUCK, 1 },
        { false, false, FATE_LUCK, 2 }, { false, false, FATE_LUCK, 3 },    { true, false, FATE_NOTHING, 0 },
        { true, false, FATE_LUCK, 4 },  { false, true, FATE_NOTHING, 0 },  { false, true, FATE_LUCK, 5 },
    };
    int durable = 0;
    unsigned before;

    vfs_record_install();
    before = work(rows[_i].sync_commit, rows[_i].restored);
    ck_assert_uint_gt(vfs_record_count, 5 * COMMITS);
    for (unsigned n = before; n <= vfs_record_count; n++) {
        if (vfs_records[n - 1].what == RECORD_MARK)
            durable = (int)vfs_records[n - 1].offset;
        else
            cut_at(n, rows[_i].fate, rows[_i].luck * 1000003 + n, durable);
    }
    ck_assert_int_ge(durable, COMMITS - 1);
    for (unsigned n = 0; n < vfs_record_count; n++)
        free(vfs_records[n].data);
    free(vfs_records);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("persist power");
    TCase *t = tcase_create("all");

    tcase_add_checked_fixture(t, make_dir, remove_dir);
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, power_cut, 0, 9);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return run_suite(suite());
}
