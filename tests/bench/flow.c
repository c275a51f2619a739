/* Traffic, closed and open loop: see flow.h.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/flow.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void make_ready(struct flow *f, uint32_t i)
{
    if (f->pubs[i].queued)
        return;
    f->pubs[i].queued = true;
    f->ready[(f->ready_head + f->ready_len++) % f->pub_count] = i;
}

static void on_message(struct pool *p, struct client *c, const struct delivery *d)
{
    struct flow *f = p->user;

    if (d->from >= f->pub_count) {
        if (f->on_other == NULL)
            load_die("a delivery of publisher %u, who does not exist", d->from);
        f->on_other(f, d);
        return;
    }
    if (f->timing)
        hist_add(&f->hist, watch_now_ns() - d->stamp_ns);
    if (d->payload_len != f->o->size)
        load_die("a payload of %u bytes came back as %u", f->o->size, d->payload_len);
    uint32_t closed = tally_add(&f->tally, f->shape == SHAPE_FANOUT ? c->index : d->from, d);
    struct publisher *pub = &f->pubs[d->from];
    if (pub->acked != NULL && d->seq < f->limit)
        pub->acked[d->seq] |= FLOW_CAME;
    if (closed > pub->owed)
        closed = pub->owed;
    pub->owed -= closed;
    f->owed -= closed;
    make_ready(f, d->from);
}

static void on_ack(struct pool *p, struct client *c, uint16_t pid)
{
    struct flow *f = p->user;
    struct publisher *pub = &f->pubs[c->index];

    if (pub->unacked == 0)
        load_die("%s: an acknowledgement of packet %u, which is not in flight", c->id, pid);
    pub->unacked--;
    f->unacked--;
    f->acks++;
    if (pub->acked != NULL) {
        /* Packet ids run from 1 to 65535 and around; fewer than that are in flight. */
        uint32_t back = (uint32_t)((pub->seq - 1) % 65535 + 1 + 65535 - pid) % 65535;
        pub->acked[pub->seq - 1 - back] |= FLOW_ACKED;
    }
    if (f->o->kill_after != 0 && f->acks == f->o->kill_after)
        kill(f->o->pid, SIGKILL);
    make_ready(f, c->index);
}

/* The payload's stamp, the packet id and the topic's number, where the template has room for them. */
static void patch(const struct flow *f, const struct publisher *pub, uint8_t *packet, uint64_t stamp_ns)
{
    uint32_t pid = pub->seq % 65535 + 1, from = pub->client.index;

    if (f->o->qos > 0) {
        packet[pub->pid_at] = (uint8_t)(pid >> 8);
        packet[pub->pid_at + 1] = (uint8_t)pid;
    }
    memcpy(packet + pub->stamp_at, &from, 4);
    memcpy(packet + pub->stamp_at + 4, &pub->seq, 4);
    memcpy(packet + pub->stamp_at + 8, &stamp_ns, 8);
    if (pub->topic_at != 0) {
        uint32_t number = pub->seq * f->pub_count + from;
        for (unsigned i = 10; i-- > 0; number /= 10)
            packet[pub->topic_at + i] = (uint8_t)('0' + number % 10);
    }
}

static void publish(struct flow *f, struct publisher *pub, uint32_t n, uint64_t stamp_ns)
{
    uint8_t *out = f->pool->scratch;
    size_t len = 0;

    for (uint32_t i = 0; i < n; i++) {
        if (len + pub->packet_len > SCRATCH_LEN) {
            client_send(f->pool, &pub->client, out, len);
            len = 0;
        }
        memcpy(out + len, pub->packet, pub->packet_len);
        patch(f, pub, out + len, stamp_ns);
        len += pub->packet_len;
        pub->seq++;
    }
    client_send(f->pool, &pub->client, out, len);
    if (f->o->qos > 0) {
        pub->unacked += n;
        f->unacked += n;
    }
    pub->owed += n * f->fan;
    f->owed += n * f->fan;
    f->published += n;
}

/* How many messages the publisher may send: 0 or at least a batch, unless fewer are left to send at all. */
static uint32_t credit(const struct flow *f, const struct publisher *pub)
{
    uint32_t room = f->o->window - (f->fan == 0 ? 0 : (pub->owed + f->fan - 1) / f->fan);
    uint32_t batch = f->o->batch;

    if (f->o->qos > 0 && room > f->o->inflight - pub->unacked)
        room = f->o->inflight - pub->unacked;
    if (f->o->total != 0) {
        uint64_t left = f->owed < f->o->total ? f->o->total - f->owed : 0;
        if (room > left)
            room = (uint32_t)left;
    }
    if (f->limit != 0 && room > f->limit - pub->seq)
        room = batch = f->limit - pub->seq;
    if (pub->client.out_len > 0 || pub->client.state != CLIENT_UP)
        return 0;
    return room >= batch ? room : 0;
}

static void send_closed_loop(struct flow *f)
{
    for (uint32_t left = f->ready_len; left > 0; left--) {
        uint32_t i = f->ready[f->ready_head];
        struct publisher *pub = &f->pubs[i];

        f->ready_head = (f->ready_head + 1) % f->pub_count;
        f->ready_len--;
        pub->queued = false;
        uint32_t n = credit(f, pub);
        if (n > 0)
            publish(f, pub, n, watch_now_ns());
        /* What stopped it may be over without news of its own: the bound on all, or an unready socket. */
        if (f->o->total != 0 || pub->client.out_len > 0 || (f->fan == 0 && f->o->qos == 0))
            make_ready(f, i);
    }
}

/* Returns how long until the next one is due. */
static int64_t send_open_loop(struct flow *f)
{
    uint64_t now = watch_now_ns();

    if (f->due_ns == 0)
        f->due_ns = now;
    while (f->due_ns <= now) {
        struct publisher *pub = &f->pubs[f->turn];
        if (f->limit != 0 && pub->seq == f->limit)
            return 100000000;
        publish(f, pub, 1, f->due_ns);
        f->turn = (f->turn + 1) % f->pub_count;
        f->due_ns += (uint64_t)(1e9 / f->o->rate);
    }
    return (int64_t)(f->due_ns - now);
}

void flow_turn(struct flow *f, bool send)
{
    int64_t wait_ns = 100000000;

    if (send && f->o->rate > 0)
        wait_ns = send_open_loop(f);
    else if (send)
        send_closed_loop(f);
    /* A publisher that has no window to wait for goes on as soon as its socket takes more. */
    if (send && f->fan == 0 && f->o->qos == 0 && f->o->rate <= 0)
        wait_ns = 100000;
    pool_turn(f->pool, f->o->spin ? 0 : wait_ns);
}

void flow_settle(struct flow *f, double patience_s)
{
    uint64_t last_ns = watch_now_ns();

    while (f->owed > 0 || f->unacked > 0) {
        uint64_t before = f->tally.delivered + f->acks;
        flow_turn(f, false);
        if (f->tally.delivered + f->acks != before)
            last_ns = watch_now_ns();
        if (f->pool->dropped > 0 || (double)(watch_now_ns() - last_ns) > patience_s * 1e9)
            break;
    }
}

static bool all_sent(const struct flow *f)
{
    return f->published == (uint64_t)f->limit * f->pub_count;
}

void flow_finish(struct flow *f)
{
    uint64_t last_ns = watch_now_ns(), seen = 0;

    for (uint32_t i = 0; i < f->pub_count; i++)
        make_ready(f, i);
    while (!all_sent(f) && f->pool->dropped == 0) {
        flow_turn(f, true);
        if (f->published + f->acks != seen)
            last_ns = watch_now_ns();
        seen = f->published + f->acks;
        if (watch_now_ns() - last_ns > 30000000000u)
            load_die("%llu messages sent, then the broker took none for 30 s", (unsigned long long)f->published);
    }
    flow_settle(f, 10);
}

void flow_init(struct flow *f, struct pool *p, const struct options *o, uint32_t pubs, const char *format,
               bool retain, bool topic_digits)
{
    *f = (struct flow){ .o = o, .pool = p, .pub_count = pubs, .fan = 1 };
    p->user = f;
    p->on_message = on_message;
    p->on_ack = on_ack;
    f->pubs = calloc(pubs, sizeof *f->pubs);
    f->ready = calloc(pubs, sizeof *f->ready);
    f->tally.next = calloc(pubs > o->n ? pubs : o->n, sizeof *f->tally.next);
    if (f->pubs == NULL || f->ready == NULL || f->tally.next == NULL)
        load_die("no memory");
    for (uint32_t i = 0; i < pubs; i++) {
        struct publisher *pub = &f->pubs[i];
        char topic[FILTER_MAX];

        load_format(topic, sizeof topic - 11, format, i);
        if (topic_digits)
            strcat(topic, "0123456789");
        pub->packet = malloc(o->size + FILTER_MAX + 32);
        if (pub->packet == NULL)
            load_die("no memory");
        pub->packet_len = publish_template(pub->packet, o->version, o->qos, retain, topic, o->size, &pub->pid_at,
                                           &pub->stamp_at);
        if (topic_digits)
            pub->topic_at = (uint32_t)pub->pid_at - 10;
        client_init(&pub->client, "pub", i);
        clients_open(p, &pub->client, 1, 1);
        make_ready(f, i);
    }
}

void flow_fini(struct flow *f)
{
    for (uint32_t i = 0; i < f->pub_count; i++) {
        client_close(f->pool, &f->pubs[i].client, true);
        free(f->pubs[i].packet);
        free(f->pubs[i].acked);
    }
    free(f->pubs);
    free(f->ready);
    free(f->tally.next);
}
