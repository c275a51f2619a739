/* Kills the broker at a random moment under mixed load, starts it again on the same store, over and over, and in the
 * end asks whether everything it had acknowledged has arrived: nothing lost, nothing twice at QoS 2, everything in
 * order, the right messages retained, every session there that should be and no other.
 *
 *     crash_kill [-d power|crash|both] [-r ROUNDS] [-s SEED] [-t] [-v]
 *
 * CADDIS names the program, ROUNDS and SEED do what the options do. A seed fixes what clients decide, not how the
 * machine schedules them: the same seed gives the same kind of run, not the same run.
 * -t ends the broker with SIGTERM instead: what a broker without promises should survive too, and a test of this test.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/crash/crash_kill.h"

#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

enum {
    LINKS = PUBLISHERS + SUBSCRIBERS + 1,
    START_LIMIT_MS = 20000,
    STOP_LIMIT_MS = 20000,
    ANSWER_LIMIT_MS = 20000,    /* without any progress */
    QUIET_MS = 300,             /* at the end: what should not come would have come by then */
};

unsigned round_now;
static uint64_t seed;
static struct server server;
static bool verbose, gentle;
static const char *durability = "both";

static struct link *link_at(unsigned i)
{
    if (i < PUBLISHERS)
        return publisher_link(i);
    return i < PUBLISHERS + SUBSCRIBERS ? subscriber_link(i - PUBLISHERS) : inspector_link();
}

/* One look at every socket; false: the broker has ended by itself. */
static bool turn(void)
{
    struct pollfd fds[LINKS + 1];
    int status;

    for (unsigned i = 0; i < LINKS; i++) {
        struct link *l = link_at(i);
        fds[i] = (struct pollfd){ .fd = l->fd, .events = (short)(l->out.len > 0 ? POLLIN | POLLOUT : POLLIN) };
    }
    fds[LINKS] = (struct pollfd){ .fd = server.err, .events = POLLIN };
    poll(fds, LINKS + 1, 1);
    for (unsigned i = 0; i < LINKS; i++) {
        if ((fds[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0)
            link_read(link_at(i));
        if ((fds[i].revents & POLLOUT) != 0)
            link_write(link_at(i));
    }
    server_read(&server);
    if (!server_died(&server, &status))
        return true;
    model_fail("the broker ended by itself: %s %d; see its log", WIFSIGNALED(status) ? "signal" : "exit status",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return false;
}

static bool start_broker(void)
{
    const char *how = strcmp(durability, "both") == 0 ? (chance(2) ? "power" : "crash") : durability;
    char text[160], why[64];

    /* Queues without a bound: a message that a full queue drops would be a loss that was agreed to. */
    snprintf(text, sizeof text, "[broker]\nenable_control = false\nsys_interval = 0\n[persistence]\ndurability = %s\n"
             "[limits]\nmax_queued_messages = 0\n", how);
    snprintf(why, sizeof why, "round %u, durability %s", round_now, how);
    return server_configure(&server, text) && server_start(&server, why);
}

static bool wait_listening(void)
{
    uint64_t until = now_ms() + START_LIMIT_MS;

    while (server.port == 0) {
        if (!turn())
            return false;
        if (now_ms() > until) {
            model_fail("the broker did not say where it listens within %d s", START_LIMIT_MS / 1000);
            return false;
        }
    }
    return true;
}

/* What the broker sent before it died has been said, and counts: sockets are read to their end. */
static void after_death(void)
{
    for (unsigned i = 0; i < LINKS; i++) {
        struct link *l = link_at(i);
        struct pollfd p = { .fd = l->fd, .events = POLLIN };
        while (l->fd >= 0 && poll(&p, 1, 2000) > 0)
            link_read(l);
        link_down(l);
    }
}

static void kill_broker(void)
{
    int status = 0;

    server_signal(&server, SIGKILL);
    server_wait(&server, STOP_LIMIT_MS, &status);
    after_death();
    totals.kills++;
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        model_fail("the broker ended by itself: %s %d; see its log", WIFSIGNALED(status) ? "signal" : "exit status",
                   WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

static void stop_broker(void)
{
    uint64_t until = now_ms() + STOP_LIMIT_MS;
    int status = 0;

    server_signal(&server, SIGTERM);
    while (!server_died(&server, &status)) {
        for (unsigned i = 0; i < LINKS; i++)
            link_read(link_at(i));
        server_read(&server);
        poll(NULL, 0, 1);
        if (now_ms() > until) {
            model_fail("the broker did not end within %d s after SIGTERM", STOP_LIMIT_MS / 1000);
            kill_broker();
            return;
        }
    }
    after_death();
    totals.stops++;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        model_fail("after SIGTERM the broker ended with %s %d; see its log",
                   WIFSIGNALED(status) ? "signal" : "exit status",
                   WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

/* ---- phases; false: no use in going on ---- */

static bool inspect(void)
{
    uint64_t until = now_ms() + ANSWER_LIMIT_MS / 4;

    inspector_reset();
    while (!inspector_done() && now_ms() < until) {
        inspector_act(server.port);
        if (!turn())
            return false;
    }
    inspector_judge();
    return true;
}

static bool everybody_ready(uint64_t limit_ms)
{
    uint64_t until = now_ms() + limit_ms;

    while (!publishers_done() || !subscribers_ready()) {
        publishers_act(server.port, false);
        subscribers_act(server.port, false);
        if (!turn())
            return false;
        if (now_ms() > until) {
            model_fail("not everybody was connected and answered within %" PRIu64 " s", limit_ms / 1000);
            return false;
        }
    }
    return true;
}

static bool load_until(uint64_t until)
{
    while (now_ms() < until) {
        if (server.port != 0) {
            publishers_act(server.port, true);
            subscribers_act(server.port, true);
        }
        if (!turn())
            return false;
    }
    return true;
}

/* One life of the broker. Some are so short that it is killed while it reads the store or while clients come back. */
static bool play_round(void)
{
    bool at_start = chance(8) && !gentle, at_return = chance(8), orderly = chance(8);

    if (!start_broker())
        return false;
    publishers_new_round();
    if (!at_start && !wait_listening())
        return false;
    if (!at_start && !at_return && !inspect())
        return false;
    if (!load_until(now_ms() + rnd(at_start || at_return ? 60 : 500)))
        return false;
    if (gentle || (orderly && !at_start))
        stop_broker();
    else
        kill_broker();
    return true;
}

/* Everything that is due has to come now. Patience ends when nothing has come for a while. */
static bool drain(void)
{
    unsigned long before = 0;
    uint64_t quiet_since = now_ms(), look = 0;
    bool ready = false, complete = false;

    while (now_ms() - quiet_since < (complete ? QUIET_MS : ANSWER_LIMIT_MS)) {
        publishers_act(server.port, false);
        subscribers_act(server.port, false);
        if (!turn())
            return false;
        if (totals.delivered + totals.acked != before)
            quiet_since = now_ms();
        before = totals.delivered + totals.acked;
        ready = publishers_done() && subscribers_ready();
        if (now_ms() < look)
            continue;
        complete = ready && model_missing() == 0;
        look = now_ms() + 100;
    }
    if (!ready)
        model_fail("not everybody was connected and answered in the end");
    model_report_missing();
    return true;
}

/* Everything was delivered and acknowledged, so nothing of it has a place in the store any more. */
static void check_store(void)
{
    const char *why;
    long n = server_left_over(&server, &why);

    if (n < 0)
        model_fail("the store can't be read: %s", why);
    if (n > 0)
        model_fail("%ld queued messages and packet ids are left in the store", n);
}

static bool play(unsigned rounds)
{
    if (!start_broker() || !wait_listening() || !everybody_ready(ANSWER_LIMIT_MS))
        return false;
    if (gentle)
        stop_broker();
    else
        kill_broker();
    for (round_now = 1; round_now <= rounds; round_now++) {
        if (!play_round())
            return false;
        if (verbose)
            printf("round %u: %lu sent, %lu acknowledged, %lu delivered, %lu due, %lu failures\n", round_now,
                   totals.sent, totals.acked, totals.delivered, model_missing(), totals.failures);
        if (totals.failures > 1000)
            return false;
    }
    if (!start_broker() || !wait_listening() || !inspect() || !drain())
        return false;
    stop_broker();
    check_store();
    return true;
}

static bool parse(int argc, char **argv, unsigned *rounds)
{
    const char *env_rounds = getenv("ROUNDS"), *env_seed = getenv("SEED");
    int c;

    *rounds = env_rounds != NULL ? (unsigned)strtoul(env_rounds, NULL, 10) : 20;
    seed = env_seed != NULL ? strtoull(env_seed, NULL, 10) : (uint64_t)time(NULL) * 1000 + now_ms() % 1000;
    while ((c = getopt(argc, argv, "d:r:s:tv")) != -1)
        switch (c) {
        case 'd': durability = optarg; break;
        case 'r': *rounds = (unsigned)strtoul(optarg, NULL, 10); break;
        case 's': seed = strtoull(optarg, NULL, 10); break;
        case 't': gentle = true; break;
        case 'v': verbose = true; break;
        default: return false;
        }
    return optind == argc && *rounds > 0 && (strcmp(durability, "power") == 0 || strcmp(durability, "crash") == 0 ||
                                             strcmp(durability, "both") == 0);
}

int main(int argc, char **argv)
{
    const char *program = getenv("CADDIS");
    unsigned rounds;

    if (!parse(argc, argv, &rounds)) {
        fputs("usage: crash_kill [-d power|crash|both] [-r ROUNDS] [-s SEED] [-t] [-v]\n", stderr);
        return 2;
    }
    rnd_seed(seed);
    printf("crash_kill: seed %" PRIu64 ", %u rounds, durability %s\n", seed, rounds, durability);
    fflush(stdout);
    model_init();
    publishers_init();
    subscribers_init();
    inspector_init();
    if (!server_prepare(&server, program != NULL ? program : "./caddis", "crash"))
        return 2;
    if (!play(rounds) && totals.failures == 0)
        model_fail("could not go on; see above");
    printf("crash_kill: %lu sent, %lu resent, %lu acknowledged, %lu delivered (%lu again), %lu connects, %lu kills, "
           "%lu stops, %lu failures\n", totals.sent, totals.resent, totals.acked, totals.delivered, totals.duplicates,
           totals.connects, totals.kills, totals.stops, totals.failures);
    server_finish(&server, totals.failures > 0);
    for (unsigned i = 0; i < LINKS; i++)
        link_fini(link_at(i));
    subscribers_free();
    model_free();
    return totals.failures > 0;
}
