/* Application messages.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_MSG_H
#define CADDIS_BROKER_MSG_H

#include "broker/mem.h"
#include "proto/reader.h"

struct broker;

/* Who published: client id and user name, shared by a session and its messages. Immutable, refcounted. */
struct ident {
    uint32_t refs;
    uint16_t id_len, user_len;
    bool has_user;
    char data[];                /* client id, NUL, user name, NUL */
};
/* refs == 1. user.p NULL: no user name. NULL: no memory. */
struct ident *ident_new(struct view id, struct view user);
struct ident *ident_ref(struct ident *i);
void ident_unref(struct ident **ip);
static inline struct view ident_id(const struct ident *i)
{
    return (struct view){ (const uint8_t *)i->data, i->id_len };
}
static inline struct view ident_user(const struct ident *i)
{
    return (struct view){ i->has_user ? (const uint8_t *)i->data + i->id_len + 1 : NULL, i->user_len };
}

/* What the store and the publisher's acknowledgement need to know of a message that has durable recipients. */
struct ticket {
    int64_t id;                 /* message.message_id */
    uint64_t seq;               /* last commit that wrote one of its deliveries; 0: none did */
    uint64_t attempt;           /* commit attempt that has put the message row already */
    uint64_t arrived_ms;        /* monotonic */
    uint32_t open;              /* durable deliveries not yet acknowledged or dropped */
    uint32_t unsafe;            /* of these, not yet written */
    uint32_t rows;              /* durable deliveries it was routed to: > 1 means "shared" in the store */
    struct conn *acker;         /* publisher's connection whose acknowledgement waits for this; NULL: none */
};

/* One application message. Immutable after msg_new(), its ticket excepted. Every delivery, the retained store and every
 * staged output hold one reference each; the last msg_unref() frees it. */
struct msg {
    uint32_t refs;
    uint32_t payload_len;       /* bytes */
    uint32_t props_len;         /* bytes: properties to forward, as props_forward() writes them */
    uint16_t topic_len;         /* bytes, without the NUL */
    uint8_t qos;                /* as published, 0..2 */
    bool retain;                /* as published */
    uint64_t expires_ms;        /* monotonic; 0: never */
    int64_t received_ms;        /* monotonic; negative: before the machine booted */
    struct ident *from;         /* NULL: the broker itself */
    struct ticket *ticket;      /* NULL until the message has a durable recipient */
    uint8_t data[];             /* topic, NUL, properties, payload */
};
_Static_assert(sizeof(struct msg) <= 56, "there can be 100,000 of these");

struct encoded;
struct session;

/* A message on its way in: views only, nothing owned. Turned into a msg when somebody must keep it. */
struct incoming {
    struct view topic, payload;
    struct view props;          /* forwardable properties, encoded */
    uint8_t qos;
    bool retain;
    uint64_t expires_ms;        /* monotonic; 0: never */
    int64_t received_ms;        /* monotonic; negative: before the machine booted */
    struct ident *from;         /* borrowed */
    struct session *origin;     /* publisher's session, for No Local; NULL: the broker */
    struct msg *msg;            /* made on demand; incoming_done() drops this reference */
    bool no_memory;             /* somebody who was to get it did not for that reason */
    bool shared;                /* a member of a group got it, who may leave it to another */
    bool moved;                 /* another session had it, and may have been promised for: it is written at once */
    struct encoded *encoded;    /* route_publish(): packets that several connections get alike */
};
/* A kept message as if it came in: views into m, which in->msg refers to as well. */
static inline struct incoming incoming_from(struct msg *m);
/* The message for `in`, made at the first call; a borrowed reference. NULL: no memory. */
struct msg *incoming_msg(struct incoming *in);
void incoming_done(struct incoming *in);

/* Copies everything. refs == 1. NULL: no memory. */
struct msg *msg_new(const struct incoming *in);
struct persist_message;
/* Does what was stored keep MQTT's rules? The store does not know them, and what breaks them must not reach a client.
 * subids: of the delivery, or empty. */
bool msg_keepable(const struct persist_message *p, struct view subids);
/* What was stored. expires_ms is set, the publisher is not. NULL: no memory. */
struct msg *msg_restore(const struct broker *b, const struct persist_message *p);
struct msg *msg_ref(struct msg *m);
/* Drops the caller's reference and clears the caller's pointer. NULL is fine. */
void msg_unref(struct msg **mp);
/* The message's ticket, made with this id if there is none yet. NULL: no memory. */
struct ticket *msg_ticket(struct msg *m, int64_t id, uint64_t now_ms);

static inline struct view msg_topic(const struct msg *m)
{
    return (struct view){ m->data, m->topic_len };
}
static inline struct view msg_props(const struct msg *m)
{
    return (struct view){ m->data + m->topic_len + 1, m->props_len };
}
static inline struct view msg_payload(const struct msg *m)
{
    return (struct view){ m->data + m->topic_len + 1 + m->props_len, m->payload_len };
}
/* What counts against byte limits: topic, properties and payload. */
static inline uint64_t msg_bytes(const struct msg *m)
{
    return (uint64_t)m->topic_len + m->props_len + m->payload_len;
}
static inline struct incoming incoming_from(struct msg *m)
{
    return (struct incoming){ .topic = msg_topic(m), .payload = msg_payload(m), .props = msg_props(m), .qos = m->qos,
                              .retain = m->retain, .expires_ms = m->expires_ms, .received_ms = m->received_ms,
                              .from = m->from, .msg = msg_ref(m) };
}
static inline bool msg_expired(const struct msg *m, uint64_t now_ms)
{
    return m->expires_ms != 0 && m->expires_ms <= now_ms;
}

#endif
