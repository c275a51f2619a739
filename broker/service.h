/* The service manager (systemd, or who speaks like it): what it is told, what it asks for, what it hands over.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_SERVICE_H
#define CADDIS_BROKER_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

/* ---- what it is told: one datagram to $NOTIFY_SOCKET; nothing where there is none ---- */

void service_ready(void);
/* A step of the start that takes long, for people. To be said again within half a minute: until a minute from now the
 * manager is patient, whatever its own limit. */
void service_starting(const char *what, uint64_t done);
void service_reloading(void);
void service_reloaded(bool taken);
void service_stopping(void);
void service_alive(void);

/* How often it wants to hear service_alive(), with time to spare (half of WATCHDOG_USEC); 0: not at all. */
uint64_t service_watchdog_ms(void);

/* ---- what it hands over: listening sockets (LISTEN_FDS) ---- */

struct service_socket {
    int fd;                     /* close-on-exec, non-blocking */
    char name[128];             /* FileDescriptorName=; "": it has none */
};

/* *v: malloc'ed, to be freed by the caller; the descriptors go to the caller too. The variables are taken out of the
 * environment, so a second call finds none. Their number, 0: none; -1: *why (malloc'ed). */
int service_sockets(struct service_socket **v, char **why);

#endif
