/* Reason codes: their texts, and the one place where 5.0 becomes 3.1.1.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_PROTO_REASON_H
#define CADDIS_PROTO_REASON_H

#include "proto/tables.h"

#include <stdbool.h>
#include <stdint.h>

/* "not authorized"; "unknown reason" for a number that is not in the table. Never NULL. */
const char *reason_text(enum reason r);
/* "PUBLISH"; "packet 0" style names never occur: types 0 and >15 give "reserved". */
const char *packet_name(unsigned type);

/* May a packet carry this reason code? where: IN(type), or IN_CLIENT_BYE for a client's DISCONNECT. */
bool reason_fits(uint32_t where, unsigned code);

/* CONNACK return code 0..5 of 3.1/3.1.1 for a 5.0 reason; -1: close without an answer. */
int reason_connack_v3(enum reason r);
/* SUBACK return code of 3.1.1: the granted QoS, or 0x80 for every failure. */
static inline unsigned reason_suback_v3(enum reason r)
{
    return r < 0x80 ? (unsigned)r : 0x80;
}

#endif
