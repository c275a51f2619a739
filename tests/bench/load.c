/* The load generator of the benchmark: `load SCENE [--option=value ...]`, one JSON object out. README has the scenes.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/load.h"

#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static bool report_open;

void load_die(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(1);
}

void load_format(char *out, size_t size, const char *format, uint32_t number)
{
    const char *hole = strchr(format, '%');
    char filled[32];

    if (hole == NULL) {
        snprintf(out, size, "%s", format);
        return;
    }
    snprintf(filled, sizeof filled, "%u", number);
    if (hole[1] == 'w') {
        for (unsigned i = 0; i < 10; i++)
            memcpy(filled + 2 * i, number >> i & 1 ? "x/" : "+/", 2);
        filled[19] = '\0';
    }
    if (snprintf(out, size, "%.*s%s%s", (int)(hole - format), format, filled, hole + 2) >= (int)size)
        load_die("%s is too long", format);
}

void report_number(const char *name, double value)
{
    printf("%s\"%s\": %.10g", report_open ? ", " : "{", name, value);
    report_open = true;
}

void report_cost(const char *prefix, const struct watch_sample *from, const struct watch_sample *to, uint64_t messages)
{
    double n = messages > 0 ? (double)messages : 1, wall_s = (double)(to->wall_ns - from->wall_ns) / 1e9;
    const struct {
        const char *name;
        double value;
    } rows[] = {
        { "messages", (double)messages },
        { "seconds", wall_s },
        { "per_second", (double)messages / wall_s },
        { "cpu_us", (double)(to->cpu_ns - from->cpu_ns) / 1e3 / n },
        { "busy", (double)(to->cpu_ns - from->cpu_ns) / 1e9 / wall_s },
        { "syscalls", (double)(to->syscalls - from->syscalls) / n },
        { "write_bytes", (double)(to->write_bytes - from->write_bytes) / n },
        { "switches", (double)(to->switches - from->switches) / n },
        { "private_bytes", ((double)to->private_kb - (double)from->private_kb) * 1024 / n },
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s%s", prefix, rows[i].name);
        report_number(name, rows[i].value);
    }
}

uint32_t tally_add(struct tally *t, uint32_t i, const struct delivery *d)
{
    uint32_t closed;

    if (d->seq < t->next[i]) {
        t->repeated++;          /* or out of order: then the gap it left was counted as a loss */
        return 0;
    }
    closed = d->seq - t->next[i] + 1;
    t->next[i] = d->seq + 1;
    t->lost += closed - 1;
    t->delivered++;
    return closed;
}

void report_tally(const struct tally *t)
{
    report_number("delivered", (double)t->delivered);
    report_number("lost", (double)t->lost);
    report_number("repeated", (double)t->repeated);
}

/* Every scene counts its connections in thousands at most; the hard limit is what the system lets us have. */
static void raise_fd_limit(void)
{
    struct rlimit r;

    getrlimit(RLIMIT_NOFILE, &r);
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_NOFILE, &r);
}

static const struct option long_options[] = {
    { "host", required_argument, NULL, 'h' },
    { "port", required_argument, NULL, 'p' },
    { "pid", required_argument, NULL, 'P' },
    { "version", required_argument, NULL, 'v' },
    { "qos", required_argument, NULL, 'q' },
    { "durable", no_argument, NULL, 'd' },
    { "keep", no_argument, NULL, 'k' },
    { "n", required_argument, NULL, 'n' },
    { "size", required_argument, NULL, 's' },
    { "window", required_argument, NULL, 'w' },
    { "batch", required_argument, NULL, 'b' },
    { "total", required_argument, NULL, 't' },
    { "inflight", required_argument, NULL, 'f' },
    { "rate", required_argument, NULL, 'r' },
    { "seconds", required_argument, NULL, 'S' },
    { "warmup", required_argument, NULL, 'W' },
    { "messages", required_argument, NULL, 'm' },
    { "parallel", required_argument, NULL, 'c' },
    { "spin", no_argument, NULL, 'x' },
    { "idle", required_argument, NULL, 'i' },
    { "subs", required_argument, NULL, 'u' },
    { "retained", required_argument, NULL, 'R' },
    { "topic", required_argument, NULL, 'T' },
    { "away", required_argument, NULL, 'A' },
    { "kill-after", required_argument, NULL, 'K' },
    { "acked", required_argument, NULL, 'a' },
    { NULL, 0, NULL, 0 },
};

static double number(const char *text)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end != '\0' || value < 0 || value > 4e9)
        load_die("not a number: %s", text);
    return value;
}

static void take_option(struct options *o, int which)
{
    switch (which) {
    case 'h': o->host = optarg; break;
    case 'p': o->port = (uint16_t)number(optarg); break;
    case 'P': o->pid = (pid_t)number(optarg); break;
    case 'v': o->version = (uint8_t)number(optarg); break;
    case 'q': o->qos = (uint8_t)number(optarg); break;
    case 'd': o->durable = true; break;
    case 'k': o->keep = true; break;
    case 'n': o->n = (uint32_t)number(optarg); break;
    case 's': o->size = (uint32_t)number(optarg); break;
    case 'w': o->window = (uint32_t)number(optarg); break;
    case 'b': o->batch = (uint32_t)number(optarg); break;
    case 't': o->total = (uint32_t)number(optarg); break;
    case 'f': o->inflight = (uint32_t)number(optarg); break;
    case 'r': o->rate = number(optarg); break;
    case 'S': o->seconds = number(optarg); break;
    case 'W': o->warmup = number(optarg); break;
    case 'm': o->messages = (uint32_t)number(optarg); break;
    case 'c': o->parallel = (uint32_t)number(optarg); break;
    case 'x': o->spin = true; break;
    case 'i': o->idle = (uint32_t)number(optarg); break;
    case 'u': o->subs = (uint32_t)number(optarg); break;
    case 'R': o->retained = (uint32_t)number(optarg); break;
    case 'T': o->topic = optarg; break;
    case 'A': o->away = optarg; break;
    case 'K': o->kill_after = (uint32_t)number(optarg); break;
    case 'a': o->acked = optarg; break;
    default: exit(2);
    }
}

static void check_options(struct options *o)
{
    if (o->batch == 0)
        o->batch = o->window / 2;
    if (o->batch > o->inflight && o->qos > 0)
        o->batch = o->inflight;
    if (o->batch == 0 || o->total != 0)
        o->batch = 1;
    if (o->port == 0 || o->n == 0 || o->window == 0 || o->inflight == 0 || o->inflight > 60000)
        load_die("--port, --n, --window and --inflight are at least 1 (and at most 60000 are in flight)");
    if (o->size < STAMP_LEN || o->size > SCRATCH_LEN - FILTER_MAX - 32)
        load_die("a payload has %d to %d bytes", STAMP_LEN, SCRATCH_LEN - FILTER_MAX - 32);
    if (o->qos > 2 || (o->version != 4 && o->version != 5))
        load_die("QoS is 0, 1 or 2; --version is 4 (3.1.1) or 5");
}

static void run_scene(const struct options *o)
{
    if (strcmp(o->scene, "pairs") == 0)
        scene_flow(o, SHAPE_PAIRS);
    else if (strcmp(o->scene, "fanout") == 0)
        scene_flow(o, SHAPE_FANOUT);
    else if (strcmp(o->scene, "fanin") == 0)
        scene_flow(o, SHAPE_FANIN);
    else if (strcmp(o->scene, "offline") == 0)
        scene_offline(o);
    else if (strcmp(o->scene, "drain") == 0)
        scene_drain(o);
    else if (strcmp(o->scene, "retain") == 0)
        scene_retain(o);
    else if (strcmp(o->scene, "storm") == 0)
        scene_storm(o);
    else if (strcmp(o->scene, "idle") == 0)
        scene_idle(o);
    else if (strcmp(o->scene, "sleepers") == 0)
        scene_sleepers(o);
    else
        load_die("no scene %s: pairs fanout fanin offline drain retain storm idle sleepers", o->scene);
}

int main(int argc, char **argv)
{
    struct options o = {
        .host = "127.0.0.1", .version = 4, .n = 100, .size = 64, .window = 20, .inflight = 20, .seconds = 1,
        .warmup = 0.3, .messages = 10000, .parallel = 32,
        .topic = "flow/%u", .away = "away/%u/state",
    };
    struct timespec cpu;
    int c;

    while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        take_option(&o, c);
    if (optind != argc - 1)
        load_die("usage: load SCENE --port=PORT [--option=value ...]");
    o.scene = argv[optind];
    check_options(&o);
    raise_fd_limit();
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_TIMERSLACK, 1UL);      /* open loop: a message sent 50 us late is the broker's latency else */
    run_scene(&o);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    report_number("load_cpu_s", (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9);
    puts("}");
    return 0;
}
