/* The journal: marks, and when they become a commit. What a commit writes is in journal_write.c.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/journal.h"

#include "broker/broker.h"
#include "broker/estate.h"
#include "broker/will.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

/* What nobody waits for is written after this long, if no other commit took it along. */
#define LAZY_MS 5000
/* Or when there are so many changes: nobody is to wait for a long commit. */
#define LAZY_MARKS 2000
/* A failed commit is tried again: soon when somebody held the lock, else once a second. */
#define RETRY_FIRST_MS 10
#define RETRY_BUSY_MS  250
#define RETRY_MS       1000
/* Counters of dropped messages that one commit adds to: as many as the store keeps. */
#define DROPPED_MAX 1000

static void broken(struct broker *b, const char *what)
{
    if (!b->journal.broken)
        log_error("%s; the broker ends here and restarts from what is stored", what);
    b->journal.broken = true;
    broker_stop(b, 1);
}

/* Room for `need` elements. false: no memory. */
static bool more_room(void **v, size_t *cap, size_t need, size_t size)
{
    size_t more = *cap > 0 ? *cap * 2 : 16;
    void *p;

    if (need <= *cap)
        return true;
    while (more < need)
        more *= 2;
    p = mem_grow(MEM_JOURNAL, *v, more * size);
    if (p == NULL)
        return false;
    *v = p;
    *cap = more;
    return true;
}
#define MORE_ROOM(array) more_room((void **)&(array).v, &(array).cap, (array).n + 1, sizeof *(array).v)

/* The same for what must not be forgotten: without memory the broker ends, because a change that can't be kept must
 * not be acknowledged either. */
static bool grow(struct broker *b, void **v, size_t *cap, size_t need, size_t size)
{
    if (more_room(v, cap, need, size))
        return true;
    broken(b, "out of memory for the journal");
    return false;
}
#define GROW(b, array, count) \
    grow(b, (void **)&(array).v, &(array).cap, (array).n + (count), sizeof *(array).v)

static void lazily(struct broker *b)
{
    struct journal *j = &b->journal;

    if (!j->lazy)
        j->lazy_by_ms = b->now_ms + LAZY_MS;
    j->lazy = true;
    if (++j->lazy_marks == LAZY_MARKS && j->lazy_by_ms > j->last_commit_ms + b->cfg->commit_interval_ms)
        j->lazy_by_ms = j->last_commit_ms + b->cfg->commit_interval_ms;
}

/* ---- marks ---- */

uint64_t journal_next(struct broker *b)
{
    struct journal *j = &b->journal;

    if (!journal_on(j))
        return 0;
    j->want = true;
    if (j->waited < j->seq + 1)
        j->waited = j->seq + 1;
    return j->seq + 1;
}

/* The delivery before d in the session's order that is not yet going to be written; NULL: there is none. */
static struct delivery *unwritten_before(const struct delivery *d)
{
    const struct session *s = d->s;
    struct link *l = d->order.prev;
    struct delivery *before;

    if (l == &s->flow->tail)
        l = s->flow->window.prev;
    if (l == &s->flow->window)
        return NULL;
    before = LIST_ENTRY(l, struct delivery, order);
    return before->due || before->stored ? NULL : before;
}

static void enlist(struct broker *b, struct delivery *d, bool at_once)
{
    struct journal *j = &b->journal;

    if (at_once) {
        for (; d != NULL; d = unwritten_before(d)) {            /* J5 */
            list_unlink(&d->mark);
            list_push(&j->due, &d->mark);
            d->due = true;
        }
        journal_next(b);
        return;
    }
    if (list_empty(&j->fresh))
        j->gather_by_ms = b->now_ms + b->cfg->gather_ms;
    list_push(&j->fresh, &d->mark);
}

void journal_delivery_new(struct broker *b, struct delivery *d, bool at_once)
{
    struct ticket *t = d->msg->ticket;

    d->ticketed = true;
    t->open++;
    t->unsafe++;
    t->rows++;
    b->journal.unstored++;
    enlist(b, d, at_once || b->cfg->gather_ms == 0);
}

void journal_delivery_due(struct broker *b, struct delivery *d)
{
    if (d->stored || d->due || !journal_on(&b->journal))
        return;
    enlist(b, d, true);
}

void journal_delivery_changed(struct broker *b, struct delivery *d)
{
    if (!d->stored || link_used(&d->mark))
        return;
    list_push(&b->journal.changed, &d->mark);
    lazily(b);
}

void journal_delivery_gone(struct broker *b, struct delivery *d)
{
    struct journal *j = &b->journal;
    struct ticket *t = d->msg->ticket;

    list_unlink(&d->mark);
    if (!d->s->durable || !journal_on(j))
        return;
    if (d->ticketed) {
        t->open--;
        if (!d->stored) {
            t->unsafe--;
            j->unstored--;
        }
        if (t->acker != NULL && (t->open == 0 || t->unsafe == 0))
            conn_dirty(b, t->acker);
    }
    if (!d->stored || d->s->ending || !GROW(b, j->gone, 1))
        return;
    j->gone.v[j->gone.n++] = (struct journal_gone){ d->s->db_id, d->position, t->id, t->rows > 1 };
    d->s->rows_seq = (uint32_t)(j->seq + 1);
    lazily(b);
}

static struct journal_op *op(struct broker *b, enum journal_verb verb, int64_t id)
{
    struct journal *j = &b->journal;
    struct journal_op *o;

    if (!journal_on(j) || id == 0 || !GROW(b, j->ops, 1))
        return NULL;
    o = &j->ops.v[j->ops.n++];
    *o = (struct journal_op){ .verb = verb, .id = id };
    lazily(b);
    return o;
}

static void op_text(struct broker *b, struct journal_op *o, struct view text)
{
    struct journal *j = &b->journal;

    if (o == NULL || !GROW(b, j->bytes, text.len))
        return;
    memcpy(j->bytes.v + j->bytes.n, text.p, text.len);
    o->off = j->bytes.n;
    o->len = text.len;
    j->bytes.n += text.len;
}

void journal_session_put(struct broker *b, struct session *s, bool soon)
{
    struct journal *j = &b->journal;

    if (!journal_on(j) || !s->durable)
        return;
    if (s->mark == 0) {
        if (!GROW(b, j->sessions, 1))
            return;
        j->sessions.v[j->sessions.n++] = s;
        s->mark = (uint32_t)j->sessions.n;
    }
    if (soon)
        lazily(b);
}

void journal_forget_session(struct broker *b, struct session *s)
{
    struct journal *j = &b->journal;

    if (s->mark > 0 && s->mark <= j->sessions.n)
        j->sessions.v[s->mark - 1] = NULL;
    s->mark = 0;
    for (size_t i = 0; i < j->drop_oldest.n; i++)
        if (j->drop_oldest.v[i].s == s)
            j->drop_oldest.v[i].s = NULL;
}

void journal_session_del(struct broker *b, struct session *s, bool leaves)
{
    op(b, leaves ? OP_SESSION_END : OP_SESSION_DEL, s->db_id);
    if (leaves)
        journal_next(b);            /* somebody waits for what it leaves */
}

void journal_sub_put(struct broker *b, const struct session *s, struct view filter, const struct sub *sub)
{
    struct journal_op *o = op(b, OP_SUB_PUT, s->db_id);

    if (o == NULL)
        return;
    o->qos = sub->qos;
    o->retain_handling = sub->retain_handling;
    o->no_local = sub->no_local;
    o->retain_as_published = sub->retain_as_published;
    o->a = sub->subid;
    op_text(b, o, filter);
}

void journal_sub_del(struct broker *b, const struct session *s, struct view filter)
{
    op_text(b, op(b, OP_SUB_DEL, s->db_id), filter);
}

static void inbound(struct broker *b, enum journal_verb verb, const struct session *s, uint16_t pid)
{
    struct journal_op *o = op(b, verb, s->db_id);

    if (o != NULL)
        o->a = pid;
}

void journal_inbound_put(struct broker *b, const struct session *s, uint16_t pid)
{
    inbound(b, OP_INBOUND_PUT, s, pid);
}

void journal_inbound_del(struct broker *b, const struct session *s, uint16_t pid)
{
    inbound(b, OP_INBOUND_DEL, s, pid);
}

void journal_will_put(struct broker *b, struct session *s, const struct will *w)
{
    struct journal_op *o = op(b, OP_WILL_PUT, s->db_id);

    if (o == NULL)
        return;
    s->will_row = true;
    o->msg = msg_ref(w->msg);
    o->a = w->delay_s;
    if (timer_armed(&w->timer))
        o->b = (int64_t)w->timer.due_ms;
    o->c = w->has_expiry ? (int64_t)w->expiry_s : -1;
}

void journal_will_del(struct broker *b, struct session *s)
{
    if (s->will_row && !s->ending)
        op(b, OP_WILL_DEL, s->db_id);
    s->will_row = false;
}

void journal_retained(struct broker *b, struct retained *r, bool wait)
{
    struct journal *j = &b->journal;

    if (!journal_on(j))
        return;
    list_unlink(&r->mark);
    list_push(&j->retained, &r->mark);
    if (!wait)
        lazily(b);
    if (retain_presses(b) && j->lazy_by_ms > j->last_commit_ms + b->cfg->commit_interval_ms)
        j->lazy_by_ms = j->last_commit_ms + b->cfg->commit_interval_ms;
}

void journal_retained_del(struct broker *b, int64_t id)
{
    op(b, OP_RETAINED_DEL, id);
}

void journal_drop_oldest(struct broker *b, struct session *s, uint64_t guess)
{
    struct journal *j = &b->journal;

    if (!journal_on(j) || !GROW(b, j->drop_oldest, 1))
        return;
    j->drop_oldest.v[j->drop_oldest.n++] = (struct journal_oldest){ s, guess, guess };
    lazily(b);
}

/* The next of these for the session; NULL: none. */
static struct journal_oldest *next_drop(const struct journal *j, const struct session *s)
{
    for (size_t i = 0; i < j->drop_oldest.n; i++)
        if (j->drop_oldest.v[i].s == s)
            return &j->drop_oldest.v[i];
    return NULL;
}

bool journal_drops_oldest(const struct journal *j, const struct session *s)
{
    return next_drop(j, s) != NULL;
}

bool journal_drop_fetched(struct broker *b, struct session *s, const struct persist_queue *q)
{
    struct journal *j = &b->journal;
    struct journal_oldest *o = next_drop(j, s);

    if (!GROW(b, j->gone, 1))
        return false;
    j->gone.v[j->gone.n++] = (struct journal_gone){ s->db_id, q->position, q->message_id, q->shared };
    s->rows_seq = (uint32_t)(j->seq + 1);
    s->queued_bytes += o->guess - q->bytes;
    o->s = NULL;
    return true;
}

static char *keep_text(struct view v, const char *behind, size_t *len)
{
    size_t n = strlen(behind);
    char *p = mem_alloc(MEM_JOURNAL, v.len + 1 + n);

    if (p == NULL)
        return NULL;
    if (v.len > 0)
        memcpy(p, v.p, v.len);
    p[v.len] = '\0';
    memcpy(p + v.len + 1, behind, n);
    *len = v.len + 1 + n;
    return p;
}

void journal_forget_dropped(struct journal *j)
{
    for (size_t i = 0; i < j->dropped.n; i++) {
        mem_free(MEM_JOURNAL, j->dropped.v[i].client_id);
        mem_free(MEM_JOURNAL, j->dropped.v[i].topic);
    }
    j->dropped.n = 0;
    names_fini(&j->dropped_index);
}

/* A counter for people: without memory it is let go, and so it is for more clients than the store keeps. */
void journal_dropped(struct broker *b, struct view id, const char *reason, uint32_t count, struct view topic)
{
    struct journal *j = &b->journal;
    size_t key_len = 0, topic_len;
    char *key = journal_on(j) ? keep_text(id, reason, &key_len) : NULL, *last;
    struct view name = { (const uint8_t *)key, key_len };
    uint32_t at = key != NULL ? names_find(&j->dropped_index, name) : NAMES_NONE;

    if (at != NAMES_NONE)
        j->dropped.v[at].count += count;
    if (key == NULL || at != NAMES_NONE || j->dropped.n == DROPPED_MAX || !MORE_ROOM(j->dropped)) {
        mem_free(MEM_JOURNAL, key);
        return;
    }
    last = keep_text(topic, "", &topic_len);
    if (last == NULL || names_add(&j->dropped_index, name, (struct view){ NULL, 0 }) == NAMES_NONE) {
        mem_free(MEM_JOURNAL, last);
        mem_free(MEM_JOURNAL, key);
        return;
    }
    j->dropped.v[j->dropped.n++] = (struct journal_dropped){ key, last, reason, (uint32_t)id.len, (uint32_t)topic.len,
                                                             count };
    lazily(b);
}

void journal_resume_ended(struct broker *b, int64_t session_id, bool leaves)
{
    struct journal *j = &b->journal;

    if (!GROW(b, j->ended, 1))
        return;
    j->ended.v[j->ended.n++] = (struct journal_ended){ .id = session_id, .leaves = leaves,
                                                       .until_ms = b->now_ms + ESTATE_PATIENCE_MS };
    lazily(b);
}

/* ---- commits ---- */

static const char *rc_text(enum persist_rc rc)
{
    switch (rc) {
    case PERSIST_BUSY: return "another process holds the store's write lock";
    case PERSIST_FULL: return "the disk, or max_size, is full";
    case PERSIST_IO: return "the device fails";
    case PERSIST_BROKEN: return "the store is damaged; a restart saves what can be read";
    case PERSIST_OK: break;
    }
    return "";
}

static void commit_failed(struct broker *b, enum persist_rc rc)
{
    struct journal *j = &b->journal;
    uint64_t wait = rc == PERSIST_BUSY ? (uint64_t)RETRY_FIRST_MS << (j->failures < 5 ? j->failures : 5) : RETRY_MS;

    METRIC(b, COMMITS_FAILED)++;
    j->retry_ms = b->now_ms + (rc == PERSIST_BUSY && wait > RETRY_BUSY_MS ? RETRY_BUSY_MS : wait);
    if (j->failures++ == 0)
        j->failed_since_ms = b->now_ms;
    /* A lock that is gone in a moment is nobody's business. */
    if ((rc != PERSIST_BUSY || b->now_ms - j->failed_since_ms > 2000) &&
        (j->said_ms == 0 || rc != j->last_rc || b->now_ms - j->said_ms > 60000)) {
        int pid;
        char name[64];

        log_error("the store can't be written, QoS 1 and 2 wait reason=%s error=%s since_s=%" PRIu64,
                  log_qs(rc_text(rc)), log_qs(persist_error(j->db)), (b->now_ms - j->failed_since_ms) / 1000);
        if (rc == PERSIST_BUSY && persist_blocker(j->db, &pid, name))
            log_error("the store is held by process pid=%d name=%s", pid, log_qs(name));
        j->said_ms = b->now_ms;
    }
    j->last_rc = rc;
}

static void commit_done(struct broker *b)
{
    struct journal *j = &b->journal;

    if (j->failures > 0 && j->said_ms != 0)
        log_notice("the store can be written again after_s=%" PRIu64, (b->now_ms - j->failed_since_ms) / 1000);
    if (j->failures > 0)
        broker_unpause(b);
    j->failures = 0;
    j->said_ms = 0;
    j->last_commit_ms = b->now_ms;
    j->upkeep = true;
    if (!j->async) {
        j->durable = j->seq;
        conn_release_all(b);
    }
}

static bool commit(struct broker *b)
{
    enum persist_rc rc = journal_write(b);

    if (rc != PERSIST_OK) {
        commit_failed(b, rc);
        return false;
    }
    commit_done(b);
    return true;
}

bool journal_commit_now(struct broker *b)
{
    return !journal_on(&b->journal) || (!b->journal.broken && commit(b));
}

/* ---- durability ---- */

static void sync_lost(struct broker *b)
{
    log_error("fdatasync failed: the device may have lost what was written error=%s",
              log_qs(persist_error(b->journal.db)));
    broken(b, "what was acknowledged is safe, what was not is gone");
}

static void synced(struct broker *b)
{
    struct journal *j = &b->journal;

    j->durable = j->syncing;
    j->syncing = 0;
    conn_release_all(b);
}

static void sync_start(struct broker *b)
{
    struct journal *j = &b->journal;

    if (!j->async || j->syncing != 0 || j->broken || j->durable >= j->waited || j->durable == j->seq)
        return;
    j->syncing = j->seq;
    if (persist_sync_start(j->db) != PERSIST_OK)
        sync_lost(b);
    else if (persist_sync_fd(j->db) < 0)
        synced(b);
}

static void sync_ready(struct loop_source *s, unsigned events, void *arg)
{
    struct broker *b = arg;

    (void)s;
    (void)events;
    if (persist_sync_finish(b->journal.db) != PERSIST_OK)
        sync_lost(b);
    else
        synced(b);
}

/* ---- the turn ---- */

/* The window closes: what is older than half of it is written, what is younger gets another chance. */
static void gather(struct broker *b)
{
    struct journal *j = &b->journal;
    uint64_t half = b->cfg->gather_ms / 2;

    if (list_empty(&j->fresh) || b->now_ms < j->gather_by_ms)
        return;
    while (!list_empty(&j->fresh)) {
        struct delivery *d = LIST_ENTRY(j->fresh.next, struct delivery, mark);

        if (b->now_ms - d->msg->ticket->arrived_ms < half)
            break;
        journal_delivery_due(b, d);
    }
    j->gather_by_ms = b->now_ms + (half > 0 ? half : 1);
}

/* When the next commit is to be made; UINT64_MAX: none is needed. */
static uint64_t commit_at(const struct broker *b)
{
    const struct journal *j = &b->journal;
    uint64_t at = UINT64_MAX;

    if (j->want)
        at = j->last_commit_ms + b->cfg->commit_interval_ms;
    else if (j->lazy)
        at = j->lazy_by_ms;
    return j->failures > 0 && at < j->retry_ms ? j->retry_ms : at;
}

static void idle(struct timer *t, void *arg)
{
    (void)t;
    (void)arg;
}

void journal_turn(struct broker *b)
{
    struct journal *j = &b->journal;

    if (!journal_on(j) || j->broken)
        return;
    gather(b);
    /* On a slow device the next sync begins as soon as one has ended: this is the time in between. */
    if (j->upkeep && j->syncing == 0)
        journal_upkeep(b);
    if (commit_at(b) <= b->now_ms) {
        if (j->failures == 0)
            estate_hand_on(b);
        commit(b);
    }
    sync_start(b);
    if (j->upkeep)
        journal_upkeep(b);
}

void journal_arm(struct broker *b)
{
    struct journal *j = &b->journal;
    uint64_t next = journal_on(j) && !j->broken ? commit_at(b) : UINT64_MAX;

    if (!list_empty(&j->fresh) && j->gather_by_ms < next)
        next = j->gather_by_ms;
    if (next == UINT64_MAX)
        timer_disarm(&j->timer);
    else
        timer_arm(&b->wheel, &j->timer, next);
}

int journal_watch_sync(struct broker *b)
{
    struct journal *j = &b->journal;

    loop_del(&b->loop, &j->sync);
    return j->async && persist_sync_fd(j->db) >= 0
               ? loop_add(&b->loop, &j->sync, persist_sync_fd(j->db), LOOP_READ) : 0;
}

int journal_init(struct broker *b, struct persist *db, bool async)
{
    struct journal *j = &b->journal;

    *j = (struct journal){ .db = db, .async = async, .sync = { .fd = -1, .ready = sync_ready }, .next_id = 1,
                           .next_session_id = 1, .next_retained_id = 1 };
    timer_init(&j->timer, idle);
    list_init(&j->fresh);
    list_init(&j->due);
    list_init(&j->changed);
    list_init(&j->retained);
    names_init(&j->dropped_index);
    return db != NULL ? journal_watch_sync(b) : 0;
}

bool journal_fini(struct broker *b)
{
    struct journal *j = &b->journal;
    bool ok = !j->broken;

    if (journal_on(j) && ok) {
        while (!list_empty(&j->fresh))
            journal_delivery_due(b, LIST_ENTRY(j->fresh.next, struct delivery, mark));
        ok = commit(b) && persist_sync_wait(j->db) == PERSIST_OK;
        if (!ok)
            log_error("the last changes could not be stored; none of them was acknowledged error=%s",
                      log_qs(persist_error(j->db)));
        j->durable = j->seq;
    }
    timer_disarm(&j->timer);
    loop_del(&b->loop, &j->sync);
    persist_close(&j->db);
    for (size_t i = 0; i < j->ops.n; i++)
        msg_unref(&j->ops.v[i].msg);
    journal_forget_dropped(j);
    mem_free(MEM_JOURNAL, j->ops.v);
    mem_free(MEM_JOURNAL, j->bytes.v);
    mem_free(MEM_JOURNAL, j->gone.v);
    mem_free(MEM_JOURNAL, j->sessions.v);
    mem_free(MEM_JOURNAL, j->drop_oldest.v);
    mem_free(MEM_JOURNAL, j->dropped.v);
    mem_free(MEM_JOURNAL, j->ended.v);
    j->sessions.n = j->drop_oldest.n = 0;           /* sessions that end after this look there */
    return ok;
}
