/* The schema as text. etc/schema.sql is the same for people who read, and a test holds the two together: change both.
 * Comments inside the statements are stored with them, so that `.schema` in a shell explains itself.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "persist/schema.h"

#include "persist/db.h"

#include <stdio.h>
#include <string.h>

/* Small columns first and payloads last: whoever wants a time need not walk through a megabyte to get at it. */
const char schema_tables[] =
    "CREATE TABLE session (              -- sessions that outlive their connection\n"
    "  session_id        INTEGER PRIMARY KEY,      -- internal number, used by the other tables\n"
    "  client_id         TEXT    NOT NULL UNIQUE,\n"
    "  protocol_version  INTEGER NOT NULL,         -- 3 = MQTT 3.1, 4 = 3.1.1, 5 = 5.0\n"
    "  username          TEXT,\n"
    "  expiry_interval   INTEGER,                  -- seconds after the connection ended; NULL = never\n"
    "  connected_at      INTEGER,\n"
    "  disconnected_at   INTEGER,                  -- NULL = connected when last written\n"
    "  resend_to         INTEGER                   -- rows of queue up to this position may have been sent before the\n"
    "                                              -- broker died, even those in state 0: they are sent with DUP\n"
    ") STRICT;\n"
    "CREATE TABLE ended_session (        -- sessions that are gone but for rows of queue, which go in slices; while they\n"
    "                                    -- are handed on to other members of a group, those of subscription stay, too\n"
    "  session_id        INTEGER PRIMARY KEY\n"
    ") STRICT;\n"
    "CREATE TABLE will (                 -- not yet published, of sessions above\n"
    "  session_id        INTEGER PRIMARY KEY REFERENCES session,\n"
    "  topic             TEXT    NOT NULL,\n"
    "  qos               INTEGER NOT NULL,\n"
    "  retain            INTEGER NOT NULL,\n"
    "  delay_interval    INTEGER NOT NULL,         -- seconds\n"
    "  publish_at        INTEGER,                  -- NULL = the client is connected\n"
    "  expiry_interval   INTEGER,                  -- seconds after it was published\n"
    "  properties        BLOB,                     -- MQTT 5, wire encoding\n"
    "  payload           BLOB    NOT NULL\n"
    ") STRICT;\n"
    "CREATE TABLE subscription (\n"
    "  session_id        INTEGER NOT NULL REFERENCES session,\n"
    "  topic_filter      TEXT    NOT NULL,         -- as subscribed, $share/... included\n"
    "  qos               INTEGER NOT NULL,\n"
    "  no_local          INTEGER NOT NULL,\n"
    "  retain_as_published INTEGER NOT NULL,\n"
    "  retain_handling   INTEGER NOT NULL,\n"
    "  subscription_identifier INTEGER,\n"
    "  PRIMARY KEY (session_id, topic_filter)\n"
    ") STRICT, WITHOUT ROWID;\n"
    "CREATE TABLE message (              -- waits for at least one session; stored once, however many wait\n"
    "  message_id        INTEGER PRIMARY KEY,      -- grows with arrival\n"
    "  received_at       INTEGER NOT NULL,\n"
    "  expires_at        INTEGER,\n"
    "  qos               INTEGER NOT NULL,         -- as published\n"
    "  retain            INTEGER NOT NULL,         -- as published\n"
    "  publisher         TEXT,                     -- client id; NULL = the broker itself\n"
    "  publisher_user    TEXT,\n"
    "  topic             TEXT    NOT NULL,\n"
    "  properties        BLOB,                     -- MQTT 5, wire encoding\n"
    "  payload           BLOB    NOT NULL\n"
    ") STRICT;\n"
    "CREATE TABLE queue (                -- what a session must be sent, or was sent and has not acknowledged\n"
    "  session_id        INTEGER NOT NULL REFERENCES session,\n"
    "  position          INTEGER NOT NULL,         -- order of delivery\n"
    "  message_id        INTEGER NOT NULL REFERENCES message,\n"
    "  qos               INTEGER NOT NULL,         -- the lower one of publication and subscription\n"
    "  retain            INTEGER NOT NULL,         -- RETAIN flag to send\n"
    "  state             INTEGER NOT NULL,         -- 0 queued, 1 sent (PUBACK, PUBREC wanted), 2 released (PUBCOMP)\n"
    "  packet_id         INTEGER,                  -- once sent\n"
    "  shared            INTEGER NOT NULL,         -- 1: other rows may refer to the same message\n"
    "  subscription_identifiers BLOB,              -- MQTT 5, wire encoding\n"
    "  bytes             INTEGER NOT NULL DEFAULT 0, -- of the message: topic, properties, payload\n"
    "  PRIMARY KEY (session_id, position)\n"
    ") STRICT, WITHOUT ROWID;\n"
    "-- Answers \"does another session still need this message?\"; messages for one session are not in it.\n"
    "CREATE INDEX queue_shared_message ON queue (message_id) WHERE shared;\n"
    "CREATE TABLE inbound_qos2 (         -- packet ids of QoS 2 messages from clients whose PUBREL has not come\n"
    "  session_id        INTEGER NOT NULL REFERENCES session,\n"
    "  packet_id         INTEGER NOT NULL,\n"
    "  PRIMARY KEY (session_id, packet_id)\n"
    ") STRICT, WITHOUT ROWID;\n"
    "CREATE TABLE retained (\n"
    "  retained_id       INTEGER PRIMARY KEY,\n"
    "  received_at       INTEGER NOT NULL,\n"
    "  expires_at        INTEGER,\n"
    "  qos               INTEGER NOT NULL,\n"
    "  publisher         TEXT,\n"
    "  publisher_user    TEXT,\n"
    "  topic             TEXT    NOT NULL UNIQUE,\n"
    "  properties        BLOB,\n"
    "  payload           BLOB    NOT NULL\n"
    ") STRICT;\n"
    "CREATE TABLE dropped (              -- messages that were dropped, counted\n"
    "  client_id         TEXT    NOT NULL,         -- '' = of no client\n"
    "  reason            TEXT    NOT NULL,\n"
    "  messages          INTEGER NOT NULL,\n"
    "  first_at          INTEGER NOT NULL,\n"
    "  last_at           INTEGER NOT NULL,\n"
    "  last_topic        TEXT,\n"
    "  PRIMARY KEY (client_id, reason)\n"
    ") STRICT, WITHOUT ROWID;\n"
    "CREATE TABLE run (                  -- starts of the broker, the last hundred\n"
    "  run_id            INTEGER PRIMARY KEY,\n"
    "  version           TEXT    NOT NULL,\n"
    "  sqlite_version    TEXT    NOT NULL,\n"
    "  boot_id           TEXT,                     -- of the machine: tells a kill from a power cut\n"
    "  pid               INTEGER NOT NULL,\n"
    "  started_at        INTEGER NOT NULL,\n"
    "  ended_at          INTEGER,\n"
    "  ending            TEXT,                     -- clean, killed, power; NULL = runs, or nobody started since\n"
    "  previous_ending   TEXT    NOT NULL,         -- of the run before; 'first' = there was none\n"
    "  sessions          INTEGER NOT NULL,         -- what was found at the start\n"
    "  subscriptions     INTEGER NOT NULL,\n"
    "  queued            INTEGER NOT NULL,\n"
    "  retained          INTEGER NOT NULL,\n"
    "  expired           INTEGER NOT NULL,         -- what had expired meanwhile\n"
    "  start_ms          INTEGER NOT NULL,         -- time it took\n"
    "  booted_at         INTEGER,                  -- of the machine, by its clock; moves when that is set\n"
    "  clock_since       INTEGER,                  -- what was recorded from then on moves with it\n"
    "  newest_before     INTEGER                   -- newest time recorded before clock_since\n"
    ") STRICT;\n";

const char schema_views[] =
    "CREATE VIEW v_session AS\n"
    "SELECT s.client_id,\n"
    "       CASE s.protocol_version WHEN 3 THEN '3.1' WHEN 4 THEN '3.1.1' WHEN 5 THEN '5.0' ELSE '?' END AS mqtt,\n"
    "       s.username,\n"
    "       CASE WHEN s.disconnected_at IS NULL\n"
    "            THEN 'connected since ' || ifnull(datetime(s.connected_at/1000, 'unixepoch'), '?')\n"
    "            ELSE 'offline since ' || datetime(s.disconnected_at/1000, 'unixepoch') END AS status,\n"
    "       CASE WHEN s.expiry_interval IS NULL THEN 'never'\n"
    "            WHEN s.disconnected_at IS NULL THEN s.expiry_interval || ' s after it leaves'\n"
    "            ELSE datetime(s.disconnected_at/1000 + s.expiry_interval, 'unixepoch') END AS expires,\n"
    "       (SELECT count(*) FROM subscription u WHERE u.session_id = s.session_id) AS subscriptions,\n"
    "       (SELECT count(*) FROM queue q WHERE q.session_id = s.session_id AND q.state = 0) AS queued,\n"
    "       (SELECT count(*) FROM queue q WHERE q.session_id = s.session_id AND q.state > 0) AS inflight,\n"
    "       (SELECT ifnull(sum(q.bytes), 0) FROM queue q WHERE q.session_id = s.session_id) AS bytes\n"
    "  FROM session s;\n"
    "CREATE VIEW v_subscription AS\n"
    "SELECT s.client_id, u.topic_filter, u.qos,\n"
    "       CASE u.no_local WHEN 0 THEN 'no' ELSE 'yes' END AS no_local,\n"
    "       CASE u.retain_as_published WHEN 0 THEN 'no' ELSE 'yes' END AS retain_as_published,\n"
    "       CASE u.retain_handling WHEN 0 THEN 'always' WHEN 1 THEN 'if new' ELSE 'never' END AS send_retained,\n"
    "       u.subscription_identifier\n"
    "  FROM session s CROSS JOIN subscription u ON u.session_id = s.session_id;\n"
    "CREATE VIEW v_queue AS\n"
    "SELECT s.client_id, q.position,\n"
    "       CASE q.state WHEN 0 THEN 'queued' WHEN 1 THEN 'sent' WHEN 2 THEN 'released' ELSE '?' END AS state,\n"
    "       q.packet_id, q.qos, m.topic, length(m.payload) AS bytes,\n"
    "       CASE WHEN CAST(m.payload AS TEXT) GLOB '*[^' || char(9,10,13) || ' -~' || char(160)\n"
    "                 || '-' || char(65532) || char(65536) || '-' || char(1114111) || ']*'\n"
    "              OR instr(m.payload, x'00')\n"
    "            THEN 'x''' || hex(substr(m.payload, 1, 32)) || iif(length(m.payload) > 32, '...', '') || ''''\n"
    "            ELSE substr(CAST(m.payload AS TEXT), 1, 64)\n"
    "                 || iif(length(m.payload) > 64, '...', '') END AS payload,\n"
    "       m.publisher, datetime(m.received_at/1000, 'unixepoch') AS received,\n"
    "       datetime(m.expires_at/1000, 'unixepoch') AS expires\n"
    "  FROM session s CROSS JOIN queue q ON q.session_id = s.session_id\n"
    "  LEFT JOIN message m ON m.message_id = q.message_id;\n"
    "CREATE VIEW v_inflight AS\n"
    "SELECT client_id, packet_id,\n"
    "       CASE state WHEN 'sent' THEN iif(qos = 1, 'PUBACK', 'PUBREC') ELSE 'PUBCOMP' END AS waits_for,\n"
    "       qos, topic, bytes, payload, publisher, received, expires\n"
    "  FROM v_queue WHERE state <> 'queued';\n"
    "CREATE VIEW v_retained AS\n"
    "SELECT r.topic, r.qos, length(r.payload) AS bytes,\n"
    "       CASE WHEN CAST(r.payload AS TEXT) GLOB '*[^' || char(9,10,13) || ' -~' || char(160)\n"
    "                 || '-' || char(65532) || char(65536) || '-' || char(1114111) || ']*'\n"
    "              OR instr(r.payload, x'00')\n"
    "            THEN 'x''' || hex(substr(r.payload, 1, 32)) || iif(length(r.payload) > 32, '...', '') || ''''\n"
    "            ELSE substr(CAST(r.payload AS TEXT), 1, 64)\n"
    "                 || iif(length(r.payload) > 64, '...', '') END AS payload,\n"
    "       r.publisher, datetime(r.received_at/1000, 'unixepoch') AS received,\n"
    "       datetime(r.expires_at/1000, 'unixepoch') AS expires\n"
    "  FROM retained r;\n"
    "CREATE VIEW v_will AS\n"
    "SELECT s.client_id, w.topic, w.qos,\n"
    "       CASE w.retain WHEN 0 THEN 'no' ELSE 'yes' END AS retain, length(w.payload) AS bytes,\n"
    "       CASE WHEN CAST(w.payload AS TEXT) GLOB '*[^' || char(9,10,13) || ' -~' || char(160)\n"
    "                 || '-' || char(65532) || char(65536) || '-' || char(1114111) || ']*'\n"
    "              OR instr(w.payload, x'00')\n"
    "            THEN 'x''' || hex(substr(w.payload, 1, 32)) || iif(length(w.payload) > 32, '...', '') || ''''\n"
    "            ELSE substr(CAST(w.payload AS TEXT), 1, 64)\n"
    "                 || iif(length(w.payload) > 64, '...', '') END AS payload,\n"
    "       ifnull('at ' || datetime(w.publish_at/1000, 'unixepoch'),\n"
    "              w.delay_interval || ' s after the connection is lost') AS published\n"
    "  FROM session s CROSS JOIN will w ON w.session_id = s.session_id;\n"
    "CREATE VIEW v_dropped AS\n"
    "SELECT client_id, reason, messages, last_topic, datetime(first_at/1000, 'unixepoch') AS first,\n"
    "       datetime(last_at/1000, 'unixepoch') AS last\n"
    "  FROM dropped;\n"
    "CREATE VIEW v_runs AS\n"
    "SELECT run_id AS run, version, datetime(started_at/1000, 'unixepoch') AS started,\n"
    "       datetime(ended_at/1000, 'unixepoch') AS ended,\n"
    "       CASE WHEN ending = 'power' THEN 'power cut or reboot' WHEN ending IS NOT NULL THEN ending\n"
    "            ELSE 'runs, or died since' END AS ending,\n"
    "       sessions, subscriptions, queued, retained, expired, start_ms\n"
    "  FROM run;\n";

/* Tables keep the order they were made in, which salvage.c counts on: new columns come last. */
const struct schema_step schema_steps[] = {
    /* What waits can be counted without a look at the messages; by which clock it was recorded is known. */
    { 1, "ALTER TABLE queue ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;" SCHEMA_SET_BYTES ";"
         "ALTER TABLE run ADD COLUMN booted_at INTEGER; ALTER TABLE run ADD COLUMN clock_since INTEGER;"
         "ALTER TABLE run ADD COLUMN newest_before INTEGER" },
};
const unsigned schema_step_count = sizeof schema_steps / sizeof schema_steps[0];

static int set_number(sqlite3 *db, const char *pragma, int number)
{
    char sql[64];

    snprintf(sql, sizeof sql, "PRAGMA %s = %d", pragma, number);
    return db_exec(db, sql);
}

/* COMMIT, or ROLLBACK when something failed. Gives the first failure. */
static int finish(sqlite3 *db, int rc)
{
    if (rc == SQLITE_OK)
        rc = db_exec(db, "COMMIT");
    if (rc != SQLITE_OK && !sqlite3_get_autocommit(db))
        db_exec(db, "ROLLBACK");
    return rc;
}

int schema_create(sqlite3 *db)
{
    int rc = db_exec(db, "BEGIN IMMEDIATE");

    if (rc != SQLITE_OK)
        return rc;
    rc = db_exec(db, schema_tables);
    if (rc == SQLITE_OK)
        rc = db_exec(db, schema_views);
    if (rc == SQLITE_OK)
        rc = set_number(db, "application_id", SCHEMA_APPLICATION_ID);
    if (rc == SQLITE_OK)
        rc = set_number(db, "user_version", SCHEMA_VERSION);
    return finish(db, rc);
}

int schema_migrate(sqlite3 *db, const struct schema_step *steps, unsigned count, int to,
                   void (*progress)(void *arg, unsigned done, unsigned total), void *arg)
{
    int rc, version = (int)db_int(db, "PRAGMA user_version", -1, &rc);
    unsigned done = 0, total = (unsigned)(to - version);

    while (rc == SQLITE_OK && version < to) {
        unsigned i = 0;
        while (i < count && steps[i].from != version)
            i++;
        if (i == count)
            return SQLITE_MISMATCH;
        if (progress != NULL)
            progress(arg, done++, total);
        rc = db_exec(db, "BEGIN IMMEDIATE");
        if (rc != SQLITE_OK)
            break;
        rc = db_exec(db, steps[i].sql);
        if (rc == SQLITE_OK)
            rc = set_number(db, "user_version", version + 1);
        rc = finish(db, rc);
        version++;
    }
    return rc;
}

/* The name after "CREATE VIEW ", and where its statement ends (at the semicolon). */
static const char *next_view(const char *sql, char name[64], size_t *len)
{
    static const char create[] = "CREATE VIEW ";
    const char *start = strstr(sql, create), *end;

    if (start == NULL)
        return NULL;
    snprintf(name, 64, "%.*s", (int)strcspn(start + sizeof create - 1, " "), start + sizeof create - 1);
    end = strstr(start, ";\n");
    *len = (size_t)(end - start);
    return start;
}

static bool view_is_current(sqlite3 *db, const char *name, const char *sql, size_t len)
{
    static const char query[] = "SELECT sql FROM sqlite_schema WHERE type = 'view' AND name = ?";
    sqlite3_stmt *st = NULL;
    bool same = false;

    if (sqlite3_prepare_v2(db, query, -1, &st, NULL) != SQLITE_OK)
        return false;
    sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
    if (sqlite3_step(st) == SQLITE_ROW) {
        const char *stored = (const char *)sqlite3_column_text(st, 0);
        same = stored != NULL && strlen(stored) == len && memcmp(stored, sql, len) == 0;
    }
    sqlite3_finalize(st);
    return same;
}

static int replace_views(sqlite3 *db)
{
    char name[64], drop[128];
    size_t len;
    int rc = SQLITE_OK;

    for (const char *at = schema_views; rc == SQLITE_OK && (at = next_view(at, name, &len)) != NULL; at += len) {
        snprintf(drop, sizeof drop, "DROP VIEW IF EXISTS \"%s\"", name);
        rc = db_exec(db, drop);
    }
    return rc == SQLITE_OK ? db_exec(db, schema_views) : rc;
}

int schema_refresh_views(sqlite3 *db)
{
    char name[64];
    size_t len;
    bool current = true;
    int rc;

    for (const char *at = schema_views; current && (at = next_view(at, name, &len)) != NULL; at += len)
        current = view_is_current(db, name, at, len);
    if (current)
        return SQLITE_OK;
    rc = db_exec(db, "BEGIN IMMEDIATE");
    return rc == SQLITE_OK ? finish(db, replace_views(db)) : rc;
}
