/* libFuzzer: a store that somebody or something has changed, byte by byte or row by row (store_damage.h), is looked at
 * by the tools, opened with and without salvage, loaded by a broker that then works with it, and loaded again.
 *
 * Whatever was done to it: nothing crashes or takes long; what is refused stays as it is, and so does a damaged store
 * that is moved aside; every row is either read or counted as one that could not be; the broker starts unless the store
 * is somebody else's, tells its clients nothing that no server may say, and finds at its next start what it left.
 *
 * An input: a byte for the store and what is done first, a byte that says whether a changed log counts, then steps.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "store_damage.h"

#include "persist/show.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* From this size on a store is not looked at as a whole when it is opened. */
enum { LARGE_BYTES = 8 << 20 };
enum first { LOOK = 4, OPEN = 8, SALVAGE = 16, NO_LOCK_FILE = 32 };

#ifndef STORE_CPU_S
#define STORE_CPU_S 5           /* of a build with sanitizers, on a board that is busy with other things */
#endif

static double cpu_s(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* ---- what is in it ---- */

static int any_session(void *arg, const struct persist_session *s)
{
    (void)s;
    ++*(uint64_t *)arg;
    return 0;
}

static int any_will(void *arg, const struct persist_will *w)
{
    (void)w;
    ++*(uint64_t *)arg;
    return 0;
}

static int any_subscription(void *arg, const struct persist_subscription *s)
{
    (void)s;
    ++*(uint64_t *)arg;
    return 0;
}

static int any_inbound(void *arg, int64_t session_id, int packet_id)
{
    (void)session_id;
    (void)packet_id;
    ++*(uint64_t *)arg;
    return 0;
}

static int any_retained(void *arg, const struct persist_retained *r)
{
    (void)r;
    ++*(uint64_t *)arg;
    return 0;
}

static int any_queue(void *arg, const struct persist_queue_summary *q)
{
    *(uint64_t *)arg += q->count;
    return 0;
}

static int any_row(void *arg, const struct show_column *columns, int count, bool empty)
{
    unsigned *rows = arg;

    (void)columns;
    (void)count;
    (void)empty;
    return ++*rows > 100;
}

/* Rows that are there by SQLite's own count, -1 if it can't tell. */
static int64_t count_rows(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    int64_t n = -1;

    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
        n = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return n;
}

static int too_long(void *arg)
{
    (void)arg;
    return 1;
}

/* Rows that a plain SELECT can read, of the tables that the broker's state is in; of a damaged one those before the
 * damage, and none where pages lead in a circle. */
static uint64_t readable_rows(const char *path)
{
    sqlite3 *db = NULL;
    uint64_t rows = 0;

    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK)
        sqlite3_progress_handler(db, 100000, too_long, NULL);
    for (unsigned i = 0; i < 8; i++) {
        char sql[80];
        sqlite3_stmt *st = NULL;
        uint64_t n = 0;
        int rc = SQLITE_ERROR;

        /* Texts have no order by which a circle could be known. */
        if (strcmp(store_tables[i], "subscription") == 0)
            continue;
        snprintf(sql, sizeof sql, "SELECT * FROM %s NOT INDEXED", store_tables[i]);
        if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK)
            while ((rc = sqlite3_step(st)) == SQLITE_ROW)
                n++;
        sqlite3_finalize(st);
        rows += (rc & 0xFF) != SQLITE_INTERRUPT ? n : 0;
    }
    sqlite3_close(db);
    return rows;
}

/* Given or counted as bad: no row of the table gets lost without a word. */
static void account(struct persist *db, const char *path, const char *sql, enum persist_rc rc, uint64_t given,
                    uint64_t *bad)
{
    struct persist_stats st;
    int64_t rows = count_rows(path, sql);

    persist_stats(db, &st);
    assert(rc == PERSIST_OK || rc == PERSIST_BROKEN);
    if (rc == PERSIST_OK && rows >= 0)
        assert(given + (st.bad_rows - *bad) >= (uint64_t)rows);
    *bad = st.bad_rows;
}

static void read_all(struct persist *db, const char *path, bool count)
{
    struct persist_maxima max;
    uint64_t n, bad = 0;
    enum persist_rc rc = persist_maxima(db, &max);

    assert(rc == PERSIST_OK || rc == PERSIST_BROKEN);
#define ACCOUNT(call, sql)                                    \
    n = 0;                                                    \
    rc = call;                                                \
    if (count)                                                \
        account(db, path, "SELECT count(*) FROM " sql, rc, n, &bad)
    ACCOUNT(persist_each_session(db, any_session, &n), "session");
    ACCOUNT(persist_each_will(db, any_will, &n), "will");
    ACCOUNT(persist_each_subscription(db, any_subscription, &n),
            "subscription u WHERE u.session_id IN (SELECT session_id FROM session)"
            " OR u.session_id NOT IN (SELECT session_id FROM ended_session)");
    ACCOUNT(persist_each_inbound(db, any_inbound, &n), "inbound_qos2");
    ACCOUNT(persist_each_retained(db, SIZE_MAX, any_retained, &n), "retained");
    ACCOUNT(persist_each_queue_summary(db, any_queue, &n),
            "queue WHERE session_id NOT IN (SELECT session_id FROM ended_session)");
#undef ACCOUNT
}

/* ---- ways to open it ---- */

static const char *store_path(const struct lab *l)
{
    static char path[128];

    snprintf(path, sizeof path, "%s/s.db", l->dir);
    return path;
}

/* The tools change nothing, whatever there is. */
static void look(const char *path)
{
    static const char *const views[] = { "v_session", "v_subscription", "v_inflight", "v_retained", "v_will",
                                         "v_dropped", "v_runs" };
    const struct persist_options o = { .path = path, .read_only = true };
    struct persist_open_info info;
    struct store_image before, after;
    struct persist *db;
    char *why;

    store_read(&before, path);
    if (persist_open(&o, &db, &info, &why) != PERSIST_REFUSED)
        read_all(db, path, false);
    else
        assert(why != NULL);
    free(why);
    persist_close(&db);
    for (unsigned i = 0; i < sizeof views / sizeof views[0]; i++) {
        unsigned rows = 0;

        if (persist_show(path, views[i], NULL, any_row, &rows, &why) < 0)
            assert(why != NULL);
        free(why);
    }
    store_read(&after, path);
    assert(store_same(&before, &after, STORE_FILES));
    store_free(&before);
    store_free(&after);
}

/* The image that was moved aside, which is taken away; false: none was. */
static bool moved_aside(const char *dir, struct store_image *s)
{
    char path[700], base[400] = "";
    bool any;
    DIR *d = opendir(dir);
    struct dirent *e;

    while (d != NULL && (e = readdir(d)) != NULL)
        if (strncmp(e->d_name, "s.db.corrupt-", 13) == 0 && strstr(e->d_name, "-shm") == NULL) {
            snprintf(base, sizeof base, "%s", e->d_name);
            if (strlen(base) > 4 && strcmp(base + strlen(base) - 4, "-wal") == 0)
                base[strlen(base) - 4] = '\0';
        }
    if (d != NULL)
        closedir(d);
    if (base[0] == '\0')
        return false;
    snprintf(path, sizeof path, "%s/%s", dir, base);
    any = store_read(s, path);
    unlink(path);
    snprintf(path, sizeof path, "%s/%s-wal", dir, base);
    unlink(path);
    return any;
}

/* What lay there before is refused or moved aside as it was. */
static void check_evidence(const struct lab *l, const struct store_image *before, bool refused)
{
    struct store_image now = { 0 };
    bool in_use;

    if (refused ? !store_read(&now, store_path(l)) : !moved_aside(l->dir, &now))
        return;
    /* Somebody took its log away (PRAGMA journal_mode); putting that right comes before anything is known of its rows,
     * and leaves the file format's numbers and counters in the header changed. */
    if (before->file[STORE_DB].len >= 100 && before->file[STORE_DB].p[18] == 1 && now.file[STORE_DB].len >= 100) {
        memcpy(now.file[STORE_DB].p + 18, before->file[STORE_DB].p + 18, 2);
        memcpy(now.file[STORE_DB].p + 24, before->file[STORE_DB].p + 24, 4);
        memcpy(now.file[STORE_DB].p + 92, before->file[STORE_DB].p + 92, 8);
    }
    /* Of a large one that is known only once it is in use, which writes to its log. */
    in_use = !refused && before->file[STORE_DB].len >= LARGE_BYTES;
    assert(store_same(before, &now, in_use ? STORE_DB + 1 : STORE_FILES));
    store_free(&now);
}

static void open_directly(const struct lab *l, bool salvage, bool raw)
{
    const struct persist_options o = { .path = store_path(l), .salvage = salvage, .check = true };
    struct persist_open_info info;
    struct store_image before;
    struct persist *db;
    enum persist_open_rc rc;
    uint64_t rows;
    char *why;

    store_read(&before, o.path);
    rows = before.file[STORE_DB].len > 1 ? readable_rows(o.path) : 0;
    store_write(&before, o.path);           /* without the -shm that reading has made */
    rc = persist_open(&o, &db, &info, &why);
    assert((rc == PERSIST_REFUSED) == (db == NULL));
    if (rc == PERSIST_REFUSED)
        assert(why != NULL);
    check_evidence(l, &before, rc == PERSIST_REFUSED);
    store_free(&before);
    free(why);
    if (db == NULL)
        return;
    /* Nothing is lost without a word. */
    assert(rc != PERSIST_SALVAGED || info.lost_rows > 0 || readable_rows(o.path) >= rows);
    read_all(db, o.path, rc != PERSIST_OPENED || !raw);
    persist_close(&db);
}

/* Is this a reason not to start? */
static bool not_ours(const char *why, bool had_lock)
{
    if (strstr(why, "newer caddis") != NULL || strstr(why, "another program") != NULL ||
        strstr(why, "be brought up to date") != NULL || strstr(why, "bring up to date") != NULL ||
        (!had_lock && strstr(why, "no store has been here") != NULL))
        return true;
    fprintf(stderr, "%s\n", why);
    return false;
}

/* ---- a broker on it ---- */

static void come(struct lab *l, unsigned i, const char *id, unsigned version)
{
    const struct lab_connect p = { .id = id, .version = (uint8_t)version, .expiry_s = 1000 };

    lab_join(l, i, &p);
}

static void work(struct lab *l)
{
    come(l, 0, "a", MQTT_311);
    come(l, 1, "b", MQTT_50);
    come(l, 2, "new", MQTT_50);
    lab_settle(l, 10);
    lab_subscribe(l, 2, "#", 1, 1);
    lab_publish(l, 2, "t/1", 9, 2, true, 2, 0);
    for (unsigned n = 0; n < 8; n++) {
        lab_settle(l, 10);
        for (unsigned i = 0; i < 3; i++)
            lab_ack_all(l, i);
    }
    come(l, 3, "c", MQTT_50);
    lab_disconnect(l, 0);
    lab_pass(l, 7000, 1000);
    lab_ack_all(l, 3);
    lab_publish(l, 2, "t", 9, 1, false, 3, 0);
    lab_pass(l, 5200000, 2600000);          /* the will's delay, expiry of some */
}

static void start(struct lab *l)
{
    if (lab_start(l))
        return;
    fprintf(stderr, "%s\n", l->why);
    abort();
}

/* All that should be stored is; a large store may turn out to be damaged only now, and the next start mends it. */
static void check_store(struct lab *l, bool large)
{
    if (large)
        lab_pass(l, 6000, 500);
    if (large && l->b->journal.failures > 0 && l->b->journal.last_rc == PERSIST_BROKEN) {
        lab_stop(l);
        start(l);
    }
    lab_check_store(l, false);
}

static void run_broker(struct lab *l, bool had_lock)
{
    struct store_image before;
    bool large;

    store_read(&before, store_path(l));
    if (!lab_start(l)) {
        assert(not_ours(l->why, had_lock));
        store_free(&before);
        return;
    }
    check_evidence(l, &before, false);
    large = before.file[STORE_DB].len >= LARGE_BYTES;
    store_free(&before);
    check_store(l, large);
    work(l);
    if (l->b->stopping)
        abort();
    check_store(l, large);
    lab_stop(l);
    start(l);
    lab_pass(l, 100, 100);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader r = rd_make((struct view){ data, size });
    unsigned first = rd_u8(&r);
    const struct store_image *made = store_made((enum store_kind)(first % STORE_KINDS));
    size_t before = mem_total;
    double began;
    struct lab l;
    bool raw, had_lock = (first & NO_LOCK_FILE) == 0;
    char lock[160];

    lab_mono_ms = 1000000;
    lab_wall_ms = store_wall_ms + 3600000;
    lab_init(&l, "[persistence]\ndurability = crash\n[limits]\nmax_queued_messages = 100\n");
    log_open(&(struct log_options){ .dests = 0 });
    store_write(made, store_path(&l));
    store_damage(&r, store_path(&l), &raw);
    snprintf(lock, sizeof lock, "%s.lock", store_path(&l));
    if (had_lock)
        close(open(lock, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    began = cpu_s();
    if (first & LOOK)
        look(store_path(&l));
    if (first & OPEN)
        open_directly(&l, (first & SALVAGE) != 0, raw);
    run_broker(&l, had_lock || (first & OPEN) != 0);
    if (cpu_s() - began > STORE_CPU_S)
        abort();
    lab_fini(&l);
    assert(mem_total == before);
    return 0;
}
