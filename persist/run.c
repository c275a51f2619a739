/* The broker's diary: starts, how they ended, what had to be dropped.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "persist/db.h"

#include <string.h>
#include <unistd.h>

enum {
    RUNS_KEPT = 100,
    DROPPED_KEPT = 1000,        /* clients that come and go have ever new names */
    DROPPED_TRIM_EVERY = 64,
};

void run_look_back(struct persist *p)
{
    sqlite3_stmt *st = stmt_get(p, STMT_LAST_RUN);
    char boot[64];

    p->previous_end = "first";
    p->last_run_id = 0;
    if (st == NULL)
        return;
    db_boot_id(boot);
    if (sqlite3_step(st) == SQLITE_ROW) {
        const char *then = (const char *)sqlite3_column_text(st, 2);
        p->last_run_id = sqlite3_column_int64(st, 0);
        if (sqlite3_column_type(st, 1) != SQLITE_NULL)
            p->previous_end = "clean";
        else
            p->previous_end = then != NULL && boot[0] != '\0' && strcmp(then, boot) != 0 ? "power" : "killed";
    }
    sqlite3_reset(st);
}

const char *persist_previous_end(const struct persist *p)
{
    return p->previous_end;
}

static struct blob text(const char *s)
{
    return (struct blob){ s, s != NULL ? strlen(s) : 0 };
}

/* The time is taken from the clock that the run had. known false: when it died is not known. */
static enum persist_rc mark_end(struct persist *p, int64_t id, bool known, const char *ending)
{
    sqlite3_stmt *st = stmt_change(p, STMT_RUN_END);

    if (st == NULL)
        return p->tx_rc;
    sqlite3_bind_int64(st, 1, id);
    bind_opt_int(st, 2, known ? db_now_ms() : 0, 0);
    bind_text(st, 3, text(ending));
    bind_opt_int(st, 4, known ? db_mono_ms() : 0, 0);
    return stmt_run(p, st);
}

enum persist_rc persist_run_start(struct persist *p, const struct persist_run *r)
{
    int64_t id = p->last_run_id + 1;
    sqlite3_stmt *st;
    char boot[64];
    enum persist_rc rc;

    if (p->last_run_id > 0 && strcmp(p->previous_end, "clean") != 0 &&
        mark_end(p, p->last_run_id, false, p->previous_end) != PERSIST_OK)
        return p->tx_rc;
    st = stmt_change(p, STMT_RUN_PUT);
    if (st == NULL)
        return p->tx_rc;
    db_boot_id(boot);
    sqlite3_bind_int64(st, 1, id);
    bind_text(st, 2, text(r->version));
    bind_text(st, 3, text(sqlite3_libversion()));
    bind_text(st, 4, text(boot[0] != '\0' ? boot : NULL));
    sqlite3_bind_int64(st, 5, getpid());
    sqlite3_bind_int64(st, 6, r->started_ms);
    bind_text(st, 7, text(p->previous_end));
    sqlite3_bind_int64(st, 8, (int64_t)r->sessions);
    sqlite3_bind_int64(st, 9, (int64_t)r->subscriptions);
    sqlite3_bind_int64(st, 10, (int64_t)r->queued);
    sqlite3_bind_int64(st, 11, (int64_t)r->retained);
    sqlite3_bind_int64(st, 12, (int64_t)r->expired);
    sqlite3_bind_int64(st, 13, r->took_ms);
    bind_opt_int(st, 14, r->since_ms == 0 ? INT64_MIN : r->zero_ms, INT64_MIN);
    bind_opt_int(st, 15, r->since_ms, 0);
    bind_opt_int(st, 16, r->before_ms, 0);
    rc = stmt_run(p, st);
    if (rc == PERSIST_OK)
        rc = stmt_run_ints(p, STMT_RUN_TRIM, 1, id - RUNS_KEPT);
    if (rc == PERSIST_OK)
        rc = stmt_run_ints(p, STMT_DROPPED_TRIM, 1, (int64_t)DROPPED_KEPT);
    if (rc == PERSIST_OK)
        p->run_id = id;
    return rc;
}

void run_end(struct persist *p)
{
    if (p->run_id == 0 || persist_begin(p) != PERSIST_OK)
        return;
    mark_end(p, p->run_id, true, "clean");
    if (persist_commit(p) == PERSIST_OK)
        p->run_id = 0;
}

enum persist_rc persist_dropped_add(struct persist *p, struct blob client_id, const char *reason, uint64_t count,
                                    struct blob last_topic, int64_t at_ms)
{
    sqlite3_stmt *st = stmt_change(p, STMT_DROPPED_ADD);
    enum persist_rc rc;

    if (st == NULL)
        return p->tx_rc;
    bind_text(st, 1, client_id.p != NULL ? client_id : text(""));
    bind_text(st, 2, text(reason));
    sqlite3_bind_int64(st, 3, (int64_t)count);
    sqlite3_bind_int64(st, 4, at_ms);
    bind_text(st, 5, last_topic);
    rc = stmt_run(p, st);
    if (rc == PERSIST_OK && ++p->dropped_adds % DROPPED_TRIM_EVERY == 0)
        rc = stmt_run_ints(p, STMT_DROPPED_TRIM, 1, (int64_t)DROPPED_KEPT);
    return rc;
}
