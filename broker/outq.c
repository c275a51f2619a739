/* Output queues.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/outq.h"

#include <assert.h>

/* Chosen so that a chunk with malloc's header fills 2 KiB: twenty small packets, and nothing when idle. */
#define CHUNK_BYTES 2008

struct chunk {
    struct chunk *next;
    struct msg *msg;            /* payload by reference; data is not used then */
    uint32_t off, len, cap;     /* data[off..len) is unsent */
    uint8_t data[];
};

static struct chunk *chunk_new(struct outq *q, size_t cap)
{
    struct chunk *c = mem_alloc(MEM_BUFFER, sizeof *c + cap);

    if (c == NULL)
        return NULL;
    c->next = NULL;
    c->msg = NULL;
    c->off = c->len = 0;
    c->cap = (uint32_t)cap;
    if (q->tail != NULL)
        q->tail->next = c;
    else
        q->head = c;
    q->tail = c;
    return c;
}

uint8_t *outq_room(struct outq *q, size_t n)
{
    struct chunk *c = q->tail;

    if (c == NULL || c->msg != NULL || c->cap - c->len < n) {
        c = chunk_new(q, n > CHUNK_BYTES ? n : CHUNK_BYTES);
        if (c == NULL)
            return NULL;
    }
    c->len += (uint32_t)n;
    q->bytes += n;
    return c->data + c->len - n;
}

bool outq_payload(struct outq *q, struct msg *m)
{
    struct chunk *c;

    if (m->payload_len == 0)
        return true;
    c = chunk_new(q, 0);
    if (c == NULL)
        return false;
    c->msg = msg_ref(m);
    c->len = m->payload_len;
    q->bytes += c->len;
    return true;
}

int outq_iov(const struct outq *q, struct iovec *iov, int max)
{
    int n = 0;

    for (struct chunk *c = q->head; c != NULL && n < max; c = c->next) {
        const uint8_t *p = c->msg != NULL ? msg_payload(c->msg).p : c->data;

        iov[n].iov_base = (void *)(uintptr_t)(p + c->off);
        iov[n++].iov_len = c->len - c->off;
    }
    return n;
}

static void drop_head(struct outq *q)
{
    struct chunk *c = q->head;

    q->head = c->next;
    if (q->head == NULL)
        q->tail = NULL;
    msg_unref(&c->msg);
    mem_free(MEM_BUFFER, c);
}

void outq_sent(struct outq *q, size_t n)
{
    assert(n <= q->bytes);
    q->bytes -= n;
    while (q->head != NULL) {
        struct chunk *c = q->head;
        size_t left = c->len - c->off;

        if (left > n) {
            c->off += (uint32_t)n;
            return;
        }
        n -= left;
        drop_head(q);
    }
}

void outq_clear(struct outq *q)
{
    while (q->head != NULL)
        drop_head(q);
    q->bytes = 0;
}

void outq_each(const struct outq *q, void (*piece)(void *, const struct msg *, size_t), void *arg)
{
    for (const struct chunk *c = q->head; c != NULL; c = c->next)
        piece(arg, c->msg, c->len - c->off);
}
