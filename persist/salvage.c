/* A new store out of what can still be read of a damaged one. The damaged one is opened for reading only and stays
 * as it is.
 *
 * A damaged page hides the rows behind it, so each table is read from both ends, and the gap between is halved
 * until it is too small or too often tried. Only rows that keep the rules are taken: garbage that looks like a row
 * could carry an id that leaves no room for new ones.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "persist/db.h"
#include "persist/schema.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    PROBES = 10000,             /* tries to get behind damage, per table */
    VAIN_PROBES = 200,          /* of these in a row without finding a row */
    PROGRESS_ROWS = 1000,
    COPY_CHUNK = 1 << 16,
};

/* One letter for each column, capital if NULL is allowed:
 * i id, n 0 to 65535, u 32 bits, c counter, m milliseconds, t text, b bytes */
static const struct source {
    const char *table, *columns, *rules, *key;  /* key NULL: no number to halve gaps by */
    bool per_session;
} sources[] = {
    { "session", "session_id, client_id, protocol_version, username, expiry_interval, connected_at, disconnected_at,"
      " resend_to", "itnTUMMI", "session_id", false },
    { "ended_session", "session_id", "i", "session_id", false },
    { "will", "session_id, topic, qos, retain, delay_interval, publish_at, expiry_interval, properties, payload",
      "itnnuMUBb", "session_id", false },
    { "message", "message_id, received_at, expires_at, qos, retain, publisher, publisher_user, topic, properties,"
      " payload", "imMnnTTtBb", "message_id", false },
    { "retained", "retained_id, received_at, expires_at, qos, publisher, publisher_user, topic, properties, payload",
      "imMnTTtBb", "retained_id", false },
    { "run", "run_id, version, sqlite_version, boot_id, pid, started_at, ended_at, ending, previous_ending, sessions,"
      " subscriptions, queued, retained, expired, start_ms", "ittTcmMTtcccccc", "run_id", false },
    { "dropped", "client_id, reason, messages, first_at, last_at, last_topic", "ttcmmT", NULL, false },
    { "subscription", "session_id, topic_filter, qos, no_local, retain_as_published, retain_handling,"
      " subscription_identifier", "itnnnnU", NULL, true },
    { "queue", "session_id, position, message_id, qos, retain, state, packet_id, shared, subscription_identifiers",
      "iiinnnNnB", "position", true },          /* bytes: set at the end, an older store has none */
    { "inbound_qos2", "session_id, packet_id", "in", "packet_id", true },
};

struct salvage {
    const struct persist_options *o;
    struct persist_open_info *info;
    sqlite3 *from, *to;
    const struct source *source;
    sqlite3_stmt *up, *down, *insert;
    int key_column;
    unsigned probes, vain;
    uint64_t gaps;
    int64_t gap_end;            /* where the last gap ended: one that begins there is the same */
    int write_rc;               /* the new store can't be written: give up */
};

/* ---- one row ---- */

static void check_value(struct row *r, int i, char rule)
{
    if (rule >= 'A' && rule <= 'Z') {
        if (sqlite3_column_type(r->st, i) == SQLITE_NULL)
            return;
        rule = (char)(rule - 'A' + 'a');
    }
    switch (rule) {
    case 'i': row_int(r, i, 1, ROW_ID_MAX); break;
    case 'n': row_int(r, i, 0, 65535); break;
    case 'u': row_int(r, i, 0, UINT32_MAX); break;
    case 'c': row_int(r, i, 0, ROW_ID_MAX); break;
    case 'm': row_int(r, i, 0, ROW_MS_MAX); break;
    case 't': row_text(r, i); break;
    default: row_blob(r, i); break;
    }
}

static void copy_row(struct salvage *s, sqlite3_stmt *st)
{
    struct row r = { .st = st };
    int rc;

    for (int i = 0; s->source->rules[i] != '\0'; i++) {
        check_value(&r, i, s->source->rules[i]);
        sqlite3_bind_value(s->insert, i + 1, sqlite3_column_value(st, i));
    }
    if (r.bad) {
        s->info->lost_rows++;
        return;
    }
    rc = sqlite3_step(s->insert);
    sqlite3_reset(s->insert);
    if (rc == SQLITE_DONE && sqlite3_changes(s->to) == 1)
        s->info->salvaged_rows++;
    else if (rc == SQLITE_DONE || (rc & 0xFF) == SQLITE_CONSTRAINT)
        s->info->lost_rows += s->source->key != NULL;   /* without a key it is read twice */
    else
        s->write_rc = rc;
    if (s->o->progress != NULL && s->info->salvaged_rows % PROGRESS_ROWS == 0)
        s->o->progress(s->o->progress_arg, "salvaging the damaged store", s->info->salvaged_rows, 0);
}

/* ---- one table, or one session's part of it ---- */

/* Reads keys lo..hi upwards or downwards. *reached: the last key read. True: came to the end. */
static bool read_range(struct salvage *s, sqlite3_stmt *st, int64_t lo, int64_t hi, int64_t *reached)
{
    int rc = SQLITE_DONE;

    if (s->source->key != NULL) {
        sqlite3_bind_int64(st, 1, lo);
        sqlite3_bind_int64(st, 2, hi);
    }
    while (s->write_rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        if (s->source->key != NULL) {
            int64_t key = sqlite3_column_int64(st, s->key_column);
            if (key < lo || key > hi)
                break;          /* pages that lead in a circle, or are not in order */
            *reached = key;
            s->vain = 0;
            lo = st == s->up ? key + 1 : lo;
            hi = st == s->up ? hi : key - 1;
        }
        copy_row(s, st);
    }
    sqlite3_reset(st);
    return s->write_rc != SQLITE_OK || rc == SQLITE_DONE;
}

static void copy_range(struct salvage *s, int64_t lo, int64_t hi)
{
    int64_t last = lo - 1, first = hi + 1, middle;

    if (lo > hi)
        return;
    if (read_range(s, s->up, lo, hi, &last) || read_range(s, s->down, last + 1, hi, &first))
        return;
    if (s->source->key == NULL || first - last <= 2 || s->probes == 0 || s->vain == VAIN_PROBES) {
        s->gaps += s->gap_end != last + 1;
        s->gap_end = first;
        return;
    }
    s->probes--;
    s->vain++;
    middle = last + (first - last) / 2;
    copy_range(s, last + 1, middle);
    copy_range(s, middle + 1, first - 1);
}

/* The rows below 1 break the rules, and are missed as such. */
static void copy_all_numbers(struct salvage *s)
{
    if (s->source->key != NULL)
        copy_range(s, INT64_MIN / 2, 0);
    copy_range(s, 1, INT64_MAX - 1);
}

static void copy_sessions(struct salvage *s)
{
    static const char sql[] = "SELECT session_id FROM session UNION SELECT session_id FROM ended_session";
    sqlite3_stmt *ids = NULL;

    if (sqlite3_prepare_v2(s->to, sql, -1, &ids, NULL) != SQLITE_OK)
        s->write_rc = sqlite3_errcode(s->to);
    while (s->write_rc == SQLITE_OK && sqlite3_step(ids) == SQLITE_ROW) {
        sqlite3_bind_int64(s->up, 3, sqlite3_column_int64(ids, 0));
        sqlite3_bind_int64(s->down, 3, sqlite3_column_int64(ids, 0));
        s->gap_end = 0;
        copy_all_numbers(s);
    }
    sqlite3_finalize(ids);
}

/* What belongs to sessions that could not be read is not copied, and must be missed: one for each of them. */
static void count_strays(struct salvage *s)
{
    static const char known[] = "SELECT 1 FROM session WHERE session_id = ?1"
                                " UNION ALL SELECT 1 FROM ended_session WHERE session_id = ?1";
    sqlite3_stmt *next = NULL, *look = NULL;
    char *sql = sqlite3_mprintf("SELECT min(session_id) FROM %s WHERE session_id > ?1", s->source->table);
    int64_t id = INT64_MIN;

    if (sql == NULL || sqlite3_prepare_v2(s->from, sql, -1, &next, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(s->to, known, -1, &look, NULL) != SQLITE_OK)
        goto out;
    for (;;) {
        sqlite3_bind_int64(next, 1, id);
        if (sqlite3_step(next) != SQLITE_ROW || sqlite3_column_type(next, 0) != SQLITE_INTEGER ||
            sqlite3_column_int64(next, 0) <= id)
            break;
        id = sqlite3_column_int64(next, 0);
        sqlite3_reset(next);
        sqlite3_bind_int64(look, 1, id);
        s->gaps += sqlite3_step(look) == SQLITE_DONE;
        sqlite3_reset(look);
    }
out:
    sqlite3_finalize(next);
    sqlite3_finalize(look);
    sqlite3_free(sql);
}

/* Is a text, or the like, and so in no range of numbers. */
static bool out_of_order(sqlite3_stmt *st, int column)
{
    return sqlite3_column_type(st, column) != SQLITE_INTEGER && sqlite3_column_type(st, column) != SQLITE_FLOAT;
}

/* Rows whose session, or whose place in it, is not even a number: one each. Pages can lead in a circle. */
static void count_rows_of_nobody(struct salvage *s)
{
    int64_t most = db_int(s->from, "PRAGMA page_count", 0, NULL) * (DB_PAGE / 8);
    const char *key = s->source->key;
    char *sql = sqlite3_mprintf("SELECT session_id, %s FROM %s NOT INDEXED", key != NULL ? key : "1",
                                s->source->table);
    sqlite3_stmt *st = NULL;

    if (sql != NULL && sqlite3_prepare_v2(s->from, sql, -1, &st, NULL) == SQLITE_OK)
        while (most-- > 0 && sqlite3_step(st) == SQLITE_ROW)
            s->info->lost_rows += sqlite3_column_type(st, 0) != SQLITE_INTEGER || out_of_order(st, 1);
    sqlite3_finalize(st);
    sqlite3_free(sql);
}

static sqlite3_stmt *reader(struct salvage *s, const char *order)
{
    const struct source *t = s->source;
    sqlite3_stmt *st = NULL;
    char *sql = sqlite3_mprintf("SELECT %s FROM %s WHERE %s %s%s%s ORDER BY %s %s", t->columns, t->table,
                                t->per_session ? "session_id = ?3" : "1", t->key != NULL ? "AND " : "",
                                t->key != NULL ? t->key : "", t->key != NULL ? " BETWEEN ?1 AND ?2" : "",
                                t->key != NULL ? t->key : t->per_session ? "topic_filter" : "client_id", order);

    if (sql != NULL)
        sqlite3_prepare_v2(s->from, sql, -1, &st, NULL);
    sqlite3_free(sql);
    return st;
}

static void copy_table(struct salvage *s)
{
    const struct source *t = s->source;
    size_t columns = strlen(t->rules);
    char marks[64] = "?";
    char *sql;

    for (size_t i = 1; i < columns; i++)
        strcat(marks, ", ?");
    sql = sqlite3_mprintf("INSERT OR IGNORE INTO %s (%s) VALUES (%s)", t->table, t->columns, marks);
    s->up = reader(s, "ASC");
    s->down = reader(s, "DESC");
    s->insert = NULL;
    s->key_column = t->per_session ? 1 : 0;
    s->probes = PROBES;
    s->vain = 0;
    s->gap_end = 0;
    if (sql == NULL || sqlite3_prepare_v2(s->to, sql, -1, &s->insert, NULL) != SQLITE_OK)
        s->write_rc = sqlite3_errcode(s->to);
    else if (s->up == NULL || s->down == NULL)
        s->gaps++;              /* the table is not there, or not as it should be */
    else if (t->per_session) {
        copy_sessions(s);
        count_strays(s);
        count_rows_of_nobody(s);
    } else {
        copy_all_numbers(s);
    }
    sqlite3_free(sql);
    sqlite3_finalize(s->up);
    sqlite3_finalize(s->down);
    sqlite3_finalize(s->insert);
}

/* What hangs in the air without the rows that were lost. */
static void drop_orphans(struct salvage *s)
{
    static const char *const orphans[] = {
        "DELETE FROM queue WHERE message_id NOT IN (SELECT message_id FROM message)",
        "DELETE FROM message WHERE message_id NOT IN (SELECT message_id FROM queue)",
        "DELETE FROM will WHERE session_id NOT IN (SELECT session_id FROM session)",
    };

    for (unsigned i = 0; s->write_rc == SQLITE_OK && i < sizeof orphans / sizeof orphans[0]; i++) {
        s->write_rc = db_exec(s->to, orphans[i]);
        if (s->write_rc == SQLITE_OK) {
            s->info->lost_rows += (uint64_t)sqlite3_changes(s->to);
            s->info->salvaged_rows -= (uint64_t)sqlite3_changes(s->to);
        }
    }
}

/* ---- the damaged one ---- */

/* Whether the list of tables can be read. writable_schema makes SQLite bear a file that is shorter than it says. */
static bool open_damaged(const char *path, sqlite3 **db)
{
    int rc = sqlite3_open_v2(path, db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);

    if (rc == SQLITE_OK) {
        sqlite3_extended_result_codes(*db, 1);
        sqlite3_db_config(*db, SQLITE_DBCONFIG_DEFENSIVE, 0, NULL);
        sqlite3_db_config(*db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
        sqlite3_db_config(*db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
        sqlite3_db_config(*db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        db_exec(*db, "PRAGMA writable_schema = ON; PRAGMA cell_size_check = ON");
        /* One is enough: of a list that is not whole SQLite says so, and what is not in a whole one was dropped. */
        if (db_int(*db, "SELECT count(*) FROM sqlite_schema WHERE name IN ('session', 'message', 'queue', 'retained')",
                   0, &rc) > 0)
            return true;
    }
    sqlite3_close(*db);
    *db = NULL;
    return false;
}

static bool copy_file(const char *from, const char *to)
{
    char *buffer = malloc(COPY_CHUNK);
    int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    ssize_t n = -1;

    while (buffer != NULL && in >= 0 && out >= 0 && (n = read(in, buffer, COPY_CHUNK)) > 0)
        if (write(out, buffer, (size_t)n) != n) {
            n = -1;
            break;
        }
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
    free(buffer);
    return n == 0;
}

static void put32(unsigned char *at, uint64_t v)
{
    for (int i = 3; i >= 0; i--, v >>= 8)
        at[i] = (unsigned char)v;
}

static uint32_t get32(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static bool copy_page(int in, int out, uint32_t number)
{
    unsigned char page[DB_PAGE];
    off_t at = (off_t)(number - 1) * DB_PAGE;

    return number > 1 && pread(in, page, DB_PAGE, at) == DB_PAGE && pwrite(out, page, DB_PAGE, at) == DB_PAGE;
}

/* The list of tables: the first page, which also holds the header, and the pages that it leads to. Tables are always
 * made in the same order, so that list of a new store fits one that was never vacuumed; only the sizes are put right.
 * (Where it does not fit, rows break the rules and are not taken.) */
static bool graft_list_of_tables(const char *from, const char *to)
{
    unsigned char page[DB_PAGE], *tree = page + 100;    /* SQLite's file format, sections 1.3 and 1.6 */
    int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_RDWR | O_CLOEXEC);
    struct stat st;
    bool ok = in >= 0 && out >= 0 && fstat(out, &st) == 0 && pread(in, page, DB_PAGE, 0) == DB_PAGE;

    if (ok) {
        put32(page + 28, (uint64_t)st.st_size / DB_PAGE);  /* pages in the file */
        put32(page + 32, 0);                    /* first page of the list of free ones */
        put32(page + 36, 0);                    /* how many those are */
        ok = pwrite(out, page, DB_PAGE, 0) == DB_PAGE;
    }
    if (ok && tree[0] == 5) {                   /* it leads to others: by its cells, and by a last link */
        unsigned cells = (unsigned)tree[3] << 8 | tree[4];
        ok = copy_page(in, out, get32(tree + 8));
        for (unsigned i = 0; ok && i < cells && i < 100; i++) {
            unsigned at = (unsigned)tree[12 + 2 * i] << 8 | tree[13 + 2 * i];
            ok = at <= DB_PAGE - 4 && copy_page(in, out, get32(page + at));
        }
    }
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
    return ok;
}

/* The damaged store, or a copy of it with a first page that makes sense. NULL: nothing can be read. */
static sqlite3 *open_somehow(const char *path, const char *fresh, const char *copy)
{
    char *wal = sqlite3_mprintf("%s-wal", path), *copy_wal = sqlite3_mprintf("%s-wal", copy);
    sqlite3 *db = NULL;

    if (wal == NULL || copy_wal == NULL)
        goto out;
    /* SQLite would delete the log of an empty database, but not that of a copy with a first page. */
    if (!db_log_alone(path) && open_damaged(path, &db))
        goto out;
    if (!copy_file(access(path, F_OK) == 0 ? path : "/dev/null", copy))
        goto out;
    /* With its log, whose own first page, if it has one, is better than ours. */
    if (graft_list_of_tables(fresh, copy) && (access(wal, F_OK) < 0 || copy_file(wal, copy_wal)))
        open_damaged(copy, &db);
out:
    sqlite3_free(wal);
    sqlite3_free(copy_wal);
    return db;
}

/* ---- the new one ---- */

static int create_new(const char *path, sqlite3 **db)
{
    int rc, fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);

    if (fd >= 0)
        close(fd);
    rc = sqlite3_open_v2(path, db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc != SQLITE_OK)
        return rc;
    sqlite3_extended_result_codes(*db, 1);
    /* Not a store before it has its name, so nothing need be undone or durable before. */
    rc = db_exec(*db, "PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = OFF;"
                 "PRAGMA synchronous = OFF; PRAGMA secure_delete = OFF; PRAGMA temp_store = MEMORY");
    return rc == SQLITE_OK ? schema_create(*db) : rc;
}

static void remove_store(const char *path)
{
    static const char *const suffixes[] = { "", "-wal", "-shm", "-journal" };

    for (unsigned i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        char *name = sqlite3_mprintf("%s%s", path, suffixes[i]);
        if (name != NULL)
            unlink(name);
        sqlite3_free(name);
    }
}

static int copy_all(struct salvage *s)
{
    s->write_rc = db_exec(s->to, "BEGIN IMMEDIATE");
    for (unsigned i = 0; s->write_rc == SQLITE_OK && s->from != NULL && i < sizeof sources / sizeof sources[0]; i++) {
        s->source = &sources[i];
        copy_table(s);
    }
    drop_orphans(s);
    if (s->write_rc == SQLITE_OK)
        s->write_rc = db_exec(s->to, SCHEMA_SET_BYTES);
    s->info->lost_rows += s->gaps;
    return s->write_rc == SQLITE_OK ? db_exec(s->to, "COMMIT") : s->write_rc;
}

int salvage_build(const struct persist_options *o, struct persist_open_info *info, char **why)
{
    struct salvage s = { .o = o, .info = info };
    char *part = sqlite3_mprintf("%s.new.part", o->path), *copy = sqlite3_mprintf("%s.new.copy", o->path);
    char *done = sqlite3_mprintf("%s.new", o->path);
    int rc = SQLITE_NOMEM;

    if (part == NULL || copy == NULL || done == NULL)
        goto out;
    remove_store(part);
    remove_store(copy);
    rc = create_new(part, &s.to);
    if (rc == SQLITE_OK) {
        s.from = open_somehow(o->path, part, copy);
        s.gaps = s.from == NULL;
        rc = copy_all(&s);
    }
    sqlite3_close(s.from);
    if (rc == SQLITE_OK)
        rc = sqlite3_close(s.to);
    else
        sqlite3_close(s.to);
    remove_store(copy);
    if (rc == SQLITE_OK && (db_sync_file(part) < 0 || rename(part, done) < 0 || db_sync_dir(done) < 0))
        rc = SQLITE_IOERR;
    if (rc != SQLITE_OK)
        remove_store(part);
out:
    sqlite3_free(part);
    sqlite3_free(copy);
    sqlite3_free(done);
    if (rc == SQLITE_OK)
        return 0;
    if (asprintf(why, "store %s: damaged, and a new one for what can be read of it can't be written: %s; make room, or "
                 "move the damaged one away with its -wal and -shm", o->path, sqlite3_errstr(rc)) < 0)
        *why = NULL;
    return -1;
}
