/* The inside of an acl, for acl.c and acl_filter.c.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_ACL_RULES_H
#define CADDIS_BROKER_ACL_RULES_H

#include "broker/acl.h"
#include "broker/names.h"

/* Owners of rules; user number n of acl.users has n + 1. */
enum { OWNER_ANONYMOUS = 0 };
#define OWNER_PATTERN UINT32_MAX

struct acl_list {
    uint32_t first, count;      /* in acl.rules */
};

struct acl {
    char *name;
    char *text;                 /* the file; users and topics are views into it */
    size_t text_len;
    struct names users;
    struct acl_rule *rules;     /* by owner, denials first */
    uint32_t count;
    struct acl_list *lists;     /* by owner, without patterns */
    struct acl_list patterns;
    unsigned deny_levels;       /* levels of the longest topic that is denied */
    bool pattern_uses_id, pattern_uses_user;
};

/* One level of a topic or rule. */
struct level {
    struct view v;
    bool pattern;               /* %c and %u mean something */
};

/* Are they the same text once the client's names are put in? Wildcards are text here. */
bool level_same(struct level a, struct level b, const struct acl_who *w);

#endif
