/* Fuzz target: UTF-8 and topics against references that are slow and plain. Input: up to three texts, ended by line
 * feeds: a filter, a name, another filter.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "proto/proto.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

/* Decodes code point by code point and judges the number, not the bytes. */
static bool ref_utf8(struct view v, bool nul_ok)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };

    for (size_t i = 0; i < v.len;) {
        uint8_t first = v.p[i];
        size_t n = first < 0x80 ? 1 : first >> 5 == 6 ? 2 : first >> 4 == 14 ? 3 : first >> 3 == 30 ? 4 : 0;
        uint32_t c = n == 1 ? first : first & (0xFFu >> (n + 1));

        if (n == 0 || v.len - i < n)
            return false;
        for (size_t k = 1; k < n; k++) {
            if (v.p[i + k] >> 6 != 2)
                return false;
            c = c << 6 | (v.p[i + k] & 0x3F);
        }
        if (c < least[n] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF) || (c == 0 && !nul_ok))
            return false;
        i += n;
    }
    return true;
}

static bool ref_name(struct view v)
{
    for (size_t i = 0; i < v.len; i++) {
        if (v.p[i] == '+' || v.p[i] == '#' || v.p[i] == 0)
            return false;
    }
    return v.len > 0;
}

static bool ref_plain_filter(struct view v)
{
    struct view rest = v, level;

    if (v.len == 0)
        return false;
    while (topic_next_level(&rest, &level)) {
        if (level.len == 1 && (level.p[0] == '+' || (level.p[0] == '#' && rest.p == NULL)))
            continue;
        if (level.len > 0 && !ref_name(level))
            return false;
    }
    return true;
}

static bool ref_filter(struct view v)
{
    size_t i = 7;

    if (v.len < 7 || memcmp(v.p, "$share/", 7) != 0)
        return ref_plain_filter(v);
    while (i < v.len && v.p[i] != '/')
        i++;
    return i < v.len && ref_name((struct view){ v.p + 7, i - 7 }) &&
           ref_plain_filter((struct view){ v.p + i + 1, v.len - i - 1 });
}

/* The specification's words, byte by byte and recursive. */
static bool ref_levels(const uint8_t *f, const uint8_t *fe, const uint8_t *n, const uint8_t *ne)
{
    if (f < fe && *f == '#')
        return true;
    if (f < fe && *f == '+') {
        while (n < ne && *n != '/')
            n++;
        return ref_levels(f + 1, fe, n, ne);
    }
    if (f == fe || n == ne)
        return (f == fe && n == ne) || (n == ne && fe - f == 2 && f[0] == '/' && f[1] == '#');
    return *f == *n && ref_levels(f + 1, fe, n + 1, ne);
}

static bool ref_matches(struct view f, struct view n)
{
    if (n.p[0] == '$' && (f.p[0] == '+' || f.p[0] == '#'))
        return false;
    return ref_levels(f.p, f.p + f.len, n.p, n.p + n.len);
}

/* In an allocation of its own, so that ASan sees a byte too many. */
static struct view next_text(struct view *in)
{
    const uint8_t *end = in->len > 0 ? memchr(in->p, '\n', in->len) : NULL;
    size_t n = end != NULL ? (size_t)(end - in->p) : in->len;
    uint8_t *copy = malloc(n > 0 ? n : 1);

    require(copy != NULL);
    if (n > 0)
        memcpy(copy, in->p, n);
    n += end != NULL;
    in->p += n;
    in->len -= n;
    return (struct view){ copy, end != NULL ? n - 1 : n };
}

static void check_text(struct view v)
{
    struct view group, filter, rest = v, level;
    unsigned levels = 0;

    require(utf8_valid(v) == ref_utf8(v, false));
    require(utf8_wellformed(v) == ref_utf8(v, true));
    require(topic_name_valid(v) == ref_name(v));
    require(topic_filter_valid(v) == ref_filter(v));
    if (ref_name(v))
        require(!topic_has_wildcard(v));
    while (topic_next_level(&rest, &level))
        levels++;
    require(topic_levels(v) == levels);
    if (topic_filter_valid(v) && topic_split_share(v, &group, &filter))
        require(group.len + filter.len + 8 == v.len && topic_filter_valid(group) && ref_plain_filter(filter));
}

static void check_filters(struct view a, struct view b, struct view name)
{
    bool in_a = topic_matches(a, name), in_b = topic_matches(b, name);

    require(in_a == ref_matches(a, name) && in_b == ref_matches(b, name));
    require(topic_filter_covers(a, a) && topic_filters_overlap(a, a));
    require(topic_filters_overlap(a, b) == topic_filters_overlap(b, a));
    require(!(in_a && in_b) || topic_filters_overlap(a, b));
    require(!topic_filter_covers(a, b) || (topic_filters_overlap(a, b) && (in_a || !in_b)));
    require(!topic_filter_covers(b, a) || (in_b || !in_a));
    require(topic_filter_covers(a, name) == in_a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct view in = { data, size }, a, name, b;

    if (size == 0)
        return 0;
    a = next_text(&in);
    name = next_text(&in);
    b = next_text(&in);
    check_text(a);
    check_text(name);
    check_text(b);
    if (ref_plain_filter(a) && ref_plain_filter(b) && ref_name(name))
        check_filters(a, b, name);
    free((void *)(uintptr_t)a.p);
    free((void *)(uintptr_t)name.p);
    free((void *)(uintptr_t)b.p);
    return 0;
}
