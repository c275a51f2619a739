/* What a new subscription brings: whoever subscribes to a topic with something retained, and nobody publishing there,
 * gets it, or what has been published since.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/soak/soak.h"

#include <inttypes.h>

enum { OWED_MAX = 1024 };

struct owed {
    uint8_t reader, filter, stream;
    bool fragile;
    uint32_t number;                        /* this or a later one */
    uint64_t ms;
};

static struct owed owed[OWED_MAX];
static unsigned count;

/* The newest message of a stream is known to be the retained one. */
static bool certain(const struct stream *s)
{
    return s->kind->kept && s->end > s->base && s->newest_acked == s->end && !s->m[s->end - 1 - s->base].removes;
}

void kept_owe(unsigned reader, unsigned filter, bool fragile)
{
    for (unsigned i = 0; i < STREAMS && count < OWED_MAX; i++)
        if (filter_matches(filter, i) && certain(&streams[i]))
            owed[count++] = (struct owed){ (uint8_t)reader, (uint8_t)filter, (uint8_t)i, fragile,
                                           streams[i].end - 1, now_ms() };
}

static void drop(unsigned i)
{
    owed[i] = owed[--count];
}

void kept_got(unsigned reader, unsigned stream, uint32_t number)
{
    for (unsigned i = count; i-- > 0;)
        if (owed[i].reader == reader && owed[i].stream == stream && number >= owed[i].number)
            drop(i);
}

void kept_void(unsigned reader, bool fragile)
{
    for (unsigned i = count; i-- > 0;)
        if (owed[i].reader == reader && (!fragile || owed[i].fragile))
            drop(i);
}

void kept_void_filter(unsigned reader, unsigned filter)
{
    for (unsigned i = count; i-- > 0;)
        if (owed[i].reader == reader && owed[i].filter == filter)
            drop(i);
}

/* The broker may have met a removal that was sent after SUBSCRIBE, but before its SUBACK, first. */
static bool excused(const struct owed *o)
{
    const struct sub *sub = subs_current(reader_subs(o->reader), o->filter);
    const struct stream *s = &streams[o->stream];

    for (uint32_t n = o->number + 1 > s->base ? o->number + 1 : s->base; n < s->end; n++)
        if (s->m[n - s->base].removes && (sub == NULL || s->m[n - s->base].first_sent < sub->since))
            return true;
    return false;
}

unsigned kept_missing(unsigned reader)
{
    unsigned n = 0;

    for (unsigned i = 0; i < count; i++)
        n += owed[i].reader == reader && !excused(&owed[i]);
    return n;
}

void kept_report(unsigned reader)
{
    for (unsigned i = 0; i < count; i++)
        if (owed[i].reader == reader && !excused(&owed[i]))
            fail_about(reader_name(reader), streams[owed[i].stream].writer, "LOST: %s subscribed to %s %" PRIu64
                       " ms ago and never got %s %" PRIu32 ", which was retained, nor a later one",
                       reader_name(reader), filters[owed[i].filter], now_ms() - owed[i].ms,
                       streams[owed[i].stream].topic, owed[i].number);
}
