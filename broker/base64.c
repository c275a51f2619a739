/* Base64.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/base64.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t base64_encode(struct view v, char *out)
{
    char *o = out;

    for (size_t i = 0; i < v.len; i += 3) {
        size_t left = v.len - i;
        uint32_t w = (uint32_t)v.p[i] << 16;
        if (left > 1)
            w |= (uint32_t)v.p[i + 1] << 8;
        if (left > 2)
            w |= v.p[i + 2];
        *o++ = digits[w >> 18];
        *o++ = digits[w >> 12 & 63];
        *o++ = left > 1 ? digits[w >> 6 & 63] : '=';
        *o++ = left > 2 ? digits[w & 63] : '=';
    }
    *o = '\0';
    return (size_t)(o - out);
}

static int value(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int base64_decode(struct view text, uint8_t *out, size_t cap)
{
    size_t n = 0;

    if (text.len % 4 != 0 || text.len / 4 * 3 > INT32_MAX)
        return -1;
    for (size_t i = 0; i < text.len; i += 4) {
        const uint8_t *q = text.p + i;
        bool last = i + 4 == text.len;
        unsigned bytes = last && q[3] == '=' ? q[2] == '=' ? 1 : 2 : 3;
        uint32_t w = 0;
        for (unsigned k = 0; k < 4; k++) {
            int d = k <= bytes ? value(q[k]) : 0;
            if (d < 0)
                return -1;
            w = w << 6 | (uint32_t)d;
        }
        if ((bytes == 1 && w & 0xFFFF) || (bytes == 2 && w & 0xFF) || cap - n < bytes)
            return -1;
        for (unsigned k = 0; k < bytes; k++)
            out[n++] = (uint8_t)(w >> (16 - 8 * k));
    }
    return (int)n;
}
