/* Application messages.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/msg.h"

#include "broker/calendar.h"

#include "persist/persist.h"
#include "proto/publish.h"

#include <assert.h>
#include <string.h>

struct ident *ident_new(struct view id, struct view user)
{
    struct ident *i = mem_alloc(MEM_SESSION, sizeof *i + id.len + user.len + 2);

    if (i == NULL)
        return NULL;
    i->refs = 1;
    i->id_len = (uint16_t)id.len;
    i->user_len = (uint16_t)user.len;
    i->has_user = user.p != NULL;
    if (id.len > 0)
        memcpy(i->data, id.p, id.len);
    i->data[id.len] = '\0';
    if (user.len > 0)
        memcpy(i->data + id.len + 1, user.p, user.len);
    i->data[id.len + 1 + user.len] = '\0';
    return i;
}

struct ident *ident_ref(struct ident *i)
{
    if (i != NULL)
        i->refs++;
    return i;
}

void ident_unref(struct ident **ip)
{
    struct ident *i = *ip;

    *ip = NULL;
    if (i == NULL)
        return;
    assert(i->refs > 0);
    if (--i->refs == 0)
        mem_free(MEM_SESSION, i);
}

static uint8_t *put(uint8_t *at, struct view v)
{
    if (v.len > 0)
        memcpy(at, v.p, v.len);
    return at + v.len;
}

struct msg *msg_new(const struct incoming *in)
{
    size_t n = in->topic.len + 1 + in->props.len + in->payload.len;
    struct msg *m = mem_alloc(MEM_MSG, sizeof *m + n);
    uint8_t *at;

    if (m == NULL)
        return NULL;
    *m = (struct msg){
        .refs = 1,
        .payload_len = (uint32_t)in->payload.len,
        .props_len = (uint32_t)in->props.len,
        .topic_len = (uint16_t)in->topic.len,
        .qos = in->qos,
        .retain = in->retain,
        .expires_ms = in->expires_ms,
        .received_ms = in->received_ms,
        .from = ident_ref(in->from),
    };
    at = put(m->data, in->topic);
    *at++ = '\0';
    put(put(at, in->props), in->payload);
    return m;
}

bool msg_keepable(const struct persist_message *p, struct view subids)
{
    return publish_keepable((struct view){ p->topic.p, p->topic.len }, (struct view){ p->props.p, p->props.len }, subids,
                            (struct view){ p->payload.p, p->payload.len });
}

struct msg *msg_restore(const struct broker *b, const struct persist_message *p)
{
    struct incoming in = {
        .topic = { p->topic.p, p->topic.len }, .payload = { p->payload.p, p->payload.len },
        .props = { p->props.p, p->props.len }, .qos = (uint8_t)p->qos, .retain = p->retain,
        .expires_ms = p->expires_ms == 0 ? 0 : calendar_due(b, p->received_ms, p->expires_ms),
        .received_ms = calendar_mono(b, p->received_ms),
    };

    return msg_new(&in);
}

struct msg *msg_ref(struct msg *m)
{
    m->refs++;
    return m;
}

void msg_unref(struct msg **mp)
{
    struct msg *m = *mp;

    *mp = NULL;
    if (m == NULL)
        return;
    assert(m->refs > 0);
    if (--m->refs > 0)
        return;
    ident_unref(&m->from);
    mem_free(MEM_MSG, m->ticket);
    mem_free(MEM_MSG, m);
}

struct ticket *msg_ticket(struct msg *m, int64_t id, uint64_t now_ms)
{
    if (m->ticket != NULL)
        return m->ticket;
    m->ticket = mem_zero(MEM_MSG, sizeof *m->ticket);
    if (m->ticket == NULL)
        return NULL;
    m->ticket->id = id;
    m->ticket->arrived_ms = now_ms;
    return m->ticket;
}

struct msg *incoming_msg(struct incoming *in)
{
    if (in->msg == NULL)
        in->msg = msg_new(in);
    return in->msg;
}

void incoming_done(struct incoming *in)
{
    msg_unref(&in->msg);
}
