/* Counters, load averages, and the $SYS topics made of them.
 *
 * $SYS is not stored anywhere: a subscriber gets the present values as retained messages, and what has changed since
 * every sys_interval. Without a subscriber nothing runs.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/broker.h"
#include "broker/listen.h"
#include "broker/route.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Load averages are brought up to date at most this often. */
#define SAMPLE_MS 1000
#define TOPIC_MAX 128
#define VALUE_MAX 64
/* Log lines that wait for the end of the turn. */
#define LOG_LINES 64
#define LOG_LINE  1024

static uint64_t stored_messages(struct broker *b)
{
    uint64_t n = 0;

    for (struct session *s = session_each(&b->sessions, NULL); s != NULL; s = session_each(&b->sessions, s))
        n += session_waiting(s);
    return n;
}

/*    topic below $SYS/broker/       value */
#define GAUGES(X)                                                                    \
    X("clients/connected",           b->sessions.online)                             \
    X("clients/disconnected",        b->sessions.count - b->sessions.online)         \
    X("clients/active",              b->sessions.online)                             \
    X("clients/inactive",            b->sessions.count - b->sessions.online)         \
    X("clients/total",               b->sessions.count)                              \
    X("clients/maximum",             b->session_peak)                                \
    X("connections/open",            b->conn_count)                                  \
    X("connections/maximum",         b->conn_peak)                                   \
    X("subscriptions/count",         b->subs.count)                                  \
    X("shared_subscriptions/count",  b->subs.shared_count)                           \
    X("retained messages/count",     b->retain.count)                                \
    X("retained messages/bytes",     b->retain.bytes)                                \
    X("retained messages/memory/count", b->retain.ram_count)                         \
    X("retained messages/memory/bytes", b->retain.ram_bytes)                         \
    X("messages/stored",             stored_messages(b))                             \
    X("store/messages/count",        stored_messages(b))                             \
    X("heap/current",                mem_total)                                      \
    X("heap/maximum",                mem_peak)

struct sys {
    struct timer timer;
    char (*last)[VALUE_MAX];        /* what was published last, one a topic */
    unsigned topics;
    struct { enum log_level level; uint16_t len; char text[LOG_LINE]; } *log;
    unsigned log_count, log_left_out;
};

/* One value at a time goes to a function, in the same order every time. */
typedef void each_value(struct broker *b, unsigned i, const char *topic, const char *value, void *arg);

static void number(struct broker *b, unsigned *i, const char *topic, uint64_t v, each_value *f, void *arg)
{
    char value[VALUE_MAX];

    snprintf(value, sizeof value, "%" PRIu64, v);
    f(b, (*i)++, topic, value, arg);
}

static void loads(struct broker *b, unsigned *i, each_value *f, void *arg)
{
    static const char *const topics[LOAD_COUNT] = {
#define X(name, topic) topic,
        LOADS(X)
#undef X
    };
    static const char *const minutes[3] = { "1min", "5min", "15min" };

    for (unsigned l = 0; l < LOAD_COUNT; l++)
        for (unsigned m = 0; m < 3; m++) {
            char topic[TOPIC_MAX], value[VALUE_MAX];

            snprintf(topic, sizeof topic, "%s/%s", topics[l], minutes[m]);
            snprintf(value, sizeof value, "%.2f", b->metrics.load[l][m]);
            f(b, (*i)++, topic, value, arg);
        }
}

static void store_values(struct broker *b, unsigned *i, each_value *f, void *arg)
{
    struct persist_stats st;
    struct wear wear;

    if (!journal_on(&b->journal))
        return;
    persist_stats(b->journal.db, &st);
    number(b, i, "store/bytes/written", st.bytes_written, f, arg);
    wear = journal_wear(b, st.bytes_written);
    number(b, i, "store/bytes/written/day", (uint64_t)wear.bytes_a_day, f, arg);
    number(b, i, "store/card/days", (uint64_t)wear.card_days, f, arg);
    number(b, i, "store/bytes/file", st.file_bytes, f, arg);
    number(b, i, "store/bytes/wal", st.wal_bytes, f, arg);
    number(b, i, "store/commits/count", st.commits, f, arg);
    number(b, i, "store/syncs/count", st.syncs, f, arg);
    number(b, i, "store/rows/salvaged", b->journal.salvaged_rows, f, arg);
    number(b, i, "store/rows/lost", b->journal.lost_rows, f, arg);
    number(b, i, "store/failing", journal_failing(&b->journal) ? (b->now_ms - b->journal.failed_since_ms) / 1000 : 0, f,
           arg);
}

/* Days until the first of the listeners' certificates ends; below 0 once it has. */
static void certificate_value(struct broker *b, unsigned *i, each_value *f, void *arg)
{
    const int64_t day_ms = 86400000, ends_ms = listen_expires_ms(b), left_ms = ends_ms - b->wall_ms;
    char value[VALUE_MAX];

    if (ends_ms == INT64_MAX)
        return;
    snprintf(value, sizeof value, "%" PRId64, left_ms < 0 ? (left_ms + 1) / day_ms - 1 : left_ms / day_ms);
    f(b, (*i)++, "certificates/days", value, arg);
}

static void each_topic(struct broker *b, each_value *f, void *arg)
{
    char value[VALUE_MAX];
    unsigned i = 0;

    f(b, i++, "version", "caddis version " CADDIS_VERSION, arg);
    snprintf(value, sizeof value, "%" PRIu64 " seconds", (b->now_ms - b->started_ms) / 1000);
    f(b, i++, "uptime", value, arg);
#define X(name, topic, text) number(b, &i, topic, b->metrics.count[M_##name], f, arg);
    METRICS(X)
#undef X
#define X(topic, expression) number(b, &i, topic, (uint64_t)(expression), f, arg);
    GAUGES(X)
#undef X
    loads(b, &i, f, arg);
    store_values(b, &i, f, arg);
    certificate_value(b, &i, f, arg);
    b->sys->topics = i;
}

/* ---- load averages ---- */

void metrics_sample(struct broker *b)
{
    static const enum metric counters[LOAD_COUNT] = {
#define X(name, topic) M_##name,
        LOADS(X)
#undef X
    };
    static const double minutes[3] = { 1, 5, 15 };
    struct metrics *m = &b->metrics;
    uint64_t dt = b->now_ms - m->sampled_ms;

    if (dt < SAMPLE_MS)
        return;
    for (unsigned l = 0; l < LOAD_COUNT; l++) {
        double rate = (double)(m->count[counters[l]] - m->load_seen[l]) * 60000.0 / (double)dt;

        for (unsigned k = 0; k < 3; k++) {
            double keep = exp(-(double)dt / (60000.0 * minutes[k]));

            m->load[l][k] = rate + keep * (m->load[l][k] - rate);
        }
        m->load_seen[l] = m->count[counters[l]];
    }
    m->sampled_ms = b->now_ms;
}

/* ---- publishing ---- */

static struct incoming sys_message(struct broker *b, const char *topic, const void *value, size_t len)
{
    return (struct incoming){ .topic = { (const uint8_t *)topic, strlen(topic) }, .payload = { value, len },
                              .received_ms = (int64_t)b->now_ms };
}

static bool watched(const struct broker *b)
{
    return b->subs.filters.sys_count > 0;
}

static void publish_changed(struct broker *b, unsigned i, const char *below, const char *value, void *arg)
{
    char topic[TOPIC_MAX];
    struct incoming in;
    unsigned recipients;
    bool ok;

    (void)arg;
    if (strcmp(b->sys->last[i], value) == 0)
        return;
    snprintf(b->sys->last[i], VALUE_MAX, "%s", value);
    snprintf(topic, sizeof topic, "$SYS/broker/%s", below);
    in = sys_message(b, topic, value, strlen(value));
    route_publish(b, &in, &recipients, &ok);
    incoming_done(&in);
}

static void count_topic(struct broker *b, unsigned i, const char *topic, const char *value, void *arg)
{
    (void)b, (void)i, (void)topic, (void)value, (void)arg;
}

static void tick(struct timer *t, void *arg)
{
    struct broker *b = arg;

    if (b->cfg->sys_interval_ms == 0 || !watched(b))
        return;
    metrics_sample(b);
    each_topic(b, publish_changed, NULL);
    timer_arm(&b->wheel, t, b->now_ms + b->cfg->sys_interval_ms);
}

struct asked {
    struct session *s;
    struct view filter;
    uint32_t subid;
};

static void answer(struct broker *b, unsigned i, const char *below, const char *value, void *arg)
{
    const struct asked *a = arg;
    char topic[TOPIC_MAX];
    uint8_t ids[8];
    struct writer w = wr_make(ids, sizeof ids);
    struct incoming in;

    (void)i;
    snprintf(topic, sizeof topic, "$SYS/broker/%s", below);
    in = sys_message(b, topic, value, strlen(value));
    if (!topic_matches(a->filter, in.topic))
        return;
    if (a->subid != 0)
        props_write_num(&w, PROP_SUBSCRIPTION_ID, a->subid);
    session_deliver(b, a->s, &in, 0, true, (struct view){ ids, (size_t)(w.p - ids) }, NULL);
    incoming_done(&in);
}

void sys_subscribed(struct broker *b, struct session *s, struct view filter, uint32_t subid)
{
    struct asked a = { s, filter, subid };

    if (b->cfg->sys_interval_ms == 0 || filter.len < 4 || memcmp(filter.p, "$SYS", 4) != 0)
        return;
    metrics_sample(b);
    each_topic(b, answer, &a);
}

void sys_watch(struct broker *b)
{
    if (b->cfg->sys_interval_ms > 0 && !timer_armed(&b->sys->timer) && watched(b))
        timer_arm(&b->wheel, &b->sys->timer, b->now_ms + b->cfg->sys_interval_ms);
}

void sys_reload(struct broker *b)
{
    timer_disarm(&b->sys->timer);
    sys_watch(b);
}

/* ---- $SYS/broker/log/LEVEL ---- */

/* Called by the log, in the middle of anything: only notes the line. */
void sys_log(void *arg, enum log_level level, const char *line, size_t len)
{
    struct broker *b = arg;
    struct sys *y = b->sys;

    if (y->log == NULL)
        y->log = mem_alloc(MEM_OTHER, LOG_LINES * sizeof *y->log);
    if (y->log == NULL || y->log_count == LOG_LINES) {
        y->log_left_out++;
        return;
    }
    y->log[y->log_count].level = level;
    y->log[y->log_count].len = (uint16_t)(len < LOG_LINE ? len : LOG_LINE);
    memcpy(y->log[y->log_count++].text, line, len < LOG_LINE ? len : LOG_LINE);
}

void sys_turn(struct broker *b)
{
    static const char *const levels[] = { "error", "warning", "notice", "info", "debug" };
    struct sys *y = b->sys;
    unsigned n = y->log_count;

    for (unsigned i = 0; i < n; i++) {
        char topic[TOPIC_MAX];
        struct incoming in;
        unsigned recipients;
        bool ok;

        snprintf(topic, sizeof topic, "$SYS/broker/log/%s", levels[y->log[i].level]);
        in = sys_message(b, topic, y->log[i].text, y->log[i].len);
        route_publish(b, &in, &recipients, &ok);
        incoming_done(&in);
    }
    y->log_count = 0;               /* what publishing them logged would never end */
}

/* ---- */

bool sys_init(struct broker *b)
{
    b->sys = mem_zero(MEM_OTHER, sizeof *b->sys);
    if (b->sys == NULL)
        return false;
    timer_init(&b->sys->timer, tick);
    b->metrics.sampled_ms = b->now_ms;
    each_topic(b, count_topic, NULL);
    /* The store adds some once it is open, and TLS one. */
    b->sys->last = mem_zero(MEM_OTHER, (b->sys->topics + 16) * sizeof *b->sys->last);
    return b->sys->last != NULL;
}

void sys_fini(struct broker *b)
{
    if (b->sys == NULL)
        return;
    log_topic_gone(b);
    timer_disarm(&b->sys->timer);
    mem_free(MEM_OTHER, b->sys->last);
    mem_free(MEM_OTHER, b->sys->log);
    mem_free(MEM_OTHER, b->sys);
    b->sys = NULL;
}
