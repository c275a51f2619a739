/* Sessions and their deliveries.
 *
 * A session is a client's state on this side [MQTT-4.1]. It survives the connection when it is `durable`: 3.x with
 * clean session 0, 5.0 with a session expiry interval. Deliveries are what it must still be sent or has not yet
 * acknowledged; they stand in one order, by position. The lists and what else is of use only while something moves are
 * in a `struct flow` of its own, which a quiet session does without:
 *
 *     window: SENT, RELEASED ... then QUEUED ...   in RAM
 *     backlog                                      rows in the store only (durable sessions)
 *     tail                                         in RAM until the next commit, then part of the backlog
 *
 *  S1  Every position in window < every position in the backlog < every position in tail.
 *  S2  A delivery in window that is SENT or RELEASED has a packet id, and ring[pid & ring_mask] points at it. They come
 *      before all that are QUEUED.
 *  S3  While the backlog or tail is not empty, new deliveries go to tail.
 *  S4  A durable session that is offline keeps no delivery in RAM once the journal has written what it must, and no
 *      flow either unless it knows inbound ids (persistence on). With persistence off it keeps everything in window.
 *  S5  next is the first delivery of window that was not sent on this connection, or its head; inflight counts those
 *      before it. After a reconnect that is the first of all: what was in flight is sent again from there, in order.
 *  S6  A session without a flow of its own points at flow_none, which is empty for ever: reading needs no question.
 *
 * States: QUEUED -session_pump-> SENT -PUBACK-> gone                        (QoS 1)
 *         QUEUED -session_pump-> SENT -PUBREC-> RELEASED -PUBCOMP-> gone    (QoS 2)
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_SESSION_H
#define CADDIS_BROKER_SESSION_H

#include "broker/idset.h"
#include "broker/list.h"
#include "broker/msg.h"
#include "broker/sub.h"
#include "broker/timer.h"

struct broker;
struct conn;
struct access_rights;
struct persist_message;
struct persist_queue;
struct will;

enum delivery_state { QUEUED, SENT, RELEASED };

struct delivery {
    struct link order;              /* session.window or session.tail */
    struct link mark;               /* one of the journal's lists, or none */
    struct session *s;
    struct msg *msg;
    struct share *share;            /* shared group it came by, NULL: none; holds a reference */
    int64_t position;
    uint8_t *subids;                /* encoded Subscription Identifier properties, or NULL; subids_len bytes */
    uint32_t subids_len;
    uint16_t pid;                   /* 0 while QUEUED */
    uint8_t state;                  /* enum delivery_state */
    uint8_t qos;
    bool retain;                    /* RETAIN flag to send */
    bool dup;                       /* was (possibly) sent before */
    bool stored;                    /* has a row in the store */
    bool ticketed;                  /* counted in msg->ticket->open, and in unsafe unless stored */
    bool due;                       /* in the journal's list for the next commit, so are all before it */
    bool in_tail;
    bool flying;                    /* sent on this connection: counted in session.inflight */
};

struct flow {
    struct link window, tail;       /* struct delivery.order */
    struct link *next;              /* in window, see S5 */
    struct delivery **ring;         /* by packet id; NULL until first used */
    struct idset inbound;           /* QoS 2 ids received, PUBREL not yet */
    int64_t paged_position;         /* rows up to here have been taken into window, or were sent from RAM */
    uint64_t window_bytes;          /* of what is QUEUED in window */
    uint64_t inflight_bytes;
    uint32_t queued;                /* deliveries in window and tail that are QUEUED */
    uint16_t ring_mask;             /* slots - 1 */
    uint16_t inflight;
    uint16_t next_pid;
};
extern const struct flow flow_none;
_Static_assert(sizeof(struct flow) <= 104, "everybody who takes part in QoS 1 or 2 has one");

struct session {
    struct session *hash_next;
    struct ident *ident;
    struct conn *conn;              /* NULL: offline */
    struct flow *flow;              /* never written before flow_get(), see S6 */
    struct access_rights *rights;   /* what its client may do; NULL: there is no ACL where it came in */
    struct will *will;              /* armed, or waiting for its delay; NULL: none */
    struct link *subs;              /* ring of struct sub.by_session */
    struct timer timer;             /* expiry, while offline */
    int64_t db_id;                  /* 0: not durable */
    int64_t resend_to;              /* rows up to here may have been sent before the broker died */
    int64_t disconnected_ms;        /* wall clock; 0: connected */
    int64_t connected_ms;           /* wall clock */
    uint64_t promise_seq;           /* the commit that holds the last thing its client was promised */
    uint64_t queued_bytes;          /* of everything QUEUED, backlog and tail included */
    uint32_t rows_seq;              /* the commit that deletes the last row that is done with, its lower 32 bits */
    uint32_t route_at;              /* its place in matches.v, if it is there that the session stands */
    uint32_t mark;                  /* its place in journal.sessions + 1; 0: none */
    uint32_t expiry_s;              /* UINT32_MAX: never */
    uint32_t sub_count;
    uint32_t backlog;               /* rows only in the store */
    uint32_t dropped;
    uint16_t parked;                /* of the backlog, were in flight when the client left */
    uint8_t version;
    bool durable : 1;
    bool ending : 1;                /* session_free() is at work: the store forgets it as a whole */
    bool will_row : 1;              /* the store has a will for it */
};
_Static_assert(sizeof(struct session) <= 168, "there can be 100,000 of these, most of them offline");

struct sessions {
    struct hash_key key;
    struct session **slots;
    uint32_t mask, count, online;
};

bool sessions_init(struct sessions *t, const struct hash_key *key);
void sessions_fini(struct sessions *t);
struct session *session_find(const struct sessions *t, struct view client_id);

/* A new, offline session in the table. ident is taken over. NULL: no memory (ident is released). */
struct session *session_new(struct broker *b, struct ident *ident, bool durable);
/* Ends it: subscriptions, deliveries, will, row in the store. Messages of shared groups go to other members. */
void session_free(struct broker *b, struct session *s);
/* Are there rows to delete that the store still has? */
bool session_rows_pending(const struct broker *b, const struct session *s);
/* The next session in table order after s (NULL: the first), NULL at the end. */
struct session *session_each(const struct sessions *t, const struct session *s);

/* Its flow, made if it has none. NULL: no memory. */
struct flow *flow_get(struct session *s);
/* Frees the flow when nothing moves and nothing can be lost with it. */
void flow_rest(struct session *s);
/* A QoS 2 id has come in. false: no memory. */
bool session_inbound(struct session *s, uint16_t pid);

/* The commit that holds what its client is promised now: state, identifier or subscription that was just marked. An
 * answer that is given again waits for promise_seq: the first time may not be stored yet. */
uint64_t session_promise(struct broker *b, struct session *s);
bool session_online(const struct session *s);
/* Would it drop whatever message came next? */
bool session_full(const struct broker *b, const struct session *s);
/* Could it take a message that can wait elsewhere until then? One that is away takes what its limits allow; in RAM
 * alone nothing is kept beyond the window. */
bool session_has_room(const struct broker *b, const struct session *s, uint64_t bytes);
/* Counts messages as dropped that its full queue would not have taken. */
void session_drop_unseen(struct broker *b, struct session *s, uint32_t n);
/* Messages that wait for the client, those in flight not counted. */
static inline uint32_t session_waiting(const struct session *s)
{
    return s->flow->queued + s->backlog - s->parked;
}

/* Hands a message to one session: sends, queues or drops it. subids: encoded properties or empty. retain: flag to send.
 * Returns false when it was dropped. */
bool session_deliver(struct broker *b, struct session *s, struct incoming *in, uint8_t qos, bool retain,
                     struct view subids, struct share *share);
/* Sends what the window allows, pages in from the store when the window runs dry. */
void session_pump(struct broker *b, struct session *s);
/* Has work for session_pump() in the turn, if its client is there. */
void session_wake(struct broker *b, struct session *s);
/* The client is back: what was in flight is sent again in order [MQTT-4.4.0-1], [MQTT-4.6.0-1]. false: the store
 * can't take what is still in RAM, so its rows are incomplete; nothing changed. */
bool session_resume(struct broker *b, struct session *s);
/* The connection has gone; what is in RAM of a durable session moves to the store. */
void session_detach(struct broker *b, struct session *s);
/* The shorter of a session's expiry interval and persistent_client_expiration; UINT32_MAX: it never expires. */
uint32_t session_expiry_s(const struct broker *b, uint32_t asked_s);
/* Arms the timer that ends an offline session. */
void session_arm_expiry(struct broker *b, struct session *s, uint64_t due_ms);

/* By packet id; NULL: nothing in flight under it. */
struct delivery *session_inflight(const struct session *s, uint16_t pid);
/* Acknowledged, or given up: out of every list, its row deleted in time. */
void delivery_done(struct broker *b, struct delivery *d);
/* The journal has written it and nobody needs it in RAM. */
void delivery_page_out(struct broker *b, struct delivery *d);
/* Gives it a packet id and a place in the ring. pid 0: chooses one. false: no memory or the id is taken. */
bool delivery_assign(struct session *s, struct delivery *d, uint16_t pid);
/* Sends it on the session's connection. false: it can never be sent to this client (too large). */
bool delivery_send(struct broker *b, struct conn *c, const struct delivery *d);
/* Puts a row of the store into window. */
bool delivery_restore(struct broker *b, struct session *s, const struct persist_queue *q,
                      const struct persist_message *m);

#endif
