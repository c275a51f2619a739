/* A network connection.
 *
 * Nobody writes to its socket outside conn_flush(), and nobody frees it inside its own handler: conn_close() marks it,
 * the reap phase of the turn detaches and frees it. An idle connection owns no buffer.
 *
 * Output is staged in three lanes. `out` may leave. `acks` are PUBACKs, in the order of their PUBLISHes
 * [MQTT-4.6.0-2], each waiting for its message to be safe. `held` is everything that waits for a commit, in order.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_CONN_H
#define CADDIS_BROKER_CONN_H

#include "broker/close_reason.h"
#include "broker/list.h"
#include "broker/loop.h"
#include "broker/outq.h"
#include "broker/timer.h"
#include "broker/transport.h"
#include "proto/proto.h"

struct broker;
struct listener;
struct session;
struct msg;
struct alias_in;
struct alias_out;
struct login;
struct tls;

/* One staged packet that may not leave yet: 24 bytes. */
struct hold {
    uint64_t seq;               /* the commit it waits for */
    union {
        struct msg *msg;        /* PUBACK: or until this message is safe; a reference, may be NULL */
        uint8_t *bytes;         /* other types: encoded packet of len bytes, or NULL: encode from pid and reason */
    };
    uint32_t len;
    uint16_t pid;
    uint8_t type;               /* enum packet; PUBLISH: send the session's delivery with this pid */
    uint8_t reason;
};

struct hold_queue {
    uint32_t head, count, mask;
    struct hold v[];            /* ring of mask + 1 entries, a power of two */
};

/* What a connection keeps back. */
struct holds {
    struct link all;            /* broker.holding */
    struct conn *c;
    uint64_t gate_seq;          /* nothing of c->out is written before this commit is durable */
    struct hold_queue *acks, *held; /* NULL: empty */
};

/* The beginning of a packet whose end has not come yet. The buffer grows with what arrives, not with what is
 * announced. */
struct rest {
    uint32_t len, cap;
    uint32_t need;              /* bytes of the packet; 0: not even that is known */
    uint8_t bytes[];
};

/* What is to be done for a connection in this turn, in the order of its phases. */
enum due {
    DUE_READ = 1,               /* there may be more to read, and epoll would not tell */
    DUE_PUMP = 2,               /* its session has something to send, perhaps */
    DUE_FLUSH = 4,              /* something may be written, or the loop must wait for something else */
    DUE_END = 8,                /* the reap phase frees it */
};

/* What few connections have, or have for a short time. */
struct rare {
    struct alias_in *aliases_in;
    struct alias_out *aliases_out;
    struct login *login;        /* not let in yet, or authenticating again */
    char *trouble;              /* more words for the log about why it ends, malloc'ed; NULL: none */
};
extern const struct rare rare_none;

enum conn_state { CONN_NEW, CONN_AUTHENTICATING, CONN_UP };

struct conn {
    struct loop_source source;
    const struct transport *transport;
    void *transport_state;
    struct tls *tls;            /* NULL: none. Has a place of its own: a WebSocket can stand above it */
    struct listener *listener;
    struct session *session;    /* NULL before CONNECT was accepted */
    struct link all;            /* listener.conns */
    struct link turn;           /* broker.turn, while anything is due */
    struct timer timer;         /* CONNECT timeout, then keep alive */
    struct outq out;
    struct holds *holds;        /* NULL: none */
    struct rest *rest;          /* cut-off packet; NULL: none */
    uint8_t due;                /* enum due */
    uint8_t state;              /* enum conn_state */
    uint8_t version;            /* 0 before CONNECT */
    uint8_t close_reason;       /* enum close_reason, valid when the end is due */
    uint8_t disconnect_reason;  /* what the client's DISCONNECT said */
    bool clean_end : 1;         /* the client sent DISCONNECT: no will */
    bool stalled : 1;           /* the pump stopped because there is too much to write */
    bool paused : 1;            /* not read from: the store is failing */
    bool problem_info : 1;      /* 5.0 Request Problem Information */
    bool by_scram : 1;          /* came in by enhanced authentication, and may authenticate again */
    uint16_t keepalive_s;
    uint16_t receive_max;       /* QoS 1/2 messages the client takes at a time */
    uint16_t receive_max_in;    /* the same the other way: what CONNACK said, whatever the configuration says now */
    uint16_t receiving;         /* QoS 1/2 messages of the client not yet answered for good */
    uint16_t alias_out_max;     /* topic aliases we may use towards the client */
    uint32_t max_packet;        /* largest packet the client takes; UINT32_MAX: any */
    uint32_t last_rx_ms;        /* when the last packet came, lower 32 bits: no keep alive is longer than two days */
    struct walks *walks;        /* retained messages still to be sent; NULL: none. retain.c */
    struct rare *rare;          /* never NULL; rare_none, which is not written, until conn_rare() */
    char peer[];                /* "192.0.2.7:51234", "[2001:db8::1]:51234", "unix" */
};
_Static_assert(sizeof(struct conn) <= 200, "there can be 50,000 of these");

/* Takes over the accepted fd. NULL: no memory or no room in epoll; the fd is closed. */
struct conn *conn_new(struct broker *b, struct listener *l, int fd, const char *peer);
/* Marks it for the reap phase; the first reason wins. A 5.0 client that is up is told (DISCONNECT). */
void conn_close(struct broker *b, struct conn *c, enum close_reason why);
/* The same with a Reason String for the client and the log. */
void conn_close_text(struct broker *b, struct conn *c, enum close_reason why, const char *text);
/* Why it ends when its transport has failed with this errno. */
enum close_reason conn_failure(int error);
/* More words for the log about why it is going to end; the first ones win. Without memory they are not kept. */
void conn_trouble(struct conn *c, const char *text);
static inline bool conn_closing(const struct conn *c)
{
    return (c->due & DUE_END) != 0;
}
/* To write to. NULL: no memory. */
struct rare *conn_rare(struct conn *c);
/* Its session goes on without it, or ends; the will is dealt with. Part of the reap phase, except at a take-over. */
void conn_detach(struct broker *b, struct conn *c);
/* Detaches and frees everything that is marked. */
void conn_reap(struct broker *b);
/* Bytes from the client, as if they had been read now. */
void conn_received(struct broker *b, struct conn *c, struct view in);
/* A phase of the turn has something to do for it. */
void conn_due(struct broker *b, struct conn *c, enum due what);
static inline void conn_dirty(struct broker *b, struct conn *c)
{
    conn_due(b, c, DUE_FLUSH);
}
/* The phases. Who gets due for one while it runs waits for the next turn. */
void conn_read_again(struct broker *b);
void conn_pump(struct broker *b);
/* Releases what may leave and writes once for each. */
void conn_flush(struct broker *b);
/* A different commit is durable: looks at everybody who holds something. */
void conn_release_all(struct broker *b);
/* Reading stops or goes on (store failing). */
void conn_pause(struct broker *b, struct conn *c, bool pause);

/* ---- staging ---- */

/* Room for one packet of n bytes in the lane that may leave. NULL: no memory; the connection is closing then. */
uint8_t *conn_room(struct broker *b, struct conn *c, size_t n);
/* PUBACK, PUBREC, PUBREL, PUBCOMP, at the latest when commit seq is durable (0: at once). m: PUBACK only, see hold.msg. */
void conn_ack(struct broker *b, struct conn *c, enum packet type, uint16_t pid, enum reason reason, uint64_t seq,
              struct msg *m);
/* A packet of n bytes to be filled by the caller, leaving when seq is durable. */
uint8_t *conn_hold_bytes(struct broker *b, struct conn *c, enum packet type, uint64_t seq, size_t n);
/* The delivery in flight under pid, leaving when seq is durable. */
void conn_hold_publish(struct broker *b, struct conn *c, uint16_t pid, uint64_t seq);

/* Releases what may leave and writes once: conn_flush() for one. */
void conn_write(struct broker *b, struct conn *c);
/* Forgets everything staged and held. */
void conn_drop_output(struct conn *c);

/* Nothing at all is written before this commit is durable (CONNACK that drops an old session). */
void conn_gate(struct broker *b, struct conn *c, uint64_t seq);
/* "sensor-7" or "", quoted for the log. */
const char *conn_name(const struct conn *c);

#endif
