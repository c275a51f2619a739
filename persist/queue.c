/* Messages and the queues that refer to them. This is the broker's hot path: a message that is stored costs an
 * insert of each, and two deletes when it is acknowledged.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "persist/db.h"
#include "persist/message.h"

enum persist_rc persist_message_put(struct persist *p, const struct persist_message *m)
{
    sqlite3_stmt *st = stmt_change(p, STMT_MESSAGE_PUT);

    if (st == NULL)
        return p->tx_rc;
    sqlite3_bind_int64(st, 1, m->id);
    sqlite3_bind_int64(st, 2, m->received_ms);
    bind_opt_int(st, 3, m->expires_ms, 0);
    sqlite3_bind_int(st, 4, m->qos);
    sqlite3_bind_int(st, 5, m->retain);
    bind_text(st, 6, m->publisher);
    bind_text(st, 7, m->publisher_user);
    bind_text(st, 8, m->topic);
    bind_opt_blob(st, 9, m->props);
    bind_blob(st, 10, m->payload);
    return stmt_run(p, st);
}

enum persist_rc persist_queue_put(struct persist *p, const struct persist_queue *q)
{
    sqlite3_stmt *st = stmt_change(p, STMT_QUEUE_PUT);

    if (st == NULL)
        return p->tx_rc;
    sqlite3_bind_int64(st, 1, q->session_id);
    sqlite3_bind_int64(st, 2, q->position);
    sqlite3_bind_int64(st, 3, q->message_id);
    sqlite3_bind_int(st, 4, q->qos);
    sqlite3_bind_int(st, 5, q->retain);
    sqlite3_bind_int(st, 6, (int)q->state);
    bind_opt_int(st, 7, q->packet_id, 0);
    sqlite3_bind_int(st, 8, q->shared);
    bind_opt_blob(st, 9, q->subids);
    sqlite3_bind_int64(st, 10, (int64_t)q->bytes);
    return stmt_run(p, st);
}

enum persist_rc persist_queue_state(struct persist *p, int64_t session_id, int64_t position,
                                    enum persist_state state, int packet_id)
{
    sqlite3_stmt *st = stmt_change(p, STMT_QUEUE_STATE);

    if (st == NULL)
        return p->tx_rc;
    sqlite3_bind_int64(st, 1, session_id);
    sqlite3_bind_int64(st, 2, position);
    sqlite3_bind_int(st, 3, (int)state);
    bind_opt_int(st, 4, packet_id, 0);
    return stmt_run(p, st);
}

enum persist_rc persist_queue_del(struct persist *p, int64_t session_id, int64_t position, int64_t message_id,
                                  bool shared)
{
    enum persist_rc rc = stmt_run_ints(p, STMT_QUEUE_DEL, 2, session_id, position);

    return rc == PERSIST_OK ? stmt_run_ints(p, shared ? STMT_MESSAGE_LEAVE : STMT_MESSAGE_DEL, 1, message_id) : rc;
}

enum persist_rc persist_queue_drop_oldest(struct persist *p, int64_t session_id, bool *found, int64_t *position,
                                          uint64_t *bytes)
{
    sqlite3_stmt *st = stmt_change(p, STMT_QUEUE_OLDEST);
    int64_t message_id = 0;
    bool shared = false;
    int rc;

    *found = false;
    if (st == NULL)
        return p->tx_rc;
    sqlite3_bind_int64(st, 1, p->position_max);
    sqlite3_bind_int64(st, 2, session_id);
    rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) {
        *found = true;
        *position = sqlite3_column_int64(st, 0);
        message_id = sqlite3_column_int64(st, 1);
        shared = sqlite3_column_int(st, 2) != 0;
        *bytes = (uint64_t)sqlite3_column_int64(st, 3);
    }
    sqlite3_reset(st);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        return db_fail(p, rc, "drop the oldest message");
    return *found ? persist_queue_del(p, session_id, *position, message_id, shared) : PERSIST_OK;
}

/* ---- reading ---- */

void message_read(struct row *r, struct persist_message *m)
{
    m->received_ms = row_int(r, 0, 0, ROW_MS_MAX);
    m->expires_ms = row_opt_int(r, 1, 1, ROW_MS_MAX, 0);
    m->qos = (int)row_int(r, 2, 0, 2);
    m->retain = row_int(r, 3, 0, 1) != 0;
    m->publisher = row_opt_text(r, 4);
    m->publisher_user = row_opt_text(r, 5);
    m->topic = row_text(r, 6);
    m->props = row_opt_blob(r, 7);
}

struct page {
    int64_t session_id, position_max;
    unsigned rows;
    size_t bytes;
    int (*row)(void *, const struct persist_queue *, const struct persist_message *);
    void *arg;
};

static int give_queued(struct row *r, void *arg)
{
    struct page *g = arg;
    struct persist_message m;
    struct persist_queue q = { .session_id = g->session_id };
    size_t size;
    int stop;

    message_read(r, &m);
    m.payload = row_blob(r, 8);
    q.position = row_int(r, 9, 1, g->position_max);
    q.message_id = m.id = row_int(r, 10, 1, q.position);
    q.qos = (int)row_int(r, 11, 0, 2);
    q.retain = row_int(r, 12, 0, 1) != 0;
    q.state = (enum persist_state)row_int(r, 13, PERSIST_QUEUED, PERSIST_RELEASED);
    q.packet_id = (int)row_opt_int(r, 14, 1, 65535, 0);
    q.shared = row_int(r, 15, 0, 1) != 0;
    q.subids = row_opt_blob(r, 16);
    q.bytes = (uint64_t)sqlite3_column_int64(r->st, 17);
    if (q.state != PERSIST_QUEUED && q.packet_id == 0)
        r->bad = true;
    if (r->bad)
        return 0;
    size = m.topic.len + m.payload.len + m.props.len;
    stop = g->row(g->arg, &q, &m);
    g->bytes -= size < g->bytes ? size : g->bytes;
    return stop != 0 || --g->rows == 0 || g->bytes == 0;
}

enum persist_rc persist_queue_page(struct persist *p, int64_t session_id, int64_t after, unsigned max_rows,
                                   size_t max_bytes,
                                   int (*row)(void *, const struct persist_queue *, const struct persist_message *),
                                   void *arg)
{
    struct page g = { session_id, p->position_max, max_rows, max_bytes, row, arg };
    sqlite3_stmt *st;

    if (max_rows == 0)
        return PERSIST_OK;
    /* No LIMIT: rows that are skipped must not make a page look like the last one. */
    st = stmt_get(p, STMT_QUEUE_PAGE);
    if (st == NULL)
        return p->tx_rc;
    sqlite3_bind_int64(st, 1, session_id);
    sqlite3_bind_int64(st, 2, after);
    return stmt_each(p, st, give_queued, &g);
}

struct summaries {
    int (*row)(void *, const struct persist_queue_summary *);
    void *arg;
    struct persist *p;
    uint64_t rows;              /* fit ones */
    bool stopped;
};

static int give_summary(struct row *r, void *arg)
{
    struct summaries *g = arg;
    struct persist_queue_summary s = {
        .session_id = sqlite3_column_int64(r->st, 0),
        .count = (uint64_t)sqlite3_column_int64(r->st, 1),
        .inflight = (uint64_t)sqlite3_column_int64(r->st, 2),
        .bytes = (uint64_t)sqlite3_column_int64(r->st, 3),
        .first = sqlite3_column_int64(r->st, 4),
        .last = sqlite3_column_int64(r->st, 5),
    };
    bool known = sqlite3_column_int(r->st, 6) != 0, ended = sqlite3_column_int(r->st, 7) != 0;

    g->rows += s.count;
    if (known)
        g->stopped = g->row(g->arg, &s) != 0;
    else if (!ended)
        g->p->stats.bad_rows += s.count;        /* of no session: left alone, but said */
    return g->stopped;
}

static int give_unfit(struct row *r, void *arg)
{
    const struct summaries *g = arg;

    g->p->stats.bad_rows += (uint64_t)sqlite3_column_int64(r->st, 0) - g->rows;
    return 0;
}

enum persist_rc persist_each_queue_summary(struct persist *p, int (*row)(void *, const struct persist_queue_summary *),
                                           void *arg)
{
    struct summaries g = { .row = row, .arg = arg, .p = p };
    sqlite3_stmt *st = stmt_get(p, STMT_EACH_SUMMARY);
    enum persist_rc rc = st != NULL ? PERSIST_OK : p->tx_rc;

    if (rc == PERSIST_OK) {
        sqlite3_bind_int64(st, 1, p->position_max);
        rc = stmt_each(p, st, give_summary, &g);
    }
    if (rc != PERSIST_OK || g.stopped)
        return rc;
    st = stmt_get(p, STMT_COUNT_QUEUE);
    return st != NULL ? stmt_each(p, st, give_unfit, &g) : p->tx_rc;
}
