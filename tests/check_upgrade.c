/* A store that an older caddis left, taken over by this one while nobody looks: everything goes on where it stopped, and
 * the way back stays open.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "lab.h"
#include "old_store.h"
#include "suite.h"

#include <errno.h>
#include <glob.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

/* When the last message in v1-broker.sql came. */
#define THEN INT64_C(1795788183420)

static struct lab lab;
static uint64_t mono_ms;

static void make_store(const char *name)
{
    char *sql = old_store(name);

    lab_sql(&lab, sql);
    free(sql);
}

static void setup(void)
{
    lab_init(&lab, "[broker]\nsys_interval = 0\n[persistence]\ndurability = crash\ncommit_interval = 0\n");
    make_store("v1-broker.sql");
    lab_wall_ms = THEN + 59000;
    ck_assert(lab_start(&lab));
    lab_pass(&lab, 1000, 1000);
    mono_ms = lab_mono_ms;
}

static void teardown(void)
{
    lab_fini(&lab);
}

static void join(unsigned i, const char *id, uint8_t version)
{
    lab_join(&lab, i, &(struct lab_connect){ .id = id, .version = version, .expiry_s = UINT32_MAX });
    lab_settle(&lab, 50);
    ck_assert_uint_eq(lab.clients[i].got[PKT_CONNACK], 1);
}

static struct session *session(const char *id)
{
    return session_find(&lab.b->sessions, (struct view){ (const uint8_t *)id, strlen(id) });
}

/* The PUBLISH of a topic that came back. */
static struct publish got(unsigned i, const char *topic, uint8_t *head)
{
    const struct lab_client *c = &lab.clients[i];
    struct view in = { c->out, c->out_len };
    struct publish p = { .packet_id = 0 };
    struct frame f;

    while (frame_next(&in, FRAME_MAX_REMAINING, &f) == FRAME_OK)
        if (frame_type(f.head) == PKT_PUBLISH) {
            ck_assert_int_eq(publish_decode(f.head, f.body, c->version, &p), R_OK);
            *head = f.head;
            if (p.topic.len == strlen(topic) && memcmp(p.topic.p, topic, p.topic.len) == 0)
                return p;
        }
    ck_abort_msg("nothing came for %s", topic);
    return p;
}

/* ---- what goes on ---- */

static const struct { const char *topic; unsigned qos; size_t len; bool expires, subid; } queued[] = {
    { "queue/a", 1, 5, false, true }, { "queue/b", 2, 38, true, true }, { "queue/c", 1, 0, false, true },
    { "work/x", 1, 3, false, false }, { "queue/half", 2, 4, false, true },
};
enum { QUEUED_ROWS = sizeof queued / sizeof queued[0] };

START_TEST(what_waited_is_delivered)
{
    join(0, "offline", MQTT_50);
    lab_settle(&lab, 50);
    ck_assert_uint_eq(lab.clients[0].got[PKT_PUBLISH], QUEUED_ROWS);
    for (unsigned i = 0; i < QUEUED_ROWS; i++) {
        uint8_t head;
        struct publish p = got(0, queued[i].topic, &head);

        ck_assert_uint_eq(p.payload.len, queued[i].len);
        ck_assert_uint_eq(head >> 1 & 3, queued[i].qos);
        ck_assert_uint_eq(head & 8, 0);
        ck_assert_int_eq(props_has(&p.props, PROP_MESSAGE_EXPIRY), queued[i].expires);
        if (queued[i].expires)
            ck_assert_uint_le(props_num(&p.props, PROP_MESSAGE_EXPIRY, 0), 3600 - 60 + 1);
        ck_assert_uint_eq(props_num(&p.props, PROP_SUBSCRIPTION_ID, 0), queued[i].subid ? 7 : 0);
    }
    join(1, "caf\xC3\xA9-3.1", MQTT_31);
    lab_settle(&lab, 50);
    ck_assert_uint_eq(lab.clients[1].got[PKT_PUBLISH], 4);
}
END_TEST

START_TEST(what_was_under_way_goes_on)
{
    uint8_t head;
    struct publish p;

    join(0, "inflight", MQTT_311);
    ck_assert_uint_eq(lab.clients[0].got[PKT_PUBLISH], 1);
    ck_assert_uint_eq(lab.clients[0].got[PKT_PUBREL], 1);
    p = got(0, "flight/1", &head);
    ck_assert_uint_eq(p.packet_id, 1);
    ck_assert_uint_eq(head & 8, 8);
    join(1, "halfway", MQTT_311);
    lab_publish(&lab, 1, "queue/half", 4, 2, false, 77, 0);     /* again: it is known */
    lab_ack(&lab, 1, PKT_PUBREL, 77);
    lab_settle(&lab, 50);
    ck_assert_uint_eq(lab.clients[1].got[PKT_PUBREC], 1);
    ck_assert_uint_eq(lab.clients[1].got[PKT_PUBCOMP], 1);
    join(2, "offline", MQTT_50);
    lab_settle(&lab, 50);
    ck_assert_uint_eq(lab.clients[2].got[PKT_PUBLISH], QUEUED_ROWS);
}
END_TEST

START_TEST(wills_retained_messages_and_ends)
{
    ck_assert_uint_eq(lab.b->retain.count, 4);
    ck_assert_uint_eq(lab.b->sessions.count, 8);
    ck_assert_ptr_nonnull(session("leaver")->will);
    ck_assert_ptr_null(session("online")->will);                /* it was connected when the broker was killed */
    lab_pass(&lab, 530000, 10000);
    ck_assert_ptr_nonnull(session("leaver")->will);
    lab_pass(&lab, 20000, 10000);
    ck_assert_ptr_null(session("leaver")->will);
    ck_assert_uint_eq(lab.b->retain.count, 5);
    lab_pass(&lab, 301000, 10000);                              /* its will's own expiry */
    ck_assert_uint_eq(lab.b->retain.count, 4);
    lab_pass(&lab, 2670000, 10000);
    ck_assert_ptr_nonnull(session("hour"));
    lab_pass(&lab, 30000, 10000);
    ck_assert_ptr_null(session("hour"));
    ck_assert_uint_eq(lab.b->retain.count, 3);
    ck_assert_uint_eq(lab.b->sessions.count, 7);
    lab_mono_ms = mono_ms;              /* Check looks at the clock, and can't count above an hour */
}
END_TEST

/* ---- the way back ---- */

static const char *const tables[] = { "session", "ended_session", "will", "subscription", "message", "queue",
                                      "inbound_qos2", "retained", "dropped", "run" };

/* Rows that one has and the other has not. */
static int64_t differences(sqlite3 *db, const char *table)
{
    char sql[300];
    sqlite3_stmt *st;
    int64_t n;

    snprintf(sql, sizeof sql, "SELECT (SELECT count(*) FROM (SELECT * FROM main.%s EXCEPT SELECT * FROM copy.%s)) +"
             " (SELECT count(*) FROM (SELECT * FROM copy.%s EXCEPT SELECT * FROM main.%s))", table, table, table, table);
    ck_assert_msg(sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK, "%s: %s", table, sqlite3_errmsg(db));
    ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
    n = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return n;
}

START_TEST(the_copy_is_the_old_store)
{
    char pattern[128], path[128], sql[300];
    glob_t found;
    sqlite3 *db;

    lab_publish(&lab, 0, "queue/new", 1, 1, true, 1, 0);
    lab_stop(&lab);
    snprintf(pattern, sizeof pattern, "%s/s.db.v1-*Z", lab.dir);
    ck_assert_int_eq(glob(pattern, 0, NULL, &found), 0);
    ck_assert_uint_eq(found.gl_pathc, 1);
    /* As caddis(8) says: the new one goes away with its log, the copy takes its name. */
    snprintf(path, sizeof path, "%s/s.db", lab.dir);
    unlink(path);
    make_store("v1-broker.sql");
    snprintf(sql, sizeof sql, "ATTACH '%s' AS copy", found.gl_pathv[0]);
    db = lab_side(&lab, sql);
    for (unsigned i = 0; i < sizeof tables / sizeof tables[0]; i++)
        ck_assert_msg(differences(db, tables[i]) == 0, "table %s is not the same", tables[i]);
    sqlite3_close(db);
    unlink(path);
    ck_assert_int_eq(rename(found.gl_pathv[0], path), 0);
    globfree(&found);
    ck_assert(lab_start(&lab));
    ck_assert_uint_eq(lab.b->sessions.count, 8);
    ck_assert_uint_eq(lab.b->retain.count, 4);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("upgrade");
    TCase *t = tcase_create("upgrade");

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, what_waited_is_delivered);
    tcase_add_test(t, what_was_under_way_goes_on);
    tcase_add_test(t, wills_retained_messages_and_ends);
    tcase_add_test(t, the_copy_is_the_old_store);
    return run_suite(s);
}
