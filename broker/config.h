/* The configuration: one INI file, read with inih, described by the directive table (config_table.h).
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_CONFIG_H
#define CADDIS_BROKER_CONFIG_H

#include "broker/log.h"

/* Values of 0 mean "no limit" / "off" where config docs say so. Durations carry their unit in the name.
 * Strings are owned by the struct; NULL = not set. */
struct config_auth {
    bool allow_anonymous;
    bool allow_anonymous_set;         /* somebody wrote it down */
    char *password_file, *acl_file, *psk_file;
    char **clientid_prefixes;         /* NULL-terminated, or NULL */
    bool allow_zero_length_clientid, bind_sessions;
    char *auto_id_prefix;
};

enum { PROTOCOL_MQTT, PROTOCOL_WEBSOCKETS };
/* Longest auto_id_prefix: with a UUID behind it the id still fits into every buffer for one. */
enum { AUTO_ID_PREFIX_MAX = 400 };
enum { DOMAIN_BOTH, DOMAIN_IPV4, DOMAIN_IPV6 };

struct config_listener {
    char *name;                       /* "default" for the built-in one */
    const char *file;                 /* where its section starts: borrowed from config.files, NULL: built in */
    int line;                         /* 0: built in */
    uint16_t port;                    /* 0 with an IP address: the kernel picks one */
    char *address;                    /* NULL: all; a path: Unix socket */
    char *interface;
    int socket_domain;                /* DOMAIN_* */
    int protocol;                     /* PROTOCOL_* */
    unsigned versions;                /* bit 3, 4, 5 */
    uint32_t max_connections, max_connection_rate;
    uint8_t max_qos;
    uint16_t max_topic_alias, max_topic_alias_broker;
    char *mount_point;
    bool use_username_as_clientid;
    struct config_auth auth;          /* [auth]'s values where the listener does not override */
    char **websockets_origin;         /* NULL-terminated, or NULL: any */
    char *certfile, *keyfile, *cafile, *capath, *crlfile, *dhparamfile;
    bool require_certificate, use_identity_as_username, use_subject_as_username;
    int tls_version;                  /* 0x0303, 0x0304 */
    char *ciphers, *ciphers_tls13, *psk_hint;
};

/* Where a key was written: for messages, for "twice", and for what a listener inherits. */
struct config_mark {
    uint16_t directive;               /* index into config_directives */
    int16_t listener;                 /* index, -1: not in a listener */
    int line;
    const char *file;                 /* borrowed from config.files */
};

enum { DURABILITY_POWER, DURABILITY_CRASH };
enum { QUEUE_FULL_DROP_NEWEST, QUEUE_FULL_DROP_OLDEST, QUEUE_FULL_DISCONNECT };

struct config {
    char *path;                       /* file it came from, NULL: defaults */
    bool verbose, no_terminal;        /* -v; -d took the terminal away, syslog stands in: not from the file, a reload
                                       * hands them on */

    /* [broker] */
    char *user;                       /* NULL: not set */
    char *pid_file;
    uint64_t sys_interval_ms;
    bool allow_duplicate_messages, retain_available, check_retain_source;
    bool upgrade_outgoing_qos, queue_qos0_messages;
    uint32_t retain_expiry_s;
    bool enable_control;
    char *control_socket;

    /* [log] */
    unsigned log_dests;
    char *log_file;
    enum log_level log_level;
    enum log_timestamp log_timestamp;
    bool log_connections;
    int log_facility;

    /* [persistence] */
    bool persistence;
    char *store_path;
    int durability;
    uint64_t gather_ms, commit_interval_ms;
    uint64_t store_max_bytes, store_cache_bytes, retained_memory_bytes;

    /* [limits] */
    uint32_t max_connections, max_clients;
    uint32_t max_connection_rate;     /* a second */
    uint16_t max_inflight_messages;   /* 0 in the file becomes 65535 */
    uint64_t max_inflight_bytes;
    uint32_t max_queued_messages;     /* 0: no limit */
    uint64_t max_queued_bytes;
    int queue_full;                   /* QUEUE_FULL_* */
    uint32_t max_packet_bytes;        /* 0 in the file becomes 268435460 */
    uint16_t max_keepalive_s;
    uint32_t max_subscriptions, max_topic_levels;
    int64_t session_expiry_s;         /* persistent_client_expiration; -1: never */
    uint64_t memory_limit_bytes, write_buffer_bytes;
    uint64_t connect_timeout_ms;

    /* [auth] */
    struct config_auth auth;

    struct config_listener *listeners;
    unsigned listener_count;          /* >= 1 after config_load() */

    char **files;                     /* what was read, in order; NULL-terminated, or NULL */
    struct config_mark *marks;
    unsigned mark_count;
};

/* Reads a file, or gives the defaults when path is NULL. Errors go to `say` one line each, as
 * `FILE:LINE: what is wrong, and what would be right`, all of them in one run. NULL: there was at least one. */
struct config *config_load(const char *path, void (*say)(void *arg, const char *line), void *arg);
/* The same from memory; `name` stands for the file in messages. */
struct config *config_load_text(const char *name, const char *text, size_t len,
                                void (*say)(void *arg, const char *line), void *arg);
void config_free(struct config *c);
/* NULL: there is none of this name. */
struct config_listener *config_listener_named(const struct config *c, const char *name);
/* As it is written in the file. */
static inline const char *listener_protocol(const struct config_listener *l)
{
    return l->protocol == PROTOCOL_WEBSOCKETS ? "websockets" : "mqtt";
}
/* Files and accounts that it names and that are not there or can't be read (same form); nothing is opened. */
unsigned config_check_missing(const struct config *c, void (*say)(void *arg, const char *line), void *arg);
/* Opens every file the configuration names and says what is wrong with each (same form). Number of errors. */
unsigned config_check_files(const struct config *c, void (*say)(void *arg, const char *line), void *arg);
/* Writes the commented sample (etc/caddis.ini) from the directive table. */
void config_write_sample(void *stdio_file);
/* What log_open() wants to know; the caller adds topic and topic_arg. Strings stay the configuration's. */
static inline struct log_options config_log_options(const struct config *c)
{
    return (struct log_options){ .dests = c->no_terminal && c->log_dests == DEST_STDERR ? DEST_SYSLOG : c->log_dests,
                                 .file = c->log_file, .level = c->verbose ? LEVEL_DEBUG : c->log_level,
                                 .timestamp = c->log_timestamp, .facility = c->log_facility };
}
/* Keys that differ between two configurations and can't change without a restart: `now` gets the old value, and `say`
 * the name, one call each. Also told of listeners that are new or gone. */
void config_keep_fixed(const struct config *was, struct config *now,
                       void (*say)(void *arg, const char *key), void *arg);
/* "caddis.ini:12" where the key was written, or its listener starts; "caddis.ini: [section]" if it was not. listener:
 * index or -1. Fills `out` and returns it. */
const char *config_where(const struct config *c, const char *section, const char *key, int listener,
                         char *out, size_t cap);

#endif
