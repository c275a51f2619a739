/* Opening: what is refused and with which words, what is salvaged, how an older store is brought up to date.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "check_persist.h"
#include "persist/db.h"
#include "persist/schema.h"
#include "persist/show.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>

static void write_at(const char *path, int64_t offset, const void *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0640);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pwrite(fd, bytes, len, offset), (ssize_t)len);
    close(fd);
}

static void fill_at(const char *path, int64_t offset, int byte, size_t len)
{
    char *bytes = malloc(len);

    memset(bytes, byte, len);
    write_at(path, offset, bytes, len);
    free(bytes);
}

static int64_t size_at(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? (int64_t)st.st_size : -1;
}

enum { DONE = 7 };

/* Does it in a process that then ends without closing anything. The exit code, DONE if all went well. */
static int in_a_child(void (*what)(void))
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        what();
        _exit(DONE);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return WEXITSTATUS(status);
}

/* ---- refused ---- */

static const struct persist_options plain = { .path = test_store };
static const struct persist_options salvaging = { .path = test_store, .salvage = true, .sync_commit = true };

static void find_it_in_use(void)
{
    char pid[32];

    snprintf(pid, sizeof pid, "process %d", getppid());
    refused(&salvaging, "in use", pid, NULL);
}

START_TEST(second_opener)
{
    struct persist *p = open_as(PERSIST_CREATED);
    char pid[32];

    snprintf(pid, sizeof pid, "process %d", getpid());
    refused(&plain, "in use", pid, "stop", NULL);
    ck_assert_int_eq(in_a_child(find_it_in_use), DONE);
    fill(p, 1, 1);
    persist_close(&p);
    p = open_as(PERSIST_OPENED);
    persist_close(&p);
}
END_TEST

START_TEST(directory_missing_or_none)
{
    char path[160];
    struct persist_options o = { .path = path, .salvage = true };

    snprintf(path, sizeof path, "%s/missing/caddis.db", test_dir);
    refused(&o, "No such file", "create it", NULL);
    write_at(test_store, 0, "x", 1);
    snprintf(path, sizeof path, "%s/caddis.db/inner.db", test_dir);
    refused(&o, "ot a directory", NULL);
    o.path = test_dir;
    refused(&o, "not a regular file", NULL);
    o.path = "/proc/caddis.db";
    refused(&o, "/proc", NULL);
}
END_TEST

/* Where nothing but reading is allowed. */
static void with_a_read_only_directory(void (*what)(void))
{
    int code;

    ck_assert_int_eq(chmod(test_dir, 0555), 0);
    ck_assert_int_eq(chmod(test_store, 0444), 0);
    code = in_a_child(what);
    chmod(test_dir, 0755);
    ck_assert_int_eq(code, DONE);
}

/* Root may write anywhere. */
static void be_somebody_else(void)
{
    if (geteuid() == 0 && setuid(65534) < 0)
        _exit(1);
}

static void must_be_refused(void)
{
    be_somebody_else();
    refused(&plain, "writable for the user", NULL);
}

START_TEST(directory_read_only)
{
    struct persist *p = open_as(PERSIST_CREATED);

    persist_close(&p);
    with_a_read_only_directory(must_be_refused);
}
END_TEST

START_TEST(foreign_database)
{
    side_exec("CREATE TABLE accounts (name); INSERT INTO accounts VALUES ('x')");
    refused(&plain, "another program", "another path", NULL);
    refused(&salvaging, "another program", NULL);
    ck_assert_int_eq(side_int("SELECT count(*) FROM accounts"), 1);
    ck_assert_uint_eq(count_files("caddis.db.corrupt", NULL), 0);
}
END_TEST

/* Bytes of a file in hexadecimal. */
static char *content(const char *path)
{
    FILE *f = fopen(path, "r");
    size_t n = (size_t)size_at(path);
    char *hex = malloc(2 * n + 1);

    ck_assert_ptr_nonnull(f);
    for (size_t i = 0; i < n; i++)
        snprintf(hex + 2 * i, 3, "%02X", (unsigned)getc(f) & 0xFF);
    fclose(f);
    return hex;
}

START_TEST(newer_store)
{
    static const struct { int version; const char *date; } copies[] = {
        { SCHEMA_VERSION, "2026-01-02T03-04-05Z" }, { SCHEMA_VERSION, "2026-11-02T03-04-05Z" },
        { SCHEMA_VERSION, "2026-10-02T03-04-05Z" }, { 9, "2027-01-02T03-04-05Z" },
    };
    struct persist *p = open_as(PERSIST_CREATED);
    char *before, *after, want[256];

    persist_close(&p);
    side_exec("PRAGMA user_version = 9");
    before = content(test_store);
    refused(&plain, "newer caddis", "schema 9", "store of its own", NULL);
    refused(&salvaging, "newer caddis", NULL);
    after = content(test_store);
    ck_assert_str_eq(before, after);
    free(before);
    free(after);
    /* The newer one made copies before it changed the store: the last one is the way back. */
    for (unsigned i = 0; i < sizeof copies / sizeof copies[0]; i++) {
        char path[256];

        snprintf(path, sizeof path, "%s.v%d-%s", test_store, copies[i].version, copies[i].date);
        fill_at(path, 0, 'c', 10);
    }
    snprintf(want, sizeof want, "%s.v%d-%s", test_store, copies[1].version, copies[1].date);
    refused(&plain, "newer caddis", want, "UPGRADING in caddis(8)", NULL);
}
END_TEST

START_TEST(garbage_where_no_store_was)
{
    fill_at(test_store, 0, 'g', 10000);
    refused(&salvaging, "not a database", "another path", NULL);
    ck_assert_int_eq(size_at(test_store), 10000);
    ck_assert_uint_eq(count_files("caddis.db.corrupt", NULL), 0);
}
END_TEST

/* Writes what is in the header as it is, and leaves the log behind, as a kill does. */
static void rewrite_header(void)
{
    sqlite3 *db;

    ck_assert_int_eq(sqlite3_open(test_store, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, "PRAGMA user_version = 0", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_close(db);
}

/* No tables yet, and no room for any: its list of free pages leads nowhere. Neither it nor its log is touched. */
START_TEST(empty_and_damaged)
{
    char wal[600];
    const char *names[] = { test_store, wal };
    char *before[2], *after;
    struct persist *p;

    snprintf(wal, sizeof wal, "%s-wal", test_store);
    side_exec("PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; CREATE TABLE x (a); "
              "INSERT INTO x VALUES (zeroblob(9000)); DROP TABLE x");
    write_at(test_store, 32, "\0\0\1\0\0\0\0\x09", 8);
    rewrite_header();
    for (unsigned i = 0; i < 2; i++)
        before[i] = content(names[i]);
    refused(&plain, "damaged", NULL);
    p = open_with(&salvaging, PERSIST_SALVAGED);
    fill(p, 1, 1);
    persist_close(&p);
    ck_assert_uint_ge(count_files("caddis.db.corrupt", NULL), 1);
    snprintf(wal, sizeof wal, "%s-wal", test_info.moved_to);
    names[0] = test_info.moved_to;
    for (unsigned i = 0; i < 2; i++) {
        after = content(names[i]);
        ck_assert_msg(strcmp(after, before[i]) == 0, "%s has changed", names[i]);
        free(after);
        free(before[i]);
    }
}
END_TEST

/* SQLite writes into pages that this list names. */
START_TEST(free_pages_damaged)
{
    char *head, trunk[9] = "";
    struct persist *p = open_as(PERSIST_CREATED);

    put_all(p);
    OK(persist_begin(p));
    OK(put_message(p, 7777, NULL, 0));
    OK(persist_commit(p));
    persist_close(&p);
    side_exec("UPDATE message SET payload = zeroblob(20000) WHERE message_id = 7777; DELETE FROM message WHERE"
              " message_id = 7777");
    head = content(test_store);
    memcpy(trunk, head + 2 * 32, 8);
    free(head);
    ck_assert_uint_gt(strtoul(trunk, NULL, 16), 1);
    write_at(test_store, (int64_t)(strtoul(trunk, NULL, 16) - 1) * 4096, "\x0d\0\0\0\0\x10\0\0", 8);
    refused(&plain, "damaged", "reelist", NULL);
    p = open_with(&salvaging, PERSIST_SALVAGED);
    ck_assert_uint_eq(test_info.lost_rows, 0);
    persist_close(&p);
}
END_TEST

START_TEST(log_without_its_database)
{
    char wal[600], moved[512];
    struct persist *p;

    snprintf(wal, sizeof wal, "%s-wal", test_store);
    fill_at(wal, 0, 'w', 5000);
    refused(&plain, "-wal is there", "copy", NULL);
    write_at(test_store, 0, "", 0);
    refused(&plain, "-wal is there", NULL);
    ck_assert_int_eq(size_at(wal), 5000);
    p = open_with(&salvaging, PERSIST_SALVAGED);
    fill(p, 1, 1);
    persist_close(&p);
    ck_assert_uint_eq(count_files("caddis.db.corrupt", moved), 2);
    snprintf(wal, sizeof wal, "%s-wal", test_info.moved_to);
    ck_assert_int_eq(size_at(wal), 5000);
}
END_TEST

/* ---- tools ---- */

static int no_row(void *arg, const struct show_column *columns, int count, bool empty)
{
    (void)arg;
    (void)columns;
    (void)count;
    ck_assert(empty);
    return 0;
}

START_TEST(tools_change_nothing)
{
    struct persist_options o = { .path = test_store, .read_only = true };
    struct persist *p, *tool;

    refused(&o, "open", NULL);
    ck_assert_int_eq(size_at(test_store), -1);
    p = open_as(PERSIST_CREATED);
    fill(p, 10, 10);
    tool = open_with(&o, PERSIST_OPENED);
    ck_assert_uint_eq(queue_length(tool, 1), 10);
    persist_close(&tool);
    persist_close(&p);
    tool = open_with(&o, PERSIST_OPENED);
    ck_assert_uint_eq(queue_length(tool, 1), 10);
    persist_close(&tool);
}
END_TEST

/* SQLite deletes the log of an empty database even where it may only read. */
START_TEST(tools_leave_a_log_alone)
{
    struct persist_options o = { .path = test_store, .read_only = true };
    char wal[600], *why;

    snprintf(wal, sizeof wal, "%s-wal", test_store);
    write_at(test_store, 0, "x", (size_t)_i);
    fill_at(wal, 0, 'w', 5000);
    refused(&o, "-wal is there", "copy", NULL);
    ck_assert_int_eq(persist_show(test_store, "v_session", NULL, no_row, NULL, &why), -1);
    ck_assert_ptr_nonnull(strstr(why, "ends in -wal"));
    free(why);
    ck_assert_int_eq(size_at(wal), 5000);
}
END_TEST

static void can_be_read(void)
{
    struct persist_options o = { .path = test_store, .read_only = true };
    struct persist *p;

    be_somebody_else();
    p = open_with(&o, PERSIST_OPENED);
    ck_assert_uint_eq(queue_length(p, 1), 10);
    persist_close(&p);
}

START_TEST(tools_of_others)
{
    struct persist *p = open_as(PERSIST_CREATED);

    fill(p, 10, 10);
    persist_close(&p);
    with_a_read_only_directory(can_be_read);
}
END_TEST

/* ---- damage ---- */

START_TEST(damage_is_refused_unless_asked)
{
    struct persist *p = open_as(PERSIST_CREATED);
    struct persist_options o = { .path = test_store, .read_only = true };
    int64_t size;

    fill(p, 100, 100);
    persist_close(&p);
    size = size_at(test_store);
    fill_at(test_store, 0, 0, 4096);
    refused(&plain, "damaged", "-wal", "copy", NULL);
    refused(&o, "damaged", NULL);
    ck_assert_int_eq(size_at(test_store), size);
}
END_TEST

/* A store of 40 sessions with 50 messages each, everything else too; closed. Returns its size. */
static int64_t make_large(void)
{
    struct persist *p = open_as(PERSIST_CREATED);
    char name[32], payload[150];

    memset(payload, 'p', sizeof payload);
    put_all(p);
    OK(persist_begin(p));
    for (int64_t s = 101; s <= 140; s++) {
        struct persist_subscription sub = { .session_id = s, .filter = text("a/#"), .qos = 1 };
        snprintf(name, sizeof name, "client %d", (int)s);
        OK(put_session(p, s, name));
        OK(persist_sub_put(p, &sub));
        for (int64_t m = 1; m <= 50; m++) {
            OK(put_message(p, s * 100 + m, payload, sizeof payload));
            OK(put_queue(p, s, s * 100 + m, s * 100 + m, false));
        }
    }
    OK(persist_commit(p));
    persist_close(&p);
    return size_at(test_store);
}

static int add_summary(void *arg, const struct persist_queue_summary *s)
{
    *(uint64_t *)arg += s->count;
    return 0;
}

static uint64_t queued_in_all(struct persist *p)
{
    uint64_t n = 0;
    struct persist_stats st;

    OK(persist_each_queue_summary(p, add_summary, &n));
    persist_stats(p, &st);
    ck_assert_uint_eq(st.bad_rows, 0);
    return n;
}

enum { LARGE = 2002 };      /* rows of queue that make_large() makes */

START_TEST(first_page_lost)
{
    struct persist *p;
    int64_t size = make_large();

    fill_at(test_store, 0, _i == 0 ? 0 : 'x', _i == 2 ? 100 : 4096);
    p = open_with(&salvaging, PERSIST_SALVAGED);
    ck_assert_uint_eq(test_info.lost_rows, 0);
    ck_assert_uint_eq(queued_in_all(p), LARGE);
    persist_close(&p);
    ck_assert_int_eq(size_at(test_info.moved_to), size);
    ck_assert_ptr_nonnull(strstr(test_info.moved_to, "caddis.db.corrupt-"));
    ck_assert_uint_eq(count_files("caddis.db.new", NULL), 0);
    ck_assert_str_eq(side_text("PRAGMA integrity_check"), "ok");
    p = open_as(PERSIST_OPENED);
    persist_close(&p);
}
END_TEST

static void run_with_a_checkpoint(void)
{
    struct persist *p = open_as(PERSIST_CREATED);

    fill(p, 1000, 100);
    OK(persist_checkpoint(p, true));
    OK(persist_begin(p));
    OK(put_session(p, 2, "only in the log"));
    OK(persist_commit(p));
}

START_TEST(first_page_lost_of_a_killed_run)
{
    struct persist *p;

    ck_assert_int_eq(in_a_child(run_with_a_checkpoint), DONE);
    fill_at(test_store, 0, 'x', 4096);
    p = open_with(&salvaging, PERSIST_SALVAGED);
    ck_assert_uint_eq(queued_in_all(p), 1000);
    persist_close(&p);
    ck_assert_int_eq(side_int("SELECT count(*) FROM session"), 2);
}
END_TEST

static void copy_to_store(const char *from)
{
    int64_t size = size_at(from);
    char *bytes = malloc((size_t)size);
    int fd = open(from, O_RDONLY);

    ck_assert_int_eq(read(fd, bytes, (size_t)size), size);
    close(fd);
    ck_assert(unlink(test_store) == 0 || errno == ENOENT);
    write_at(test_store, 0, bytes, (size_t)size);
    free(bytes);
}

/* The way to all rows of one table or another. */
static bool is_root(const char *store, int64_t page)
{
    char sql[80];
    sqlite3 *db;
    int64_t n;

    snprintf(sql, sizeof sql, "SELECT count(*) FROM sqlite_schema WHERE rootpage = %d", (int)page);
    ck_assert_int_eq(sqlite3_open(store, &db), SQLITE_OK);
    n = db_int(db, sql, 0, NULL);
    sqlite3_close(db);
    return n > 0;
}

static void run_without_a_checkpoint(void)
{
    fill(open_as(PERSIST_CREATED), 1000, 100);
}

/* Empty, a byte (which is the same to SQLite), gone: what the log has is still there. */
START_TEST(database_lost_of_a_killed_run)
{
    struct persist *p;

    ck_assert_int_eq(in_a_child(run_without_a_checkpoint), DONE);
    ck_assert_int_eq(_i < 2 ? truncate(test_store, _i) : unlink(test_store), 0);
    p = open_with(&salvaging, PERSIST_SALVAGED);
    ck_assert_uint_eq(queued_in_all(p), 1000);
    persist_close(&p);
}
END_TEST

/* Each page in turn: whatever is hit, the broker starts, and unless it is a root, most is kept. */
START_TEST(any_page_lost)
{
    int64_t size = make_large();
    char copy[160];
    unsigned salvaged = 0;

    snprintf(copy, sizeof copy, "%s/copy", test_dir);
    ck_assert_int_eq(rename(test_store, copy), 0);
    for (int64_t page = _i; page < size / 4096; page += 5) {
        struct persist *p;
        struct persist_open_info info;
        enum persist_open_rc rc;
        uint64_t n;
        char *why;

        copy_to_store(copy);
        fill_at(test_store, page * 4096, page % 2 == 0 ? 0 : 0xA5, 4096);
        rc = persist_open(&salvaging, &p, &info, &why);
        ck_assert_msg(rc != PERSIST_REFUSED, "page %d: %s", (int)page + 1, why);
        n = queued_in_all(p);
        persist_close(&p);
        if (!is_root(copy, page + 1))
            ck_assert_msg(n + 300 >= LARGE, "page %d: %d", (int)page + 1, (int)n);
        salvaged += rc == PERSIST_SALVAGED;
        unlink(info.moved_to);
    }
    ck_assert_uint_gt(salvaged, (uint64_t)size / 4096 / 5 / 2);
}
END_TEST

/* Pages full of payload: leaves of message. */
static unsigned message_leaves(int64_t *at, unsigned most)
{
    char page[4096], full[64];
    int fd = open(test_store, O_RDONLY);
    unsigned n = 0;

    memset(full, 'p', sizeof full);
    for (int64_t offset = 0; n < most && pread(fd, page, sizeof page, offset) == sizeof page; offset += 4096)
        if (page[0] == 13 && memmem(page, sizeof page, full, sizeof full) != NULL)
            at[n++] = offset;
    close(fd);
    return n;
}

/* What lies between two damaged pages is reached from neither end. */
START_TEST(several_pages_lost)
{
    int64_t leaves[1000];
    struct persist *p;
    unsigned n;

    make_large();
    n = message_leaves(leaves, 1000);
    ck_assert_uint_gt(n, 50);
    for (unsigned i = 1; i <= 4; i++)
        fill_at(test_store, leaves[n * i / 5], 0xA5, 4096);
    p = open_with(&salvaging, PERSIST_SALVAGED);
    ck_assert_uint_ge(queued_in_all(p), LARGE - 4 * 25);
    ck_assert_uint_ge(test_info.lost_rows, 4);
    persist_close(&p);
}
END_TEST

START_TEST(truncated)
{
    struct persist *p;
    int64_t size = make_large();
    uint64_t n;

    ck_assert_int_eq(truncate(test_store, _i == 0 ? size / 2 / 4096 * 4096 : size - 1000), 0);
    refused(&plain, "damaged", NULL);
    p = open_with(&salvaging, PERSIST_SALVAGED);
    n = queued_in_all(p);
    ck_assert_uint_ge(n, _i == 0 ? 500 : 1900);
    ck_assert_uint_gt(test_info.salvaged_rows, n);
    persist_close(&p);
}
END_TEST

/* A page that says it has more rows than it has: what they look like belongs to nobody, and is missed. */
START_TEST(rows_of_nobody)
{
    struct persist *p = open_as(PERSIST_CREATED);
    int64_t page;

    fill(p, 5, 10);
    persist_close(&p);
    page = 4096 * (side_int("SELECT rootpage FROM sqlite_schema WHERE name = 'queue'") - 1);
    write_at(test_store, page + 3, "\0\x08", 2);
    refused(&plain, "damaged", NULL);
    p = open_with(&salvaging, PERSIST_SALVAGED);
    ck_assert_uint_eq(queued_in_all(p), 5);
    ck_assert_uint_eq(test_info.lost_rows, 3);
    persist_close(&p);
}
END_TEST

/* A text for a place in the queue is in no range of numbers. It is missed, as the message is that nobody has then, and
 * the table that is not there. */
START_TEST(text_for_a_position)
{
    struct persist *p = open_as(PERSIST_CREATED);

    fill(p, 5, 10);
    persist_close(&p);
    side_exec("PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'STRICT, ', '')"
              " WHERE name = 'queue'; PRAGMA writable_schema = RESET");
    side_exec("UPDATE queue SET position = '/' WHERE position = 3; DROP TABLE dropped");
    p = open_with(&salvaging, PERSIST_SALVAGED);
    ck_assert_uint_eq(queued_in_all(p), 4);
    ck_assert_uint_eq(test_info.lost_rows, 3);
    persist_close(&p);
}
END_TEST

/* Too large to be looked at at each start; it turns out in use that it is damaged. The next start looks. */
START_TEST(damaged_in_use)
{
    struct persist *p;
    unsigned n = 0;
    char *why, wal[600];

    snprintf(wal, sizeof wal, "%s-wal", test_store);
    make_large();
    side_exec("CREATE INDEX extra ON message (qos);"
              " INSERT INTO retained (retained_id, received_at, qos, topic, payload)"
              " VALUES (999, 1, 0, 'large', zeroblob(9437184))");
    fill_at(test_store, 4096 * side_int("SELECT rootpage - 1 FROM sqlite_schema WHERE name = 'extra'"), 'x', 4096);
    for (int start = 0; start < 2; start++) {
        ck_assert_int_eq(persist_open(&salvaging, &p, &test_info, &why), PERSIST_OPENED);
        if (start == 1) {
            OK(persist_begin(p));
            ck_assert_int_eq(put_message(p, 7777, "x", 1), PERSIST_BROKEN);
            persist_rollback(p);
        }
        persist_close(&p);
        ck_assert_int_eq(size_at(wal) > 0, start == 1);         /* what is damaged is left as it is */
    }
    ck_assert_int_eq(persist_open(&salvaging, &p, &test_info, &why), PERSIST_SALVAGED);
    OK(persist_queue_page(p, 101, 0, 100, 1 << 20, count_queued, &n));
    ck_assert_uint_eq(n, 50);
    OK(persist_begin(p));
    OK(put_message(p, 7777, "x", 1));
    OK(persist_commit(p));
    persist_close(&p);
    ck_assert_int_eq(persist_open(&salvaging, &p, &test_info, &why), PERSIST_OPENED);
    persist_close(&p);
}
END_TEST

/* Sixteen bytes anywhere: it starts, and reads whatever it finds without falling over. */
START_TEST(bytes_changed)
{
    char copy[160];
    int64_t size = make_large();
    unsigned starts = 0;

    snprintf(copy, sizeof copy, "%s/copy", test_dir);
    ck_assert_int_eq(rename(test_store, copy), 0);
    srand(7 + (unsigned)_i);
    for (int round = 0; round < 20; round++) {
        struct persist *p;
        struct persist_open_info info;
        unsigned n = 0;
        char *why;

        copy_to_store(copy);
        for (int i = 0; i < 16; i++) {
            /* Half of them where tables and keys are. */
            int64_t range = i % 2 == 0 ? size : 20 * 4096;
            fill_at(test_store, rand() % range, rand() & 0xFF, 1);
        }
        if (persist_open(&salvaging, &p, &info, &why) == PERSIST_REFUSED) {
            /* The two marks that say whose store it is can be hit, too. */
            ck_assert_msg(strstr(why, "another program") != NULL || strstr(why, "newer") != NULL, "%s", why);
            free(why);
            unlink(test_store);
            continue;
        }
        starts++;
        for (int64_t s = 101; s <= 140; s++)
            persist_queue_page(p, s, 0, 1000, SIZE_MAX, count_queued, &n);
        persist_close(&p);
        unlink(info.moved_to);
    }
    ck_assert_uint_ge(starts, 15);
}
END_TEST

/* No page of the index is damaged, but it knows client ids that its table does not have. */
START_TEST(index_of_other_rows)
{
    const struct persist_subscription s = { .session_id = 77, .filter = text("a/#") };
    struct persist *p = open_as(PERSIST_CREATED);
    sqlite3 *db;

    OK(persist_begin(p));
    OK(put_session(p, 77, "client-1"));
    OK(persist_sub_put(p, &s));
    OK(persist_commit(p));
    persist_close(&p);
    ck_assert_int_eq(sqlite3_open(test_store, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, "CREATE TABLE other (a INTEGER PRIMARY KEY, b TEXT NOT NULL UNIQUE) STRICT;"
                                  "PRAGMA writable_schema = ON;"
                                  "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name ="
                                  " 'other') WHERE name = 'session';"
                                  "DELETE FROM sqlite_schema WHERE tbl_name = 'other'",
                                  NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    p = open_with(&salvaging, PERSIST_SALVAGED);
    ck_assert_uint_eq(test_info.lost_rows, 1);
    OK(persist_begin(p));
    OK(put_session(p, 78, "client-1"));
    OK(persist_commit(p));
    persist_close(&p);
}
END_TEST

START_TEST(table_missing)
{
    struct persist *p;

    make_large();
    side_exec("DROP TABLE retained");
    refused(&plain, "damaged", "no such table", NULL);
    p = open_with(&salvaging, PERSIST_SALVAGED);
    ck_assert_uint_eq(queued_in_all(p), LARGE);
    persist_close(&p);
    ck_assert_int_eq(side_int("SELECT count(*) FROM retained"), 0);
}
END_TEST

/* The list of tables can be read, so it counts, even without the most important ones: the others may lie elsewhere than
 * in a new store. */
START_TEST(most_tables_missing)
{
    const struct persist_retained r = {
        .id = 1, .m = { .topic = text("r"), .payload = text("kept"), .received_ms = 1 }
    };
    struct persist *p = open_as(PERSIST_CREATED);

    OK(persist_begin(p));
    OK(put_session(p, 5, "five"));
    OK(persist_retained_put(p, &r));
    OK(persist_commit(p));
    persist_close(&p);
    side_exec("DROP TABLE queue; DROP TABLE will; DROP TABLE session");
    p = open_with(&salvaging, PERSIST_SALVAGED);
    ck_assert_uint_eq(test_info.salvaged_rows, 1);
    ck_assert_uint_eq(test_info.lost_rows, 3);
    persist_close(&p);
    ck_assert_int_eq(side_int("SELECT count(*) FROM retained"), 1);
}
END_TEST

START_TEST(row_without_a_number)
{
    struct persist *p = open_as(PERSIST_CREATED);

    OK(persist_begin(p));
    OK(put_session(p, 5, "five"));
    OK(put_session(p, 6, "six"));
    OK(persist_commit(p));
    persist_close(&p);
    side_exec("UPDATE session SET session_id = 0 WHERE session_id = 6; DROP TABLE dropped");
    p = open_with(&salvaging, PERSIST_SALVAGED);
    ck_assert_uint_eq(test_info.salvaged_rows, 1);
    ck_assert_uint_eq(test_info.lost_rows, 2);      /* it, and a table */
    persist_close(&p);
}
END_TEST

/* Rows that a new store must not have. */
START_TEST(hostile_rows_are_not_salvaged)
{
    struct persist *p;
    struct persist_maxima m;

    make_large();
    side_exec("INSERT INTO session VALUES (9223372036854775805, 'x', 5, NULL, NULL, NULL, NULL, NULL);"
              "INSERT INTO message VALUES (9223372036854775806, 1, NULL, 1, 0, NULL, NULL, 'a', NULL, x'');"
              "INSERT INTO retained VALUES (5, 1, NULL, 1, NULL, NULL, CAST(x'FF' AS TEXT), NULL, x'');"
              "INSERT INTO will VALUES (555, 'a', 0, 0, 0, NULL, NULL, NULL, x'');"
              "DROP TABLE dropped");
    p = open_with(&salvaging, PERSIST_SALVAGED);
    ck_assert_uint_eq(test_info.lost_rows, 4 + 1);
    OK(persist_maxima(p, &m));
    ck_assert_int_eq(m.session_id, 140);
    ck_assert_int_eq(m.position, 14050);
    ck_assert_uint_eq(queued_in_all(p), LARGE);
    persist_close(&p);
}
END_TEST

/* A salvage that died just before its last step. */
START_TEST(half_installed)
{
    struct persist *p = open_as(PERSIST_CREATED);
    char path[160];

    fill(p, 5, 5);
    persist_close(&p);
    snprintf(path, sizeof path, "%s.new", test_store);
    ck_assert_int_eq(rename(test_store, path), 0);
    snprintf(path, sizeof path, "%s-wal", test_store);
    fill_at(path, 0, 'w', 5000);
    p = open_as(PERSIST_OPENED);
    ck_assert_uint_eq(queue_length(p, 1), 5);
    persist_close(&p);
    ck_assert_uint_eq(count_files("caddis.db.corrupt", NULL), 1);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("persist open");
    TCase *t = tcase_create("all");

    tcase_add_checked_fixture(t, make_dir, remove_dir);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, second_opener);
    tcase_add_test(t, directory_missing_or_none);
    tcase_add_test(t, directory_read_only);
    tcase_add_test(t, foreign_database);
    tcase_add_test(t, newer_store);
    tcase_add_test(t, garbage_where_no_store_was);
    tcase_add_test(t, empty_and_damaged);
    tcase_add_test(t, free_pages_damaged);
    tcase_add_test(t, log_without_its_database);
    tcase_add_test(t, tools_change_nothing);
    tcase_add_loop_test(t, tools_leave_a_log_alone, 0, 2);
    tcase_add_test(t, tools_of_others);
    tcase_add_test(t, damage_is_refused_unless_asked);
    tcase_add_test(t, rows_of_nobody);
    tcase_add_test(t, text_for_a_position);
    tcase_add_test(t, damaged_in_use);
    tcase_add_loop_test(t, first_page_lost, 0, 3);
    tcase_add_test(t, first_page_lost_of_a_killed_run);
    tcase_add_loop_test(t, database_lost_of_a_killed_run, 0, 3);
    tcase_add_loop_test(t, any_page_lost, 0, 5);
    tcase_add_test(t, several_pages_lost);
    tcase_add_loop_test(t, truncated, 0, 2);
    tcase_add_loop_test(t, bytes_changed, 0, 3);
    tcase_add_test(t, index_of_other_rows);
    tcase_add_test(t, table_missing);
    tcase_add_test(t, most_tables_missing);
    tcase_add_test(t, row_without_a_number);
    tcase_add_test(t, hostile_rows_are_not_salvaged);
    tcase_add_test(t, half_installed);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return run_suite(suite());
}
