/* Prepares, binds, steps, reads.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "persist/stmt.h"

#include "persist/db.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>

enum { HOT = 1, COLD = 0 };

static const struct {
    const char *name, *sql;
    bool hot;
} table[STMT_COUNT] = {
#define X(name, kind, sql) { #name, sql, kind },
    PERSIST_STATEMENTS(X)
#undef X
};

const char *stmt_sql(enum stmt id)
{
    return table[id].sql;
}

bool stmt_is_hot(enum stmt id)
{
    return table[id].hot;
}

static int prepare(struct persist *p, enum stmt id)
{
    return sqlite3_prepare_v3(p->db, table[id].sql, -1, SQLITE_PREPARE_PERSISTENT, &p->st[id], NULL);
}

sqlite3_stmt *stmt_get(struct persist *p, enum stmt id)
{
    int rc;

    if (p->st[id] != NULL)
        return p->st[id];
    rc = prepare(p, id);
    if (rc != SQLITE_OK)
        db_fail(p, rc, table[id].name);
    return p->st[id];
}

sqlite3_stmt *stmt_change(struct persist *p, enum stmt id)
{
    assert(p->tx != TX_NONE);
    return p->tx == TX_OPEN ? stmt_get(p, id) : NULL;
}

enum persist_rc stmt_run(struct persist *p, sqlite3_stmt *st)
{
    int rc;

    errno = 0;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW)
        ;
    sqlite3_reset(st);
    if (rc == SQLITE_DONE)
        return PERSIST_OK;
    return db_fail(p, rc, "change");
}

enum persist_rc stmt_run_ints(struct persist *p, enum stmt id, int count, ...)
{
    sqlite3_stmt *st = stmt_change(p, id);
    va_list ap;

    if (st == NULL)
        return p->tx_rc;
    va_start(ap, count);
    for (int i = 1; i <= count; i++)
        sqlite3_bind_int64(st, i, va_arg(ap, int64_t));
    va_end(ap);
    return stmt_run(p, st);
}

bool stmt_check_all(struct persist *p)
{
    for (unsigned id = 0; id < STMT_COUNT; id++) {
        bool had = p->st[id] != NULL;
        int rc = had ? SQLITE_OK : prepare(p, id);
        if (rc != SQLITE_OK) {
            db_fail(p, rc, table[id].name);
            return false;
        }
        if (!had) {
            sqlite3_finalize(p->st[id]);
            p->st[id] = NULL;
        }
    }
    return true;
}

void stmt_finalize_all(struct persist *p)
{
    for (unsigned id = 0; id < STMT_COUNT; id++) {
        sqlite3_finalize(p->st[id]);
        p->st[id] = NULL;
    }
}

/* ---- binding ---- */

void bind_text(sqlite3_stmt *st, int i, struct blob b)
{
    if (b.p == NULL && b.len == 0)
        sqlite3_bind_null(st, i);
    else
        sqlite3_bind_text64(st, i, b.p, b.len, SQLITE_STATIC, SQLITE_UTF8);
}

void bind_blob(sqlite3_stmt *st, int i, struct blob b)
{
    /* A NULL pointer would bind NULL, and an empty payload is not that. */
    if (b.len == 0)
        sqlite3_bind_zeroblob(st, i, 0);
    else
        sqlite3_bind_blob64(st, i, b.p, b.len, SQLITE_STATIC);
}

void bind_opt_blob(sqlite3_stmt *st, int i, struct blob b)
{
    if (b.len == 0)
        sqlite3_bind_null(st, i);
    else
        sqlite3_bind_blob64(st, i, b.p, b.len, SQLITE_STATIC);
}

void bind_opt_int(sqlite3_stmt *st, int i, int64_t v, int64_t none)
{
    if (v == none)
        sqlite3_bind_null(st, i);
    else
        sqlite3_bind_int64(st, i, v);
}

/* ---- reading ---- */

int64_t row_int(struct row *r, int i, int64_t min, int64_t max)
{
    int64_t v = sqlite3_column_int64(r->st, i);

    if (sqlite3_column_type(r->st, i) != SQLITE_INTEGER || v < min || v > max) {
        r->bad = true;
        return 0;
    }
    return v;
}

int64_t row_opt_int(struct row *r, int i, int64_t min, int64_t max, int64_t none)
{
    return sqlite3_column_type(r->st, i) == SQLITE_NULL ? none : row_int(r, i, min, max);
}

static struct blob bytes_of(struct row *r, int i, int type)
{
    struct blob b = { "", 0 };
    const void *p;

    if (sqlite3_column_type(r->st, i) != type) {
        r->bad = true;
        return b;
    }
    /* The bytes first, their number after: SQLite's order. NULL for none. */
    p = type == SQLITE_TEXT ? (const void *)sqlite3_column_text(r->st, i) : sqlite3_column_blob(r->st, i);
    b.len = (size_t)sqlite3_column_bytes(r->st, i);
    if (p != NULL)
        b.p = p;
    else if (b.len > 0)
        r->bad = true;
    return b;
}

struct blob row_text(struct row *r, int i)
{
    struct blob b = bytes_of(r, i, SQLITE_TEXT);

    if (b.len > ROW_TEXT_MAX || !text_valid(b.p, b.len))
        r->bad = true;
    return b;
}

struct blob row_opt_text(struct row *r, int i)
{
    return sqlite3_column_type(r->st, i) == SQLITE_NULL ? (struct blob){ NULL, 0 } : row_text(r, i);
}

struct blob row_blob(struct row *r, int i)
{
    return bytes_of(r, i, SQLITE_BLOB);
}

struct blob row_opt_blob(struct row *r, int i)
{
    return sqlite3_column_type(r->st, i) == SQLITE_NULL ? (struct blob){ NULL, 0 } : row_blob(r, i);
}

/* Bytes of the character that starts with c; 0: none does. *min is the least code point that may take so many. */
static unsigned char_length(unsigned char c, unsigned *code, unsigned *min)
{
    if (c < 0x80) {
        *code = c, *min = 1;
        return 1;
    }
    if ((c & 0xE0) == 0xC0) {
        *code = c & 0x1Fu, *min = 0x80;
        return 2;
    }
    if ((c & 0xF0) == 0xE0) {
        *code = c & 0x0Fu, *min = 0x800;
        return 3;
    }
    *code = c & 0x07u, *min = 0x10000;
    return (c & 0xF8) == 0xF0 ? 4 : 0;
}

bool text_valid(const void *p, size_t len)
{
    const unsigned char *s = p, *end = s + len;

    while (s < end) {
        unsigned code, min, n = char_length(*s, &code, &min);
        if (n == 0 || n > (size_t)(end - s))
            return false;
        for (unsigned i = 1; i < n; i++) {
            if ((s[i] & 0xC0) != 0x80)
                return false;
            code = code << 6 | (s[i] & 0x3Fu);
        }
        if (code < min || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
            return false;
        s += n;
    }
    return true;
}

enum persist_rc stmt_each(struct persist *p, sqlite3_stmt *st, int (*give)(struct row *r, void *arg), void *arg)
{
    int rc, stop = 0;

    errno = 0;
    p->reading++;
    while (stop == 0 && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct row r = { .st = st };
        stop = give(&r, arg);
        if (r.bad) {
            p->stats.bad_rows++;
            stop = 0;
        }
    }
    p->reading--;
    sqlite3_reset(st);
    return stop != 0 || rc == SQLITE_DONE ? PERSIST_OK : db_fail(p, rc, "read");
}
