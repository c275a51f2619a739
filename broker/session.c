/* The table of sessions, and how one begins, is left and taken up again, and ends.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/session.h"

#include "broker/auth.h"
#include "broker/broker.h"
#include "broker/route.h"
#include "broker/will.h"

#include <assert.h>
#include <string.h>

#define SLOTS_MIN 64u

/* ---- table ---- */

bool sessions_init(struct sessions *t, const struct hash_key *key)
{
    *t = (struct sessions){ .key = *key, .mask = SLOTS_MIN - 1 };
    t->slots = mem_zero(MEM_SESSION, SLOTS_MIN * sizeof(struct session *));
    return t->slots != NULL;
}

void sessions_fini(struct sessions *t)
{
    assert(t->count == 0);
    mem_free(MEM_SESSION, t->slots);
    t->slots = NULL;
}

/* Computed anew each time: that is cheaper than to keep it in every session. */
static uint32_t slot_of(const struct sessions *t, struct view id)
{
    return (uint32_t)hash_bytes(&t->key, 0, id.p, id.len) & t->mask;
}

struct session *session_find(const struct sessions *t, struct view id)
{
    for (struct session *s = t->slots[slot_of(t, id)]; s != NULL; s = s->hash_next)
        if (s->ident->id_len == id.len && memcmp(s->ident->data, id.p, id.len) == 0)
            return s;
    return NULL;
}

static void link_in(struct sessions *t, struct session *s)
{
    struct session **at = &t->slots[slot_of(t, ident_id(s->ident))];

    s->hash_next = *at;
    *at = s;
}

/* Keeps about one session per slot. Failing to resize only costs time. */
static void resize(struct sessions *t, uint32_t size)
{
    struct session **slots = mem_zero(MEM_SESSION, size * sizeof(struct session *)), **old = t->slots;
    uint32_t old_mask = t->mask;

    if (slots == NULL)
        return;
    t->slots = slots;
    t->mask = size - 1;
    for (uint32_t i = 0; i <= old_mask; i++)
        for (struct session *s = old[i], *next; s != NULL; s = next) {
            next = s->hash_next;
            link_in(t, s);
        }
    mem_free(MEM_SESSION, old);
}

static void table_add(struct sessions *t, struct session *s)
{
    if (t->count > t->mask)
        resize(t, (t->mask + 1) * 2);
    link_in(t, s);
    t->count++;
}

static void table_remove(struct sessions *t, struct session *s)
{
    struct session **at = &t->slots[slot_of(t, ident_id(s->ident))];

    while (*at != s)
        at = &(*at)->hash_next;
    *at = s->hash_next;
    t->count--;
    if (t->mask + 1 > SLOTS_MIN && t->count < (t->mask + 1) / 8)
        resize(t, (t->mask + 1) / 2);
}

struct session *session_each(const struct sessions *t, const struct session *s)
{
    uint32_t at = 0;

    if (s != NULL && s->hash_next != NULL)
        return s->hash_next;
    if (s != NULL)
        at = slot_of(t, ident_id(s->ident)) + 1;
    for (; at <= t->mask; at++)
        if (t->slots[at] != NULL)
            return t->slots[at];
    return NULL;
}

/* ---- flow ---- */

const struct flow flow_none = {
    .window = { (struct link *)(uintptr_t)&flow_none.window, (struct link *)(uintptr_t)&flow_none.window },
    .tail = { (struct link *)(uintptr_t)&flow_none.tail, (struct link *)(uintptr_t)&flow_none.tail },
    .next = (struct link *)(uintptr_t)&flow_none.window,
};

static struct flow *no_flow(void)
{
    return (struct flow *)(uintptr_t)&flow_none;
}

struct flow *flow_get(struct session *s)
{
    struct flow *f = s->flow;

    if (f != &flow_none)
        return f;
    f = mem_zero(MEM_SESSION, sizeof *f);
    if (f == NULL)
        return NULL;
    list_init(&f->window);
    list_init(&f->tail);
    f->next = &f->window;
    return s->flow = f;
}

static void flow_free(struct session *s)
{
    if (s->flow == &flow_none)
        return;
    idset_clear(&s->flow->inbound);
    mem_free(MEM_SESSION, s->flow->ring);
    mem_free(MEM_SESSION, s->flow);
    s->flow = no_flow();
}

void flow_rest(struct session *s)
{
    const struct flow *f = s->flow;

    /* While rows are fetched from the store, paged_position says how far that has come. */
    if (list_empty(&f->window) && list_empty(&f->tail) && f->inbound.count == 0 && (s->conn == NULL || s->backlog == 0))
        flow_free(s);
}

bool session_inbound(struct session *s, uint16_t pid)
{
    struct flow *f = flow_get(s);

    return f != NULL && idset_add(&f->inbound, pid);
}

bool session_rows_pending(const struct broker *b, const struct session *s)
{
    return (int32_t)(s->rows_seq - (uint32_t)b->journal.seq) > 0;
}

/* ---- begin ---- */

static void expired(struct timer *t, void *arg)
{
    struct session *s = LIST_ENTRY(t, struct session, timer);
    struct broker *b = arg;

    log_info("session expired id=%s waiting=%u", log_q(s->ident->data, s->ident->id_len), session_waiting(s));
    METRIC(b, CLIENTS_EXPIRED)++;
    will_trigger(b, s, true);
    session_free(b, s);
}

struct session *session_new(struct broker *b, struct ident *ident, bool durable)
{
    struct session *s = mem_zero(MEM_SESSION, sizeof *s);

    if (s == NULL) {
        ident_unref(&ident);
        return NULL;
    }
    s->ident = ident;
    s->flow = no_flow();
    timer_init(&s->timer, expired);
    s->durable = durable;
    if (durable)
        s->db_id = b->journal.next_session_id++;
    table_add(&b->sessions, s);
    if (b->sessions.count > b->session_peak)
        b->session_peak = b->sessions.count;
    return s;
}

bool session_online(const struct session *s)
{
    return s->conn != NULL && !conn_closing(s->conn);
}

uint64_t session_promise(struct broker *b, struct session *s)
{
    if (s->durable)
        s->promise_seq = journal_next(b);
    return s->promise_seq;
}

/* ---- end ---- */

/* What a member of a shared group has not acknowledged goes to another one, QoS 2 excepted once it was sent: its
 * client may have it already. [MQTT5-4.8.2-5], [MQTT5-4.8.2-6] */
static bool may_be_handed_on(unsigned state, unsigned qos)
{
    return state == QUEUED || (state == SENT && qos == 1);
}

static void hand_on(struct broker *b, struct share *g, struct msg *m)
{
    struct sub *sub = share_pick(g);
    /* A copy: as a message of its own its row belongs to the new recipient alone. */
    struct incoming in = incoming_from(m);
    uint8_t ids[8];
    struct writer w = wr_make(ids, sizeof ids);

    incoming_done(&in);
    if (sub == NULL)
        return;
    if (sub->subid != 0)
        props_write_num(&w, PROP_SUBSCRIPTION_ID, sub->subid);
    session_deliver(b, sub->s, &in, m->qos < sub->qos ? m->qos : sub->qos, sub->retain_as_published && m->retain,
                    (struct view){ ids, (size_t)(w.p - ids) }, g);
    incoming_done(&in);
}

/* What waits in the store for a member that ends, a bounded part of it. */
#define ORPHANS_MAX   1000
#define ORPHANS_BYTES (1 << 20)

struct orphans {
    struct broker *b;
    struct session *s;
    unsigned n;
    struct { struct msg *m; struct share *g; } v[ORPHANS_MAX];
};

static int add_orphan(void *arg, const struct persist_queue *q, const struct persist_message *m)
{
    struct orphans *o = arg;
    struct share *g = subs_only_shared(o->s, (struct view){ m->topic.p, m->topic.len });
    struct msg *msg;

    if (g == NULL || !may_be_handed_on((unsigned)q->state, (unsigned)q->qos) ||
        !msg_keepable(m, (struct view){ NULL, 0 }))
        return 0;
    msg = msg_restore(o->b, m);
    if (msg == NULL)
        return 1;
    g->refs++;
    o->v[o->n].m = msg;
    o->v[o->n++].g = g;
    return o->n == ORPHANS_MAX;
}

static bool is_in_group(const struct session *s)
{
    RING_EACH(l, s->subs)
        if (LIST_ENTRY(l, struct sub, by_session)->shared)
            return true;
    return false;
}

/* NULL: there is nothing to hand on, or it can't be read. */
static struct orphans *orphans_new(struct broker *b, struct session *s)
{
    struct orphans *o;

    if (s->backlog == 0 || !journal_on(&b->journal) || !is_in_group(s) ||
        (session_rows_pending(b, s) && !journal_commit_now(b)))
        return NULL;
    o = mem_alloc(MEM_OTHER, sizeof *o);
    if (o == NULL)
        return NULL;
    o->b = b;
    o->s = s;
    o->n = 0;
    persist_queue_page(b->journal.db, s->db_id, s->flow->paged_position, ORPHANS_MAX, ORPHANS_BYTES, add_orphan, o);
    return o;
}

static void orphans_hand_on(struct broker *b, struct orphans *o)
{
    for (unsigned i = 0; o != NULL && i < o->n; i++) {
        hand_on(b, o->v[i].g, o->v[i].m);
        share_unref(&b->subs, &o->v[i].g);
        msg_unref(&o->v[i].m);
    }
    mem_free(MEM_OTHER, o);
}

static void free_deliveries(struct broker *b, struct link *list)
{
    while (!list_empty(list)) {
        struct delivery *d = LIST_ENTRY(list->next, struct delivery, order);

        if (d->share != NULL && may_be_handed_on(d->state, d->qos))
            hand_on(b, d->share, d->msg);
        delivery_done(b, d);
    }
}

void session_free(struct broker *b, struct session *s)
{
    struct orphans *orphans = orphans_new(b, s);

    s->ending = true;
    if (s->conn != NULL) {
        s->conn->session = NULL;
        s->conn = NULL;
        b->sessions.online--;
    }
    will_drop(b, s);
    timer_disarm(&s->timer);
    subs_remove_all(&b->subs, s);
    free_deliveries(b, &s->flow->window);
    orphans_hand_on(b, orphans);
    free_deliveries(b, &s->flow->tail);
    if (s->durable)
        journal_session_del(b, s);
    journal_forget_session(b, s);
    auth_forget(s);
    table_remove(&b->sessions, s);
    flow_free(s);
    ident_unref(&s->ident);
    mem_free(MEM_SESSION, s);
    broker_left(b);
}

/* ---- leave and return ---- */

void session_arm_expiry(struct broker *b, struct session *s, uint64_t due_ms)
{
    timer_arm(&b->wheel, &s->timer, due_ms);
}

uint32_t session_expiry_s(const struct broker *b, uint32_t asked_s)
{
    int64_t limit = b->cfg->session_expiry_s;

    return limit >= 0 && (uint64_t)limit < asked_s ? (uint32_t)limit : asked_s;
}

static void arm_from_now(struct broker *b, struct session *s)
{
    uint32_t in_s = session_expiry_s(b, s->expiry_s);

    if (in_s != UINT32_MAX)
        session_arm_expiry(b, s, b->now_ms + (uint64_t)in_s * 1000);
}

/* Everything in RAM becomes tail: written if it is not, then paged out by the journal. */
static void to_tail(struct broker *b, struct flow *f)
{
    list_splice(&f->window, &f->tail);
    list_splice(&f->tail, &f->window);
    f->next = &f->window;
    f->window_bytes = 0;
    f->paged_position = 0;
    mem_free(MEM_SESSION, f->ring);
    f->ring = NULL;
    f->ring_mask = 0;
    LIST_EACH(l, &f->tail) {
        struct delivery *d = LIST_ENTRY(l, struct delivery, order);

        d->in_tail = true;
        if (!d->stored)
            journal_delivery_due(b, d);
        else if (!link_used(&d->mark))
            delivery_page_out(b, d);
    }
}

/* Nothing is on its way any more. */
static void flow_stop(struct broker *b, struct session *s)
{
    struct flow *f = s->flow;

    if (f == &flow_none)
        return;
    f->inflight = 0;
    f->inflight_bytes = 0;
    LIST_EACH(l, &f->window)
        LIST_ENTRY(l, struct delivery, order)->flying = false;
    if (journal_on(&b->journal))
        to_tail(b, f);
    else
        f->next = f->window.next;
    flow_rest(s);
}

void session_detach(struct broker *b, struct session *s)
{
    assert(s->conn != NULL);
    s->conn->session = NULL;
    s->conn = NULL;
    b->sessions.online--;
    s->disconnected_ms = calendar_now(b);
    flow_stop(b, s);
    journal_session_put(b, s, true);
    arm_from_now(b, s);
}

bool session_resume(struct broker *b, struct session *s)
{
    /* Rows are read from the first one on, and what is done with must not be among them. What a full store has not
     * taken yet is still in tail, behind all that it has (J5). */
    if ((!list_empty(&s->flow->tail) || (s->backlog > 0 && session_rows_pending(b, s))) && !journal_commit_now(b) &&
        !journal_rows_current(&b->journal))
        return false;
    timer_disarm(&s->timer);
    if (s->flow != &flow_none) {
        s->flow->paged_position = 0;
        s->flow->next = s->flow->window.next;
    }
    s->disconnected_ms = 0;
    return true;
}

void session_wake(struct broker *b, struct session *s)
{
    if (s->conn != NULL)
        conn_due(b, s->conn, DUE_PUMP);
}
