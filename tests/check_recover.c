/* What the broker makes of a store in which somebody has had a hand between two runs.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "lab.h"
#include "suite.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { AWAY, PUB, QUEUED_MESSAGES = 120 };

static const struct lab_connect away = { .id = "away", .version = MQTT_50, .expiry_s = UINT32_MAX };
static const struct lab_connect pub = { .id = "pub", .version = MQTT_311, .clean = true };

static struct lab lab;

static void come(unsigned i, const struct lab_connect *p)
{
    lab_join(&lab, i, p);
    lab_settle(&lab, 10);
}

static void setup(void)
{
    lab_init(&lab, "[persistence]\ndurability = crash\n");
    ck_assert(lab_start(&lab));
    come(AWAY, &away);
    lab_subscribe(&lab, AWAY, "q/#", 1, 1);
    lab_settle(&lab, 10);
    lab_disconnect(&lab, AWAY);
    lab_settle(&lab, 10);
}

static void teardown(void)
{
    lab_check_store(&lab, false);
    lab_fini(&lab);
}

/* Queued messages for the one who is away, and one that is retained. */
static void publish(unsigned n)
{
    come(PUB, &pub);
    for (unsigned k = 0; k < n; k++)
        lab_publish(&lab, PUB, k % 2 == 0 ? "q/even" : "q/odd", 10, 1, false, (uint16_t)(k + 1), 0);
    lab_publish(&lab, PUB, "r", 10, 1, true, 1000, 0);
    lab_settle(&lab, 10);
    lab_pass(&lab, 100, 50);
}

/* Runs the SQL on the store while no broker does. */
static void restart_with(const char *sql)
{
    lab_stop(&lab);
    lab_sql(&lab, sql);
    ck_assert(lab_start(&lab));
}

/* Fetches everything; PUBLISHes that came. */
static unsigned fetch(void)
{
    unsigned got = 0;

    come(AWAY, &away);
    for (unsigned n = 0; n < 20; n++) {
        lab_settle(&lab, 20);
        got += lab.clients[AWAY].got[PKT_PUBLISH];
        lab_ack_all(&lab, AWAY);
    }
    return got;
}

/* lab.strict aborts at a packet that no server may send, so what is asked for here is that the others come. */
static const struct { const char *name, *sql; } rows[] = {
    { "rubbish for properties", "UPDATE message SET properties = x'6162636465' WHERE topic = 'q/odd'" },
    { "cut properties", "UPDATE message SET properties = x'0800054162' WHERE topic = 'q/odd'" },
    { "a property that the sender adds", "UPDATE message SET properties = x'0b07' WHERE topic = 'q/odd'" },
    { "an alias", "UPDATE message SET properties = x'230001' WHERE topic = 'q/odd'" },
    { "payload that is not the text it says",
      "UPDATE message SET properties = x'0101', payload = x'ff' WHERE topic = 'q/odd'" },
    { "a topic with wildcards", "UPDATE message SET topic = 'q/#' WHERE topic = 'q/odd'" },
    { "an empty topic", "UPDATE message SET topic = '' WHERE topic = 'q/odd'" },
    { "rubbish for subscription identifiers",
      "UPDATE queue SET subscription_identifiers = x'ffff' WHERE message_id IN (SELECT message_id FROM message"
      " WHERE topic = 'q/odd')" },
    { "another property in their place",
      "UPDATE queue SET subscription_identifiers = x'0101' WHERE message_id IN (SELECT message_id FROM message"
      " WHERE topic = 'q/odd')" },
};

START_TEST(rules_of_mqtt_hold_for_stored_messages)
{
    publish(QUEUED_MESSAGES);
    restart_with(rows[_i].sql);
    ck_assert_msg(fetch() == QUEUED_MESSAGES / 2, "%s", rows[_i].name);
    ck_assert_msg(lab.clients[AWAY].c != NULL, "%s", rows[_i].name);
}
END_TEST

/* States that the QoS does not have: the message comes, and the window does not stay closed for it. */
START_TEST(state_without_its_qos)
{
    publish(QUEUED_MESSAGES);
    restart_with(_i == 0 ? "UPDATE queue SET qos = 0, state = 1, packet_id = position"
                         : "UPDATE queue SET qos = 1, state = 2, packet_id = position");
    ck_assert_uint_eq(fetch(), QUEUED_MESSAGES);
    ck_assert_uint_eq(session_find(&lab.b->sessions, (struct view){ (const uint8_t *)"away", 4 })->flow->inflight, 0);
}
END_TEST

/* More rows in a row than a page has are skipped, and what comes after them still arrives. */
START_TEST(pages_of_nothing_but_bad_rows)
{
    publish(QUEUED_MESSAGES);
    restart_with("UPDATE message SET topic = '+' WHERE message_id IN (SELECT message_id FROM queue ORDER BY position"
                 " LIMIT 110)");
    ck_assert_uint_eq(fetch(), QUEUED_MESSAGES - 110);
    lab_publish(&lab, AWAY, "q/new", 1, 0, false, 0, 0);
    lab_settle(&lab, 10);
    ck_assert_uint_eq(lab.clients[AWAY].got[PKT_PUBLISH], 1);
}
END_TEST

/* What was left alone is neither lost nor in the way. */
START_TEST(store_stays_as_it_should_be)
{
    publish(QUEUED_MESSAGES);
    lab_check_store(&lab, true);
    restart_with("UPDATE message SET topic = '#' WHERE topic = 'q/odd'");
    ck_assert_uint_eq(fetch(), QUEUED_MESSAGES / 2);
    lab_check_store(&lab, false);
    restart_with("UPDATE message SET topic = 'q/odd' WHERE topic = '#'");
    ck_assert_uint_eq(fetch(), QUEUED_MESSAGES / 2);
    lab_check_store(&lab, true);
}
END_TEST

/* Numbers that leave no room for new ones, or are none. Whoever comes afterwards gets one of its own. */
static const char *const numbers[] = {
    "UPDATE session SET session_id = 9223372036854775807, client_id = 'later'",
    "UPDATE session SET session_id = 4611686018427387903",      /* the largest that is one */
    "UPDATE session SET session_id = 2305843009213693952",
    "UPDATE queue SET position = 4611686018427387903 WHERE position = (SELECT max(position) FROM queue)",
    "UPDATE queue SET position = 2305843009213693952 WHERE position = (SELECT max(position) FROM queue)",
    "UPDATE session SET session_id = 0, client_id = 'later'",
    "UPDATE session SET session_id = -5, client_id = 'later'",
    "UPDATE queue SET position = 9223372036854775807 WHERE position = (SELECT max(position) FROM queue)",
    "UPDATE queue SET message_id = 9223372036854775807; UPDATE message SET message_id = 9223372036854775807 WHERE"
    " message_id = (SELECT max(message_id) FROM message)",
    "UPDATE retained SET retained_id = 9223372036854775807",
    "UPDATE session SET resend_to = 9223372036854775807",
    "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'STRICT, ', '') WHERE name IN"
    " ('subscription', 'queue', 'inbound_qos2'); PRAGMA writable_schema = RESET;"
    "INSERT INTO subscription VALUES ('x', 'y', 0, 0, 0, 0, NULL); "
    "INSERT INTO queue (session_id, position, message_id, qos, retain, state, shared, bytes)"
    " VALUES ('x', 'y', 'z', 0, 0, 0, 0, 0)",
};

START_TEST(there_is_always_a_next_number)
{
    static const struct lab_connect later = { .id = "later", .version = MQTT_50, .expiry_s = 1000 };

    publish(3);
    restart_with(numbers[_i]);
    come(2, &later);
    lab_subscribe(&lab, 2, "q/#", 1, 1);
    lab_settle(&lab, 10);
    lab_disconnect(&lab, 2);
    publish(3);
    lab_check_store(&lab, false);
    lab_kill(&lab);
    ck_assert(lab_start(&lab));
    come(2, &later);
    ck_assert_uint_eq(lab.clients[2].got[PKT_PUBLISH], 3);
    lab_ack_all(&lab, 2);
}
END_TEST

/* A row that was pushed behind all that will ever come is not delivered, and what comes is, in order. */
START_TEST(a_row_behind_all_others)
{
    static const char *const positions[] = { "2305843009213693953", "4611686018427387903", "9223372036854775807" };
    char sql[200];

    snprintf(sql, sizeof sql, "UPDATE queue SET position = %s WHERE position = (SELECT min(position) FROM queue)",
             positions[_i]);
    publish(5);
    restart_with(sql);
    publish(2);
    ck_assert_uint_eq(fetch(), 4 + 2);
    lab_disconnect(&lab, AWAY);
    publish(3);
    lab_kill(&lab);
    ck_assert(lab_start(&lab));
    publish(3);
    ck_assert_uint_eq(fetch(), 3 + 3);
}
END_TEST

/* A session that is there is not deleted because something says that it has ended. */
START_TEST(ended_and_alive)
{
    publish(QUEUED_MESSAGES);
    restart_with("INSERT INTO ended_session SELECT session_id FROM session");
    lab_pass(&lab, 20000, 1000);
    ck_assert_uint_eq(fetch(), QUEUED_MESSAGES);
    lab_check_store(&lab, false);
    lab_stop(&lab);
    ck_assert(lab_start(&lab));
    ck_assert_ptr_nonnull(session_find(&lab.b->sessions, (struct view){ (const uint8_t *)"away", 4 }));
}
END_TEST

/* Overwrites the root page of a table. */
static void damage(const char *table)
{
    char path[128], sql[100], page[4096];
    sqlite3 *db = lab_side(&lab, "");
    sqlite3_stmt *st;
    int64_t root;
    int fd;

    snprintf(path, sizeof path, "%s/s.db", lab.dir);
    snprintf(sql, sizeof sql, "SELECT rootpage FROM sqlite_schema WHERE name = '%s'", table);
    ck_assert_int_eq(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
    root = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    memset(page, 'x', sizeof page);
    fd = open(path, O_WRONLY);
    ck_assert_int_eq(pwrite(fd, page, sizeof page, (root - 1) * (int64_t)sizeof page), sizeof page);
    close(fd);
}

/* Too large to be checked at each start, and damaged where a start reads: after sessions, and after nearly all. */
START_TEST(large_and_damaged)
{
    publish(QUEUED_MESSAGES);
    restart_with("INSERT INTO retained (retained_id, received_at, qos, topic, payload)"
                 " VALUES (999, 1, 0, 'large', zeroblob(9437184))");
    ck_assert_uint_eq(lab.b->retain.count, 2);
    lab_stop(&lab);
    damage(_i == 0 ? "subscription" : "ended_session");
    ck_assert(lab_start(&lab));
    ck_assert_uint_eq(lab.b->retain.count, 2);
    ck_assert_uint_eq(lab.b->sessions.count, 1);
    ck_assert_uint_eq(lab.b->subs.count, _i == 0 ? 0 : 1);
    ck_assert_uint_eq(fetch(), QUEUED_MESSAGES);
    lab_check_store(&lab, true);
}
END_TEST

/* PUBLISHes with DUP among what has come and was not looked at yet. */
static unsigned with_dup(unsigned i)
{
    struct view in = { lab.clients[i].out, lab.clients[i].out_len };
    struct frame f;
    unsigned n = 0;

    while (in.len > 0 && frame_next(&in, FRAME_MAX_REMAINING, &f) == FRAME_OK)
        n += frame_type(f.head) == PKT_PUBLISH && (f.head & 8) != 0;
    return n;
}

/* Once nothing is stored any more, a start counts from 1 again: what was sent before is not what has these numbers. */
START_TEST(numbers_begin_anew)
{
    publish(QUEUED_MESSAGES);
    come(AWAY, &away);
    lab_pass(&lab, 100, 50);
    lab_kill(&lab);
    ck_assert(lab_start(&lab));
    come(AWAY, &away);
    lab_settle(&lab, 20);
    ck_assert_uint_gt(with_dup(AWAY), 0);
    for (unsigned n = 0; n < 20; n++) {
        lab_ack_all(&lab, AWAY);
        lab_settle(&lab, 20);
    }
    lab_disconnect(&lab, AWAY);
    lab_pass(&lab, 6000, 500);
    for (unsigned restarts = 0; restarts < 2; restarts++) {
        lab_stop(&lab);
        ck_assert(lab_start(&lab));
        if (restarts == 0)
            publish(10);
    }
    come(AWAY, &away);
    lab_settle(&lab, 20);
    ck_assert_uint_eq(lab.clients[AWAY].got[PKT_PUBLISH], 10);
    ck_assert_uint_eq(with_dup(AWAY), 0);
}
END_TEST

START_TEST(retained_and_will)
{
    const struct lab_connect with_will = { .id = "w", .version = MQTT_50, .expiry_s = 1000, .will_topic = "q/will",
                                           .will_delay_s = 60 };

    publish(0);
    come(2, &with_will);
    restart_with("UPDATE retained SET properties = x'6162636465'; UPDATE will SET properties = x'6162636465'");
    ck_assert_uint_eq(lab.b->retain.count, 0);
    ck_assert_ptr_null(session_find(&lab.b->sessions, (struct view){ (const uint8_t *)"w", 1 })->will);
}
END_TEST

/* The last client goes, and nothing else happens for years: what is still to be written must wake the broker. */
START_TEST(a_quiet_broker_writes_what_is_left)
{
    int wait_ms;

    lab_pass(&lab, 100000, 1000);
    come(AWAY, &away);
    lab_pass(&lab, 100000, 1000);
    lab_disconnect(&lab, AWAY);
    lab_turn(&lab);
    ck_assert_ptr_null(lab.clients[AWAY].c);
    wait_ms = wheel_wait_ms(&lab.b->wheel, lab_mono_ms);
    ck_assert_int_ge(wait_ms, 0);
    ck_assert_int_le(wait_ms, 5000);
    lab_pass(&lab, 5000, 5000);
    ck_assert(!lab.b->journal.lazy);
    /* The same after a start: its connection ended with the broker. */
    come(AWAY, &away);
    lab_publish(&lab, AWAY, "r", 1, 1, true, 1, 0);         /* a commit, which takes its being there along */
    lab_pass(&lab, 100, 50);
    lab_kill(&lab);
    ck_assert(lab_start(&lab));
    ck_assert(lab.b->journal.lazy);
    wait_ms = wheel_wait_ms(&lab.b->wheel, lab_mono_ms);
    ck_assert_int_ge(wait_ms, 0);
    ck_assert_int_le(wait_ms, 5000);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("recover");
    TCase *t = tcase_create("all");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, rules_of_mqtt_hold_for_stored_messages, 0, (int)(sizeof rows / sizeof rows[0]));
    tcase_add_loop_test(t, state_without_its_qos, 0, 2);
    tcase_add_test(t, pages_of_nothing_but_bad_rows);
    tcase_add_test(t, store_stays_as_it_should_be);
    tcase_add_loop_test(t, there_is_always_a_next_number, 0, (int)(sizeof numbers / sizeof numbers[0]));
    tcase_add_loop_test(t, a_row_behind_all_others, 0, 3);
    tcase_add_test(t, ended_and_alive);
    tcase_add_loop_test(t, large_and_damaged, 0, 2);
    tcase_add_test(t, numbers_begin_anew);
    tcase_add_test(t, retained_and_will);
    tcase_add_test(t, a_quiet_broker_writes_what_is_left);
    suite_add_tcase(s, t);
    return run_suite(s);
}
