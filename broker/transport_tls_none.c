/* What stands for TLS in a caddis that was built without it. The configuration refuses every key that asks for it
 * (tls_built), so nobody gets further than tls_context_new().
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/tls.h"

#include "broker/conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const bool tls_built = false;

static const char sorry[] = "this caddis was built without TLS";

const char *tls_library(void)
{
    return "none";
}

struct tls_context *tls_context_new(const struct config_listener *l, char **why)
{
    (void)l;
    *why = strdup(sorry);
    return NULL;
}

struct tls_context *tls_client_context_new(const struct tls_client_options *o, char **why)
{
    (void)o;
    *why = strdup(sorry);
    return NULL;
}

bool tls_context_reload(struct tls_context *t, const struct config_listener *l, char **why)
{
    (void)t;
    (void)l;
    *why = strdup(sorry);
    return false;
}

void tls_context_free(struct tls_context **t)
{
    *t = NULL;
}

bool tls_context_changed(const struct tls_context *t)
{
    (void)t;
    return false;
}

int64_t tls_expires_ms(const struct tls_context *t)
{
    (void)t;
    return INT64_MAX;
}

unsigned tls_check(const struct config_listener *l,
                   void (*say)(void *arg, const char *key, bool error, const char *text), void *arg)
{
    (void)l;
    (void)say;
    (void)arg;
    return 0;
}

bool tls_ciphers_check(const char *list, bool tls13, char *why, size_t cap)
{
    (void)list;
    (void)tls13;
    snprintf(why, cap, "%s", sorry);
    return false;
}

void tls_tidy(void)
{
}

bool tls_accept(struct tls_context *t, struct conn *c, int fd)
{
    (void)t;
    (void)c;
    (void)fd;
    return false;
}

bool tls_connect(struct tls_context *t, struct conn *c, int fd, const char *host)
{
    (void)host;
    return tls_accept(t, c, fd);
}

const char *tls_peer_name(const struct conn *c)
{
    (void)c;
    return NULL;
}

const char *tls_peer_subject(const struct conn *c)
{
    return tls_peer_name(c);
}

const char *tls_describe(const struct conn *c)
{
    return tls_peer_name(c);
}

struct tls *tls_client_start(struct tls_context *t, int fd, const char *host)
{
    (void)t;
    (void)fd;
    (void)host;
    return NULL;
}

ssize_t tls_readv(struct tls *t, const struct iovec *iov, int n)
{
    (void)t;
    (void)iov;
    (void)n;
    errno = EPROTO;
    return -1;
}

ssize_t tls_writev(struct tls *t, const struct iovec *iov, int n)
{
    return tls_readv(t, iov, n);
}

bool tls_pending(const struct tls *t)
{
    (void)t;
    return false;
}

bool tls_unsent(const struct tls *t)
{
    return tls_pending(t);
}

bool tls_ready(const struct tls *t)
{
    return tls_pending(t);
}

const char *tls_trouble(const struct tls *t)
{
    (void)t;
    return sorry;
}

void tls_free(struct tls **t)
{
    *t = NULL;
}
