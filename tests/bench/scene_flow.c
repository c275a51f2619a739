/* Scenes of steady traffic: pairs, fan-out and fan-in, with other clients in the background.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>

#include "bench/flow.h"

enum { SUBS_EACH = 10000, SUBS_PACKET = 50 };

static struct client *make_clients(const char *kind, uint32_t n, const char *filter, const struct options *o)
{
    struct client *c = calloc(n + 1, sizeof *c);

    if (c == NULL)
        load_die("no memory");
    for (uint32_t i = 0; i < n; i++) {
        client_init(&c[i], kind, i);
        load_format(c[i].filter, sizeof c[i].filter, filter, i);
        c[i].qos = o->qos;
        c[i].durable = o->durable;
    }
    return c;
}

/* One client after the other, so that at most one SUBSCRIBE waits for its answer. */
static void subscribe_background(struct pool *p, struct client *c, const char *filter, uint32_t subs)
{
    for (uint32_t done = 0; done < subs; done += SUBS_PACKET) {
        uint32_t n = subs - done < SUBS_PACKET ? subs - done : SUBS_PACKET, before = p->settled;

        client_subscribe_many(p, &c[done / SUBS_EACH], filter, done, n);
        while (p->settled == before && p->dropped == 0)
            pool_turn(p, 1000000000);
    }
    if (p->refused > 0 || p->dropped > 0)
        load_die("the broker refused a background subscription");
}

static void fill_retained(struct pool *p, const struct options *o)
{
    struct options quiet = *o;
    struct flow f;

    quiet.qos = 1;
    quiet.inflight = quiet.window = quiet.batch = 1000;
    quiet.rate = 0;
    quiet.total = 0;
    flow_init(&f, p, &quiet, 10, "kept/%u/", true, true);
    f.fan = 0;
    f.limit = o->retained / 10;
    flow_finish(&f);
    if (f.unacked > 0)
        load_die("%llu retained messages were not acknowledged", (unsigned long long)f.unacked);
    flow_fini(&f);
}

/* Returns how many background clients there are; *out holds them. */
static uint32_t open_background(struct pool *p, const struct options *o, struct client **out)
{
    uint32_t holders = (o->subs + SUBS_EACH - 1) / SUBS_EACH;
    struct client *c = make_clients("idle", o->idle + holders, "idle/%u", o);

    *out = c;
    for (uint32_t i = 0; i < o->idle + holders; i++)
        c[i].durable = false;
    clients_open(p, c, o->idle + holders, o->parallel);
    subscribe_background(p, c + o->idle, o->away, o->subs);
    if (o->retained > 0)
        fill_retained(p, o);
    return o->idle + holders;
}

/* Runs until `until_ns`; stops early when nothing has come for ten seconds. */
static void run_until(struct flow *f, uint64_t until_ns)
{
    uint64_t last_ns = watch_now_ns(), seen = f->tally.delivered;

    while (watch_now_ns() < until_ns) {
        flow_turn(f, true);
        if (f->pool->dropped > 0)
            load_die("the broker dropped %u connections", f->pool->dropped);
        if (f->tally.delivered != seen)
            last_ns = watch_now_ns();
        seen = f->tally.delivered;
        if (watch_now_ns() - last_ns > 10000000000u)
            break;
    }
}

static void measure(struct flow *f)
{
    const struct options *o = f->o;
    struct watch_sample from, to;
    struct watch w;
    uint64_t delivered;

    run_until(f, watch_now_ns() + (uint64_t)(o->warmup * 1e9));
    watch_open(&w, o->pid);
    watch_take(&w, &from, true);
    delivered = f->tally.delivered;
    f->timing = true;
    run_until(f, from.wall_ns + (uint64_t)(o->seconds * 1e9));
    f->timing = false;
    watch_take(&w, &to, true);
    report_cost("", &from, &to, f->tally.delivered - delivered);
    watch_close(&w);
    report_number("p50_us", (double)hist_quantile_ns(&f->hist, 0.5) / 1e3);
    report_number("p90_us", (double)hist_quantile_ns(&f->hist, 0.9) / 1e3);
    report_number("p99_us", (double)hist_quantile_ns(&f->hist, 0.99) / 1e3);
    report_number("p999_us", (double)hist_quantile_ns(&f->hist, 0.999) / 1e3);
    report_number("max_us", (double)f->hist.max_ns / 1e3);
}

void scene_flow(const struct options *o, enum shape shape)
{
    uint32_t pubs = shape == SHAPE_FANOUT ? 1 : o->n, subs = shape == SHAPE_FANIN ? 1 : o->n, background;
    const char *topic = shape == SHAPE_PAIRS ? o->topic : "flow/0";
    struct client *others, *sub;
    struct watch_sample s;
    struct watch w;
    struct pool p;
    struct flow f;

    pool_init(&p, o->host, o->port, o->version);
    background = open_background(&p, o, &others);
    sub = make_clients("sub", subs, topic, o);
    clients_open(&p, sub, subs, o->parallel);
    flow_init(&f, &p, o, pubs, topic, false, false);
    f.shape = shape;
    f.fan = shape == SHAPE_FANOUT ? subs : 1;
    measure(&f);
    flow_settle(&f, 3);
    /* What is still owed never came; what came after a gap has been counted by tally_add(). */
    f.tally.lost += f.owed;
    report_tally(&f.tally);
    report_number("unacked", (double)f.unacked);
    watch_open(&w, o->pid);
    watch_take(&w, &s, true);
    report_number("rss_kb", (double)s.rss_kb);
    report_number("private_kb", (double)s.private_kb);
    watch_close(&w);
    flow_fini(&f);
    clients_close(&p, sub, subs, true);
    clients_close(&p, others, background, true);
    free(sub);
    free(others);
    pool_fini(&p);
}
