/* The schema: its text in two places, the plans of the statements, the views.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "check_persist.h"
#include "persist/db.h"
#include "persist/schema.h"
#include "persist/show.h"

#include <errno.h>

static char *read_schema(void)
{
    const char *dir = getenv("srcdir");
    char path[512], *text = calloc(1, 65536);
    FILE *f;

    snprintf(path, sizeof path, "%s/etc/schema.sql", dir != NULL ? dir : ".");
    f = fopen(path, "r");
    ck_assert_msg(f != NULL, "%s: %s", path, strerror(errno));
    ck_assert_uint_gt(fread(text, 1, 65535, f), 1000);
    fclose(f);
    return text;
}

/* Names and text of all objects, as one. */
static char *objects(sqlite3 *db)
{
    static const char sql[] = "SELECT group_concat(sql, char(10)) FROM (SELECT sql FROM sqlite_schema ORDER BY name)";
    sqlite3_stmt *st;
    char *all;

    ck_assert_int_eq(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
    all = strdup((const char *)sqlite3_column_text(st, 0));
    sqlite3_finalize(st);
    return all;
}

START_TEST(schema_file_is_current)
{
    struct persist *p = open_as(PERSIST_CREATED);
    char *sql = read_schema(), *ours, *theirs;
    sqlite3 *db;

    ours = objects(p->db);
    ck_assert_int_eq(sqlite3_open(":memory:", &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    theirs = objects(db);
    ck_assert_msg(strcmp(ours, theirs) == 0, "etc/schema.sql and persist/schema.c differ");
    sqlite3_close(db);
    free(sql);
    free(ours);
    free(theirs);
    persist_close(&p);
}
END_TEST

START_TEST(hot_plans_only_search)
{
    struct persist *p = open_as(PERSIST_CREATED);
    unsigned hot = 0;

    for (unsigned id = 0; id < STMT_COUNT; id++) {
        sqlite3_stmt *st;
        char sql[2048];

        snprintf(sql, sizeof sql, "EXPLAIN QUERY PLAN %s", stmt_sql(id));
        ck_assert_int_eq(sqlite3_prepare_v2(p->db, sql, -1, &st, NULL), SQLITE_OK);
        while (stmt_is_hot(id) && sqlite3_step(st) == SQLITE_ROW) {
            const char *step = (const char *)sqlite3_column_text(st, 3);
            ck_assert_msg(strstr(step, "SCAN") == NULL && strstr(step, "TEMP B-TREE") == NULL, "%s: %s", sql, step);
        }
        hot += stmt_is_hot(id);
        sqlite3_finalize(st);
    }
    ck_assert_uint_gt(hot, 20);
    persist_close(&p);
}
END_TEST

/* ---- the views ---- */

static int count_rows(void *arg, const struct show_column *columns, int count, bool empty)
{
    (void)columns;
    ck_assert_int_gt(count, 0);
    *(int *)arg += !empty;
    return 0;
}

static const struct { const char *view, *first; int rows; } views[] = {
    { "v_session", NULL, 2 },    { "v_session", "sensor-7", 1 }, { "v_subscription", NULL, 2 }, { "v_queue", NULL, 2 },
    { "v_queue", "nobody", 0 },  { "v_inflight", NULL, 1 },      { "v_retained", "0123", 1 },   { "v_will", NULL, 1 },
    { "v_dropped", NULL, 1 },    { "v_runs", "1", 1 },
};

START_TEST(views_show)
{
    struct persist *p = open_as(PERSIST_CREATED);
    char *why;
    int rows = 0;

    put_all(p);
    ck_assert_msg(persist_show(test_store, views[_i].view, views[_i].first, count_rows, &rows, &why) == 0, "%s", why);
    ck_assert_int_eq(rows, views[_i].rows);
    persist_close(&p);
    ck_assert_msg(persist_show(test_store, views[_i].view, views[_i].first, count_rows, &rows, &why) == 0, "%s", why);
    ck_assert_int_eq(rows, 2 * views[_i].rows);
}
END_TEST

START_TEST(views_speak)
{
    struct persist *p = open_as(PERSIST_CREATED);

    put_all(p);
    OK(persist_begin(p));
    OK(put_message(p, 50, "gr\xC3\xBC\xC3\x9F dich", 11));
    OK(put_queue(p, 8, 50, 50, false));
    OK(persist_commit(p));
    ck_assert_str_eq(side_text("SELECT status FROM v_session WHERE client_id = 'sensor-7'"),
                     "offline since 1970-01-01 00:00:02");
    ck_assert_str_eq(side_text("SELECT expires FROM v_session WHERE client_id = 'sensor-7'"), "1970-01-01 01:00:02");
    ck_assert_str_eq(side_text("SELECT payload FROM v_queue WHERE position = 12"), "x'0001FF78'");
    ck_assert_str_eq(side_text("SELECT payload FROM v_queue WHERE position = 50"), "gr\xC3\xBC\xC3\x9F dich");
    ck_assert_str_eq(side_text("SELECT waits_for FROM v_inflight"), "PUBREC");
    ck_assert_str_eq(side_text("SELECT published FROM v_will"), "at 1970-01-01 00:00:09");
    ck_assert_str_eq(side_text("SELECT ending FROM v_runs"), "runs, or died since");
    persist_close(&p);
}
END_TEST

START_TEST(views_are_made_anew)
{
    struct persist *p = open_as(PERSIST_CREATED);
    char *before = objects(p->db), *after;

    persist_close(&p);
    side_exec("DROP VIEW v_queue; DROP VIEW v_will; CREATE VIEW v_will AS SELECT 1");
    p = open_as(PERSIST_OPENED);
    after = objects(p->db);
    ck_assert_msg(strcmp(before, after) == 0, "views are not as before");
    free(before);
    free(after);
    persist_close(&p);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("persist schema");
    TCase *t = tcase_create("all");

    tcase_add_checked_fixture(t, make_dir, remove_dir);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, schema_file_is_current);
    tcase_add_test(t, hot_plans_only_search);
    tcase_add_loop_test(t, views_show, 0, COUNT(views));
    tcase_add_test(t, views_speak);
    tcase_add_test(t, views_are_made_anew);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return run_suite(suite());
}
