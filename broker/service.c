/* The service manager: sd_notify(3), sd_watchdog_enabled(3) and sd_listen_fds(3) without the library.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/service.h"

#include "broker/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* The first descriptor that is handed over, and how many we would believe. */
enum { FIRST_FD = 3, FDS_MAX = 1000 };

/* ---- telling ---- */

static void notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    size_t len = path != NULL ? strlen(path) : 0;
    int fd;

    if (len < 2 || len >= sizeof to.sun_path || (path[0] != '/' && path[0] != '@'))
        return;
    memcpy(to.sun_path, path, len);
    if (path[0] == '@')
        to.sun_path[0] = '\0';  /* abstract name */
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&to,
               (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
        log_warning("the service manager can't be told error=%s", log_qs(strerror(errno)));
    close(fd);
}

void service_ready(void)
{
    notify("READY=1\nSTATUS=serving");
}

void service_starting(const char *what, uint64_t done)
{
    char text[256];

    snprintf(text, sizeof text, "EXTEND_TIMEOUT_USEC=60000000\nSTATUS=starting: %s (%" PRIu64 ")", what, done);
    notify(text);
}

/* Type=notify-reload wants to know the time, on the clock that does not count suspended time. */
void service_reloading(void)
{
    struct timespec t;
    char text[128];

    clock_gettime(CLOCK_MONOTONIC, &t);
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%lld\nSTATUS=reading the configuration again",
             (long long)t.tv_sec * 1000000 + t.tv_nsec / 1000);
    notify(text);
}

void service_reloaded(bool taken)
{
    notify(taken ? "READY=1\nSTATUS=serving"
                 : "READY=1\nSTATUS=serving with the old configuration, the new one has errors (see the log)");
}

void service_stopping(void)
{
    notify("STOPPING=1\nSTATUS=stopping");
}

void service_alive(void)
{
    notify("WATCHDOG=1");
}

/* ---- what is asked for ---- */

/* A variable of the environment that is a number; -1: it is not there, or no number. */
static int64_t number(const char *name)
{
    const char *text = getenv(name);
    char *end;
    long long n;

    if (text == NULL || *text < '0' || *text > '9')
        return -1;
    errno = 0;
    n = strtoll(text, &end, 10);
    return errno == 0 && *end == '\0' ? n : -1;
}

uint64_t service_watchdog_ms(void)
{
    int64_t us = number("WATCHDOG_USEC");

    if (us <= 0 || (getenv("WATCHDOG_PID") != NULL && number("WATCHDOG_PID") != getpid()))
        return 0;
    return us < 2000 ? 1 : (uint64_t)us / 2000;
}

/* ---- what is handed over ---- */

__attribute__((format(printf, 2, 3)))
static int fail(char **why, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(why, fmt, ap) < 0)
        *why = NULL;
    va_end(ap);
    return -1;
}

/* The next of the names with colons between; where they have run out: "". */
static void take_name(const char **names, char *out, size_t cap)
{
    size_t n = strcspn(*names, ":");

    snprintf(out, cap, "%.*s", (int)n, *names);
    *names += n + ((*names)[n] == ':');
}

static int take_over(struct service_socket *s, int fd, char **why)
{
    int flags = fcntl(fd, F_GETFL), listening = 0, type = 0;
    socklen_t len = sizeof listening, type_len = sizeof type;

    if (flags < 0 || getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) < 0)
        return fail(why, "descriptor %d, passed by the service manager (LISTEN_FDS): %s", fd, strerror(errno));
    if (!listening || type != SOCK_STREAM)
        return fail(why, "descriptor %d, passed by the service manager (LISTEN_FDS), is no listening stream socket; "
                         "the socket unit needs ListenStream= and Accept=no", fd);
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return fail(why, "descriptor %d: %s", fd, strerror(errno));
    s->fd = fd;
    return 0;
}

static int take_all(struct service_socket *v, int n, char **why)
{
    const char *names = getenv("LISTEN_FDNAMES");

    if (names == NULL)
        names = "";
    for (int i = 0; i < n; i++) {
        take_name(&names, v[i].name, sizeof v[i].name);
        if (take_over(&v[i], FIRST_FD + i, why) < 0)
            return -1;
    }
    return n;
}

int service_sockets(struct service_socket **v, char **why)
{
    int64_t n = number("LISTEN_FDS");
    int rc = 0;

    *v = NULL;
    *why = NULL;
    /* Meant for another process, which has not cleaned up before it started us. */
    if (n <= 0 || number("LISTEN_PID") != getpid())
        return 0;
    if (n > FDS_MAX)
        return fail(why, "LISTEN_FDS is more than %d", FDS_MAX);
    *v = calloc((size_t)n, sizeof **v);
    rc = *v != NULL ? take_all(*v, (int)n, why) : -1;
    if (rc < 0) {
        free(*v);
        *v = NULL;
    }
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDNAMES");
    return rc;
}
