/* Bounded, sticky writing, the mirror of reader.h. After the first overrun `bad` stays set
 * and nothing more is written. Sizes are computed first (x_size()), so that bad is a bug.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_PROTO_WRITER_H
#define CADDIS_PROTO_WRITER_H

#include "proto/reader.h"

#include <string.h>

struct writer {
    uint8_t *p, *end;
    bool bad;
};

static inline struct writer wr_make(void *buf, size_t cap)
{
    uint8_t *p = buf;
    return (struct writer){ p, p + cap, false };
}

static inline uint8_t *wr_take(struct writer *w, size_t n)
{
    if (w->bad || (size_t)(w->end - w->p) < n) {
        w->bad = true;
        return NULL;
    }
    w->p += n;
    return w->p - n;
}

static inline void wr_u8(struct writer *w, unsigned v)
{
    uint8_t *p = wr_take(w, 1);
    if (p != NULL)
        p[0] = (uint8_t)v;
}

static inline void wr_u16(struct writer *w, unsigned v)
{
    uint8_t *p = wr_take(w, 2);
    if (p != NULL) {
        p[0] = (uint8_t)(v >> 8);
        p[1] = (uint8_t)v;
    }
}

static inline void wr_u32(struct writer *w, uint32_t v)
{
    wr_u16(w, v >> 16);
    wr_u16(w, v & 0xFFFF);
}

static inline void wr_bytes(struct writer *w, const void *src, size_t n)
{
    uint8_t *p = wr_take(w, n);
    if (p != NULL && n > 0)
        memcpy(p, src, n);
}

static inline void wr_view(struct writer *w, struct view v)
{
    wr_bytes(w, v.p, v.len);
}

/* Length-prefixed; len must be <= 65535, else bad. */
static inline void wr_bin(struct writer *w, struct view v)
{
    if (v.len > 0xFFFF)
        w->bad = true;
    wr_u16(w, (unsigned)v.len);
    wr_view(w, v);
}

static inline size_t varint_size(uint32_t v)
{
    return v < 128 ? 1 : v < 16384 ? 2 : v < 2097152 ? 3 : 4;
}

/* v <= 268435455, else bad. */
static inline void wr_varint(struct writer *w, uint32_t v)
{
    if (v > 268435455)
        w->bad = true;
    while (v >= 128) {
        wr_u8(w, 0x80 | (v & 0x7F));
        v >>= 7;
    }
    wr_u8(w, v);
}

#endif
