/* The inspector: after a restart, before any publisher is back, it asks for everything retained and compares. Nobody
 * can have changed anything meanwhile, so what it sees is what the store brought back.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/crash/crash_kill.h"

#include "tests/crash/look.h"

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

    if (!model_identify(l, p, &stream, &number))
        return;
    if (!p->retain || !streams[stream].kept || seen[stream] > 0)
        model_fail("%s: message %s %u came %s", l->id, streams[stream].topic, number,
                   p->retain ? "a second time" : "without RETAIN");
    seen[stream] = number + 1;
}

void inspector_init(void)
{
    look_init(&inspector, "kept/#", saw);
    inspector_reset();
}

void inspector_reset(void)
{
    memset(seen, 0, sizeof seen);
    look_reset(&inspector);
}

void inspector_act(uint16_t port)
{
    if (inspector.l.fd < 0 && now_ms() >= inspector.l.next_ms)
        link_connect(&inspector.l, port, true, false);
    link_write(&inspector.l);
}

bool inspector_done(void)
{
    for (unsigned i = 0; i < STREAMS; i++)
        if (streams[i].kept && seen[i] == 0 && !model_may_be_empty(i))
            return false;
    return inspector.pinged;
}

void inspector_judge(void)
{
    for (unsigned i = 0; i < STREAMS; i++)
        if (streams[i].kept)
            model_check_retained(i, seen[i]);
    link_leave(&inspector.l, true);
}
