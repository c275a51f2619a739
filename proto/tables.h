/* The lists everything else is generated from: packets, reason codes, properties.
 * Plain X-macros: give X a meaning, expand the list, undefine X.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_PROTO_TABLES_H
#define CADDIS_PROTO_TABLES_H

/* Both define a macro R_OK for access(2), which would silently turn our reason 0 into 4. They are included here, so that
 * no later include brings it back. */
#include <fcntl.h>
#include <unistd.h>
#undef R_OK

/*    name         type  flags  who sends it (C client, S server, B both) */
#define PACKETS(X)                          \
    X(CONNECT,     1,    0x0,   'C')        \
    X(CONNACK,     2,    0x0,   'S')        \
    X(PUBLISH,     3,    0x0,   'B')        \
    X(PUBACK,      4,    0x0,   'B')        \
    X(PUBREC,      5,    0x0,   'B')        \
    X(PUBREL,      6,    0x2,   'B')        \
    X(PUBCOMP,     7,    0x0,   'B')        \
    X(SUBSCRIBE,   8,    0x2,   'C')        \
    X(SUBACK,      9,    0x0,   'S')        \
    X(UNSUBSCRIBE, 10,   0x2,   'C')        \
    X(UNSUBACK,    11,   0x0,   'S')        \
    X(PINGREQ,     12,   0x0,   'C')        \
    X(PINGRESP,    13,   0x0,   'S')        \
    X(DISCONNECT,  14,   0x0,   'B')        \
    X(AUTH,        15,   0x0,   'B')

/* MQTT 5.0 reason codes [MQTT5 2.4]. Codes that share a number share a row: R_OK is also
 * "granted QoS 0" and "normal disconnection".
 *    name                       code  CONNACK code of 3.1.1 (-1: close silently)  text */
#define REASONS(X)                                                                        \
    X(OK,                        0x00,  0, "success")                                     \
    X(GRANTED_QOS1,              0x01, -1, "granted QoS 1")                               \
    X(GRANTED_QOS2,              0x02, -1, "granted QoS 2")                               \
    X(DISCONNECT_WITH_WILL,      0x04, -1, "disconnect with will message")                \
    X(NO_MATCHING_SUBSCRIBERS,   0x10, -1, "no matching subscribers")                     \
    X(NO_SUBSCRIPTION_EXISTED,   0x11, -1, "no subscription existed")                     \
    X(CONTINUE_AUTHENTICATION,   0x18, -1, "continue authentication")                     \
    X(REAUTHENTICATE,            0x19, -1, "re-authenticate")                             \
    X(UNSPECIFIED,               0x80,  3, "unspecified error")                           \
    X(MALFORMED,                 0x81, -1, "malformed packet")                            \
    X(PROTOCOL_ERROR,            0x82, -1, "protocol error")                              \
    X(IMPLEMENTATION_SPECIFIC,   0x83,  3, "implementation specific error")               \
    X(UNSUPPORTED_VERSION,       0x84,  1, "unsupported protocol version")                \
    X(CLIENTID_NOT_VALID,        0x85,  2, "client identifier not valid")                 \
    X(BAD_CREDENTIALS,           0x86,  4, "bad user name or password")                   \
    X(NOT_AUTHORIZED,            0x87,  5, "not authorized")                              \
    X(SERVER_UNAVAILABLE,        0x88,  3, "server unavailable")                          \
    X(SERVER_BUSY,               0x89,  3, "server busy")                                 \
    X(BANNED,                    0x8A,  5, "banned")                                      \
    X(SERVER_SHUTTING_DOWN,      0x8B,  3, "server shutting down")                        \
    X(BAD_AUTH_METHOD,           0x8C,  5, "bad authentication method")                   \
    X(KEEP_ALIVE_TIMEOUT,        0x8D, -1, "keep alive timeout")                          \
    X(SESSION_TAKEN_OVER,        0x8E, -1, "session taken over")                          \
    X(FILTER_INVALID,            0x8F, -1, "topic filter invalid")                        \
    X(TOPIC_INVALID,             0x90,  5, "topic name invalid")                          \
    X(PACKET_ID_IN_USE,          0x91, -1, "packet identifier in use")                    \
    X(PACKET_ID_NOT_FOUND,       0x92, -1, "packet identifier not found")                 \
    X(RECEIVE_MAX_EXCEEDED,      0x93, -1, "receive maximum exceeded")                    \
    X(TOPIC_ALIAS_INVALID,       0x94, -1, "topic alias invalid")                         \
    X(PACKET_TOO_LARGE,          0x95,  3, "packet too large")                            \
    X(RATE_TOO_HIGH,             0x96,  3, "message rate too high")                       \
    X(QUOTA_EXCEEDED,            0x97,  3, "quota exceeded")                              \
    X(ADMIN_ACTION,              0x98, -1, "administrative action")                       \
    X(PAYLOAD_FORMAT_INVALID,    0x99,  3, "payload format invalid")                      \
    X(RETAIN_NOT_SUPPORTED,      0x9A,  5, "retain not supported")                        \
    X(QOS_NOT_SUPPORTED,         0x9B,  5, "QoS not supported")                           \
    X(USE_ANOTHER_SERVER,        0x9C,  3, "use another server")                          \
    X(SERVER_MOVED,              0x9D,  3, "server moved")                                \
    X(SHARED_NOT_SUPPORTED,      0x9E, -1, "shared subscriptions not supported")          \
    X(RATE_EXCEEDED,             0x9F,  3, "connection rate exceeded")                    \
    X(MAX_CONNECT_TIME,          0xA0, -1, "maximum connect time")                        \
    X(SUBID_NOT_SUPPORTED,       0xA1, -1, "subscription identifiers not supported")      \
    X(WILDCARD_NOT_SUPPORTED,    0xA2, -1, "wildcard subscriptions not supported")

/* Which packets may carry which reason code [MQTT5-2.4]; a DISCONNECT from a client is a place of
 * its own, because most of its codes are the server's alone [MQTT5-3.14.2.1].
 *    name                      where */
#define REASON_PLACES(X)                                                                              \
    X(OK,                       IN(CONNACK) | IN_ACKS | IN(PUBREL) | IN(PUBCOMP) | IN_SUBS |          \
                                IN_BYES | IN(AUTH))                                                   \
    X(GRANTED_QOS1,             IN(SUBACK))                                                           \
    X(GRANTED_QOS2,             IN(SUBACK))                                                           \
    X(DISCONNECT_WITH_WILL,     IN_CLIENT_BYE)                                                        \
    X(NO_MATCHING_SUBSCRIBERS,  IN_ACKS)                                                              \
    X(NO_SUBSCRIPTION_EXISTED,  IN(UNSUBACK))                                                         \
    X(CONTINUE_AUTHENTICATION,  IN(AUTH))                                                             \
    X(REAUTHENTICATE,           IN(AUTH))                                                             \
    X(UNSPECIFIED,              IN(CONNACK) | IN_ACKS | IN_SUBS | IN_BYES)                            \
    X(MALFORMED,                IN(CONNACK) | IN_BYES)                                                \
    X(PROTOCOL_ERROR,           IN(CONNACK) | IN_BYES)                                                \
    X(IMPLEMENTATION_SPECIFIC,  IN(CONNACK) | IN_ACKS | IN_SUBS | IN_BYES)                            \
    X(UNSUPPORTED_VERSION,      IN(CONNACK))                                                          \
    X(CLIENTID_NOT_VALID,       IN(CONNACK))                                                          \
    X(BAD_CREDENTIALS,          IN(CONNACK))                                                          \
    X(NOT_AUTHORIZED,           IN(CONNACK) | IN_ACKS | IN_SUBS | IN(DISCONNECT))                     \
    X(SERVER_UNAVAILABLE,       IN(CONNACK))                                                          \
    X(SERVER_BUSY,              IN(CONNACK) | IN(DISCONNECT))                                         \
    X(BANNED,                   IN(CONNACK))                                                          \
    X(SERVER_SHUTTING_DOWN,     IN(DISCONNECT))                                                       \
    X(BAD_AUTH_METHOD,          IN(CONNACK) | IN(DISCONNECT))                                         \
    X(KEEP_ALIVE_TIMEOUT,       IN(DISCONNECT))                                                       \
    X(SESSION_TAKEN_OVER,       IN(DISCONNECT))                                                       \
    X(FILTER_INVALID,           IN_SUBS | IN(DISCONNECT))                                             \
    X(TOPIC_INVALID,            IN(CONNACK) | IN_ACKS | IN_BYES)                                      \
    X(PACKET_ID_IN_USE,         IN_ACKS | IN_SUBS)                                                    \
    X(PACKET_ID_NOT_FOUND,      IN(PUBREL) | IN(PUBCOMP))                                             \
    X(RECEIVE_MAX_EXCEEDED,     IN_BYES)                                                              \
    X(TOPIC_ALIAS_INVALID,      IN_BYES)                                                              \
    X(PACKET_TOO_LARGE,         IN(CONNACK) | IN_BYES)                                                \
    X(RATE_TOO_HIGH,            IN_BYES)                                                              \
    X(QUOTA_EXCEEDED,           IN(CONNACK) | IN_ACKS | IN(SUBACK) | IN_BYES)                         \
    X(ADMIN_ACTION,             IN_BYES)                                                              \
    X(PAYLOAD_FORMAT_INVALID,   IN(CONNACK) | IN_ACKS | IN_BYES)                                      \
    X(RETAIN_NOT_SUPPORTED,     IN(CONNACK) | IN(DISCONNECT))                                         \
    X(QOS_NOT_SUPPORTED,        IN(CONNACK) | IN(DISCONNECT))                                         \
    X(USE_ANOTHER_SERVER,       IN(CONNACK) | IN(DISCONNECT))                                         \
    X(SERVER_MOVED,             IN(CONNACK) | IN(DISCONNECT))                                         \
    X(SHARED_NOT_SUPPORTED,     IN(SUBACK) | IN(DISCONNECT))                                          \
    X(RATE_EXCEEDED,            IN(CONNACK) | IN(DISCONNECT))                                         \
    X(MAX_CONNECT_TIME,         IN(DISCONNECT))                                                       \
    X(SUBID_NOT_SUPPORTED,      IN(SUBACK) | IN(DISCONNECT))                                          \
    X(WILDCARD_NOT_SUPPORTED,   IN(SUBACK) | IN(DISCONNECT))

#define IN_CLIENT_BYE (1u << 0)
#define IN_BYES       (IN(DISCONNECT) | IN_CLIENT_BYE)
#define IN_ACKS       (IN(PUBACK) | IN(PUBREC))
#define IN_SUBS       (IN(SUBACK) | IN(UNSUBACK))

/* Bits that say where a property may stand [MQTT5 2.2.2.2]. The will's properties are a
 * place of their own. */
#define IN(type) (1u << PKT_##type)
#define IN_WILL  (1u << 16)

/* Types: BYTE, U16, U32, VARINT, UTF8 (string), BIN (binary), PAIR (two strings).
 * range: what a value must satisfy: ANY, BOOL (0 or 1), NONZERO.
 *    name               id    type    range    many  where */
#define PROPERTIES(X)                                                                                        \
    X(PAYLOAD_FORMAT,    0x01, BYTE,   BOOL,    0, IN(PUBLISH) | IN_WILL)                                    \
    X(MESSAGE_EXPIRY,    0x02, U32,    ANY,     0, IN(PUBLISH) | IN_WILL)                                    \
    X(CONTENT_TYPE,      0x03, UTF8,   ANY,     0, IN(PUBLISH) | IN_WILL)                                    \
    X(RESPONSE_TOPIC,    0x08, UTF8,   ANY,     0, IN(PUBLISH) | IN_WILL)                                    \
    X(CORRELATION_DATA,  0x09, BIN,    ANY,     0, IN(PUBLISH) | IN_WILL)                                    \
    X(SUBSCRIPTION_ID,   0x0B, VARINT, NONZERO, 1, IN(PUBLISH) | IN(SUBSCRIBE))                              \
    X(SESSION_EXPIRY,    0x11, U32,    ANY,     0, IN(CONNECT) | IN(CONNACK) | IN(DISCONNECT))               \
    X(ASSIGNED_CLIENTID, 0x12, UTF8,   ANY,     0, IN(CONNACK))                                              \
    X(SERVER_KEEP_ALIVE, 0x13, U16,    ANY,     0, IN(CONNACK))                                              \
    X(AUTH_METHOD,       0x15, UTF8,   ANY,     0, IN(CONNECT) | IN(CONNACK) | IN(AUTH))                     \
    X(AUTH_DATA,         0x16, BIN,    ANY,     0, IN(CONNECT) | IN(CONNACK) | IN(AUTH))                     \
    X(REQUEST_PROBLEM,   0x17, BYTE,   BOOL,    0, IN(CONNECT))                                              \
    X(WILL_DELAY,        0x18, U32,    ANY,     0, IN_WILL)                                                  \
    X(REQUEST_RESPONSE,  0x19, BYTE,   BOOL,    0, IN(CONNECT))                                              \
    X(RESPONSE_INFO,     0x1A, UTF8,   ANY,     0, IN(CONNACK))                                              \
    X(SERVER_REFERENCE,  0x1C, UTF8,   ANY,     0, IN(CONNACK) | IN(DISCONNECT))                             \
    X(REASON_STRING,     0x1F, UTF8,   ANY,     0, IN(CONNACK) | IN(PUBACK) | IN(PUBREC) | IN(PUBREL) |      \
                                                   IN(PUBCOMP) | IN(SUBACK) | IN(UNSUBACK) |                 \
                                                   IN(DISCONNECT) | IN(AUTH))                                \
    X(RECEIVE_MAXIMUM,   0x21, U16,    NONZERO, 0, IN(CONNECT) | IN(CONNACK))                                \
    X(TOPIC_ALIAS_MAX,   0x22, U16,    ANY,     0, IN(CONNECT) | IN(CONNACK))                                \
    X(TOPIC_ALIAS,       0x23, U16,    NONZERO, 0, IN(PUBLISH))                                              \
    X(MAXIMUM_QOS,       0x24, BYTE,   BOOL,    0, IN(CONNACK))                                              \
    X(RETAIN_AVAILABLE,  0x25, BYTE,   BOOL,    0, IN(CONNACK))                                              \
    X(USER_PROPERTY,     0x26, PAIR,   ANY,     1, IN(CONNECT) | IN(CONNACK) | IN(PUBLISH) | IN_WILL |       \
                                                   IN(PUBACK) | IN(PUBREC) | IN(PUBREL) | IN(PUBCOMP) |      \
                                                   IN(SUBSCRIBE) | IN(SUBACK) | IN(UNSUBSCRIBE) |            \
                                                   IN(UNSUBACK) | IN(DISCONNECT) | IN(AUTH))                 \
    X(MAXIMUM_PACKET,    0x27, U32,    NONZERO, 0, IN(CONNECT) | IN(CONNACK))                                \
    X(WILDCARD_AVAIL,    0x28, BYTE,   BOOL,    0, IN(CONNACK))                                              \
    X(SUBID_AVAIL,       0x29, BYTE,   BOOL,    0, IN(CONNACK))                                              \
    X(SHARED_AVAIL,      0x2A, BYTE,   BOOL,    0, IN(CONNACK))

enum packet {
#define X(name, type, flags, who) PKT_##name = type,
    PACKETS(X)
#undef X
};

enum reason {
#define X(name, code, v3, text) R_##name = code,
    REASONS(X)
#undef X
};

enum prop {
#define X(name, id, type, range, many, where) PROP_##name,
    PROPERTIES(X)
#undef X
    PROP_COUNT
};

enum version { MQTT_31 = 3, MQTT_311 = 4, MQTT_50 = 5 };

#endif
