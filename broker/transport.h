/* What carries a connection's bytes: TCP and Unix sockets, TLS and WebSocket above them.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_TRANSPORT_H
#define CADDIS_BROKER_TRANSPORT_H

#include <stdbool.h>
#include <sys/uio.h>

struct conn;

struct transport {
    const char *name;           /* "tcp", "tls", "websocket" */
    /* Bytes read; 0: the peer has ended; -1 with errno EAGAIN: nothing (complete) there now, or a handshake goes on;
     * -1 with another errno: it is broken. EPROTO (TLS) and EBADMSG (WebSocket): conn_trouble() says more. */
    ssize_t (*readv)(struct conn *c, const struct iovec *iov, int n);
    /* Bytes taken (all of what it takes is its own business from then on); -1 like readv. */
    ssize_t (*writev)(struct conn *c, const struct iovec *iov, int n);
    /* Are bytes waiting above the socket, so that epoll would not tell? NULL: never. */
    bool (*pending)(const struct conn *c);
    /* Does it still have bytes of its own to write? NULL: never. */
    bool (*unsent)(const struct conn *c);
    /* Says goodbye if that needs no waiting, and frees c->transport_state. Does not close the socket. */
    void (*close)(struct conn *c);
};

extern const struct transport transport_socket;

#endif
