/* Why a connection ends: one list for the log, the DISCONNECT that a 5.0 client gets, and the counters.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_CLOSE_REASON_H
#define CADDIS_BROKER_CLOSE_REASON_H

#include "proto/tables.h"

/*    name              log level       DISCONNECT reason (-1: none)  text */
#define CLOSE_REASONS(X)                                                                              \
    X(PEER_EOF,         LEVEL_INFO,     -1,                       "closed by peer")                   \
    X(PEER_RESET,       LEVEL_INFO,     -1,                       "connection reset")                 \
    X(DISCONNECT,       LEVEL_INFO,     -1,                       "disconnect")                       \
    X(CONNECT_TIMEOUT,  LEVEL_WARNING,  -1,                       "no complete CONNECT in time")      \
    X(NOT_MQTT,         LEVEL_WARNING,  -1,                       "first packet is not CONNECT")      \
    X(REFUSED,          LEVEL_WARNING,  -1,                       "connection refused")               \
    X(KEEP_ALIVE,       LEVEL_INFO,     R_KEEP_ALIVE_TIMEOUT,     "keep alive timeout")               \
    X(TAKEN_OVER,       LEVEL_INFO,     R_SESSION_TAKEN_OVER,     "session taken over")               \
    X(MALFORMED,        LEVEL_WARNING,  R_MALFORMED,              "malformed packet")                 \
    X(PROTOCOL_ERROR,   LEVEL_WARNING,  R_PROTOCOL_ERROR,         "protocol error")                   \
    X(TOO_LARGE,        LEVEL_WARNING,  R_PACKET_TOO_LARGE,       "packet too large")                 \
    X(RECEIVE_MAX,      LEVEL_WARNING,  R_RECEIVE_MAX_EXCEEDED,   "receive maximum exceeded")         \
    X(TOPIC_ALIAS,      LEVEL_WARNING,  R_TOPIC_ALIAS_INVALID,    "topic alias invalid")              \
    X(TOPIC_INVALID,    LEVEL_WARNING,  R_TOPIC_INVALID,          "topic name invalid")               \
    X(PAYLOAD_FORMAT,   LEVEL_WARNING,  R_PAYLOAD_FORMAT_INVALID, "payload format invalid")           \
    X(QOS,              LEVEL_WARNING,  R_QOS_NOT_SUPPORTED,      "QoS not supported")                \
    X(RETAIN,           LEVEL_WARNING,  R_RETAIN_NOT_SUPPORTED,   "retain not supported")             \
    X(NOT_AUTHORIZED,   LEVEL_WARNING,  R_NOT_AUTHORIZED,         "not authorized")                   \
    X(AUTH_METHOD,      LEVEL_WARNING,  R_BAD_AUTH_METHOD,        "bad authentication method")        \
    X(QUOTA,            LEVEL_WARNING,  R_QUOTA_EXCEEDED,         "quota exceeded")                   \
    X(QUEUE_FULL,       LEVEL_WARNING,  R_QUOTA_EXCEEDED,         "queue full")                       \
    X(NO_MEMORY,        LEVEL_ERROR,    R_UNSPECIFIED,            "out of memory")                    \
    X(UNAVAILABLE,      LEVEL_WARNING,  R_SERVER_UNAVAILABLE,     "server unavailable")               \
    X(SHUTDOWN,         LEVEL_INFO,     R_SERVER_SHUTTING_DOWN,   "server shutting down")             \
    X(ADMIN,            LEVEL_NOTICE,   R_ADMIN_ACTION,           "administrative action")            \
    X(TLS,              LEVEL_WARNING,  -1,                       "TLS failure")                      \
    X(WEBSOCKET,        LEVEL_WARNING,  R_PROTOCOL_ERROR,         "WebSocket failure")

enum close_reason {
#define X(name, level, code, text) CLOSE_##name,
    CLOSE_REASONS(X)
#undef X
    CLOSE_COUNT
};

#endif
