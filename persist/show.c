/* Reads the views. sqlite3.h stays in persist/, so the tool gets names and texts.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "persist/show.h"

#include "persist/db.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COLUMNS_MAX = 32, BUSY_MS = 2000 };

const char *persist_sqlite_version(void)
{
    return sqlite3_libversion();
}

static void explain(char **why, const char *path, const char *what)
{
    if (asprintf(why, "store %s: %s", path, what) < 0)
        *why = NULL;
}

static int give_rows(sqlite3_stmt *st,
                     int (*row)(void *arg, const struct show_column *columns, int count, bool empty), void *arg)
{
    struct show_column columns[COLUMNS_MAX];
    int count = sqlite3_column_count(st), rc;
    bool any = false;

    if (count > COLUMNS_MAX)
        count = COLUMNS_MAX;
    for (int i = 0; i < count; i++)
        columns[i] = (struct show_column){ .name = sqlite3_column_name(st, i) };
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        any = true;
        for (int i = 0; i < count; i++) {
            int type = sqlite3_column_type(st, i);
            columns[i].number = type == SQLITE_INTEGER || type == SQLITE_FLOAT;
            columns[i].text = (const char *)sqlite3_column_text(st, i);
        }
        if (row(arg, columns, count, false) != 0)
            return SQLITE_DONE;
    }
    if (rc == SQLITE_DONE && !any)
        row(arg, columns, count, true);
    return rc;
}

/* The statement, its parameter bound. SELECT * is what the view is made for: the columns are its business. */
static int prepare(sqlite3 *db, const char *view, const char *first, sqlite3_stmt **st)
{
    char *sql = sqlite3_mprintf("SELECT * FROM \"%w\"", view);
    int rc = sql != NULL ? sqlite3_prepare_v2(db, sql, -1, st, NULL) : SQLITE_NOMEM;

    sqlite3_free(sql);
    if (rc != SQLITE_OK || first == NULL)
        return rc;
    /* The name of the first column is known only now that the statement exists. */
    sql = sqlite3_mprintf("SELECT * FROM \"%w\" WHERE \"%w\" = ?", view, sqlite3_column_name(*st, 0));
    sqlite3_finalize(*st);
    *st = NULL;
    rc = sql != NULL ? sqlite3_prepare_v2(db, sql, -1, st, NULL) : SQLITE_NOMEM;
    sqlite3_free(sql);
    return rc == SQLITE_OK ? sqlite3_bind_text(*st, 1, first, -1, SQLITE_STATIC) : rc;
}

int persist_show(const char *path, const char *view, const char *first,
                 int (*row)(void *arg, const struct show_column *columns, int count, bool empty), void *arg, char **why)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    int rc;

    *why = NULL;
    if (access(path, R_OK) < 0) {
        explain(why, path, "there is none, or this user may not read it (try sudo, or --store PATH)");
        return -1;
    }
    if (db_log_alone(path)) {
        explain(why, path, "empty, but its log, which ends in -wal, is there: it is damaged");
        return -1;
    }
    rc = db_open_read_only(path, &db);
    if (rc == SQLITE_OK) {
        sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_VIEW, 1, NULL);
        sqlite3_busy_timeout(db, BUSY_MS);
        rc = prepare(db, view, first, &st);
    }
    if (rc == SQLITE_OK)
        rc = give_rows(st, row, arg);
    if (rc != SQLITE_OK && rc != SQLITE_DONE)
        explain(why, path, db != NULL ? sqlite3_errmsg(db) : "no memory");
    sqlite3_finalize(st);
    sqlite3_close(db);
    return rc == SQLITE_OK || rc == SQLITE_DONE ? 0 : -1;
}
