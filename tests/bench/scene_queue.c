/* Scenes of waiting messages: queues of offline sessions, filled and drained, and retained messages.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/flow.h"

enum { PROBE = UINT32_MAX, PROBE_PERIOD_NS = 5000000, READERS = 3 };

static struct client *sleepers(const struct options *o, uint32_t n)
{
    struct client *c = calloc(n, sizeof *c);

    if (c == NULL)
        load_die("no memory");
    for (uint32_t i = 0; i < n; i++) {
        client_init(&c[i], "sub", i);
        load_format(c[i].filter, sizeof c[i].filter, "queue/%u", i);
        c[i].qos = o->qos;
        c[i].durable = true;
    }
    return c;
}

/* A broker may finish what it started after the last acknowledgement. */
static void rest(struct pool *p, double seconds)
{
    uint64_t until_ns = watch_now_ns() + (uint64_t)(seconds * 1e9);

    while (watch_now_ns() < until_ns)
        pool_turn(p, 50000000);
}

/* A pair of its own that asks during a drain: does the broker still serve others, and how soon? */
struct probe {
    struct publisher pub;
    struct client sub;
    uint64_t due_ns;
};

static void on_probe(struct flow *f, const struct delivery *d)
{
    if (d->from == PROBE)
        hist_add(&f->hist, watch_now_ns() - d->stamp_ns);
}

static void probe_open(struct probe *b, struct flow *f)
{
    *b = (struct probe){ 0 };
    f->on_other = on_probe;
    client_init(&b->sub, "probe-sub", 0);
    strcpy(b->sub.filter, "probe");
    client_init(&b->pub.client, "probe-pub", 0);
    clients_open(f->pool, &b->sub, 1, 1);
    clients_open(f->pool, &b->pub.client, 1, 1);
    b->pub.packet = malloc(256);
    if (b->pub.packet == NULL)
        load_die("no memory");
    b->pub.packet_len = publish_template(b->pub.packet, f->o->version, 0, false, "probe", 64, &b->pub.pid_at,
                                         &b->pub.stamp_at);
    b->due_ns = watch_now_ns();
}

static void probe_send(struct probe *b, struct flow *f)
{
    uint64_t now = watch_now_ns();
    uint32_t from = PROBE;

    if (now < b->due_ns)
        return;
    memcpy(b->pub.packet + b->pub.stamp_at, &from, 4);
    memcpy(b->pub.packet + b->pub.stamp_at + 8, &b->due_ns, 8);
    client_send(f->pool, &b->pub.client, b->pub.packet, b->pub.packet_len);
    b->due_ns += PROBE_PERIOD_NS;
}

static void probe_close(struct probe *b, struct flow *f)
{
    client_close(f->pool, &b->pub.client, true);
    client_close(f->pool, &b->sub, true);
    free(b->pub.packet);
}

/* Receives what the sessions have waiting, until `owed` is 0 or nothing has come for `patience_s`. */
static void receive(struct flow *f, struct client *sub, double patience_s)
{
    uint64_t last_ns, seen = 0;
    struct probe probe;

    probe_open(&probe, f);
    for (uint32_t i = 0; i < f->o->n; i++) {
        sub[i].filter[0] = '\0';
        client_open(f->pool, &sub[i]);
    }
    last_ns = watch_now_ns();
    while (f->owed > 0 && f->pool->dropped == 0) {
        probe_send(&probe, f);
        uint64_t now = watch_now_ns();
        pool_turn(f->pool, probe.due_ns > now ? (int64_t)(probe.due_ns - now) : 0);
        if (f->tally.delivered != seen)
            last_ns = watch_now_ns();
        seen = f->tally.delivered;
        if ((double)(watch_now_ns() - last_ns) > patience_s * 1e9)
            break;
    }
    probe_close(&probe, f);
}

static void drain(struct flow *f, const struct watch *w, struct client *sub, double patience_s)
{
    struct watch_sample from, to;

    for (uint32_t i = 0; i < f->pub_count; i++)
        f->pubs[i].owed = f->limit;
    f->owed = (uint64_t)f->limit * f->pub_count;
    watch_take(w, &from, true);
    receive(f, sub, patience_s);
    watch_take(w, &to, true);
    report_cost("drain_", &from, &to, f->tally.delivered);
    report_number("probe_p99_us", (double)hist_quantile_ns(&f->hist, 0.99) / 1e3);
    report_number("probe_max_us", (double)f->hist.max_ns / 1e3);
    f->tally.lost += f->owed;
    report_tally(&f->tally);
}

static void write_acked(const struct flow *f)
{
    FILE *out = fopen(f->o->acked, "w");

    if (out == NULL)
        load_die("cannot write %s", f->o->acked);
    for (uint32_t i = 0; i < f->pub_count; i++)
        fwrite(f->pubs[i].acked, 1, f->limit, out);
    if (fclose(out) != 0)
        load_die("cannot write %s", f->o->acked);
}

static void want_acked(struct flow *f)
{
    for (uint32_t i = 0; i < f->pub_count; i++) {
        f->pubs[i].acked = calloc(f->limit, 1);
        if (f->pubs[i].acked == NULL)
            load_die("no memory");
    }
}

static uint64_t half_acks(const struct flow *f)
{
    return (uint64_t)f->pub_count * (f->limit / 2);
}

static void fill(struct flow *f, const struct watch *w, struct watch_sample *half)
{
    uint32_t limit = f->limit;

    f->limit = limit / 2;
    if (f->limit > 0)
        flow_finish(f);
    watch_take(w, half, true);
    f->limit = limit;
    if (f->pool->dropped == 0)
        flow_finish(f);
}

void scene_offline(const struct options *o)
{
    struct client *sub = sleepers(o, o->n);
    struct watch_sample from, half, to;
    struct watch w;
    struct pool p;
    struct flow f;

    pool_init(&p, o->host, o->port, o->version);
    clients_open(&p, sub, o->n, o->parallel);
    clients_close(&p, sub, o->n, true);
    rest(&p, 0.3);
    flow_init(&f, &p, o, o->n, "queue/%u", false, false);
    f.fan = 0;
    f.limit = o->messages / o->n;
    if (o->acked != NULL)
        want_acked(&f);
    watch_open(&w, o->pid);
    watch_take(&w, &from, true);
    fill(&f, &w, &half);
    watch_take(&w, &to, true);
    report_cost("fill_", &from, &to, f.acks);
    /* The second half only: what a store allocates once is no cost of a message. */
    if (f.acks > half_acks(&f))
        report_number("queued_bytes", ((double)to.private_kb - (double)half.private_kb) * 1024 /
                      (double)(f.acks - half_acks(&f)));
    report_number("acked", (double)f.acks);
    report_number("unacked", (double)f.unacked);
    report_number("private_kb", (double)to.private_kb);
    if (o->acked != NULL)
        write_acked(&f);
    if (!o->keep)
        drain(&f, &w, sub, 10);
    watch_close(&w);
    clients_close(&p, sub, o->n, true);
    flow_fini(&f);
    free(sub);
    pool_fini(&p);
}

/* After a crash nobody knows how much comes: silence is the end, and only the acknowledged must be there. */
static void check_acked(struct flow *f)
{
    uint64_t acked = 0, missing = 0;

    for (uint32_t i = 0; i < f->pub_count; i++) {
        for (uint32_t k = 0; k < f->limit; k++) {
            uint8_t state = f->pubs[i].acked[k];
            acked += (state & FLOW_ACKED) != 0;
            missing += state == FLOW_ACKED;
        }
    }
    report_number("acked", (double)acked);
    report_number("acked_lost", (double)missing);
}

static void read_acked(struct flow *f)
{
    FILE *in = fopen(f->o->acked, "r");

    want_acked(f);
    for (uint32_t i = 0; i < f->pub_count; i++) {
        if (in == NULL || fread(f->pubs[i].acked, 1, f->limit, in) != f->limit)
            load_die("%s does not hold %u messages of %u publishers", f->o->acked, f->limit, f->pub_count);
    }
    fclose(in);
}

void scene_drain(const struct options *o)
{
    struct client *sub = sleepers(o, o->n);
    struct watch w;
    struct pool p;
    struct flow f;

    pool_init(&p, o->host, o->port, o->version);
    flow_init(&f, &p, o, o->n, "queue/%u", false, false);
    f.limit = o->messages / o->n;
    if (o->acked != NULL)
        read_acked(&f);
    watch_open(&w, o->pid);
    drain(&f, &w, sub, o->acked != NULL ? 2 : 10);
    watch_close(&w);
    if (o->acked != NULL)
        check_acked(&f);
    clients_close(&p, sub, o->n, true);
    flow_fini(&f);
    free(sub);
    pool_fini(&p);
}

/* Which retained messages the present reader has. */
struct reader {
    uint8_t *seen;
    uint32_t limit, pubs;
    uint64_t came, repeated;
};

static void on_retained(struct pool *p, struct client *c, const struct delivery *d)
{
    struct reader *r = p->user;

    if (d->from >= r->pubs || d->seq >= r->limit || !d->retain)
        load_die("%s: a delivery that is no retained message of ours", c->id);
    uint8_t *seen = &r->seen[(size_t)d->from * r->limit + d->seq];
    r->repeated += *seen;
    *seen = 1;
    r->came++;
}

/* One reader after the other: a new subscription, all messages, gone. */
static void read_retained(struct pool *p, const struct watch *w, const struct options *o, uint32_t pubs)
{
    struct reader r = { .limit = o->messages / pubs, .pubs = pubs };
    uint64_t want = (uint64_t)r.limit * pubs, lost = 0, came = 0;
    struct watch_sample from, to;

    r.seen = malloc(want);
    if (r.seen == NULL)
        load_die("no memory");
    p->user = &r;
    p->on_message = on_retained;
    watch_take(w, &from, true);
    for (uint32_t i = 0; i < READERS; i++) {
        struct client c;
        uint64_t had, last_ns = watch_now_ns();

        memset(r.seen, 0, want);
        r.came = 0;
        client_init(&c, "reader", i);
        strcpy(c.filter, "kept/#");
        c.qos = o->qos;
        client_open(p, &c);
        while (r.came < want && p->dropped == 0 && watch_now_ns() - last_ns < 20000000000u) {
            had = r.came;
            pool_turn(p, 100000000);
            last_ns = r.came > had ? watch_now_ns() : last_ns;
        }
        lost += want - r.came;
        came += r.came;
        client_close(p, &c, true);
    }
    watch_take(w, &to, true);
    report_cost("get_", &from, &to, came);
    report_number("lost", (double)lost);
    report_number("repeated", (double)r.repeated);
    free(r.seen);
}

void scene_retain(const struct options *o)
{
    struct watch_sample from, to;
    struct watch w;
    struct pool p;
    struct flow f;

    pool_init(&p, o->host, o->port, o->version);
    flow_init(&f, &p, o, o->n, "kept/%u/", true, true);
    f.fan = 0;
    f.limit = o->messages / o->n;
    watch_open(&w, o->pid);
    watch_take(&w, &from, true);
    flow_finish(&f);
    watch_take(&w, &to, true);
    report_cost("set_", &from, &to, f.published);
    flow_fini(&f);
    rest(&p, 0.3);
    read_retained(&p, &w, o, o->n);
    watch_close(&w);
    pool_fini(&p);
}
