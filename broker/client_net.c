/* Connecting with a time limit, to one address after the other.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/client_net.h"

#include "broker/clock.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* 0 or an errno. */
static int finish_connect(int fd, uint64_t deadline_ms)
{
    struct pollfd p = { .fd = fd, .events = POLLOUT };
    socklen_t len = sizeof(int);
    int error = 0;

    for (;;) {
        uint64_t now = clock_mono_ms();
        int n = now < deadline_ms ? poll(&p, 1, (int)(deadline_ms - now)) : 0;
        if (n > 0)
            break;
        if (n == 0)
            return ETIMEDOUT;
        if (errno != EINTR)
            return errno;
    }
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 ? errno : error;
}

static int try_address(const struct addrinfo *a, uint64_t deadline_ms, int *fd)
{
    int one = 1, error;

    *fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
    if (*fd < 0)
        return errno;
    /* Small packets leave at once; what belongs together is written together anyway. */
    setsockopt(*fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(*fd, a->ai_addr, a->ai_addrlen) == 0)
        return 0;
    error = errno == EINPROGRESS ? finish_connect(*fd, deadline_ms) : errno;
    if (error != 0) {
        close(*fd);
        *fd = -1;
    }
    return error;
}

int net_connect(const char *host, uint16_t port, uint64_t deadline_ms, char *why, size_t cap)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list;
    char service[8];
    int fd = -1, error;

    snprintf(service, sizeof service, "%u", port);
    error = getaddrinfo(host, service, &hints, &list);
    if (error != 0) {
        snprintf(why, cap, "can't find the address of %s: %s", host,
                 error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error));
        return -1;
    }
    for (const struct addrinfo *a = list; a != NULL && fd < 0; a = a->ai_next)
        error = try_address(a, deadline_ms, &fd);
    freeaddrinfo(list);
    if (fd < 0)
        snprintf(why, cap, "can't connect to %s port %u: %s", host, port, strerror(error));
    return fd;
}

int net_connect_unix(const char *path, char *why, size_t cap)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    int fd;

    if (strlen(path) >= sizeof to.sun_path) {
        snprintf(why, cap, "the path of a Unix socket can have %zu bytes, this one has %zu", sizeof to.sun_path - 1,
                 strlen(path));
        return -1;
    }
    strcpy(to.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    snprintf(why, cap, "can't connect to %s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

/* ---- TLS ---- */

static bool shake_hands(struct net *n, uint64_t deadline_ms, char *why, size_t cap)
{
    while (!tls_ready(n->tls)) {
        struct pollfd p = { .fd = n->fd, .events = net_events(n, false) };
        uint64_t now = clock_mono_ms();
        ssize_t got;

        if (now >= deadline_ms || (poll(&p, 1, (int)(deadline_ms - now)) < 0 && errno != EINTR)) {
            snprintf(why, cap, "TLS: the server does not answer; does it speak TLS on this port?");
            return false;
        }
        tls_writev(n->tls, NULL, 0);
        got = tls_readv(n->tls, NULL, 0);
        if (tls_ready(n->tls) || (got < 0 && errno == EAGAIN))
            continue;
        snprintf(why, cap, "TLS: %s", net_trouble(n) != NULL ? net_trouble(n) : got < 0 ? strerror(errno)
                                                             : "the server has closed the connection");
        return false;
    }
    return true;
}

bool net_start_tls(struct net *n, const struct tls_client_options *o, const char *host, uint64_t deadline_ms, char *why,
                   size_t cap)
{
    char *text = NULL;

    n->context = tls_client_context_new(o, &text);
    if (n->context == NULL) {
        snprintf(why, cap, "TLS: %s", text != NULL ? text : "no memory");
        free(text);
        return false;
    }
    n->tls = tls_client_start(n->context, n->fd, host);
    if (n->tls != NULL)
        return shake_hands(n, deadline_ms, why, cap);
    snprintf(why, cap, "TLS: no memory");
    return false;
}

ssize_t net_read(struct net *n, void *p, size_t len)
{
    struct iovec v = { p, len };

    return n->tls != NULL ? tls_readv(n->tls, &v, 1) : recv(n->fd, p, len, 0);
}

ssize_t net_write(struct net *n, const void *p, size_t len)
{
    struct iovec v = { (void *)(uintptr_t)p, len };

    return n->tls != NULL ? tls_writev(n->tls, &v, 1) : send(n->fd, p, len, MSG_NOSIGNAL);
}

const char *net_trouble(const struct net *n)
{
    return n->tls != NULL ? tls_trouble(n->tls) : NULL;
}

short net_events(const struct net *n, bool to_write)
{
    return (short)(POLLIN | (to_write || (n->tls != NULL && tls_unsent(n->tls)) ? POLLOUT : 0));
}

bool net_pending(const struct net *n)
{
    return n->tls != NULL && tls_pending(n->tls);
}

void net_end(struct net *n)
{
    /* TLS has no half of a connection: its end is said when all of it is closed. */
    if (n->tls == NULL)
        shutdown(n->fd, SHUT_WR);
}

void net_close(struct net *n)
{
    if (n->tls != NULL)
        tls_free(&n->tls);
    if (n->context != NULL)
        tls_context_free(&n->context);
    if (n->fd >= 0)
        close(n->fd);
    n->fd = -1;
}
