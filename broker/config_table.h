/* Every section and key of the configuration file, once. The parser, the defaults, the sample file, the reload check
 * and the documentation are made from these lists, so a key can't exist in one and be missing in another.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_CONFIG_TABLE_H
#define CADDIS_BROKER_CONFIG_TABLE_H

#include "broker/config.h"

/*    name         named  one line of documentation */
#define CONFIG_SECTIONS(X)                                                                                        \
    X(broker,      false, "The process, and what holds for all clients.")                                         \
    X(log,         false, "What is said, and where.")                                                             \
    X(persistence, false, "The store: sessions, queues and retained messages.")                                   \
    X(limits,      false, "Bounds. 0 turns one off unless its line says otherwise.")                              \
    X(auth,        false, "Who may connect. A listener can override the first five and auto_id_prefix.")         \
    X(listener,    true,  "A place to connect to; any number of them, each with its own name. Without one: port " \
                          "1883 on loopback, open to everybody who is there.")

enum config_section {
#define X(name, named, doc) SECTION_##name,
    CONFIG_SECTIONS(X)
#undef X
    SECTION_COUNT
};

enum value_type {
    VALUE_BOOL,
    VALUE_NUMBER,
    VALUE_SIZE,       /* bytes; K, M, G */
    VALUE_MS,         /* duration, kept in milliseconds */
    VALUE_S,          /* duration, kept in seconds */
    VALUE_CHOICE,
    VALUE_STRING,
    VALUE_PATH,
    VALUE_LIST,       /* words with commas or blanks between; char ** */
    VALUE_VERSIONS,   /* a list of protocol numbers, kept as bits */
    VALUE_DEST,       /* sets log_dests and log_file */
    VALUE_INCLUDE,    /* acts, keeps nothing */
};

enum {
    FIXED = 1,        /* a reload can't change it */
    MANY = 2,         /* may stand several times */
    INHERITED = 4,    /* in a listener: [auth]'s value unless written */
    ZERO_MAX = 8,     /* 0 stands for the largest value */
    NEVER = 16,       /* "never" is allowed, kept as -1 */
    EXAMPLE = 32,     /* not set by default: the default column holds an example for the sample file */
};

struct choice {
    const char *name;
    int value;
};

#define GLOBAL(field)   offsetof(struct config, field), sizeof(((struct config *)0)->field)
#define NOWHERE         0, 0
#define LISTENER(field) offsetof(struct config_listener, field), sizeof(((struct config_listener *)0)->field)

/*    section  key  type  place  default  least  most  flags  choices  documentation */
#define CONFIG_DIRECTIVES(X)                                                                                      \
    X(broker, user, STRING, GLOBAL(user), "caddis", 0, 0, FIXED | EXAMPLE, NULL,                                  \
      "account to run as once sockets are open, when started as root; without it: caddis, where there is one")    \
    X(broker, pid_file, PATH, GLOBAL(pid_file), RUNSTATEDIR "/caddis.pid", 0, 0, FIXED | EXAMPLE, NULL,           \
      "written at start, removed at exit")                                                                        \
    X(broker, include_dir, INCLUDE, NOWHERE, "/etc/caddis/conf.d", 0, 0, MANY | EXAMPLE, NULL,                       \
      "read every *.ini in it, in name order, after this file; what is read later wins")                          \
    X(broker, sys_interval, MS, GLOBAL(sys_interval_ms), "10s", 0, 604800000, 0, NULL,                            \
      "how often $SYS is published; 0: no $SYS")                                                                  \
    X(broker, allow_duplicate_messages, BOOL, GLOBAL(allow_duplicate_messages), "false", 0, 0, 0, NULL,           \
      "false: overlapping subscriptions deliver once, at the highest QoS")                                        \
    X(broker, retain_available, BOOL, GLOBAL(retain_available), "true", 0, 0, 0, NULL,                            \
      "whether retained messages are kept")                                                                       \
    X(broker, retain_expiry_interval, S, GLOBAL(retain_expiry_s), "0", 0, UINT32_MAX, 0, NULL,                    \
      "life of retained messages that set none themselves; 0: for ever")                                          \
    X(broker, check_retain_source, BOOL, GLOBAL(check_retain_source), "true", 0, 0, 0, NULL,                      \
      "deliver a retained message only while its publisher may still write its topic")                            \
    X(broker, upgrade_outgoing_qos, BOOL, GLOBAL(upgrade_outgoing_qos), "false", 0, 0, 0, NULL,                   \
      "deliver at the subscription's QoS, even where the message was published at a lower one")               \
    X(broker, queue_qos0_messages, BOOL, GLOBAL(queue_qos0_messages), "false", 0, 0, 0, NULL,                     \
      "queue QoS 0 for offline persistent sessions too")                                                          \
    X(broker, enable_control, BOOL, GLOBAL(enable_control), "true", 0, 0, FIXED, NULL,                            \
      "the local control socket that the tools use")                                                              \
    X(broker, control_socket, PATH, GLOBAL(control_socket), RUNSTATEDIR "/caddis.sock", 0, 0, FIXED, NULL,        \
      "where that socket is")                                                                                     \
                                                                                                                  \
    X(log, dest, DEST, GLOBAL(log_dests), "stderr", 0, 0, MANY, NULL,                                             \
      "stderr, stdout, syslog, file PATH, topic ($SYS/broker/log/LEVEL) or none")                                 \
    X(log, level, CHOICE, GLOBAL(log_level), "info", 0, 0, 0, choices_level,                                      \
      "the least important level that is written")                                                                \
    X(log, timestamp, CHOICE, GLOBAL(log_timestamp), "iso8601", 0, 0, 0, choices_timestamp,                       \
      "the time before each line; the journal and syslog have their own")                \
    X(log, connections, BOOL, GLOBAL(log_connections), "true", 0, 0, 0, NULL, "log connects and disconnects")     \
    X(log, facility, CHOICE, GLOBAL(log_facility), "daemon", 0, 0, 0, choices_facility, "syslog facility")        \
                                                                                                                  \
    X(persistence, enabled, BOOL, GLOBAL(persistence), "true", 0, 0, FIXED, NULL,                                 \
      "false: everything is forgotten at exit")                                                                   \
    X(persistence, path, PATH, GLOBAL(store_path), LOCALSTATEDIR "/lib/caddis/caddis.db", 0, 0, FIXED, NULL,      \
      "the SQLite file; its directory must be writable")                                                          \
    X(persistence, durability, CHOICE, GLOBAL(durability), "power", 0, 0, FIXED, choices_durability,              \
      "power: an acknowledged message survives a power cut; crash: it survives the death of the process")         \
    X(persistence, gather, MS, GLOBAL(gather_ms), "100ms", 0, 60000, 0, NULL,                                     \
      "how long a message whose recipients are all online may wait unwritten for their acknowledgements")         \
    X(persistence, commit_interval, MS, GLOBAL(commit_interval_ms), "20ms", 0, 60000, 0, NULL,                    \
      "shortest time between two commits; 0: no wait. 1s spares flash, and makes acknowledgements slower")        \
    X(persistence, max_size, SIZE, GLOBAL(store_max_bytes), "0", 0, UINT64_MAX / 2, FIXED, NULL,                  \
      "largest size of the store; past it new work is refused as if the disk were full. What makes room may take " \
      "64 KiB more")                                                                                              \
    X(persistence, memory, SIZE, GLOBAL(store_cache_bytes), "1M", 65536, UINT64_C(1) << 40, FIXED, NULL,          \
      "SQLite's page cache")                                                                                      \
    X(persistence, retained_memory, SIZE, GLOBAL(retained_memory_bytes), "16M", 0, UINT64_MAX / 2, 0, NULL,       \
      "for retained messages that are stored; beyond it they are read from the store when they are wanted")       \
                                                                                                                  \
    X(limits, max_connections, NUMBER, GLOBAL(max_connections), "0", 0, UINT32_MAX, 0, NULL,                      \
      "network connections in all")                                                                               \
    X(limits, max_clients, NUMBER, GLOBAL(max_clients), "0", 0, UINT32_MAX, 0, NULL,                              \
      "sessions, online and offline")                                                                             \
    X(limits, max_connection_rate, NUMBER, GLOBAL(max_connection_rate), "0", 0, 1000000, 0, NULL,                 \
      "new connections a second, after a first burst of as many; more of them wait in the system's queue")        \
    X(limits, max_inflight_messages, NUMBER, GLOBAL(max_inflight_messages), "20", 0, UINT16_MAX, ZERO_MAX, NULL,  \
      "QoS 1 and 2 messages in flight to one client; 0: 65535")                                                   \
    X(limits, max_inflight_bytes, SIZE, GLOBAL(max_inflight_bytes), "0", 0, UINT64_MAX / 2, 0, NULL,              \
      "bytes of these")                                                                                           \
    X(limits, max_queued_messages, NUMBER, GLOBAL(max_queued_messages), "1000", 0, UINT32_MAX, 0, NULL,           \
      "messages waiting for one client, beyond those in flight")                                                  \
    X(limits, max_queued_bytes, SIZE, GLOBAL(max_queued_bytes), "0", 0, UINT64_MAX / 2, 0, NULL,                  \
      "bytes of these")                                                                                           \
    X(limits, queue_full, CHOICE, GLOBAL(queue_full), "drop-newest", 0, 0, 0, choices_queue_full,                 \
      "what a client's full queue does with one message more; disconnect drops the client if it is online")       \
    X(limits, max_packet_size, SIZE, GLOBAL(max_packet_bytes), "2000000", 20, 268435460, ZERO_MAX, NULL,          \
      "largest packet taken from a client, in bytes; 0: what MQTT allows, 256 MiB")                               \
    X(limits, max_keepalive, S, GLOBAL(max_keepalive_s), "65535", 0, UINT16_MAX, ZERO_MAX, NULL,                  \
      "MQTT 5 clients that ask for more are told this one; 3.x clients are refused; 0: 65535")                    \
    X(limits, max_subscriptions, NUMBER, GLOBAL(max_subscriptions), "0", 0, UINT32_MAX, 0, NULL, "per session")   \
    X(limits, max_topic_levels, NUMBER, GLOBAL(max_topic_levels), "200", 0, 65535, 0, NULL,                       \
      "deeper topics and filters are refused")                                                                    \
    X(limits, persistent_client_expiration, S, GLOBAL(session_expiry_s), "never", 1, UINT32_MAX, NEVER, NULL,     \
      "forget sessions that have been offline for longer")                                                        \
    X(limits, memory_limit, SIZE, GLOBAL(memory_limit_bytes), "0", 0, UINT64_MAX / 2, 0, NULL,                    \
      "what the broker and SQLite may allocate, libraries for TLS not counted; from 90 % on new clients are refused, " \
      "from 93 % new retained messages, from 96 % new subscriptions; past it what would wait in memory is dropped")  \
    X(limits, write_buffer, SIZE, GLOBAL(write_buffer_bytes), "256K", 4096, UINT32_MAX, 0, NULL,                  \
      "unsent bytes held for one client before QoS 0 to it is dropped")                                           \
    X(limits, connect_timeout, MS, GLOBAL(connect_timeout_ms), "10s", 0, 3600000, 0, NULL,                        \
      "time from accepting a connection to its complete CONNECT")                                               \
                                                                                                                  \
    X(auth, allow_anonymous, BOOL, GLOBAL(auth.allow_anonymous), "false", 0, 0, EXAMPLE, NULL,                    \
      "clients without a user name; true while no listener is configured, false once one is")                     \
    X(auth, password_file, PATH, GLOBAL(auth.password_file), SYSCONFDIR "/caddis/passwd", 0, 0, EXAMPLE, NULL,    \
      "accounts, lines USER:HASH as `caddis passwd` and mosquitto_passwd write them")                             \
    X(auth, acl_file, PATH, GLOBAL(auth.acl_file), SYSCONFDIR "/caddis/acl", 0, 0, EXAMPLE, NULL,                 \
      "who may publish and read what, in mosquitto's format; without it everybody may everything")                \
    X(auth, psk_file, PATH, GLOBAL(auth.psk_file), SYSCONFDIR "/caddis/psk", 0, 0, EXAMPLE, NULL,                 \
      "keys for listeners with psk_hint, lines IDENTITY:HEXKEY")                                                  \
    X(auth, clientid_prefixes, LIST, GLOBAL(auth.clientid_prefixes), "sensor- gateway-", 0, 0, EXAMPLE, NULL,     \
      "only client ids that start so")                                                                            \
    X(auth, allow_zero_length_clientid, BOOL, GLOBAL(auth.allow_zero_length_clientid), "true", 0, 0, 0, NULL,     \
      "give an id to clients that have none")                                                                     \
    X(auth, auto_id_prefix, STRING, GLOBAL(auth.auto_id_prefix), "auto-", 0, 0, 0, NULL,                          \
      "begin of such an id; a random UUID follows")                                                               \
    X(auth, bind_sessions, BOOL, GLOBAL(auth.bind_sessions), "true", 0, 0, 0, NULL,                               \
      "a session that a user has begun is no other user's, where names are proven; false: the client id is enough") \
                                                                                                                  \
    X(listener, port, NUMBER, LISTENER(port), "1883", 0, UINT16_MAX, FIXED, NULL,                                 \
      "TCP port; 0: one that the kernel picks. With a path as address: leave it out")                             \
    X(listener, address, STRING, LISTENER(address), "192.168.1.1", 0, 0, FIXED | EXAMPLE, NULL,                   \
      "an IP address, a host name, or the path of a Unix socket; without it: all addresses")                      \
    X(listener, interface, STRING, LISTENER(interface), "eth0", 0, 0, FIXED | EXAMPLE, NULL,                      \
      "only what comes in through this network interface")                                                        \
    X(listener, socket_domain, CHOICE, LISTENER(socket_domain), "both", 0, 0, FIXED, choices_domain,              \
      "ipv4, ipv6 or both")                                                                                       \
    X(listener, protocol, CHOICE, LISTENER(protocol), "mqtt", 0, 0, FIXED, choices_protocol,                         \
      "what is spoken: MQTT as it is, or in WebSocket, as programs in browsers need it")                          \
    X(listener, accept_protocol_versions, VERSIONS, LISTENER(versions), "3, 4, 5", 3, 5, 0, NULL,                 \
      "3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.0")                                                                      \
    X(listener, max_connections, NUMBER, LISTENER(max_connections), "0", 0, UINT32_MAX, 0, NULL,                  \
      "connections through this listener; 0: no limit of its own")                                                \
    X(listener, max_connection_rate, NUMBER, LISTENER(max_connection_rate), "0", 0, 1000000, 0, NULL,             \
      "new connections a second through this listener; 0: no limit of its own")                                   \
    X(listener, max_qos, NUMBER, LISTENER(max_qos), "2", 0, 2, 0, NULL, "highest QoS for its clients")            \
    X(listener, max_topic_alias, NUMBER, LISTENER(max_topic_alias), "10", 0, UINT16_MAX, 0, NULL,                 \
      "topic aliases a client may use towards the broker")                                                        \
    X(listener, max_topic_alias_broker, NUMBER, LISTENER(max_topic_alias_broker), "10", 0, UINT16_MAX, 0, NULL,   \
      "topic aliases the broker may use towards a client")                                                        \
    X(listener, mount_point, STRING, LISTENER(mount_point), "site1/", 0, 0, FIXED | EXAMPLE, NULL,                \
      "put before every topic of its clients")                                                                    \
    X(listener, use_username_as_clientid, BOOL, LISTENER(use_username_as_clientid), "false", 0, 0, 0, NULL,       \
      "the user name replaces the client id: one session per user")                                               \
    X(listener, allow_anonymous, BOOL, LISTENER(auth.allow_anonymous), "false", 0, 0, EXAMPLE | INHERITED, NULL,  \
      "overrides [auth] for this listener, as do the next five")                                                  \
    X(listener, password_file, PATH, LISTENER(auth.password_file), SYSCONFDIR "/caddis/passwd", 0, 0,             \
      EXAMPLE | INHERITED, NULL, "accounts")                                                                      \
    X(listener, acl_file, PATH, LISTENER(auth.acl_file), SYSCONFDIR "/caddis/acl", 0, 0, EXAMPLE | INHERITED,     \
      NULL, "who may publish and read what")                                                                      \
    X(listener, psk_file, PATH, LISTENER(auth.psk_file), SYSCONFDIR "/caddis/psk", 0, 0, EXAMPLE | INHERITED,     \
      NULL, "keys for TLS-PSK")                                                                                   \
    X(listener, clientid_prefixes, LIST, LISTENER(auth.clientid_prefixes), "sensor- gateway-", 0, 0,              \
      EXAMPLE | INHERITED, NULL, "only client ids that start so")                                                 \
    X(listener, auto_id_prefix, STRING, LISTENER(auth.auto_id_prefix), "auto-", 0, 0, INHERITED, NULL,            \
      "begin of an id that the broker gives")                                                                     \
    X(listener, websockets_origin, LIST, LISTENER(websockets_origin), "https://panel.example.com", 0, 0,          \
      MANY | EXAMPLE, NULL, "pages whose programs are let in, as a browser names them; without it: all")          \
    X(listener, certfile, PATH, LISTENER(certfile), SYSCONFDIR "/caddis/server.crt", 0, 0, EXAMPLE, NULL,         \
      "TLS: the broker's certificate in PEM form, followed by its issuers' if there are some between")            \
    X(listener, keyfile, PATH, LISTENER(keyfile), SYSCONFDIR "/caddis/server.key", 0, 0, EXAMPLE, NULL,           \
      "its private key, without a password. All these files are read again when they change")                     \
    X(listener, cafile, PATH, LISTENER(cafile), SYSCONFDIR "/caddis/ca.crt", 0, 0, EXAMPLE, NULL,                 \
      "authorities whose clients are let in, with require_certificate")                                           \
    X(listener, capath, PATH, LISTENER(capath), SYSCONFDIR "/caddis/ca.d", 0, 0, EXAMPLE, NULL,                   \
      "the same as a directory of files")                                                                         \
    X(listener, crlfile, PATH, LISTENER(crlfile), SYSCONFDIR "/caddis/ca.crl", 0, 0, EXAMPLE, NULL,               \
      "revoked certificates: the current list of each authority, one after the other")                            \
    X(listener, require_certificate, BOOL, LISTENER(require_certificate), "false", 0, 0, 0, NULL,                 \
      "clients have to show a certificate of an authority above")                                                 \
    X(listener, use_identity_as_username, BOOL, LISTENER(use_identity_as_username), "false", 0, 0, 0, NULL,       \
      "the certificate's common name, or the PSK identity, is the user name; no password is asked")               \
    X(listener, use_subject_as_username, BOOL, LISTENER(use_subject_as_username), "false", 0, 0, 0, NULL,         \
      "the same with all of the certificate's subject, as in CN=sensor-7,O=Example")                              \
    X(listener, tls_version, CHOICE, LISTENER(tls_version), "tlsv1.2", 0, 0, 0, choices_tls_version,              \
      "lowest version of TLS")                                                                                    \
    X(listener, ciphers, STRING, LISTENER(ciphers), "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256",  \
      0, 0, EXAMPLE, NULL, "for TLS 1.2, in order of preference; without it: sound ones")                         \
    X(listener, ciphers_tls1.3, STRING, LISTENER(ciphers_tls13), "TLS_AES_128_GCM_SHA256", 0, 0, EXAMPLE, NULL,   \
      "the same for TLS 1.3")                                                                                     \
    X(listener, dhparamfile, PATH, LISTENER(dhparamfile), SYSCONFDIR "/caddis/dh.pem", 0, 0, EXAMPLE, NULL,       \
      "parameters for DHE ciphers, which only old clients need")                                                  \
    X(listener, psk_hint, STRING, LISTENER(psk_hint), "sensors", 0, 0, EXAMPLE, NULL,                             \
      "TLS with keys from psk_file instead of certificates; clients of TLS 1.2 see this text")

struct directive {
    enum config_section section;
    const char *key;
    enum value_type type;
    size_t offset, size;       /* in struct config, or struct config_listener when the section is listener */
    const char *preset;        /* default, as it would be written in the file */
    uint64_t least, most;      /* in the unit that is kept */
    unsigned flags;
    const struct choice *choices; /* name NULL ends it */
    const char *doc;
};

struct section {
    const char *name;
    bool named;
    const char *doc;
};

extern const struct section config_sections[SECTION_COUNT];
extern const struct directive config_directives[];
extern const unsigned config_directive_count;

#endif
