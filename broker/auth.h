/* Who may come in, and what for.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_AUTH_H
#define CADDIS_BROKER_AUTH_H

#include "broker/broker.h"

struct auth;
struct pace;

/* Loads what the listeners' configuration names; errors go to broker_error(), all of them. NULL: there was one. */
struct auth *auth_new(struct broker *b);
void auth_free(struct auth **a);
/* Loads it again for a new configuration that has all our listeners, and applies it to the sessions there are. false:
 * there was an error (said), nothing has changed. */
bool auth_reload(struct broker *b, const struct config *cfg);
/* The pacing of failed logins. */
struct pace *auth_pace(struct broker *b);

/* The user name that a client's certificate or key has proven, where the listener goes by it; p NULL: CONNECT's own
 * counts. false: the listener asks for one and there is none. */
bool auth_identity(const struct conn *c, struct view *user);
/* May a client of this listener have this id at all? */
bool auth_id_allowed(const struct conn *c, struct view id);
/* May this CONNECT come in? R_OK, R_BAD_CREDENTIALS, R_NOT_AUTHORIZED, R_BAD_AUTH_METHOD ...
 * R_CONTINUE_AUTHENTICATION: that takes longer, the login has begun and needs the packet. */
enum reason auth_connect(struct broker *b, struct conn *c, const struct connect *p);

/* ---- enhanced authentication (auth_scram.c) ---- */

struct passwd;
struct scram;
/* The accounts that count for this client; NULL: its listener names no file. */
const struct passwd *auth_users(const struct broker *b, const struct conn *c);
/* NULL: no memory. */
struct scram *auth_scram_new(const struct broker *b);
/* As auth_connect(), for a CONNECT that names a method. */
enum reason auth_scram_begin(struct broker *b, struct conn *c, const struct connect *p);
/* The first message of an enhanced authentication, in CONNECT. R_CONTINUE_AUTHENTICATION: it was answered. */
enum reason auth_first(struct broker *b, struct conn *c, struct view data);
/* The name that an enhanced authentication is about; p NULL: there is none. */
struct view auth_proven_user(const struct conn *c);

/* ---- rights ---- */

/* May the client of this CONNECT, once it is in, publish its will to this topic (mount point included)? Logs a denial,
 * rate-limited. */
bool auth_will_allowed(struct broker *b, const struct conn *c, const struct connect *p, struct view id,
                       struct view topic);

/* May a client of this (proven) name go on with the session, or end it? Logs a refusal, rate-limited. */
bool auth_may_take(struct broker *b, const struct conn *c, const struct session *s, struct view user);
/* The session's client is here: what it may do is looked up by its name. false: no memory. */
bool auth_attach(struct broker *b, struct session *s, const struct conn *c);
void auth_forget(struct session *s);

enum access { ACCESS_READ = 1, ACCESS_WRITE = 2, ACCESS_SUBSCRIBE = 4 };
/* May the session's client do this with the topic (ACCESS_SUBSCRIBE: filter)? Logs a denial, rate-limited. */
bool auth_allowed(struct broker *b, const struct session *s, enum access what, struct view topic);
/* The same for a delivery: quick and silent, because it is asked for every one. */
bool auth_may_read(const struct session *s, struct view topic);
/* May whoever published this retained message still do so? As seen by the rules that hold for s. */
bool auth_source_allowed(const struct broker *b, const struct session *s, const struct msg *m);

#endif
