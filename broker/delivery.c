/* Deliveries: what one session must be sent, from routing to its last acknowledgement. The states and the places where
 * a delivery can stand are described in session.h.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/auth.h"
#include "broker/broker.h"
#include "broker/route.h"
#include "broker/shed.h"

#include <assert.h>
#include <string.h>

/* More than this waiting in RAM for a durable session spills to the store. */
#define WINDOW_MESSAGES 400
#define WINDOW_BYTES    65536

/* One page from the store. */
#define PAGE_ROWS  50
#define PAGE_BYTES 65536

/* Deliveries sent to one session in one turn; the others wait for the next. */
#define PUMP_BATCH 512

#define RING_MIN 8u

/* What a connection may have unsent even when memory is short. */
#define UNSENT_WHEN_SHORT 4096

static bool stored_session(const struct broker *b, const struct session *s)
{
    return s->durable && journal_on(&b->journal);
}

static struct delivery *at(struct link *l)
{
    return LIST_ENTRY(l, struct delivery, order);
}

/* ---- packet identifiers ---- */

struct delivery *session_inflight(const struct session *s, uint16_t pid)
{
    const struct flow *f = s->flow;
    struct delivery *d;

    if (f->ring == NULL)
        return NULL;
    d = f->ring[pid & f->ring_mask];
    return d != NULL && d->pid == pid ? d : NULL;
}

/* Twice the slots: two ids that shared one may part, two that did not never meet. */
static bool ring_grow(struct flow *f)
{
    uint32_t size = f->ring != NULL ? (uint32_t)(f->ring_mask + 1) * 2 : RING_MIN;
    struct delivery **ring;

    if (size > 65536)
        return false;
    ring = mem_zero(MEM_SESSION, size * sizeof(struct delivery *));
    if (ring == NULL)
        return false;
    for (uint32_t i = 0; f->ring != NULL && i <= f->ring_mask; i++)
        if (f->ring[i] != NULL)
            ring[f->ring[i]->pid & (size - 1)] = f->ring[i];
    mem_free(MEM_SESSION, f->ring);
    f->ring = ring;
    f->ring_mask = (uint16_t)(size - 1);
    return true;
}

static uint16_t choose_pid(struct flow *f)
{
    for (uint32_t tries = 0; f->ring != NULL && tries <= f->ring_mask; tries++) {
        uint16_t pid = ++f->next_pid != 0 ? f->next_pid : ++f->next_pid;    /* [MQTT311-2.3.1-1], [MQTT5-2.2.1-3] */

        if (f->ring[pid & f->ring_mask] == NULL)
            return pid;
    }
    return 0;
}

bool delivery_assign(struct session *s, struct delivery *d, uint16_t pid)
{
    struct flow *f = s->flow;

    if (pid == 0) {
        while ((pid = choose_pid(f)) == 0)
            if (!ring_grow(f))
                return false;
    } else {
        while (f->ring == NULL || f->ring[pid & f->ring_mask] != NULL)
            if (session_inflight(s, pid) != NULL || !ring_grow(f))
                return false;
    }
    d->pid = pid;
    f->ring[pid & f->ring_mask] = d;
    return true;
}

/* ---- in and out of the lists ---- */

static void count_queued(struct session *s, const struct delivery *d, bool in)
{
    struct flow *f = s->flow;
    uint64_t n = msg_bytes(d->msg);

    if (d->state != QUEUED)
        return;
    if (in) {
        f->queued++;
        s->queued_bytes += n;
        f->window_bytes += d->in_tail ? 0 : n;
    } else {
        f->queued--;
        s->queued_bytes -= n;
        f->window_bytes -= d->in_tail ? 0 : n;
    }
}

/* Out of every list and into the free store; the row is somebody else's business. */
static void unlink_and_free(struct broker *b, struct delivery *d)
{
    struct flow *f = d->s->flow;

    if (f->next == &d->order)
        f->next = d->order.next;
    list_unlink(&d->order);
    list_unlink(&d->mark);
    if (d->flying) {
        f->inflight--;
        f->inflight_bytes -= msg_bytes(d->msg);
    }
    if (d->pid != 0 && session_inflight(d->s, d->pid) == d)
        f->ring[d->pid & f->ring_mask] = NULL;
    share_unref(&b->subs, &d->share);
    msg_unref(&d->msg);
    mem_free(MEM_MSG, d->subids);
    mem_free(MEM_MSG, d);
}

void delivery_done(struct broker *b, struct delivery *d)
{
    struct session *s = d->s;
    struct flow *f = s->flow;

    count_queued(s, d, false);
    journal_delivery_gone(b, d);
    unlink_and_free(b, d);
    if (f->next != &f->window || s->backlog > 0 || !list_empty(&f->tail))
        session_wake(b, s);
    if (s->conn != NULL && s->conn->walks != NULL)
        conn_dirty(b, s->conn);
}

void delivery_page_out(struct broker *b, struct delivery *d)
{
    struct session *s = d->s;

    assert(d->stored && d->in_tail);
    if (d->state == QUEUED)
        s->flow->queued--;              /* its bytes stay in queued_bytes: it still waits */
    else if (s->parked < UINT16_MAX)
        s->parked++;
    s->backlog++;
    unlink_and_free(b, d);
}

static struct delivery *delivery_new(struct session *s, struct msg *m, struct view subids)
{
    struct delivery *d = flow_get(s) != NULL ? mem_zero(MEM_MSG, sizeof *d) : NULL;

    if (d == NULL)
        return NULL;
    if (subids.len > 0) {
        d->subids = mem_alloc(MEM_MSG, subids.len);
        if (d->subids == NULL) {
            mem_free(MEM_MSG, d);
            return NULL;
        }
        memcpy(d->subids, subids.p, subids.len);
        d->subids_len = (uint32_t)subids.len;
    }
    list_init(&d->order);
    list_init(&d->mark);
    d->s = s;
    d->msg = msg_ref(m);
    return d;
}

/* ---- a new message for the session ---- */

static void drop_some(struct broker *b, struct session *s, const char *reason, uint32_t n, struct view topic)
{
    METRIC(b, PUBLISH_DROPPED) += n;
    s->dropped += n;
    journal_dropped(b, ident_id(s->ident), reason, n, topic);
    if (log_allow(&b->limit_drop, 5, b->now_ms))
        log_warning("message dropped reason=%s id=%s topic=%s waiting=%u dropped=%u", reason,
                    log_q(s->ident->data, s->ident->id_len), log_q(topic.p, topic.len), session_waiting(s), s->dropped);
}

static void drop(struct broker *b, struct session *s, const char *reason, struct view topic)
{
    drop_some(b, s, reason, 1, topic);
}

void session_drop_unseen(struct broker *b, struct session *s, uint32_t n)
{
    drop_some(b, s, "queue-full", n, (struct view){ NULL, 0 });
}

static uint32_t inflight_limit(const struct broker *b, const struct session *s)
{
    uint32_t limit = b->cfg->max_inflight_messages;

    return s->conn != NULL && s->conn->receive_max < limit ? s->conn->receive_max : limit;
}

static bool window_open(const struct broker *b, const struct session *s, uint64_t bytes)
{
    const struct flow *f = s->flow;

    if (f->inflight >= inflight_limit(b, s))
        return false;
    return b->cfg->max_inflight_bytes == 0 || f->inflight == 0 ||
           f->inflight_bytes + bytes <= b->cfg->max_inflight_bytes;
}

/* Will the pump, at the end of this turn, send all that waits and this message too? Then none of it waits. */
static bool pump_takes_all(const struct broker *b, const struct session *s, uint64_t bytes)
{
    const struct flow *f = s->flow;

    return session_online(s) && s->backlog == 0 && f->inflight + f->queued < inflight_limit(b, s) &&
           (b->cfg->max_inflight_bytes == 0 ||
            f->inflight_bytes + s->queued_bytes + bytes <= b->cfg->max_inflight_bytes);
}

static bool queue_full(const struct broker *b, const struct session *s, uint64_t bytes)
{
    uint64_t max = b->cfg->max_queued_messages;

    /* What the pump will send at the end of this turn does not wait. */
    if (max > 0 && session_online(s) && inflight_limit(b, s) > s->flow->inflight)
        max += inflight_limit(b, s) - s->flow->inflight;
    if (max > 0 && session_waiting(s) >= max)
        return true;
    if (b->cfg->max_queued_bytes == 0 || s->queued_bytes + bytes <= b->cfg->max_queued_bytes)
        return false;
    return !pump_takes_all(b, s, bytes);
}

bool session_full(const struct broker *b, const struct session *s)
{
    return b->cfg->queue_full != QUEUE_FULL_DROP_OLDEST && queue_full(b, s, 1);
}

bool session_has_room(const struct broker *b, const struct session *s, uint64_t bytes)
{
    const struct flow *f = s->flow;

    if (!session_online(s))
        return true;
    if (s->conn->out.bytes > broker_write_limit(b))
        return false;
    return stored_session(b, s) ? !queue_full(b, s, bytes) : f->inflight + f->queued < inflight_limit(b, s);
}

/* Of what is QUEUED in RAM. */
static uint64_t bytes_in_ram(const struct session *s)
{
    uint64_t n = s->flow->window_bytes;

    LIST_EACH(l, &s->flow->tail)
        n += at(l)->state == QUEUED ? msg_bytes(at(l)->msg) : 0;
    return n;
}

/* Of the oldest message that is only in the store: the average. */
static uint64_t guess_bytes(const struct session *s)
{
    uint64_t in_ram = bytes_in_ram(s);

    return s->queued_bytes > in_ram ? (s->queued_bytes - in_ram) / (s->backlog - s->parked) : 0;
}

/* Room for a new message by giving up the oldest one that waits. Order: window, then the store, then tail. */
static bool drop_oldest(struct broker *b, struct session *s)
{
    struct flow *f = s->flow;

    for (struct link *l = f->next; l != &f->window; l = l->next)
        if (at(l)->state == QUEUED) {
            drop(b, s, "queue-full", msg_topic(at(l)->msg));
            delivery_done(b, at(l));
            return true;
        }
    if (s->backlog > s->parked) {
        uint64_t guess = guess_bytes(s);

        drop(b, s, "queue-full", (struct view){ NULL, 0 });
        journal_drop_oldest(b, s, guess);
        s->queued_bytes -= guess;
        s->backlog--;
        return true;
    }
    LIST_EACH(l, &f->tail)
        if (at(l)->state == QUEUED) {
            drop(b, s, "queue-full", msg_topic(at(l)->msg));
            delivery_done(b, at(l));
            return true;
        }
    return false;
}

/* What is larger than the whole queue gains nothing by emptying it. */
static bool may_fit(const struct broker *b, uint64_t bytes)
{
    return b->cfg->max_queued_bytes == 0 || bytes <= b->cfg->max_queued_bytes;
}

/* false: the new message is the one to go. */
static bool make_room(struct broker *b, struct session *s, const struct incoming *in)
{
    uint64_t bytes = in->topic.len + in->props.len + in->payload.len;

    while (queue_full(b, s, bytes)) {
        if (b->cfg->queue_full == QUEUE_FULL_DROP_OLDEST && may_fit(b, bytes) && drop_oldest(b, s))
            continue;
        if (b->cfg->queue_full == QUEUE_FULL_DISCONNECT && session_online(s))
            conn_close(b, s->conn, CLOSE_QUEUE_FULL);
        drop(b, s, "queue-full", in->topic);
        return false;
    }
    return true;
}

static bool deliver_now(struct broker *b, struct session *s, struct incoming *in, bool retain, struct view subids)
{
    struct send p = { .topic = in->topic, .payload = in->payload, .props = in->props, .subids = subids,
                      .expires_ms = in->expires_ms, .retain = retain, .encoded = in->encoded };

    if (s->conn->out.bytes > broker_write_limit(b)) {
        drop(b, s, "slow-reader", in->topic);
        return false;
    }
    if (s->conn->out.bytes > UNSENT_WHEN_SHORT && shed(b, SHED_MESSAGES)) {
        drop(b, s, "memory-limit", in->topic);
        return false;
    }
    if (in->payload.len >= OUTQ_BY_REFERENCE)
        p.msg = incoming_msg(in);
    else
        p.msg = in->msg;
    if (send_publish(b, s->conn, &p))
        return true;
    if (!conn_closing(s->conn))
        drop(b, s, "too-large", in->topic);
    return false;
}

static void enqueue(struct broker *b, struct session *s, struct delivery *d)
{
    struct flow *f = s->flow;
    bool offline = stored_session(b, s) && !session_online(s);
    bool spill = offline || s->backlog > 0 || !list_empty(&f->tail) ||
                 (stored_session(b, s) && (f->queued >= WINDOW_MESSAGES || f->window_bytes >= WINDOW_BYTES));

    if (spill && s->backlog == 0 && list_empty(&f->tail))
        f->paged_position = d->position - 1;
    d->in_tail = spill;
    list_push(spill ? &f->tail : &f->window, &d->order);
    if (!spill && f->next == &f->window)
        f->next = &d->order;
    count_queued(s, d, true);
}

bool session_deliver(struct broker *b, struct session *s, struct incoming *in, uint8_t qos, bool retain,
                     struct view subids, struct share *share)
{
    struct delivery *d;
    struct msg *m;

    /* Where QoS 0 is queued, it may not overtake its like. [MQTT311-4.6.0-6], [MQTT5-4.6.0-5] */
    if (qos == 0 && session_online(s) && !(b->cfg->queue_qos0_messages && s->durable && session_waiting(s) > 0))
        return deliver_now(b, s, in, retain, subids);
    if (qos == 0 && !(b->cfg->queue_qos0_messages && s->durable))
        return false;
    if (!s->durable && !session_online(s))
        return false;
    if (!make_room(b, s, in))
        return false;
    if (!stored_session(b, s) && (session_waiting(s) > 0 || !window_open(b, s, in->payload.len)) &&
        shed(b, SHED_MESSAGES)) {
        drop(b, s, "memory-limit", in->topic);
        return false;
    }
    m = incoming_msg(in);
    d = m != NULL ? delivery_new(s, m, subids) : NULL;
    if (d == NULL || (stored_session(b, s) && msg_ticket(m, b->journal.next_id, b->now_ms) == NULL)) {
        if (d != NULL)
            unlink_and_free(b, d);
        in->no_memory = true;
        flow_rest(s);
        drop(b, s, "no-memory", in->topic);
        return false;
    }
    in->shared |= share != NULL;
    if (m->ticket != NULL && m->ticket->rows < 2 && (m->retain || in->shared))
        m->ticket->rows = 2;            /* it may be delivered again later: its row never belongs to one queue alone */
    d->position = b->journal.next_id++;
    d->qos = qos;
    d->retain = retain;
    d->share = share;
    if (share != NULL)
        share->refs++;
    enqueue(b, s, d);
    if (stored_session(b, s))
        journal_delivery_new(b, d, d->in_tail || in->qos == 2 || in->moved);
    if (session_online(s))
        session_wake(b, s);
    return true;
}

/* ---- the pump ---- */

struct paging {
    struct broker *b;
    struct session *s;
    unsigned rows, skipped, gone;
    bool no_memory;
};

/* As far as its QoS has such a state: nobody would ever acknowledge it otherwise. */
static uint8_t restored_state(const struct persist_queue *q)
{
    if (q->qos == 0)
        return QUEUED;
    return q->qos == 1 && q->state == PERSIST_RELEASED ? SENT : (uint8_t)q->state;
}

bool delivery_restore(struct broker *b, struct session *s, const struct persist_queue *q,
                      const struct persist_message *m)
{
    struct msg *msg = msg_restore(b, m);
    struct delivery *d = NULL;

    if (msg != NULL && msg_ticket(msg, m->id, b->now_ms) != NULL)
        d = delivery_new(s, msg, (struct view){ q->subids.p, q->subids.len });
    if (d != NULL) {
        msg->ticket->rows = q->shared ? 2 : 1;
        d->position = q->position;
        d->qos = (uint8_t)q->qos;
        d->retain = q->retain;
        d->state = restored_state(q);
        d->dup = d->qos > 0 && (q->state != PERSIST_QUEUED || q->position <= s->resend_to);
        d->stored = true;
        if (d->state != QUEUED && session_inflight(s, (uint16_t)q->packet_id) != NULL) {
            d->state = QUEUED;          /* two rows claim one packet id: the later one is sent as new */
        } else if (d->state != QUEUED && !delivery_assign(s, d, (uint16_t)q->packet_id)) {
            unlink_and_free(b, d);
            msg_unref(&msg);
            return false;
        }
        list_push(&s->flow->window, &d->order);
        if (s->flow->next == &s->flow->window)
            s->flow->next = &d->order;
    }
    msg_unref(&msg);
    return d != NULL;
}

static int paged(void *arg, const struct persist_queue *q, const struct persist_message *m)
{
    struct paging *p = arg;
    struct session *s = p->s;
    bool fits = msg_keepable(m, (struct view){ q->subids.p, q->subids.len });
    struct flow *f = flow_get(s);
    struct delivery *d;

    if (f != NULL && fits && q->state == PERSIST_QUEUED && journal_drops_oldest(&p->b->journal, s)) {
        p->no_memory = !journal_drop_fetched(p->b, s, q);
        if (p->no_memory)
            return 1;
        f->paged_position = q->position;
        p->gone++;
        return 0;
    }
    if (f == NULL || (fits && !delivery_restore(p->b, s, q, m))) {
        p->no_memory = true;
        return 1;
    }
    f->paged_position = q->position;
    if (s->backlog > 0)
        s->backlog--;
    if (q->state != PERSIST_QUEUED && s->parked > 0)
        s->parked--;
    if (q->state == PERSIST_QUEUED)
        s->queued_bytes -= q->bytes;
    if (!fits) {
        p->skipped++;
        return 0;
    }
    p->rows++;
    d = at(f->window.prev);
    if (d->state == QUEUED) {
        f->queued++;
        f->window_bytes += msg_bytes(d->msg);
        s->queued_bytes += msg_bytes(d->msg);       /* as q->bytes says, but for rows that others have changed */
    }
    return 0;
}

/* What came while the backlog was being fetched is next. false: no memory; the connection is closing. */
static bool tail_to_window(struct broker *b, struct session *s)
{
    struct flow *f = s->flow;

    f->next = f->tail.next;
    LIST_EACH(l, &f->tail) {
        at(l)->in_tail = false;
        if (at(l)->state != QUEUED && session_inflight(s, at(l)->pid) != at(l) &&
            !delivery_assign(s, at(l), at(l)->pid)) {
            conn_close(b, s->conn, CLOSE_NO_MEMORY);
            return false;
        }
        f->window_bytes += at(l)->state == QUEUED ? msg_bytes(at(l)->msg) : 0;
    }
    list_splice(&f->window, &f->tail);
    return true;
}

/* The next delivery to send, fetched from the store if need be; NULL: none. */
static struct delivery *refill(struct broker *b, struct session *s)
{
    struct paging p = { .b = b, .s = s };

    if (s->flow->next != &s->flow->window)
        return at(s->flow->next);
    if (s->backlog > 0) {
        enum persist_rc rc;

        rc = persist_queue_page(b->journal.db, s->db_id, s->flow->paged_position, PAGE_ROWS, PAGE_BYTES, paged, &p);
        if (rc != PERSIST_OK) {
            log_error("queue can't be read id=%s error=%s", log_q(s->ident->data, s->ident->id_len),
                      log_qs(persist_error(b->journal.db)));
            conn_close(b, s->conn, CLOSE_UNAVAILABLE);
            return NULL;
        }
        if (p.no_memory && p.rows == 0) {
            conn_close(b, s->conn, CLOSE_NO_MEMORY);
            return NULL;
        }
        if (p.skipped > 0) {
            log_warning("rows in the store break MQTT's rules and stay there id=%s rows=%u",
                        log_q(s->ident->data, s->ident->id_len), p.skipped);
            session_wake(b, s);         /* the page may have held nothing else */
        } else if (p.gone > 0 && p.rows == 0) {
            session_wake(b, s);
        } else if (p.rows == 0) {
            /* Rows that broke the rules, or were taken out by somebody else. */
            log_warning("rows missing in the store id=%s rows=%u", log_q(s->ident->data, s->ident->id_len), s->backlog);
            s->backlog = s->parked = 0;
            s->queued_bytes = bytes_in_ram(s);
        }
    }
    if (s->backlog == 0 && s->flow->next == &s->flow->window && !list_empty(&s->flow->tail) && !tail_to_window(b, s))
        return NULL;
    return s->flow->next != &s->flow->window ? at(s->flow->next) : NULL;
}

bool delivery_send(struct broker *b, struct conn *c, const struct delivery *d)
{
    struct send p = { .topic = msg_topic(d->msg), .payload = msg_payload(d->msg), .props = msg_props(d->msg),
                      .subids = { d->subids, d->subids_len }, .msg = d->msg, .expires_ms = d->msg->expires_ms,
                      .pid = d->pid, .qos = d->qos, .retain = d->retain, .dup = d->dup };

    return send_publish(b, c, &p);
}

static void fly(struct flow *f, struct delivery *d)
{
    d->flying = true;
    f->inflight++;
    f->inflight_bytes += msg_bytes(d->msg);
    f->next = d->order.next;
}

/* QUEUED -> SENT. */
static void first_send(struct broker *b, struct session *s, struct delivery *d)
{
    if (!delivery_assign(s, d, 0)) {
        conn_close(b, s->conn, CLOSE_NO_MEMORY);
        return;
    }
    count_queued(s, d, false);
    d->state = SENT;
    fly(s->flow, d);
    journal_delivery_changed(b, d);
    if (d->qos == 2 && stored_session(b, s)) {
        journal_delivery_due(b, d);
        conn_hold_publish(b, s->conn, d->pid, session_promise(b, s));
    } else if (!delivery_send(b, s->conn, d) && !conn_closing(s->conn)) {
        drop(b, s, "too-large", msg_topic(d->msg));
        delivery_done(b, d);
    }
}

/* What it has to wait for is durable: the connection began with a commit that came later (handle_connect.c). */
static void send_again(struct broker *b, struct session *s, struct delivery *d)
{
    fly(s->flow, d);
    if (d->qos == 2 && stored_session(b, s) && !d->stored) {    /* the store failed: it has never left */
        journal_delivery_due(b, d);
        conn_hold_publish(b, s->conn, d->pid, session_promise(b, s));
        return;
    }
    d->dup = true;
    if (d->state == RELEASED)
        conn_ack(b, s->conn, PKT_PUBREL, d->pid, R_OK, 0, NULL);
    else if (!delivery_send(b, s->conn, d) && !conn_closing(s->conn))
        delivery_done(b, d);
}

static void pump_one(struct broker *b, struct session *s, struct delivery *d)
{
    if (d->state != QUEUED) {
        send_again(b, s, d);
        return;
    }
    if (msg_expired(d->msg, b->now_ms)) {               /* [MQTT5-3.3.2-5] */
        drop(b, s, "expired", msg_topic(d->msg));
        delivery_done(b, d);
    } else if (!auth_may_read(s, msg_topic(d->msg))) {
        delivery_done(b, d);                            /* allowed once, when it was queued */
    } else if (d->qos == 0) {
        if (!delivery_send(b, s->conn, d) && !conn_closing(s->conn))
            drop(b, s, "too-large", msg_topic(d->msg));
        delivery_done(b, d);
    } else {
        first_send(b, s, d);
    }
}

void session_pump(struct broker *b, struct session *s)
{
    for (unsigned n = 0; n < PUMP_BATCH; n++) {
        struct delivery *d;

        if (!session_online(s))
            return;
        if (s->conn->out.bytes > broker_write_limit(b)) {
            s->conn->stalled = true;
            return;
        }
        d = refill(b, s);
        if (d == NULL || !window_open(b, s, msg_bytes(d->msg)))
            return;
        pump_one(b, s, d);
    }
    session_wake(b, s);
}
