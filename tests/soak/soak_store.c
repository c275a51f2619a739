/* The store, seen by somebody else: a reader that holds a transaction for a while, a comparison with the model when all
 * is quiet, and a look for damage.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/soak/soak.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

static char complaint[400];
static sqlite3 *held;
static uint64_t held_until_ms;

static sqlite3 *open_store(const char *name)
{
    sqlite3 *db = NULL;
    char path[256];

    server_path(&server, name, path, sizeof path);
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK)
        fail_about(NULL, NULL, "the store can't be opened: %s", sqlite3_errmsg(db));
    sqlite3_busy_timeout(db, 2000);
    return db;
}

/* ---- somebody reads ---- */

void holder_begin(uint64_t ms)
{
    if (held != NULL)
        return;
    held = open_store("caddis.db");
    if (sqlite3_exec(held, "BEGIN; SELECT count(*) FROM queue", NULL, NULL, NULL) != SQLITE_OK)
        fail_about(NULL, NULL, "the store can't be read: %s", sqlite3_errmsg(held));
    held_until_ms = now_ms() + ms;
    note("broker", "somebody reads the store for %" PRIu64 " ms", ms);
}

void holder_end(void)
{
    sqlite3_close(held);
    held = NULL;
}

void holder_act(void)
{
    if (held != NULL && now_ms() >= held_until_ms)
        holder_end();
}

/* ---- does it say what the model says? ---- */

__attribute__((format(printf, 1, 2)))
static bool complain(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(complaint, sizeof complaint, fmt, ap);
    va_end(ap);
    return false;
}

static int asleep_by_name(const char *id)
{
    for (unsigned i = 0; i < READERS; i++)
        if (strcmp(reader_name(i), id) == 0)
            return reader_asleep(i);
    return 0;
}

/* Each row: a client's id. false: one of them is awake. */
static bool only_sleepers(sqlite3 *db, const char *sql, const char *what)
{
    sqlite3_stmt *st = NULL;
    bool ok = sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK;

    while (ok && sqlite3_step(st) == SQLITE_ROW) {
        const char *id = (const char *)sqlite3_column_text(st, 0);
        if (!asleep_by_name(id))
            ok = complain("the store has %s for %s", what, id);
    }
    sqlite3_finalize(st);
    return ok;
}

static bool has_row(sqlite3 *db, const char *sql, const char *a, const char *b)
{
    sqlite3_stmt *st = NULL;
    bool found;

    if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK)
        return false;
    sqlite3_bind_text(st, 1, a, -1, SQLITE_STATIC);
    if (b != NULL)
        sqlite3_bind_text(st, 2, b, -1, SQLITE_STATIC);
    found = sqlite3_step(st) == SQLITE_ROW;
    sqlite3_finalize(st);
    return found;
}

static bool subscriptions_agree(sqlite3 *db)
{
    for (unsigned i = 0; i < READERS; i++) {
        const char *id = reader_name(i);

        if (!reader_durable(i))
            continue;
        if (!has_row(db, "SELECT 1 FROM session WHERE client_id = ?", id, NULL))
            return complain("the store has no session for %s", id);
        for (unsigned f = 0; f < FILTERS; f++) {
            bool there = has_row(db, "SELECT 1 FROM subscription JOIN session USING (session_id)"
                                     " WHERE client_id = ? AND topic_filter = ?", id, filters[f]);
            bool due = subs_current(reader_subs(i), f) != NULL;

            if (there != due && !reader_asleep(i))
                return complain("%s's subscription to %s is %s in the store", id, filters[f],
                                due ? "not" : "still");
        }
    }
    return true;
}

static bool retained_agree(sqlite3 *db)
{
    sqlite3_stmt *st = NULL;
    bool ok = sqlite3_prepare_v2(db, "SELECT payload FROM retained WHERE topic = ?", -1, &st, NULL) == SQLITE_OK;

    for (unsigned i = 0; ok && i < STREAMS; i++) {
        const struct stream *s = &streams[i];
        unsigned of;
        uint32_t n;

        if (!s->kind->kept)
            continue;
        sqlite3_reset(st);
        sqlite3_bind_text(st, 1, s->topic, -1, SQLITE_STATIC);
        if (sqlite3_step(st) != SQLITE_ROW)
            ok = model_may_be_empty(s) || complain("the store has nothing retained for %s", s->topic);
        else if (sscanf((const char *)sqlite3_column_text(st, 0), "stream=%u number=%" SCNu32, &of, &n) != 2 ||
                 of != i || n < s->base || n >= s->end || !model_may_be_last(s, n))
            ok = complain("the store has something else retained for %s: %.40s", s->topic,
                          (const char *)sqlite3_column_text(st, 0));
    }
    sqlite3_finalize(st);
    return ok;
}

const char *store_compare(void)
{
    sqlite3 *db = open_store("caddis.db");
    bool ok;

    snprintf(complaint, sizeof complaint, "the store can't be read");
    ok = only_sleepers(db, "SELECT DISTINCT client_id FROM queue JOIN session USING (session_id)", "messages") &&
         only_sleepers(db, "SELECT client_id FROM inbound_qos2 JOIN session USING (session_id)", "packet ids") &&
         only_sleepers(db, "SELECT client_id FROM will JOIN session USING (session_id)", "a will") &&
         subscriptions_agree(db) && retained_agree(db);
    sqlite3_close(db);
    return ok ? NULL : complaint;
}

/* ---- is it sound? ---- */

static const char *const nothing[] = {
    ("SELECT 'a queue row of no session' FROM queue WHERE session_id NOT IN (SELECT session_id FROM session)"
     " AND session_id NOT IN (SELECT session_id FROM ended_session)"),
    "SELECT 'a queue row of no message' FROM queue WHERE message_id NOT IN (SELECT message_id FROM message)",
    "SELECT 'a message of no queue' FROM message WHERE message_id NOT IN (SELECT message_id FROM queue)",
    "SELECT 'a subscription of no session' FROM subscription WHERE session_id NOT IN (SELECT session_id FROM session)",
    "SELECT 'a packet id of no session' FROM inbound_qos2 WHERE session_id NOT IN (SELECT session_id FROM session)",
    "SELECT 'a will of no session' FROM will WHERE session_id NOT IN (SELECT session_id FROM session)",
    "SELECT integrity_check FROM pragma_integrity_check WHERE integrity_check <> 'ok'",
    "SELECT integrity_check FROM pragma_integrity_check('sqlite_master') WHERE integrity_check <> 'ok'",
};

const char *store_sound(const char *name)
{
    sqlite3 *db = open_store(name);
    const char *wrong = NULL;

    for (unsigned i = 0; i < sizeof nothing / sizeof nothing[0] && wrong == NULL; i++) {
        sqlite3_stmt *st = NULL;
        int rc = sqlite3_prepare_v2(db, nothing[i], -1, &st, NULL);

        if (rc == SQLITE_OK)
            rc = sqlite3_step(st);
        if (rc != SQLITE_DONE) {
            snprintf(complaint, sizeof complaint, "%s", rc == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0)
                                                                         : sqlite3_errmsg(db));
            wrong = complaint;
        }
        sqlite3_finalize(st);
    }
    sqlite3_close(db);
    return wrong;
}

static uint64_t file_bytes(const char *name)
{
    char path[256];
    struct stat st;

    server_path(&server, name, path, sizeof path);
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

uint64_t store_bytes(void)
{
    return file_bytes("caddis.db");
}

uint64_t store_log_bytes(void)
{
    return file_bytes("caddis.db-wal");
}
