/* What the broker owes to whom. It is told of every message sent, acknowledged and received.
 *
 *  M1  An acknowledged message reaches everybody who was subscribed when it was first sent, and still is.
 *  M2  At QoS 2 on both sides it comes once. Otherwise a second time only as a resend: by the broker, marked DUP, of a
 *      message that was there before this connection; or because the publisher sent it again.
 *  M3  Messages of a stream appear for the first time in their order at each QoS, and so do the broker's resends.
 *  M4  What is retained is a message that no acknowledged one was sent after. A new subscription does not bring it
 *      behind a later one.
 *  M5  What comes follows from subscriptions (soak_subs.c), with the QoS, the RETAIN flag and the identifiers they ask
 *      for; it comes before it expires; its payload is what was sent.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/soak/soak.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_MAX = 64, PATTERN = 1 << 18, EXPIRY_SLACK_MS = 500 };

const struct kind kinds[KINDS] = {
    { "load",  0, false, false, 20, 400 },
    { "load",  1, false, false, 24, 400 },
    { "load",  2, false, false, 24, 400 },
    { "kept",  1, true,  false, 6,  300 },
    { "kept",  2, true,  false, 6,  3000 },
    { "team",  1, false, false, 8,  200 },
    { "team",  2, false, false, 8,  200 },
    { "rare",  1, false, false, 2,  200 },
    { "bulk",  1, false, false, 2,  120000 },
    { "fade",  1, false, true,  6,  200 },
    { "flood", 1, false, false, 30, 200 },
};
static const struct kind will_kinds[3] = {
    { "will", 0, false, false, 0, 100 },
    { "will", 1, false, false, 0, 100 },
    { "will", 2, false, false, 0, 100 },
};

struct stream streams[STREAMS];
struct totals totals;
static uint64_t clock_now;
static uint8_t pattern[PATTERN];

uint64_t model_tick(void)
{
    return ++clock_now;
}

uint64_t model_time(void)
{
    return clock_now;
}

void model_init(void)
{
    static char names[WRITERS + WILLERS][16];

    for (unsigned i = 0; i < WRITERS; i++) {
        snprintf(names[i], sizeof names[i], "writer-%u", i);
        for (unsigned k = 0; k < KINDS; k++) {
            struct stream *s = &streams[i * KINDS + k];
            s->kind = &kinds[k];
            s->writer = names[i];
        }
    }
    for (unsigned i = 0; i < WILLERS; i++) {
        snprintf(names[WRITERS + i], sizeof names[0], "willer-%u", i);
        streams[WRITERS * KINDS + i].kind = &will_kinds[i % 3];
        streams[WRITERS * KINDS + i].writer = names[WRITERS + i];
    }
    for (unsigned i = 0; i < STREAMS; i++)
        snprintf(streams[i].topic, sizeof streams[i].topic, "%s/%u/%u", streams[i].kind->name,
                 i < WRITERS * KINDS ? i / KINDS : i - WRITERS * KINDS, streams[i].kind->qos);
    for (unsigned i = 0; i < PATTERN; i++)
        pattern[i] = (uint8_t)rnd(256);
}

void model_free(void)
{
    for (unsigned i = 0; i < STREAMS; i++)
        free(streams[i].m);
}

/* ---- publishing ---- */

struct message *model_message(unsigned stream, uint32_t number)
{
    struct stream *s = &streams[stream];

    return &s->m[number - s->base];
}

static uint32_t choose_length(const struct kind *k)
{
    uint32_t most = chance(4) ? k->size : k->size / 4 + 1;

    return HEADER_MAX + rnd(most);
}

uint32_t model_send(unsigned stream)
{
    struct stream *s = &streams[stream];
    struct message *m;

    if (s->end - s->base == s->cap) {
        s->cap = s->cap > 0 ? s->cap * 2 : 64;
        s->m = realloc(s->m, s->cap * sizeof *s->m);
        if (s->m == NULL)
            abort();
    }
    m = &s->m[s->end - s->base];
    *m = (struct message){ .first_sent = model_tick(), .first_ms = now_ms(), .len = choose_length(s->kind) };
    m->last_sent = m->first_sent;
    m->last_ms = m->first_ms;
    if (s->kind->kept && chance(6)) {
        m->removes = true;
        m->len = 0;
    }
    if (s->kind->fades)
        m->expiry_s = 1 + rnd(8);
    totals.sent++;
    return s->end++;
}

void model_owe(unsigned stream, uint32_t number)
{
    struct message *m = model_message(stream, number);
    uint8_t qos;

    for (unsigned r = 0; r < READERS && !m->removes; r++) {
        int group = reader_group(r);
        struct due *d = &m->due[group < 0 ? r : READERS + (unsigned)group];

        if (!subs_must(reader_subs(r), stream, &qos))
            continue;
        d->fragile = group < 0 && (qos == 0 || streams[stream].kind->qos == 0);
        d->must = !d->fragile || reader_quick(r);
    }
}

void model_resend(unsigned stream, uint32_t number)
{
    struct message *m = model_message(stream, number);

    m->last_sent = model_tick();
    m->last_ms = now_ms();
    totals.resent++;
}

void model_acked(unsigned stream, uint32_t number)
{
    struct stream *s = &streams[stream];

    if (number < s->base)           /* at QoS 0, known to have arrived only after a calm */
        return;
    model_message(stream, number)->acked = model_tick();
    totals.acked++;
    if (number >= s->newest_acked)
        s->newest_acked = number + 1;
}

static size_t put_header(unsigned stream, uint32_t number, uint32_t len, char *buf)
{
    return (size_t)snprintf(buf, HEADER_MAX, "stream=%u number=%" PRIu32 " length=%" PRIu32 " ", stream, number, len);
}

/* What follows the header. */
static const uint8_t *body_of(unsigned stream, uint32_t number, uint32_t len)
{
    return pattern + (stream * 7919 + number * 104729) % (PATTERN - len);
}

void model_payload(unsigned stream, uint32_t number, uint8_t *buf)
{
    uint32_t len = model_message(stream, number)->len;
    char head[HEADER_MAX];
    size_t n;

    if (len == 0)
        return;
    n = put_header(stream, number, len, head);
    memcpy(buf, head, n);
    memcpy(buf + n, body_of(stream, number, len), len - n);
}

/* ---- receiving ---- */

/* An empty message can't say which it is: any of its stream that may be here. What it removes is seen in the calms. */
static bool find_removal(unsigned reader, unsigned stream, const struct publish *p, enum version v, uint32_t *number)
{
    const struct stream *s = &streams[stream];
    const struct due none = { 0 };
    bool found = false, as_kept;

    for (uint32_t n = s->end; n-- > s->base;) {
        if (!s->m[n - s->base].removes)
            continue;
        *number = n;
        found = true;
        if (subs_judge(reader_subs(reader), stream, n, p, v, &none, &as_kept) == NULL)
            break;
    }
    return found;
}

static unsigned stream_of(struct view topic)
{
    unsigned i = 0;

    while (i < STREAMS && (strlen(streams[i].topic) != topic.len || memcmp(streams[i].topic, topic.p, topic.len) != 0))
        i++;
    return i;
}

void model_identify(const char *who, unsigned reader, enum version v, struct view topic, const struct publish *p,
                    unsigned *stream, uint32_t *number)
{
    char text[HEADER_MAX + 1] = "", head[HEADER_MAX];
    const struct stream *s;
    uint32_t of;
    size_t n = p->payload.len < HEADER_MAX ? p->payload.len : HEADER_MAX;

    if (n > 0)
        memcpy(text, p->payload.p, n);
    *stream = stream_of(topic);
    if (*stream == STREAMS)
        fail_about(who, NULL, "%s: a topic of nobody: %.*s", who, (int)topic.len, (const char *)topic.p);
    s = &streams[*stream];
    if (p->payload.len == 0 && s->kind->kept) {
        if (!find_removal(reader, *stream, p, v, number))
            fail_about(who, s->writer, "%s: an empty message on %s that nobody has sent", who, s->topic);
        return;
    }
    if (sscanf(text, "stream=%" SCNu32 " number=%" SCNu32, &of, number) != 2 || of != *stream || *number >= s->end)
        fail_about(who, s->writer, "%s: a message on %s that nobody has sent: %zu bytes: %.40s", who, s->topic,
                   p->payload.len, text);
    if (*number < s->base)
        fail_about(who, s->writer, "%s: message %s %" PRIu32 " came after everybody had got and acknowledged it", who,
                   s->topic, *number);
    n = put_header(*stream, *number, model_message(*stream, *number)->len, head);
    if (p->payload.len != model_message(*stream, *number)->len || memcmp(p->payload.p, head, n) != 0 ||
        memcmp(p->payload.p + n, body_of(*stream, *number, (uint32_t)p->payload.len), p->payload.len - n) != 0)
        fail_about(who, s->writer, "%s: message %s %" PRIu32 " came damaged: %zu bytes", who, s->topic, *number,
                   p->payload.len);
}

/* ---- what need not come any more ---- */

static void void_due(struct due *d)
{
    d->must = false;
}

void model_void(unsigned party)
{
    for (unsigned i = 0; i < STREAMS; i++)
        for (uint32_t n = streams[i].base; n < streams[i].end; n++) {
            struct due *d = &model_message(i, n)->due[party];

            void_due(d);
            d->loosely |= d->got > 0;
        }
}

void model_void_fragile(unsigned party)
{
    for (unsigned i = 0; i < STREAMS; i++)
        for (uint32_t n = streams[i].base; n < streams[i].end; n++)
            if (model_message(i, n)->due[party].fragile)
                void_due(&model_message(i, n)->due[party]);
}

void model_void_qos2(unsigned party)
{
    for (unsigned i = 0; i < STREAMS; i++)
        for (uint32_t n = streams[i].base; streams[i].kind->qos == 2 && n < streams[i].end; n++)
            void_due(&model_message(i, n)->due[party]);
}

void model_void_filter(unsigned party, unsigned filter)
{
    for (unsigned i = 0; i < STREAMS; i++)
        for (uint32_t n = streams[i].base; filter_matches(filter, i) && n < streams[i].end; n++)
            void_due(&model_message(i, n)->due[party]);
}

/* ---- debts ---- */

static bool expired(const struct message *m)
{
    return m->expiry_s > 0 && now_ms() + EXPIRY_SLACK_MS >= m->first_ms + m->expiry_s * 1000;
}

static bool missing(const struct message *m, unsigned party)
{
    const struct due *d = &m->due[party];

    return d->must && m->acked != 0 && d->got == 0 && d->got_kept == 0 && !m->forbidden && !expired(m);
}

unsigned model_owed(unsigned party)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < STREAMS; i++)
        for (uint32_t n = streams[i].base; n < streams[i].end; n++)
            sum += model_message(i, n)->due[party].must && model_message(i, n)->due[party].got == 0;
    return sum;
}

void model_count(unsigned party, unsigned *lost, unsigned *got)
{
    *lost = *got = 0;
    for (unsigned i = 0; i < STREAMS; i++)
        for (uint32_t n = streams[i].base; n < streams[i].end; n++) {
            const struct message *m = model_message(i, n);
            *lost += missing(m, party);
            *got += m->due[party].got;
        }
}

unsigned model_missing(unsigned party)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < STREAMS; i++)
        for (uint32_t n = streams[i].base; n < streams[i].end; n++)
            sum += missing(model_message(i, n), party);
    return sum;
}

void model_report_missing(unsigned party)
{
    for (unsigned i = 0; i < STREAMS; i++)
        for (uint32_t n = streams[i].base; n < streams[i].end; n++) {
            const struct message *m = model_message(i, n);
            if (!missing(m, party))
                continue;
            note_subject(i, n);
            fail_about(reader_name(party), streams[i].writer, "LOST: message %s %" PRIu32 " of %s, sent %" PRIu64
                       " ms ago and acknowledged, never came to %s; it lacks %u", streams[i].topic, n,
                       streams[i].writer, now_ms() - m->first_ms, reader_name(party), model_missing(party));
        }
}

/* Somebody may still get it: because it is retained, or because it sleeps. */
static bool open_business(unsigned stream, uint32_t n)
{
    const struct stream *s = &streams[stream];

    if (s->kind->kept && model_may_be_last(s, n))
        return true;
    for (unsigned r = 0; r < READERS; r++)
        if (reader_asleep(r) && subs_any(reader_subs(r), stream))
            return true;
    return false;
}

void model_settle(void)
{
    for (unsigned i = 0; i < STREAMS; i++) {
        struct stream *s = &streams[i];
        uint32_t n = s->base;

        if (s->m == NULL)
            continue;
        while (n < s->end && !open_business(i, n))
            n++;
        for (uint32_t k = n; k < s->end; k++)
            for (unsigned r = 0; r < PARTIES; r++) {
                struct due *d = &s->m[k - s->base].due[r];

                d->must = d->must && d->got_kept == 0;      /* it has come, if it was owed */
                d->got_kept = 0;
            }
        memmove(s->m, s->m + (n - s->base), (s->end - n) * sizeof *s->m);
        s->base = n;
    }
}

/* ---- retained: M4 ---- */

bool model_may_be_last(const struct stream *s, uint32_t n)
{
    return s->newest_acked == 0 || n + 1 >= s->newest_acked || s->newest_acked - 1 < s->base ||
           s->m[n - s->base].last_sent > s->m[s->newest_acked - 1 - s->base].first_sent;
}

bool model_may_be_empty(const struct stream *s)
{
    if (s->newest_acked == 0)
        return true;
    for (uint32_t n = s->end; n-- > s->base;)
        if (s->m[n - s->base].removes && model_may_be_last(s, n))
            return true;
    return false;
}
