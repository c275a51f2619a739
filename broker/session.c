/* The table of sessions, and how one begins, is left and taken up again, and ends.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/session.h"

#include "broker/auth.h"
#include "broker/broker.h"
#include "broker/estate.h"
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

/* What is not stored goes to other members now; with its ticket, since the publisher's answer may wait for that. */
static void pass_on(struct broker *b, const struct delivery *d)
{
    /* A client that has a QoS 2 message of a durable session got it after it was stored. */
    bool may = d->share != NULL && !d->stored && (estate_may_pass(d->state, d->qos) || d->ticketed);
    struct sub *sub = may ? share_pick(d->share) : NULL;
    struct incoming in;

    if (sub == NULL)
        return;
    in = incoming_from(d->msg);
    estate_give(b, sub, &in);
    incoming_done(&in);
}

static void free_deliveries(struct broker *b, struct link *list)
{
    while (!list_empty(list)) {
        struct delivery *d = LIST_ENTRY(list->next, struct delivery, order);

        pass_on(b, d);
        delivery_done(b, d);
    }
}

static bool has_heirs(const struct session *s)
{
    RING_EACH(l, s->subs) {
        const struct sub *sub = LIST_ENTRY(l, struct sub, by_session);

        if (sub->shared && sub->by_filter.next != &sub->by_filter)
            return true;
    }
    return false;
}

/* Is there something in the store for other members of its groups? Then all the rest is written, too, so that the order
 * stays; what can't be written is handed on from RAM. */
static bool leaves_estate(struct broker *b, struct session *s)
{
    const struct flow *f = s->flow;

    if (!s->durable || !journal_on(&b->journal) || b->journal.broken || !has_heirs(s) ||
        (s->backlog == 0 && list_empty(&f->window) && list_empty(&f->tail)))
        return false;
    flow_stop(b, s);
    if (!list_empty(&s->flow->tail))
        journal_commit_now(b);
    return true;
}

void session_free(struct broker *b, struct session *s)
{
    bool leaves = leaves_estate(b, s);

    s->ending = true;
    if (s->conn != NULL) {
        s->conn->session = NULL;
        walk_finish(b, s->conn);
        s->conn = NULL;
        b->sessions.online--;
    }
    will_drop(b, s);
    timer_disarm(&s->timer);
    subs_remove_all(&b->subs, s);
    free_deliveries(b, &s->flow->window);
    free_deliveries(b, &s->flow->tail);
    if (s->durable)
        journal_session_del(b, s, leaves);
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
