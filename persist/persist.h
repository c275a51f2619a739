/* The store: records in, SQLite rows out. libc and sqlite3 only; no sockets, no log, no MQTT
 * rules. Topics are text (valid UTF-8), payloads and properties are opaque bytes.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What it promises:
 *  P1  After persist_commit() returns PERSIST_OK everything changed since persist_begin() is in the file and survives
 *      the death of the process. It survives a power cut once persist_sync_*() has said so (or at once when the store
 *      was opened with sync_commit).
 *  P2  A failed change or commit rolls the whole transaction back; the store is as before persist_begin(), and the
 *      caller may try the same changes again.
 *  P3  Nothing stored is ever overwritten or deleted because it can't be understood: a store that is damaged, foreign
 *      or newer is refused (or, on request, moved aside with a date and its readable rows salvaged).
 *
 * One thread, one connection. Functions that change something are called between persist_begin() and
 * persist_commit(); after a failure the rest of them up to the commit do nothing and say the same again. Callbacks
 * must not begin, commit or change. Times are wall-clock milliseconds since 1970 UTC; 0 or negative where noted means
 * "none". */
#ifndef CADDIS_PERSIST_H
#define CADDIS_PERSIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct persist;

enum persist_rc {
    PERSIST_OK,
    PERSIST_BUSY,    /* somebody else holds the write lock, or there is no memory: try again later */
    PERSIST_FULL,    /* disk full, max_bytes reached, or a log that a reader has kept from being emptied for too long */
    PERSIST_IO,      /* the device failed */
    PERSIST_BROKEN,  /* damaged rows or file; persist_error() says where */
};

/* Borrowed bytes (same shape as proto's view, which persist must not know). */
struct blob {
    const void *p;
    size_t len;
};

/* ---- opening ---- */

enum persist_open_rc {
    PERSIST_OPENED,
    PERSIST_CREATED,   /* there was none */
    PERSIST_SALVAGED,  /* opened a new one, the damaged one was moved to persist_open_info.moved_to */
    PERSIST_REFUSED,   /* *why says what and what would help; nothing was changed */
};

struct persist_options {
    const char *path;          /* file; its directory must exist and be writable */
    bool sync_commit;          /* a commit is durable when it returns; false: see persist_sync_* */
    bool salvage;              /* damaged store: move it aside, salvage rows. false: refuse */
    bool check;                /* look for damage whatever the size; always done below 8 MiB */
    bool read_only;            /* tools: no lock, no change, live or not */
    uint64_t cache_bytes;      /* SQLite's page cache; 0: 128 KiB */
    uint64_t max_bytes;        /* size limit of the file; 0: none */
    /* Called while a long step runs (migration, salvage), perhaps many times a second. total 0: not known. The unit
     * of both depends on `what`. NULL: silence. */
    void (*progress)(void *arg, const char *what, uint64_t done, uint64_t total);
    void *progress_arg;
};

struct persist_open_info {
    char moved_to[512];        /* where a damaged store went, or "" */
    uint64_t salvaged_rows, lost_rows; /* lost: rows known to exist that could not be read or broke the rules */
    bool unclean;              /* the last user did not call persist_close() */
    int migrated_from;         /* schema version it had, 0: none needed */
    char backup[512];          /* copy made before the migration, or "" */
    char stale_log[512];       /* where a log went that belonged to a file that is no longer there, or "" */
};

/* On PERSIST_REFUSED *out is NULL and *why a malloc'ed text: what is wrong, with the path, and the remedy (NULL: no
 * memory). A full disk is no reason to refuse. Damage that only shows while reading (PERSIST_BROKEN): close, and
 * open again with check and salvage. Takes an exclusive flock on "<path>.lock" (not on the database file: closing
 * that would drop SQLite's locks). */
enum persist_open_rc persist_open(const struct persist_options *o, struct persist **out,
                                  struct persist_open_info *info, char **why);
/* Clean end: commits nothing by itself, marks the run as ended cleanly, checkpoints, closes. NULL is fine; clears
 * *p. */
void persist_close(struct persist **p);
/* Text of the last failure. Never NULL; valid until the next call. */
const char *persist_error(const struct persist *p);

/* ---- transactions ---- */

enum persist_rc persist_begin(struct persist *p);     /* BEGIN IMMEDIATE, no waiting */
enum persist_rc persist_commit(struct persist *p);
void persist_rollback(struct persist *p);             /* harmless outside a transaction */
/* Between transactions: what takes things away, and what delivers them, may use some pages beyond max_size. Without them
 * a full store could not note that a message was sent, and never get rid of it. */
void persist_reserve(struct persist *p, bool use);
/* Has a store with max_size no page left? */
bool persist_full(struct persist *p);

/* Durability of commits when sync_commit is false. persist_sync_start() asks the kernel to make everything
 * committed so far durable without waiting; at most one is under way. persist_sync_fd() is an eventfd that becomes
 * readable when it is done (register it once); persist_sync_finish() then collects the result: PERSIST_OK durable,
 * PERSIST_IO: the device lost data, stop. If asynchronous sync is not to be had (old kernel, seccomp),
 * persist_sync_fd() is -1 and persist_sync_start() does it synchronously before it returns, its result being final. */
int persist_sync_fd(const struct persist *p);
enum persist_rc persist_sync_start(struct persist *p);
enum persist_rc persist_sync_finish(struct persist *p);   /* call when the fd is readable */
/* For tools and the end of the program: waits until everything committed is durable. */
enum persist_rc persist_sync_wait(struct persist *p);

/* Moves WAL content into the database when there is enough of it (or force). Own call, never automatic inside a
 * commit. */
enum persist_rc persist_checkpoint(struct persist *p, bool force);
/* Gives back the memory that only makes the next calls quicker: pages of the file. NULL is fine. */
void persist_shed(struct persist *p);

/* ---- records ---- */

struct persist_session {
    int64_t id;                 /* chosen by the caller, > 0, never reused while rows refer to it */
    struct blob client_id;      /* text */
    int version;                /* 3, 4, 5 */
    struct blob username;       /* text; p NULL: none */
    int64_t expiry_s;           /* Session Expiry Interval; -1: never */
    int64_t disconnected_ms;    /* 0: connected when last written */
    int64_t connected_ms;       /* when it last connected */
    int64_t resend_to;          /* queue rows up to this position may have been sent, whatever their state; 0: none */
};

struct persist_will {
    int64_t session_id;
    struct blob topic, payload, props;
    int qos;
    bool retain;
    int64_t delay_s;            /* Will Delay Interval */
    int64_t publish_ms;         /* when it is due; 0: client connected, will only armed */
    int64_t expiry_s;           /* Message Expiry Interval of the will; -1: none */
};

struct persist_subscription {
    int64_t session_id;
    struct blob filter;         /* text, as subscribed, $share/... included */
    int qos;
    bool no_local, retain_as_published;
    int retain_handling;
    int64_t subid;              /* Subscription Identifier; 0: none */
};

struct persist_message {
    int64_t id;
    struct blob topic, payload, props;
    int qos;
    bool retain;
    struct blob publisher;      /* client id; p NULL: the broker itself */
    struct blob publisher_user; /* user name; p NULL: none */
    int64_t received_ms;
    int64_t expires_ms;         /* 0: never */
};

enum persist_state { PERSIST_QUEUED = 0, PERSIST_SENT = 1, PERSIST_RELEASED = 2 };

struct persist_queue {
    int64_t session_id;
    int64_t position;           /* unique within the session, grows in order of delivery */
    int64_t message_id;         /* at most the position: numbers are given in one order */
    int qos;
    bool retain;
    enum persist_state state;
    int packet_id;              /* 0: none yet */
    struct blob subids;         /* encoded Subscription Identifiers, or empty */
    bool shared;                /* other queue rows may refer to the same message */
    uint64_t bytes;             /* of its message: topic + payload + props, so that counting need not look at it */
};

struct persist_retained {
    int64_t id;                 /* chosen by the caller */
    struct persist_message m;   /* m.id is not used; m.topic is the key */
};

/* Insert or update by id. */
enum persist_rc persist_session_put(struct persist *p, const struct persist_session *s);
/* The session, its will and its inbound ids, so that its client id is free. The store remembers that it has ended, and
 * its subscriptions and its queue stay for the caller to hand on, until persist_session_del(). */
enum persist_rc persist_session_end(struct persist *p, int64_t id);
/* Of an ended session's queue at most `budget` rows, the first ones, none behind position upto. */
enum persist_rc persist_queue_upto(struct persist *p, int64_t session_id, int64_t upto, unsigned budget);
/* The session with its subscriptions, will and inbound ids at once, so that its client id is free; of its queue
 * (and the messages nobody else needs) at most `budget` rows. *more: rows may be left; the store remembers that the
 * session has ended, and calls with the same id, in this transaction or later ones, go on. See
 * persist_each_ended(). A session_put() of a client id under another id does this to the session that had it. */
enum persist_rc persist_session_del(struct persist *p, int64_t id, unsigned budget, bool *more);

enum persist_rc persist_will_put(struct persist *p, const struct persist_will *w);
enum persist_rc persist_will_del(struct persist *p, int64_t session_id);

enum persist_rc persist_sub_put(struct persist *p, const struct persist_subscription *s);
enum persist_rc persist_sub_del(struct persist *p, int64_t session_id, struct blob filter);

/* One that is there already stays as it is. */
enum persist_rc persist_message_put(struct persist *p, const struct persist_message *m);
/* Of one that is there already state and packet id are updated. */
enum persist_rc persist_queue_put(struct persist *p, const struct persist_queue *q);
enum persist_rc persist_queue_state(struct persist *p, int64_t session_id, int64_t position,
                                    enum persist_state state, int packet_id);
/* Deletes the queue row, and the message when nobody else needs it. A row that is not there is fine. */
enum persist_rc persist_queue_del(struct persist *p, int64_t session_id, int64_t position, int64_t message_id,
                                  bool shared);
/* Deletes the oldest row in state QUEUED (policy drop-oldest). *bytes: what its row says; *found false: none. */
enum persist_rc persist_queue_drop_oldest(struct persist *p, int64_t session_id, bool *found, int64_t *position,
                                          uint64_t *bytes);

enum persist_rc persist_inbound_put(struct persist *p, int64_t session_id, int packet_id);
enum persist_rc persist_inbound_del(struct persist *p, int64_t session_id, int packet_id);
enum persist_rc persist_inbound_clear(struct persist *p, int64_t session_id);

/* Insert or update by id; the topic under another id is replaced. */
enum persist_rc persist_retained_put(struct persist *p, const struct persist_retained *r);
enum persist_rc persist_retained_del(struct persist *p, int64_t id);

/* Counters of dropped messages, added to what is there; the thousand used last are kept. client_id.p NULL: no
 * client. */
enum persist_rc persist_dropped_add(struct persist *p, struct blob client_id, const char *reason, uint64_t count,
                                    struct blob last_topic, int64_t at_ms);

/* ---- reading ---- */

/* Callbacks return 0 to go on, anything else to stop (then the function returns PERSIST_OK too). Blobs live for the
 * call. Rows that break the rules (unknown ids, wrong types, packet id > 65535, bad state, times beyond reason,
 * text that is not UTF-8) are skipped, left alone, and counted in persist_stats.bad_rows. What belongs to a session
 * that was skipped is given nevertheless: its id is unknown to the caller then. What belongs to one that has ended is
 * neither given nor counted, but where a function asks for one session. */
enum persist_rc persist_each_session(struct persist *p, int (*row)(void *, const struct persist_session *), void *arg);
/* Sessions that have ended and whose queue is not yet gone: go on with persist_session_del() when there is time. */
enum persist_rc persist_each_ended(struct persist *p, int (*row)(void *, int64_t session_id), void *arg);
enum persist_rc persist_each_will(struct persist *p, int (*row)(void *, const struct persist_will *), void *arg);
enum persist_rc persist_each_subscription(struct persist *p, int (*row)(void *, const struct persist_subscription *),
                                          void *arg);
/* The filters of one session, an ended one included. */
enum persist_rc persist_each_filter(struct persist *p, int64_t session_id, int (*row)(void *, struct blob filter),
                                    void *arg);
enum persist_rc persist_each_inbound(struct persist *p, int (*row)(void *, int64_t session_id, int packet_id),
                                     void *arg);
/* Everything but the payload when payload_over is exceeded: then m.payload.p is NULL and m.payload.len its length. */
enum persist_rc persist_each_retained(struct persist *p, uint64_t payload_over,
                                      int (*row)(void *, const struct persist_retained *), void *arg);
/* With its payload, however long. No row is no error. */
enum persist_rc persist_retained_get(struct persist *p, int64_t id, int (*row)(void *, const struct persist_retained *),
                                     void *arg);

struct persist_queue_summary {
    int64_t session_id;
    uint64_t count;             /* rows that can be paged in (less those whose message is missing or damaged) */
    uint64_t inflight;          /* of these, state SENT or RELEASED */
    uint64_t bytes;             /* of the others, as their rows say */
    int64_t first, last;        /* positions */
};
/* Of sessions that exist and have rows. One pass over the rows, none over the messages. */
enum persist_rc persist_each_queue_summary(struct persist *p, int (*row)(void *, const struct persist_queue_summary *),
                                           void *arg);

/* One page of a session's queue: rows with position > after, in order, at most max_rows and about max_bytes. A row
 * without its message is skipped and counted; what is skipped does not count for max_rows, so an empty page is the
 * end of the queue. */
enum persist_rc persist_queue_page(struct persist *p, int64_t session_id, int64_t after, unsigned max_rows,
                                   size_t max_bytes,
                                   int (*row)(void *, const struct persist_queue *, const struct persist_message *),
                                   void *arg);

/* Largest session id (ended ones too), position or id of a message (they are numbered together), retained id in use;
 * 0 where none. One that is far beyond what a broker comes to in its life does not count, and a queue row with such a
 * position breaks the rules from this call on: others will come to stand behind it that came before. */
struct persist_maxima {
    int64_t session_id, position, retained_id;
};
enum persist_rc persist_maxima(struct persist *p, struct persist_maxima *m);

struct persist_stats {
    uint64_t bytes_written;     /* by this process: store and WAL, checkpoints included, the file system's own not */
    uint64_t commits, syncs, checkpoints;
    uint64_t file_bytes, wal_bytes; /* sizes now */
    uint64_t bad_rows;          /* skipped while reading */
    uint64_t memory_bytes;      /* held by SQLite */
};
void persist_stats(struct persist *p, struct persist_stats *out);
/* The last of these alone, without a system call. */
uint64_t persist_memory_bytes(void);

/* ---- the clock ---- */

/* What the last run said of the clock that it had, and what is recorded. */
struct persist_clock {
    bool same_boot;             /* the machine has not booted since */
    int64_t zero_ms;            /* when it booted, by that clock */
    int64_t since_ms;           /* what was recorded from then on was recorded by that clock; 0: the last run said
                                 * nothing of all this */
    int64_t before_ms;          /* newest time recorded before since_ms; 0: none */
    int64_t newest_ms;          /* newest time recorded; 0: none. Not read when same_boot */
};
enum persist_rc persist_clock(struct persist *p, struct persist_clock *out);
/* Inside a transaction: the clock was wrong by so much for all that was recorded at since_ms or later, and for what is
 * to happen a time after that. Reads all messages. */
enum persist_rc persist_clock_move(struct persist *p, int64_t since_ms, int64_t by_ms);

/* ---- housekeeping ---- */

/* One row per start: how the previous run ended, what was restored. The last hundred are kept. */
struct persist_run {
    const char *version;        /* caddis version */
    int64_t started_ms;
    int64_t zero_ms, since_ms, before_ms;   /* see persist_clock; since_ms 0: nothing is known of the clock */
    uint64_t sessions, subscriptions, queued, retained, expired;
    int64_t took_ms;
};
enum persist_rc persist_run_start(struct persist *p, const struct persist_run *r);   /* inside a transaction */
/* How the run before this one ended: "clean"; "killed" (the process died, the machine did not); "power" (power cut or
 * reboot); "first" (there was none). */
const char *persist_previous_end(const struct persist *p);

/* Has the file, its -wal or its -shm been deleted or replaced under us? (cheap: a few stat) */
bool persist_moved(struct persist *p);
/* Writes everything this connection knows into a new file at the path and reopens it (after persist_moved()). What
 * somebody else has put at the path is moved to PATH.replaced-DATE. */
enum persist_rc persist_rescue(struct persist *p, char **why);
/* PERSIST_BUSY, or a WAL that only grows? Another process that holds the write lock or a read transaction: its pid
 * and name. false: none found. */
bool persist_blocker(struct persist *p, int *pid, char name[64]);
/* Consistent copy while running (VACUUM INTO), durable when this returns. `to` must not exist. Not in a
 * transaction. */
enum persist_rc persist_backup(struct persist *p, const char *to, char **why);
/* Looks at the next `budget` messages and deletes those that no queue row refers to; starts over after the last.
 * There are none unless somebody else wrote to the store. In a transaction; reads all queue rows. */
enum persist_rc persist_sweep(struct persist *p, unsigned budget, unsigned *swept);

#endif
