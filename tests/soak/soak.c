/* A broker that lives through everything a year brings, in an hour, and is asked about every single delivery: README.
 *
 *     soak [-t SECONDS] [-s SEED] [-r RATE]
 *
 * CADDIS names the program; SEED and RATE do what the options do. Without -t it is the quick form of `make check`: a
 * few seconds and a few short lives of the broker, one calm. A seed fixes what everybody decides, not how the machine
 * schedules them.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/soak/soak.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    LINKS_MAX = READERS + WRITERS + WILLERS + 1,
    GHOSTS_MAX = 64,
    GHOST_LIMIT_MS = 20000,
    ANSWER_LIMIT_MS = 30000,    /* without any progress */
    QUIET_MS = 400,             /* what should not come would have come by then */
    STORE_LIMIT_MS = 15000,     /* until the store has what may be written later */
    REST_LIMIT_MS = 20000,
    FDS_LIMIT_MS = 10000,
    WAKE_EVERY = 4,             /* calms */
    QUICK_SENT = 600,           /* a machine with other work gets more time for so many messages */
    QUICK_MORE_MS = 15000,
};

uint64_t seed;
static unsigned seconds = 5, rate = 200;
static bool quick = true;
static uint64_t began_ms, minute_ms;
static unsigned calms_to_live;          /* so many calms before the broker is ended again */

/* ---- sockets ---- */

static struct ghost {
    int fd;
    uint64_t limit_ms;
    char id[24];
} ghosts[GHOSTS_MAX];
static unsigned ghost_count;

void ghost_take(struct link *l)
{
    struct ghost *g = &ghosts[ghost_count];

    if (ghost_count == GHOSTS_MAX) {
        link_down(l);
        return;
    }
    *g = (struct ghost){ .fd = l->fd, .limit_ms = now_ms() + GHOST_LIMIT_MS };
    memcpy(g->id, l->id, sizeof g->id);
    ghost_count++;
    l->fd = -1;
    l->up = false;
    l->next_ms = now_ms();
}

void ghosts_drop(void)
{
    while (ghost_count > 0)
        close(ghosts[--ghost_count].fd);
}

static void ghosts_look(void)
{
    static uint8_t trash[65536];

    for (unsigned i = ghost_count; i-- > 0;) {
        ssize_t n = recv(ghosts[i].fd, trash, sizeof trash, MSG_DONTWAIT);

        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            close(ghosts[i].fd);
            ghosts[i] = ghosts[--ghost_count];
        } else if (now_ms() > ghosts[i].limit_ms) {
            fail_about(ghosts[i].id, NULL, "%s: the connection that was taken over is still open after %d s",
                       ghosts[i].id, GHOST_LIMIT_MS / 1000);
        }
    }
}

static unsigned all_links(struct link **out)
{
    unsigned n = readers_links(out);

    n += writers_links(out + n);
    n += willers_links(out + n);
    out[n++] = inspector_link();
    return n;
}

void turn(bool ending)
{
    struct link *links[LINKS_MAX];
    struct pollfd p[LINKS_MAX + 1];
    unsigned n = all_links(links);

    for (unsigned i = 0; i < n; i++)
        p[i] = (struct pollfd){ links[i]->fd, (short)(links[i]->out.len > 0 ? POLLIN | POLLOUT : POLLIN), 0 };
    p[n] = (struct pollfd){ .fd = server.err, .events = POLLIN };
    poll(p, n + 1, 3);
    for (unsigned i = 0; i < n; i++) {
        if ((p[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0)
            link_read(links[i]);
        if ((p[i].revents & POLLOUT) != 0)
            link_write(links[i]);
    }
    ghosts_look();
    if (!ending)
        broker_look();
}

void read_last_words(void)
{
    struct link *links[LINKS_MAX];
    unsigned n;

    readers_listen();
    n = all_links(links);
    for (unsigned i = 0; i < n; i++) {
        struct pollfd p = { .fd = links[i]->fd, .events = POLLIN };
        while (links[i]->fd >= 0 && poll(&p, 1, 2000) > 0)
            link_read(links[i]);
        link_down(links[i]);
    }
}

static uint16_t port(void)
{
    return broker_listening() ? server.port : 0;
}

static void act(bool load, bool wake)
{
    readers_act(port(), load, wake);
    willers_act(port(), load);
    writers_act(port(), load, rate);
}

/* ---- what is said ---- */

static void say(const char *what)
{
    char watch[128];

    watch_line(watch, sizeof watch);
    printf("soak: %s: %lu sent (%lu again), %lu acknowledged, %lu delivered (%lu again, %lu did not fit), "
           "%lu connects, %lu cuts, %lu take-overs, %lu subscriptions, "
           "%lu wills, %lu kills, %lu stops, %lu reloads, %lu tools, "
           "%lu calms; %s\n", what, totals.sent, totals.resent, totals.acked, totals.delivered, totals.again,
           totals.dropped, totals.connects, totals.cuts, totals.takeovers, totals.subscribes, totals.wills,
           totals.kills, totals.stops, totals.reloads, totals.tools, totals.calms, watch);
    fflush(stdout);
}

static void each_minute(void)
{
    char what[32];

    if (now_ms() < minute_ms)
        return;
    snprintf(what, sizeof what, "%3" PRIu64 " min", (now_ms() - began_ms) / 60000);
    if (now_ms() > began_ms + 30000)
        say(what);
    minute_ms += 60000;
}

/* ---- load ---- */

static void restart(void)
{
    if (chance(3))
        broker_stop();
    else
        broker_kill();
    broker_start();
    calms_to_live = quick || !chance(6) ? rnd(2) : 10 + rnd(6);
}

/* Some lives are so short that the broker is ended while it reads the store or while clients come back. */
static uint64_t next_restart(void)
{
    if (calms_to_live > 0)
        return UINT64_MAX;
    return now_ms() + (chance(5) ? rnd(100) : rnd(quick ? 2000 : 8000));
}

static void load(uint64_t ms)
{
    uint64_t until = now_ms() + ms, at = next_restart();

    note("soak", "load for %" PRIu64 " ms", ms);
    while (now_ms() < until || (quick && totals.sent < QUICK_SENT && now_ms() < until + QUICK_MORE_MS)) {
        act(true, false);
        turn(false);
        broker_operate();
        each_minute();
        if (now_ms() >= at) {
            restart();
            at = next_restart();
        }
    }
}

/* ---- calm ---- */

static bool all_here(bool wake)
{
    return broker_listening() && writers_done() && readers_ready(wake) && willers_done() && ghost_count == 0;
}

/* Everything that is due has to come now. Patience ends when nothing has come for a while. */
static void drain(bool wake)
{
    unsigned long before = 0;
    uint64_t quiet_since = now_ms(), look = 0;
    bool here = false, complete = false;

    while (now_ms() - quiet_since < (complete ? QUIET_MS : ANSWER_LIMIT_MS)) {
        act(false, wake);
        turn(false);
        each_minute();
        if (totals.delivered + totals.acked != before)
            quiet_since = now_ms();
        before = totals.delivered + totals.acked;
        if (now_ms() < look)
            continue;
        here = all_here(wake);
        complete = here && readers_missing(wake) == 0 && broker_tools_done();
        look = now_ms() + 50;
    }
    readers_judge(wake);
    if (!here)
        fail_about(NULL, NULL, "not everybody was connected and answered within %d s", ANSWER_LIMIT_MS / 1000);
}

static void wait_ms(uint64_t ms)
{
    for (uint64_t until = now_ms() + ms; now_ms() < until;)
        turn(false);
}

static void inspect(void)
{
    inspector_reset();
    while (!inspector_act(port()))
        turn(false);
    wait_ms(50);
}

static void compare_store(void)
{
    uint64_t until = now_ms() + STORE_LIMIT_MS;
    const char *why;

    while ((why = store_compare()) != NULL) {
        if (now_ms() > until)
            fail_about(NULL, NULL, "in a calm %s", why);
        wait_ms(200);
    }
}

static void rest(void)
{
    uint64_t until = now_ms() + REST_LIMIT_MS;

    for (;;) {
        watch_rest_begin();
        poll(NULL, 0, 1000);
        if (watch_rest_ok())
            return;
        if (now_ms() > until)
            fail_about(NULL, NULL, "the broker does not come to rest");
        turn(false);
    }
}

static void sample(void)
{
    uint64_t until = now_ms() + FDS_LIMIT_MS;

    broker_ask_status();
    while (!broker_tools_done())
        turn(false);
    if (!readers_any_asleep() && broker_figure("queued", "messages") + broker_figure("queued", "inflight") > 0)
        fail_about(NULL, NULL, "in a calm %" PRIu64 " messages are queued and %" PRIu64 " in flight",
                   broker_figure("queued", "messages"), broker_figure("queued", "inflight"));
    wait_ms(20);
    while (!watch_fds_ok(readers_online() + WRITERS) && now_ms() < until)
        turn(false);
    watch_sample(readers_online() + WRITERS);
}

static void calm(bool wake)
{
    note("soak", "calm%s", wake ? ", sleepers too" : "");
    drain(wake);
    holder_end();
    inspect();
    compare_store();
    rest();
    sample();
    model_settle();
    readers_prune(model_time());
    totals.calms++;
    if (calms_to_live > 0)
        calms_to_live--;
}

/* ---- the whole ---- */

static void play(void)
{
    broker_start();
    while (!broker_listening())
        turn(false);
    while (now_ms() < began_ms + seconds * 1000u) {
        uint64_t left_ms = began_ms + seconds * 1000u - now_ms(), ms = 10000 + rnd(20000);

        load(ms < left_ms ? ms : left_ms);
        if (!quick)
            calm(totals.calms % WAKE_EVERY == WAKE_EVERY - 1);
    }
    calm(true);
    each_minute();
}

static void finish(void)
{
    const char *why;
    char what[64];

    snprintf(what, sizeof what, "%" PRIu64 " s, seed %" PRIu64, (now_ms() - began_ms) / 1000, seed);
    say(what);
    broker_stop();
    why = store_sound("caddis.db");
    if (why != NULL)
        fail_about(NULL, NULL, "in the store: %s", why);
    watch_store_verdict();
    broker_end(false);
    puts("soak: nothing lost, nothing repeated, nothing grew");
}

static bool parse(int argc, char **argv)
{
    const char *env_seed = getenv("SEED"), *env_rate = getenv("RATE");
    int c;

    rate = env_rate != NULL ? (unsigned)strtoul(env_rate, NULL, 10) : rate;
    seed = env_seed != NULL ? strtoull(env_seed, NULL, 10) : (uint64_t)time(NULL) * 1000 + now_ms() % 1000;
    while ((c = getopt(argc, argv, "r:s:t:")) != -1)
        switch (c) {
        case 'r': rate = (unsigned)strtoul(optarg, NULL, 10); break;
        case 's': seed = strtoull(optarg, NULL, 10); break;
        case 't': seconds = (unsigned)strtoul(optarg, NULL, 10); quick = false; break;
        default: return false;
        }
    return optind == argc && seconds > 0 && rate > 0 && seconds < UINT32_MAX / 1000;
}

int main(int argc, char **argv)
{
    const char *program = getenv("CADDIS");

    if (!parse(argc, argv)) {
        fputs("usage: soak [-t SECONDS] [-s SEED] [-r RATE]\n", stderr);
        return 2;
    }
    rnd_seed(seed);
    printf("soak: seed %" PRIu64 ", %u s, %u messages a second\n", seed, seconds, rate);
    fflush(stdout);
    model_init();
    filters_init();
    readers_init();
    writers_init();
    willers_init();
    inspector_init();
    if (!broker_prepare(program != NULL ? program : "./caddis"))
        return 2;
    began_ms = now_ms();
    minute_ms = began_ms + 60000;
    play();
    finish();
    readers_free();
    writers_free();
    willers_free();
    link_fini(inspector_link());
    model_free();
    return 0;
}
