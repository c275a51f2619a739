/* Topic aliases.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/alias.h"

#include <assert.h>
#include <string.h>

/* Topics longer than this would make the table large; they go without an alias. */
#define TOPIC_MAX 1024

struct entry {
    uint8_t *topic;
    uint16_t len;
    uint16_t uses;                  /* broker to client: ages, see below */
};

struct alias_in {
    uint16_t cap;
    struct entry v[];
};

struct alias_out {
    uint16_t cap;
    uint16_t used;
    uint32_t hash_of_newcomer;      /* the topic that was last refused an alias ... */
    uint16_t newcomer_uses;         /* ... and how often since */
    struct entry v[];
};

static bool entry_set(struct entry *e, struct view topic)
{
    uint8_t *p = mem_alloc(MEM_CONN, topic.len);

    if (p == NULL)
        return false;
    memcpy(p, topic.p, topic.len);
    mem_free(MEM_CONN, e->topic);
    e->topic = p;
    e->len = (uint16_t)topic.len;
    return true;
}

/* ---- client to broker ---- */

uint16_t alias_in_max(const struct alias_in *t)
{
    return t != NULL ? t->cap : 0;
}

bool alias_in_set(struct alias_in **t, uint16_t max, uint16_t alias, struct view topic)
{
    uint16_t cap = alias_in_max(*t);

    assert(alias > 0 && (alias <= max || alias <= cap));
    if (alias > cap) {
        struct alias_in *more = mem_grow(MEM_CONN, *t, sizeof *more + max * sizeof(struct entry));

        if (more == NULL)
            return false;
        memset(more->v + cap, 0, (size_t)(max - cap) * sizeof(struct entry));
        more->cap = max;
        *t = more;
    }
    return entry_set(&(*t)->v[alias - 1], topic);
}

struct view alias_in_get(const struct alias_in *t, uint16_t alias)
{
    if (t == NULL || alias == 0 || alias > t->cap || t->v[alias - 1].topic == NULL)
        return (struct view){ NULL, 0 };
    return (struct view){ t->v[alias - 1].topic, t->v[alias - 1].len };
}

void alias_in_free(struct alias_in **t)
{
    for (unsigned i = 0; *t != NULL && i < (*t)->cap; i++)
        mem_free(MEM_CONN, (*t)->v[i].topic);
    mem_free(MEM_CONN, *t);
    *t = NULL;
}

/* ---- broker to client ---- */

static uint32_t mix(struct view topic)
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < topic.len; i++)
        h = (h ^ topic.p[i]) * 16777619u;
    return h;
}

/* A full table: the newcomer gets the place of the least used topic once it was used more often than that. Each
 * refusal makes the holders a little older, so that a topic of yesterday does not stay for ever. */
static struct entry *displace(struct alias_out *t, struct view topic)
{
    uint32_t h = mix(topic);
    struct entry *least = &t->v[0];

    for (unsigned i = 1; i < t->cap; i++)
        if (t->v[i].uses < least->uses)
            least = &t->v[i];
    if (h == t->hash_of_newcomer) {
        t->newcomer_uses++;
    } else if (t->newcomer_uses > 0) {
        t->newcomer_uses--;
    } else {
        t->hash_of_newcomer = h;
        t->newcomer_uses = 1;
    }
    if (least->uses > 0)
        least->uses--;
    if (h != t->hash_of_newcomer || t->newcomer_uses <= least->uses)
        return NULL;
    t->newcomer_uses = 0;
    return least;
}

uint16_t alias_out_use(struct alias_out **tp, uint16_t max, struct view topic, bool *known)
{
    struct alias_out *t = *tp;
    struct entry *e;

    *known = false;
    /* "a/b" with an alias is no shorter than without. */
    if (topic.len < 4 || topic.len > TOPIC_MAX)
        return 0;
    if (t == NULL) {
        t = *tp = mem_zero(MEM_CONN, sizeof *t + max * sizeof(struct entry));
        if (t == NULL)
            return 0;
        t->cap = max;
    }
    for (unsigned i = 0; i < t->used; i++)
        if (t->v[i].len == topic.len && memcmp(t->v[i].topic, topic.p, topic.len) == 0) {
            if (t->v[i].uses < UINT16_MAX)
                t->v[i].uses++;
            *known = true;
            return (uint16_t)(i + 1);
        }
    e = t->used < t->cap ? &t->v[t->used] : displace(t, topic);
    if (e == NULL || !entry_set(e, topic))
        return 0;
    if (t->used < t->cap)
        t->used++;
    e->uses = 1;
    return (uint16_t)(e - t->v + 1);
}

void alias_out_free(struct alias_out **t)
{
    for (unsigned i = 0; *t != NULL && i < (*t)->used; i++)
        mem_free(MEM_CONN, (*t)->v[i].topic);
    mem_free(MEM_CONN, *t);
    *t = NULL;
}
