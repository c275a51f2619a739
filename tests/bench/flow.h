/* Traffic: publishers that keep a bounded number of messages on their way, or send at a fixed rate.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BENCH_FLOW_H
#define CADDIS_BENCH_FLOW_H

#include "bench/client.h"
#include "bench/hist.h"
#include "bench/load.h"

enum { FLOW_ACKED = 1, FLOW_CAME = 2 };

/* One publishing client and what it may still send. */
struct publisher {
    struct client client;
    uint8_t *packet;            /* the template, patched for each message */
    size_t packet_len, pid_at, stamp_at;
    uint32_t topic_at;          /* ten digits to patch; 0: one topic for all */
    uint32_t seq;               /* of the next message */
    uint32_t unacked;
    uint32_t owed;              /* deliveries still to come */
    bool queued;                /* on the ready list */
    uint8_t *acked;             /* FLOW_ACKED | FLOW_CAME of each message, when asked for */
};

struct flow {
    const struct options *o;
    struct pool *pool;
    struct publisher *pubs;
    uint32_t pub_count;
    uint32_t fan;               /* deliveries of one publish; 0: only acknowledgements count */
    uint32_t limit;             /* messages of each publisher; 0: no end */
    uint32_t *ready;            /* ring of publishers with news */
    uint32_t ready_head, ready_len;
    uint64_t published, acks;
    uint64_t owed;              /* deliveries still to come, in all */
    uint64_t unacked;
    struct tally tally;
    enum shape shape;
    bool timing;                /* deliveries go into the histogram */
    struct hist hist;
    uint64_t due_ns;            /* open loop: when the next message is due */
    uint64_t due_count;
    uint32_t turn;              /* open loop: whose turn it is */
    void (*on_other)(struct flow *f, const struct delivery *d);     /* of no publisher of this flow */
};

/* Topics are FORMAT % publisher, or with `topic_digits` that and ten digits of a running number. Connects. */
void flow_init(struct flow *f, struct pool *p, const struct options *o, uint32_t pubs, const char *format,
               bool retain, bool topic_digits);
void flow_fini(struct flow *f);
/* Sends what may be sent now, then waits for news at most 100 ms. */
void flow_turn(struct flow *f, bool send);
/* Without sending: until everything has come, or nothing has for `patience_s`. */
void flow_settle(struct flow *f, double patience_s);
/* Until every publisher has sent its limit and everything is acknowledged and delivered. */
void flow_finish(struct flow *f);

#endif
