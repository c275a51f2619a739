/* Counters: one table for the code, $SYS, the status command and the metrics page.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_METRICS_H
#define CADDIS_BROKER_METRICS_H

#include "broker/log.h"
#include "proto/reader.h"

/*    name                 $SYS/broker/...               meaning */
#define METRICS(X)                                                                             \
    X(BYTES_RECEIVED,      "bytes/received",             "bytes read from clients")            \
    X(BYTES_SENT,          "bytes/sent",                 "bytes written to clients")           \
    X(MESSAGES_RECEIVED,   "messages/received",          "packets of any type from clients")   \
    X(MESSAGES_SENT,       "messages/sent",              "packets of any type to clients")     \
    X(PUBLISH_RECEIVED,    "publish/messages/received",  "PUBLISH packets from clients")       \
    X(PUBLISH_SENT,        "publish/messages/sent",      "PUBLISH packets to clients")         \
    X(PUBLISH_DROPPED,     "publish/messages/dropped",   "messages dropped: queue or buffer full, too large, expired") \
    X(PUBLISH_BYTES_RECEIVED, "publish/bytes/received",  "payload bytes from clients")         \
    X(PUBLISH_BYTES_SENT,  "publish/bytes/sent",         "payload bytes to clients")           \
    X(SOCKETS,             "connections/accepted",       "connections accepted since start")   \
    X(CONNECTS,            "clients/accepted",           "CONNECTs accepted since start")      \
    X(CLIENTS_EXPIRED,     "clients/expired",            "sessions removed because they expired") \
    X(CLIENTS_REFUSED,     "clients/refused",            "CONNECTs refused since start")       \
    X(PROTOCOL_ERRORS,     "clients/protocol_errors",    "connections closed for breaking the protocol") \
    X(COMMITS_FAILED,      "store/commits/failed",       "commits that failed and were tried again")

enum metric {
#define X(name, topic, text) M_##name,
    METRICS(X)
#undef X
    METRIC_COUNT
};

/* Load averages over 1, 5 and 15 minutes, per minute, as mosquitto has them. */
#define LOADS(X)                                              \
    X(MESSAGES_RECEIVED, "load/messages/received")            \
    X(MESSAGES_SENT,     "load/messages/sent")                \
    X(PUBLISH_DROPPED,   "load/publish/dropped")              \
    X(PUBLISH_RECEIVED,  "load/publish/received")             \
    X(PUBLISH_SENT,      "load/publish/sent")                 \
    X(BYTES_RECEIVED,    "load/bytes/received")               \
    X(BYTES_SENT,        "load/bytes/sent")                   \
    X(SOCKETS,           "load/sockets")                      \
    X(CONNECTS,          "load/connections")

enum load {
#define X(name, topic) LOAD_##name,
    LOADS(X)
#undef X
    LOAD_COUNT
};

struct metrics {
    uint64_t count[METRIC_COUNT];
    uint64_t load_seen[LOAD_COUNT];     /* counter at the last sample */
    double load[LOAD_COUNT][3];
    uint64_t sampled_ms;
};

#define METRIC(b, name) ((b)->metrics.count[M_##name])

struct broker;
struct session;

/* false: no memory. */
bool sys_init(struct broker *b);
void sys_fini(struct broker *b);
/* The interval may have changed. */
void sys_reload(struct broker *b);
/* Somebody may have subscribed to $SYS: runs the timer while there is anybody. */
void sys_watch(struct broker *b);
/* This session subscribed with this filter: sends the present values that match as retained messages. */
void sys_subscribed(struct broker *b, struct session *s, struct view filter, uint32_t subid);
/* Once a turn: publishes the log lines that [log] dest = topic asks for; sys_log() is the log's sink. */
void sys_turn(struct broker *b);
void sys_log(void *broker, enum log_level level, const char *line, size_t len);
/* Brings load averages up to date; cheap, called when the loop is awake anyway. */
void metrics_sample(struct broker *b);

#endif
