/* The soak in parts: a broker that lives through everything a year brings, in an hour, and a model that knows what it
 * owes to whom. README has the whole; tests/crash/ has the connections and the broker's process.
 *
 * A stream is a topic that one client fills with numbered messages of one kind. Every message says in its payload which
 * it is, so whoever receives it can be asked whether that was due. Time in the model is the count of events.
 * A party is who can be owed a message: a reader, or a shared group as a whole.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_TESTS_SOAK_H
#define CADDIS_TESTS_SOAK_H

#include "tests/crash/dice.h"
#include "tests/crash/link.h"
#include "tests/crash/server.h"

enum {
    WRITERS = 8,
    READERS = 22,
    GROUPS = 2,
    PARTIES = READERS + GROUPS,
    WILLERS = 6,
    KINDS = 11,
    STREAMS = WRITERS * KINDS + WILLERS,
    QUEUE_LIMIT = 1000,         /* max_queued_messages of the broker */
    WINDOW_MAX = 30,            /* of a writer, and never more than the broker allows: all of it is sent again at once */
    QUEUE_HOLD = 600,           /* writers wait while somebody who should not lose anything is owed so many */
};

/* ---- soak_note.c: what happened, and the end when it should not have ---- */

extern uint64_t seed;
extern struct server server;

/* Remembers a line about somebody. */
__attribute__((format(printf, 2, 3)))
void note(const char *who, const char *fmt, ...);
/* What fails next is about this message. */
void note_subject(unsigned stream, uint32_t number);
/* model_fail() with the names of those it concerns; does not return. */
__attribute__((format(printf, 3, 4))) _Noreturn
void fail_about(const char *who, const char *whose, const char *fmt, ...);

/* ---- soak_model.c ---- */

struct kind {
    const char *name;           /* of the topic: NAME/writer/QoS */
    uint8_t qos;
    bool kept;                  /* retained, some of them removing what is there */
    bool fades;                 /* has a message expiry */
    uint8_t weight;             /* how often, against the others */
    uint32_t size;              /* of the payload, at most */
};

struct due {
    bool must;                  /* whoever it is has to get it */
    bool at_qos1;               /* came at QoS 1 */
    bool loosely;               /* came at QoS 0 or 1, or to a session that has ended: again if its writer sends again */
    bool fragile;               /* unless the connection ends: the delivery is at QoS 0 */
    uint8_t got, got_kept;      /* times: as a message; because it was retained */
};

struct message {
    uint64_t first_sent, last_sent, acked;  /* model time; acked 0: not yet */
    uint64_t first_ms, last_ms;             /* when it was sent */
    uint32_t expiry_s;                      /* 0: none */
    uint32_t len;
    bool removes;                           /* empty, so nothing is retained any more */
    bool forbidden;                         /* a will that must not come */
    bool again;                             /* may come again, for reasons of its own */
    struct due due[PARTIES];
};

struct stream {
    char topic[24];
    const struct kind *kind;
    const char *writer;                     /* client id */
    struct message *m;                      /* numbers base .. end - 1 */
    uint32_t base, end, cap;
    uint32_t newest_acked;                  /* number + 1; 0: none */
    uint32_t next_new[PARTIES][3];          /* per QoS: a message seen for the first time has at least this number */
    uint32_t next_dup[PARTIES][3];          /* the same within one connection: of what is resent; */
    uint32_t next_here[PARTIES][3];         /* of what is not there because it was retained */
};

struct totals {
    unsigned long sent, resent, acked, delivered, again, connects, cuts, takeovers, kills, stops, reloads, tools,
        subscribes, wills, calms, dropped;
};

extern struct stream streams[STREAMS];
extern struct totals totals;

void model_init(void);
void model_free(void);
uint64_t model_time(void);
struct message *model_message(unsigned stream, uint32_t number);
uint32_t model_send(unsigned stream);
void model_resend(unsigned stream, uint32_t number);
void model_acked(unsigned stream, uint32_t number);
/* Notes who has to get it, as the subscriptions are now. */
void model_owe(unsigned stream, uint32_t number);
/* Its payload, made in buf. */
void model_payload(unsigned stream, uint32_t number, uint8_t *buf);
/* Which message of which stream is this? false: reported. topic: aliases resolved. */
void model_identify(const char *who, unsigned reader, enum version v, struct view topic, const struct publish *p,
                    unsigned *stream, uint32_t *number);
/* Nothing of what a party is owed need come any more: all of it, what is at QoS 0, at QoS 2, or what one filter
 * brings. */
void model_void(unsigned party);
void model_void_qos2(unsigned party);
void model_void_fragile(unsigned party);
void model_void_filter(unsigned party, unsigned filter);
/* Messages that it has to get and has not, acknowledged or not. */
unsigned model_owed(unsigned party);
/* What is missing for good, and all that came, copies included, since it was last settled. */
void model_count(unsigned party, unsigned *lost, unsigned *got);
/* Messages that are owed and have not come. */
unsigned model_missing(unsigned party);
void model_report_missing(unsigned party);
/* A calm: forgets what nobody can get any more. */
void model_settle(void);
/* Could message n be what is retained? n is base .. end - 1. */
bool model_may_be_last(const struct stream *s, uint32_t n);
bool model_may_be_empty(const struct stream *s);

/* ---- soak_subs.c: what one reader has subscribed to, and what follows from it ---- */

enum { FILTERS = 16, SUBS_MAX = 1024 };

/* One SUBSCRIBE for one filter, and its end. Times of the model, 0: not yet. */
struct sub {
    uint8_t filter, qos, retain_handling;
    bool retain_as_published;
    bool replaced;                          /* by one that is asked for: one of the two is there */
    uint32_t id;                            /* Subscription Identifier, 0: none */
    uint64_t asked, since, leaving, left;
};

struct subs {
    struct sub v[SUBS_MAX];                 /* oldest first */
    unsigned n;
};

extern const char *const filters[FILTERS];

void filters_init(void);
bool filter_matches(unsigned filter, unsigned stream);
/* Asked for now, replacing what there is with this filter. */
void subs_ask(struct subs *t, const struct sub *like);
void subs_granted(struct subs *t, unsigned filter);
void subs_leave(struct subs *t, unsigned filter);
void subs_left(struct subs *t, unsigned filter);
/* All of them end with the session: it is asked for; it is certain. */
void subs_leave_all(struct subs *t);
void subs_left_all(struct subs *t);
/* Forgets what ended before this time. */
void subs_prune(struct subs *t, uint64_t before);
/* The one in force; NULL: none for certain. */
const struct sub *subs_current(const struct subs *t, unsigned filter);
/* Was there anything for this stream, that is not forgotten? */
bool subs_any(const struct subs *t, unsigned stream);
/* Would a message sent now have to come? *qos: at least this one. */
bool subs_must(const struct subs *t, unsigned stream, uint8_t *qos);
/* Is a delivery right, as far as subscriptions go? NULL: yes, *as_kept: because it was retained; else what is wrong. */
const char *subs_judge(const struct subs *t, unsigned stream, uint32_t number, const struct publish *p,
                       enum version v, const struct due *got, bool *as_kept);

/* ---- soak_reader.c ---- */

void readers_init(void);
void readers_free(void);
unsigned readers_links(struct link **out);
/* load: come and go, change subscriptions; otherwise: be there, take what comes. wake: those who sleep too. */
void readers_act(uint16_t port, bool load, bool wake);
/* Everybody who is to be there is, has asked for what it wants, and owes no acknowledgement. */
bool readers_ready(bool wake);
bool reader_asleep(unsigned i);
bool readers_any_asleep(void);
/* Everybody reads again. */
void readers_listen(void);
const char *reader_name(unsigned party);
struct subs *reader_subs(unsigned i);
/* The group a reader is a member of; -1: none. */
int reader_group(unsigned i);
/* May a delivery at QoS 0 not get lost? */
bool reader_quick(unsigned i);
/* Its queue is meant to overflow. */
bool reader_limited(unsigned i);
/* Its session outlives its connection. */
bool reader_durable(unsigned i);
void readers_killed(void);
/* Messages owed and not here yet. */
unsigned readers_missing(bool wake);
/* Somebody who should not lose anything is owed too much. */
bool readers_behind(void);
/* After a calm: everything owed has come. */
void readers_judge(bool wake);
void readers_prune(uint64_t before);
unsigned readers_online(void);

/* ---- soak_kept.c: what a new subscription brings ---- */

/* A reader subscribes: what is retained there is owed. */
void kept_owe(unsigned reader, unsigned filter, bool fragile);
void kept_got(unsigned reader, unsigned stream, uint32_t number);
/* fragile: only what comes at QoS 0. */
void kept_void(unsigned reader, bool fragile);
void kept_void_filter(unsigned reader, unsigned filter);
void kept_report(unsigned reader);
unsigned kept_missing(unsigned reader);

/* ---- soak_writer.c ---- */

void writers_init(void);
void writers_free(void);
unsigned writers_links(struct link **out);
/* rate: messages a second of all together. */
void writers_act(uint16_t port, bool load, unsigned rate);
bool writers_done(void);

/* ---- soak_will.c ---- */

void willers_init(void);
void willers_free(void);
unsigned willers_links(struct link **out);
void willers_act(uint16_t port, bool load);
bool willers_done(void);
/* The broker has ended, and was told to at that time; it listens again. */
void willers_ending(bool is_kill, uint64_t told_ms);
void willers_started(void);
/* The eye, always there, has got one. */
void will_seen(unsigned stream, uint32_t number, bool dup);

/* ---- soak_look.c: an inspector, who asks for all that is retained ---- */

struct link *inspector_link(void);
void inspector_init(void);
void inspector_reset(void);
/* true: has seen what is due, has judged, has left. */
bool inspector_act(uint16_t port);

/* ---- soak_broker.c: the broker, and what its operator does ---- */

bool broker_prepare(const char *program);
void broker_start(void);
/* One look at it; it must be there. */
void broker_look(void);
bool broker_listening(void);
/* Now and then: a reload, a tool, a reader of the store. */
void broker_operate(void);
/* When it was last started. */
uint64_t broker_started_ms(void);
/* Tools that still run are waited for. */
bool broker_tools_done(void);
void broker_kill(void);
void broker_stop(void);
/* For the end of the program, whatever it was. */
void broker_end(bool keep);
/* Asks `caddis status --json`; a number in its answer by the words that lead to it, once broker_tools_done(). */
void broker_ask_status(void);
uint64_t broker_figure(const char *object, const char *name);

/* ---- soak_store.c ---- */

/* Somebody opens the store and holds a read transaction for so long. */
void holder_begin(uint64_t ms);
void holder_act(void);
void holder_end(void);
/* Does the store agree with the model, now that everything is quiet? NULL: yes. */
const char *store_compare(void);
/* After the end of the broker; or a backup. NULL: sound. */
const char *store_sound(const char *name);
uint64_t store_bytes(void);
uint64_t store_log_bytes(void);

/* ---- soak_watch.c: does it grow? ---- */

/* A new process. */
void watch_begin(void);
/* Before and after a rest: nobody has asked the broker for anything in between. false: it was busy. */
void watch_rest_begin(void);
bool watch_rest_ok(void);
/* No descriptor too many, with so many connections of ours? It may have to hear of a tool's end. */
bool watch_fds_ok(unsigned connections);
/* A calm. */
void watch_sample(unsigned connections);
/* The process ends: has it grown? Then in the end: has the store? */
void watch_verdict(void);
void watch_store_verdict(void);
/* For the line each minute. */
void watch_line(char *buf, size_t cap);

/* ---- soak.c ---- */

/* Sockets of clients that were taken over: the broker must close them. Takes l's socket. */
void ghost_take(struct link *l);
/* The broker is gone, so are they. */
void ghosts_drop(void);
/* One look at every socket, and at the broker unless it is ending. */
void turn(bool ending);
/* What the broker sent before it ended has been said, and counts: every socket is read to its end. */
void read_last_words(void);

#endif
