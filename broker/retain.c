/* Retained messages.
 *
 * A subscriber gets them by a walk: the messages that match are collected when it subscribes, and sent some each turn,
 * so that a filter with a million retained messages stops nobody else and needs no room in a queue. What is replaced or
 * removed before the walk comes to it is left out: the subscription has brought what replaced it, and nobody may get
 * the older value behind the newer one.
 *
 * A subscription has one walk at most; who subscribes again begins it anew. That, and those behind the first ones where
 * many subscriptions of a connection have one, are collected when it is their turn: so the same filter again and again,
 * or many that match the same messages, cost neither a long turn nor room for each.
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
/* While a connection's walks refer to fewer messages than this, the next one is collected at once; */
#define COLLECT_MOST 10000
/* unless so many topics were looked at in this turn. */
#define COLLECT_TURN 20000

struct retained_expiry {
    struct timer timer;
    struct retained *r;
};

struct walk {
    struct sub *sub;                /* NULL: it has ended. Not NULL: sub->walk is the place in walks.v, plus one */
    struct retained **v;            /* a reference each */
    size_t n, at, cap;
    uint64_t seq;                   /* commit that the SUBACK waits for */
    bool collected;
};

/* A connection's, in the order in which they are served. */
struct walks {
    uint32_t at, n, cap;            /* v[at..n) */
    uint32_t live;                  /* of these, not ended; never 0 */
    size_t held;                    /* references in all of them */
    struct walk v[];
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

static struct walk *walk_of(const struct sub *sub)
{
    return &sub->s->conn->walks->v[sub->walk - 1];
}

/* The one whose turn it is. */
static struct walk *first_walk(struct walks *all)
{
    while (all->v[all->at].sub == NULL)
        all->at++;
    return &all->v[all->at];
}

/* All of what it has collected. */
static void let_go(struct walks *all, struct walk *w)
{
    all->held -= w->n - w->at;
    while (w->at < w->n)
        unref(&w->v[w->at++]);
    mem_free(MEM_RETAIN, w->v);
    *w = (struct walk){ .sub = w->sub, .seq = w->seq };
}

static void walk_end(struct conn *c, struct walk *w)
{
    let_go(c->walks, w);
    w->sub->walk = 0;
    w->sub = NULL;
    if (--c->walks->live > 0)
        return;
    mem_free(MEM_RETAIN, c->walks);
    c->walks = NULL;
}

/* The places of those that have ended are used again. */
static void close_gaps(struct walks *all)
{
    uint32_t n = 0;

    for (uint32_t i = all->at; i < all->n; i++)
        if (all->v[i].sub != NULL) {
            all->v[n++] = all->v[i];
            all->v[n - 1].sub->walk = n & SUB_WALK_MAX;
        }
    all->at = 0;
    all->n = n;
}

static bool walks_room(struct conn *c)
{
    struct walks *all = c->walks;
    uint32_t cap = all != NULL ? all->cap * 2 : 1;

    if (all != NULL && all->n < all->cap)
        return true;
    if (all != NULL && all->live <= all->cap / 2) {
        close_gaps(all);
        return true;
    }
    if (cap > SUB_WALK_MAX)
        return false;
    all = mem_grow(MEM_RETAIN, all, sizeof *all + cap * sizeof all->v[0]);
    if (all == NULL)
        return false;
    if (c->walks == NULL)
        *all = (struct walks){ .n = 0 };
    all->cap = cap;
    c->walks = all;
    return true;
}

/* NULL: no memory. */
static struct walk *walk_add(struct conn *c, struct sub *sub)
{
    struct walks *all;

    if (!walks_room(c))
        return NULL;
    all = c->walks;
    all->v[all->n] = (struct walk){ .sub = sub };
    sub->walk = ++all->n & SUB_WALK_MAX;
    all->live++;
    return &all->v[all->n - 1];
}

/* false: no memory for all of it. */
static bool collect_all(struct broker *b, struct walks *all, struct walk *w)
{
    struct collecting q = { w, false };

    b->retain.looked += tree_match_filter(&b->retain.tree, filter_text(w->sub->filter), collect, &q);
    all->held += w->n;
    w->collected = true;
    return !q.no_memory;
}

void walk_drop(struct sub *sub)
{
    if (sub->walk != 0)
        walk_end(sub->s->conn, walk_of(sub));
}

void retain_send(struct broker *b, struct sub *sub, uint64_t seq)
{
    struct conn *c = sub->s->conn;
    bool again = sub->walk != 0;
    struct walk *w = again ? walk_of(sub) : walk_add(c, sub);

    if (w == NULL) {
        conn_close(b, c, CLOSE_NO_MEMORY);
        return;
    }
    let_go(c->walks, w);
    w->seq = seq;
    if (!again && c->walks->held < COLLECT_MOST && b->retain.looked < COLLECT_TURN && !collect_all(b, c->walks, w))
        conn_close(b, c, CLOSE_NO_MEMORY);
    if (w->collected && w->n == 0)
        walk_end(c, w);
    else
        conn_dirty(b, c);
}

static uint8_t walk_qos(const struct broker *b, const struct walk *w, unsigned qos)
{
    return qos < w->sub->qos && !b->cfg->upgrade_outgoing_qos ? (uint8_t)qos : w->sub->qos;
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

/* [MQTT5-3.8.3-3] */
static bool own(const struct session *s, const struct msg *m)
{
    return m->from != NULL && view_same(ident_id(m->from), ident_id(s->ident));
}

static void deliver(struct broker *b, struct session *s, const struct walk *w, struct msg *m)
{
    struct incoming in = incoming_from(m);
    uint8_t ids[8];
    struct writer out = wr_make(ids, sizeof ids);

    if (w->sub->subid != 0)
        props_write_num(&out, PROP_SUBSCRIPTION_ID, w->sub->subid);
    if (!msg_expired(m, b->now_ms) && auth_may_read(s, in.topic) && auth_source_allowed(b, s, m) &&
        !(w->sub->no_local && own(s, m)))
        session_deliver(b, s, &in, walk_qos(b, w, m->qos), true, (struct view){ ids, (size_t)(out.p - ids) }, NULL);
    incoming_done(&in);
}

static struct retained *next_of(struct walks *all, struct walk *w)
{
    all->held--;
    return w->v[w->at++];
}

static void send_one(struct broker *b, struct conn *c, struct walk *w)
{
    struct retained *r = next_of(c->walks, w);
    struct msg *m = NULL;

    if (r->node != NULL && (r->msg != NULL || may_want(c->session, r)))
        m = message(b, r);
    if (m != NULL)
        deliver(b, c->session, w, m);
    msg_unref(&m);
    unref(&r);
}

bool retain_walk_ready(const struct broker *b, const struct conn *c)
{
    return c->walks != NULL && c->session != NULL && !conn_closing(c) &&
           journal_is_durable(&b->journal, first_walk(c->walks)->seq) &&
           c->out.bytes <= broker_write_limit(b) / 2 && session_waiting(c->session) <= WALK_QUEUE;
}

void retain_turn(struct broker *b)
{
    b->retain.looked = 0;
}

void retain_walk(struct broker *b, struct conn *c)
{
    uint64_t reads = b->retain.reads + WALK_READS;

    for (size_t work = 0; work < WALK_BATCH && b->retain.reads < reads && retain_walk_ready(b, c); work++) {
        struct walk *w = first_walk(c->walks);

        if (!w->collected && b->retain.looked >= COLLECT_TURN)
            return;
        if (!w->collected && !collect_all(b, c->walks, w)) {
            conn_close(b, c, CLOSE_NO_MEMORY);
            return;
        }
        if (w->at < w->n)
            send_one(b, c, w);
        if (w->at == w->n)
            walk_end(c, w);
    }
}

/* ---- the end of a connection, for a session that stays ---- */

/* Nobody will read it; it is counted. */
static void skip(struct conn *c, struct walk *w, size_t n, uint32_t *dropped)
{
    while (n-- > 0) {
        struct retained *r = next_of(c->walks, w);

        *dropped += r->node != NULL && may_want(c->session, r);
        unref(&r);
    }
}

/* QoS 0 is not queued, and neither is what has gone. */
static void leave_out(const struct broker *b, struct walks *all, struct walk *w)
{
    size_t n = w->at;

    for (size_t i = w->at; i < w->n; i++)
        if (w->v[i]->node != NULL && (walk_qos(b, w, w->v[i]->qos) > 0 || b->cfg->queue_qos0_messages))
            w->v[n++] = w->v[i];
        else
            unref(&w->v[i]);
    all->held -= w->n - n;
    w->n = n;
}

/* What others behind it would push out of the queue again need not go in. Of walks not yet collected that fall to it
 * nobody knows how many messages they have. */
static void skip_oldest(struct broker *b, struct conn *c, uint32_t *dropped)
{
    size_t max = b->cfg->max_queued_messages, have = 0;

    for (uint32_t i = c->walks->n; i-- > c->walks->at;) {
        struct walk *w = &c->walks->v[i];

        if (w->sub == NULL)
            continue;
        if (have < max && !w->collected)
            collect_all(b, c->walks, w);
        leave_out(b, c->walks, w);
        have += w->n - w->at;
        if (have > max)
            skip(c, w, have - max < w->n - w->at ? have - max : w->n - w->at, dropped);
        have = have < max ? have : max;
        if (w->at == w->n && c->walks->live > 1)
            walk_end(c, w);
    }
}

void walk_finish(struct broker *b, struct conn *c)
{
    bool stays = c->session != NULL && c->session->durable;
    uint32_t dropped = 0;

    if (c->walks != NULL && stays && b->cfg->queue_full == QUEUE_FULL_DROP_OLDEST && b->cfg->max_queued_messages > 0)
        skip_oldest(b, c, &dropped);
    while (c->walks != NULL) {
        struct walk *w = first_walk(c->walks);

        if (stays && !w->collected && !session_full(b, c->session))
            collect_all(b, c->walks, w);
        leave_out(b, c->walks, w);
        while (stays && w->at < w->n && !session_full(b, c->session))
            send_one(b, c, w);
        if (stays)
            skip(c, w, w->n - w->at, &dropped);
        walk_end(c, w);
    }
    if (dropped > 0)
        session_drop_unseen(b, c->session, dropped);
}

void retain_each_waiting(const struct conn *c, void (*one)(void *, const struct retained *), void *arg)
{
    const struct walks *all = c->walks;
    uint32_t live = 0;
    size_t held = 0;

    for (uint32_t i = all != NULL ? all->at : 0; all != NULL && i < all->n; i++) {
        const struct walk *w = &all->v[i];

        assert(w->sub == NULL || (w->sub->walk == i + 1 && w->sub->s->conn == c));
        live += w->sub != NULL;
        held += w->n - w->at;
        for (size_t k = w->at; k < w->n; k++)
            one(arg, w->v[k]);
    }
    assert(all == NULL || (all->live == live && live > 0 && all->held == held));
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
