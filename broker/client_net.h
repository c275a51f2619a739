/* Reaching a server: by name and port, or by the path of a Unix socket, with or without TLS.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_CLIENT_NET_H
#define CADDIS_BROKER_CLIENT_NET_H

#include "broker/tls.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A connected, non-blocking socket; every address of the host is tried in turn until deadline_ms (clock_mono_ms()).
 * -1: why says what happened with the last one. */
int net_connect(const char *host, uint16_t port, uint64_t deadline_ms, char *why, size_t cap);
int net_connect_unix(const char *path, char *why, size_t cap);

struct net {
    int fd;                         /* -1: closed */
    struct tls *tls;                /* NULL: plain */
    struct tls_context *context;
};

/* Begins TLS on n->fd and waits for the end of the handshake. false: why; the connection is of no use any more. */
bool net_start_tls(struct net *n, const struct tls_client_options *o, const char *host, uint64_t deadline_ms, char *why,
                   size_t cap);
/* As recv() and send() without waiting. EPROTO: net_trouble() says more. */
ssize_t net_read(struct net *n, void *p, size_t len);
ssize_t net_write(struct net *n, const void *p, size_t len);
const char *net_trouble(const struct net *n);
/* What poll() has to wait for, besides what the caller wants to write. */
short net_events(const struct net *n, bool to_write);
/* Something can be read that poll() does not know of. */
bool net_pending(const struct net *n);
/* No more will be sent: a plain connection says so. */
void net_end(struct net *n);
void net_close(struct net *n);

#endif
