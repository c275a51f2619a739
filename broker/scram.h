/* The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677) on the Authentication Data of MQTT 5:
 *
 *     CONNECT  client-first     n,,n=USER,r=NONCE
 *     AUTH     server-first     r=NONCE+OURS,s=SALT,i=ITERATIONS       SCRAM_CONTINUE
 *     AUTH     client-final     c=biws,r=NONCE+OURS,p=PROOF
 *     CONNACK  server-final     v=SIGNATURE                            SCRAM_DONE
 *
 * The same for a re-authentication, with AUTH in the place of CONNECT and CONNACK. Without channel binding: a client
 * that insists on it is refused. A user without SCRAM keys gets a salt that looks like any other and fails at the end,
 * like a wrong password.
 *
 * Names and passwords are compared as they come; RFC 5802 wants them normalized by SASLprep, which changes nothing in
 * ASCII.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_SCRAM_H
#define CADDIS_BROKER_SCRAM_H

#include "broker/passwd.h"

#define SCRAM_METHOD "SCRAM-SHA-256"

enum {
    SCRAM_USER_MAX = 255,
    SCRAM_CLIENT_NONCE_MAX = 128,
    SCRAM_NONCE_LEN = 24,       /* characters that we add */
};

enum scram_result { SCRAM_CONTINUE, SCRAM_DONE, SCRAM_FAILED };

struct scram;

/* fake_key: from which salts of users that do not exist are made; the same for the whole run of the process, so that
 * asking twice gives the same salt. NULL: no memory. */
struct scram *scram_new(const uint8_t fake_key[SHA256_LEN]);
void scram_free(struct scram **sp);
/* One message of the client. users is asked in the first step only. *out is what to answer (SCRAM_CONTINUE,
 * SCRAM_DONE), valid until the next call. After SCRAM_DONE or SCRAM_FAILED it is over; a re-authentication needs a new
 * one. */
enum scram_result scram_step(struct scram *s, const struct passwd *users, struct view in, struct view *out);
/* Who: from the first step on. To be believed after SCRAM_DONE. */
struct view scram_user(const struct scram *s);
/* After SCRAM_FAILED, for the log: what was wrong. For the client there is nothing but "bad credentials". */
const char *scram_why(const struct scram *s);
/* Was it the client's credentials that were wrong (and not its grammar)? Then the failure counts for pacing. */
bool scram_guessed(const struct scram *s);

/* Tests: the next scram_step() takes this nonce instead of a random one. */
void scram_set_nonce(struct scram *s, const char *nonce);

#endif
