/* What one reader has subscribed to, and what follows from it.
 *
 * The broker met a message at some time between its first sending and its acknowledgement (or now). A subscription is
 * certain for it if it was granted before and nobody has asked for its end by then; it is possible if it was asked for
 * and had not ended for certain before. What comes must follow from all certain ones and some of the possible ones.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/soak/soak.h"

#include <stdlib.h>
#include <string.h>

const char *const filters[FILTERS] = {
    "load/#", "load/+/1", "load/+/2", "load/0/#", "load/1/+", "+/1/2", "kept/#", "kept/1/+", "will/#", "rare/#",
    "bulk/#", "load/+/0", "fade/#", "flood/#", "$share/a/team/#", "$share/b/team/+/2",
};

static bool matches[FILTERS][STREAMS];

void filters_init(void)
{
    for (unsigned i = 0; i < FILTERS; i++) {
        struct view group, path = { (const uint8_t *)filters[i], strlen(filters[i]) };

        topic_split_share(path, &group, &path);
        for (unsigned s = 0; s < STREAMS; s++)
            matches[i][s] = topic_matches(path, (struct view){ (const uint8_t *)streams[s].topic,
                                                               strlen(streams[s].topic) });
    }
}

bool filter_matches(unsigned filter, unsigned stream)
{
    return matches[filter][stream];
}

static bool is_shared(unsigned filter)
{
    return filters[filter][0] == '$';
}

/* ---- its life ---- */

static struct sub *newest(struct subs *t, unsigned filter)
{
    for (unsigned i = t->n; i-- > 0;)
        if (t->v[i].filter == filter)
            return &t->v[i];
    return NULL;
}

void subs_ask(struct subs *t, const struct sub *like)
{
    uint64_t now = model_tick();

    for (unsigned i = 0; i < t->n; i++)
        if (t->v[i].filter == like->filter && t->v[i].leaving == 0) {
            t->v[i].leaving = now;
            t->v[i].replaced = true;
        }
    if (t->n == SUBS_MAX)
        abort();
    t->v[t->n] = *like;
    t->v[t->n++].asked = now;
    totals.subscribes++;
}

void subs_granted(struct subs *t, unsigned filter)
{
    struct sub *s = newest(t, filter);
    uint64_t now = model_tick();

    s->since = now;
    for (unsigned i = 0; i < t->n; i++)
        if (t->v[i].filter == filter && &t->v[i] != s && t->v[i].left == 0)
            t->v[i].left = now;
}

static void leave(struct sub *s, uint64_t now)
{
    if (s->leaving == 0)
        s->leaving = now;
    s->replaced = false;
}

void subs_leave(struct subs *t, unsigned filter)
{
    uint64_t now = model_tick();

    for (unsigned i = 0; i < t->n; i++)
        if (t->v[i].filter == filter)
            leave(&t->v[i], now);
}

void subs_left(struct subs *t, unsigned filter)
{
    uint64_t now = model_tick();

    for (unsigned i = 0; i < t->n; i++)
        if (t->v[i].filter == filter && t->v[i].left == 0)
            t->v[i].left = now;
}

void subs_leave_all(struct subs *t)
{
    uint64_t now = model_tick();

    for (unsigned i = 0; i < t->n; i++)
        leave(&t->v[i], now);
}

void subs_left_all(struct subs *t)
{
    uint64_t now = model_tick();

    subs_leave_all(t);
    for (unsigned i = 0; i < t->n; i++)
        if (t->v[i].left == 0)
            t->v[i].left = now;
}

void subs_prune(struct subs *t, uint64_t before)
{
    unsigned n = 0;

    for (unsigned i = 0; i < t->n; i++)
        if (t->v[i].left == 0 || t->v[i].left >= before)
            t->v[n++] = t->v[i];
    t->n = n;
}

const struct sub *subs_current(const struct subs *t, unsigned filter)
{
    for (unsigned i = t->n; i-- > 0;)
        if (t->v[i].filter == filter)
            return t->v[i].since != 0 && t->v[i].leaving == 0 ? &t->v[i] : NULL;
    return NULL;
}

bool subs_any(const struct subs *t, unsigned stream)
{
    for (unsigned i = 0; i < t->n; i++)
        if (matches[t->v[i].filter][stream])
            return true;
    return false;
}

bool subs_must(const struct subs *t, unsigned stream, uint8_t *qos)
{
    bool must = false;

    *qos = 0;
    for (unsigned i = 0; i < t->n; i++) {
        const struct sub *s = &t->v[i];

        if (s->since == 0 || s->left != 0 || (s->leaving != 0 && !s->replaced) || !matches[s->filter][stream])
            continue;
        must = true;
        if (s->qos > *qos && s->leaving == 0)
            *qos = s->qos;
    }
    return must;
}

/* ---- a delivery ---- */

/* The broker met the message at some time from..to. */
struct span {
    uint64_t from, to;
};

static bool possible(const struct sub *s, unsigned stream, struct span at)
{
    return matches[s->filter][stream] && s->asked < at.to && (s->left == 0 || s->left > at.from);
}

static bool certain(const struct sub *s, unsigned stream, struct span at)
{
    return matches[s->filter][stream] && s->since != 0 && s->since < at.from &&
           (s->leaving == 0 || s->leaving > at.to);
}

static unsigned times_in(const struct publish *p, uint32_t id)
{
    struct reader r = rd_make(p->props.raw);
    struct prop_item item;
    unsigned n = 0;

    while (props_next(&r, &item))
        n += item.id == PROP_SUBSCRIPTION_ID && item.num == id;
    return n;
}

static uint8_t lower(uint8_t a, uint8_t b)
{
    return a < b ? a : b;
}

/* Each identifier it carries is of a possible subscription, no more often than there are; those of the certain ones are
 * there. */
static const char *judge_ids(const struct subs *t, unsigned stream, struct span at, const struct publish *p)
{
    unsigned found = 0;

    for (unsigned i = 0; i < t->n; i++) {
        uint32_t id = t->v[i].id;
        unsigned least = 0, most = 0, n;
        bool counted = false;

        if (id == 0 || !possible(&t->v[i], stream, at))
            continue;
        for (unsigned k = 0; k < t->n; k++)
            if (t->v[k].id == id && possible(&t->v[k], stream, at)) {
                counted |= k < i;
                most++;
                least += certain(&t->v[k], stream, at);
            }
        if (counted)
            continue;
        n = times_in(p, id);
        if (n < least)
            return "without the identifier of a subscription that it matches";
        if (n > most)
            return "with a subscription identifier too often";
        found += n;
    }
    return found == p->props.subid_count ? NULL : "with an identifier of no subscription that it matches";
}

static const char *judge_live(const struct subs *t, unsigned stream, struct span at, const struct publish *p,
                              enum version v)
{
    const struct kind *k = streams[stream].kind;
    bool any = false, qos_fits = false, flag_may = false, flag_must = false;
    uint8_t least = 0;

    for (unsigned i = 0; i < t->n; i++) {
        const struct sub *s = &t->v[i];

        if (!possible(s, stream, at))
            continue;
        any = true;
        qos_fits |= lower(s->qos, k->qos) == p->qos;
        flag_may |= s->retain_as_published && k->kept;
        if (!certain(s, stream, at))
            continue;
        flag_must |= s->retain_as_published && k->kept;
        least = s->qos > least ? s->qos : least;
    }
    if (!any)
        return "but there is no subscription for it";
    if (!qos_fits || p->qos < lower(least, k->qos))
        return "with the wrong QoS";
    if (p->retain && !flag_may)
        return "with RETAIN set";
    if (!p->retain && flag_must)
        return "without RETAIN, which its subscription asks for as published";
    return v == MQTT_50 ? judge_ids(t, stream, at, p) : NULL;
}

/* Was something later there for certain when this subscription was asked for? */
static bool stale(const struct sub *s, const struct stream *st, uint32_t number)
{
    for (uint32_t n = number + 1; n < st->end; n++)
        if (st->m[n - st->base].acked != 0 && st->m[n - st->base].acked < s->asked &&
            st->m[number - st->base].last_sent < st->m[n - st->base].first_sent)
            return true;
    return false;
}

/* RETAIN is set: a subscription has brought it, each at most once. */
static const char *judge_kept(const struct subs *t, unsigned stream, uint32_t number, const struct publish *p,
                              enum version v, unsigned got_kept)
{
    const struct stream *st = &streams[stream];
    const struct message *m = &st->m[number - st->base];
    const char *why = "with RETAIN set, but no subscription can have brought it";
    unsigned brought = 0;
    bool fits = false;

    for (unsigned i = 0; i < t->n; i++) {
        const struct sub *s = &t->v[i];

        if (!matches[s->filter][stream] || s->retain_handling == 2 || is_shared(s->filter) ||
            (s->left != 0 && s->left <= m->first_sent))
            continue;
        if (stale(s, st, number)) {
            why = "as retained, but something later was acknowledged before the subscription";
            continue;
        }
        brought++;
        if (lower(s->qos, st->kind->qos) != p->qos ||
            (v == MQTT_50 && (p->props.subid_count != (s->id != 0) || (s->id != 0 && times_in(p, s->id) != 1))))
            why = "as retained, with the wrong QoS or subscription identifier";
        else
            fits = true;
    }
    if (!fits)
        return why;
    return p->dup || got_kept < brought ? NULL : "as retained more often than there were subscriptions";
}

static bool shared(const struct subs *t, unsigned stream)
{
    for (unsigned i = 0; i < t->n; i++)
        if (matches[t->v[i].filter][stream] && is_shared(t->v[i].filter))
            return true;
    return false;
}

const char *subs_judge(const struct subs *t, unsigned stream, uint32_t number, const struct publish *p,
                       enum version v, const struct due *got, bool *as_kept)
{
    const struct message *m = model_message(stream, number);
    /* A group hands on later what one member leaves behind. */
    bool settled = m->acked != 0 && !shared(t, stream);
    struct span at = { m->first_sent, settled ? m->acked : model_tick() };
    const char *live, *kept;

    *as_kept = false;
    if (p->retain && !streams[stream].kind->kept)
        return "with RETAIN set";
    live = judge_live(t, stream, at, p, v);
    if (!p->retain)
        return live;
    /* As published and as retained look the same; each subscription brings it once, one way or the other. */
    kept = judge_kept(t, stream, number, p, v, got->got_kept);
    *as_kept = kept == NULL;
    return live == NULL ? NULL : kept;
}
