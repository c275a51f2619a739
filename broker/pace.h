/* Pacing of failed logins by the address they come from: a bucket of tokens each, one token per failure, filling up
 * again with time. An IPv6 address counts by its first 64 bits, because who has one has all of them.
 *
 * The table is bounded. An address that failed least lately makes room for a new one.
 *
 * Order of things for one CONNECT: credentials that the cache knows pass without pacing. Otherwise ask
 * pace_may_try() right before the first slice of work, with one verification under way at a time, and call
 * pace_failed() when it went wrong. So a thousand devices behind one address come in as fast as they can be verified.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_PACE_H
#define CADDIS_BROKER_PACE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    PACE_BURST = 10,            /* failures at once */
    PACE_REFILL_MS = 3000,      /* for one more: 1,200 guesses an hour */
};

struct pace;

/* NULL: no memory. */
struct pace *pace_new(void);
void pace_free(struct pace **pp);
/* peer: "192.0.2.7:51234", "[2001:db8::1]:51234", or anything else, which stands for itself ("unix"). */
bool pace_may_try(struct pace *p, const char *peer, uint64_t now_ms);
void pace_failed(struct pace *p, const char *peer, uint64_t now_ms);
/* How long until pace_may_try() says yes; 0: now. */
uint64_t pace_wait_ms(struct pace *p, const char *peer, uint64_t now_ms);

#endif
