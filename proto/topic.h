/* Topic names and topic filters [MQTT-4.7]. Input has already passed utf8_valid().
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_PROTO_TOPIC_H
#define CADDIS_PROTO_TOPIC_H

#include "proto/reader.h"

#include <string.h>

/* One character or more, no wildcard, no U+0000 [MQTT311-4.7.1-1], [MQTT5-4.7.0-1], [MQTT-4.7.3-1], [MQTT-4.7.3-2]. */
bool topic_name_valid(struct view t);
/* Wildcards only as whole levels, # only last [MQTT311-4.7.1-2], [MQTT311-4.7.1-3], [MQTT5-4.7.1-1],
 * [MQTT5-4.7.1-2]; $share/GROUP/FILTER: group not empty and without wildcards or '/', filter valid
 * [MQTT5-4.8.2-1], [MQTT5-4.8.2-2]. */
bool topic_filter_valid(struct view f);
bool topic_has_wildcard(struct view f);

/* True when f is "$share/GROUP/FILTER"; *group and *filter are views into f. f is valid. */
bool topic_split_share(struct view f, struct view *group, struct view *filter);

/* Does the filter match the name? Wildcards at the first level do not match names that start
 * with $ [MQTT-4.7.2-1]. Both are valid; f has no $share prefix. Linear, no recursion. */
bool topic_matches(struct view filter, struct view name);
/* Is every name that `inner` matches also matched by `outer`? (ACL: may a subscription pass whole?) */
bool topic_filter_covers(struct view outer, struct view inner);
/* Is there a name that both filters match? (ACL: is a subscription pointless?)
 * Both count the empty name, which cannot be published but which "/#" would match: that errs on the safe side. */
bool topic_filters_overlap(struct view a, struct view b);

/* Number of levels: '/' count + 1. */
unsigned topic_levels(struct view t);

/* Walks level by level: struct view rest = t, level; while (topic_next_level(&rest, &level)) ...
 * A view with p NULL has no level; "/" has two empty ones. rest.p == NULL marks the end. */
static inline bool topic_next_level(struct view *rest, struct view *level)
{
    const uint8_t *p;

    if (rest->p == NULL)
        return false;
    p = rest->len > 0 ? memchr(rest->p, '/', rest->len) : NULL;
    if (p == NULL) {
        *level = *rest;
        *rest = (struct view){ NULL, 0 };
    } else {
        *level = (struct view){ rest->p, (size_t)(p - rest->p) };
        rest->len -= level->len + 1;
        rest->p = p + 1;
    }
    return true;
}

#endif
