/* What the kernel knows about another process: the broker under test. Nothing here asks the broker, so that every
 * broker is measured with the same ruler.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BENCH_WATCH_H
#define CADDIS_BENCH_WATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { WATCH_TASKS = 64 };

struct watch {
    pid_t pid;                  /* 0: nobody is watched, every figure stays 0 */
    int counters[WATCH_TASKS];  /* perf counters of system calls, one for each thread */
    unsigned counter_count;     /* 0: the kernel does not let us count */
};

struct watch_sample {
    uint64_t wall_ns;           /* monotonic */
    uint64_t cpu_ns;            /* all threads, also those that ended */
    uint64_t syscalls;
    uint64_t write_bytes;       /* pages made dirty, as the kernel charges them */
    uint64_t switches;          /* times it was put on or taken off a CPU */
    uint64_t private_kb;        /* dirty pages it shares with nobody: heap, stacks, written data */
    uint64_t rss_kb;
};

uint64_t watch_now_ns(void);
/* Starts to count; needs leave to trace (root) and a mounted tracefs for `syscalls`, which else stays 0. */
void watch_open(struct watch *w, pid_t pid);
void watch_close(struct watch *w);
/* `memory`: walk the page tables too, which takes milliseconds for a large process. */
void watch_take(const struct watch *w, struct watch_sample *s, bool memory);

#endif
