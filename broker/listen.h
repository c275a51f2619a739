/* Listening sockets.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_LISTEN_H
#define CADDIS_BROKER_LISTEN_H

#include "broker/broker.h"

#include <pwd.h>

#define LISTEN_SOCKETS 8

struct tls_context;
struct sockaddr_storage;

struct listener {
    const struct config_listener *cfg;
    struct broker *b;
    struct link conns;
    uint16_t mount_len;             /* bytes of the mount point, which stays */
    uint32_t conn_count;
    struct listen_socket {
        struct loop_source source;
        struct listener *l;
        int pending_fd;             /* bound; in the loop from listen_start() on */
        char name[128];             /* "127.0.0.1:1883" */
    } sockets[LISTEN_SOCKETS];
    unsigned socket_count;
    const char *open_error;         /* why one of its addresses can't be bound, a constant text; NULL: all are */
    struct timer retry;             /* address not there yet, or no descriptors left */
    bool passed;                    /* the service manager opened its sockets */
    bool paused;                    /* no descriptors, no memory, or the end is near: with all the others */
    bool held;                      /* max_connection_rate */
    struct timer hold;
    uint64_t rate_us;               /* see struct broker */
    struct tls_context *tls;        /* NULL: plain */
    struct tls_context *tls_next;   /* between listen_load_tls() and listen_take_tls() */
    uint64_t tls_seen_ms;           /* when its files were last looked at */
    struct timer expiry;            /* once a day: does its certificate end soon? */
};

/* Binds every address of every listener. account: who the process is going to be, and gets the Unix sockets; NULL: who
 * it is. false: not one socket could be opened, or one that was passed fits nowhere; *why. */
bool listen_open(struct broker *b, const struct passwd *account, char **why);
/* For listen_passed.c. The sockets that the service manager hands over, each to its listener. false: one of them is for
 * none; *why. */
bool listen_take_passed(struct broker *b, char **why);
/* One more listening descriptor, taken over; accepted from once listen_start() has been called. false: errno. */
bool listener_add_socket(struct listener *l, int fd);
/* "192.0.2.7:51234", "[2001:db8::1]:51234", the path of a Unix socket. */
void listen_address_text(const struct sockaddr_storage *sa, char *out, size_t cap);
/* A new connection on this listener; the fd is taken over. */
void listener_accept(struct broker *b, struct listener *l, int fd, const char *peer);
/* Loads certificates, keys and what else the listeners name in this configuration, beside those in use. All or nothing;
 * false: broker_error() has been told what is wrong. */
bool listen_load_tls(struct broker *b, const struct config *cfg);
/* New connections get what was loaded, also where that is TLS for the first time or no longer; the listeners have their
 * new configuration. take false: it is thrown away. */
void listen_take_tls(struct broker *b, bool take);
/* When the first of the listeners' certificates ends; INT64_MAX: there is none. */
int64_t listen_expires_ms(const struct broker *b);
/* Starts accepting. */
void listen_start(struct broker *b);
void listen_stop(struct broker *b);      /* stops accepting; open connections stay */
void listen_close(struct broker *b);
/* A connection ended: listeners that stopped accepting for want of room go on. */
void listen_resume(struct broker *b);

#endif
