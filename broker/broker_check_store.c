/* The store against RAM: every row stands for something that lives, and everything durable has its rows. For tests, at
 * points where nothing is pending; it reads the whole store.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/broker.h"
#include "broker/will.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A durable session, and its rows. */
struct account {
    int64_t id;
    const struct session *s;
    uint64_t subs, inbound, queue, inflight, queued_bytes;
    bool row, will;
};

struct comparing {
    struct broker *b;
    bool ours;                  /* nobody else has written to the store */
    struct account *v;          /* by id */
    size_t n;
    uint64_t retained, ended;
};

static int by_id(const void *a, const void *b)
{
    int64_t x = ((const struct account *)a)->id, y = ((const struct account *)b)->id;

    return (x > y) - (x < y);
}

static struct account *account_of(struct comparing *c, int64_t id)
{
    struct account key = { .id = id }, *a = c->n > 0 ? bsearch(&key, c->v, c->n, sizeof key, by_id) : NULL;

    assert(a != NULL || !c->ours);
    return a;
}

static bool same(struct view v, struct blob b)
{
    return v.len == b.len && (v.len == 0 || memcmp(v.p, b.p, v.len) == 0);
}

/* ---- rows ---- */

static int session_row(void *arg, const struct persist_session *p)
{
    struct comparing *c = arg;
    struct account *a = account_of(c, p->id);
    const struct session *s = a != NULL ? a->s : NULL;

    if (s == NULL)
        return 0;
    assert(!a->row);
    a->row = true;
    assert(same(ident_id(s->ident), p->client_id) && same(ident_user(s->ident), p->username));
    assert(s->version == p->version && s->connected_ms == p->connected_ms && s->disconnected_ms == p->disconnected_ms);
    assert(p->expiry_s < 0 ? s->expiry_s == UINT32_MAX : (int64_t)s->expiry_s == p->expiry_s);
    assert(s->resend_to == p->resend_to);
    return 0;
}

static int subscription_row(void *arg, const struct persist_subscription *p)
{
    struct comparing *c = arg;
    struct account *a = account_of(c, p->session_id);
    const struct sub *sub;

    if (a == NULL)
        return 0;
    sub = subs_find(&c->b->subs, (struct session *)(uintptr_t)a->s, (struct view){ p->filter.p, p->filter.len });
    assert(sub != NULL || !c->ours);
    if (sub == NULL)
        return 0;
    assert(sub->qos == p->qos && sub->no_local == p->no_local && sub->retain_as_published == p->retain_as_published &&
           sub->retain_handling == p->retain_handling && sub->subid == p->subid);
    a->subs++;
    return 0;
}

static int inbound_row(void *arg, int64_t session_id, int packet_id)
{
    struct comparing *c = arg;
    struct account *a = account_of(c, session_id);

    if (a == NULL)
        return 0;
    assert(idset_has(&a->s->flow->inbound, (uint16_t)packet_id));
    a->inbound++;
    return 0;
}

static int queue_rows(void *arg, const struct persist_queue_summary *p)
{
    struct comparing *c = arg;
    struct account *a = account_of(c, p->session_id);

    if (a == NULL)
        return 0;
    a->queue = p->count;
    a->inflight = p->inflight;
    a->queued_bytes = p->bytes;
    return 0;
}

static int will_row(void *arg, const struct persist_will *p)
{
    struct comparing *c = arg;
    struct account *a = account_of(c, p->session_id);
    const struct will *w = a != NULL ? a->s->will : NULL;

    assert(w != NULL || !c->ours);
    if (w == NULL || !a->s->will_row)
        return 0;
    assert(same(msg_topic(w->msg), p->topic) && same(msg_payload(w->msg), p->payload) &&
           same(msg_props(w->msg), p->props));
    assert(w->msg->qos == p->qos && w->msg->retain == p->retain && (int64_t)w->delay_s == p->delay_s);
    assert(w->has_expiry ? (int64_t)w->expiry_s == p->expiry_s : p->expiry_s < 0);
    a->will = true;
    return 0;
}

static int retained_row(void *arg, const struct persist_retained *p)
{
    struct comparing *c = arg;
    const struct tree_node *n = tree_find(&c->b->retain.tree, (struct view){ p->m.topic.p, p->m.topic.len });
    const struct retained *r = n != NULL ? n->value : NULL;

    assert(r != NULL || !c->ours);
    if (r == NULL)
        return 0;
    assert(r->id == p->id && (int)r->qos == p->m.qos);
    assert(r->bytes == p->m.topic.len + p->m.payload.len + p->m.props.len);
    assert(r->expiry != NULL || p->m.expires_ms == 0);
    c->retained++;
    if (r->msg == NULL)
        return 0;
    assert(same(msg_payload(r->msg), p->m.payload) && same(msg_props(r->msg), p->m.props));
    assert((p->m.expires_ms != 0) == (r->msg->expires_ms != 0));
    return 0;
}

static int note_filter(void *arg, struct blob filter)
{
    bool *any = arg;

    (void)filter;
    *any = true;
    return 1;
}

/* Subscriptions stay while something may be handed on by them (E1). */
static int ended_row(void *arg, int64_t session_id)
{
    struct comparing *c = arg;
    const struct journal_ended *e = NULL;
    bool any = false;

    for (size_t i = 0; i < c->b->journal.ended.n; i++)
        if (c->b->journal.ended.v[i].id == session_id)
            e = &c->b->journal.ended.v[i];
    assert(e != NULL);
    assert(persist_each_filter(c->b->journal.db, session_id, note_filter, &any) != PERSIST_OK || !any || e->leaves);
    c->ended++;
    return 0;
}

/* ---- */

static bool pending(const struct journal *j)
{
    return !list_empty(&j->due) || !list_empty(&j->changed) || !list_empty(&j->retained) || j->sessions.n > 0 ||
           j->ops.n > 0 || j->gone.n > 0 || j->drop_oldest.n > 0 || j->dropped.n > 0 || j->failures > 0;
}

static void list_sessions(struct comparing *c)
{
    const struct sessions *t = &c->b->sessions;

    c->v = calloc(t->count > 0 ? t->count : 1, sizeof *c->v);
    assert(c->v != NULL);
    for (struct session *s = session_each(t, NULL); s != NULL; s = session_each(t, s))
        if (s->durable)
            c->v[c->n++] = (struct account){ .id = s->db_id, .s = s };
    qsort(c->v, c->n, sizeof *c->v, by_id);
}

/* What the store should hold of its queue: all that is not in RAM, and of that what has been written. */
static void check_queue(const struct account *a, bool ours)
{
    uint64_t rows = a->s->backlog, inflight = a->s->parked, queued_bytes = a->s->queued_bytes;

    LIST_EACH(l, &a->s->flow->window) {
        const struct delivery *d = LIST_ENTRY(l, struct delivery, order);

        rows += d->stored;
        inflight += d->stored && d->state != QUEUED;
        queued_bytes -= !d->stored && d->state == QUEUED ? msg_bytes(d->msg) : 0;
    }
    LIST_EACH(l, &a->s->flow->tail) {
        const struct delivery *d = LIST_ENTRY(l, struct delivery, order);

        assert(!d->stored);
        queued_bytes -= d->state == QUEUED ? msg_bytes(d->msg) : 0;
    }
    /* Rows that break MQTT's rules stay in the store when the queue has been read. */
    assert(ours ? rows == a->queue && inflight == a->inflight && queued_bytes == a->queued_bytes : rows <= a->queue);
}

bool broker_check_store(struct broker *b, bool ours)
{
    struct comparing c = { .b = b, .ours = ours };
    struct persist *db = b->journal.db;
    unsigned swept = 0;

    if (!journal_on(&b->journal) || b->journal.broken || pending(&b->journal))
        return false;
    list_sessions(&c);
    if (persist_each_session(db, session_row, &c) != PERSIST_OK ||
        persist_each_subscription(db, subscription_row, &c) != PERSIST_OK ||
        persist_each_inbound(db, inbound_row, &c) != PERSIST_OK ||
        persist_each_queue_summary(db, queue_rows, &c) != PERSIST_OK ||
        persist_each_will(db, will_row, &c) != PERSIST_OK ||
        persist_each_retained(db, SIZE_MAX, retained_row, &c) != PERSIST_OK ||
        persist_each_ended(db, ended_row, &c) != PERSIST_OK) {
        free(c.v);
        return false;
    }
    for (size_t i = 0; i < c.n; i++) {
        const struct account *a = &c.v[i];

        assert(a->row);
        assert(a->subs == a->s->sub_count);
        assert(a->inbound == a->s->flow->inbound.count);
        assert(a->will == a->s->will_row);
        check_queue(a, ours);
    }
    assert(c.retained == b->retain.count);
    assert(c.ended == b->journal.ended.n);
    free(c.v);
    /* No message without a queue row. */
    if (ours && persist_begin(db) == PERSIST_OK) {
        assert(persist_sweep(db, 10000, &swept) != PERSIST_OK || swept == 0);
        persist_rollback(db);
    }
    return true;
}
