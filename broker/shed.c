/* When memory runs short.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/shed.h"

#include <inttypes.h>

static const struct {
    unsigned percent;
    const char *text;
} sheds[] = {
#define X(name, percent, text) { percent, text },
    SHEDS(X)
#undef X
};

static uint64_t used(const struct broker *b)
{
    return mem_total + (journal_on(&b->journal) ? persist_memory_bytes() : 0);
}

/* Roughly: what is counted anyway. */
static uint64_t weight(const struct session *s)
{
    const uint64_t sub = sizeof(struct sub) + 64;
    const struct flow *f = s->flow;
    uint64_t n = sizeof *s + f->window_bytes + f->inflight_bytes + s->sub_count * sub +
                 (uint64_t)(f->queued + f->inflight) * sizeof(struct delivery);

    if (s->conn != NULL)
        n += sizeof *s->conn + s->conn->out.bytes + (s->conn->rest != NULL ? s->conn->rest->cap : 0);
    return n;
}

static void say(struct broker *b, enum shed what)
{
    const struct session *heaviest = NULL;
    uint64_t most = 0;

    if (!log_allow(&b->limit_shed, 1, b->now_ms))
        return;
    for (struct session *s = session_each(&b->sessions, NULL); s != NULL; s = session_each(&b->sessions, s))
        if (weight(s) > most) {
            most = weight(s);
            heaviest = s;
        }
    log_warning("memory_limit: %s used=%" PRIu64 " limit=%" PRIu64 " messages=%zu retained=%zu heaviest=%s bytes=%" PRIu64,
                sheds[what].text, used(b), b->cfg->memory_limit_bytes, mem_bytes[MEM_MSG], mem_bytes[MEM_RETAIN],
                heaviest != NULL ? log_q(heaviest->ident->data, heaviest->ident->id_len) : "\"\"", most);
}

bool shed(struct broker *b, enum shed what)
{
    if (b->cfg->memory_limit_bytes == 0 || used(b) < b->cfg->memory_limit_bytes / 100 * sheds[what].percent)
        return false;
    say(b, what);
    return true;
}
