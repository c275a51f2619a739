/* What a commit writes. The marks stay until it has succeeded: after a failure everything is as before.
 *
 * Order: changes of sessions in the order they happened (a session that ended comes before one of the same client id);
 * rows that were handed on, whose room new ones need; new rows; changed states; deletions, which must not take a
 * message away from a new row; drops of the oldest, which must see the states.
 *
 * A full store takes no new rows, but lets rows go. Then what takes away is written alone, so that clients which come
 * and fetch their queues make room, and the rest, what is handed on included, succeeds once there is enough.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/broker.h"
#include "broker/will.h"

#include <assert.h>

/* Queue rows of ended sessions deleted by one commit. */
#define ENDED_BUDGET 2000
/* Pause between two such slices, or parts of what is handed on. */
#define ENDED_PAUSE_MS 20
#define ENDED_PAUSE_MOST_MS 640
/* Of each array, between commits. */
#define KEPT_BYTES 16384

static struct blob blob(struct view v)
{
    return (struct blob){ v.p, v.len };
}

static struct persist_message message(const struct broker *b, const struct msg *m, int64_t id)
{
    return (struct persist_message){
        .id = id,
        .topic = blob(msg_topic(m)),
        .payload = blob(msg_payload(m)),
        .props = blob(msg_props(m)),
        .qos = m->qos,
        .retain = m->retain,
        .publisher = m->from != NULL ? blob(ident_id(m->from)) : (struct blob){ NULL, 0 },
        .publisher_user = m->from != NULL ? blob(ident_user(m->from)) : (struct blob){ NULL, 0 },
        .received_ms = calendar_utc(b, m->received_ms),
        .expires_ms = m->expires_ms == 0 ? 0 : calendar_due_utc(b, m->received_ms, m->expires_ms),
    };
}

/* ---- one change each ---- */

static enum persist_rc write_will(struct broker *b, const struct journal_op *o)
{
    const struct persist_will w = {
        .session_id = o->id, .topic = blob(msg_topic(o->msg)), .payload = blob(msg_payload(o->msg)),
        .props = blob(msg_props(o->msg)), .qos = o->msg->qos, .retain = o->msg->retain, .delay_s = o->a,
        .publish_ms = o->b == 0 ? 0 : calendar_due_utc(b, (int64_t)b->now_ms, (uint64_t)o->b), .expiry_s = o->c,
    };

    return persist_will_put(b->journal.db, &w);
}

static enum persist_rc write_sub(struct persist *db, const struct journal_op *o, struct blob filter)
{
    const struct persist_subscription s = {
        .session_id = o->id, .filter = filter, .qos = o->qos, .no_local = o->no_local,
        .retain_as_published = o->retain_as_published, .retain_handling = o->retain_handling, .subid = o->a,
    };

    return persist_sub_put(db, &s);
}

static enum persist_rc write_op(struct broker *b, struct journal_op *o, unsigned *budget)
{
    struct journal *j = &b->journal;
    struct blob text = { o->len > 0 ? j->bytes.v + o->off : NULL, o->len };
    bool more;

    switch (o->verb) {
    case OP_SESSION_DEL: {
        enum persist_rc rc = persist_session_del(j->db, o->id, *budget, &more);

        o->a = rc == PERSIST_OK && more;
        *budget = o->a ? 0 : *budget;
        return rc;
    }
    case OP_SESSION_END: return persist_session_end(j->db, o->id);
    case OP_SUB_PUT: return write_sub(j->db, o, text);
    case OP_SUB_DEL: return persist_sub_del(j->db, o->id, text);
    case OP_INBOUND_PUT: return persist_inbound_put(j->db, o->id, (int)o->a);
    case OP_INBOUND_DEL: return persist_inbound_del(j->db, o->id, (int)o->a);
    case OP_WILL_PUT: return write_will(b, o);
    case OP_WILL_DEL: return persist_will_del(j->db, o->id);
    case OP_RETAINED_DEL: return persist_retained_del(j->db, o->id);
    }
    return PERSIST_OK;
}

static enum persist_rc write_session(struct persist *db, const struct session *s)
{
    const struct persist_session p = {
        .id = s->db_id, .client_id = blob(ident_id(s->ident)), .version = s->version,
        .username = blob(ident_user(s->ident)), .expiry_s = s->expiry_s == UINT32_MAX ? -1 : (int64_t)s->expiry_s,
        .disconnected_ms = s->disconnected_ms, .connected_ms = s->connected_ms, .resend_to = s->resend_to,
    };

    return persist_session_put(db, &p);
}

static enum persist_rc write_delivery(struct broker *b, const struct delivery *d)
{
    struct journal *j = &b->journal;
    struct ticket *t = d->msg->ticket;
    const struct persist_queue q = {
        .session_id = d->s->db_id, .position = d->position, .message_id = t->id, .qos = d->qos, .retain = d->retain,
        .state = (enum persist_state)d->state, .packet_id = d->pid, .subids = { d->subids, d->subids_len },
        .shared = t->rows > 1, .bytes = msg_bytes(d->msg),
    };

    if (t->attempt != j->attempt) {
        struct persist_message m = message(b, d->msg, t->id);
        enum persist_rc rc = persist_message_put(j->db, &m);

        if (rc != PERSIST_OK)
            return rc;
        t->attempt = j->attempt;
    }
    return persist_queue_put(j->db, &q);
}

static enum persist_rc write_retained(struct broker *b, const struct retained *r)
{
    const struct persist_retained p = { .id = r->id, .m = message(b, r->msg, 0) };

    return persist_retained_put(b->journal.db, &p);
}

/* ---- all of them ---- */

#define TRY(call)                        \
    do {                                 \
        enum persist_rc rc_ = (call);    \
        if (rc_ != PERSIST_OK)           \
            return rc_;                  \
    } while (0)

static enum persist_rc write_drops(struct journal *j)
{
    for (size_t i = 0; i < j->drop_oldest.n; i++) {
        struct journal_oldest *o = &j->drop_oldest.v[i];
        int64_t position;
        bool found;

        if (o->s != NULL)
            TRY(persist_queue_drop_oldest(j->db, o->s->db_id, &found, &position, &o->bytes));
    }
    return PERSIST_OK;
}

static enum persist_rc write_ended(struct journal *j, unsigned budget)
{
    for (size_t i = 0; i < j->ended.n; i++)
        j->ended.v[i].gone = false;
    for (size_t i = 0; i < j->ended.n && budget > 0; i++) {
        bool more;

        if (j->ended.v[i].leaves)
            continue;
        TRY(persist_session_del(j->db, j->ended.v[i].id, budget, &more));
        if (more)
            return PERSIST_OK;
        j->ended.v[i].gone = true;
    }
    return PERSIST_OK;
}

static enum persist_rc write_estates(struct journal *j)
{
    for (size_t i = 0; i < j->ended.n; i++)
        if (j->ended.v[i].leaves && j->ended.v[i].upto > 0)
            TRY(persist_queue_upto(j->db, j->ended.v[i].id, j->ended.v[i].upto, ENDED_BUDGET));
    return PERSIST_OK;
}

static enum persist_rc write_states(struct journal *j)
{
    LIST_EACH(l, &j->changed) {
        const struct delivery *d = LIST_ENTRY(l, struct delivery, mark);

        TRY(persist_queue_state(j->db, d->s->db_id, d->position, (enum persist_state)d->state, d->pid));
    }
    return PERSIST_OK;
}

static enum persist_rc write_gone(struct journal *j)
{
    for (size_t i = 0; i < j->gone.n; i++) {
        const struct journal_gone *g = &j->gone.v[i];

        TRY(persist_queue_del(j->db, g->session_id, g->position, g->message_id, g->shared));
    }
    return write_drops(j);
}

static enum persist_rc write_all(struct broker *b)
{
    struct journal *j = &b->journal;
    unsigned budget = ENDED_BUDGET;

    j->attempt++;
    TRY(persist_begin(j->db));
    for (size_t i = 0; i < j->ops.n; i++)
        TRY(write_op(b, &j->ops.v[i], &budget));
    for (size_t i = 0; i < j->sessions.n; i++)
        if (j->sessions.v[i] != NULL)
            TRY(write_session(j->db, j->sessions.v[i]));
    TRY(write_estates(j));
    LIST_EACH(l, &j->due)
        TRY(write_delivery(b, LIST_ENTRY(l, struct delivery, mark)));
    TRY(write_states(j));
    TRY(write_gone(j));
    LIST_EACH(l, &j->retained)
        TRY(write_retained(b, LIST_ENTRY(l, struct retained, mark)));
    for (size_t i = 0; i < j->dropped.n; i++) {
        const struct journal_dropped *d = &j->dropped.v[i];

        TRY(persist_dropped_add(j->db, (struct blob){ d->client_id, d->client_len }, d->reason, d->count,
                                (struct blob){ d->topic, d->topic_len }, calendar_now(b)));
    }
    TRY(write_ended(j, budget));
    TRY(calendar_write(b));             /* after all that is written by the old one */
    return persist_commit(j->db);
}

static bool takes_away(const struct journal_op *o)
{
    return o->verb == OP_SESSION_DEL || o->verb == OP_SUB_DEL || o->verb == OP_INBOUND_DEL || o->verb == OP_WILL_DEL ||
           o->verb == OP_RETAINED_DEL;
}

/* The operations stay marked: in the whole commit each has its place in the order, and deleting twice does no harm. */
static enum persist_rc write_what_takes_away(struct broker *b)
{
    struct journal *j = &b->journal;
    unsigned budget = ENDED_BUDGET;

    TRY(persist_begin(j->db));
    for (size_t i = 0; i < j->ops.n; i++)
        if (takes_away(&j->ops.v[i]))
            TRY(write_op(b, &j->ops.v[i], &budget));
    TRY(write_gone(j));
    TRY(write_states(j));
    TRY(write_ended(j, budget));
    return persist_commit(j->db);
}

/* ---- after it ---- */

static void written(struct broker *b, struct delivery *d)
{
    struct journal *j = &b->journal;
    struct session *s = d->s;

    list_unlink(&d->mark);
    d->due = false;
    if (!d->stored) {
        d->stored = true;
        j->unstored--;
        d->msg->ticket->seq = j->seq;
        d->msg->ticket->unsafe--;
    }
    if (d->in_tail) {
        delivery_page_out(b, d);
        flow_rest(s);
    }
}

/* Room that a flood made is given back with its last mark: the next one can have it anew. */
static void empty(void **v, size_t *n, size_t *cap, size_t size)
{
    *n = 0;
    if (*cap * size <= KEPT_BYTES)
        return;
    mem_free(MEM_JOURNAL, *v);
    *v = NULL;
    *cap = 0;
}
#define EMPTY(array) empty((void **)&(array).v, &(array).n, &(array).cap, sizeof *(array).v)

static void forget_drops(struct journal *j)
{
    for (size_t i = 0; i < j->drop_oldest.n; i++) {
        const struct journal_oldest *o = &j->drop_oldest.v[i];

        if (o->s != NULL)
            o->s->queued_bytes += o->guess - o->bytes;
    }
    EMPTY(j->drop_oldest);
}

static void forget_ops(struct broker *b)
{
    struct journal *j = &b->journal;
    size_t keep = 0;

    for (size_t i = 0; i < j->ended.n; i++)
        if (!j->ended.v[i].gone)
            j->ended.v[keep++] = j->ended.v[i];
    j->ended.n = keep;
    for (size_t i = 0; i < j->ops.n; i++) {
        msg_unref(&j->ops.v[i].msg);
        if (j->ops.v[i].verb == OP_SESSION_END || (j->ops.v[i].verb == OP_SESSION_DEL && j->ops.v[i].a))
            journal_resume_ended(b, j->ops.v[i].id, j->ops.v[i].verb == OP_SESSION_END);
    }
    journal_forget_dropped(j);
    forget_drops(j);
    EMPTY(j->ops);
    EMPTY(j->bytes);
    EMPTY(j->gone);
    EMPTY(j->dropped);
    if (j->ended.n == 0)
        EMPTY(j->ended);
}

static void make_room(struct broker *b)
{
    struct journal *j = &b->journal;
    enum persist_rc rc;

    persist_reserve(j->db, true);       /* a row that was sent grows */
    rc = write_what_takes_away(b);
    if (rc != PERSIST_OK)
        persist_rollback(j->db);
    persist_reserve(j->db, false);
    if (rc != PERSIST_OK)
        return;
    while (!list_empty(&j->changed))
        written(b, LIST_ENTRY(j->changed.next, struct delivery, mark));
    forget_drops(j);
    j->gone.n = 0;
}

/* Longer and longer while nobody has room for what is handed on. */
static uint64_t ended_pause(const struct journal *j)
{
    unsigned pause = ENDED_PAUSE_MS;

    for (unsigned n = 2; n < j->ended_waits && pause < ENDED_PAUSE_MOST_MS; n++)
        pause *= 2;
    return pause;
}

enum persist_rc journal_write(struct broker *b)
{
    struct journal *j = &b->journal;
    enum persist_rc rc = write_all(b);

    if (rc != PERSIST_OK) {
        persist_rollback(j->db);
        if (rc == PERSIST_FULL)
            make_room(b);
        return rc;
    }
    j->seq++;
    j->want = j->lazy = false;
    j->lazy_marks = 0;
    while (!list_empty(&j->due))
        written(b, LIST_ENTRY(j->due.next, struct delivery, mark));
    while (!list_empty(&j->changed))
        written(b, LIST_ENTRY(j->changed.next, struct delivery, mark));
    while (!list_empty(&j->retained))
        retain_stored(b, LIST_ENTRY(j->retained.next, struct retained, mark));
    retain_trim(b);
    for (size_t i = 0; i < j->sessions.n; i++)
        if (j->sessions.v[i] != NULL)
            j->sessions.v[i]->mark = 0;
    EMPTY(j->sessions);
    forget_ops(b);
    calendar_written(b);
    if (j->ended.n > 0) {
        j->lazy = true;
        j->lazy_by_ms = b->now_ms + ended_pause(j);
    }
    return PERSIST_OK;
}
