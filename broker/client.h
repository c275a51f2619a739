/* A small MQTT client for the tools: one connection, poll(), no threads, no reconnecting of its own. Speaks 3.1, 3.1.1 and
 * 5.0; does both halves of QoS 1 and 2, keep alive, and what the server announced in a 5.0 CONNACK.
 *
 * C1  Acknowledgements for what message() was called with leave with the next client_poll() or client_close(), never
 *     inside: the caller can make its output safe first.
 * C2  At most `window` QoS 1 and 2 publications are unfinished; the caller asks client_may_publish() first.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_CLIENT_H
#define CADDIS_BROKER_CLIENT_H

#include "proto/proto.h"

/* access(2) has a macro R_OK, which is 4: it must not take the reason code's place in files that include these later. */
#include <fcntl.h>
#include <unistd.h>
#undef R_OK

#define CLIENT_WHY_MAX 256

struct tls_client_options;

struct client_events {
    void *arg;
    /* Views live for the call; a topic alias has been resolved. Nonzero: no more messages, see client_poll(). */
    int (*message)(void *arg, const struct publish *p);
    /* A QoS 1 or 2 publication is finished; reason >= 0x80: the server refused it. */
    void (*published)(void *arg, uint16_t packet_id, enum reason reason, struct view text);
    /* SUBACK, UNSUBACK. codes may be empty (3.x UNSUBACK). */
    void (*subscribed)(void *arg, enum packet type, const struct suback *s);
};

struct client_options {
    const char *host;           /* with port; unix_path instead: NULL */
    uint16_t port;
    const char *unix_path;
    const struct tls_client_options *tls;   /* NULL: without TLS; borrowed for client_open() only */
    unsigned timeout_ms;        /* for connecting, CONNACK included */
    unsigned window;            /* most unfinished publications, 1..65535 */
    bool trace;                 /* packets to stderr, without payloads */
    struct connect connect;     /* version 0 is not allowed; borrowed for client_open() only */
};

struct client;

/* Connects and waits for the CONNACK. NULL: why says it in words and *code is the server's reason code (3.x: its return
 * code 1..5), or 1 when there was none. events must outlive the client. */
struct client *client_open(const struct client_options *o, const struct client_events *events,
                           char why[CLIENT_WHY_MAX], int *code);
/* Frees at once, without DISCONNECT. NULL is fine. */
void client_free(struct client *c);
/* Sends what is staged and DISCONNECT (5.0: reason, properties), waits at most timeout_ms for it, frees. */
void client_close(struct client *c, enum reason reason, struct view props, unsigned timeout_ms);

bool client_may_publish(const struct client *c);
/* Publications without their final acknowledgement. */
unsigned client_unfinished(const struct client *c);
/* Received QoS 2 messages whose PUBREL has not come. */
unsigned client_unreleased(const struct client *c);
size_t client_staged(const struct client *c);

/* Stage a packet. The packet id, 0 for QoS 0; -1: the server can't take it, why says so. props: raw, 5.0 only. */
int client_publish(struct client *c, const struct publish *p, struct view props, char why[CLIENT_WHY_MAX]);
int client_subscribe(struct client *c, const struct subscription *subs, unsigned count, struct view props);
int client_unsubscribe(struct client *c, const struct view *filters, unsigned count);

enum { CLIENT_READ = 1, CLIENT_OTHER = 2, CLIENT_SENT = 4 };
/* Sends, waits up to timeout_ms (-1: for ever) for the server or for other_fd (-1: none) to have something, or for
 * everything staged to be gone; handles packets, keeps the connection alive. A set of CLIENT_*, 0: time is up or a
 * signal came, -1: the connection is over, client_why() says why. After message() has asked for no more, messages are
 * neither handled nor acknowledged. */
int client_poll(struct client *c, int other_fd, int timeout_ms);
const char *client_why(const struct client *c);

#endif
