/* Scenes of many clients that say little: arriving, idling, leaving, sleeping.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>

#include "bench/load.h"

enum {
    GROUP = 50,
    SETTLE_S = 4,               /* what a broker puts off for a few seconds is done by then, */
    QUIET_S = 8,                /* and after these too it has looked once whether the new clients said who they are */
};

static struct client *make(const struct options *o, bool durable)
{
    struct client *c = calloc(o->n, sizeof *c);

    if (c == NULL)
        load_die("no memory");
    for (uint32_t i = 0; i < o->n; i++) {
        client_init(&c[i], "client", i);
        load_format(c[i].filter, sizeof c[i].filter, "house/%u/state", i);
        c[i].durable = durable;
        c[i].qos = o->qos;
    }
    return c;
}

static void rest(struct pool *p, double seconds)
{
    uint64_t until_ns = watch_now_ns() + (uint64_t)(seconds * 1e9);

    while (watch_now_ns() < until_ns)
        pool_turn(p, 50000000);
}

/* Connect and subscribe, `parallel` at a time. */
void scene_storm(const struct options *o)
{
    struct client *c = make(o, o->durable);
    struct watch_sample from, to;
    struct watch w;
    struct pool p;

    pool_init(&p, o->host, o->port, o->version);
    watch_open(&w, o->pid);
    watch_take(&w, &from, true);
    clients_open(&p, c, o->n, o->parallel);
    watch_take(&w, &to, true);
    report_cost("", &from, &to, o->n);
    watch_close(&w);
    clients_close(&p, c, o->n, true);
    free(c);
    pool_fini(&p);
}

/* What idle clients cost: memory while they are there, wake-ups and writes, memory after they left. */
void scene_idle(const struct options *o)
{
    struct watch_sample before, full, calm, quiet, gone;
    struct client *c = make(o, false);
    struct watch w;
    struct pool p;

    pool_init(&p, o->host, o->port, o->version);
    watch_open(&w, o->pid);
    watch_take(&w, &before, true);
    clients_open(&p, c, o->n, o->parallel);
    rest(&p, SETTLE_S);
    watch_take(&w, &full, true);
    report_number("before_kb", (double)before.private_kb);
    report_number("private_bytes", ((double)full.private_kb - (double)before.private_kb) * 1024 / o->n);
    rest(&p, QUIET_S);
    watch_take(&w, &calm, false);
    rest(&p, o->seconds);
    watch_take(&w, &quiet, false);
    double seconds = (double)(quiet.wall_ns - calm.wall_ns) / 1e9;
    report_number("wakeups_per_second", (double)(quiet.switches - calm.switches) / seconds);
    report_number("writes_per_hour", (double)(quiet.write_bytes - calm.write_bytes) / seconds * 3600);
    clients_close(&p, c, o->n, true);
    rest(&p, SETTLE_S);
    watch_take(&w, &gone, true);
    report_number("given_back",
                  full.private_kb <= before.private_kb ? 1 :
                  ((double)full.private_kb - (double)gone.private_kb) / (double)(full.private_kb - before.private_kb));
    watch_close(&w);
    free(c);
    pool_fini(&p);
}

/* Durable sessions whose clients went away. */
void scene_sleepers(const struct options *o)
{
    struct client *c = make(o, true);
    struct watch_sample before, after;
    struct watch w;
    struct pool p;

    pool_init(&p, o->host, o->port, o->version);
    watch_open(&w, o->pid);
    watch_take(&w, &before, true);
    /* In small groups, so that what the connections needed does not show beside what the sessions need. */
    for (uint32_t done = 0; done < o->n; done += GROUP) {
        uint32_t n = o->n - done < GROUP ? o->n - done : GROUP;
        clients_open(&p, c + done, n, o->parallel);
        clients_close(&p, c + done, n, true);
    }
    rest(&p, SETTLE_S);
    watch_take(&w, &after, true);
    report_number("private_bytes", ((double)after.private_kb - (double)before.private_kb) * 1024 / o->n);
    watch_close(&w);
    free(c);
    pool_fini(&p);
}
