/* What the parts of the load generator share: the options and the report.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BENCH_LOAD_H
#define CADDIS_BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>

#include "bench/client.h"
#include "bench/watch.h"

enum shape { SHAPE_PAIRS, SHAPE_FANOUT, SHAPE_FANIN };

struct options {
    const char *scene;
    const char *host;
    uint16_t port;
    pid_t pid;                  /* the broker, 0: unknown */
    uint8_t version;            /* 4 or 5 */
    uint8_t qos;
    bool durable;               /* subscribers keep their session */
    bool keep;                  /* leave sessions and queues behind for the next run */
    uint32_t n;                 /* pairs, subscribers, publishers or clients */
    uint32_t size;              /* payload bytes */
    uint32_t window;            /* undelivered messages allowed for each publisher */
    uint32_t batch;             /* a publisher waits for room for so many */
    uint32_t total;             /* undelivered messages allowed in all; 0: no such bound */
    uint32_t inflight;          /* unacknowledged publishes of one client */
    double rate;                /* messages per second in all; 0: closed loop */
    bool spin;                  /* open loop: never sleep, so that only the broker's wake-up is measured */
    double seconds;             /* to measure */
    double warmup;              /* seconds before */
    uint32_t messages;          /* of scenes that have an end */
    uint32_t parallel;          /* connections being opened at a time */
    uint32_t idle;              /* background: idle connections, */
    uint32_t subs;              /* subscriptions that match nothing, */
    uint32_t retained;          /* retained messages */
    const char *topic;          /* of the pairs; with %u */
    const char *away;           /* filters of `subs`; with %u or %w */
    uint32_t kill_after;        /* kill -9 the broker after so many acknowledgements */
    const char *acked;          /* file: which messages were acknowledged */
};

noreturn void load_die(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* FORMAT holds one %u, or one %w: ten levels, each x or +, as the number's bits say. */
void load_format(char *out, size_t size, const char *format, uint32_t number);

/* The report is one JSON object on standard output. */
void report_number(const char *name, double value);
/* CPU, system calls and the like between two samples, for each of `messages`. */
void report_cost(const char *prefix, const struct watch_sample *from, const struct watch_sample *to, uint64_t messages);

/* Payload bytes of one client's messages have this order number in them: [MQTT-4.6.0-6] can be checked. */
struct tally {
    uint32_t *next;             /* for each stream, the sequence number that comes next */
    uint64_t delivered, lost, repeated, retained;
};

/* Counts one delivery of stream `i`. Returns how many messages this one closes: itself and the lost before it. */
uint32_t tally_add(struct tally *t, uint32_t i, const struct delivery *d);
void report_tally(const struct tally *t);

/* Each runs its scene and reports; the broker is up, the report is closed by the caller. */
void scene_flow(const struct options *o, enum shape shape);
void scene_offline(const struct options *o);
void scene_drain(const struct options *o);
void scene_retain(const struct options *o);
void scene_storm(const struct options *o);
void scene_idle(const struct options *o);
void scene_sleepers(const struct options *o);

#endif
