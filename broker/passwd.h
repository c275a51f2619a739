/* The accounts of a password file, and the verification of passwords.
 *
 * Lines are USER:HASH; the kinds of hashes are in passwd_hash.h. A file is taken whole or not at all: load the new one,
 * swap the pointers, free the old one. A verification under way keeps what it needs.
 *
 * Which names have accounts can't be told by the time an answer takes: for a name without one, the hash of some account
 * (always the same one for the same name) is computed and the result thrown away.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_PASSWD_H
#define CADDIS_BROKER_PASSWD_H

#include "broker/passwd_cache.h"
#include "broker/passwd_hash.h"

struct passwd;

/* Errors go to `say`, one line each, all of them in one run. NULL: there was at least one. A file that everybody on the
 * machine may read gets a warning in the log. An empty file is fine: nobody has an account. */
struct passwd *passwd_load(const char *path, void (*say)(void *arg, const char *line), void *arg);
/* The same from memory; `name` stands for the file. */
struct passwd *passwd_load_text(const char *name, struct view text, void (*say)(void *arg, const char *line),
                                void *arg);
void passwd_free(struct passwd **pp);
uint32_t passwd_count(const struct passwd *p);
/* Do both have this account, with the same hash? Either may be NULL. */
bool passwd_same(const struct passwd *a, const struct passwd *b, struct view user);

/* ---- plain passwords ---- */

enum passwd_verdict { PASSWD_WRONG, PASSWD_RIGHT, PASSWD_PENDING };

struct passwd_try;
/* Begins to verify; users and password are copied or used up. password.p NULL (CONNECT had none) is always wrong, in
 * the usual time. cache may be NULL; it must outlive the try. NULL: no memory. */
struct passwd_try *passwd_try_new(const struct passwd *p, struct passwd_cache *cache, struct view user,
                                  struct view password);
/* Goes on for about this many iterations of PBKDF2 (one: a microsecond on a PC, ten on a board). Credentials that the
 * cache knows are right at the first call, which costs next to nothing. A failing library counts as wrong. */
enum passwd_verdict passwd_try_step(struct passwd_try *t, uint32_t iterations);
void passwd_try_free(struct passwd_try **tp);
/* Does the cache know them? Then no pacing is due either. */
bool passwd_try_known(const struct passwd_try *t);

/* All of it at once. */
bool passwd_check(const struct passwd *p, struct passwd_cache *cache, struct view user, struct view password);

/* ---- SCRAM ---- */

enum passwd_scram { PASSWD_SCRAM_KEYS, PASSWD_SCRAM_NO_KEYS, PASSWD_SCRAM_NO_USER };

/* The user's SCRAM keys. NO_KEYS: the account has a hash of another kind, for which there are none. In both other cases
 * *h gets iterations and length of a salt as the file's SCRAM accounts have them, for an answer that gives nothing
 * away. */
enum passwd_scram passwd_scram_find(const struct passwd *p, struct view user, struct passwd_hash *h);

#endif
