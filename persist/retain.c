/* Retained messages: the newest of each topic, updated in place.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "persist/db.h"
#include "persist/message.h"

static void bind_retained(sqlite3_stmt *st, const struct persist_retained *r)
{
    sqlite3_bind_int64(st, 1, r->id);
    sqlite3_bind_int64(st, 2, r->m.received_ms);
    bind_opt_int(st, 3, r->m.expires_ms, 0);
    sqlite3_bind_int(st, 4, r->m.qos);
    bind_text(st, 5, r->m.publisher);
    bind_text(st, 6, r->m.publisher_user);
    bind_text(st, 7, r->m.topic);
    bind_opt_blob(st, 8, r->m.props);
    bind_blob(st, 9, r->m.payload);
}

enum persist_rc persist_retained_put(struct persist *p, const struct persist_retained *r)
{
    for (bool cleared = false;; cleared = true) {
        sqlite3_stmt *st = stmt_change(p, STMT_RETAINED_PUT), *unset;
        enum persist_rc rc;
        int result;

        if (st == NULL)
            return p->tx_rc;
        bind_retained(st, r);
        result = sqlite3_step(st);
        sqlite3_reset(st);
        if (result == SQLITE_DONE && sqlite3_changes(p->db) == 1)
            return PERSIST_OK;
        if ((result != SQLITE_DONE && result != SQLITE_CONSTRAINT_UNIQUE) || cleared)
            return db_fail(p, result == SQLITE_DONE ? SQLITE_MISMATCH : result, "store a retained message");
        /* The topic stands under another id, or the id under another topic: both go. */
        rc = stmt_run_ints(p, STMT_RETAINED_DEL, 1, r->id);
        unset = rc == PERSIST_OK ? stmt_change(p, STMT_RETAINED_UNSET) : NULL;
        if (unset == NULL)
            return p->tx_rc;
        bind_text(unset, 1, r->m.topic);
        rc = stmt_run(p, unset);
        if (rc != PERSIST_OK)
            return rc;
    }
}

enum persist_rc persist_retained_del(struct persist *p, int64_t id)
{
    return stmt_run_ints(p, STMT_RETAINED_DEL, 1, id);
}

/* ---- reading ---- */

struct retained_rows {
    int (*row)(void *, const struct persist_retained *);
    void *arg;
};

static int give_retained(struct row *r, void *arg)
{
    const struct retained_rows *g = arg;
    struct persist_retained t;
    int64_t len;

    message_read(r, &t.m);
    t.id = t.m.id = row_int(r, 9, 1, ROW_ID_MAX);
    len = row_int(r, 10, 0, INT32_MAX);
    if (sqlite3_column_type(r->st, 8) == SQLITE_NULL)
        t.m.payload = (struct blob){ NULL, (size_t)len };
    else
        t.m.payload = row_blob(r, 8);
    return r->bad ? 0 : g->row(g->arg, &t);
}

enum persist_rc persist_each_retained(struct persist *p, uint64_t payload_over,
                                      int (*row)(void *, const struct persist_retained *), void *arg)
{
    struct retained_rows g = { row, arg };
    sqlite3_stmt *st = stmt_get(p, STMT_EACH_RETAINED);

    if (st == NULL)
        return p->tx_rc;
    sqlite3_bind_int64(st, 1, payload_over < INT64_MAX ? (int64_t)payload_over : INT64_MAX);
    return stmt_each(p, st, give_retained, &g);
}

enum persist_rc persist_retained_get(struct persist *p, int64_t id, int (*row)(void *, const struct persist_retained *),
                                     void *arg)
{
    struct retained_rows g = { row, arg };
    sqlite3_stmt *st = stmt_get(p, STMT_RETAINED_GET);

    if (st == NULL)
        return p->tx_rc;
    sqlite3_bind_int64(st, 1, id);
    return stmt_each(p, st, give_retained, &g);
}
