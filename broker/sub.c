/* Subscriptions.
 *
 * Every filter is a node of one tree. A subscription hangs on two lists, its filter's and its session's; to find one,
 * the shorter of the two is walked, so that neither 100,000 subscribers of one filter nor 100,000 filters of one
 * client make it slow.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/sub.h"

#include "broker/session.h"
#include "proto/props.h"
#include "proto/topic.h"

#include <assert.h>
#include <string.h>

bool subs_init(struct subs *t, const struct hash_key *key)
{
    t->count = t->shared_count = 0;
    return tree_init(&t->tree, key, MEM_TREE);
}

void subs_fini(struct subs *t)
{
    tree_fini(&t->tree);
}

/* ---- filters ---- */

static struct filter *filter_get(struct subs *t, struct view path)
{
    struct tree_node *n = tree_get(&t->tree, path);
    struct filter *f;

    if (n == NULL)
        return NULL;
    if (n->value != NULL)
        return n->value;
    f = mem_zero(MEM_TREE, sizeof *f);
    if (f == NULL) {
        tree_prune(&t->tree, n);
        return NULL;
    }
    f->node = n;
    list_init(&f->subs);
    list_init(&f->shares);
    n->value = f;
    return f;
}

static void filter_prune(struct subs *t, struct filter *f)
{
    if (!list_empty(&f->subs) || !list_empty(&f->shares))
        return;
    f->node->value = NULL;
    tree_prune(&t->tree, f->node);
    mem_free(MEM_TREE, f);
}

/* ---- shared groups ---- */

static struct share *share_find(const struct filter *f, struct view name)
{
    LIST_EACH(l, &f->shares) {
        struct share *g = LIST_ENTRY(l, struct share, by_filter);

        if (g->name_len == name.len && memcmp(g->name, name.p, name.len) == 0)
            return g;
    }
    return NULL;
}

/* Adds a reference for the caller. */
static struct share *share_get(struct filter *f, struct view name)
{
    struct share *g = share_find(f, name);

    if (g == NULL) {
        g = mem_zero(MEM_TREE, sizeof *g + name.len);
        if (g == NULL)
            return NULL;
        list_init(&g->members);
        g->filter = f;
        g->name_len = (uint16_t)name.len;
        memcpy(g->name, name.p, name.len);
        list_push(&f->shares, &g->by_filter);
    }
    g->refs++;
    return g;
}

void share_unref(struct subs *t, struct share **sp)
{
    struct share *g = *sp;
    struct filter *f;

    *sp = NULL;
    if (g == NULL)
        return;
    assert(g->refs > 0);
    if (--g->refs > 0)
        return;
    assert(list_empty(&g->members));
    f = g->filter;
    list_unlink(&g->by_filter);
    mem_free(MEM_TREE, g);
    filter_prune(t, f);
}

/* ---- subscriptions ---- */

static struct sub *find_among(struct link *head, bool by_session, const struct session *s, const struct filter *f,
                              const struct share *g)
{
    LIST_EACH(l, head) {
        struct sub *sub = by_session ? LIST_ENTRY(l, struct sub, by_session) : LIST_ENTRY(l, struct sub, by_filter);

        if (sub->s == s && sub->filter == f && sub->share == g)
            return sub;
    }
    return NULL;
}

struct sub *subs_find(struct subs *t, struct session *s, struct view filter)
{
    struct view group, path = filter;
    bool shared = topic_split_share(filter, &group, &path);
    struct tree_node *n = tree_find(&t->tree, path);
    struct filter *f = n != NULL ? n->value : NULL;
    struct share *g = NULL;

    if (f == NULL)
        return NULL;
    if (shared) {
        g = share_find(f, group);
        if (g == NULL)
            return NULL;
        return s->sub_count <= g->refs ? find_among(&s->subs, true, s, f, g) : find_among(&g->members, false, s, f, g);
    }
    return s->sub_count <= f->sub_count ? find_among(&s->subs, true, s, f, NULL)
                                        : find_among(&f->subs, false, s, f, NULL);
}

static bool set_options(struct sub *sub, const struct sub_options *o)
{
    bool same = sub->qos == o->qos && sub->retain_handling == o->retain_handling && sub->no_local == o->no_local &&
                sub->retain_as_published == o->retain_as_published && sub->subid == o->subid;

    sub->qos = o->qos;
    sub->retain_handling = o->retain_handling;
    sub->no_local = o->no_local;
    sub->retain_as_published = o->retain_as_published;
    sub->subid = o->subid;
    return same;
}

enum sub_result subs_add(struct subs *t, struct session *s, struct view filter, const struct sub_options *o)
{
    struct sub *sub = subs_find(t, s, filter);
    struct view group, path = filter;
    struct filter *f;

    if (sub != NULL)
        return set_options(sub, o) ? SUB_SAME : SUB_CHANGED;
    sub = mem_zero(MEM_TREE, sizeof *sub);
    if (sub == NULL)
        return SUB_NO_MEMORY;
    if (topic_split_share(filter, &group, &path)) {
        f = filter_get(t, path);
        sub->share = f != NULL ? share_get(f, group) : NULL;
        if (sub->share == NULL) {
            if (f != NULL)
                filter_prune(t, f);
            goto fail;
        }
        list_push(&sub->share->members, &sub->by_filter);
        t->shared_count++;
    } else {
        f = filter_get(t, path);
        if (f == NULL)
            goto fail;
        list_push(&f->subs, &sub->by_filter);
        f->sub_count++;
    }
    sub->s = s;
    sub->filter = f;
    set_options(sub, o);
    list_push(&s->subs, &sub->by_session);
    s->sub_count++;
    t->count++;
    return SUB_NEW;
fail:
    mem_free(MEM_TREE, sub);
    return SUB_NO_MEMORY;
}

static void sub_free(struct subs *t, struct sub *sub)
{
    list_unlink(&sub->by_filter);
    list_unlink(&sub->by_session);
    sub->s->sub_count--;
    t->count--;
    if (sub->share != NULL) {
        t->shared_count--;
        share_unref(t, &sub->share);
    } else {
        sub->filter->sub_count--;
        filter_prune(t, sub->filter);
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
    while (!list_empty(&s->subs))
        sub_free(t, LIST_ENTRY(s->subs.next, struct sub, by_session));
}

size_t sub_filter_text(const struct sub *sub, uint8_t *buf)
{
    size_t n = 0;

    if (sub->share != NULL) {
        memcpy(buf, "$share/", 7);
        memcpy(buf + 7, sub->share->name, sub->share->name_len);
        n = 7u + sub->share->name_len;
        buf[n++] = '/';
    }
    return n + tree_path(sub->filter->node, buf + n, SUB_FILTER_MAX - n);
}

struct share *subs_only_shared(const struct session *s, struct view topic, uint8_t *buf)
{
    struct share *shared = NULL;

    LIST_EACH(l, &s->subs) {
        const struct sub *sub = LIST_ENTRY(l, struct sub, by_session);
        struct view filter = { buf, tree_path(sub->filter->node, buf, SUB_FILTER_MAX) };

        if (!topic_matches(filter, topic))
            continue;
        if (sub->share == NULL)
            return NULL;
        shared = sub->share;
    }
    return shared;
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
    m->v[m->n] = (struct match){ .s = sub->s, .share = sub->share, .qos = sub->qos,
                                 .retain_as_published = sub->retain_as_published };
    return &m->v[m->n++];
}

static void match_sub(const struct matching *q, const struct sub *sub)
{
    struct matches *m = q->m;
    struct session *s = sub->s;
    struct match *to;

    if (sub->no_local && s == q->origin)              /* [MQTT5-3.8.3-3] */
        return;
    if (q->merge && s->route_gen == m->gen) {
        to = &m->v[s->route_at];
        if (sub->qos > to->qos)
            to->qos = sub->qos;                       /* [MQTT311-3.3.5-1], [MQTT5-3.3.4-2] */
        to->retain_as_published |= sub->retain_as_published;
        add_subid(m, to, sub->subid);                 /* [MQTT5-3.3.4-4] */
        return;
    }
    to = add_match(m, sub);
    if (to == NULL)
        return;
    s->route_gen = m->gen;
    s->route_at = m->n - 1;
    add_subid(m, to, sub->subid);
}

/* The next in turn whose window is open, else the next that is connected, else one that will come back.
 * [MQTT5-4.8.2-4] */
struct sub *share_pick(struct share *g)
{
    struct sub *best = NULL;
    int best_rank = 0;

    LIST_EACH(l, &g->members) {
        struct sub *sub = LIST_ENTRY(l, struct sub, by_filter);
        int rank = session_online(sub->s) ? (session_waiting(sub->s) == 0 ? 3 : 2) : session_durable(sub->s) ? 1 : 0;

        if (rank > best_rank) {
            best = sub;
            best_rank = rank;
            if (rank == 3)
                break;
        }
    }
    if (best != NULL) {
        list_unlink(&best->by_filter);
        list_push(&g->members, &best->by_filter);
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

static void hit(void *arg, struct tree_node *n)
{
    const struct matching *q = arg;
    struct filter *f = n->value;

    LIST_EACH(l, &f->subs)
        match_sub(q, LIST_ENTRY(l, struct sub, by_filter));
    LIST_EACH(g, &f->shares)
        match_share(q, LIST_ENTRY(g, struct share, by_filter));
}

void subs_match(struct subs *t, struct view topic, const struct session *origin, bool merge, struct matches *m)
{
    struct matching q = { m, origin, merge };

    m->n = m->id_n = 0;
    m->gen++;
    m->no_memory = false;
    tree_match_name(&t->tree, topic, hit, &q);
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
