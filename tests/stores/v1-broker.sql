-- A store that a caddis of schema version 1 left when it was killed: sessions online and offline, messages queued, sent
-- and released, a QoS 2 message half received, wills, retained messages. Dumped by sqlite3, boot id and pid changed.
-- Never change it: it stands for the stores that are out there.
-- SPDX-License-Identifier: GPL-2.0-or-later
PRAGMA page_size = 4096;
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
PRAGMA application_id = 0x63616464;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
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
INSERT INTO session VALUES(1,'offline',5,NULL,NULL,1795788182172,1795788182231,NULL);
INSERT INTO session VALUES(2,'café-3.1',3,NULL,NULL,1795788182231,1795788182270,NULL);
INSERT INTO session VALUES(3,'hour',5,NULL,3600,1795788182270,1795788182309,NULL);
INSERT INTO session VALUES(4,'inflight',4,NULL,NULL,1795788182309,NULL,NULL);
INSERT INTO session VALUES(5,'publisher',5,NULL,NULL,1795788182367,NULL,NULL);
INSERT INTO session VALUES(6,'leaver',5,NULL,NULL,1795788182871,1795788183180,NULL);
INSERT INTO session VALUES(7,'online',5,NULL,NULL,1795788183180,NULL,NULL);
INSERT INTO session VALUES(8,'halfway',4,NULL,NULL,1795788183373,NULL,NULL);
CREATE TABLE ended_session (        -- sessions that are gone but for rows of queue, which are deleted in slices
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
INSERT INTO will VALUES(6,'will/leaver',1,1,600,1795788783180,300,NULL,X'6c656674');
INSERT INTO will VALUES(7,'will/online',1,0,0,NULL,NULL,NULL,X'6b696c6c6564');
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
INSERT INTO subscription VALUES(1,'$share/group/work/+',1,0,0,0,NULL);
INSERT INTO subscription VALUES(1,'queue/#',2,0,1,0,7);
INSERT INTO subscription VALUES(2,'queue/+',1,0,0,0,NULL);
INSERT INTO subscription VALUES(3,'hour',1,1,0,0,NULL);
INSERT INTO subscription VALUES(4,'flight/1',1,0,0,0,NULL);
INSERT INTO subscription VALUES(4,'flight/2',2,0,0,0,NULL);
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
INSERT INTO message VALUES(1,1795788182392,NULL,1,0,'publisher',NULL,'flight/1',NULL,X'6f6e65');
INSERT INTO message VALUES(2,1795788182507,NULL,2,0,'publisher',NULL,'flight/2',NULL,X'74776f');
INSERT INTO message VALUES(3,1795788183186,NULL,1,0,'publisher',NULL,'queue/a',NULL,X'6669727374');
INSERT INTO message VALUES(5,1795788183206,1795791783206,2,0,'publisher',NULL,'queue/b',X'2600016b000176',X'7365636f6e64000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f');
INSERT INTO message VALUES(7,1795788183250,NULL,1,0,'publisher',NULL,'queue/c',NULL,X'');
INSERT INTO message VALUES(9,1795788183277,NULL,1,0,'publisher',NULL,'work/x',NULL,X'6a6f62');
INSERT INTO message VALUES(10,1795788183420,NULL,2,0,'halfway',NULL,'queue/half',NULL,X'68616c66');
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
  PRIMARY KEY (session_id, position)
) STRICT, WITHOUT ROWID;
INSERT INTO queue VALUES(1,3,3,1,0,0,NULL,1,X'0b07');
INSERT INTO queue VALUES(1,5,5,2,0,0,NULL,1,X'0b07');
INSERT INTO queue VALUES(1,7,7,1,0,0,NULL,1,X'0b07');
INSERT INTO queue VALUES(1,9,9,1,0,0,NULL,0,NULL);
INSERT INTO queue VALUES(1,10,10,2,0,0,NULL,1,X'0b07');
INSERT INTO queue VALUES(2,4,3,1,0,0,NULL,1,NULL);
INSERT INTO queue VALUES(2,6,5,1,0,0,NULL,1,NULL);
INSERT INTO queue VALUES(2,8,7,1,0,0,NULL,1,NULL);
INSERT INTO queue VALUES(2,11,10,1,0,0,NULL,1,NULL);
INSERT INTO queue VALUES(4,1,1,1,0,1,1,0,NULL);
INSERT INTO queue VALUES(4,2,2,2,0,2,2,0,NULL);
CREATE TABLE inbound_qos2 (         -- packet ids of QoS 2 messages from clients whose PUBREL has not come
  session_id        INTEGER NOT NULL REFERENCES session,
  packet_id         INTEGER NOT NULL,
  PRIMARY KEY (session_id, packet_id)
) STRICT, WITHOUT ROWID;
INSERT INTO inbound_qos2 VALUES(8,77);
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
INSERT INTO retained VALUES(1,1795788183288,NULL,1,'publisher',NULL,'kept/text',X'03000a746578742f706c61696e',X'7a77c3b66c66');
INSERT INTO retained VALUES(2,1795788183307,NULL,2,'publisher',NULL,'kept/binary',NULL,X'00ff00');
INSERT INTO retained VALUES(3,1795788183356,1795791783356,1,'publisher',NULL,'kept/hour',NULL,X'68');
INSERT INTO retained VALUES(4,1795788183373,NULL,0,'publisher',NULL,'kept/0123',NULL,X'7130');
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
  start_ms          INTEGER NOT NULL          -- time it took
) STRICT;
INSERT INTO run VALUES(1,'0.1.0','3.40.1','00000000-0000-4000-8000-000000000001',4711,1795788181127,NULL,NULL,'first',0,0,0,0,0,0);
CREATE INDEX queue_shared_message ON queue (message_id) WHERE shared;
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
       (SELECT ifnull(sum(length(m.payload) + length(CAST(m.topic AS BLOB))), 0)
          FROM queue q CROSS JOIN message m ON m.message_id = q.message_id
         WHERE q.session_id = s.session_id) AS bytes
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
COMMIT;
