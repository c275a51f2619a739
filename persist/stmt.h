/* Every statement of the store in one table, and what runs them. A statement is prepared when it is first needed
 * and kept; it is reset before the function that stepped it returns, because an open SELECT keeps the WAL from
 * being reset.
 *
 * Binding is SQLITE_STATIC throughout: what is bound lives until the reset in the same call.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_PERSIST_STMT_H
#define CADDIS_PERSIST_STMT_H

#include "persist/persist.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A number above this is no id of ours: it would leave no room for new ones. ("<=" also rules out text, which a table
 * that somebody has made anew may hold, and which is larger than every number.) */
#define ROW_ID_MAX      INT64_C(4611686018427387903)
#define ROW_ID_MAX_TEXT "4611686018427387903"

/* The same for times: the year 5138. */
#define ROW_MS_MAX      INT64_C(100000000000000)
#define ROW_MS_MAX_TEXT "100000000000000"
/* A time that the clock's move must not take out of what is a time; NULL stays. */
#define MOVED(column) "max(1, min(" ROW_MS_MAX_TEXT ", " column " + ?2))"

/* What makes a queue row fit to be delivered (?1: the store's position_max); give_queued() in queue.c says the same
 * in C. */
#define QUEUE_FIT \
    "(q.position BETWEEN 1 AND ?1 AND " QUEUE_MESSAGE_ID \
    " AND q.qos BETWEEN 0 AND 2 AND q.retain BETWEEN 0 AND 1" \
    " AND q.state BETWEEN 0 AND 2 AND q.shared BETWEEN 0 AND 1" \
    " AND (q.packet_id BETWEEN 1 AND 65535 OR q.packet_id IS NULL AND q.state = 0))"

/* A message was stored at the latest with its first row, and numbers grow: max(position) covers both. */
#define QUEUE_MESSAGE_ID "q.message_id BETWEEN 1 AND q.position"
/* No rule but a hint: a row is worth delivering whatever it says here. */
#define QUEUE_BYTES "min(max(q.bytes, 0), 4294967295)"
#define MESSAGE_COLUMNS \
    "m.received_at, m.expires_at, m.qos, m.retain, m.publisher, m.publisher_user, m.topic, m.properties"
#define RETAINED_COLUMNS \
    "r.received_at, r.expires_at, r.qos, 1, r.publisher, r.publisher_user, r.topic, r.properties"
#define KNOWN(t) "EXISTS (SELECT 1 FROM session s WHERE s.session_id = " t ".session_id)"

/* kind: HOT runs per message or acknowledgement, so its plan must be all SEARCH; COLD may scan.
 *
 * The unique columns client_id and topic are left out of the UPDATE branches: a column that is set is a column whose
 * index is rewritten, and it does not change for an id. "AND shared" must stand literally for the partial index.
 *
 *    name            kind  SQL */
#define PERSIST_STATEMENTS(X) \
    X(BEGIN,          HOT,  "BEGIN IMMEDIATE") \
    X(COMMIT,         HOT,  "COMMIT") \
    X(ROLLBACK,       HOT,  "ROLLBACK") \
    X(SESSION_PUT,    HOT,  "INSERT INTO session (session_id, client_id, protocol_version, username, expiry_interval," \
                            " connected_at, disconnected_at, resend_to) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)" \
                            " ON CONFLICT (session_id) DO UPDATE SET protocol_version = ?3, username = ?4," \
                            " expiry_interval = ?5, connected_at = ?6, disconnected_at = ?7, resend_to = ?8" \
                            " WHERE client_id = ?2") \
    X(SESSION_ID,     HOT,  "SELECT session_id FROM session WHERE client_id = ?1") \
    X(SESSION_DEL,    HOT,  "DELETE FROM session WHERE session_id = ?1") \
    X(ENDED_PUT,      HOT,  "INSERT INTO ended_session (session_id) VALUES (?1) ON CONFLICT DO NOTHING") \
    X(ENDED_DEL,      HOT,  "DELETE FROM ended_session WHERE session_id = ?1") \
    X(WILL_PUT,       HOT,  "INSERT INTO will (session_id, topic, qos, retain, delay_interval, publish_at," \
                            " expiry_interval, properties, payload) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)" \
                            " ON CONFLICT (session_id) DO UPDATE SET topic = ?2, qos = ?3, retain = ?4," \
                            " delay_interval = ?5, publish_at = ?6, expiry_interval = ?7, properties = ?8," \
                            " payload = ?9") \
    X(WILL_DEL,       HOT,  "DELETE FROM will WHERE session_id = ?1") \
    X(SUB_PUT,        HOT,  "INSERT INTO subscription (session_id, topic_filter, qos, no_local, retain_as_published," \
                            " retain_handling, subscription_identifier) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)" \
                            " ON CONFLICT (session_id, topic_filter) DO UPDATE SET qos = ?3, no_local = ?4," \
                            " retain_as_published = ?5, retain_handling = ?6, subscription_identifier = ?7") \
    X(SUB_DEL,        HOT,  "DELETE FROM subscription WHERE session_id = ?1 AND topic_filter = ?2") \
    X(SUB_CLEAR,      HOT,  "DELETE FROM subscription WHERE session_id = ?1") \
    X(INBOUND_PUT,    HOT,  "INSERT INTO inbound_qos2 (session_id, packet_id) VALUES (?1, ?2) ON CONFLICT DO NOTHING") \
    X(INBOUND_DEL,    HOT,  "DELETE FROM inbound_qos2 WHERE session_id = ?1 AND packet_id = ?2") \
    X(INBOUND_CLEAR,  HOT,  "DELETE FROM inbound_qos2 WHERE session_id = ?1") \
    X(MESSAGE_PUT,    HOT,  "INSERT INTO message (message_id, received_at, expires_at, qos, retain, publisher," \
                            " publisher_user, topic, properties, payload)" \
                            " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (message_id) DO NOTHING") \
    X(MESSAGE_DEL,    HOT,  "DELETE FROM message WHERE message_id = ?1") \
    X(MESSAGE_LEAVE,  HOT,  "DELETE FROM message WHERE message_id = ?1" \
                            " AND NOT EXISTS (SELECT 1 FROM queue WHERE message_id = ?1 AND shared)") \
    X(QUEUE_PUT,      HOT,  "INSERT INTO queue (session_id, position, message_id, qos, retain, state, packet_id," \
                            " shared, subscription_identifiers, bytes)" \
                            " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)" \
                            " ON CONFLICT (session_id, position) DO UPDATE SET state = ?6, packet_id = ?7") \
    X(QUEUE_STATE,    HOT,  "UPDATE queue SET state = ?3, packet_id = ?4 WHERE session_id = ?1 AND position = ?2") \
    X(QUEUE_DEL,      HOT,  "DELETE FROM queue WHERE session_id = ?1 AND position = ?2") \
    X(QUEUE_UPTO,     HOT,  "DELETE FROM queue WHERE session_id = ?1 AND position <= ?2") \
    X(QUEUE_SLICE,    HOT,  "SELECT position, message_id, shared FROM queue WHERE session_id = ?1" \
                            " AND position <= ?3 ORDER BY position LIMIT ?2") \
    X(FILTERS,        HOT,  "SELECT topic_filter FROM subscription WHERE session_id = ?1") \
    X(QUEUE_OLDEST,   HOT,  "SELECT q.position, q.message_id, q.shared, " QUEUE_BYTES " FROM queue q" \
                            " WHERE q.session_id = ?2 AND q.state = 0 AND " QUEUE_FIT " ORDER BY q.position LIMIT 1") \
    X(QUEUE_PAGE,     HOT,  "SELECT " MESSAGE_COLUMNS ", m.payload, q.position, q.message_id, q.qos, q.retain," \
                            " q.state, q.packet_id, q.shared, q.subscription_identifiers, " QUEUE_BYTES "," \
                            " m.message_id" \
                            " FROM queue q LEFT JOIN message m ON m.message_id = q.message_id" \
                            " WHERE q.session_id = ?1 AND q.position > ?2 ORDER BY q.position") \
    X(RETAINED_PUT,   HOT,  "INSERT INTO retained (retained_id, received_at, expires_at, qos, publisher," \
                            " publisher_user, topic, properties, payload) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)" \
                            " ON CONFLICT (retained_id) DO UPDATE SET received_at = ?2, expires_at = ?3, qos = ?4," \
                            " publisher = ?5, publisher_user = ?6, properties = ?8, payload = ?9 WHERE topic = ?7") \
    X(RETAINED_DEL,   HOT,  "DELETE FROM retained WHERE retained_id = ?1") \
    X(RETAINED_UNSET, HOT,  "DELETE FROM retained WHERE topic = ?1") \
    X(RETAINED_GET,   HOT,  "SELECT " RETAINED_COLUMNS ", r.payload, r.retained_id, length(r.payload)" \
                            " FROM retained r WHERE r.retained_id = ?1") \
    X(DROPPED_ADD,    HOT,  "INSERT INTO dropped (client_id, reason, messages, first_at, last_at, last_topic)" \
                            " VALUES (?1, ?2, ?3, ?4, ?4, ?5) ON CONFLICT (client_id, reason) DO UPDATE SET" \
                            " messages = messages + ?3, last_at = ?4, last_topic = ?5") \
    X(DROPPED_TRIM,   COLD, "DELETE FROM dropped WHERE (client_id, reason) IN" \
                            " (SELECT client_id, reason FROM dropped ORDER BY last_at DESC LIMIT -1 OFFSET ?1)") \
    X(EACH_SESSION,   COLD, "SELECT session_id, client_id, protocol_version, username, expiry_interval, connected_at," \
                            " disconnected_at, resend_to FROM session") \
    X(EACH_ENDED,     COLD, "SELECT e.session_id, " KNOWN("e") " FROM ended_session e") \
    X(EACH_WILL,      COLD, "SELECT w.session_id, w.topic, w.qos, w.retain, w.delay_interval, w.publish_at," \
                            " w.expiry_interval, w.properties, w.payload, " KNOWN("w") " FROM will w") \
    X(EACH_SUB,       COLD, "SELECT u.session_id, u.topic_filter, u.qos, u.no_local, u.retain_as_published," \
                            " u.retain_handling, u.subscription_identifier, " KNOWN("u") " FROM subscription u WHERE " \
                            KNOWN("u") " OR u.session_id NOT IN (SELECT session_id FROM ended_session)") \
    X(EACH_INBOUND,   COLD, "SELECT i.session_id, i.packet_id, " KNOWN("i") " FROM inbound_qos2 i") \
    X(EACH_RETAINED,  COLD, "SELECT " RETAINED_COLUMNS ", CASE WHEN length(r.payload) <= ?1 THEN r.payload END," \
                            " r.retained_id, CASE typeof(r.payload) WHEN 'blob' THEN length(r.payload) END" \
                            " FROM retained r") \
    X(EACH_SUMMARY,   COLD, "SELECT t.*, " KNOWN("t") ", EXISTS (SELECT 1 FROM ended_session e" \
                            " WHERE e.session_id = t.session_id) FROM (SELECT q.session_id, count(*)," \
                            " sum(q.state > 0), sum(CASE q.state WHEN 0 THEN " QUEUE_BYTES " ELSE 0 END)," \
                            " min(q.position), max(q.position) FROM queue q WHERE " QUEUE_FIT \
                            " GROUP BY q.session_id) t") \
    X(COUNT_QUEUE,    COLD, "SELECT count(*) FROM queue") \
    X(MAX_SESSION,    COLD, "SELECT max(id) FROM (SELECT max(session_id) AS id FROM session WHERE session_id <= ?1" \
                            " UNION ALL SELECT max(session_id) FROM ended_session WHERE session_id <= ?1" \
                            " UNION ALL SELECT max(session_id) FROM queue WHERE session_id <= ?1" \
                            " UNION ALL SELECT max(session_id) FROM subscription WHERE session_id <= ?1" \
                            " UNION ALL SELECT max(session_id) FROM will WHERE session_id <= ?1" \
                            " UNION ALL SELECT max(session_id) FROM inbound_qos2 WHERE session_id <= ?1)") \
    X(MAX_QUEUE,      COLD, "WITH RECURSIVE t(id) AS (SELECT min(session_id) FROM queue UNION ALL SELECT" \
                            " (SELECT min(session_id) FROM queue WHERE session_id > id) FROM t WHERE id IS NOT NULL)" \
                            " SELECT max((SELECT max(position) FROM queue WHERE session_id = id AND position <= ?1))" \
                            " FROM t UNION ALL SELECT max(message_id) FROM message WHERE message_id <= ?1") \
    X(MAX_RETAINED,   COLD, "SELECT max(retained_id) FROM retained WHERE retained_id <= ?1") \
    X(MAX_TIME,       COLD, "SELECT max(at) FROM (SELECT received_at AS at FROM" \
                            " (SELECT received_at FROM message ORDER BY message_id DESC LIMIT 100)" \
                            " UNION ALL SELECT received_at FROM retained" \
                            " UNION ALL SELECT connected_at FROM session" \
                            " UNION ALL SELECT disconnected_at FROM session" \
                            " UNION ALL SELECT last_at FROM dropped" \
                            " UNION ALL SELECT started_at FROM run UNION ALL SELECT ended_at FROM run)" \
                            " WHERE at BETWEEN 0 AND ?1") \
    X(LAST_RUN,       COLD, "SELECT run_id, ended_at, boot_id, booted_at, clock_since, newest_before FROM run" \
                            " ORDER BY run_id DESC LIMIT 1") \
    X(RUN_END,        COLD, "UPDATE run SET ended_at = ifnull(booted_at + ?4, ?2), ending = ?3" \
                            " WHERE run_id = ?1 AND ending IS NULL") \
    X(RUN_PUT,        COLD, "INSERT INTO run (run_id, version, sqlite_version, boot_id, pid, started_at," \
                            " previous_ending, sessions, subscriptions, queued, retained, expired, start_ms," \
                            " booted_at, clock_since, newest_before)" \
                            " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)") \
    X(MOVE_WILL,      COLD, "UPDATE will SET publish_at = " MOVED("publish_at") " WHERE session_id IN" \
                            " (SELECT session_id FROM session WHERE disconnected_at >= ?1)") \
    X(MOVE_CONNECTED, COLD, "UPDATE session SET connected_at = " MOVED("connected_at") \
                            " WHERE connected_at >= ?1") \
    X(MOVE_GONE,      COLD, "UPDATE session SET disconnected_at = " MOVED("disconnected_at") \
                            " WHERE disconnected_at >= ?1") \
    X(MOVE_MESSAGE,   COLD, "UPDATE message SET received_at = " MOVED("received_at") \
                            ", expires_at = " MOVED("expires_at") " WHERE received_at >= ?1") \
    X(MOVE_RETAINED,  COLD, "UPDATE retained SET received_at = " MOVED("received_at") \
                            ", expires_at = " MOVED("expires_at") " WHERE received_at >= ?1") \
    X(MOVE_DROPPED,   COLD, "UPDATE dropped SET first_at = first_at + iif(first_at >= ?1, ?2, 0)," \
                            " last_at = last_at + ?2 WHERE last_at >= ?1") \
    X(MOVE_START,     COLD, "UPDATE run SET started_at = started_at + ?2 WHERE started_at >= ?1") \
    X(MOVE_END,       COLD, "UPDATE run SET ended_at = ended_at + ?2 WHERE ended_at >= ?1") \
    X(MOVE_CLOCK,     COLD, "UPDATE run SET booted_at = booted_at + ?2, clock_since = clock_since + ?2" \
                            " WHERE run_id = ?3 AND clock_since >= ?1") \
    X(RUN_TRIM,       COLD, "DELETE FROM run WHERE run_id <= ?1") \
    X(EACH_MESSAGE_ID, COLD, "SELECT message_id FROM message WHERE message_id > ?1 ORDER BY message_id LIMIT ?2") \
    X(EACH_QUEUE_MESSAGE, COLD, "SELECT message_id FROM queue")

enum stmt {
#define X(name, kind, sql) STMT_##name,
    PERSIST_STATEMENTS(X)
#undef X
    STMT_COUNT,
};

/* Prepared. NULL: db_fail() has been called. */
sqlite3_stmt *stmt_get(struct persist *p, enum stmt id);
/* The same for a change: NULL also when the transaction has already failed; the caller returns p->tx_rc. */
sqlite3_stmt *stmt_change(struct persist *p, enum stmt id);
/* Steps a change to its end and resets it. */
enum persist_rc stmt_run(struct persist *p, sqlite3_stmt *st);
/* A change whose parameters are all integers. */
enum persist_rc stmt_run_ints(struct persist *p, enum stmt id, int count, ...);
/* Prepares every statement once: false means that the tables are not those of this version. */
bool stmt_check_all(struct persist *p);
void stmt_finalize_all(struct persist *p);
const char *stmt_sql(enum stmt id);
bool stmt_is_hot(enum stmt id);

/* Binding; column numbers start at 1. Blobs and texts with p == NULL are NULL, empty ones are not. */
void bind_text(sqlite3_stmt *st, int i, struct blob b);
void bind_blob(sqlite3_stmt *st, int i, struct blob b);
/* As bind_blob(), but an empty one is NULL too: the column tells absent from present by its length only. */
void bind_opt_blob(sqlite3_stmt *st, int i, struct blob b);
/* `none` becomes NULL. */
void bind_opt_int(sqlite3_stmt *st, int i, int64_t v, int64_t none);

/* One row being read. After the first value that breaks a rule `bad` stays set, and every read gives zero or empty. */
struct row {
    sqlite3_stmt *st;
    bool bad;
};
enum { ROW_TEXT_MAX = 65535 };
int64_t row_int(struct row *r, int i, int64_t min, int64_t max);
int64_t row_opt_int(struct row *r, int i, int64_t min, int64_t max, int64_t none);
struct blob row_text(struct row *r, int i);         /* valid UTF-8 without U+0000 */
struct blob row_opt_text(struct row *r, int i);     /* p NULL: none */
struct blob row_blob(struct row *r, int i);
struct blob row_opt_blob(struct row *r, int i);     /* p NULL: none */
bool text_valid(const void *p, size_t len);

/* Steps a SELECT to its end. give() reads and hands on: 0 to go on, anything else to stop. A row that it leaves bad
 * is counted and skipped. Resets. */
enum persist_rc stmt_each(struct persist *p, sqlite3_stmt *st, int (*give)(struct row *r, void *arg), void *arg);

#endif
