/* What the tools share that talk to a running broker, or change the store of one that does not run.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/control_tool.h"

#include "broker/cmd.h"
#include "broker/control.h"
#include "broker/control_request.h"

#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

/* The broker itself gives up sooner. */
enum { ANSWER_S = 30 };

/* ---- options ---- */

static int usage(const struct control_tool *t, const char *what)
{
    fprintf(stderr, "caddis %s: %s; `caddis %s --help` says more\n", t->name, what, t->name);
    return EXIT_USAGE;
}

int control_tool_parse(struct control_tool *t, int argc, char **argv)
{
    static const struct option longs[] = {
        { "json", no_argument, NULL, 'j' },         { "config", required_argument, NULL, 'c' },
        { "socket", required_argument, NULL, 's' }, { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    const char *config = NULL;
    unsigned n = 0;
    int c;

    /* "-": words come in their place, as option 1, so that options may stand before and after them. */
    while ((c = getopt_long(argc, argv, "-c:h", longs + !t->takes_json, NULL)) != -1)
        switch (c) {
        case 'c': config = optarg; break;
        case 's': t->socket = optarg; break;
        case 'j': t->json = true; break;
        case 'h': fputs(t->help, stdout); return EXIT_OK;
        case 1:
            if (n == t->words_needed)
                return usage(t, "one word too many");
            t->words[n++] = optarg;
            break;
        default: return EXIT_USAGE;
        }
    for (; optind < argc; optind++) {           /* after "--": ids that start with a dash */
        if (n == t->words_needed)
            return usage(t, "one word too many");
        t->words[n++] = argv[optind];
    }
    if (n < t->words_needed)
        return usage(t, "a word is missing");
    if (t->socket != NULL && config == NULL)
        return -1;
    t->cfg = config_load(config, cmd_say, NULL);
    if (t->cfg == NULL)
        return EXIT_CONFIG;
    if (t->socket == NULL)
        t->socket = t->cfg->control_socket;
    if (strcmp(t->socket, CONTROL_DEFAULT) == 0 && access(CONTROL_DEFAULT, F_OK) < 0 &&
        access(CONTROL_SERVICE, F_OK) == 0)
        t->socket = CONTROL_SERVICE;
    return -1;
}

int control_tool_done(struct control_tool *t, int code)
{
    config_free(t->cfg);
    t->cfg = NULL;
    return fflush(stdout) != 0 && code == EXIT_OK ? EXIT_FAILED : code;
}

/* ---- asking ---- */

static int reach(const struct control_tool *t)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    struct timeval limit = { .tv_sec = ANSWER_S };
    int fd, err;

    if (strlen(t->socket) >= sizeof sa.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(sa.sun_path, t->socket, strlen(t->socket) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(fd, (const struct sockaddr *)&sa, sizeof sa) == 0)
        return fd;
    err = errno;
    close(fd);
    errno = err;
    return -1;
}

static bool send_request(int fd, const char *verb, const char *word)
{
    size_t len = strlen(verb), room = len + (word != NULL ? strlen(word) * 4 : 0) + 4, at = 0;
    char *line = malloc(room);
    ssize_t n = 0;

    if (line == NULL)
        return false;
    memcpy(line, verb, len);
    if (word != NULL) {
        line[len++] = ' ';
        len += request_quote((struct view){ (const uint8_t *)word, strlen(word) }, line + len);
    }
    line[len++] = '\n';
    for (; n >= 0 && at < len; at += n > 0 ? (size_t)n : 0)
        n = send(fd, line + at, len - at, MSG_NOSIGNAL);
    free(line);
    return at == len;
}

/* Lines to out until the last one. */
static enum control_asked hear(const struct control_tool *t, FILE *in, FILE *out)
{
    enum control_asked asked = ASKED_FAILED;
    char *line = NULL;
    size_t cap = 0;
    bool ended = false;

    while (!ended && getline(&line, &cap, in) > 0) {
        ended = strcmp(line, "ok\n") == 0 || strncmp(line, "error: ", 7) == 0;
        if (!ended)
            fputs(line, out);
        else if (line[0] == 'o')
            asked = ASKED_OK;
        else
            fprintf(stderr, "caddis %s: %s", t->name, line + 7);
    }
    if (!ended)
        fprintf(stderr, "caddis %s: the broker at %s gave no answer\n", t->name, t->socket);
    free(line);
    return asked;
}

enum control_asked control_ask(const struct control_tool *t, const char *verb, const char *word, FILE *out)
{
    int fd = reach(t);
    enum control_asked asked;
    FILE *in;

    if (fd < 0 && (errno == ENOENT || errno == ECONNREFUSED))
        return ASKED_NOBODY;
    in = fd >= 0 ? fdopen(fd, "re") : NULL;
    if (in == NULL) {
        fprintf(stderr, "caddis %s: %s: %s%s\n", t->name, t->socket, strerror(errno),
                errno == EACCES ? "; try it as root, or as a member of the broker's group" : "");
        if (fd >= 0)
            close(fd);
        return ASKED_FAILED;
    }
    /* A broker that refuses us says why and closes: there may be an answer though nothing could be sent. */
    send_request(fd, verb, word);
    asked = hear(t, in, out);
    fclose(in);
    return asked;
}

void control_nobody(const struct control_tool *t, const char *more)
{
    fprintf(stderr, "caddis %s: no broker runs at %s%s\n", t->name, t->socket, more);
}

int control_ask_only(const struct control_tool *t, const char *verb, const char *word)
{
    enum control_asked asked = control_ask(t, verb, word, stdout);

    if (asked == ASKED_NOBODY)
        control_nobody(t, "");
    return asked == ASKED_OK ? EXIT_OK : EXIT_FAILED;
}

/* ---- without a broker ---- */

static bool fail(const struct control_tool *t, const char *what, const char *why)
{
    fprintf(stderr, "caddis %s: store %s: %s\n", t->name, what, why);
    return false;
}

/* What root makes beside the store would be out of the broker's reach. */
static bool become_owner(const struct control_tool *t)
{
    const struct passwd *pw;
    struct stat st;

    if (stat(t->cfg->store_path, &st) < 0)
        return fail(t, t->cfg->store_path, strerror(errno));
    if (geteuid() != 0 || st.st_uid == 0)
        return true;
    pw = getpwuid(st.st_uid);
    if ((pw != NULL ? initgroups(pw->pw_name, st.st_gid) : setgroups(0, NULL)) < 0 ||
        setresgid(st.st_gid, st.st_gid, st.st_gid) < 0 || setresuid(st.st_uid, st.st_uid, st.st_uid) < 0)
        return fail(t, t->cfg->store_path, strerror(errno));
    return true;
}

struct persist *control_store_open(const struct control_tool *t)
{
    struct persist_options o = { .sync_commit = true };
    struct persist_open_info info;
    struct persist *p;
    char *why = NULL;

    if (t->cfg == NULL) {
        control_nobody(t, "; with -c FILE its store can be changed without it");
        return NULL;
    }
    if (!t->cfg->persistence) {
        control_nobody(t, ", and this configuration has no store");
        return NULL;
    }
    control_nobody(t, "; changing its store");
    if (!become_owner(t))
        return NULL;
    o.path = t->cfg->store_path;
    if (persist_open(&o, &p, &info, &why) == PERSIST_REFUSED) {
        fprintf(stderr, "caddis %s: %s\n", t->name, why != NULL ? why : "no memory");
        free(why);
        return NULL;
    }
    if (persist_begin(p) == PERSIST_OK)
        return p;
    control_store_close(t, p, PERSIST_BUSY);
    return NULL;
}

int control_store_close(const struct control_tool *t, struct persist *p, enum persist_rc rc)
{
    if (rc == PERSIST_OK)
        rc = persist_commit(p);
    if (rc == PERSIST_OK)
        rc = persist_sync_wait(p);
    if (rc != PERSIST_OK)
        fprintf(stderr, "caddis %s: nothing was changed: %s\n", t->name, persist_error(p));
    persist_close(&p);
    return rc == PERSIST_OK ? EXIT_OK : EXIT_FAILED;
}
