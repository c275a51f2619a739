/* What the broker reads once, at its start. Rows that break the rules are skipped and counted (stmt_each()).
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "persist/db.h"

struct sessions { int (*row)(void *, const struct persist_session *); void *arg; };

static int give_session(struct row *r, void *arg)
{
    const struct sessions *g = arg;
    struct persist_session s = {
        .id = row_int(r, 0, 1, ROW_ID_MAX),
        .client_id = row_text(r, 1),
        .version = (int)row_int(r, 2, 3, 5),
        .username = row_opt_text(r, 3),
        .expiry_s = row_opt_int(r, 4, 0, UINT32_MAX, -1),
        .connected_ms = row_opt_int(r, 5, 0, ROW_MS_MAX, 0),
        .disconnected_ms = row_opt_int(r, 6, 0, ROW_MS_MAX, 0),
        .resend_to = row_opt_int(r, 7, 0, ROW_ID_MAX, 0),
    };

    if (s.client_id.len == 0)
        r->bad = true;
    return r->bad ? 0 : g->row(g->arg, &s);
}

enum persist_rc persist_each_session(struct persist *p, int (*row)(void *, const struct persist_session *), void *arg)
{
    struct sessions g = { row, arg };
    sqlite3_stmt *st = stmt_get(p, STMT_EACH_SESSION);

    return st != NULL ? stmt_each(p, st, give_session, &g) : p->tx_rc;
}

struct ended { int (*row)(void *, int64_t session_id); void *arg; };

static int give_ended(struct row *r, void *arg)
{
    const struct ended *g = arg;
    int64_t session_id = row_int(r, 0, 1, ROW_ID_MAX);

    row_int(r, 1, 0, 0);        /* one that is there has not ended */
    return r->bad ? 0 : g->row(g->arg, session_id);
}

enum persist_rc persist_each_ended(struct persist *p, int (*row)(void *, int64_t session_id), void *arg)
{
    struct ended g = { row, arg };
    sqlite3_stmt *st = stmt_get(p, STMT_EACH_ENDED);

    return st != NULL ? stmt_each(p, st, give_ended, &g) : p->tx_rc;
}

struct wills { int (*row)(void *, const struct persist_will *); void *arg; };

static int give_will(struct row *r, void *arg)
{
    const struct wills *g = arg;
    struct persist_will w = {
        .session_id = row_int(r, 0, 1, ROW_ID_MAX),
        .topic = row_text(r, 1),
        .qos = (int)row_int(r, 2, 0, 2),
        .retain = row_int(r, 3, 0, 1) != 0,
        .delay_s = row_int(r, 4, 0, UINT32_MAX),
        .publish_ms = row_opt_int(r, 5, 1, ROW_MS_MAX, 0),
        .expiry_s = row_opt_int(r, 6, 0, UINT32_MAX, -1),
        .props = row_opt_blob(r, 7),
        .payload = row_blob(r, 8),
    };

    row_int(r, 9, 1, 1);
    return r->bad ? 0 : g->row(g->arg, &w);
}

enum persist_rc persist_each_will(struct persist *p, int (*row)(void *, const struct persist_will *), void *arg)
{
    struct wills g = { row, arg };
    sqlite3_stmt *st = stmt_get(p, STMT_EACH_WILL);

    return st != NULL ? stmt_each(p, st, give_will, &g) : p->tx_rc;
}

struct subscriptions { int (*row)(void *, const struct persist_subscription *); void *arg; };

static int give_subscription(struct row *r, void *arg)
{
    const struct subscriptions *g = arg;
    struct persist_subscription s = {
        .session_id = row_int(r, 0, 1, ROW_ID_MAX),
        .filter = row_text(r, 1),
        .qos = (int)row_int(r, 2, 0, 2),
        .no_local = row_int(r, 3, 0, 1) != 0,
        .retain_as_published = row_int(r, 4, 0, 1) != 0,
        .retain_handling = (int)row_int(r, 5, 0, 2),
        .subid = row_opt_int(r, 6, 1, 268435455, 0),    /* a Variable Byte Integer */
    };

    row_int(r, 7, 1, 1);
    if (s.filter.len == 0)
        r->bad = true;
    return r->bad ? 0 : g->row(g->arg, &s);
}

enum persist_rc persist_each_subscription(struct persist *p, int (*row)(void *, const struct persist_subscription *),
                                          void *arg)
{
    struct subscriptions g = { row, arg };
    sqlite3_stmt *st = stmt_get(p, STMT_EACH_SUB);

    return st != NULL ? stmt_each(p, st, give_subscription, &g) : p->tx_rc;
}

struct filters { int (*row)(void *, struct blob filter); void *arg; };

static int give_filter(struct row *r, void *arg)
{
    const struct filters *g = arg;
    struct blob filter = row_text(r, 0);

    return r->bad ? 0 : g->row(g->arg, filter);
}

enum persist_rc persist_each_filter(struct persist *p, int64_t session_id, int (*row)(void *, struct blob filter),
                                    void *arg)
{
    struct filters g = { row, arg };
    sqlite3_stmt *st = stmt_get(p, STMT_FILTERS);

    if (st == NULL)
        return p->tx_rc;
    sqlite3_bind_int64(st, 1, session_id);
    return stmt_each(p, st, give_filter, &g);
}

struct inbound { int (*row)(void *, int64_t session_id, int packet_id); void *arg; };

static int give_inbound(struct row *r, void *arg)
{
    const struct inbound *g = arg;
    int64_t session_id = row_int(r, 0, 1, ROW_ID_MAX);
    int packet_id = (int)row_int(r, 1, 1, 65535);

    row_int(r, 2, 1, 1);
    return r->bad ? 0 : g->row(g->arg, session_id, packet_id);
}

enum persist_rc persist_each_inbound(struct persist *p, int (*row)(void *, int64_t session_id, int packet_id),
                                     void *arg)
{
    struct inbound g = { row, arg };
    sqlite3_stmt *st = stmt_get(p, STMT_EACH_INBOUND);

    return st != NULL ? stmt_each(p, st, give_inbound, &g) : p->tx_rc;
}

#define FAR  (INT64_C(1) << 61)
#define NEAR (INT64_C(1) << 32)

static int give_max(struct row *r, void *arg)
{
    int64_t *out = arg, v = sqlite3_column_int64(r->st, 0);

    if (v > *out)
        *out = v;
    return 0;
}

/* The largest number up to `limit`; 0: none. */
static enum persist_rc max_upto(struct persist *p, enum stmt id, int64_t limit, int64_t *max)
{
    sqlite3_stmt *st = stmt_get(p, id);

    *max = 0;
    if (st == NULL)
        return p->tx_rc;
    sqlite3_bind_int64(st, 1, limit);
    return stmt_each(p, st, give_max, max);
}

static int64_t beyond(int64_t number)
{
    return number < ROW_ID_MAX - NEAR ? number + NEAR : ROW_ID_MAX;
}

/* Where numbers go on. One that is far beyond what a broker comes to in all its life is somebody's joke, and would
 * leave no room: they go on behind the others, and what was counted on from those belongs to them however far it
 * goes. */
static enum persist_rc last_number(struct persist *p, enum stmt id, int64_t *max)
{
    enum persist_rc rc = max_upto(p, id, ROW_ID_MAX, max);
    int64_t last;

    if (rc != PERSIST_OK || *max <= FAR)
        return rc;
    rc = max_upto(p, id, FAR, max);
    do {
        last = *max;
        if (rc == PERSIST_OK)
            rc = max_upto(p, id, beyond(last), max);
    } while (rc == PERSIST_OK && *max > last);
    return rc;
}

enum persist_rc persist_maxima(struct persist *p, struct persist_maxima *m)
{
    const struct {
        enum stmt id;
        int64_t *out;
    } asks[] = {
        { STMT_MAX_SESSION,  &m->session_id },
        { STMT_MAX_QUEUE,    &m->position },
        { STMT_MAX_RETAINED, &m->retained_id },
    };
    enum persist_rc rc = PERSIST_OK;

    *m = (struct persist_maxima){ 0 };
    for (unsigned i = 0; rc == PERSIST_OK && i < sizeof asks / sizeof asks[0]; i++)
        rc = last_number(p, asks[i].id, asks[i].out);
    if (rc == PERSIST_OK)
        p->position_max = beyond(m->position) > FAR ? beyond(m->position) : FAR;
    return rc;
}
