/* What must hold between two turns. It looks at everything, so it is called by tests, fuzzers and debug builds
 * (configure --enable-debug-checks).
 *
 *  C1  Every counter is what its list holds, and every list holds only what belongs there.
 *  C2  Every reference of a message, an identity or a shared group has a holder that can be named (the census).
 *  C3  What can be done is about to be done: output, acknowledgements, queues and commits wait for nobody who does not
 *      know of them. A broker that breaks this stands still until somebody happens to say something.
 *
 * Memory of its own comes from the C library directly: an accounted allocation would change what is being looked at.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/broker.h"
#include "broker/listen.h"
#include "broker/will.h"

#include <assert.h>
#include <malloc.h>
#include <stdlib.h>

/* ---- the census ---- */

enum kind { OF_MSG, OF_IDENT, OF_SHARE, OF_RETAINED };

struct tally {
    const void *of;             /* NULL: the slot is free */
    enum kind kind;
    uint32_t refs;              /* found */
    uint32_t open, unsafe;      /* a message's durable deliveries: in RAM; of these, not yet written */
    const struct conn *acker;   /* the connection whose acknowledgement waits for it */
};

struct census {
    struct tally *v;
    size_t mask, n;             /* slots - 1; used */
    size_t session_bytes, message_bytes;
};

static size_t slot(const struct census *c, const void *of)
{
    size_t i = (size_t)((uintptr_t)of >> 4) * (size_t)0x9E3779B97F4A7C15u >> 8 & c->mask;

    while (c->v[i].of != NULL && c->v[i].of != of)
        i = (i + 1) & c->mask;
    return i;
}

static void census_grow(struct census *c)
{
    struct census more = { .mask = c->v != NULL ? c->mask * 2 + 1 : 63, .n = c->n };

    more.v = calloc(more.mask + 1, sizeof *more.v);
    assert(more.v != NULL);
    for (size_t i = 0; c->v != NULL && i <= c->mask; i++)
        if (c->v[i].of != NULL)
            more.v[slot(&more, c->v[i].of)] = c->v[i];
    free(c->v);
    c->v = more.v;
    c->mask = more.mask;
}

/* One more reference. */
static struct tally *count_ref(struct census *c, enum kind kind, const void *of)
{
    struct tally *t;

    assert(of != NULL);
    if (c->v == NULL || c->n > c->mask / 2)
        census_grow(c);
    t = &c->v[slot(c, of)];
    if (t->of == NULL) {
        t->of = of;
        t->kind = kind;
        c->n++;
    }
    t->refs++;
    return t;
}

static void count_ident(struct census *c, const struct ident *i)
{
    struct tally *t = count_ref(c, OF_IDENT, i);

    assert(t->refs <= i->refs);
    if (t->refs == 1)
        c->session_bytes += malloc_usable_size((void *)(uintptr_t)i);
}

/* The message's own reference to its publisher counts once. */
static struct tally *count_msg(struct census *c, const struct msg *m)
{
    struct tally *t = count_ref(c, OF_MSG, m);

    assert(t->refs <= m->refs);
    if (t->refs > 1)
        return t;
    c->message_bytes += malloc_usable_size((void *)(uintptr_t)m);
    if (m->from == NULL)
        return t;
    count_ident(c, m->from);
    return &c->v[slot(c, m)];
}

static void count_waiting(void *arg, const struct retained *r)
{
    count_ref(arg, OF_RETAINED, r);
}

static void check_ticket(const struct msg *m, const struct tally *t)
{
    const struct ticket *k = m->ticket;

    if (k == NULL) {
        assert(t->open == 0);
        return;
    }
    assert(k->unsafe == t->unsafe && k->open >= t->open && k->open <= k->rows);
    assert(k->acker == NULL || k->acker == t->acker);
}

/* ---- sessions ---- */

static void check_delivery(struct census *c, const struct session *s, const struct delivery *d, bool tail)
{
    struct tally *t = count_msg(c, d->msg);

    assert(d->s == s);
    assert(d->in_tail == tail);
    if (!tail && d->state != QUEUED) {
        assert(d->pid != 0 && d->qos > 0);
        assert(session_inflight(s, d->pid) == d);                      /* S2 */
    }
    assert(d->state != RELEASED || d->qos == 2);
    assert(!d->flying || (!tail && d->state != QUEUED));
    assert(!d->ticketed || d->msg->ticket != NULL);
    t->open += d->ticketed;
    t->unsafe += d->ticketed && !d->stored;
    if (d->share != NULL)
        count_ref(c, OF_SHARE, d->share);
}

/* Every slot of the ring is taken by a delivery of the window that has its packet id. */
static void check_ring(const struct session *s)
{
    const struct flow *f = s->flow;
    uint32_t taken = 0, have = 0;

    for (uint32_t i = 0; f->ring != NULL && i <= f->ring_mask; i++) {
        const struct delivery *d = f->ring[i];

        if (d == NULL)
            continue;
        assert(d->s == s && !d->in_tail && (d->pid & f->ring_mask) == i);
        taken++;
    }
    LIST_EACH(l, &f->window)
        have += LIST_ENTRY(l, struct delivery, order)->pid != 0;
    assert(taken == have);
}

/* Written are those that come first (J5). */
static void check_written(const struct broker *b, const struct delivery *d, bool *unwritten)
{
    assert(!*unwritten || (!d->stored && !d->due));
    *unwritten = !d->stored && !d->due;
    assert(!link_used(&d->mark) || (journal_on(&b->journal) && d->s->durable));
}

static void check_lists(const struct broker *b, struct census *c, const struct session *s)
{
    const struct flow *f = s->flow;
    uint32_t queued = 0, inflight = 0;
    uint64_t window_bytes = 0, inflight_bytes = 0, queued_bytes = 0;
    int64_t last = 0;
    bool before_next = true, unwritten = false, some_queued = false;

    LIST_EACH(l, &f->window) {
        const struct delivery *d = LIST_ENTRY(l, struct delivery, order);

        check_delivery(c, s, d, false);
        check_written(b, d, &unwritten);
        before_next = before_next && l != f->next;
        assert(d->flying == before_next);                              /* S5 */
        assert(d->position > last);                                    /* S1 */
        assert(!some_queued || d->state == QUEUED);                    /* S2 */
        some_queued = d->state == QUEUED;
        last = d->position;
        inflight += d->flying;
        inflight_bytes += d->flying ? msg_bytes(d->msg) : 0;
        queued += d->state == QUEUED;
        window_bytes += d->state == QUEUED ? msg_bytes(d->msg) : 0;
    }
    queued_bytes = window_bytes;
    LIST_EACH(l, &f->tail) {
        const struct delivery *d = LIST_ENTRY(l, struct delivery, order);

        check_delivery(c, s, d, true);
        check_written(b, d, &unwritten);
        assert(d->position > last);
        last = d->position;
        queued += d->state == QUEUED;
        queued_bytes += d->state == QUEUED ? msg_bytes(d->msg) : 0;
        assert(journal_on(&b->journal) && s->durable);
        assert(s->conn != NULL || !d->stored || link_used(&d->mark));  /* S4 */
    }
    assert(queued == f->queued && inflight == f->inflight);            /* C1 */
    assert(window_bytes == f->window_bytes && inflight_bytes == f->inflight_bytes);
    assert(s->parked <= s->backlog);
    assert(queued_bytes <= s->queued_bytes);
    assert(s->backlog > s->parked || journal_drops_oldest(&b->journal, s) || queued_bytes == s->queued_bytes);
    if (s->conn == NULL && journal_on(&b->journal))
        assert(list_empty(&f->window) && (f == &flow_none || !list_empty(&f->tail) || f->inbound.count > 0));  /* S4 */
}

static void check_subs(struct census *c, const struct session *s)
{
    uint32_t subs = 0;

    RING_EACH(l, s->subs) {
        const struct sub *sub = LIST_ENTRY(l, struct sub, by_session);

        assert(sub->s == s && sub->qos <= 2 && sub->retain_handling <= 2);
        if (sub->shared)
            count_ref(c, OF_SHARE, sub->share);
        subs++;
    }
    assert(subs == s->sub_count);
}

/* C3. An online session that has nothing in flight has nothing to send either, unless it is about to. */
static void check_moves(const struct broker *b, const struct session *s)
{
    const struct flow *f = s->flow;
    bool waits = f->next != &f->window || s->backlog > 0 || !list_empty(&f->tail);

    if (s->conn == NULL || conn_closing(s->conn) || s->conn->state != CONN_UP || b->stopping)
        return;
    assert(!waits || f->inflight > 0 || s->conn->stalled || (s->conn->due & DUE_PUMP) != 0);
}

static void check_session(const struct broker *b, struct census *c, const struct session *s)
{
    uint32_t expiry_s = session_expiry_s(b, s->expiry_s);

    assert(session_find(&b->sessions, ident_id(s->ident)) == s && !s->ending);
    count_ident(c, s->ident);
    c->session_bytes += malloc_usable_size((void *)(uintptr_t)s) + malloc_usable_size(s->flow->ring);
    check_lists(b, c, s);
    check_ring(s);
    check_subs(c, s);
    check_moves(b, s);
    assert(s->conn == NULL || s->conn->session == s);
    assert(s->durable || (s->conn != NULL && s->backlog == 0 && s->db_id == 0));
    assert(s->conn != NULL || s->flow->inflight == 0);
    if (s->flow != &flow_none)
        c->session_bytes += malloc_usable_size(s->flow);
    assert(s->conn == NULL || !timer_armed(&s->timer));
    assert(s->conn != NULL || expiry_s == UINT32_MAX || timer_armed(&s->timer));
    assert(s->mark == 0 || (s->durable && b->journal.sessions.v[s->mark - 1] == s));
    assert(!s->will_row || (s->will != NULL && s->durable));
    if (s->will == NULL)
        return;
    assert(s->will->s == s && timer_armed(&s->will->timer) == (s->conn == NULL));
    count_msg(c, s->will->msg);
}

/* ---- connections ---- */

struct output {
    struct census *c;
    size_t bytes;
};

static void count_output(void *arg, const struct msg *m, size_t bytes)
{
    struct output *o = arg;

    o->bytes += bytes;
    if (m != NULL)
        count_msg(o->c, m);
}

static void check_output(const struct broker *b, struct census *c, const struct conn *conn)
{
    struct output o = { c, 0 };
    bool may_leave = conn->holds == NULL || journal_is_durable(&b->journal, conn->holds->gate_seq);

    outq_each(&conn->out, count_output, &o);
    assert(o.bytes == conn->out.bytes);
    assert(o.bytes == 0 || !may_leave || (conn->due & DUE_FLUSH) != 0 ||           /* C3 */
           (conn->source.want & LOOP_WRITE) != 0);
}

/* C3. Is there a reason why this one, the first in its lane, has not left? */
static bool must_stay(const struct broker *b, const struct hold *h)
{
    const struct ticket *k = h->type == PKT_PUBACK && h->msg != NULL ? h->msg->ticket : NULL;

    return !journal_is_durable(&b->journal, h->seq) ||
           (k != NULL && k->open > 0 && (k->unsafe > 0 || !journal_is_durable(&b->journal, k->seq)));
}

static void check_lane(const struct broker *b, struct census *c, const struct conn *conn, const struct hold_queue *q)
{
    if (q == NULL)
        return;
    assert(q->count > 0 && q->count <= q->mask + 1);
    assert(must_stay(b, &q->v[q->head]) || (conn->due & DUE_FLUSH) != 0);
    for (uint32_t i = 0; i < q->count; i++) {
        const struct hold *h = &q->v[(q->head + i) & q->mask];

        assert(h->seq <= b->journal.seq + 1);
        assert((h->type == PKT_PUBACK) == (q == conn->holds->acks));
        if (h->type == PKT_PUBACK && h->msg != NULL)
            count_msg(c, h->msg)->acker = conn;
    }
}

static void check_holds(const struct broker *b, struct census *c, const struct conn *conn)
{
    const struct holds *h = conn->holds;

    if (h == NULL)
        return;
    assert(h->c == conn && link_used(&h->all));
    assert(h->gate_seq <= b->journal.seq + 1);
    check_lane(b, c, conn, h->acks);
    check_lane(b, c, conn, h->held);
}

static void check_conn(const struct broker *b, struct census *c, const struct conn *conn)
{
    const struct rest *r = conn->rest;

    assert(conn->source.fd >= 0);
    assert((conn->due != 0) == link_used(&conn->turn) && (conn->due & ~b->due) == 0);
    assert(conn->session == NULL || conn->session->conn == conn);
    assert(conn->state != CONN_UP || conn->session != NULL || conn_closing(conn));
    assert(r == NULL || (r->len > 0 && r->len <= r->cap && (r->need == 0 || r->cap <= r->need)));
    assert(conn->state != CONN_UP || conn->keepalive_s == 0 || timer_armed(&conn->timer) || conn_closing(conn));
    retain_each_waiting(conn, count_waiting, c);
    check_output(b, c, conn);
    check_holds(b, c, conn);
}

/* ---- what all have in common ---- */

static uint32_t length_of(const struct link *list)
{
    uint32_t n = 0;

    LIST_EACH(l, list)
        n++;
    return n;
}

static void check_conns(const struct broker *b, struct census *c)
{
    uint32_t conns = 0, turn = 0, holding = 0;

    for (unsigned i = 0; i < b->listener_count; i++) {
        uint32_t n = 0;

        LIST_EACH(l, &b->listeners[i].conns) {
            const struct conn *conn = LIST_ENTRY(l, struct conn, all);

            assert(conn->listener == &b->listeners[i]);
            check_conn(b, c, conn);
            turn += conn->due != 0;
            holding += conn->holds != NULL;
            n++;
        }
        assert(n == b->listeners[i].conn_count);
        conns += n;
    }
    assert(conns == b->conn_count);
    assert(length_of(&b->turn) == turn && length_of(&b->holding) == holding);
}

static void check_sessions(const struct broker *b, struct census *c)
{
    uint32_t sessions = 0, online = 0, subs = 0;

    for (struct session *s = session_each(&b->sessions, NULL); s != NULL; s = session_each(&b->sessions, s)) {
        check_session(b, c, s);
        sessions++;
        online += s->conn != NULL;
        subs += s->sub_count;
    }
    assert(sessions == b->sessions.count && online == b->sessions.online && subs == b->subs.count);
}

static void check_journal(const struct broker *b, struct census *c)
{
    const struct journal *j = &b->journal;
    uint32_t unstored = 0;

    LIST_EACH(l, &j->fresh) {
        const struct delivery *d = LIST_ENTRY(l, struct delivery, mark);

        assert(!d->stored && !d->due && d->ticketed);
        unstored++;
    }
    LIST_EACH(l, &j->due) {
        const struct delivery *d = LIST_ENTRY(l, struct delivery, mark);

        assert(!d->stored && d->due && d->ticketed);
        unstored++;
    }
    LIST_EACH(l, &j->changed)
        assert(LIST_ENTRY(l, struct delivery, mark)->stored);
    LIST_EACH(l, &j->retained) {
        const struct retained *r = LIST_ENTRY(l, struct retained, mark);

        assert(r->node->value == r);
    }
    for (size_t i = 0; i < j->sessions.n; i++)
        assert(j->sessions.v[i] == NULL || j->sessions.v[i]->mark == i + 1);
    for (size_t i = 0; i < j->ops.n; i++)
        if (j->ops.v[i].msg != NULL)
            count_msg(c, j->ops.v[i].msg);
    for (size_t i = 0; i < j->ended.n; i++)
        assert(j->ended.v[i].id > 0 && j->ended.v[i].message_id <= j->ended.v[i].upto);
    assert(unstored == j->unstored);
    assert(j->durable <= j->seq && j->syncing <= j->seq && j->waited <= j->seq + 1);
    assert(j->async || j->durable == j->seq || !journal_on(j));
    /* C3. */
    assert(!journal_on(j) || j->broken || b->stopping || timer_armed(&j->timer) ||
           !(j->want || j->lazy || unstored > 0 || j->ended.n > 0));
}

static void check_retained(const struct broker *b, struct census *c)
{
    const struct retain *t = &b->retain;
    uint32_t nodes = 0, count = 0, ram_count = 0, kept = 0;
    uint64_t bytes = 0, ram_bytes = 0, kept_bytes = 0;

    for (uint32_t i = 0; i <= t->tree.mask; i++)
        for (const struct tree_node *n = t->tree.slots[i]; n != NULL; n = n->hash_next) {
            const struct retained *r = n->value;

            nodes++;
            assert(r != NULL || n->child != NULL);
            if (r == NULL)
                continue;
            assert(r->node == n);
            count_ref(c, OF_RETAINED, r);
            assert(r->msg != NULL || journal_on(&b->journal));          /* or it could not be had */
            assert(!link_used(&r->mark) || journal_on(&b->journal));
            assert(!r->kept || (r->msg != NULL && link_used(&r->mark)));
            count++;
            bytes += r->bytes;
            if (r->msg == NULL)
                continue;
            assert(r->msg->payload_len > 0 && msg_bytes(r->msg) == r->bytes);
            count_msg(c, r->msg);
            ram_count++;
            ram_bytes += sizeof *r->msg + r->bytes + 1;
            kept_bytes += r->kept ? sizeof *r->msg + r->bytes + 1 : 0;
            kept += r->kept;
        }
    LIST_EACH(l, &t->kept)
        kept--;
    assert(nodes == t->tree.count && count == t->count && bytes == t->bytes && kept == 0);
    assert(ram_count == t->ram_count && ram_bytes == t->ram_bytes && kept_bytes == t->kept_bytes);
}

static void check_filter(const struct filter *f, uint32_t *subs, uint32_t *shared)
{
    uint32_t own = 0;

    assert(f->subs != NULL || f->shares != NULL);
    RING_EACH(l, f->subs) {
        const struct sub *sub = LIST_ENTRY(l, struct sub, by_filter);

        assert(!sub->shared && sub->filter == f);
        own++;
    }
    assert(own == f->sub_count);
    for (const struct share *g = f->shares; g != NULL; g = g->next) {
        assert(g->filter == f);
        RING_EACH(l, g->members) {
            const struct sub *sub = LIST_ENTRY(l, struct sub, by_filter);

            assert(sub->shared && sub->share == g);
            ++*shared;
        }
    }
    *subs += own;
}

/* Every filter is in the table, those with wildcards are in the tree as well, and nothing else is. */
static void check_filters(const struct broker *b)
{
    const struct filters *t = &b->subs.filters;
    uint32_t filters = 0, wild = 0, nodes = 0, values = 0, subs = 0, shared = 0;

    for (uint32_t i = 0; i <= t->mask; i++)
        for (const struct filter *f = t->slots[i]; f != NULL; f = f->hash_next) {
            assert(filter_find(t, filter_text(f)) == f);
            check_filter(f, &subs, &shared);
            filters++;
            wild += f->wild;
        }
    for (uint32_t i = 0; i <= t->tree.mask; i++)
        for (const struct tree_node *n = t->tree.slots[i]; n != NULL; n = n->hash_next) {
            assert(n->value != NULL || n->child != NULL);
            assert(n->value == NULL || ((const struct filter *)n->value)->wild);
            nodes++;
            values += n->value != NULL;
        }
    assert(filters == t->count && values == wild && nodes == t->tree.count);
    assert(subs + shared == b->subs.count && shared == b->subs.shared_count);
}

/* At the end: everybody who holds something has been counted (C2). */
static void check_census(const struct census *c)
{
    size_t sum = 0;

    for (size_t i = 0; i <= c->mask; i++) {
        const struct tally *t = &c->v[i];

        if (t->of == NULL)
            continue;
        switch (t->kind) {
        case OF_MSG:
            assert(t->refs == ((const struct msg *)t->of)->refs);
            check_ticket(t->of, t);
            break;
        case OF_IDENT: assert(t->refs == ((const struct ident *)t->of)->refs); break;
        case OF_SHARE: assert(t->refs == ((const struct share *)t->of)->refs); break;
        case OF_RETAINED: assert(t->refs == ((const struct retained *)t->of)->refs); break;
        }
    }
    for (unsigned i = 0; i < MEM_CLASS_COUNT; i++)
        sum += mem_bytes[i];
    assert(sum == mem_total && mem_total <= mem_peak);
    assert(c->session_bytes <= mem_bytes[MEM_SESSION] && c->message_bytes <= mem_bytes[MEM_MSG]);
}

void broker_check(struct broker *b)
{
    struct census c = { .v = NULL };

    census_grow(&c);
    check_sessions(b, &c);
    check_conns(b, &c);
    check_journal(b, &c);
    check_retained(b, &c);
    check_filters(b);
    check_census(&c);
    assert(b->calendar.before_ms == 0 || b->calendar.before_ms < calendar_since(b));
    free(c.v);
}
