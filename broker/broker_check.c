/* What must hold between two turns. Called by tests, fuzzers and debug builds: it looks at everything.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/broker.h"
#include "broker/listen.h"

#include <assert.h>

static void check_delivery(const struct session *s, const struct delivery *d, bool tail)
{
    assert(d->s == s);
    assert(d->in_tail == tail);
    assert(d->msg != NULL && d->msg->refs > 0);
    if (!tail && d->state != QUEUED) {
        assert(d->pid != 0);
        assert(session_inflight(s, d->pid) == d);                      /* S2 */
    }
    assert(!d->flying || (!tail && d->state != QUEUED));
    if (d->ticketed)
        assert(d->msg->ticket->open >= d->msg->ticket->unsafe);
}

static void check_session(const struct broker *b, const struct session *s)
{
    const struct flow *f = s->flow;
    uint32_t queued = 0, inflight = 0, subs = 0;
    uint64_t window_bytes = 0, tail_bytes = 0;
    int64_t last = 0;
    bool before_next = true;

    LIST_EACH(l, &f->window) {
        const struct delivery *d = LIST_ENTRY(l, struct delivery, order);

        check_delivery(s, d, false);
        before_next = before_next && l != f->next;
        assert(d->flying == before_next);                              /* S5 */
        assert(d->position > last);                                    /* S1 */
        last = d->position;
        inflight += d->flying;
        queued += d->state == QUEUED;
        window_bytes += d->state == QUEUED ? msg_bytes(d->msg) : 0;
    }
    LIST_EACH(l, &f->tail) {
        const struct delivery *d = LIST_ENTRY(l, struct delivery, order);

        check_delivery(s, d, true);
        assert(s->conn != NULL || !d->stored || link_used(&d->mark));  /* S4 */
        assert(d->position > last);
        last = d->position;
        queued += d->state == QUEUED;
        tail_bytes += d->state == QUEUED ? msg_bytes(d->msg) : 0;
        assert(journal_on(&b->journal) && s->durable);
    }
    RING_EACH(l, s->subs)
        subs++;
    assert(queued == f->queued);
    assert(inflight == f->inflight);
    assert(window_bytes == f->window_bytes);
    assert(s->backlog > s->parked || journal_drops_oldest(&b->journal, s) ||
           s->queued_bytes == window_bytes + tail_bytes);
    assert(subs == s->sub_count);
    assert(s->parked <= s->backlog);
    if (s->conn == NULL && journal_on(&b->journal))
        assert(list_empty(&f->window) && (f == &flow_none || !list_empty(&f->tail) || f->inbound.count > 0));  /* S4 */
    assert(s->mark == 0 || b->journal.sessions.v[s->mark - 1] == s);
    assert(s->durable || (s->backlog == 0 && list_empty(&f->tail)));
    assert(s->conn == NULL || s->conn->session == s);
    assert(s->durable || s->conn != NULL);
}

static void check_queue(const struct hold_queue *q)
{
    assert(q == NULL || (q->count > 0 && q->count <= q->mask + 1));
}

static void check_conn(const struct broker *b, const struct conn *c)
{
    assert(c->source.fd >= 0);
    assert(c->session == NULL || c->session->conn == c);
    assert((c->due != 0) == link_used(&c->turn));
    if (c->rest != NULL)
        assert(c->rest->len <= c->rest->cap && (c->rest->need == 0 || c->rest->cap <= c->rest->need));
    if (c->holds != NULL) {
        assert(c->holds->c == c && link_used(&c->holds->all));         /* somebody will wake it */
        check_queue(c->holds->acks);
        check_queue(c->holds->held);
    }
    (void)b;
}

static void check_retained(const struct broker *b)
{
    const struct retain *t = &b->retain;
    uint32_t count = 0, ram_count = 0, kept = 0;
    uint64_t bytes = 0, ram_bytes = 0, kept_bytes = 0;

    for (uint32_t i = 0; i <= t->tree.mask; i++)
        for (const struct tree_node *n = t->tree.slots[i]; n != NULL; n = n->hash_next) {
            const struct retained *r = n->value;

            if (r == NULL)
                continue;
            assert(r->node == n && r->refs > 0);
            assert(r->msg != NULL || journal_on(&b->journal));          /* or it could not be had */
            assert(!r->kept || (r->msg != NULL && link_used(&r->mark)));
            assert(r->msg == NULL || msg_bytes(r->msg) == r->bytes);
            count++;
            bytes += r->bytes;
            ram_count += r->msg != NULL;
            ram_bytes += r->msg != NULL ? sizeof *r->msg + r->bytes + 1 : 0;
            kept_bytes += r->kept ? sizeof *r->msg + r->bytes + 1 : 0;
            kept += r->kept;
        }
    LIST_EACH(l, &t->kept)
        kept--;
    assert(count == t->count && bytes == t->bytes && kept == 0);
    assert(ram_count == t->ram_count && ram_bytes == t->ram_bytes && kept_bytes == t->kept_bytes);
}

void broker_check(struct broker *b)
{
    uint32_t sessions = 0, online = 0, conns = 0, subs = 0;

    for (struct session *s = session_each(&b->sessions, NULL); s != NULL; s = session_each(&b->sessions, s)) {
        check_session(b, s);
        sessions++;
        online += s->conn != NULL;
        subs += s->sub_count;
    }
    for (unsigned i = 0; i < b->listener_count; i++) {
        uint32_t n = 0;

        LIST_EACH(l, &b->listeners[i].conns) {
            check_conn(b, LIST_ENTRY(l, struct conn, all));
            n++;
        }
        assert(n == b->listeners[i].conn_count);
        conns += n;
    }
    assert(sessions == b->sessions.count);
    assert(online == b->sessions.online);
    assert(subs == b->subs.count);
    assert(conns == b->conn_count);
    assert(b->journal.durable <= b->journal.seq);
    check_retained(b);
}
