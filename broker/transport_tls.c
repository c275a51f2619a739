/* TLS as a transport of the broker's connections.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/tls_engine.h"

#include "broker/broker.h"
#include "broker/listen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Handshakes are the most work that a stranger can cause with a few bytes. So much of a turn may go into them; who comes
 * later stays readable and has its turn next. */
enum { SHAKE_BUDGET_US = 20000, TIDY_MS = 60000 };

static struct {
    uint64_t turn_ms;           /* broker.now_ms: it moves on from turn to turn when one lasts this long */
    uint64_t used_us;
} shakes;

static uint64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static bool budget_left(const struct broker *b)
{
    if (shakes.turn_ms != b->now_ms) {
        shakes.turn_ms = b->now_ms;
        shakes.used_us = 0;
    }
    return shakes.used_us < SHAKE_BUDGET_US;
}

/* The log line about the end of the connection shows it. */
static void tell(struct conn *c)
{
    const char *trouble = tls_trouble(c->tls);

    if (trouble != NULL)
        conn_trouble(c, trouble);
}

static ssize_t transport_readv(struct conn *c, const struct iovec *iov, int n)
{
    struct broker *b = c->listener->b;
    bool shaking = c->tls->phase < TLS_UP;
    uint64_t start = 0;
    ssize_t got;
    int error;

    if (shaking) {
        if (!budget_left(b)) {
            errno = EAGAIN;
            return -1;
        }
        start = now_us();
    }
    got = tls_readv(c->tls, iov, n);
    error = errno;
    if (shaking)
        shakes.used_us += now_us() - start;
    /* Debian's library has made tables for it, which the trimming throws away. */
    if (shaking && tls_ready(c->tls) && !timer_armed(&b->trim))
        timer_arm(&b->wheel, &b->trim, b->now_ms + TIDY_MS);
    if (got < 0)
        tell(c);
    /* Reading makes us answer: handshakes, new keys, alerts. */
    if (tls_unsent(c->tls))
        conn_dirty(b, c);
    errno = error;
    return got;
}

static ssize_t transport_writev(struct conn *c, const struct iovec *iov, int n)
{
    ssize_t sent = tls_writev(c->tls, iov, n);

    if (sent < 0) {
        int error = errno;
        tell(c);
        errno = error;
    }
    return sent;
}

static bool transport_pending(const struct conn *c)
{
    return tls_pending(c->tls);
}

static bool transport_unsent(const struct conn *c)
{
    return tls_unsent(c->tls);
}

static void transport_close(struct conn *c)
{
    int fd = c->tls->fd;

    tls_free(&c->tls);
    shutdown(fd, SHUT_WR);
}

const struct transport transport_tls = {
    .name = "tls",
    .readv = transport_readv,
    .writev = transport_writev,
    .pending = transport_pending,
    .unsent = transport_unsent,
    .close = transport_close,
};

bool tls_accept(struct tls_context *t, struct conn *c, int fd)
{
    c->tls = tls_new(tls_context_set(t), fd);
    if (c->tls != NULL)
        c->transport = &transport_tls;
    return c->tls != NULL;
}

bool tls_connect(struct tls_context *t, struct conn *c, int fd, const char *host)
{
    c->tls = tls_client_start(t, fd, host);
    if (c->tls != NULL)
        c->transport = &transport_tls;
    return c->tls != NULL;
}

const char *tls_peer_name(const struct conn *c)
{
    return c->tls != NULL ? c->tls->name : NULL;
}

const char *tls_peer_subject(const struct conn *c)
{
    return c->tls != NULL ? c->tls->subject : NULL;
}

const char *tls_describe(const struct conn *c)
{
    static char text[96];

    if (c->tls == NULL || !tls_ready(c->tls))
        return NULL;
    snprintf(text, sizeof text, "%s %s", wolfSSL_get_version(c->tls->ssl), wolfSSL_get_cipher_name(c->tls->ssl));
    return text;
}
