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
 *  J5  What is stored of a session's queue is its beginning: a message is written with all that were to be sent before
 *      it, or after a crash the publisher's repetition of those would come behind it. [MQTT-4.6.0-6]
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_JOURNAL_H
#define CADDIS_BROKER_JOURNAL_H

#include "broker/list.h"
#include "broker/log.h"
#include "broker/loop.h"
#include "broker/names.h"
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

enum journal_verb {
    OP_SESSION_DEL, OP_SESSION_END, OP_SUB_PUT, OP_SUB_DEL, OP_INBOUND_PUT, OP_INBOUND_DEL, OP_WILL_PUT, OP_WILL_DEL,
    OP_RETAINED_DEL,
};

/* A change that is no mark on a living object: what to write is all in here. */
struct journal_op {
    enum journal_verb verb;
    uint8_t qos, retain_handling;
    bool no_local, retain_as_published;
    int64_t id;                     /* session, or retained message */
    int64_t a, b, c;                /* packet id; subscription identifier; will: delay_s, due (monotonic), expiry_s;
                                     * session: does the queue need more slices? */
    size_t off, len;                /* filter: in journal.bytes */
    struct msg *msg;                /* will; a reference */
};

/* A row of a queue to be deleted. */
struct journal_gone {
    int64_t session_id, position, message_id;
    bool shared;
};

/* A session that has ended, and whose queue goes in slices. */
struct journal_ended {
    int64_t id;
    bool gone;                      /* nothing is left, if the commit succeeds */
    bool leaves;                    /* to other members of its groups, see estate.h */
    int64_t upto;                   /* rows up to here have been handed on */
    int64_t message_id;             /* of the last of these */
    unsigned nth;                   /* rows with this message before it */
    uint64_t until_ms;              /* it waits so long for somebody who has room */
};

/* The oldest message that waits for a session, to be dropped unread. */
struct journal_oldest {
    struct session *s;              /* NULL: it has ended since */
    uint64_t guess, bytes;          /* what was taken from queued_bytes; what it was, known once it is deleted */
};

/* Messages that were dropped, to be added to the store's counters: one for each client and reason. */
struct journal_dropped {
    char *client_id, *topic;        /* malloc'ed, in class JOURNAL; behind the id stand a NUL and the reason */
    const char *reason;             /* static */
    uint32_t client_len, topic_len, count;
};

/* An array that grows; elements are never removed singly. */
#define JOURNAL_ARRAY(type) struct { type *v; size_t n, cap; }

struct journal {
    struct persist *db;             /* NULL: persistence off */
    struct loop_source sync;        /* persist_sync_fd() */
    struct timer timer;
    struct link fresh;              /* deliveries to insert that may still be avoided, by arrival */
    struct link due;                /* deliveries to insert with the next commit */
    struct link changed;            /* stored deliveries whose state changed */
    struct link retained;           /* struct retained.mark */
    JOURNAL_ARRAY(struct journal_op) ops;           /* in order */
    JOURNAL_ARRAY(uint8_t) bytes;
    JOURNAL_ARRAY(struct journal_gone) gone;
    JOURNAL_ARRAY(struct session *) sessions;       /* rows to put, see session.mark; NULL: it has ended since */
    JOURNAL_ARRAY(struct journal_oldest) drop_oldest;
    JOURNAL_ARRAY(struct journal_dropped) dropped;
    struct names dropped_index;     /* id, NUL, reason: the number in dropped */
    JOURNAL_ARRAY(struct journal_ended) ended;
    unsigned ended_waits;           /* in a row, times that nobody had room for what these leave */
    uint32_t unstored;              /* deliveries in fresh and due */
    uint64_t seq;                   /* commits made */
    uint64_t durable;               /* commits known durable */
    uint64_t waited;                /* the last commit that anything promised waits for */
    uint64_t syncing;               /* commit that the sync under way covers; 0: none under way */
    uint64_t attempt;
    uint64_t last_commit_ms, lazy_by_ms, gather_by_ms, retry_ms;
    uint64_t looked_ms, wal_said_bytes;             /* see journal_upkeep.c */
    struct log_limit limit;
    bool upkeep;                    /* there was a commit since the last upkeep */
    bool want;                      /* somebody waits for the next commit */
    bool lazy;                      /* there are changes that must be written by lazy_by_ms */
    unsigned lazy_marks;            /* changes since the last commit that nobody waits for */
    bool async;                     /* commits need a sync to be durable */
    bool broken;                    /* a mark could not be kept, or the device lost data: the broker must end */
    uint64_t salvaged_rows, lost_rows;              /* at the start, from a damaged store */
    unsigned failures;              /* in a row */
    uint64_t failed_since_ms, said_ms;
    enum persist_rc last_rc;
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
/* Do the store's rows say what has become of them, though new ones may be missing? */
static inline bool journal_rows_current(const struct journal *j)
{
    return j->gone.n == 0 && j->drop_oldest.n == 0 && list_empty(&j->changed);
}
static inline bool journal_failing(const struct journal *j)
{
    return j->failures > 0;
}

/* ---- marks. "lazily": with the next commit, at the latest after a few seconds ---- */

/* A new delivery of a durable session. at_once: its recipient is offline, or the publisher is promised a commit. */
void journal_delivery_new(struct broker *b, struct delivery *d, bool at_once);
/* It must be written with the next commit after all. */
void journal_delivery_due(struct broker *b, struct delivery *d);
/* State, packet id changed. Lazily; whoever waits asks for journal_next(). */
void journal_delivery_changed(struct broker *b, struct delivery *d);
/* Done with; lazily. The delivery may be freed afterwards. */
void journal_delivery_gone(struct broker *b, struct delivery *d);
/* A session ends: nothing may point to it any more. */
void journal_forget_session(struct broker *b, struct session *s);
/* The store forgets the oldest message that waits for the session, and nobody has it in RAM. Its size is a guess, put
 * right in queued_bytes when it is known. */
void journal_drop_oldest(struct broker *b, struct session *s, uint64_t guess);
/* Is one of these still to be done? */
bool journal_drops_oldest(const struct journal *j, const struct session *s);
/* It is: this row, which was fetched, is that message, and the caller forgets it. false: no memory. */
bool journal_drop_fetched(struct broker *b, struct session *s, const struct persist_queue *q);

/* Lazily; soon false: it is written when there is a commit anyway, and causes none. */
void journal_session_put(struct broker *b, struct session *s, bool soon);
/* leaves: other members of its groups are to get what waits in the store. */
void journal_session_del(struct broker *b, struct session *s, bool leaves);
void journal_sub_put(struct broker *b, const struct session *s, struct view filter, const struct sub *sub);
void journal_sub_del(struct broker *b, const struct session *s, struct view filter);
void journal_inbound_put(struct broker *b, const struct session *s, uint16_t pid);
void journal_inbound_del(struct broker *b, const struct session *s, uint16_t pid);
void journal_will_put(struct broker *b, struct session *s, const struct will *w);
void journal_will_del(struct broker *b, struct session *s);
void journal_retained(struct broker *b, struct retained *r, bool wait);
void journal_retained_del(struct broker *b, int64_t id);
void journal_dropped(struct broker *b, struct view client_id, const char *reason, uint32_t count, struct view topic);

/* They are in the store, or nobody wants them any more. */
void journal_forget_dropped(struct journal *j);

/* Writes everything marked as due in one transaction (journal_turn() decides when). */
enum persist_rc journal_write(struct broker *b);
/* The loop waits for the store's sync_fd; to be called again when the store was opened anew. -1: errno. */
int journal_watch_sync(struct broker *b);
/* After a commit, when no sync is under way. */
void journal_upkeep(struct broker *b);
/* What writing means for a card, at the rate since the start. Cards rewrite more than they are given, small writes most
 * of all; ten times is a cautious guess. */
enum { WEAR_CARD_CYCLES = 3000, WEAR_CARD_REWRITES = 10 };
struct wear {
    double bytes_a_day;
    double card_days;               /* a card of 8 GB would last; 0: nothing was written */
    bool early;                     /* what happens at the start says little about a day */
};
struct wear journal_wear(const struct broker *b, uint64_t bytes_written);
/* A session has ended, perhaps in an earlier run, and its queue is still to be handed on or deleted. */
void journal_resume_ended(struct broker *b, int64_t session_id, bool leaves);

/* Once a turn: commits and syncs what is due. */
void journal_turn(struct broker *b);
/* At the end of the turn: what is marked by then, connections that went included, wakes the broker when it is due. */
void journal_arm(struct broker *b);
/* Commits what is marked now (a session is coming back and its rows must be complete). false: it failed. */
bool journal_commit_now(struct broker *b);

#endif
