/* The inspector: in a calm, when nobody publishes, it asks for everything retained and compares with the model.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/soak/soak.h"

#include "tests/crash/look.h"

#include <inttypes.h>
#include <string.h>

static struct look inspector;
static uint32_t seen[STREAMS];          /* number + 1 */

struct link *inspector_link(void)
{
    return &inspector.l;
}

static void saw(const struct link *l, const struct publish *p)
{
    unsigned stream;
    uint32_t number;

    if (p->payload.len == 0)
        fail_about(l->id, NULL, "inspector: an empty message is retained for %.*s", (int)p->topic.len,
                   (const char *)p->topic.p);
    model_identify(l->id, 0, l->version, p->topic, p, &stream, &number);
    if (!p->retain || !streams[stream].kind->kept || seen[stream] > 0)
        fail_about(l->id, streams[stream].writer, "%s: message %s %" PRIu32 " came %s", l->id, streams[stream].topic,
                   number, p->retain ? "a second time" : "without RETAIN");
    seen[stream] = number + 1;
}

void inspector_init(void)
{
    look_init(&inspector, "#", saw);
}

void inspector_reset(void)
{
    memset(seen, 0, sizeof seen);
    look_reset(&inspector);
}

static bool complete(void)
{
    for (unsigned i = 0; i < STREAMS; i++)
        if (streams[i].kind->kept && seen[i] == 0 && !model_may_be_empty(&streams[i]))
            return false;
    return inspector.pinged;
}

static void judge(void)
{
    for (unsigned i = 0; i < STREAMS; i++) {
        const struct stream *s = &streams[i];

        if (seen[i] > 0 && !model_may_be_last(s, seen[i] - 1))
            fail_about("inspector", s->writer, "LOST: retained for %s is message %" PRIu32 ", but %" PRIu32
                       " was acknowledged later", s->topic, seen[i] - 1, s->newest_acked - 1);
        if (s->kind->kept && seen[i] == 0 && !model_may_be_empty(s))
            fail_about("inspector", s->writer, "LOST: nothing is retained for %s, but message %" PRIu32
                       " was acknowledged", s->topic, s->newest_acked - 1);
    }
}

bool inspector_act(uint16_t port)
{
    static uint64_t since_ms;

    if (inspector.l.fd < 0 && now_ms() >= inspector.l.next_ms) {
        link_connect(&inspector.l, port, true, false);
        since_ms = now_ms();
    }
    link_write(&inspector.l);
    if (!complete() && now_ms() < since_ms + 10000)
        return false;
    judge();
    link_leave(&inspector.l, true);
    return true;
}
