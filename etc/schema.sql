-- The session store of caddis, schema version 2. persist/schema.c holds the same text; a test compares them.
-- Look at a store with:  sqlite3 -readonly -header -box /var/lib/caddis/caddis.db 'SELECT * FROM v_session'
-- Times are milliseconds since 1970-01-01 UTC; NULL means "never" or "not set". The views show UTC. Where the machine's
-- clock was wrong when they were recorded and is set later, they are put right (see table run).
-- SPDX-License-Identifier: GPL-2.0-or-later

CREATE TABLE session (              -- sessions that outlive their connection
  session_id        INTEGER PRIMARY KEY,      -- internal number, used by the other tables
  client_id         TEXT    NOT NULL UNIQUE,
  protocol_version  INTEGER NOT NULL,         -- 3 = MQTT 3.1, 4 = 3.1.1, 5 = 5.0
  username          TEXT,
  expiry_interval   INTEGER,                  -- seconds after the connection ended; NULL = never
  connected_at      INTEGER,
  disconnected_at   INTEGER,                  -- NULL = connected when last written
  resend_to         INTEGER                   -- rows of queue up to this position may have been sent before the
                                              -- broker died, even those in state 0: they are sent with DUP
) STRICT;

CREATE TABLE ended_session (        -- sessions that are gone but for rows of queue, which go in slices; while they
                                    -- are handed on to other members of a group, those of subscription stay, too
  session_id        INTEGER PRIMARY KEY
) STRICT;

CREATE TABLE will (                 -- not yet published, of sessions above
  session_id        INTEGER PRIMARY KEY REFERENCES session,
  topic             TEXT    NOT NULL,
  qos               INTEGER NOT NULL,
  retain            INTEGER NOT NULL,
  delay_interval    INTEGER NOT NULL,         -- seconds
  publish_at        INTEGER,                  -- NULL = the client is connected
  expiry_interval   INTEGER,                  -- seconds after it was published
  properties        BLOB,                     -- MQTT 5, wire encoding
  payload           BLOB    NOT NULL
) STRICT;

CREATE TABLE subscription (
  session_id        INTEGER NOT NULL REFERENCES session,
  topic_filter      TEXT    NOT NULL,         -- as subscribed, $share/... included
  qos               INTEGER NOT NULL,
  no_local          INTEGER NOT NULL,
  retain_as_published INTEGER NOT NULL,
  retain_handling   INTEGER NOT NULL,
  subscription_identifier INTEGER,
  PRIMARY KEY (session_id, topic_filter)
) STRICT, WITHOUT ROWID;

CREATE TABLE message (              -- waits for at least one session; stored once, however many wait
  message_id        INTEGER PRIMARY KEY,      -- grows with arrival
  received_at       INTEGER NOT NULL,
  expires_at        INTEGER,
  qos               INTEGER NOT NULL,         -- as published
  retain            INTEGER NOT NULL,         -- as published
  publisher         TEXT,                     -- client id; NULL = the broker itself
  publisher_user    TEXT,
  topic             TEXT    NOT NULL,
  properties        BLOB,                     -- MQTT 5, wire encoding
  payload           BLOB    NOT NULL
) STRICT;

CREATE TABLE queue (                -- what a session must be sent, or was sent and has not acknowledged
  session_id        INTEGER NOT NULL REFERENCES session,
  position          INTEGER NOT NULL,         -- order of delivery
  message_id        INTEGER NOT NULL REFERENCES message,
  qos               INTEGER NOT NULL,         -- the lower one of publication and subscription
  retain            INTEGER NOT NULL,         -- RETAIN flag to send
  state             INTEGER NOT NULL,         -- 0 queued, 1 sent (PUBACK, PUBREC wanted), 2 released (PUBCOMP)
  packet_id         INTEGER,                  -- once sent
  shared            INTEGER NOT NULL,         -- 1: other rows may refer to the same message
  subscription_identifiers BLOB,              -- MQTT 5, wire encoding
  bytes             INTEGER NOT NULL DEFAULT 0, -- of the message: topic, properties, payload
  PRIMARY KEY (session_id, position)
) STRICT, WITHOUT ROWID;

-- Answers "does another session still need this message?"; messages for one session are not in it.
CREATE INDEX queue_shared_message ON queue (message_id) WHERE shared;

CREATE TABLE inbound_qos2 (         -- packet ids of QoS 2 messages from clients whose PUBREL has not come
  session_id        INTEGER NOT NULL REFERENCES session,
  packet_id         INTEGER NOT NULL,
  PRIMARY KEY (session_id, packet_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE retained (
  retained_id       INTEGER PRIMARY KEY,
  received_at       INTEGER NOT NULL,
  expires_at        INTEGER,
  qos               INTEGER NOT NULL,
  publisher         TEXT,
  publisher_user    TEXT,
  topic             TEXT    NOT NULL UNIQUE,
  properties        BLOB,
  payload           BLOB    NOT NULL
) STRICT;

CREATE TABLE dropped (              -- messages that were dropped, counted
  client_id         TEXT    NOT NULL,         -- '' = of no client
  reason            TEXT    NOT NULL,
  messages          INTEGER NOT NULL,
  first_at          INTEGER NOT NULL,
  last_at           INTEGER NOT NULL,
  last_topic        TEXT,
  PRIMARY KEY (client_id, reason)
) STRICT, WITHOUT ROWID;

CREATE TABLE run (                  -- starts of the broker, the last hundred
  run_id            INTEGER PRIMARY KEY,
  version           TEXT    NOT NULL,
  sqlite_version    TEXT    NOT NULL,
  boot_id           TEXT,                     -- of the machine: tells a kill from a power cut
  pid               INTEGER NOT NULL,
  started_at        INTEGER NOT NULL,
  ended_at          INTEGER,
  ending            TEXT,                     -- clean, killed, power; NULL = runs, or nobody started since
  previous_ending   TEXT    NOT NULL,         -- of the run before; 'first' = there was none
  sessions          INTEGER NOT NULL,         -- what was found at the start
  subscriptions     INTEGER NOT NULL,
  queued            INTEGER NOT NULL,
  retained          INTEGER NOT NULL,
  expired           INTEGER NOT NULL,         -- what had expired meanwhile
  start_ms          INTEGER NOT NULL,         -- time it took
  booted_at         INTEGER,                  -- of the machine, by its clock; moves when that is set
  clock_since       INTEGER,                  -- what was recorded from then on moves with it
  newest_before     INTEGER                   -- newest time recorded before clock_since
) STRICT;

-- Views for people. The broker never reads them, and makes them anew when they differ from these.

CREATE VIEW v_session AS
SELECT s.client_id,
       CASE s.protocol_version WHEN 3 THEN '3.1' WHEN 4 THEN '3.1.1' WHEN 5 THEN '5.0' ELSE '?' END AS mqtt,
       s.username,
       CASE WHEN s.disconnected_at IS NULL
            THEN 'connected since ' || ifnull(datetime(s.connected_at/1000, 'unixepoch'), '?')
            ELSE 'offline since ' || datetime(s.disconnected_at/1000, 'unixepoch') END AS status,
       CASE WHEN s.expiry_interval IS NULL THEN 'never'
            WHEN s.disconnected_at IS NULL THEN s.expiry_interval || ' s after it leaves'
            ELSE datetime(s.disconnected_at/1000 + s.expiry_interval, 'unixepoch') END AS expires,
       (SELECT count(*) FROM subscription u WHERE u.session_id = s.session_id) AS subscriptions,
       (SELECT count(*) FROM queue q WHERE q.session_id = s.session_id AND q.state = 0) AS queued,
       (SELECT count(*) FROM queue q WHERE q.session_id = s.session_id AND q.state > 0) AS inflight,
       (SELECT ifnull(sum(q.bytes), 0) FROM queue q WHERE q.session_id = s.session_id) AS bytes
  FROM session s;

CREATE VIEW v_subscription AS
SELECT s.client_id, u.topic_filter, u.qos,
       CASE u.no_local WHEN 0 THEN 'no' ELSE 'yes' END AS no_local,
       CASE u.retain_as_published WHEN 0 THEN 'no' ELSE 'yes' END AS retain_as_published,
       CASE u.retain_handling WHEN 0 THEN 'always' WHEN 1 THEN 'if new' ELSE 'never' END AS send_retained,
       u.subscription_identifier
  FROM session s CROSS JOIN subscription u ON u.session_id = s.session_id;

CREATE VIEW v_queue AS
SELECT s.client_id, q.position,
       CASE q.state WHEN 0 THEN 'queued' WHEN 1 THEN 'sent' WHEN 2 THEN 'released' ELSE '?' END AS state,
       q.packet_id, q.qos, m.topic, length(m.payload) AS bytes,
       CASE WHEN CAST(m.payload AS TEXT) GLOB '*[^' || char(9,10,13) || ' -~' || char(160)
                 || '-' || char(65532) || char(65536) || '-' || char(1114111) || ']*'
              OR instr(m.payload, x'00')
            THEN 'x''' || hex(substr(m.payload, 1, 32)) || iif(length(m.payload) > 32, '...', '') || ''''
            ELSE substr(CAST(m.payload AS TEXT), 1, 64)
                 || iif(length(m.payload) > 64, '...', '') END AS payload,
       m.publisher, datetime(m.received_at/1000, 'unixepoch') AS received,
       datetime(m.expires_at/1000, 'unixepoch') AS expires
  FROM session s CROSS JOIN queue q ON q.session_id = s.session_id
  LEFT JOIN message m ON m.message_id = q.message_id;

CREATE VIEW v_inflight AS
SELECT client_id, packet_id,
       CASE state WHEN 'sent' THEN iif(qos = 1, 'PUBACK', 'PUBREC') ELSE 'PUBCOMP' END AS waits_for,
       qos, topic, bytes, payload, publisher, received, expires
  FROM v_queue WHERE state <> 'queued';

CREATE VIEW v_retained AS
SELECT r.topic, r.qos, length(r.payload) AS bytes,
       CASE WHEN CAST(r.payload AS TEXT) GLOB '*[^' || char(9,10,13) || ' -~' || char(160)
                 || '-' || char(65532) || char(65536) || '-' || char(1114111) || ']*'
              OR instr(r.payload, x'00')
            THEN 'x''' || hex(substr(r.payload, 1, 32)) || iif(length(r.payload) > 32, '...', '') || ''''
            ELSE substr(CAST(r.payload AS TEXT), 1, 64)
                 || iif(length(r.payload) > 64, '...', '') END AS payload,
       r.publisher, datetime(r.received_at/1000, 'unixepoch') AS received,
       datetime(r.expires_at/1000, 'unixepoch') AS expires
  FROM retained r;

CREATE VIEW v_will AS
SELECT s.client_id, w.topic, w.qos,
       CASE w.retain WHEN 0 THEN 'no' ELSE 'yes' END AS retain, length(w.payload) AS bytes,
       CASE WHEN CAST(w.payload AS TEXT) GLOB '*[^' || char(9,10,13) || ' -~' || char(160)
                 || '-' || char(65532) || char(65536) || '-' || char(1114111) || ']*'
              OR instr(w.payload, x'00')
            THEN 'x''' || hex(substr(w.payload, 1, 32)) || iif(length(w.payload) > 32, '...', '') || ''''
            ELSE substr(CAST(w.payload AS TEXT), 1, 64)
                 || iif(length(w.payload) > 64, '...', '') END AS payload,
       ifnull('at ' || datetime(w.publish_at/1000, 'unixepoch'),
              w.delay_interval || ' s after the connection is lost') AS published
  FROM session s CROSS JOIN will w ON w.session_id = s.session_id;

CREATE VIEW v_dropped AS
SELECT client_id, reason, messages, last_topic, datetime(first_at/1000, 'unixepoch') AS first,
       datetime(last_at/1000, 'unixepoch') AS last
  FROM dropped;

CREATE VIEW v_runs AS
SELECT run_id AS run, version, datetime(started_at/1000, 'unixepoch') AS started,
       datetime(ended_at/1000, 'unixepoch') AS ended,
       CASE WHEN ending = 'power' THEN 'power cut or reboot' WHEN ending IS NOT NULL THEN ending
            ELSE 'runs, or died since' END AS ending,
       sessions, subscriptions, queued, retained, expired, start_ms
  FROM run;
