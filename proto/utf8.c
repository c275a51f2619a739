/* UTF-8 validation: whole words while the text is ASCII, one character at a time where it is not.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "proto/utf8.h"

#include "proto/word.h"

/* Length of the well-formed multi-byte sequence at p, 0 if there is none. Overlong forms, surrogates and what lies
 * above U+10FFFF all show in the second byte: lo and hi are its limits (Unicode, table 3-7). */
static size_t sequence(const uint8_t *p, size_t left)
{
    uint8_t first = p[0], lo = 0x80, hi = 0xBF;
    size_t n;

    if (first >= 0xC2 && first <= 0xDF) {
        n = 2;
    } else if (first >= 0xE0 && first <= 0xEF) {
        n = 3;
        if (first == 0xE0)
            lo = 0xA0; /* overlong below */
        else if (first == 0xED)
            hi = 0x9F; /* U+D800..U+DFFF above [MQTT311-1.5.3-1], [MQTT5-1.5.4-1] */
    } else if (first >= 0xF0 && first <= 0xF4) {
        n = 4;
        if (first == 0xF0)
            lo = 0x90;
        else if (first == 0xF4)
            hi = 0x8F;
    } else {
        return 0;
    }
    if (left < n || p[1] < lo || p[1] > hi)
        return 0;
    for (size_t i = 2; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    }
    return n;
}

static inline bool valid(struct view v, bool nul_ok)
{
    const uint8_t *p = v.p;
    size_t left = v.len, n;

    while (left > 0) {
        if (left >= sizeof(size_t)) {
            size_t w = word_load(p);

            if (word_is_ascii(w) && (nul_ok || !word_has_zero(w))) {
                p += sizeof w;
                left -= sizeof w;
                continue;
            }
        }
        if (*p >= 0x80)
            n = sequence(p, left);
        else
            n = *p != 0 || nul_ok ? 1 : 0; /* [MQTT311-1.5.3-2], [MQTT5-1.5.4-2] */
        if (n == 0)
            return false;
        p += n;
        left -= n;
    }
    return true;
}

bool utf8_valid(struct view v)
{
    return valid(v, false);
}

bool utf8_wellformed(struct view v)
{
    return valid(v, true);
}
