/* What the tests of the store share: a directory of their own, a store in it, records with sensible contents, SQL from the
 * side.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_TESTS_CHECK_PERSIST_H
#define CADDIS_TESTS_CHECK_PERSIST_H

#include "persist/persist.h"
#include "suite.h"

#include <dirent.h>
#include <linux/aio_abi.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char test_dir[64], test_store[128];
static struct persist_open_info test_info;

static inline struct blob text(const char *s)
{
    return (struct blob){ s, s != NULL ? strlen(s) : 0 };
}
#define OK(call) ck_assert_msg((call) == PERSIST_OK, "%s: %s", #call, persist_error(p))
#define ck_assert_blob(b, s) \
    ck_assert_msg((b).len == strlen(s) && memcmp((b).p, (s), strlen(s)) == 0, "%.*s, not %s", (int)(b).len, \
                  (const char *)(b).p, (s))

static inline void make_dir(void)
{
    strcpy(test_dir, "/tmp/check_persist.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(test_dir));
    snprintf(test_store, sizeof test_store, "%s/caddis.db", test_dir);
}

/* A kernel may be built without it, and qemu does not emulate it. */
static inline bool kernel_has_aio(void)
{
    aio_context_t aio = 0;

    if (syscall(SYS_io_setup, 1, &aio) < 0)
        return false;
    syscall(SYS_io_destroy, aio);
    return true;
}

/* Only files: nothing here makes directories. */
static inline void remove_dir(void)
{
    DIR *d = opendir(test_dir);
    struct dirent *e;
    char path[512];

    while (d != NULL && (e = readdir(d)) != NULL) {
        snprintf(path, sizeof path, "%s/%s", test_dir, e->d_name);
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            unlink(path);
    }
    if (d != NULL)
        closedir(d);
    rmdir(test_dir);
}

/* Files in the directory whose name begins so. The last one's path goes to `path` unless NULL. */
static inline unsigned count_files(const char *prefix, char path[512])
{
    DIR *d = opendir(test_dir);
    struct dirent *e;
    unsigned n = 0;

    while (d != NULL && (e = readdir(d)) != NULL)
        if (strncmp(e->d_name, prefix, strlen(prefix)) == 0) {
            n++;
            if (path != NULL)
                snprintf(path, 512, "%s/%s", test_dir, e->d_name);
        }
    if (d != NULL)
        closedir(d);
    return n;
}

static inline struct persist *open_with(const struct persist_options *o, enum persist_open_rc want)
{
    struct persist *p;
    char *why;
    enum persist_open_rc rc = persist_open(o, &p, &test_info, &why);

    ck_assert_msg(rc == want, "open: %d, not %d: %s", (int)rc, (int)want, why != NULL ? why : "-");
    free(why);
    return p;
}

static inline struct persist *open_as(enum persist_open_rc want)
{
    struct persist_options o = { .path = test_store };

    return open_with(&o, want);
}

/* Must be refused, and the text must have all of the words. */
__attribute__((sentinel))
static inline void refused(const struct persist_options *o, ...)
{
    struct persist *p;
    char *why;
    enum persist_open_rc rc = persist_open(o, &p, &test_info, &why);
    const char *word;
    va_list ap;

    ck_assert_int_eq(rc, PERSIST_REFUSED);
    ck_assert_ptr_null(p);
    ck_assert_ptr_nonnull(why);
    ck_assert_msg(strstr(why, o->path) != NULL, "%s: no path", why);
    va_start(ap, o);
    while ((word = va_arg(ap, const char *)) != NULL)
        ck_assert_msg(strstr(why, word) != NULL, "%s: no \"%s\"", why, word);
    va_end(ap);
    free(why);
}

/* Another program at the same file. */
static inline sqlite3 *side(void)
{
    sqlite3 *db;

    ck_assert_int_eq(sqlite3_open(test_store, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    return db;
}

static inline void side_exec(const char *sql)
{
    sqlite3 *db = side();
    char *error = NULL;

    ck_assert_msg(sqlite3_exec(db, sql, NULL, NULL, &error) == SQLITE_OK, "%s: %s", sql, error);
    sqlite3_close(db);
}

static inline int64_t side_int(const char *sql)
{
    sqlite3 *db = side();
    sqlite3_stmt *st;
    int64_t v;

    ck_assert_msg(sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(db));
    ck_assert_msg(sqlite3_step(st) == SQLITE_ROW, "%s: no row", sql);
    v = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return v;
}

static inline const char *side_text(const char *sql)
{
    static char text[512];
    sqlite3 *db = side();
    sqlite3_stmt *st;

    ck_assert_msg(sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(db));
    ck_assert_msg(sqlite3_step(st) == SQLITE_ROW, "%s: no row", sql);
    snprintf(text, sizeof text, "%s", sqlite3_column_text(st, 0) != NULL ? (const char *)sqlite3_column_text(st, 0) : "");
    sqlite3_finalize(st);
    sqlite3_close(db);
    return text;
}

/* ---- records ---- */

static inline enum persist_rc put_session(struct persist *p, int64_t id, const char *client_id)
{
    struct persist_session s = { .id = id, .client_id = text(client_id), .version = 5, .expiry_s = -1,
                                 .connected_ms = 1000 };

    return persist_session_put(p, &s);
}

static inline enum persist_rc put_message(struct persist *p, int64_t id, const void *payload, size_t len)
{
    struct persist_message m = { .id = id, .topic = text("a/b"), .payload = { payload, len }, .qos = 1,
                                 .publisher = text("pub"), .received_ms = 5000 + id };

    return persist_message_put(p, &m);
}

static inline enum persist_rc put_queue(struct persist *p, int64_t session, int64_t position, int64_t message, bool shared)
{
    struct persist_queue q = { .session_id = session, .position = position, .message_id = message, .qos = 1,
                               .shared = shared, .bytes = 4 };

    return persist_queue_put(p, &q);
}

/* Session 1 "c" with n messages, ids and positions 1 to n. */
static inline void fill(struct persist *p, int n, size_t payload_len)
{
    char *payload = calloc(1, payload_len + 1);

    memset(payload, 'x', payload_len);
    OK(persist_begin(p));
    OK(put_session(p, 1, "c"));
    for (int i = 1; i <= n; i++) {
        OK(put_message(p, i, payload, payload_len));
        OK(put_queue(p, 1, i, i, false));
    }
    OK(persist_commit(p));
    free(payload);
}

/* ---- one of each ---- */

static const char binary[] = { 0, 1, (char)0xFF, 'x' };

static inline void put_all(struct persist *p)
{
    const struct persist_session a = { .id = 7, .client_id = text("sensor-7"), .version = 5, .username = text("anna"),
                                       .expiry_s = 3600, .connected_ms = 1000, .disconnected_ms = 2000,
                                       .resend_to = 12 };
    const struct persist_session b = { .id = 8, .client_id = text("caf\xC3\xA9"), .version = 3, .username = text(""),
                                       .expiry_s = -1, .connected_ms = 3000 };
    const struct persist_will w = { .session_id = 7, .topic = text("will"), .payload = { NULL, 0 },
                                    .props = { binary, 2 }, .qos = 2, .retain = true, .delay_s = 30, .publish_ms = 9000,
                                    .expiry_s = 60 };
    const struct persist_subscription s = { .session_id = 7, .filter = text("$share/g/a/#"), .qos = 2, .no_local = true,
                                            .retain_as_published = true, .retain_handling = 2, .subid = 268435455 };
    const struct persist_subscription s2 = { .session_id = 8, .filter = text("007"), .qos = 0 };
    const struct persist_message m = { .id = 11, .topic = text("1e3"), .payload = { binary, 4 }, .props = { binary, 3 },
                                       .qos = 2, .retain = true, .publisher = text("pub"), .publisher_user = text("u"),
                                       .received_ms = 4000, .expires_ms = 999000 };
    const struct persist_queue q = { .session_id = 7, .position = 12, .message_id = 11, .qos = 2, .retain = true,
                                     .state = PERSIST_SENT, .packet_id = 65535, .subids = { binary, 4 }, .shared = true,
                                     .bytes = 10 };
    const struct persist_queue q2 = { .session_id = 8, .position = 13, .message_id = 11, .qos = 0, .shared = true,
                                      .bytes = 10 };
    const struct persist_retained r = { .id = 21, .m = { .topic = text("0123"), .payload = { binary, 4 }, .qos = 1,
                                                         .retain = true, .received_ms = 8000 } };
    const struct persist_run run = { .version = "1.2", .started_ms = 500, .sessions = 2, .queued = 3, .took_ms = 4 };

    OK(persist_begin(p));
    OK(persist_run_start(p, &run));
    OK(persist_session_put(p, &a));
    OK(persist_session_put(p, &b));
    OK(persist_will_put(p, &w));
    OK(persist_sub_put(p, &s));
    OK(persist_sub_put(p, &s2));
    OK(persist_message_put(p, &m));
    OK(persist_queue_put(p, &q));
    OK(persist_queue_put(p, &q2));
    OK(persist_inbound_put(p, 7, 65535));
    OK(persist_inbound_put(p, 7, 65535));
    OK(persist_retained_put(p, &r));
    OK(persist_dropped_add(p, text("sensor-7"), "queue full", 3, text("a"), 100));
    OK(persist_dropped_add(p, text("sensor-7"), "queue full", 4, text("b"), 200));
    OK(persist_commit(p));
}

static inline int count_queued(void *arg, const struct persist_queue *q, const struct persist_message *m)
{
    (void)q;
    (void)m;
    ++*(unsigned *)arg;
    return 0;
}

static inline unsigned queue_length(struct persist *p, int64_t session)
{
    unsigned n = 0;

    OK(persist_queue_page(p, session, 0, 1000000, SIZE_MAX, count_queued, &n));
    return n;
}

#endif
