/* Sessions with what hangs on them: subscriptions, will, inbound packet ids.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "persist/db.h"

#include <assert.h>

enum { SLICE = 64 };    /* queue rows deleted between two looks */

/* The session that has this client id, whatever its number. false: none, or db_fail() was called and the transaction
 * has failed. */
static bool owner_of(struct persist *p, struct blob client_id, int64_t *id)
{
    sqlite3_stmt *st = stmt_change(p, STMT_SESSION_ID);
    int rc;

    if (st == NULL)
        return false;
    bind_text(st, 1, client_id);
    rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        *id = sqlite3_column_int64(st, 0);
    sqlite3_reset(st);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        db_fail(p, rc, "find a session");
    return rc == SQLITE_ROW;
}

enum persist_rc persist_session_put(struct persist *p, const struct persist_session *s)
{
    for (bool evicted = false;; evicted = true) {
        sqlite3_stmt *st = stmt_change(p, STMT_SESSION_PUT);
        int64_t other;
        bool more;
        int rc;

        if (st == NULL)
            return p->tx_rc;
        sqlite3_bind_int64(st, 1, s->id);
        bind_text(st, 2, s->client_id);
        sqlite3_bind_int(st, 3, s->version);
        bind_text(st, 4, s->username);
        bind_opt_int(st, 5, s->expiry_s, -1);
        bind_opt_int(st, 6, s->connected_ms, 0);
        bind_opt_int(st, 7, s->disconnected_ms, 0);
        bind_opt_int(st, 8, s->resend_to, 0);
        rc = sqlite3_step(st);
        sqlite3_reset(st);
        if (rc == SQLITE_DONE && sqlite3_changes(p->db) == 1)
            return PERSIST_OK;
        if (rc == SQLITE_DONE)
            return db_fail(p, SQLITE_MISMATCH, "a session id is in use for another client");
        if (rc != SQLITE_CONSTRAINT_UNIQUE || evicted)
            return db_fail(p, rc, "store a session");
        /* The client had another session, which ends here. */
        if (!owner_of(p, s->client_id, &other))
            return p->tx == TX_FAILED ? p->tx_rc : db_fail(p, rc, "store a session");
        if (persist_session_del(p, other, SLICE, &more) != PERSIST_OK)
            return p->tx_rc;
    }
}

struct slice {
    unsigned n;
    int64_t last;
    int64_t message_id[SLICE];
    bool shared[SLICE];
};

static int give_slice(struct row *r, void *arg)
{
    struct slice *s = arg;

    s->last = sqlite3_column_int64(r->st, 0);
    s->message_id[s->n] = sqlite3_column_int64(r->st, 1);
    s->shared[s->n++] = sqlite3_column_int(r->st, 2) != 0;
    return 0;
}

/* At most SLICE rows of the queue and their messages. *n: how many there were. */
static enum persist_rc delete_slice(struct persist *p, int64_t id, int64_t upto, unsigned limit, unsigned *n)
{
    struct slice s = { .n = 0 };
    sqlite3_stmt *st = stmt_change(p, STMT_QUEUE_SLICE);
    enum persist_rc rc;

    if (st == NULL)
        return p->tx_rc;
    sqlite3_bind_int64(st, 1, id);
    sqlite3_bind_int64(st, 2, limit < SLICE ? limit : SLICE);
    sqlite3_bind_int64(st, 3, upto);
    rc = stmt_each(p, st, give_slice, &s);
    *n = s.n;
    if (rc != PERSIST_OK || s.n == 0)
        return rc;
    rc = stmt_run_ints(p, STMT_QUEUE_UPTO, 2, id, s.last);
    for (unsigned i = 0; rc == PERSIST_OK && i < s.n; i++)
        rc = stmt_run_ints(p, s.shared[i] ? STMT_MESSAGE_LEAVE : STMT_MESSAGE_DEL, 1, s.message_id[i]);
    return rc;
}

/* *more: it ran out of budget. There may be no row left, but then the next call costs no more than asking now. */
static enum persist_rc delete_rows(struct persist *p, int64_t id, int64_t upto, unsigned budget, bool *more)
{
    enum persist_rc rc = PERSIST_OK;
    unsigned n = 1;

    for (; rc == PERSIST_OK && n > 0 && budget > 0; budget -= n < budget ? n : budget)
        rc = delete_slice(p, id, upto, budget, &n);
    *more = n > 0;
    return rc;
}

enum persist_rc persist_queue_upto(struct persist *p, int64_t session_id, int64_t upto, unsigned budget)
{
    bool more;

    return delete_rows(p, session_id, upto, budget, &more);
}

static enum persist_rc run_each(struct persist *p, const enum stmt *v, size_t n, int64_t id)
{
    enum persist_rc rc = PERSIST_OK;

    for (size_t i = 0; rc == PERSIST_OK && i < n; i++)
        rc = stmt_run_ints(p, v[i], 1, id);
    return rc;
}

enum persist_rc persist_session_end(struct persist *p, int64_t id)
{
    static const enum stmt changes[] = { STMT_WILL_DEL, STMT_INBOUND_CLEAR, STMT_SESSION_DEL, STMT_ENDED_PUT };

    return run_each(p, changes, sizeof changes / sizeof changes[0], id);
}

enum persist_rc persist_session_del(struct persist *p, int64_t id, unsigned budget, bool *more)
{
    static const enum stmt at_once[] = { STMT_SUB_CLEAR, STMT_WILL_DEL, STMT_INBOUND_CLEAR, STMT_SESSION_DEL };
    enum persist_rc rc = run_each(p, at_once, sizeof at_once / sizeof at_once[0], id);

    *more = false;
    if (rc == PERSIST_OK)
        rc = delete_rows(p, id, INT64_MAX, budget, more);
    if (rc != PERSIST_OK)
        return rc;
    return stmt_run_ints(p, *more ? STMT_ENDED_PUT : STMT_ENDED_DEL, 1, id);
}

enum persist_rc persist_will_put(struct persist *p, const struct persist_will *w)
{
    sqlite3_stmt *st = stmt_change(p, STMT_WILL_PUT);

    if (st == NULL)
        return p->tx_rc;
    sqlite3_bind_int64(st, 1, w->session_id);
    bind_text(st, 2, w->topic);
    sqlite3_bind_int(st, 3, w->qos);
    sqlite3_bind_int(st, 4, w->retain);
    sqlite3_bind_int64(st, 5, w->delay_s);
    bind_opt_int(st, 6, w->publish_ms, 0);
    bind_opt_int(st, 7, w->expiry_s, -1);
    bind_opt_blob(st, 8, w->props);
    bind_blob(st, 9, w->payload);
    return stmt_run(p, st);
}

enum persist_rc persist_will_del(struct persist *p, int64_t session_id)
{
    return stmt_run_ints(p, STMT_WILL_DEL, 1, session_id);
}

enum persist_rc persist_sub_put(struct persist *p, const struct persist_subscription *s)
{
    sqlite3_stmt *st = stmt_change(p, STMT_SUB_PUT);

    if (st == NULL)
        return p->tx_rc;
    sqlite3_bind_int64(st, 1, s->session_id);
    bind_text(st, 2, s->filter);
    sqlite3_bind_int(st, 3, s->qos);
    sqlite3_bind_int(st, 4, s->no_local);
    sqlite3_bind_int(st, 5, s->retain_as_published);
    sqlite3_bind_int(st, 6, s->retain_handling);
    bind_opt_int(st, 7, s->subid, 0);
    return stmt_run(p, st);
}

enum persist_rc persist_sub_del(struct persist *p, int64_t session_id, struct blob filter)
{
    sqlite3_stmt *st = stmt_change(p, STMT_SUB_DEL);

    if (st == NULL)
        return p->tx_rc;
    sqlite3_bind_int64(st, 1, session_id);
    bind_text(st, 2, filter);
    return stmt_run(p, st);
}

enum persist_rc persist_inbound_put(struct persist *p, int64_t session_id, int packet_id)
{
    return stmt_run_ints(p, STMT_INBOUND_PUT, 2, session_id, (int64_t)packet_id);
}

enum persist_rc persist_inbound_del(struct persist *p, int64_t session_id, int packet_id)
{
    return stmt_run_ints(p, STMT_INBOUND_DEL, 2, session_id, (int64_t)packet_id);
}

enum persist_rc persist_inbound_clear(struct persist *p, int64_t session_id)
{
    return stmt_run_ints(p, STMT_INBOUND_CLEAR, 1, session_id);
}
