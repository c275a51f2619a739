/* Reaching a server: by name and port, or by the path of a Unix socket.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_CLIENT_NET_H
#define CADDIS_BROKER_CLIENT_NET_H

#include <stddef.h>
#include <stdint.h>

/* A connected, non-blocking socket; every address of the host is tried in turn until deadline_ms (clock_mono_ms()).
 * -1: why says what happened with the last one. */
int net_connect(const char *host, uint16_t port, uint64_t deadline_ms, char *why, size_t cap);
int net_connect_unix(const char *path, char *why, size_t cap);

#endif
