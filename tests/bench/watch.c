/* What the kernel knows about the broker under test: see watch.h.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/watch.h"

#include <dirent.h>
#include <inttypes.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

uint64_t watch_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* The number of the tracepoint that every system call passes; -1 where tracefs is not mounted. */
static int64_t syscall_tracepoint(void)
{
    static const char *const places[] = {
        "/sys/kernel/tracing/events/raw_syscalls/sys_enter/id",
        "/sys/kernel/debug/tracing/events/raw_syscalls/sys_enter/id",
    };

    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        FILE *f = fopen(places[i], "r");
        int64_t id = -1;

        if (f == NULL)
            continue;
        if (fscanf(f, "%" SCNd64, &id) != 1)
            id = -1;
        fclose(f);
        return id;
    }
    return -1;
}

void watch_open(struct watch *w, pid_t pid)
{
    struct perf_event_attr attr = { .type = PERF_TYPE_TRACEPOINT, .size = sizeof attr };
    int64_t tracepoint = pid != 0 ? syscall_tracepoint() : -1;
    char path[64];

    *w = (struct watch){ .pid = pid };
    if (tracepoint < 0)
        return;
    attr.config = (uint64_t)tracepoint;
    attr.inherit = 1;           /* threads that are started later */
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *d = opendir(path);
    if (d == NULL)
        return;
    for (struct dirent *e; (e = readdir(d)) != NULL && w->counter_count < WATCH_TASKS;) {
        if (e->d_name[0] == '.')
            continue;
        int fd = (int)syscall(SYS_perf_event_open, &attr, atoi(e->d_name), -1, -1, PERF_FLAG_FD_CLOEXEC);
        if (fd >= 0)
            w->counters[w->counter_count++] = fd;
    }
    closedir(d);
}

void watch_close(struct watch *w)
{
    for (unsigned i = 0; i < w->counter_count; i++)
        close(w->counters[i]);
    w->counter_count = 0;
}

/* The number after `key` at the start of a line of /proc/PID/`name`. */
static uint64_t proc_number(pid_t pid, const char *name, const char *key)
{
    char line[256];
    uint64_t value = 0;
    size_t len = strlen(key);

    snprintf(line, sizeof line, "/proc/%d/%s", (int)pid, name);
    FILE *f = fopen(line, "r");
    if (f == NULL)
        return 0;
    while (fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, key, len) == 0)
            value += strtoull(line + len, NULL, 10);
    }
    fclose(f);
    return value;
}

static uint64_t task_switches(pid_t pid)
{
    char path[64];
    uint64_t sum = 0;

    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *d = opendir(path);
    if (d == NULL)
        return 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "task/%.20s/status", e->d_name);
        sum += proc_number(pid, path, "voluntary_ctxt_switches:");
        sum += proc_number(pid, path, "nonvoluntary_ctxt_switches:");
    }
    closedir(d);
    return sum;
}

void watch_take(const struct watch *w, struct watch_sample *s, bool memory)
{
    clockid_t clock;
    struct timespec ts = { 0 };

    *s = (struct watch_sample){ .wall_ns = watch_now_ns() };
    if (w->pid != 0) {
        if (clock_getcpuclockid(w->pid, &clock) == 0 && clock_gettime(clock, &ts) == 0)
            s->cpu_ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
        for (unsigned i = 0; i < w->counter_count; i++) {
            uint64_t count = 0;
            if (read(w->counters[i], &count, sizeof count) == (ssize_t)sizeof count)
                s->syscalls += count;
        }
        s->write_bytes = proc_number(w->pid, "io", "write_bytes:");
        s->switches = task_switches(w->pid);
        if (memory) {
            s->private_kb = proc_number(w->pid, "smaps_rollup", "Private_Dirty:");
            s->rss_kb = proc_number(w->pid, "smaps_rollup", "Rss:");
        }
    }
}
