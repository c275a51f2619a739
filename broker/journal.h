/* The journal: the only writer to the store.
 *
 * State changes are marked here and become SQL when their time comes. A commit has a number; what is staged for a
 * peer carries the number it waits for. Waiting costs nobody else anything.
 *
 *  J1  journal_next() is the number of the commit that will hold every change marked as due now.
 *  J2  Output that promises something leaves only when journal_durable() has reached its number.
 *  J3  A commit that fails changes nothing here: all marks stay, and it is tried again.
 *  J4  A message whose durable recipients are all online is written only if it is still unacknowledged half a gather
 *      window after it came.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_JOURNAL_H
#define CADDIS_BROKER_JOURNAL_H

#include "broker/list.h"
#include "broker/log.h"
#include "broker/loop.h"
#include "broker/timer.h"
#include "persist/persist.h"
#include "proto/reader.h"

struct broker;
struct session;
struct delivery;
struct msg;
struct retained;
struct sub;
struct will;

struct journal_op;

struct journal {
    struct persist *db;             /* NULL: persistence off */
    struct loop_source sync;        /* persist_sync_fd() */
    struct timer timer;
    struct link fresh;              /* deliveries to insert that may still be avoided, by arrival */
    struct link due;                /* deliveries to insert with the next commit */
    struct link changed;            /* stored deliveries whose state changed */
    struct link retained;           /* struct retained.mark */
    struct link sessions;           /* struct session.mark: rows to put */
    struct journal_op *ops;         /* subscriptions, inbound ids, wills, deletions, in order */
    size_t op_count, op_cap, op_bytes;
    uint64_t seq;                   /* commits made */
    uint64_t durable;               /* commits known durable */
    uint64_t syncing;               /* commit that the sync under way covers; 0: none under way */
    uint64_t attempt;
    uint64_t last_commit_ms, lazy_since_ms, gather_since_ms, retry_ms;
    bool want;                      /* somebody waits for the next commit */
    bool lazy;                      /* there are changes that nobody waits for */
    bool async;                     /* commits need a sync to be durable */
    unsigned failures;              /* in a row */
    uint64_t failed_since_ms;
    enum persist_rc last_rc;
    struct log_limit limit;
    int64_t next_id;                /* messages and positions */
    int64_t next_session_id, next_retained_id;
};

/* Takes over an open store (or NULL). */
int journal_init(struct broker *b, struct persist *db, bool async);
/* Writes everything, waits until it is durable and closes the store. false: something could not be written. */
bool journal_fini(struct broker *b);

static inline bool journal_on(const struct journal *j)
{
    return j->db != NULL;
}
/* The number of the next commit, 0 with persistence off; whoever asks for it in order to wait for it marks it wanted. */
uint64_t journal_next(struct broker *b);
static inline bool journal_is_durable(const struct journal *j, uint64_t seq)
{
    return seq <= j->durable;
}
static inline bool journal_failing(const struct journal *j)
{
    return j->failures > 0;
}

/* ---- marks. "lazily": with the next commit, at the latest after a few seconds ---- */

/* A new delivery of a durable session. at_once: its recipient is offline or QoS is 2. */
void journal_delivery_new(struct broker *b, struct delivery *d, bool at_once);
/* It must be written with the next commit after all. */
void journal_delivery_due(struct broker *b, struct delivery *d);
/* State, packet id changed. Lazily; whoever waits asks for journal_next(). */
void journal_delivery_changed(struct broker *b, struct delivery *d);
/* Done with; lazily. The delivery may be freed afterwards. */
void journal_delivery_gone(struct broker *b, struct delivery *d);
/* All deliveries of m must be written with the next commit. */
void journal_message_due(struct broker *b, struct msg *m);

void journal_session_put(struct broker *b, struct session *s);          /* lazily */
void journal_session_del(struct broker *b, struct session *s);
void journal_sub_put(struct broker *b, const struct session *s, struct view filter, const struct sub *sub);
void journal_sub_del(struct broker *b, const struct session *s, struct view filter);
void journal_inbound_put(struct broker *b, const struct session *s, uint16_t pid);
void journal_inbound_del(struct broker *b, const struct session *s, uint16_t pid);
void journal_inbound_clear(struct broker *b, const struct session *s);
void journal_will_put(struct broker *b, const struct session *s, const struct will *w);
void journal_will_del(struct broker *b, const struct session *s);
void journal_retained(struct broker *b, struct retained *r, bool wait);
void journal_retained_del(struct broker *b, int64_t id);
void journal_dropped(struct broker *b, struct view client_id, const char *reason, uint32_t count, struct view topic);

/* Once a turn: commits and syncs what is due, arms the timer for what will be. */
void journal_turn(struct broker *b);
/* Commits what is marked now (a session is coming back and its rows must be complete). false: it failed. */
bool journal_commit_now(struct broker *b);

#endif
