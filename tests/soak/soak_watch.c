/* Does it grow? At each calm everything is delivered and the same clients are there, so one calm of a process must look
 * like another. The first ones are left out: buffers and caches find their size.
 *
 *  W1  Descriptors, connections of ours left out: as many as at the first calm of this process.
 *  W2  The median of the last third of its samples against that of the first: heap, resident memory at most an eighth
 *      more, and a little (HEAP_ROOM, RESIDENT_ROOM).
 *      Resident memory under a sanitizer says nothing: it keeps for a while what is freed.
 *  W3  The store over the whole run: the largest of the last third against the first, likewise. Its log is as large as
 *      a reader that held it back has made it until it begins anew: the median of the last third, and never more than
 *      LOG_MOST.
 *  W4  At rest no processor time and no wake-ups.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/soak/soak.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    LIFE_SAMPLES = 4096, RUN_SAMPLES = 65536, WARM_UP = 3, LEAST = 6,
    LEAST_OF_RUN = 15, LOG_MOST = 64 << 20, HEAP_ROOM = 64 << 10, RESIDENT_ROOM = 2 << 20, STORE_ROOM = 2 << 20,
    REST_CPU_US = 500,
};

struct series {
    uint64_t *v;
    unsigned n, cap;
};

static uint64_t heap_room[LIFE_SAMPLES], resident_room[LIFE_SAMPLES], store_room[RUN_SAMPLES], log_room[RUN_SAMPLES];
static struct series heap = { heap_room, 0, LIFE_SAMPLES }, resident = { resident_room, 0, LIFE_SAMPLES };
static struct series store = { store_room, 0, RUN_SAMPLES }, store_log = { log_room, 0, RUN_SAMPLES };
static unsigned first_fds;              /* of this process; 0: not known */
static uint64_t rest_cpu_us, rest_switches;

/* ---- what the kernel says ---- */

static uint64_t proc_number(const char *name, const char *key)
{
    char line[256];
    uint64_t value = 0;
    FILE *f;

    snprintf(line, sizeof line, "/proc/%d/%s", (int)server.pid, name);
    f = fopen(line, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            value = strtoull(line + strlen(key), NULL, 10);
    if (f != NULL)
        fclose(f);
    return value;
}

static uint64_t cpu_us(void)
{
    clockid_t clock;
    struct timespec ts = { 0 };

    if (clock_getcpuclockid(server.pid, &clock) != 0 || clock_gettime(clock, &ts) != 0)
        return 0;
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static unsigned fds(void)
{
    char path[64];
    unsigned n = 0;
    DIR *d;

    snprintf(path, sizeof path, "/proc/%d/fd", (int)server.pid);
    d = opendir(path);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.';
    if (d != NULL)
        closedir(d);
    return n;
}

/* What they are, for the history. */
static void note_fds(void)
{
    char path[64 + sizeof ((struct dirent *)0)->d_name], to[128];
    DIR *d;

    snprintf(path, sizeof path, "/proc/%d/fd", (int)server.pid);
    d = opendir(path);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        ssize_t n;

        snprintf(path, sizeof path, "/proc/%d/fd/%s", (int)server.pid, e->d_name);
        n = readlink(path, to, sizeof to - 1);
        if (n > 0)
            note("broker", "descriptor %s: %.*s", e->d_name, (int)n, to);
    }
    if (d != NULL)
        closedir(d);
}

bool watch_fds_ok(unsigned connections)
{
    unsigned n = fds();

    if (n >= connections && first_fds == 0)
        first_fds = n - connections;
    return n >= connections && n - connections <= first_fds;
}

void watch_line(char *buf, size_t cap)
{
    snprintf(buf, cap, "%" PRIu64 " KiB resident, %u descriptors, store %" PRIu64 " KiB, its log %" PRIu64 " KiB",
             proc_number("status", "VmRSS:"), fds(), store_bytes() / 1024, store_log_bytes() / 1024);
}

/* ---- samples ---- */

static void add(struct series *s, uint64_t v)
{
    if (s->n < s->cap)
        s->v[s->n++] = v;
}

void watch_begin(void)
{
    heap.n = resident.n = 0;
    first_fds = 0;
}

void watch_rest_begin(void)
{
    rest_cpu_us = cpu_us();
    rest_switches = proc_number("status", "voluntary_ctxt_switches:");
}

bool watch_rest_ok(void)
{
    uint64_t cpu = cpu_us() - rest_cpu_us, switches = proc_number("status", "voluntary_ctxt_switches:") - rest_switches;

    note("broker", "at rest: %" PRIu64 " us, %" PRIu64 " wake-ups", cpu, switches);
    return cpu <= REST_CPU_US && switches == 0;
}

void watch_sample(unsigned connections)
{
    unsigned n = fds();
    uint64_t total = broker_figure("memory", "total_bytes"), rss = proc_number("status", "VmRSS:") * 1024;

    add(&heap, total);
    add(&resident, rss);
    add(&store, store_bytes());
    add(&store_log, store_log_bytes());
    note("broker", "calm: heap %" PRIu64 ", resident %" PRIu64 ", %u descriptors for %u connections, store %" PRIu64
         ", log %" PRIu64, total, rss, n, connections, store_bytes(), store_log_bytes());
    if (store_log_bytes() > LOG_MOST)
        fail_about(NULL, NULL, "GROWS: the store's log has %" PRIu64 " bytes", store_log_bytes());
    if (watch_fds_ok(connections))
        return;
    note_fds();
    fail_about(NULL, NULL, "DESCRIPTORS: %u for %u connections, and %u besides them at the first calm", n, connections,
               first_fds);
}

/* ---- verdicts ---- */

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* The value at this part (in percent) of a third of the samples. */
static uint64_t third(const struct series *s, unsigned from, bool last, unsigned percent)
{
    uint64_t v[RUN_SAMPLES / 3 + 1];
    unsigned n = (s->n - from) / 3, at = last ? s->n - n : from;

    memcpy(v, s->v + at, n * sizeof *v);
    qsort(v, n, sizeof *v, by_size);
    return v[(n - 1) * percent / 100];
}

static void judge(const char *what, const struct series *s, unsigned least, unsigned percent, uint64_t room)
{
    uint64_t first, last;

    if (s->n < WARM_UP + least)
        return;
    first = third(s, WARM_UP, false, percent);
    last = third(s, WARM_UP, true, percent);
    note("broker", "%s: %" PRIu64 " at first, %" PRIu64 " at last, of %u samples", what, first, last, s->n);
    if (last > first + first / 8 + room)
        fail_about(NULL, NULL, "GROWS: %s, from %" PRIu64 " to %" PRIu64 " bytes over %u calms", what, first, last,
                   s->n);
}

void watch_verdict(void)
{
    judge("heap", &heap, LEAST, 50, HEAP_ROOM);
#ifndef __SANITIZE_ADDRESS__
    judge("resident memory", &resident, LEAST, 50, RESIDENT_ROOM);
#endif
}

void watch_store_verdict(void)
{
    judge("the store", &store, LEAST_OF_RUN, 100, STORE_ROOM);
    judge("the store's log", &store_log, LEAST_OF_RUN, 50, 2 * STORE_ROOM);
}
