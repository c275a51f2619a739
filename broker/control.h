/* The control socket: how the tools talk to a running broker.
 *
 * A Unix stream socket. A request is a line of words (control_request.h), its answer any number of lines and then
 * `ok` or `error: what is wrong`. Several requests may follow each other on a connection, and are answered in order.
 *
 *     status              what the broker is doing, for people
 *     status json         the same for programs
 *     kick ID             disconnects a client; its session stays
 *     drop-session ID     disconnects it and ends its session; ok: the store has forgotten it
 *     retained-rm FILTER  clears the retained messages that match; ok: in the store too
 *     commit              writes what has changed; ok: it is durable. Answers `store: PATH`
 *     reload              reads the configuration again; ok: it was taken
 *     log-level LEVEL     until the next reload
 *
 * Root, the account that the broker runs as and the members of its group may connect. A client that does not read
 * holds up nobody but itself, and one that does nothing is sent away.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_CONTROL_H
#define CADDIS_BROKER_CONTROL_H

/* Where the socket is by default; and where a broker that systemd has started without the right to that directory puts
 * it instead (RuntimeDirectory=caddis in the unit). The tools look in both places. */
#define CONTROL_DEFAULT RUNSTATEDIR "/caddis.sock"
#define CONTROL_SERVICE RUNSTATEDIR "/caddis/caddis.sock"

#include "broker/broker.h"

#include <pwd.h>

/* false: control_none.c has taken the place of all this. */
extern const bool control_built;

/* Binds the socket that the configuration names. Failing is no reason not to start: the log has a warning. account:
 * who the process is going to be, and gets the socket; NULL: who it is. */
void control_open(struct broker *b, const struct passwd *account);
void control_close(struct broker *b);

/* Once a turn, after a reload and before the journal: carries requests out and writes answers. */
void control_turn(struct broker *b);
/* An answer can be given without waiting for an event. */
bool control_due(const struct broker *b);
/* A line about the reload under way, and its end, for those who asked for it. */
void control_reload_says(struct broker *b, const char *line);
void control_reloaded(struct broker *b, bool taken);

/* ---- for control_verb.c and control_status.c ---- */

/* Text that grows. After a failed allocation, or at the limit, `bad` stays set and nothing is added. */
struct control_text {
    char *p;
    size_t len, cap;
    bool bad;
};

void text_add(struct control_text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

enum control_wait { WAIT_NOTHING, WAIT_COMMIT, WAIT_RELOAD };

struct control_client {
    struct loop_source source;
    struct link link;           /* control.clients */
    struct timer timer;         /* the time that one request may take, from its first byte to the last of its answer */
    char *in;                   /* the beginning of a request, or more of them */
    size_t in_len, in_cap;
    struct control_text out;
    size_t out_at;              /* written so far */
    uint64_t seq;               /* WAIT_COMMIT: the answer leaves when this commit is durable */
    enum control_wait wait;
    bool failed;                /* the answer is an error */
    bool eof;                   /* nothing more will come */
    bool gone;                  /* to be freed by control_turn() */
    unsigned uid;
    int pid;
};

/* Carries out one request: leaves its answer in c->out, and in c->wait and c->seq what it has to wait for. The last
 * line is added by the caller unless it was an error. */
void control_request(struct broker *b, struct control_client *c, char *line, size_t len);
/* "error: ..." as the whole answer. */
void control_error(struct control_client *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* What the broker is doing. */
void control_status(struct broker *b, struct control_text *out, bool json);

#endif
