/* What a connection has yet to send: encoded bytes in chunks, and references to messages whose payload is too large to
 * copy. Everything in here may leave; what still waits for a commit is held elsewhere (conn.h).
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_OUTQ_H
#define CADDIS_BROKER_OUTQ_H

#include "broker/msg.h"

#include <sys/uio.h>

/* Payloads of this size and more are sent from the message itself. */
#define OUTQ_BY_REFERENCE 1024

struct chunk;

struct outq {
    struct chunk *head, *tail;
    size_t bytes;                   /* unsent, payloads by reference included */
};

/* Room for n contiguous bytes at the end, to be filled at once. NULL: no memory, nothing changed. */
uint8_t *outq_room(struct outq *q, size_t n);
/* Appends m's payload by reference. false: no memory, nothing changed. */
bool outq_payload(struct outq *q, struct msg *m);
/* Up to `max` pieces of what comes first. */
int outq_iov(const struct outq *q, struct iovec *iov, int max);
/* n bytes have been taken from the front. */
void outq_sent(struct outq *q, size_t n);
void outq_clear(struct outq *q);
/* What it consists of, for checks: unsent bytes, and the message whose payload they are (NULL: copied ones). */
void outq_each(const struct outq *q, void (*piece)(void *arg, const struct msg *m, size_t bytes), void *arg);

#endif
