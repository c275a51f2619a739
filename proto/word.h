/* Eight bytes at a look (four on 32-bit): tests on every byte of a machine word at once. They say whether such a
 * byte is there, not where, so they do not care about byte order.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_PROTO_WORD_H
#define CADDIS_PROTO_WORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define WORD_ONES  ((size_t)-1 / 255)   /* 0x0101...01 */
#define WORD_HIGHS (WORD_ONES * 0x80)   /* 0x8080...80 */

static inline size_t word_load(const uint8_t *p)
{
    size_t w;

    memcpy(&w, p, sizeof w); /* one load, wherever p points */
    return w;
}

static inline bool word_has_zero(size_t w)
{
    return ((w - WORD_ONES) & ~w & WORD_HIGHS) != 0;
}

/* Every byte below 0x80. */
static inline bool word_is_ascii(size_t w)
{
    return (w & WORD_HIGHS) == 0;
}

/* '#' is 0x23 and '+' is 0x2B: with bit 3 set both are 0x2B, and nothing else becomes it. */
static inline bool word_has_wildcard(size_t w)
{
    return word_has_zero((w | WORD_ONES * 0x08) ^ WORD_ONES * 0x2B);
}

#endif
