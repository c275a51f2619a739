/* Topic names and filters. Everything here is one pass over its input and calls nothing that calls back: a filter
 * of 65,535 slashes costs 65,535 steps and no stack.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "proto/topic.h"

#include "proto/word.h"

static const char share_prefix[] = "$share/";
#define SHARE_LEN (sizeof share_prefix - 1)

bool topic_name_valid(struct view t)
{
    const uint8_t *p = t.p;
    size_t left = t.len;

    if (left == 0)
        return false; /* [MQTT-4.7.3-1] */
    for (; left >= sizeof(size_t); left -= sizeof(size_t), p += sizeof(size_t)) {
        size_t w = word_load(p);

        if (word_has_wildcard(w) || word_has_zero(w))
            return false;
    }
    for (; left > 0; left--, p++) {
        if (*p == '+' || *p == '#' || *p == '\0')
            return false;
    }
    return true;
}

/* Without the $share prefix. */
static bool plain_filter_valid(struct view f)
{
    const uint8_t *p = f.p;

    if (f.len == 0)
        return false; /* [MQTT-4.7.3-1] */
    for (size_t i = 0; i < f.len; i++) {
        if (p[i] == '\0')
            return false; /* [MQTT-4.7.3-2] */
        if (p[i] != '+' && p[i] != '#')
            continue;
        if (i > 0 && p[i - 1] != '/')
            return false; /* [MQTT311-4.7.1-2], [MQTT311-4.7.1-3], [MQTT5-4.7.1-1], [MQTT5-4.7.1-2] */
        if (i + 1 < f.len && (p[i] == '#' || p[i + 1] != '/'))
            return false;
    }
    return true;
}

static bool is_shared(struct view f)
{
    return f.len >= SHARE_LEN && memcmp(f.p, share_prefix, SHARE_LEN) == 0;
}

/* False when what follows $share/ has no slash to end the group. */
static bool split(struct view f, struct view *group, struct view *filter)
{
    struct view rest = { f.p + SHARE_LEN, f.len - SHARE_LEN };

    if (!topic_next_level(&rest, group) || rest.p == NULL)
        return false;
    *filter = rest;
    return true;
}

bool topic_filter_valid(struct view f)
{
    struct view group, filter;

    if (!is_shared(f))
        return plain_filter_valid(f);
    /* The group follows the rules of a name: one character or more, no wildcard. [MQTT5-4.8.2-1], [MQTT5-4.8.2-2] */
    return split(f, &group, &filter) && topic_name_valid(group) && plain_filter_valid(filter);
}

bool topic_has_wildcard(struct view f)
{
    return f.len > 0 && (memchr(f.p, '+', f.len) != NULL || memchr(f.p, '#', f.len) != NULL);
}

bool topic_split_share(struct view f, struct view *group, struct view *filter)
{
    return is_shared(f) && split(f, group, filter);
}

static bool level_is(struct view level, char wildcard)
{
    return level.len == 1 && level.p[0] == wildcard;
}

/* Would a wildcard at the first level of `filter` meet a `$` at the first level of `other` [MQTT-4.7.2-1]? */
static bool dollar_bars(struct view filter, struct view other)
{
    return other.len > 0 && other.p[0] == '$' && filter.len > 0 && (filter.p[0] == '+' || filter.p[0] == '#');
}

bool topic_matches(struct view filter, struct view name)
{
    struct view want, have;

    if (dollar_bars(filter, name))
        return false;
    while (topic_next_level(&filter, &want)) {
        if (level_is(want, '#'))
            return true; /* the parent level too: "a/#" matches "a" (4.7.1.2) */
        if (!topic_next_level(&name, &have))
            return false;
        if (!level_is(want, '+') && !view_same(want, have))
            return false;
    }
    return name.p == NULL;
}

bool topic_filter_covers(struct view outer, struct view inner)
{
    struct view o, i;

    if (dollar_bars(outer, inner))
        return false;
    /* The one case in which a '#' is covered by something longer: every name has a first level, so "+/#" is
     * everything that "#" is. One level down this fails, "a/+/#" does not match the "a" that "a/#" does. */
    if (level_is(inner, '#') && outer.len == 3 && memcmp(outer.p, "+/#", 3) == 0)
        return true;
    while (topic_next_level(&outer, &o)) {
        if (level_is(o, '#'))
            return true;
        if (!topic_next_level(&inner, &i) || level_is(i, '#'))
            return false;
        if (!level_is(o, '+') && !view_same(o, i))
            return false;
    }
    return inner.p == NULL;
}

bool topic_filters_overlap(struct view a, struct view b)
{
    struct view la, lb;

    if (dollar_bars(a, b) || dollar_bars(b, a))
        return false;
    while (topic_next_level(&a, &la)) {
        if (level_is(la, '#'))
            return true; /* whatever b goes on with, and if it has ended, the parent level is common */
        if (!topic_next_level(&b, &lb))
            return false;
        if (level_is(lb, '#'))
            return true;
        if (!level_is(la, '+') && !level_is(lb, '+') && !view_same(la, lb))
            return false;
    }
    return !topic_next_level(&b, &lb) || level_is(lb, '#');
}

unsigned topic_levels(struct view t)
{
    unsigned levels = 1;

    for (size_t i = 0; i < t.len; i++)
        levels += t.p[i] == '/';
    return levels;
}
