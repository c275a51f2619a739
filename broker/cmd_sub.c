/* `caddis sub`: prints messages as they come. What has been acknowledged has been printed: standard output is flushed
 * before acknowledgements leave.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/clock.h"
#include "broker/cmd.h"
#include "broker/log.h"
#include "broker/sub_format.h"
#include "broker/tool.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { CLOSE_MS = 3000, RETRY_FIRST_MS = 1000, RETRY_MOST_MS = 30000 };

struct sub {
    struct tool_options o;
    struct client *client;
    int signal_fd;
    uint64_t deadline_ms;       /* of -W; 0: none */
    uint64_t left;              /* messages until -C is reached */
    bool tame;                  /* output is a terminal */
    bool done;
    int code;
};

static void complain(const struct sub *s, const char *what, const char *why)
{
    if (!s->o.quiet)
        fprintf(stderr, "caddis sub: %s%s\n", what, why);
}

static bool wanted(const struct sub *s, const struct publish *p)
{
    if (s->o.no_retained && p->retain)
        return false;
    for (unsigned i = 0; i < s->o.filter_out.count; i++)
        if (topic_matches(view_of(s->o.filter_out.items[i]), p->topic))
            return false;
    return true;
}

static int on_message(void *arg, const struct publish *p)
{
    struct sub *s = arg;

    if (s->o.only_retained && !p->retain) {
        s->done = true;
        return 1;
    }
    if (!wanted(s, p))
        return 0;
    if (s->o.format != NULL)
        format_print(stdout, s->o.format, p, s->tame);
    else
        format_print(stdout, s->o.verbose ? "%t %p" : "%p", p, s->tame);
    if (!s->o.no_newline)
        putchar('\n');
    if (s->o.count > 0 && --s->left == 0)
        s->done = true;
    return s->done;
}

/* One refused filter of several is worth a line; all of them: there is nothing to wait for. */
static void on_subscribed(void *arg, enum packet type, const struct suback *a)
{
    struct sub *s = arg;
    unsigned refused = 0;

    if (type != PKT_SUBACK) {
        s->done |= s->o.topics.count == 0;      /* -U alone: that was all */
        return;
    }
    for (unsigned i = 0; i < a->codes.len && i < s->o.topics.count; i++) {
        if (a->codes.p[i] < 0x80)
            continue;
        refused++;
        s->code = a->codes.p[i];
        if (!s->o.quiet)
            fprintf(stderr, "caddis sub: the server refused the subscription to %s: %s\n", log_qs(s->o.topics.items[i]),
                    reason_text((enum reason)a->codes.p[i]));
    }
    if (refused < s->o.topics.count)
        s->code = TOOL_OK;
    s->done |= refused == s->o.topics.count || s->o.exit_subscribed;
}

static void subscribe(struct sub *s)
{
    struct subscription *subs = calloc(s->o.topics.count + 1, sizeof *subs);
    struct view *filters = calloc(s->o.unsubscribe.count + 1, sizeof *filters);

    if (subs == NULL || filters == NULL)
        abort();
    for (unsigned i = 0; i < s->o.unsubscribe.count; i++)
        filters[i] = view_of(s->o.unsubscribe.items[i]);
    for (unsigned i = 0; i < s->o.topics.count; i++)
        subs[i] = (struct subscription){ .filter = view_of(s->o.topics.items[i]), .filter_ok = true, .qos = s->o.qos,
                                         .no_local = s->o.no_local, .retain_as_published = s->o.retain_as_published,
                                         .retain_handling = s->o.retain_handling };
    if (s->o.unsubscribe.count > 0)
        client_unsubscribe(s->client, filters, s->o.unsubscribe.count);
    if (s->o.topics.count > 0)
        client_subscribe(s->client, subs, s->o.topics.count, s->o.props[TOOL_SUBSCRIBE]);
    free(subs);
    free(filters);
}

/* -1: no end in sight. */
static int time_left(const struct sub *s)
{
    uint64_t now = clock_mono_ms();

    return s->deadline_ms == 0 ? -1 : now >= s->deadline_ms ? 0 : (int)(s->deadline_ms - now);
}

static bool time_is_up(struct sub *s)
{
    if (time_left(s) != 0)
        return false;
    s->done = true;
    s->code = TOOL_TIMEOUT;
    return true;
}

/* The last message may be of QoS 2: its handshake is brought to an end, or the server sends it again. */
static void finish_handshakes(struct sub *s)
{
    uint64_t deadline = clock_mono_ms() + CLOSE_MS, now;

    while (client_unreleased(s->client) > 0 && (now = clock_mono_ms()) < deadline &&
           client_poll(s->client, -1, (int)(deadline - now)) >= 0)
        ;
}

/* Until done, or the connection is over: then false. */
static bool receive(struct sub *s)
{
    while (!s->done) {
        int got;

        if (fflush(stdout) != 0) {
            complain(s, "output: ", strerror(errno));
            s->code = TOOL_FAILED;
            s->done = true;
            break;
        }
        got = client_poll(s->client, s->signal_fd, time_left(s));
        if (s->done)
            break;      /* even if the connection is over now */
        if (got < 0)
            return false;
        if (got & CLIENT_OTHER)
            s->done = true;
        else
            time_is_up(s);
    }
    return true;
}

/* Waits before the next attempt; false when a signal came or the time is up. */
static bool pause_for(struct sub *s, int ms)
{
    struct pollfd p = { .fd = s->signal_fd, .events = POLLIN };
    int left = time_left(s);

    if (poll(&p, 1, left >= 0 && left < ms ? left : ms) != 0) {
        s->done = true;
        return false;
    }
    return !time_is_up(s);
}

/* After a lost connection the server may be restarting: it is tried again until it answers. A server that says no ends
 * it. */
static bool reconnect(struct sub *s, const struct client_events *events)
{
    char why[CLIENT_WHY_MAX];

    complain(s, "", client_why(s->client));
    client_free(s->client);
    s->client = NULL;
    for (int wait = RETRY_FIRST_MS; pause_for(s, wait); wait = wait * 2 < RETRY_MOST_MS ? wait * 2 : RETRY_MOST_MS) {
        s->client = client_open(&s->o.client, events, why, &s->code);
        if (s->client != NULL) {
            s->code = TOOL_OK;
            return true;
        }
        complain(s, "", why);
        if (s->code > 1)
            return false;
        s->code = TOOL_OK;
    }
    return false;
}

static void run(struct sub *s, const struct client_events *events)
{
    do {
        subscribe(s);
        if (!receive(s))
            continue;
        if (fflush(stdout) == 0)
            finish_handshakes(s);
        client_close(s->client, R_OK, s->o.props[TOOL_DISCONNECT], CLOSE_MS);
        return;
    } while (reconnect(s, events));
}

int cmd_sub(int argc, char **argv)
{
    struct sub s = { .signal_fd = -1 };
    struct client_events events = { .arg = &s, .message = on_message, .subscribed = on_subscribed };
    char why[CLIENT_WHY_MAX];
    sigset_t set;

    s.code = tool_parse(TOOL_SUB, argc, argv, &s.o);
    if (s.code >= 0)
        goto done;
    s.left = s.o.count;
    s.tame = isatty(STDOUT_FILENO);
    if (s.o.wait_s > 0)
        s.deadline_ms = clock_mono_ms() + s.o.wait_s * UINT64_C(1000);
    s.client = client_open(&s.o.client, &events, why, &s.code);
    if (s.client == NULL) {
        complain(&s, "", why);
        goto done;
    }
    s.code = TOOL_OK;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    s.signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
    run(&s, &events);
    close(s.signal_fd);
done:
    tool_done(&s.o);
    return s.code;
}
