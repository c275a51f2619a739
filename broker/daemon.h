/* What a long-running Unix process owes its surroundings: going to the background, a pid file, an account without
 * rights, enough descriptors.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_DAEMON_H
#define CADDIS_BROKER_DAEMON_H

#include <stdbool.h>
#include <stdint.h>

/* Goes on in the background. The parent waits and exits with 0 at daemon_ready(), or with the exit status of
 * the child if it ends before that. -1: no fork (errno). */
int daemon_fork(void);
/* The broker serves: lets the waiting parent go, leaves the terminal. Tells the service manager. Harmless
 * in the foreground. */
void daemon_ready(void);

/* Creates and locks the file and writes our pid. -1: *why (malloc'ed): it can't be written, or another process that
 * still runs holds it. path NULL: nothing to do. */
int daemon_pid_open(const char *path, char **why);
/* Removes the file; empties it where its directory may no longer be written. */
void daemon_pid_close(void);

/* As root: becomes `user`, or "caddis" when user is NULL. Call after the sockets are bound and before the store is
 * opened. Without an account "caddis" and without `user` the process stays root and the log says so. Not as root:
 * does nothing. -1: *why (malloc'ed). */
int daemon_drop(const char *user, char **why);

bool daemon_may_read(const char *path);
/* Who the process is, for messages about files that it can't read. Good until the next call. */
const char *daemon_account(void);

/* Raises the limit of open descriptors as far as it goes. connections: [limits] max_connections; warns when that
 * many can't be open. */
void daemon_raise_fds(uint32_t connections);

#endif
