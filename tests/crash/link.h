/* One client's connection, and what it may expect of its session. A test that links it provides the first part.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_TESTS_LINK_H
#define CADDIS_TESTS_LINK_H

#include "proto/proto.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- what the test provides ---- */

/* Time as the count of events: what matters is what came before what. */
uint64_t model_tick(void);
__attribute__((format(printf, 1, 2)))
void model_fail(const char *fmt, ...);

/* ---- link.c ---- */

enum session { SESSION_GONE, SESSION_PERHAPS, SESSION_KEPT };

struct buf {
    uint8_t *p;
    size_t len, cap;
};

struct link {
    char id[24];
    enum version version;
    int fd;                             /* -1: offline */
    bool up;                            /* CONNACK was there */
    bool lasting;                       /* the session of this connection outlives it */
    bool present;                       /* CONNACK said so */
    enum session session;               /* what the broker has after this connection */
    enum session expected;              /* what CONNACK must say */
    uint64_t since;                     /* model time of the CONNECT */
    uint64_t next_ms;                   /* when its owner wants to do something */
    uint16_t receive_max;               /* ours, announced; 0: not */
    uint16_t server_max;                /* the broker's Receive Maximum */
    uint16_t server_aliases;            /* and its Topic Alias Maximum */
    size_t sip;                         /* bytes that link_read() takes at most; 0: all there is */
    struct buf in, out;
    void (*packet)(struct link *l, struct frame f);
};

/* Offline, and all else zero. packet: gets everything that comes. */
__attribute__((format(printf, 4, 5)))
void link_init(struct link *l, enum version version, void (*packet)(struct link *l, struct frame f), const char *id,
               ...);
/* Closes it and frees its buffers. */
void link_fini(struct link *l);
/* Sends CONNECT, as *c says; version and client id are the link's. lasting: the session outlives the connection. */
void link_hello(struct link *l, uint16_t port, struct connect *c, bool lasting);
/* The usual one. clean: start afresh; lasting: the session stays. */
void link_connect(struct link *l, uint16_t port, bool clean, bool lasting);
/* Room for a packet of this size in the output. */
struct writer link_stage(struct link *l, size_t size);
void link_write(struct link *l);
/* Reads what is there and hands each packet on; takes the link down at the end of the stream. */
void link_read(struct link *l);
void link_down(struct link *l);
/* Says goodbye (or not) and closes. */
void link_leave(struct link *l, bool disconnect);
/* The broker has acknowledged something that it keeps in the session. */
void link_promised(struct link *l);
/* Hands over at most n bytes of what waits, and closes. reset: what was not read is thrown away, and the broker gets an
 * error. */
void link_cut(struct link *l, size_t n, bool reset);
void link_ack(struct link *l, enum packet type, uint16_t pid);

/* ---- acknowledgements that wait ---- */

enum { HELD_MAX = 4096 };

struct held {
    struct { uint8_t type; uint16_t pid; } v[HELD_MAX];     /* oldest first */
    unsigned n;
};

/* One more. If there is no room for it, all those before are sent. */
void link_hold(struct link *l, struct held *h, enum packet type, uint16_t pid);
/* Sends the n oldest. */
void link_release(struct link *l, struct held *h, unsigned n);

#endif
