/* What the broker owes to whom. It is told of every message sent, acknowledged and received, and complains.
 *
 *  M1  An acknowledged message reaches everybody who was subscribed when it was first sent.
 *  M2  At QoS 2 on both sides it comes once. Otherwise a second time only as a resend: by the broker, marked DUP, of a
 *      message that was there before this connection; or because the publisher sent it again.
 *  M3  Messages of a stream appear for the first time in their order, and so do the broker's resends.
 *  M4  What is retained is a message that no acknowledged one was sent after.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/crash/crash_kill.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { KINDS = 32, SHOWN_PER_KIND = 8 };

struct stream streams[STREAMS];
struct totals totals;
static uint64_t clock_now;

uint64_t model_tick(void)
{
    return ++clock_now;
}

uint64_t model_time(void)
{
    return clock_now;
}

/* How many failures of this kind, known by its format, were there before? */
static unsigned seen_before(const char *fmt)
{
    static struct { const char *fmt; unsigned count; } kinds[KINDS];
    unsigned i = 0;

    while (i < KINDS - 1 && kinds[i].fmt != NULL && kinds[i].fmt != fmt)
        i++;
    kinds[i].fmt = fmt;
    return kinds[i].count++;
}

void model_fail(const char *fmt, ...)
{
    unsigned before = seen_before(fmt);
    va_list ap;

    totals.failures++;
    if (before >= SHOWN_PER_KIND)
        return;
    printf("FAILED in round %u: ", round_now);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    puts(before == SHOWN_PER_KIND - 1 ? " (more like this are counted, not shown)" : "");
    fflush(stdout);
}

void model_init(void)
{
    struct stream *s = streams;

    for (unsigned p = 0; p < PUBLISHERS; p++) {
        for (unsigned qos = 0; qos < LOAD_STREAMS; qos++, s++) {
            snprintf(s->topic, sizeof s->topic, "load/%u/%u", p, qos);
            s->publisher = p;
            s->qos = (uint8_t)qos;
        }
        for (unsigned n = 0; n < KEPT_STREAMS; n++, s++) {
            snprintf(s->topic, sizeof s->topic, "kept/%u/%u", p, n);
            s->publisher = p;
            s->qos = (uint8_t)(1 + n % 2);
            s->kept = true;
        }
    }
}

void model_free(void)
{
    for (unsigned i = 0; i < STREAMS; i++)
        free(streams[i].m);
}

/* ---- publishing ---- */

uint32_t model_send(unsigned stream, const uint8_t want[SUBSCRIBERS])
{
    struct stream *s = &streams[stream];
    struct message *m;

    if (s->count == s->cap) {
        s->cap = s->cap > 0 ? s->cap * 2 : 256;
        s->m = realloc(s->m, s->cap * sizeof *s->m);
        if (s->m == NULL)
            abort();
    }
    m = &s->m[s->count];
    *m = (struct message){ .first_sent = model_tick(), .sent_round = round_now };
    m->last_sent = m->first_sent;
    m->removes = s->kept && chance(8);
    memcpy(m->want, want, sizeof m->want);
    totals.sent++;
    return s->count++;
}

void model_resend(unsigned stream, uint32_t number)
{
    streams[stream].m[number].last_sent = model_tick();
    totals.resent++;
}

void model_acked(unsigned stream, uint32_t number)
{
    struct stream *s = &streams[stream];
    struct message *m = &s->m[number];

    m->acked = model_tick();
    m->acked_round = round_now;
    totals.acked++;
    if (number >= s->newest_acked)
        s->newest_acked = number + 1;
}

/* Mostly small; now and then larger than what fits into a page of the store. */
static size_t payload_length(unsigned stream, uint32_t number)
{
    uint32_t x = (stream * 7919 + number * 104729) % 1000;

    return 64 + (x < 20 ? x * 1000 : x < 200 ? x * 10 : x);
}

size_t model_payload(unsigned stream, uint32_t number, char *buf, size_t cap)
{
    size_t n, len = payload_length(stream, number);

    if (streams[stream].m[number].removes)
        return 0;
    if (len > cap)
        abort();
    n = (size_t)snprintf(buf, cap, "stream=%u number=%" PRIu32 " length=%zu ", stream, number, len);
    for (size_t i = n; i < len; i++)
        buf[i] = (char)('a' + (i + number) % 26);
    return len;
}

/* ---- receiving ---- */

bool model_identify(const struct link *l, const struct publish *p, unsigned *stream, uint32_t *number)
{
    char text[64] = "", made[32768];
    size_t n = p->payload.len < sizeof text ? p->payload.len : sizeof text - 1;

    if (n > 0)
        memcpy(text, p->payload.p, n);
    if (sscanf(text, "stream=%u number=%" SCNu32, stream, number) != 2 || *stream >= STREAMS ||
        *number >= streams[*stream].count) {
        model_fail("%s: a message nobody has sent: topic %.*s, %zu bytes: %.40s", l->id, (int)p->topic.len,
                   (const char *)p->topic.p, p->payload.len, text);
        return false;
    }
    n = model_payload(*stream, *number, made, sizeof made);
    if (n != p->payload.len || memcmp(made, p->payload.p, n) != 0 || p->topic.len != strlen(streams[*stream].topic) ||
        memcmp(p->topic.p, streams[*stream].topic, p->topic.len) != 0) {
        model_fail("%s: message %s %" PRIu32 " came damaged: topic %.*s, %zu of %zu bytes", l->id,
                   streams[*stream].topic, *number, (int)p->topic.len, (const char *)p->topic.p, p->payload.len, n);
        return false;
    }
    return true;
}

/* M2 for a message that has come before. */
static void check_again(unsigned subscriber, const struct link *l, unsigned granted, const struct stream *s,
                        uint32_t number, bool dup)
{
    const struct message *m = &s->m[number];
    /* At QoS 2 too: what was granted QoS 1 may leave before the publisher's packet id is stored. */
    bool publisher_again = m->last_sent != m->first_sent;
    const char *why = NULL;

    totals.duplicates++;
    if (granted == 2 && s->qos == 2)
        why = "at QoS 2";
    else if (!publisher_again && !dup)
        why = "without DUP, and its publisher has sent it once";
    else if (!publisher_again && s->qos == 0)
        why = "at QoS 0";
    if (why != NULL)
        model_fail("%s: message %s %" PRIu32 " (sent in round %u) came %u times, %s", l->id, s->topic, number,
                   m->sent_round, m->got[subscriber], why);
}

void model_got(unsigned subscriber, const struct link *l, unsigned granted, unsigned stream, uint32_t number, bool dup)
{
    struct stream *s = &streams[stream];
    struct message *m = &s->m[number];

    model_tick();
    totals.delivered++;
    if (m->got[subscriber] < UINT8_MAX)
        m->got[subscriber]++;
    if (m->want[subscriber] == WANT_NOT)
        model_fail("%s: message %s %" PRIu32 " (sent in round %u) came, but there is no subscription for it", l->id,
                   s->topic, number, m->sent_round);
    if (dup && m->first_sent > l->since)
        model_fail("%s: message %s %" PRIu32 " has DUP set, but was first sent during this connection", l->id,
                   s->topic, number);
    if (m->got[subscriber] > 1) {
        check_again(subscriber, l, granted, s, number, dup);
    } else if (number < s->next_new[subscriber] && m->last_sent != m->first_sent && m->want[subscriber] == WANT_MAY) {
        /* Its first copy met no subscription here, the one its publisher sent again after the kill did. */
    } else if (number < s->next_new[subscriber]) {
        model_fail("%s: message %s %" PRIu32 " came after %" PRIu32, l->id, s->topic, number,
                   s->next_new[subscriber] - 1);
    } else {
        s->next_new[subscriber] = number + 1;
    }
    if (!dup || m->last_sent != m->first_sent)
        return;
    if (number < s->next_dup[subscriber])
        model_fail("%s: message %s %" PRIu32 " was resent after %" PRIu32, l->id, s->topic, number,
                   s->next_dup[subscriber] - 1);
    s->next_dup[subscriber] = number + 1;
}

void model_connected(unsigned subscriber)
{
    totals.connects++;
    for (unsigned i = 0; i < STREAMS; i++)
        streams[i].next_dup[subscriber] = 0;
}

/* ---- subscriptions ---- */

static struct view text_view(const char *s)
{
    return (struct view){ (const uint8_t *)s, strlen(s) };
}

bool model_matches(const char *filter, unsigned stream)
{
    return topic_matches(text_view(filter), text_view(streams[stream].topic));
}

void model_joining(unsigned subscriber, const char *filter)
{
    for (unsigned i = 0; i < STREAMS; i++)
        for (uint32_t n = streams[i].count; n-- > 0 && model_matches(filter, i);) {
            struct message *m = &streams[i].m[n];
            if (m->acked == 0 && m->want[subscriber] == WANT_NOT)
                m->want[subscriber] = WANT_MAY;
        }
}

void model_leaving(unsigned subscriber, const char *filter)
{
    for (unsigned i = 0; i < STREAMS; i++)
        for (uint32_t n = 0; n < streams[i].count && model_matches(filter, i); n++) {
            struct message *m = &streams[i].m[n];
            if (m->got[subscriber] == 0 && m->want[subscriber] == WANT_MUST)
                m->want[subscriber] = WANT_MAY;
        }
}

static bool missing(const struct stream *s, const struct message *m, unsigned subscriber)
{
    return s->qos > 0 && m->acked > 0 && m->want[subscriber] == WANT_MUST && m->got[subscriber] == 0;
}

unsigned long model_missing(void)
{
    unsigned long sum = 0;

    for (unsigned i = 0; i < STREAMS; i++)
        for (uint32_t n = 0; n < streams[i].count; n++)
            for (unsigned k = 0; k < SUBSCRIBERS; k++)
                sum += missing(&streams[i], &streams[i].m[n], k);
    return sum;
}

void model_report_missing(void)
{
    for (unsigned i = 0; i < STREAMS; i++) {
        const struct stream *s = &streams[i];
        for (uint32_t n = 0; n < s->count; n++)
            for (unsigned k = 0; k < SUBSCRIBERS; k++)
                if (missing(s, &s->m[n], k))
                    model_fail("LOST: message %s %" PRIu32 " by publisher %u, sent in round %u, acknowledged in round "
                               "%u, never came to subscriber %u (%s)", s->topic, n, s->publisher, s->m[n].sent_round,
                               s->m[n].acked_round, k, subscriber_link(k)->id);
    }
}

/* ---- retained ---- */

/* M4: could message n be the last that the broker took? */
static bool may_be_last(const struct stream *s, uint32_t n)
{
    return s->newest_acked == 0 || n + 1 == s->newest_acked ||
           s->m[n].last_sent > s->m[s->newest_acked - 1].first_sent;
}

bool model_may_be_empty(unsigned stream)
{
    const struct stream *s = &streams[stream];

    if (s->newest_acked == 0)
        return true;
    for (uint32_t n = s->count; n-- > 0;)
        if (s->m[n].removes && may_be_last(s, n))
            return true;
    return false;
}

void model_check_retained(unsigned stream, uint32_t seen)
{
    const struct stream *s = &streams[stream];

    if (seen == 0 && !model_may_be_empty(stream))
        model_fail("LOST: nothing is retained for %s, but message %" PRIu32 " was acknowledged in round %u", s->topic,
                   s->newest_acked - 1, s->m[s->newest_acked - 1].acked_round);
    if (seen > 0 && !may_be_last(s, seen - 1))
        model_fail("LOST: retained for %s is message %" PRIu32 ", but %" PRIu32 " was acknowledged in round %u",
                   s->topic, seen - 1, s->newest_acked - 1, s->m[s->newest_acked - 1].acked_round);
}
