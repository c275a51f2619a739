/* Plain sockets: TCP and Unix.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/conn.h"

#include <sys/socket.h>

static ssize_t socket_readv(struct conn *c, const struct iovec *iov, int n)
{
    return readv(c->source.fd, iov, n);
}

static ssize_t socket_writev(struct conn *c, const struct iovec *iov, int n)
{
    return writev(c->source.fd, iov, n);      /* SIGPIPE is ignored by the program */
}

static void socket_close(struct conn *c)
{
    shutdown(c->source.fd, SHUT_WR);
}

const struct transport transport_socket = {
    .name = "tcp",
    .readv = socket_readv,
    .writev = socket_writev,
    .close = socket_close,
};
