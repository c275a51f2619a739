/* Stores of older versions: the steps to this one, and what becomes of every row.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "check_persist.h"
#include "old_store.h"
#include "persist/db.h"
#include "persist/schema.h"

#include <errno.h>

static void note_progress(void *arg, const char *what, uint64_t done, uint64_t total);

static const struct persist_options plain = { .path = test_store, .progress = note_progress };
static const struct persist_options salvaging = { .path = test_store, .salvage = true };

/* ---- the mechanism ---- */

static const struct schema_step steps[] = {
    { 12, "CREATE TABLE third (x) STRICT" },
    { 11, "ALTER TABLE session ADD COLUMN color TEXT; UPDATE session SET color = 'blue'" },
    { 13, "THIS IS WRONG" },
};

static void count_step(void *arg, unsigned done, unsigned total)
{
    ck_assert_uint_lt(done, total);
    ++*(unsigned *)arg;
}

static struct persist *open_at(int version)
{
    struct persist *p = open_as(PERSIST_CREATED);
    char sql[64];

    fill(p, 1, 1);
    snprintf(sql, sizeof sql, "PRAGMA user_version = %d", version);
    ck_assert_int_eq(sqlite3_exec(p->db, sql, NULL, NULL, NULL), 0);
    return p;
}

START_TEST(steps_are_taken)
{
    struct persist *p = open_at(11);
    unsigned n = 0;

    ck_assert_int_eq(sqlite3_exec(p->db, "CREATE TABLE third (x ANY) STRICT; DROP TABLE third", NULL, NULL, NULL), 0);
    ck_assert_int_ne(schema_migrate(p->db, steps, 3, 14, count_step, &n), SQLITE_OK);
    persist_close(&p);
    /* The step that failed left nothing behind, nor did it take the ones before with it. */
    ck_assert_int_eq(side_int("PRAGMA user_version"), 12);
    ck_assert_str_eq(side_text("SELECT color FROM session"), "blue");
    ck_assert_uint_eq(n, 2);
}
END_TEST

START_TEST(way_must_be_known)
{
    struct persist *p = open_at(11);

    ck_assert_int_eq(schema_migrate(p->db, steps, 1, 13, NULL, NULL), SQLITE_MISMATCH);
    ck_assert_int_eq(schema_migrate(p->db, steps, 3, 11, NULL, NULL), SQLITE_OK);
    persist_close(&p);
    /* Version 0 never was: a copy is made, and then it is refused. */
    side_exec("PRAGMA user_version = 0");
    refused(&plain, "as it was is in", ".v0-", NULL);
    ck_assert_uint_eq(count_files("caddis.db.v0-", NULL), 1);
}
END_TEST

/* ---- real ones ---- */

static unsigned copying, stepping;

static void note_progress(void *arg, const char *what, uint64_t done, uint64_t total)
{
    (void)arg;
    ck_assert_uint_gt(total, 0);
    if (strstr(what, "copying") != NULL && stepping == 0)
        copying++;
    else if (strstr(what, "up to date") != NULL && done < total)
        stepping++;
    else
        ck_abort_msg("%s done=%d total=%d", what, (int)done, (int)total);
}

static void make_old(const char *name)
{
    char *sql = old_store(name);

    side_exec(sql);
    free(sql);
}

/* Columns of all tables, in their order: what statements rely on, but for comments. */
static const char columns[] =
    "SELECT group_concat(t.name || '.' || c.name || c.type || c.\"notnull\" || c.pk || ifnull(c.dflt_value, ''))"
    " FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table' ORDER BY t.rowid, c.cid";

static const struct { const char *sql, *want; } v1_rows[] = {
    { "SELECT group_concat(bytes) FROM (SELECT bytes FROM queue ORDER BY session_id, position)", "12,3,100003,12,0,0" },
    { "SELECT count(*) FROM queue WHERE session_id = 7 AND position = 12 AND message_id = 11 AND qos = 2 AND retain"
      " AND state = 1 AND packet_id = 65535 AND shared AND subscription_identifiers = x'0B01'", "1" },
    { "SELECT group_concat(message_id || topic || length(payload)) FROM message", "11gr\xC3\xBCn4,14a/b0,15a/b100000" },
    { "SELECT group_concat(client_id) FROM (SELECT client_id FROM session ORDER BY session_id)",
      "sensor-7,caf\xC3\xA9" },
    { "SELECT topic_filter FROM subscription WHERE subscription_identifier = 268435455", "$share/g/a/#" },
    { "SELECT hex(properties) FROM will WHERE publish_at = 9000", "0001" },
    { "SELECT packet_id FROM inbound_qos2", "65535" },
    { "SELECT hex(payload) FROM retained WHERE topic = '0123'", "0001FF78" },
    { "SELECT messages FROM dropped WHERE client_id = 'sensor-7'", "7" },
    { "SELECT session_id FROM ended_session", "9" },
    { "SELECT group_concat(version || previous_ending) FROM run", "0.9first" },
    { "SELECT bytes FROM v_session WHERE client_id = 'sensor-7'", "100018" },
    { "PRAGMA user_version", "2" },
    { "PRAGMA integrity_check", "ok" },
};

START_TEST(version_1)
{
    struct persist *p = open_as(PERSIST_CREATED);
    char copy[512], *made;

    persist_close(&p);
    made = strdup(side_text(columns));
    remove_dir();
    make_dir();
    make_old("v1.sql");
    p = open_with(&plain, PERSIST_OPENED);
    ck_assert_uint_ge(copying, 1);
    ck_assert_uint_ge(stepping, 1);
    ck_assert_int_eq(test_info.migrated_from, 1);
    ck_assert_uint_eq(count_files("caddis.db.v1-", copy), 1);
    ck_assert_str_eq(copy, test_info.backup);
    for (unsigned i = 0; i < sizeof v1_rows / sizeof v1_rows[0]; i++) {
        const char *got = side_text(v1_rows[i].sql);
        ck_assert_msg(strcmp(got, v1_rows[i].want) == 0, "%s: %s", v1_rows[i].sql, got);
    }
    ck_assert_str_eq(side_text(columns), made);
    persist_close(&p);
    free(made);
    /* The copy is what was there. */
    ck_assert_int_eq(rename(copy, test_store), 0);
    ck_assert_int_eq(side_int("PRAGMA user_version"), 1);
    ck_assert_int_eq(side_int("SELECT count(*) FROM pragma_table_info('queue') WHERE name = 'bytes'"), 0);
    ck_assert_int_eq(side_int("SELECT count(*) FROM queue"), 6);
    p = open_as(PERSIST_OPENED);
    persist_close(&p);
}
END_TEST

/* One that is damaged: refused, or what can be read of it comes along. */
START_TEST(version_1_damaged)
{
    struct persist *p;
    FILE *f;
    int64_t page;

    make_old("v1.sql");
    page = side_int("SELECT rootpage FROM sqlite_schema WHERE name = 'subscription'");
    f = fopen(test_store, "r+");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fseek(f, (long)(page - 1) * 4096, SEEK_SET), 0);
    for (int i = 0; i < 4096; i++)
        putc('x', f);
    fclose(f);
    refused(&plain, "damaged", NULL);
    ck_assert_uint_eq(count_files("caddis.db.v1-", NULL), 0);
    ck_assert_int_eq(side_int("PRAGMA user_version"), 1);
    p = open_with(&salvaging, PERSIST_SALVAGED);
    persist_close(&p);
    ck_assert_str_eq(side_text("SELECT group_concat(position || ':' || bytes) FROM queue"),
                     "12:12,14:3,15:100003,13:12");
    ck_assert_int_eq(side_int("SELECT count(*) FROM retained"), 1);
    ck_assert_int_eq(side_int("PRAGMA user_version"), SCHEMA_VERSION);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("persist migrate");
    TCase *t = tcase_create("all");

    tcase_add_checked_fixture(t, make_dir, remove_dir);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, steps_are_taken);
    tcase_add_test(t, way_must_be_known);
    tcase_add_test(t, version_1);
    tcase_add_test(t, version_1_damaged);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return run_suite(suite());
}
