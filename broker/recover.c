/* At start: everything that is in the store, before the first client comes in.
 *
 * Rows refer to sessions by number; while loading, a sorted array finds them. Queues stay in the store: only their
 * counters are loaded.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/broker.h"
#include "broker/clock.h"
#include "broker/service.h"
#include "broker/will.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* After so many rows the service manager is told for the first time, and the clock looked at again; then so often. */
enum { SAY_ROWS = 4096, SAY_MS = 5000 };

struct loading {
    struct broker *b;
    struct { int64_t id; struct session *s; } *v;
    size_t n, cap;
    uint64_t queued, odd;           /* odd: rows that break MQTT's rules, or belong to nobody */
    uint64_t expired;
    bool no_memory;
    uint64_t rows, said_ms;         /* for the service manager */
};

static struct view view(struct blob v)
{
    return (struct view){ v.p, v.len };
}

/* A large store takes its time, and whoever started us may lose patience. */
static void still_loading(struct loading *l)
{
    uint64_t now_ms;

    if (++l->rows % SAY_ROWS != 0)
        return;
    now_ms = clock_mono_ms();
    if (l->rows > SAY_ROWS && now_ms - l->said_ms < SAY_MS)
        return;
    l->said_ms = now_ms;
    service_starting("reading the store, rows", l->rows);
}

static struct session *by_id(struct loading *l, int64_t id)
{
    size_t from = 0, to = l->n;

    still_loading(l);
    while (from < to) {
        size_t mid = (from + to) / 2;

        if (l->v[mid].id == id)
            return l->v[mid].s;
        if (l->v[mid].id < id)
            from = mid + 1;
        else
            to = mid;
    }
    l->odd++;
    return NULL;
}

static int no_memory(struct loading *l)
{
    l->no_memory = true;
    return 1;
}

static bool room(struct loading *l)
{
    size_t cap = l->cap > 0 ? l->cap * 2 : 64;
    void *v;

    if (l->n < l->cap)
        return true;
    v = mem_grow(MEM_OTHER, l->v, cap * sizeof *l->v);
    if (v == NULL)
        return false;
    l->v = v;
    l->cap = cap;
    return true;
}

/* ---- rows ---- */

static int add_session(void *arg, const struct persist_session *p)
{
    struct loading *l = arg;
    struct broker *b = l->b;
    struct ident *ident;
    struct session *s;

    still_loading(l);
    if (p->client_id.len == 0 || p->client_id.len > UINT16_MAX || p->username.len > UINT16_MAX ||
        session_find(&b->sessions, view(p->client_id)) != NULL) {
        l->odd++;
        return 0;
    }
    ident = room(l) ? ident_new(view(p->client_id), view(p->username)) : NULL;
    s = ident != NULL ? session_new(b, ident, true) : NULL;
    if (s == NULL)
        return no_memory(l);
    s->db_id = p->id;
    s->version = (uint8_t)p->version;
    s->expiry_s = p->expiry_s < 0 || p->expiry_s > UINT32_MAX ? UINT32_MAX : (uint32_t)p->expiry_s;
    s->connected_ms = p->connected_ms;
    s->disconnected_ms = p->disconnected_ms;
    s->resend_to = p->resend_to;
    if (s->resend_to >= b->journal.next_id) {           /* numbers of rows that are gone, which new ones get */
        s->resend_to = b->journal.next_id - 1;
        journal_session_put(b, s, true);
    }
    l->v[l->n].id = p->id;
    l->v[l->n++].s = s;
    return 0;
}

static int add_subscription(void *arg, const struct persist_subscription *p)
{
    struct loading *l = arg;
    struct session *s = by_id(l, p->session_id);
    const struct sub_options o = {
        .qos = (uint8_t)p->qos, .retain_handling = (uint8_t)p->retain_handling, .no_local = p->no_local,
        .retain_as_published = p->retain_as_published, .subid = (uint32_t)p->subid,
    };

    if (s == NULL)
        return 0;
    if (!topic_filter_valid(view(p->filter)) || p->filter.len > UINT16_MAX || p->qos > 2 || p->subid > 268435455) {
        l->odd++;
        return 0;
    }
    return subs_add(&l->b->subs, s, view(p->filter), &o) == SUB_NO_MEMORY ? no_memory(l) : 0;
}

static int add_inbound(void *arg, int64_t session_id, int packet_id)
{
    struct loading *l = arg;
    struct session *s = by_id(l, session_id);

    return s == NULL || session_inbound(s, (uint16_t)packet_id) ? 0 : no_memory(l);
}

static int add_queue(void *arg, const struct persist_queue_summary *p)
{
    struct loading *l = arg;
    struct session *s = by_id(l, p->session_id);
    uint64_t parked = p->inflight < p->count ? p->inflight : p->count;

    if (s == NULL)
        return 0;
    s->backlog = p->count < UINT32_MAX ? (uint32_t)p->count : UINT32_MAX;
    s->parked = parked < UINT16_MAX ? (uint16_t)parked : UINT16_MAX;        /* there are no more packet ids */
    s->queued_bytes = p->bytes;
    if (s->disconnected_ms == 0)        /* sent, perhaps, and the state not yet written */
        s->resend_to = p->last;
    l->queued += p->count;
    return 0;
}

static int add_will(void *arg, const struct persist_will *p)
{
    struct loading *l = arg;
    struct session *s = by_id(l, p->session_id);
    const struct persist_message m = { .topic = p->topic, .payload = p->payload, .props = p->props, .qos = p->qos,
                                       .retain = p->retain };
    uint32_t delay_s = p->delay_s > 0 ? (uint32_t)p->delay_s : 0;
    struct msg *msg;
    uint64_t due_ms;

    if (s == NULL || !msg_keepable(&m, (struct view){ NULL, 0 })) {
        l->odd += s != NULL;
        return 0;
    }
    msg = msg_restore(l->b, &m);
    if (msg == NULL)
        return no_memory(l);
    msg->from = ident_ref(s->ident);
    /* publish_ms 0: its client was connected; the delay begins now [MQTT5-3.1.2-8]. */
    due_ms = p->publish_ms == 0 ? l->b->now_ms + (uint64_t)delay_s * 1000
                                : calendar_due(l->b, s->disconnected_ms, p->publish_ms);
    if (!will_restore(l->b, s, msg, delay_s, (uint32_t)p->expiry_s, p->expiry_s >= 0, due_ms))
        return no_memory(l);
    return 0;
}

static int add_retained(void *arg, const struct persist_retained *p)
{
    struct loading *l = arg;
    uint64_t expires_ms = p->m.expires_ms == 0 ? 0 : calendar_due(l->b, p->m.received_ms, p->m.expires_ms);

    still_loading(l);
    if (!msg_keepable(&p->m, (struct view){ NULL, 0 }) || p->m.payload.len == 0) {
        l->odd++;
        return 0;
    }
    return retain_restore(l->b, p, calendar_mono(l->b, p->m.received_ms), expires_ms) ? 0 : no_memory(l);
}

static int add_ended(void *arg, int64_t session_id)
{
    struct loading *l = arg;

    journal_resume_ended(l->b, session_id, true);
    return 0;
}

/* ---- */

/* Sessions that were connected when the broker ended: their absence begins now. */
static void end_connections(struct loading *l)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->v[i].s->disconnected_ms == 0) {
            l->v[i].s->disconnected_ms = calendar_now(l->b);
            journal_session_put(l->b, l->v[i].s, true);
            if (l->v[i].s->will != NULL)
                journal_will_put(l->b, l->v[i].s, l->v[i].s->will);     /* its delay has begun */
        }
}

/* Expiry counts the outage, as far as the clock knows of it. */
static void arm_expiry(struct loading *l)
{
    struct broker *b = l->b;

    for (size_t i = 0; i < l->n; i++) {
        struct session *s = l->v[i].s;
        uint64_t in_s = session_expiry_s(b, s->expiry_s);
        uint64_t due_ms;

        if (in_s == UINT32_MAX)
            continue;
        due_ms = calendar_due(b, s->disconnected_ms, s->disconnected_ms + (int64_t)in_s * 1000);
        if (due_ms <= b->now_ms) {
            l->expired++;
            METRIC(b, CLIENTS_EXPIRED)++;
            will_trigger(b, s, true);
            session_free(b, s);
        } else {
            session_arm_expiry(b, s, due_ms);
        }
    }
}

static enum persist_rc load(struct loading *l, const char **what)
{
    struct broker *b = l->b;
    struct persist *db = b->journal.db;
    struct persist_maxima max;
    enum persist_rc rc;

    *what = "the clock";
    rc = calendar_start(b);
    if (rc != PERSIST_OK)
        return rc;
    *what = "numbers";
    rc = persist_maxima(db, &max);
    if (rc != PERSIST_OK)
        return rc;
    b->journal.next_id = max.position + 1;
    b->journal.next_retained_id = max.retained_id + 1;
#define STEP(name, call) \
    if (rc == PERSIST_OK && !l->no_memory) { \
        *what = name; \
        rc = call; \
    }
    STEP("sessions", persist_each_session(db, add_session, l))
    b->journal.next_session_id = max.session_id + 1;
    STEP("subscriptions", persist_each_subscription(db, add_subscription, l))
    STEP("inbound ids", persist_each_inbound(db, add_inbound, l))
    STEP("queues", persist_each_queue_summary(db, add_queue, l))
    STEP("wills", persist_each_will(db, add_will, l))
    STEP("retained messages", persist_each_retained(db, 0, add_retained, l))
    STEP("ended sessions", persist_each_ended(db, add_ended, l))
#undef STEP
    return rc;
}

static enum persist_rc note_run(struct loading *l, uint64_t took_ms)
{
    struct broker *b = l->b;
    const struct persist_run run = {
        .version = CADDIS_VERSION, .started_ms = calendar_utc(b, (int64_t)b->started_ms),
        .zero_ms = b->calendar.zero_ms, .since_ms = calendar_since(b), .before_ms = b->calendar.before_ms,
        .sessions = b->sessions.count, .subscriptions = b->subs.count, .queued = l->queued,
        .retained = b->retain.count, .expired = l->expired, .took_ms = (int64_t)took_ms,
    };
    struct persist *db = b->journal.db;
    enum persist_rc rc;

    /* What is stored can be delivered, and that makes room: nobody who fetches waits for a commit until then. */
    if (persist_full(db)) {
        b->journal.failures = 1;
        b->journal.failed_since_ms = b->now_ms;
        b->journal.last_rc = PERSIST_FULL;
    }
    persist_reserve(db, true);
    rc = persist_begin(db);
    if (rc == PERSIST_OK)
        rc = persist_run_start(db, &run);
    if (rc == PERSIST_OK)
        rc = persist_commit(db);
    if (rc != PERSIST_OK)
        persist_rollback(db);
    persist_reserve(db, false);
    if (rc == PERSIST_FULL) {
        log_error("the store is full: this start is not in its diary error=%s", log_qs(persist_error(db)));
        rc = PERSIST_OK;
    }
    /* A run that was killed may have left commits that are in the file but not on the disk, and from here on what they
     * hold counts as stored. */
    return rc == PERSIST_OK && b->journal.async ? persist_sync_wait(db) : rc;
}

bool recover(struct broker *b, bool *damaged, char **why)
{
    struct loading l = { .b = b };
    uint64_t began = clock_mono_ms();
    const char *what, *ended = persist_previous_end(b->journal.db);
    enum persist_rc rc = load(&l, &what);
    uint64_t bad;
    struct persist_stats st;

    if (rc == PERSIST_OK && !l.no_memory) {
        end_connections(&l);
        arm_expiry(&l);
    }
    mem_free(MEM_OTHER, l.v);
    *damaged = rc == PERSIST_BROKEN && !l.no_memory;
    if (rc != PERSIST_OK || l.no_memory) {
        if (asprintf(why, "%s can't be restored from %s: %s", what, b->cfg->store_path,
                     l.no_memory ? "out of memory" : persist_error(b->journal.db)) < 0)
            *why = NULL;
        return false;
    }
    persist_stats(b->journal.db, &st);
    bad = st.bad_rows + l.odd;
    log_notice("restored previous_end=%s sessions=%u subscriptions=%u queued=%" PRIu64 " retained=%u expired=%" PRIu64
               " bad_rows=%" PRIu64 " took_ms=%" PRIu64, ended, b->sessions.count, b->subs.count, l.queued, b->retain.count,
               l.expired, bad, clock_mono_ms() - began);
    if (note_run(&l, clock_mono_ms() - began) != PERSIST_OK) {
        if (asprintf(why, "%s can't be written: %s", b->cfg->store_path, persist_error(b->journal.db)) < 0)
            *why = NULL;
        return false;
    }
    return true;
}
