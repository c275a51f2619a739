/* The broker as a process: see server.h.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/crash/server.h"

#include "persist/persist.h"
#include "tests/crash/dice.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static bool complain(const struct server *s, const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", s->test, what, strerror(errno));
    return false;
}

void server_path(const struct server *s, const char *name, char *buf, size_t cap)
{
    snprintf(buf, cap, "%s/%s", s->dir, name);
}

bool server_prepare(struct server *s, const char *program, const char *test)
{
    const char *tmp = getenv("TMPDIR");
    char path[256];

    *s = (struct server){ .program = program, .test = test, .err = -1 };
    if (access(program, X_OK) < 0)
        return complain(s, program);
    snprintf(s->dir, sizeof s->dir, "%.90s/caddis-%s-XXXXXX", tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp",
             test);
    if (mkdtemp(s->dir) == NULL)
        return complain(s, s->dir);
    server_path(s, "log", path, sizeof path);
    s->log = fopen(path, "we");
    return s->log != NULL || complain(s, path);
}

bool server_configure(const struct server *s, const char *text)
{
    char path[256];
    FILE *f;

    server_path(s, "caddis.ini", path, sizeof path);
    f = fopen(path, "we");
    if (f == NULL)
        return complain(s, path);
    fprintf(f, "[broker]\n%s[persistence]\npath = %s/caddis.db\n"
               "[listener default]\naddress = 127.0.0.1\nport = 0\nallow_anonymous = true\n%s",
            geteuid() == 0 ? "user = root\n" : "", s->dir, text);
    return fclose(f) == 0 || complain(s, path);
}

bool server_start(struct server *s, const char *why)
{
    char config[256];
    int pipe_fds[2];

    server_path(s, "caddis.ini", config, sizeof config);
    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return complain(s, "pipe");
    s->port = 0;
    s->line_len = 0;
    fprintf(s->log, "---- %s\n", why);
    fflush(s->log);
    s->pid = fork();
    if (s->pid < 0)
        return complain(s, "fork");
    if (s->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(pipe_fds[1], STDERR_FILENO);
        execl(s->program, s->program, "-c", config, (char *)NULL);
        _exit(127);
    }
    close(pipe_fds[1]);
    s->err = pipe_fds[0];
    fcntl(s->err, F_SETFL, O_NONBLOCK);
    return true;
}

/* listening name="default" on 127.0.0.1:41234 protocol=mqtt */
static void take_line(struct server *s)
{
    const char *on = strstr(s->line, "listening name=\"default\" on ");
    const char *colon = on != NULL ? strrchr(on, ':') : NULL;

    fprintf(s->log, "%s\n", s->line);
    if (colon != NULL)
        s->port = (uint16_t)strtoul(colon + 1, NULL, 10);
    if (s->said != NULL)
        s->said(s->line);
    s->line_len = 0;
}

void server_read(struct server *s)
{
    char buf[4096];
    ssize_t n;

    while (s->err >= 0 && (n = read(s->err, buf, sizeof buf)) != 0) {
        if (n < 0)
            break;
        for (ssize_t i = 0; i < n; i++)
            if (buf[i] == '\n' || s->line_len == sizeof s->line - 1) {
                s->line[s->line_len] = '\0';
                take_line(s);
            } else {
                s->line[s->line_len++] = buf[i];
            }
    }
    fflush(s->log);
}

bool server_died(struct server *s, int *status)
{
    if (s->pid == 0 || waitpid(s->pid, status, WNOHANG) != s->pid)
        return false;
    server_read(s);
    close(s->err);
    s->err = -1;
    s->pid = 0;
    return true;
}

void server_signal(struct server *s, int sig)
{
    if (s->pid > 0)
        kill(s->pid, sig);
}

bool server_wait(struct server *s, uint64_t limit_ms, int *status)
{
    uint64_t until = now_ms() + limit_ms;

    while (s->pid > 0 && !server_died(s, status)) {
        if (now_ms() >= until)
            return false;
        server_read(s);
        poll(NULL, 0, 1);
    }
    return true;
}

static int add_queue(void *sum, const struct persist_queue_summary *q)
{
    *(long *)sum += (long)q->count;
    return 0;
}

static int add_id(void *sum, int64_t session_id, int packet_id)
{
    (void)session_id;
    (void)packet_id;
    ++*(long *)sum;
    return 0;
}

long server_left_over(const struct server *s, const char **why)
{
    static char text[512];
    char path[256], *reason = NULL;
    struct persist_options o = { .path = path, .read_only = true };
    struct persist_open_info info;
    struct persist *p;
    long sum = 0;

    server_path(s, "caddis.db", path, sizeof path);
    *why = text;
    if (persist_open(&o, &p, &info, &reason) == PERSIST_REFUSED) {
        snprintf(text, sizeof text, "%s", reason != NULL ? reason : "no memory");
        free(reason);
        return -1;
    }
    if (persist_each_queue_summary(p, add_queue, &sum) != PERSIST_OK ||
        persist_each_inbound(p, add_id, &sum) != PERSIST_OK) {
        snprintf(text, sizeof text, "%s", persist_error(p));
        sum = -1;
    }
    persist_close(&p);
    return sum;
}

void server_finish(struct server *s, bool keep)
{
    static const char *const files[] = {
        "caddis.ini", "log", "caddis.db", "caddis.db-wal", "caddis.db-shm", "caddis.db.lock",
    };
    char path[256];
    int status;

    if (s->pid > 0) {
        server_signal(s, SIGKILL);
        server_wait(s, 10000, &status);
    }
    if (s->log != NULL)
        fclose(s->log);
    if (keep) {
        printf("configuration, store and log are kept in %s\n", s->dir);
        return;
    }
    for (unsigned i = 0; i < sizeof files / sizeof files[0]; i++) {
        server_path(s, files[i], path, sizeof path);
        unlink(path);
    }
    if (rmdir(s->dir) < 0)
        printf("%s has files that this test knows nothing of\n", s->dir);
}
