/* Who may come in, and what for.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_AUTH_H
#define CADDIS_BROKER_AUTH_H

#include "broker/broker.h"

enum access { ACCESS_READ = 1, ACCESS_WRITE = 2, ACCESS_SUBSCRIBE = 4 };

/* Loads what the configuration names. NULL: *why (file, line). */
struct auth *auth_new(const struct config *cfg, char **why);
void auth_free(struct auth **a);

/* May this CONNECT come in under this client id? R_OK, R_BAD_CREDENTIALS, R_NOT_AUTHORIZED, R_BAD_AUTH_METHOD ... The
 * user name in p->username may come from a certificate. */
enum reason auth_connect(struct broker *b, struct conn *c, const struct connect *p, struct view id);
/* May the session's client do this with the topic (ACCESS_SUBSCRIBE: filter)? Logs a denial, rate-limited. */
bool auth_allowed(struct broker *b, const struct ident *who, enum access what, struct view topic);
/* The same for a delivery: quick, because it is asked for every one. */
bool auth_may_read(struct broker *b, const struct session *s, struct view topic);

#endif
