/* Retained messages.
 *
 * A subscriber gets them by a walk: the messages that match are collected when it subscribes, and sent some each turn,
 * so that a filter with a million retained messages stops nobody else and needs no room in a queue. What is replaced or
 * removed before the walk comes to it is left out: the subscription has brought what replaced it, and nobody may get
 * the older value behind the newer one.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/retain.h"

#include "broker/auth.h"
#include "broker/broker.h"
#include "broker/sub.h"

#include <assert.h>

/* Messages sent to one connection in one turn. */
#define WALK_BATCH 200
/* Of these, read from the store. */
#define WALK_READS 50
/* The walk rests while this many wait in the session's queue. */
#define WALK_QUEUE 50
/* Bytes that may wait to be written, whatever retained_memory says. */
#define UNWRITTEN_LEAST 65536

struct retained_expiry {
    struct timer timer;
    struct retained *r;
};

struct walk {
    struct walk *next;
    struct retained **v;            /* a reference each */
    size_t n, at, cap;
    uint64_t seq;                   /* commit that the SUBACK waits for */
    uint32_t subid;
    uint8_t qos;
};

bool retain_init(struct retain *r, const struct hash_key *key)
{
    *r = (struct retain){ 0 };
    list_init(&r->kept);
    return tree_init(&r->tree, key, MEM_RETAIN);
}

static void expiry_free(struct retained *r)
{
    if (r->expiry != NULL)
        timer_disarm(&r->expiry->timer);
    mem_free(MEM_RETAIN, r->expiry);
    r->expiry = NULL;
}

/* ---- in RAM, or not ---- */

static uint64_t ram_size(const struct msg *m)
{
    return sizeof *m + msg_bytes(m) + 1;
}

/* Takes the reference. */
static void admit(struct broker *b, struct retained *r, struct msg *m)
{
    r->msg = m;
    b->retain.ram_count++;
    b->retain.ram_bytes += ram_size(m);
}

void retain_stored(struct broker *b, struct retained *r)
{
    list_unlink(&r->mark);
    list_push(&b->retain.kept, &r->mark);
    b->retain.kept_bytes += ram_size(r->msg);
    r->kept = true;
}

/* Out of RAM; no longer to be written, if it was. */
static void evict(struct broker *b, struct retained *r)
{
    list_unlink(&r->mark);
    if (r->msg == NULL)
        return;
    b->retain.ram_count--;
    b->retain.ram_bytes -= ram_size(r->msg);
    b->retain.kept_bytes -= r->kept ? ram_size(r->msg) : 0;
    r->kept = false;
    msg_unref(&r->msg);
}

void retain_trim(struct broker *b)
{
    while (b->retain.ram_bytes > b->cfg->retained_memory_bytes && !list_empty(&b->retain.kept))
        evict(b, LIST_ENTRY(b->retain.kept.next, struct retained, mark));
}

bool retain_presses(const struct broker *b)
{
    uint64_t quarter = b->cfg->retained_memory_bytes / 4;

    return b->retain.ram_bytes - b->retain.kept_bytes > (quarter > UNWRITTEN_LEAST ? quarter : UNWRITTEN_LEAST);
}

/* ---- the index ---- */

static void unref(struct retained **rp)
{
    struct retained *r = *rp;

    *rp = NULL;
    assert(r->refs > 0);
    if (--r->refs > 0)
        return;
    assert(r->node == NULL && r->msg == NULL && r->expiry == NULL);
    mem_free(MEM_RETAIN, r);
}

/* Leaves the row in the store alone. */
static void forget(struct broker *b, struct retained *r)
{
    b->retain.count--;
    b->retain.bytes -= r->bytes;
    expiry_free(r);
    evict(b, r);
    r->node->value = NULL;
    tree_prune(&b->retain.tree, r->node);
    r->node = NULL;
    unref(&r);
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

/* since_ms: monotonic, when it came; negative: before the machine booted. */
static bool set_expiry(struct broker *b, struct retained *r, int64_t since_ms, uint64_t due)
{
    int64_t most = since_ms + (int64_t)b->cfg->retain_expiry_s * 1000;

    if (b->cfg->retain_expiry_s > 0 && (due == 0 || most < 0 || due > (uint64_t)most))
        due = most > 0 ? (uint64_t)most : 1;
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

/* The entry for this topic, made when missing (under the id). */
static struct retained *entry(struct broker *b, struct view topic, int64_t id)
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
    r->id = id;
    r->refs = 1;
    list_init(&r->mark);
    n->value = r;
    b->retain.count++;
    return r;
}

/* In place of r, which is about to be replaced: walks that have collected it will find it gone. NULL: no memory. */
static struct retained *renew(struct broker *b, struct retained *r)
{
    struct retained *now = mem_zero(MEM_RETAIN, sizeof *now);

    if (now == NULL)
        return NULL;
    evict(b, r);
    *now = (struct retained){ .node = r->node, .expiry = r->expiry, .id = r->id, .bytes = r->bytes, .refs = 1 };
    list_init(&now->mark);
    now->node->value = now;
    if (now->expiry != NULL)
        now->expiry->r = now;
    r->node = NULL;
    r->expiry = NULL;
    unref(&r);
    return now;
}

static void describe(struct broker *b, struct retained *r, uint64_t bytes, int qos)
{
    b->retain.bytes += bytes - r->bytes;
    r->bytes = (uint32_t)bytes;
    r->qos = (unsigned)qos & 3;
}

uint64_t retain_set(struct broker *b, struct incoming *in, bool *ok)
{
    struct retained *r = NULL;

    *ok = true;
    if (in->payload.len == 0) {                       /* [MQTT311-3.3.1-10], [MQTT5-3.3.1-6] */
        const struct tree_node *n = tree_find(&b->retain.tree, in->topic);

        if (n == NULL || n->value == NULL)
            return 0;
        drop(b, n->value);
        return in->qos > 0 ? journal_next(b) : 0;
    }
    if (incoming_msg(in) != NULL)
        r = entry(b, in->topic, b->journal.next_retained_id++);
    if (r != NULL && r->refs > 1)
        r = renew(b, r);
    if (r == NULL) {
        *ok = false;
        return 0;
    }
    evict(b, r);
    admit(b, r, msg_ref(in->msg));
    describe(b, r, msg_bytes(in->msg), in->msg->qos);
    if (!set_expiry(b, r, in->msg->received_ms, in->msg->expires_ms)) {
        drop(b, r);
        *ok = false;
        return 0;
    }
    journal_retained(b, r, in->qos > 0);
    return in->qos > 0 ? journal_next(b) : 0;
}

const struct retained *retain_find(const struct broker *b, struct view topic)
{
    const struct tree_node *n = tree_find(&b->retain.tree, topic);

    return n != NULL ? n->value : NULL;
}

bool retain_restore(struct broker *b, const struct persist_retained *p, int64_t received_ms, uint64_t expires_ms)
{
    struct retained *r = entry(b, (struct view){ p->m.topic.p, p->m.topic.len }, p->id);

    if (r == NULL)
        return false;
    describe(b, r, p->m.topic.len + p->m.props.len + p->m.payload.len, p->m.qos);
    if (set_expiry(b, r, received_ms, expires_ms))
        return true;
    forget(b, r);
    return false;
}

void retain_fini(struct broker *b)
{
    for (uint32_t i = 0; b->retain.tree.slots != NULL && i <= b->retain.tree.mask; i++)
        for (struct tree_node *n = b->retain.tree.slots[i]; n != NULL; n = n->hash_next) {
            struct retained *r = n->value;

            if (r == NULL)
                continue;
            expiry_free(r);
            evict(b, r);
            r->node = NULL;
            unref(&r);
        }
    tree_fini(&b->retain.tree);
}

/* ---- from the store ---- */

struct reading {
    struct broker *b;
    struct msg *m;
    bool found;
};

static int read_row(void *arg, const struct persist_retained *p)
{
    struct reading *g = arg;
    const struct persist_message *m = &p->m;

    g->found = msg_keepable(m, (struct view){ NULL, 0 });       /* at start there was no look at the payload */
    if (!g->found)
        return 1;
    g->m = msg_restore(g->b, m);
    if (g->m != NULL && m->publisher.p != NULL && m->publisher.len <= UINT16_MAX && m->publisher_user.len <= UINT16_MAX)
        g->m->from = ident_new((struct view){ m->publisher.p, m->publisher.len },
                               (struct view){ m->publisher_user.p, m->publisher_user.len });
    return 1;
}

static void read_failed(struct broker *b, struct retained *r, const char *why)
{
    uint8_t topic[TREE_PATH_MAX];

    if (log_allow(&b->retain.limit, 1, b->now_ms))
        log_error("retained message can't be read topic=%s error=%s",
                  log_q(topic, tree_path(r->node, topic, sizeof topic)), log_qs(why));
}

/* A reference; NULL: it can't be had, which is said. */
static struct msg *message(struct broker *b, struct retained *r)
{
    struct reading g = { .b = b };

    if (r->msg != NULL)
        return msg_ref(r->msg);
    b->retain.reads++;
    if (persist_retained_get(b->journal.db, r->id, read_row, &g) != PERSIST_OK) {
        read_failed(b, r, persist_error(b->journal.db));
    } else if (!g.found) {
        read_failed(b, r, "its row is gone, or breaks the rules");
        forget(b, r);
    } else if (g.m == NULL) {
        read_failed(b, r, "out of memory");
    } else if (b->retain.ram_bytes + ram_size(g.m) <= b->cfg->retained_memory_bytes) {
        admit(b, r, msg_ref(g.m));
        retain_stored(b, r);
    }
    return g.m;
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
    struct retained *r = n->value;

    if (w->n == w->cap) {
        size_t cap = w->cap > 0 ? w->cap * 2 : 16;
        struct retained **v = mem_grow(MEM_RETAIN, w->v, cap * sizeof(struct retained *));

        if (v == NULL) {
            q->no_memory = true;
            return false;
        }
        w->v = v;
        w->cap = cap;
    }
    r->refs++;
    w->v[w->n++] = r;
    return true;
}

static void walk_free(struct walk *w)
{
    while (w->at < w->n)
        unref(&w->v[w->at++]);
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

static uint8_t walk_qos(const struct walk *w, const struct retained *r)
{
    return r->qos < w->qos ? (uint8_t)r->qos : w->qos;
}

/* May it be worth reading? Asked only for what is not in RAM. */
static bool may_want(const struct session *s, const struct retained *r)
{
    uint8_t topic[TREE_PATH_MAX];
    size_t len;

    if (s->rights == NULL)
        return true;
    len = tree_path(r->node, topic, sizeof topic);
    return auth_may_read(s, (struct view){ topic, len });
}

static void deliver(struct broker *b, struct session *s, const struct walk *w, struct msg *m)
{
    struct incoming in = incoming_from(m);
    uint8_t ids[8];
    struct writer out = wr_make(ids, sizeof ids);

    if (w->subid != 0)
        props_write_num(&out, PROP_SUBSCRIPTION_ID, w->subid);
    if (!msg_expired(m, b->now_ms) && auth_may_read(s, in.topic) && auth_source_allowed(b, s, m))
        session_deliver(b, s, &in, m->qos < w->qos ? m->qos : w->qos, true,
                        (struct view){ ids, (size_t)(out.p - ids) }, NULL);
    incoming_done(&in);
}

static void send_one(struct broker *b, struct session *s, struct walk *w)
{
    struct retained *r = w->v[w->at++];
    struct msg *m = NULL;

    if (r->node != NULL && (r->msg != NULL || may_want(s, r)))
        m = message(b, r);
    if (m != NULL)
        deliver(b, s, w, m);
    msg_unref(&m);
    unref(&r);
}

bool retain_walk_ready(const struct broker *b, const struct conn *c)
{
    return c->walk != NULL && c->session != NULL && !conn_closing(c) &&
           journal_is_durable(&b->journal, c->walk->seq) && c->out.bytes <= broker_write_limit(b) / 2 &&
           session_waiting(c->session) <= WALK_QUEUE;
}

void retain_walk(struct broker *b, struct conn *c)
{
    uint64_t reads = b->retain.reads + WALK_READS;

    for (unsigned sent = 0; sent < WALK_BATCH && b->retain.reads < reads && retain_walk_ready(b, c); sent++) {
        struct walk *w = c->walk;

        send_one(b, c->session, w);
        if (w->at == w->n) {
            c->walk = w->next;
            walk_free(w);
        }
    }
}

/* What a full queue will not take need not be read. */
static void skip_rest(struct broker *b, struct session *s, struct walk *w)
{
    uint32_t n = 0;

    for (; w->at < w->n; w->at++) {
        n += w->v[w->at]->node != NULL && may_want(s, w->v[w->at]);
        unref(&w->v[w->at]);
    }
    if (n > 0)
        session_drop_unseen(b, s, n);
}

/* QoS 0 is not queued. */
static void skip_qos0(const struct broker *b, struct walk *w)
{
    size_t n = w->at;

    for (size_t i = w->at; i < w->n; i++)
        if (walk_qos(w, w->v[i]) > 0 || b->cfg->queue_qos0_messages)
            w->v[n++] = w->v[i];
        else
            unref(&w->v[i]);
    w->n = n;
}

void walk_finish(struct broker *b, struct conn *c)
{
    while (c->walk != NULL) {
        struct walk *w = c->walk;

        if (c->session != NULL && c->session->durable) {
            skip_qos0(b, w);
            while (w->at < w->n && !session_full(b, c->session))
                send_one(b, c->session, w);
            skip_rest(b, c->session, w);
        }
        c->walk = w->next;
        walk_free(w);
    }
}

void retain_each_waiting(const struct conn *c, void (*one)(void *, const struct retained *), void *arg)
{
    for (const struct walk *w = c->walk; w != NULL; w = w->next)
        for (size_t i = w->at; i < w->n; i++)
            one(arg, w->v[i]);
}

uint32_t retain_clear(struct broker *b, struct view filter)
{
    struct walk w = { 0 };
    struct collecting q = { &w, false };
    uint32_t cleared = 0;

    tree_match_filter(&b->retain.tree, filter, collect, &q);
    for (; w.at < w.n; w.at++) {
        if (w.v[w.at]->node != NULL) {
            drop(b, w.v[w.at]);
            cleared++;
        }
        unref(&w.v[w.at]);
    }
    mem_free(MEM_RETAIN, w.v);
    return cleared;
}
