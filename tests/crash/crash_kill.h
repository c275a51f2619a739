/* The crash test in parts: the broker as a process that is killed, clients that live through it, and a model that knows
 * what the broker owes them.
 *
 * A stream is a topic that one publisher fills with numbered messages at one QoS. Every message carries its stream and
 * number, so whoever receives it can be asked whether that was due. Two kinds:
 *   load/P/Q   what the subscribers subscribe to
 *   kept/P/N   retained, some of them removing what is there; only the inspector looks at them, after each restart
 * Time in the model is the count of events (model_tick()): what matters is what came before what.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_CRASH_KILL_H
#define CADDIS_CRASH_KILL_H

#include "tests/crash/dice.h"
#include "tests/crash/link.h"
#include "tests/crash/server.h"

enum {
    PUBLISHERS = 4,
    LOAD_STREAMS = 3,       /* per publisher: QoS 0, 1, 2 */
    KEPT_STREAMS = 3,
    STREAMS = PUBLISHERS * (LOAD_STREAMS + KEPT_STREAMS),
    SUBSCRIBERS = 9,
};

/* ---- crash_kill.c ---- */

extern unsigned round_now;              /* 0: setting up */

/* ---- crash_kill_model.c ---- */

enum want { WANT_NOT, WANT_MAY, WANT_MUST };

struct message {
    uint64_t first_sent, last_sent, acked;  /* model time; acked 0: not yet */
    unsigned sent_round, acked_round;
    bool removes;                           /* of a kept stream: empty, so nothing is retained any more */
    uint8_t want[SUBSCRIBERS];              /* enum want */
    uint8_t got[SUBSCRIBERS];               /* times */
};

struct stream {
    char topic[24];
    unsigned publisher;
    uint8_t qos;
    bool kept;
    struct message *m;
    uint32_t count, cap;
    uint32_t newest_acked;                  /* number + 1; 0: none */
    uint32_t next_new[SUBSCRIBERS];         /* a message seen for the first time has at least this number */
    uint32_t next_dup[SUBSCRIBERS];         /* the same for what is resent within one connection */
};

struct totals {
    unsigned long sent, resent, acked, delivered, duplicates, connects, kills, stops, failures;
};

extern struct stream streams[STREAMS];
extern struct totals totals;

void model_init(void);
void model_free(void);
uint64_t model_time(void);

/* A message is made and about to be sent: its number. want: per subscriber. */
uint32_t model_send(unsigned stream, const uint8_t want[SUBSCRIBERS]);
void model_resend(unsigned stream, uint32_t number);
void model_acked(unsigned stream, uint32_t number);
/* The payload of a message; it says what it is, the rest is a pattern. Returns its length. */
size_t model_payload(unsigned stream, uint32_t number, char *buf, size_t cap);
/* Which message is this? false: it is none of ours, or damaged (reported). */
bool model_identify(const struct link *l, const struct publish *p, unsigned *stream, uint32_t *number);

/* A subscriber got a message (at QoS 2: with a packet id it did not hold already). */
void model_got(unsigned subscriber, const struct link *l, unsigned granted, unsigned stream, uint32_t number, bool dup);
void model_connected(unsigned subscriber);
/* The filter matches what a stream's subscribers get? */
bool model_matches(const char *filter, unsigned stream);
/* SUBSCRIBE was sent: what is under way may come. UNSUBSCRIBE was sent: what has not come need not. */
void model_joining(unsigned subscriber, const char *filter);
void model_leaving(unsigned subscriber, const char *filter);
/* Messages that are owed and have not come. */
unsigned long model_missing(void);
void model_report_missing(void);
/* What the inspector saw retained: number + 1, 0: nothing. */
void model_check_retained(unsigned stream, uint32_t seen);
/* Can nothing be retained there? false: something must. */
bool model_may_be_empty(unsigned stream);

/* ---- crash_kill_pub.c, crash_kill_sub.c, crash_kill_look.c ---- */

void publishers_init(void);
void publishers_act(uint16_t port, bool load);
struct link *publisher_link(unsigned i);
bool publishers_done(void);             /* everybody online, everything acknowledged */
void publishers_new_round(void);

void subscribers_init(void);
void subscribers_act(uint16_t port, bool load);
struct link *subscriber_link(unsigned i);
bool subscribers_ready(void);           /* everybody online and subscribed */
/* What does each subscriber expect of a message published now? */
void subscribers_want(unsigned stream, uint8_t want[SUBSCRIBERS]);
void subscribers_free(void);

struct link *inspector_link(void);
void inspector_init(void);
void inspector_act(uint16_t port);
/* Forgets what it saw, and may come again. */
void inspector_reset(void);
/* true: has seen what is due. */
bool inspector_done(void);
/* Compares, and leaves. */
void inspector_judge(void);

#endif
