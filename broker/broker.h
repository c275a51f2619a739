/* The broker: everything that is not global, because nothing is. Two of them fit into one process.
 *
 * The turn:  wait -> handle events -> timers -> pump sessions -> journal -> flush -> reap -> arm the journal's timer
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_BROKER_H
#define CADDIS_BROKER_BROKER_H

#include "broker/calendar.h"
#include "broker/config.h"
#include "broker/conn.h"
#include "broker/journal.h"
#include "broker/metrics.h"
#include "broker/retain.h"
#include "broker/session.h"
#include "broker/sub.h"
#include "broker/timer.h"

/* Bytes read for all connections, one after the other: packets are decoded where they lie. Mapped, so that what was never
 * filled costs no memory. */
#define READ_BUFFER 131072

struct listener;
struct auth;
struct control;
struct encoded;
struct sys;

struct broker {
    struct config *cfg;
    struct loop loop;
    struct wheel wheel;
    struct loop_source signals;
    struct hash_key key;
    uint64_t now_ms;                /* monotonic, read once a turn */
    int64_t wall_ms;
    uint64_t started_ms;
    struct listener *listeners;     /* array */
    unsigned listener_count;
    struct link logins;             /* struct login.queue */
    struct link turn;               /* struct conn.turn: something is due */
    uint8_t due;                    /* enum due: for any of them, perhaps */
    struct link holding;            /* struct holds.all */
    struct sessions sessions;
    struct subs subs;
    struct retain retain;
    struct matches matches;
    struct journal journal;
    struct calendar calendar;
    struct auth *auth;
    struct control *control;
    struct metrics metrics;
    struct sys *sys;
    uint32_t conn_count;
    uint32_t conn_peak, session_peak;
    bool stopping, reload;
    bool drop_privileges;
    int exit_code;
    uint64_t stop_deadline_ms;
    struct log_limit limit_drop, limit_peer, limit_deny, limit_shed, limit_rate;
    uint64_t rate_us;               /* max_connection_rate: when its allowance of a second will be full again */
    struct encoded *encoded;
    struct timer trim;              /* gives free memory back to the system after many have left */
    struct timer watchdog;          /* signs of life for the service manager */
    uint64_t watchdog_ms;           /* this often; 0: not asked for */
    unsigned left;                  /* connections and sessions that ended since */
    uint64_t large_freed;           /* mem_large_freed at that time */
    uint8_t *read_buffer;           /* READ_BUFFER bytes */
};

/* Unsent bytes a connection may have before the next ones wait or, QoS 0, are dropped. */
static inline uint64_t broker_write_limit(const struct broker *b)
{
    return b->cfg->write_buffer_bytes > 0 ? b->cfg->write_buffer_bytes : UINT64_MAX;
}

/* Opens sockets, drops privileges, opens the store and restores what is in it. cfg is taken over in any case.
 * NULL: *why is a malloc'ed text that names the remedy. */
struct broker *broker_new(struct config *cfg, char **why);
/* Runs until SIGTERM or SIGINT; the exit code. */
int broker_run(struct broker *b);
/* What follows the wait: everything that is due at now_ms. broker_run() does it; tests do it with clients and clocks of
 * their own. */
void broker_turn(struct broker *b);
/* Closes everything; the store is left clean. */
void broker_free(struct broker *b);
/* Ends broker_run() after this turn. */
void broker_stop(struct broker *b, int exit_code);
/* A connection or session has been freed. */
void broker_left(struct broker *b);
/* The store can be written again: reads from those who had to wait. */
void broker_unpause(struct broker *b);
/* What an operator has to put right: for the log, and for whoever asked for the reload under way. */
void broker_error(struct broker *b, const char *line);
/* Asserts what must hold between two turns. For tests and debug builds. */
void broker_check(struct broker *b);
/* The same for the store: are its rows what is in RAM? Reads all of it. ours: nobody else has ever written to it. false:
 * changes are pending, or it can't be read; nothing was found out. */
bool broker_check_store(struct broker *b, bool ours);

/* Restores sessions, subscriptions, queues, retained messages from the open store. false: *why; *damaged: a closer look
 * at the file may find what can still be read. */
bool recover(struct broker *b, bool *damaged, char **why);

#endif
