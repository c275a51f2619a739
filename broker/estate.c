/* Handing on what ended members of shared groups left in the store.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/estate.h"

#include "broker/auth.h"
#include "broker/broker.h"
#include "broker/shed.h"
#include "proto/props.h"
#include "proto/topic.h"

#include <string.h>

/* One part, of all estates together. Looking at one costs as much as so many rows; many filters make it shorter, for
 * each row is held against all of them. */
enum { ROWS = 500, BYTES = 1 << 18, LOOK_ROWS = 20, FEW_FILTERS = 1000 };

struct left {
    struct left *next;
    struct share *group;            /* NULL: it has no member now */
    struct view path;
    bool shared;
    uint8_t filter[];
};

struct part {
    struct broker *b;
    struct journal_ended *e;
    struct left *first, **end;
    unsigned filters, rows;
    bool shared, no_memory, waits;
};

bool estate_may_pass(unsigned state, unsigned qos)
{
    return state == QUEUED || (state == SENT && qos == 1);
}

void estate_give(struct broker *b, struct sub *to, struct incoming *in)
{
    uint8_t ids[8];
    struct writer w = wr_make(ids, sizeof ids);

    if (!auth_may_read(to->s, in->topic))
        return;
    if (to->subid != 0)
        props_write_num(&w, PROP_SUBSCRIPTION_ID, to->subid);
    in->moved = true;
    session_deliver(b, to->s, in, in->qos < to->qos ? in->qos : to->qos, to->retain_as_published && in->retain,
                    (struct view){ ids, (size_t)(w.p - ids) }, sub_share(to));
}

static int add_filter(void *arg, struct blob filter)
{
    struct part *p = arg;
    struct view whole = { filter.p, filter.len }, group;
    struct left *l;

    if (!topic_filter_valid(whole))
        return 0;
    l = mem_alloc(MEM_OTHER, sizeof *l + filter.len);
    if (l == NULL) {
        p->no_memory = true;
        return 1;
    }
    memcpy(l->filter, filter.p, filter.len);
    whole = l->path = (struct view){ l->filter, filter.len };
    l->next = NULL;
    l->shared = topic_split_share(whole, &group, &l->path);
    l->group = subs_share(&p->b->subs, whole);
    p->shared |= l->shared;
    p->filters++;
    *p->end = l;
    p->end = &l->next;
    return 0;
}

/* By which subscription did the nth row of a message on this topic come? NULL: none, or one of its own. */
static const struct left *came_by(const struct part *p, struct view topic, unsigned nth)
{
    const struct left *found = NULL;
    unsigned own = 0;

    for (const struct left *l = p->first; l != NULL; l = l->next)
        own += !l->shared && topic_matches(l->path, topic);
    if (own > 1 && !p->b->cfg->allow_duplicate_messages)
        own = 1;
    if (nth < own)
        return NULL;
    nth -= own;
    for (const struct left *l = p->first; l != NULL; l = l->next) {
        if (!l->shared || !topic_matches(l->path, topic))
            continue;
        found = l;
        if (nth-- == 0)
            break;
    }
    return found;
}

/* false: it has to wait. */
static bool give(struct part *p, struct share *g, const struct persist_message *m)
{
    struct broker *b = p->b;
    bool late = b->now_ms >= p->e->until_ms, room;
    struct sub *to = g != NULL ? share_pick(g) : NULL;
    struct incoming in;
    struct msg *msg;

    if (to == NULL)
        return late;
    room = session_has_room(b, to->s, m->topic.len + m->props.len + m->payload.len);
    msg = room || late ? msg_restore(b, m) : NULL;
    if (msg == NULL)
        return false;
    in = incoming_from(msg);
    estate_give(b, to, &in);
    incoming_done(&in);
    msg_unref(&msg);
    if (room)
        p->e->until_ms = b->now_ms + ESTATE_PATIENCE_MS;
    return !in.no_memory;
}

static int hand_on(void *arg, const struct persist_queue *q, const struct persist_message *m)
{
    struct part *p = arg;
    struct journal_ended *e = p->e;
    unsigned nth = q->message_id == e->message_id ? e->nth + 1 : 0;
    const struct left *l = came_by(p, (struct view){ m->topic.p, m->topic.len }, nth);

    if (l != NULL && estate_may_pass((unsigned)q->state, (unsigned)q->qos) &&
        msg_keepable(m, (struct view){ NULL, 0 }) && !give(p, l->group, m)) {
        p->waits = true;
        return 1;
    }
    e->upto = q->position;
    e->message_id = q->message_id;
    e->nth = nth;
    p->rows++;
    return 0;
}

/* At most so many rows. Returns how many there were. */
static unsigned hand_on_part(struct broker *b, struct journal_ended *e, unsigned rows)
{
    struct part p = { .b = b, .e = e };
    enum persist_rc rc;

    p.end = &p.first;
    rc = persist_each_filter(b->journal.db, e->id, add_filter, &p);
    rows = 1 + rows * FEW_FILTERS / (FEW_FILTERS + p.filters);
    if (rc == PERSIST_OK && !p.no_memory && p.shared)
        rc = persist_queue_page(b->journal.db, e->id, e->upto, rows, BYTES, hand_on, &p);
    /* Nothing is left, or what is left can't be read. */
    if (!p.no_memory && !p.waits && p.rows == 0 && (rc == PERSIST_OK || b->now_ms >= e->until_ms))
        e->leaves = false;
    while (p.first != NULL) {
        struct left *l = p.first;

        p.first = l->next;
        mem_free(MEM_OTHER, l);
    }
    return p.rows;
}

void estate_hand_on(struct broker *b)
{
    struct journal *j = &b->journal;
    unsigned left = ROWS;
    bool all_wait = true;

    for (size_t i = 0; i < j->ended.n && left > LOOK_ROWS && !shed(b, SHED_MESSAGES); i++) {
        struct journal_ended *e = &j->ended.v[(i + (size_t)j->seq) % j->ended.n];
        unsigned rows = e->leaves ? hand_on_part(b, e, left - LOOK_ROWS) : 0;
        unsigned cost = e->leaves ? LOOK_ROWS + rows : 0;

        all_wait = all_wait && e->leaves && rows == 0;
        left -= cost < left ? cost : left;
    }
    j->ended_waits = all_wait && j->ended.n > 0 ? j->ended_waits + 1 : 0;
}
