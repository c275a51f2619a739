/* `caddis pub`: one message, or one for every line of the standard input.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/cmd.h"
#include "broker/log.h"
#include "broker/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STAGED_MAX = 1 << 20, READ_STEP = 65536, CLOSE_MS = 3000 };

struct pub {
    struct tool_options o;
    struct client *client;
    /* what has been read and not yet been published */
    uint8_t *p;
    size_t start, len, cap;
    size_t searched;            /* of len, without a line feed */
    int fd;                     /* -1: all read */
    bool sent;                  /* the one message, where it is one */
    int code;
};

static void complain(const struct pub *s, const char *why)
{
    if (!s->o.quiet)
        fprintf(stderr, "caddis pub: %s\n", why);
}

static void on_published(void *arg, uint16_t id, enum reason reason, struct view text)
{
    struct pub *s = arg;
    char why[CLIENT_WHY_MAX];

    (void)id;
    if (reason < 0x80)
        return;
    snprintf(why, sizeof why, "the server refused a message: %s%s%s", reason_text(reason), text.len > 0 ? ": " : "",
             text.len > 0 ? log_q(text.p, text.len) : "");
    complain(s, why);
    s->code = (int)reason;
}

/* False: the input can't be read; code is set. */
static bool read_more(struct pub *s)
{
    ssize_t n;

    if (s->start > 0) {
        memmove(s->p, s->p + s->start, s->len);
        s->start = 0;
    }
    if (s->len + READ_STEP > s->cap) {
        s->cap = (s->len + READ_STEP) * 2;
        s->p = realloc(s->p, s->cap);
        if (s->p == NULL)
            abort();
    }
    n = read(s->fd, s->p + s->len, READ_STEP);
    if (n > 0)
        s->len += (size_t)n;
    if (n == 0)
        s->fd = -1;
    if (n >= 0 || errno == EINTR || errno == EAGAIN)
        return true;
    complain(s, strerror(errno));
    s->code = TOOL_FAILED;
    return false;
}

/* The next message, if it is whole. A last line without line feed counts. */
static bool next_message(struct pub *s, struct view *out)
{
    uint8_t *begin = s->p + s->start, *feed;
    size_t used;

    if (s->o.source != SOURCE_LINES) {
        *out = (struct view){ begin, s->len };
        return s->fd < 0 && !s->sent;
    }
    if (s->len == 0)
        return false;
    feed = memchr(begin + s->searched, '\n', s->len - s->searched);
    s->searched = s->len;
    if (feed == NULL && s->fd >= 0)
        return false;
    *out = (struct view){ begin, feed != NULL ? (size_t)(feed - begin) : s->len };
    used = out->len + (feed != NULL);
    if (out->len > 0 && out->p[out->len - 1] == '\r')
        out->len--;
    s->start += used;
    s->len -= used;
    s->searched = 0;
    return true;
}

/* False: the server can't take it, and none of its kind. */
static bool publish(struct pub *s, struct view payload)
{
    struct publish p = { .qos = s->o.qos, .retain = s->o.retain, .topic = view_of(s->o.topics.items[0]),
                         .payload = payload };
    char why[CLIENT_WHY_MAX];

    s->sent = true;
    if (client_publish(s->client, &p, s->o.props[TOOL_PUBLISH], why) >= 0)
        return true;
    complain(s, why);
    s->code = TOOL_FAILED;
    return false;
}

static bool publish_what_fits(struct pub *s)
{
    struct view payload;

    while ((s->o.qos == 0 || client_may_publish(s->client)) && client_staged(s->client) < STAGED_MAX) {
        if (!next_message(s, &payload))
            return true;
        if (s->o.source == SOURCE_LINES && payload.len == 0)
            continue;       /* blank lines are not sent, as with mosquitto_pub */
        if (!publish(s, payload))
            return false;
    }
    return true;
}

static bool all_done(const struct pub *s)
{
    bool input_done = s->fd < 0 && (s->o.source == SOURCE_LINES ? s->len == 0 : s->sent);

    return input_done && client_unfinished(s->client) == 0 && client_staged(s->client) == 0;
}

static void run(struct pub *s)
{
    while (publish_what_fits(s) && !all_done(s)) {
        bool hungry = s->fd >= 0 && (s->searched == s->len || s->o.source != SOURCE_LINES) &&
                      client_staged(s->client) < STAGED_MAX;
        int got = client_poll(s->client, hungry ? s->fd : -1, -1);

        if (got < 0) {
            char why[2 * CLIENT_WHY_MAX];
            snprintf(why, sizeof why, "%s; %u messages are without acknowledgement", client_why(s->client),
                     client_unfinished(s->client));
            complain(s, s->o.qos > 0 ? why : client_why(s->client));
            s->code = TOOL_FAILED;
            return;
        }
        if (got & CLIENT_OTHER && !read_more(s))
            return;
    }
}

/* Texts are there at once, files and the standard input are read by and by. */
static bool open_source(struct pub *s)
{
    char why[CLIENT_WHY_MAX];

    s->fd = -1;
    if (s->o.source == SOURCE_TEXT) {
        s->len = strlen(s->o.payload);
        s->p = (uint8_t *)strdup(s->o.payload);
        return s->p != NULL;
    }
    if (s->o.source == SOURCE_LINES || s->o.source == SOURCE_STDIN)
        s->fd = STDIN_FILENO;
    if (s->o.source != SOURCE_FILE)
        return true;
    s->fd = open(s->o.payload, O_RDONLY | O_CLOEXEC);
    if (s->fd >= 0)
        return true;
    snprintf(why, sizeof why, "%s: %s", s->o.payload, strerror(errno));
    complain(s, why);
    return false;
}

int cmd_pub(int argc, char **argv)
{
    struct pub s = { 0 };
    struct client_events events = { .arg = &s, .published = on_published };
    char why[CLIENT_WHY_MAX];

    s.code = tool_parse(TOOL_PUB, argc, argv, &s.o);
    if (s.code >= 0)
        goto done;
    s.code = TOOL_FAILED;
    if (!open_source(&s))
        goto done;
    signal(SIGPIPE, SIG_IGN);
    s.client = client_open(&s.o.client, &events, why, &s.code);
    if (s.client == NULL) {
        complain(&s, why);
        goto done;
    }
    s.code = TOOL_OK;
    run(&s);
    client_close(s.client, R_OK, s.o.props[TOOL_DISCONNECT], CLOSE_MS);
done:
    free(s.p);
    tool_done(&s.o);
    return s.code;
}
