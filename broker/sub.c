/* Subscriptions.
 *
 * A subscription hangs on two rings, its filter's (or its group's) and its session's; to find one, the shorter of the
 * two is walked, so that neither 100,000 subscribers of one filter nor 100,000 filters of one client make it slow.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/sub.h"

#include "broker/retain.h"
#include "broker/session.h"
#include "proto/props.h"
#include "proto/topic.h"

#include <assert.h>
#include <string.h>

bool subs_init(struct subs *t, const struct hash_key *key)
{
    t->count = t->shared_count = 0;
    return filters_init(&t->filters, key);
}

void subs_fini(struct subs *t)
{
    filters_fini(&t->filters);
}

static struct sub *of_session(struct link *l)
{
    return LIST_ENTRY(l, struct sub, by_session);
}

static struct sub *of_filter(struct link *l)
{
    return LIST_ENTRY(l, struct sub, by_filter);
}

/* ---- shared groups ---- */

static struct share *share_find(const struct filter *f, struct view name)
{
    for (struct share *g = f->shares; g != NULL; g = g->next)
        if (g->name_len == name.len && memcmp(g->name, name.p, name.len) == 0)
            return g;
    return NULL;
}

/* Adds a reference for the caller. */
static struct share *share_get(struct filter *f, struct view name)
{
    struct share *g = share_find(f, name);

    if (g == NULL) {
        g = mem_zero(MEM_TREE, offsetof(struct share, name) + name.len);
        if (g == NULL)
            return NULL;
        g->filter = f;
        g->name_len = (uint16_t)name.len;
        memcpy(g->name, name.p, name.len);
        g->next = f->shares;
        f->shares = g;
    }
    g->refs++;
    return g;
}

void share_unref(struct subs *t, struct share **sp)
{
    struct share *g = *sp, **at;
    struct filter *f;

    *sp = NULL;
    if (g == NULL)
        return;
    assert(g->refs > 0);
    if (--g->refs > 0)
        return;
    assert(g->members == NULL);
    f = g->filter;
    for (at = &f->shares; *at != g; at = &(*at)->next)
        ;
    *at = g->next;
    mem_free(MEM_TREE, g);
    filter_prune(&t->filters, f);
}

/* ---- subscriptions ---- */

static struct sub *find_of_session(const struct session *s, const void *hangs_on)
{
    RING_EACH(l, s->subs)
        if (of_session(l)->filter == hangs_on)      /* or share: the union's pointers are one */
            return of_session(l);
    return NULL;
}

static struct sub *find_of_filter(struct link *ring, const struct session *s)
{
    RING_EACH(l, ring)
        if (of_filter(l)->s == s)
            return of_filter(l);
    return NULL;
}

struct sub *subs_find(struct subs *t, struct session *s, struct view filter)
{
    struct view group, path = filter;
    bool shared = topic_split_share(filter, &group, &path);
    struct filter *f = filter_find(&t->filters, path);
    struct share *g;

    if (f == NULL)
        return NULL;
    if (!shared)
        return s->sub_count <= f->sub_count ? find_of_session(s, f) : find_of_filter(f->subs, s);
    g = share_find(f, group);
    if (g == NULL)
        return NULL;
    return s->sub_count <= g->refs ? find_of_session(s, g) : find_of_filter(g->members, s);
}

static bool set_options(struct sub *sub, const struct sub_options *o)
{
    bool same = sub->qos == o->qos && sub->retain_handling == o->retain_handling && sub->no_local == o->no_local &&
                sub->retain_as_published == o->retain_as_published && sub->subid == o->subid;

    sub->qos = o->qos & 3u;
    sub->retain_handling = o->retain_handling & 3u;
    sub->no_local = o->no_local;
    sub->retain_as_published = o->retain_as_published;
    sub->subid = o->subid & SUBID_MAX;
    return same;
}

/* Hangs it on the filter, or on the group if there is one. false: no memory. */
static bool hang(struct subs *t, struct sub *sub, bool shared, struct view group, struct view path)
{
    struct filter *f = filter_get(&t->filters, path);
    struct share *g = f != NULL && shared ? share_get(f, group) : NULL;

    if (f == NULL)
        return false;
    if (shared && g == NULL) {
        filter_prune(&t->filters, f);
        return false;
    }
    sub->shared = shared;
    if (shared) {
        sub->share = g;
        ring_push(&g->members, &sub->by_filter);
        t->shared_count++;
    } else {
        sub->filter = f;
        ring_push(&f->subs, &sub->by_filter);
        f->sub_count++;
    }
    return true;
}

enum sub_result subs_add(struct subs *t, struct session *s, struct view filter, const struct sub_options *o)
{
    struct sub *sub = subs_find(t, s, filter);
    struct view group = { NULL, 0 }, path = filter;
    bool shared = topic_split_share(filter, &group, &path);

    if (sub != NULL)
        return set_options(sub, o) ? SUB_SAME : SUB_CHANGED;
    sub = mem_zero(MEM_TREE, sizeof *sub);
    if (sub == NULL || !hang(t, sub, shared, group, path)) {
        mem_free(MEM_TREE, sub);
        return SUB_NO_MEMORY;
    }
    sub->s = s;
    set_options(sub, o);
    ring_push(&s->subs, &sub->by_session);
    s->sub_count++;
    t->count++;
    return SUB_NEW;
}

static void sub_free(struct subs *t, struct sub *sub)
{
    walk_drop(sub);
    ring_unlink(&sub->s->subs, &sub->by_session);
    sub->s->sub_count--;
    t->count--;
    if (sub->shared) {
        ring_unlink(&sub->share->members, &sub->by_filter);
        t->shared_count--;
        share_unref(t, &sub->share);
    } else {
        ring_unlink(&sub->filter->subs, &sub->by_filter);
        sub->filter->sub_count--;
        filter_prune(&t->filters, sub->filter);
    }
    mem_free(MEM_TREE, sub);
}

bool subs_remove(struct subs *t, struct session *s, struct view filter)
{
    struct sub *sub = subs_find(t, s, filter);

    if (sub == NULL)
        return false;
    sub_free(t, sub);
    return true;
}

void subs_remove_all(struct subs *t, struct session *s)
{
    while (s->subs != NULL)
        sub_free(t, of_session(s->subs));
}

struct share *subs_share(struct subs *t, struct view filter)
{
    struct view group, path = filter;
    bool shared = topic_split_share(filter, &group, &path);
    const struct filter *f = shared ? filter_find(&t->filters, path) : NULL;

    return f != NULL ? share_find(f, group) : NULL;
}

/* ---- who gets it? ---- */

struct matching {
    struct matches *m;
    const struct session *origin;
    bool merge;
};

static void add_subid(struct matches *m, struct match *to, uint32_t id)
{
    if (id == 0)
        return;
    if (m->id_n == m->id_cap) {
        uint32_t cap = m->id_cap > 0 ? m->id_cap * 2 : 16;
        void *ids = mem_grow(MEM_OTHER, m->ids, cap * sizeof *m->ids);

        if (ids == NULL) {
            m->no_memory = true;
            return;
        }
        m->ids = ids;
        m->id_cap = cap;
    }
    m->ids[m->id_n].id = id;
    m->ids[m->id_n].next = to->subid_first;
    to->subid_first = ++m->id_n;
}

static struct match *add_match(struct matches *m, const struct sub *sub)
{
    if (m->n == m->cap) {
        uint32_t cap = m->cap > 0 ? m->cap * 2 : 64;
        struct match *v = mem_grow(MEM_OTHER, m->v, cap * sizeof *v);

        if (v == NULL) {
            m->no_memory = true;
            return NULL;
        }
        m->v = v;
        m->cap = cap;
    }
    m->v[m->n] = (struct match){ .s = sub->s, .share = sub_share(sub), .qos = sub->qos,
                                 .retain_as_published = sub->retain_as_published };
    return &m->v[m->n++];
}

/* The session's entry, if it has one: route_at may still point at what stood there for another message. */
static struct match *merged(const struct matches *m, const struct session *s)
{
    struct match *at = s->route_at < m->n ? &m->v[s->route_at] : NULL;

    return at != NULL && at->s == s && at->share == NULL ? at : NULL;
}

static void match_sub(const struct matching *q, const struct sub *sub)
{
    struct matches *m = q->m;
    struct session *s = sub->s;
    struct match *to = q->merge ? merged(m, s) : NULL;

    if (sub->no_local && s == q->origin)              /* [MQTT5-3.8.3-3] */
        return;
    if (to != NULL) {
        if (sub->qos > to->qos)
            to->qos = sub->qos;                       /* [MQTT311-3.3.5-1], [MQTT5-3.3.4-2] */
        to->retain_as_published |= sub->retain_as_published;
        add_subid(m, to, sub->subid);                 /* [MQTT5-3.3.4-4] */
        return;
    }
    to = add_match(m, sub);
    if (to == NULL)
        return;
    s->route_at = m->n - 1;
    add_subid(m, to, sub->subid);
}

/* The next in turn whose window is open, else the next that is connected, else one that will come back.
 * [MQTT5-4.8.2-4] */
struct sub *share_pick(struct share *g)
{
    struct sub *best = NULL;
    int best_rank = 0;

    RING_EACH(l, g->members) {
        struct sub *sub = of_filter(l);
        int rank = session_online(sub->s) ? (session_waiting(sub->s) == 0 ? 3 : 2) : sub->s->durable ? 1 : 0;

        if (rank > best_rank) {
            best = sub;
            best_rank = rank;
            if (rank == 3)
                break;
        }
    }
    if (best != NULL) {
        ring_unlink(&g->members, &best->by_filter);
        ring_push(&g->members, &best->by_filter);
    }
    return best;
}

static void match_share(const struct matching *q, struct share *g)
{
    struct sub *sub = share_pick(g);
    struct match *to = sub != NULL ? add_match(q->m, sub) : NULL;

    if (to != NULL)
        add_subid(q->m, to, sub->subid);
}

static void hit(void *arg, void *value)
{
    const struct matching *q = arg;
    struct filter *f = value;

    RING_EACH(l, f->subs)
        match_sub(q, of_filter(l));
    for (struct share *g = f->shares; g != NULL; g = g->next)
        match_share(q, g);
}

void subs_match(struct subs *t, struct view topic, const struct session *origin, bool merge, struct matches *m)
{
    struct matching q = { m, origin, merge };

    m->n = m->id_n = 0;
    m->no_memory = false;
    filters_match(&t->filters, topic, hit, &q);
}

struct view matches_subids(struct matches *m, const struct match *of)
{
    uint32_t n = 0;
    struct writer w;

    if (of->subid_first == 0)
        return (struct view){ NULL, 0 };
    for (uint32_t i = of->subid_first; i != 0; i = m->ids[i - 1].next)
        n += 5;
    if (n > m->encoded_cap) {
        uint8_t *bytes = mem_grow(MEM_OTHER, m->encoded, n);

        if (bytes == NULL) {
            m->no_memory = true;
            return (struct view){ NULL, 0 };
        }
        m->encoded = bytes;
        m->encoded_cap = n;
    }
    w = wr_make(m->encoded, m->encoded_cap);
    for (uint32_t i = of->subid_first; i != 0; i = m->ids[i - 1].next)
        props_write_num(&w, PROP_SUBSCRIPTION_ID, m->ids[i - 1].id);
    return (struct view){ m->encoded, (size_t)(w.p - m->encoded) };
}

void matches_fini(struct matches *m)
{
    mem_free(MEM_OTHER, m->encoded);
    mem_free(MEM_OTHER, m->v);
    mem_free(MEM_OTHER, m->ids);
    *m = (struct matches){ 0 };
}
