/* What a connection is sent: staging, holding back, releasing, writing.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/broker.h"
#include "broker/login.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* Pieces handed to one writev. */
#define IOV_MAX_FLUSH 64
/* Acknowledgements held for one client before it is no longer read from. */
#define HOLD_MAX 65536u

uint8_t *conn_room(struct broker *b, struct conn *c, size_t n)
{
    uint8_t *p = outq_room(&c->out, n);

    if (p == NULL)
        conn_close(b, c, CLOSE_NO_MEMORY);
    conn_dirty(b, c);
    return p;
}

/* ---- held back ---- */

static struct hold_queue *hold_grow(const struct hold_queue *q)
{
    uint32_t cap = q != NULL ? (q->mask + 1) * 2 : 8;
    struct hold_queue *more = mem_alloc(MEM_BUFFER, sizeof *more + cap * sizeof more->v[0]);

    if (more == NULL)
        return NULL;
    more->head = 0;
    more->count = q != NULL ? q->count : 0;
    more->mask = cap - 1;
    for (uint32_t i = 0; i < more->count; i++)
        more->v[i] = q->v[(q->head + i) & q->mask];
    return more;
}

static struct holds *holds_get(struct broker *b, struct conn *c)
{
    struct holds *h = c->holds;

    if (h != NULL)
        return h;
    h = mem_zero(MEM_BUFFER, sizeof *h);
    if (h == NULL) {
        conn_close(b, c, CLOSE_NO_MEMORY);
        return NULL;
    }
    h->c = c;
    list_push(&b->holding, &h->all);
    return c->holds = h;
}

static struct hold *hold_push(struct broker *b, struct conn *c, enum packet type)
{
    struct holds *holds = holds_get(b, c);
    struct hold_queue **qp, *q;

    if (holds == NULL)
        return NULL;
    qp = type == PKT_PUBACK ? &holds->acks : &holds->held;
    q = *qp;
    if (q == NULL || q->count > q->mask) {
        q = hold_grow(*qp);
        if (q == NULL) {
            conn_close(b, c, CLOSE_NO_MEMORY);
            return NULL;
        }
        mem_free(MEM_BUFFER, *qp);
        *qp = q;
    }
    return &q->v[(q->head + q->count++) & q->mask];
}

/* The first one is done with. */
static void hold_pop(struct hold_queue **qp)
{
    struct hold_queue *q = *qp;

    q->head = (q->head + 1) & q->mask;
    if (--q->count > 0)
        return;
    mem_free(MEM_BUFFER, q);
    *qp = NULL;
}

static void hold_clear(struct hold_queue **qp)
{
    while (*qp != NULL) {
        struct hold *h = &(*qp)->v[(*qp)->head];

        if (h->type != PKT_PUBACK) {
            mem_free(MEM_BUFFER, h->bytes);
        } else if (h->msg != NULL) {
            h->msg->ticket->acker = NULL;
            msg_unref(&h->msg);
        }
        hold_pop(qp);
    }
}

static uint32_t hold_count(const struct conn *c)
{
    const struct holds *h = c->holds;

    return h == NULL ? 0 : (h->acks != NULL ? h->acks->count : 0) + (h->held != NULL ? h->held->count : 0);
}

static void holds_free(struct conn *c)
{
    if (c->holds == NULL)
        return;
    hold_clear(&c->holds->acks);
    hold_clear(&c->holds->held);
    list_unlink(&c->holds->all);
    mem_free(MEM_BUFFER, c->holds);
    c->holds = NULL;
}

/* May `out` be written? */
static bool gate_open(const struct broker *b, const struct conn *c)
{
    return c->holds == NULL || journal_is_durable(&b->journal, c->holds->gate_seq);
}

void conn_drop_output(struct conn *c)
{
    holds_free(c);
    outq_clear(&c->out);
}

static void write_ack(struct broker *b, struct conn *c, enum packet type, uint16_t pid, enum reason reason)
{
    struct view why = { NULL, 0 };
    size_t n = ack_size(c->version, reason, why);
    uint8_t *p = conn_room(b, c, n);
    struct writer w;

    if (p == NULL)
        return;
    w = wr_make(p, n);
    ack_encode(type, pid, c->version, reason, why, &w);
    METRIC(b, MESSAGES_SENT)++;
    /* The client's own window opens with what ends its exchange, not with a PUBREL that belongs to none. */
    if ((type == PKT_PUBACK || (type == PKT_PUBCOMP && reason == R_OK) ||
         (type == PKT_PUBREC && reason >= R_UNSPECIFIED)) && c->receiving > 0)
        c->receiving--;
}

static bool msg_safe(const struct broker *b, const struct msg *m)
{
    const struct ticket *t = m->ticket;

    return t == NULL || t->open == 0 || (t->unsafe == 0 && journal_is_durable(&b->journal, t->seq));
}

void conn_ack(struct broker *b, struct conn *c, enum packet type, uint16_t pid, enum reason reason, uint64_t seq,
              struct msg *m)
{
    const struct holds *holds = c->holds;
    bool behind = holds != NULL && (type == PKT_PUBACK ? holds->acks : holds->held) != NULL;
    bool wait = !journal_is_durable(&b->journal, seq) || (m != NULL && !msg_safe(b, m));
    struct hold *h;

    if (!wait && !behind) {
        write_ack(b, c, type, pid, reason);
        return;
    }
    h = hold_push(b, c, type);
    if (h == NULL)
        return;
    *h = (struct hold){ .seq = seq, .pid = pid, .type = (uint8_t)type, .reason = (uint8_t)reason };
    if (m != NULL && wait && m->ticket != NULL) {
        h->msg = msg_ref(m);
        m->ticket->acker = c;
    }
}

uint8_t *conn_hold_bytes(struct broker *b, struct conn *c, enum packet type, uint64_t seq, size_t n)
{
    struct hold *h;
    uint8_t *bytes;

    if (journal_is_durable(&b->journal, seq) && (c->holds == NULL || c->holds->held == NULL)) {
        METRIC(b, MESSAGES_SENT)++;
        return conn_room(b, c, n);
    }
    bytes = mem_alloc(MEM_BUFFER, n);
    h = bytes != NULL ? hold_push(b, c, type) : NULL;
    if (h == NULL) {
        mem_free(MEM_BUFFER, bytes);
        conn_close(b, c, CLOSE_NO_MEMORY);
        return NULL;
    }
    *h = (struct hold){ .seq = seq, .bytes = bytes, .len = (uint32_t)n, .type = (uint8_t)type };
    return bytes;
}

void conn_hold_publish(struct broker *b, struct conn *c, uint16_t pid, uint64_t seq)
{
    struct hold *h = hold_push(b, c, PKT_PUBLISH);

    if (h != NULL)
        *h = (struct hold){ .seq = seq, .pid = pid, .type = PKT_PUBLISH };
}

static void release_publish(struct broker *b, struct conn *c, uint16_t pid)
{
    struct delivery *d = c->session != NULL ? session_inflight(c->session, pid) : NULL;

    if (d == NULL || d->state != SENT)
        return;
    if (!delivery_send(b, c, d) && !conn_closing(c))
        delivery_done(b, d);        /* too large for this client */
}

static void release_one(struct broker *b, struct conn *c, const struct hold *h)
{
    uint8_t *p;

    if (h->type == PKT_PUBLISH) {
        release_publish(b, c, h->pid);
    } else if (h->bytes == NULL) {
        write_ack(b, c, (enum packet)h->type, h->pid, (enum reason)h->reason);
    } else {
        p = conn_room(b, c, h->len);
        if (p != NULL)
            memcpy(p, h->bytes, h->len);
        METRIC(b, MESSAGES_SENT)++;
        mem_free(MEM_BUFFER, h->bytes);
    }
}

static void release(struct broker *b, struct conn *c)
{
    struct holds *holds = c->holds;

    while (holds->acks != NULL && !conn_closing(c)) {
        struct hold h = holds->acks->v[holds->acks->head];

        if (!journal_is_durable(&b->journal, h.seq) || (h.msg != NULL && !msg_safe(b, h.msg)))
            break;
        hold_pop(&holds->acks);
        if (h.msg != NULL) {
            h.msg->ticket->acker = NULL;
            msg_unref(&h.msg);
        }
        write_ack(b, c, PKT_PUBACK, h.pid, (enum reason)h.reason);
    }
    while (holds->held != NULL && !conn_closing(c)) {
        struct hold h = holds->held->v[holds->held->head];

        if (!journal_is_durable(&b->journal, h.seq))
            break;
        hold_pop(&holds->held);
        release_one(b, c, &h);
    }
    if (hold_count(c) == 0 && gate_open(b, c))
        holds_free(c);
}

void conn_gate(struct broker *b, struct conn *c, uint64_t seq)
{
    if (journal_is_durable(&b->journal, seq))
        return;
    if (holds_get(b, c) != NULL)
        c->holds->gate_seq = seq;
    else
        conn_drop_output(c);        /* it is closing, and must not be told that it was let in */
}

void conn_release_all(struct broker *b)
{
    LIST_EACH(l, &b->holding)
        conn_dirty(b, LIST_ENTRY(l, struct holds, all)->c);
}

/* ---- writing ---- */

/* What the loop is to wait for. A client that does not take its answers is not read from either. */
static void set_want(struct broker *b, struct conn *c)
{
    uint64_t limit = broker_write_limit(b);
    bool full = (limit < UINT64_MAX / 2 && c->out.bytes > 2 * limit) || hold_count(c) > HOLD_MAX;
    unsigned want = c->paused || full || login_computing(c) ? 0 : LOOP_READ;

    if ((c->out.bytes > 0 && gate_open(b, c)) ||
        (c->transport->unsent != NULL && c->transport->unsent(c)))
        want |= LOOP_WRITE;
    loop_want(&b->loop, &c->source, want);
}

static void write_out(struct broker *b, struct conn *c)
{
    struct iovec iov[IOV_MAX_FLUSH];
    int n = gate_open(b, c) ? outq_iov(&c->out, iov, IOV_MAX_FLUSH) : 0;
    ssize_t sent = n > 0 || c->transport->unsent != NULL ? c->transport->writev(c, iov, n) : 0;

    if (sent > 0) {
        METRIC(b, BYTES_SENT) += (uint64_t)sent;
        outq_sent(&c->out, (size_t)sent);
    } else if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
        outq_clear(&c->out);
        conn_close(b, c, conn_failure(errno));
    }
}

void conn_write(struct broker *b, struct conn *c)
{
    if (!conn_closing(c) && c->holds != NULL)
        release(b, c);
    retain_walk(b, c);
    if (c->out.bytes > 0 || c->transport->unsent != NULL)
        write_out(b, c);
    if (conn_closing(c))
        return;
    if (c->stalled && c->session != NULL && c->out.bytes <= broker_write_limit(b) / 2)
        session_wake(b, c->session);
    if (retain_walk_ready(b, c))
        conn_dirty(b, c);           /* more of it in the next turn */
    set_want(b, c);
}
