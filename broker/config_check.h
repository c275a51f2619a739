/* What can be wrong between keys, each of which is right by itself.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_CONFIG_CHECK_H
#define CADDIS_BROKER_CONFIG_CHECK_H

#include "broker/config.h"

/* Number of errors, each said as FILE:LINE: ... sound: every key was right; otherwise some still have their defaults,
 * and comparing listeners with each other would find clashes that are none. */
unsigned config_check_clashes(const struct config *c, bool sound,
                              void (*say)(void *arg, const char *line), void *arg);

/* The listener is a Unix socket: its address is a path. */
bool listener_is_unix(const struct config_listener *l);
/* Is the key written down for this listener (its index), rather than left at its default? */
bool config_written(const struct config *c, const char *key, int listener);
/* "everybody on this machine, without a password": who can come in. false: nobody can. */
bool listener_who(const struct config_listener *l, char *out, size_t cap);

#endif
