/* Bounded, sticky reading. Test `bad` once, at the end: after the first overrun every
 * read gives zero or empty and moves nothing.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_PROTO_READER_H
#define CADDIS_PROTO_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Borrowed bytes: never owned, never NUL-terminated, valid as long as what they were cut
 * from (for decoded packets: the frame). p may be NULL when len is 0. */
struct view {
    const uint8_t *p;
    size_t len;
};

static inline bool view_same(struct view a, struct view b)
{
    return a.len == b.len && (a.len == 0 || __builtin_memcmp(a.p, b.p, a.len) == 0);
}

struct reader {
    const uint8_t *p, *end;
    bool bad;
};

static inline struct reader rd_make(struct view v)
{
    const uint8_t *p = v.p != NULL ? v.p : (const uint8_t *)""; /* NULL + 0 is undefined in C */
    return (struct reader){ p, p + v.len, false };
}

static inline size_t rd_left(const struct reader *r)
{
    return (size_t)(r->end - r->p);
}

static inline const uint8_t *rd_take(struct reader *r, size_t n)
{
    if (r->bad || rd_left(r) < n) {
        r->bad = true;
        return NULL;
    }
    r->p += n;
    return r->p - n;
}

static inline uint8_t rd_u8(struct reader *r)
{
    const uint8_t *p = rd_take(r, 1);
    return p ? *p : 0;
}

static inline uint16_t rd_u16(struct reader *r)
{
    const uint8_t *p = rd_take(r, 2);
    return (uint16_t)(p ? p[0] << 8 | p[1] : 0);
}

static inline uint32_t rd_u32(struct reader *r)
{
    const uint8_t *p = rd_take(r, 4);
    return p ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3] : 0;
}

static inline struct view rd_bytes(struct reader *r, size_t n)
{
    const uint8_t *p = rd_take(r, n);
    return (struct view){ p, p ? n : 0 };
}

/* Two length bytes and that many bytes: binary data [MQTT5-1.5.6]. */
static inline struct view rd_bin(struct reader *r)
{
    return rd_bytes(r, rd_u16(r));
}

/* What is left; the reader is at its end afterwards. */
static inline struct view rd_rest(struct reader *r)
{
    return rd_bytes(r, r->bad ? 0 : rd_left(r));
}

/* Variable byte integer: 1..4 bytes, shortest form only [MQTT5-1.5.5-1]. A longer form or
 * a fifth byte sets bad. (In reader.c.) */
uint32_t rd_varint(struct reader *r);
/* UTF-8 string: bad when it is not well-formed [MQTT311-1.5.3-1], [MQTT5-1.5.4-1], or has a
 * U+0000 [MQTT311-1.5.3-2], [MQTT5-1.5.4-2]. (In reader.c.) */
struct view rd_utf8(struct reader *r);

#endif
