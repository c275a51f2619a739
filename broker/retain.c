/* Retained messages.
 *
 * A subscriber gets them by a walk: the messages that match are collected when it subscribes, and sent some each turn,
 * so that a filter with a million retained messages stops nobody else and needs no room in a queue.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/retain.h"

#include "broker/auth.h"
#include "broker/broker.h"

#include <assert.h>

/* Messages sent to one connection in one turn. */
#define WALK_BATCH 200
/* The walk rests while this many wait in the session's queue. */
#define WALK_QUEUE 50

struct retained_expiry {
    struct timer timer;
    struct retained *r;
};

struct walk {
    struct walk *next;
    struct msg **v;
    size_t n, at, cap;
    uint64_t seq;                   /* commit that the SUBACK waits for */
    uint32_t subid;
    uint8_t qos;
};

bool retain_init(struct retain *r, const struct hash_key *key)
{
    *r = (struct retain){ 0 };
    return tree_init(&r->tree, key, MEM_RETAIN);
}

static void expiry_free(struct retained *r)
{
    if (r->expiry != NULL)
        timer_disarm(&r->expiry->timer);
    mem_free(MEM_RETAIN, r->expiry);
    r->expiry = NULL;
}

/* Leaves the row in the store alone. */
static void forget(struct broker *b, struct retained *r)
{
    b->retain.count--;
    b->retain.bytes -= msg_bytes(r->msg);
    expiry_free(r);
    list_unlink(&r->mark);
    r->node->value = NULL;
    tree_prune(&b->retain.tree, r->node);
    msg_unref(&r->msg);
    mem_free(MEM_RETAIN, r);
}

static void drop(struct broker *b, struct retained *r)
{
    journal_retained_del(b, r->id);
    forget(b, r);
}

static void expired(struct timer *t, void *arg)
{
    drop(arg, LIST_ENTRY(t, struct retained_expiry, timer)->r);
}

static bool set_expiry(struct broker *b, struct retained *r)
{
    uint64_t due = r->msg->expires_ms;
    uint64_t most = b->now_ms + (uint64_t)b->cfg->retain_expiry_s * 1000;

    if (b->cfg->retain_expiry_s > 0 && (due == 0 || due > most))
        due = most;
    if (due == 0) {
        expiry_free(r);
        return true;
    }
    if (r->expiry == NULL) {
        r->expiry = mem_zero(MEM_RETAIN, sizeof *r->expiry);
        if (r->expiry == NULL)
            return false;
        timer_init(&r->expiry->timer, expired);
        r->expiry->r = r;
    }
    timer_arm(&b->wheel, &r->expiry->timer, due);
    return true;
}

static struct retained *retained_get(struct broker *b, struct view topic)
{
    struct tree_node *n = tree_get(&b->retain.tree, topic);
    struct retained *r;

    if (n == NULL)
        return NULL;
    if (n->value != NULL)
        return n->value;
    r = mem_zero(MEM_RETAIN, sizeof *r);
    if (r == NULL) {
        tree_prune(&b->retain.tree, n);
        return NULL;
    }
    r->node = n;
    list_init(&r->mark);
    n->value = r;
    return r;
}

/* Takes the reference. */
static bool put(struct broker *b, struct msg *m, int64_t id, struct retained **out)
{
    struct retained *r = retained_get(b, msg_topic(m));

    if (r == NULL) {
        msg_unref(&m);
        return false;
    }
    if (r->msg != NULL) {
        b->retain.bytes -= msg_bytes(r->msg);
        msg_unref(&r->msg);
    } else {
        b->retain.count++;
        r->id = id;
    }
    r->msg = m;
    b->retain.bytes += msg_bytes(m);
    *out = r;
    if (set_expiry(b, r))
        return true;
    drop(b, r);
    return false;
}

uint64_t retain_set(struct broker *b, struct incoming *in, bool *ok)
{
    struct tree_node *n;
    struct retained *r;

    *ok = true;
    if (in->payload.len == 0) {                       /* [MQTT311-3.3.1-10], [MQTT5-3.3.1-6] */
        n = tree_find(&b->retain.tree, in->topic);
        if (n == NULL || n->value == NULL)
            return 0;
        drop(b, n->value);
        return in->qos > 0 ? journal_next(b) : 0;
    }
    if (incoming_msg(in) == NULL || !put(b, msg_ref(in->msg), b->journal.next_retained_id++, &r)) {
        *ok = false;
        return 0;
    }
    journal_retained(b, r, in->qos > 0);
    return in->qos > 0 ? journal_next(b) : 0;
}

const struct msg *retain_find(const struct broker *b, struct view topic)
{
    const struct tree_node *n = tree_find(&b->retain.tree, topic);

    return n != NULL && n->value != NULL ? ((const struct retained *)n->value)->msg : NULL;
}

bool retain_restore(struct broker *b, struct msg *m, int64_t id)
{
    struct retained *r;

    return put(b, m, id, &r);
}

void retain_fini(struct broker *b)
{
    for (uint32_t i = 0; b->retain.tree.slots != NULL && i <= b->retain.tree.mask; i++)
        for (struct tree_node *n = b->retain.tree.slots[i]; n != NULL; n = n->hash_next) {
            struct retained *r = n->value;

            if (r == NULL)
                continue;
            expiry_free(r);
            list_unlink(&r->mark);
            msg_unref(&r->msg);
            mem_free(MEM_RETAIN, r);
        }
    tree_fini(&b->retain.tree);
}

/* ---- to subscribers ---- */

struct collecting {
    struct walk *w;
    bool no_memory;
};

static bool collect(void *arg, struct tree_node *n)
{
    struct collecting *q = arg;
    struct walk *w = q->w;
    const struct retained *r = n->value;

    if (w->n == w->cap) {
        size_t cap = w->cap > 0 ? w->cap * 2 : 16;
        struct msg **v = mem_grow(MEM_RETAIN, w->v, cap * sizeof(struct msg *));

        if (v == NULL) {
            q->no_memory = true;
            return false;
        }
        w->v = v;
        w->cap = cap;
    }
    w->v[w->n++] = msg_ref(r->msg);
    return true;
}

static void walk_free(struct walk *w)
{
    while (w->at < w->n)
        msg_unref(&w->v[w->at++]);
    mem_free(MEM_RETAIN, w->v);
    mem_free(MEM_RETAIN, w);
}

void retain_send(struct broker *b, struct session *s, struct view filter, const struct sub *sub, uint64_t seq)
{
    struct walk *w = mem_zero(MEM_RETAIN, sizeof *w), **end = &s->conn->walk;
    struct collecting q = { w, w == NULL };

    if (w != NULL) {
        w->seq = seq;
        w->qos = sub->qos;
        w->subid = sub->subid;
        tree_match_filter(&b->retain.tree, filter, collect, &q);
    }
    if (q.no_memory)
        conn_close(b, s->conn, CLOSE_NO_MEMORY);
    if (w == NULL)
        return;
    if (w->n == 0) {
        walk_free(w);
        return;
    }
    while (*end != NULL)
        end = &(*end)->next;
    *end = w;
    conn_dirty(b, s->conn);
}

static void send_one(struct broker *b, struct session *s, struct walk *w)
{
    struct msg *m = w->v[w->at++];
    struct incoming in = incoming_from(m);
    uint8_t ids[8];
    struct writer out = wr_make(ids, sizeof ids);

    if (w->subid != 0)
        props_write_num(&out, PROP_SUBSCRIPTION_ID, w->subid);
    if (!msg_expired(m, b->now_ms) && auth_may_read(s, in.topic) && auth_source_allowed(b, s, m))
        session_deliver(b, s, &in, m->qos < w->qos ? m->qos : w->qos, true,
                        (struct view){ ids, (size_t)(out.p - ids) }, NULL);
    incoming_done(&in);
    msg_unref(&m);
}

bool retain_walk_ready(const struct broker *b, const struct conn *c)
{
    return c->walk != NULL && c->session != NULL && !conn_closing(c) &&
           journal_is_durable(&b->journal, c->walk->seq) && c->out.bytes <= broker_write_limit(b) / 2 &&
           session_waiting(c->session) <= WALK_QUEUE;
}

void retain_walk(struct broker *b, struct conn *c)
{
    for (unsigned sent = 0; sent < WALK_BATCH && retain_walk_ready(b, c); sent++) {
        struct walk *w = c->walk;

        send_one(b, c->session, w);
        if (w->at == w->n) {
            c->walk = w->next;
            walk_free(w);
        }
    }
}

void walk_finish(struct broker *b, struct conn *c)
{
    while (c->walk != NULL) {
        struct walk *w = c->walk;

        /* QoS 0 is not queued, so this drops what need not be kept. */
        while (c->session != NULL && c->session->durable && w->at < w->n)
            send_one(b, c->session, w);
        c->walk = w->next;
        walk_free(w);
    }
}

uint32_t retain_clear(struct broker *b, struct view filter)
{
    struct walk w = { 0 };
    struct collecting q = { &w, false };
    uint32_t cleared = 0;

    tree_match_filter(&b->retain.tree, filter, collect, &q);
    for (; w.at < w.n; w.at++) {
        struct tree_node *n = tree_find(&b->retain.tree, msg_topic(w.v[w.at]));

        if (n != NULL && n->value != NULL) {
            drop(b, n->value);
            cleared++;
        }
        msg_unref(&w.v[w.at]);
    }
    mem_free(MEM_RETAIN, w.v);
    return cleared;
}
