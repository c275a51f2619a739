/* Who may publish and read what: mosquitto's ACL file.
 *
 *     topic [read|write|readwrite|deny] FILTER       for clients without a user name, until the first user line
 *     user NAME
 *     topic [read|write|readwrite|deny] FILTER       for that user
 *     pattern [read|write|readwrite|deny] FILTER     for everybody; %c stands for the client id, %u for the user name
 *
 * A topic is decided by the first of these that speaks of it, as in mosquitto; the order of lines does not matter:
 *     1. the client's own topic lines that deny
 *     2. its own topic lines that grant what it wants to do
 *     3. patterns that deny
 *     4. patterns that grant it
 *     5. nothing: no
 * To a client whose id or user name has a `+` or `#` in it patterns give nothing, as in mosquitto. Stricter than there:
 * nor do they with a `/` in it, if any pattern uses that name, because "a/secret" would get what was meant for "a".
 *
 * A file is taken whole or not at all; an empty one allows nothing. Checks allocate nothing.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_ACL_H
#define CADDIS_BROKER_ACL_H

#include "proto/reader.h"

enum acl_access { ACL_DENY = 0, ACL_READ = 1, ACL_WRITE = 2 };

/* A line of the file. */
struct acl_rule {
    struct view topic;
    uint32_t line;
    uint32_t owner;             /* whose list it is in */
    uint32_t literal;           /* bytes at the start that a topic must have in any case */
    uint8_t access;             /* enum acl_access bits; ACL_DENY: none */
    bool pattern;               /* %c and %u mean something */
    bool uses_id, uses_user;
    bool exact;                 /* no wildcard, nothing to put in: compared byte by byte */
};

struct acl;

/* Errors go to `say`, one line each, all of them in one run. NULL: there was at least one. */
struct acl *acl_load(const char *path, void (*say)(void *arg, const char *line), void *arg);
/* The same from memory; `name` stands for the file. */
struct acl *acl_load_text(const char *name, struct view text, void (*say)(void *arg, const char *line), void *arg);
void acl_free(struct acl **ap);
/* As it was given to acl_load(), for messages. */
const char *acl_name(const struct acl *a);

/* Why patterns give nothing to a client. */
enum acl_barred { ACL_BARRED_NOT, ACL_BARRED_ID, ACL_BARRED_USER };

/* A client as the rules see it: made once, kept until the names or the acl go away. */
struct acl_who {
    struct view id, user;               /* borrowed; user.p NULL: none */
    const struct acl_rule *rules;       /* its own, those that deny first */
    uint32_t rule_count;
    uint8_t barred;                     /* enum acl_barred */
};
struct acl_who acl_who(const struct acl *a, struct view id, struct view user);

/* May it read (have delivered), or write (publish) this topic? want: one of the two. *rule, unless NULL: the line that
 * decided, NULL if none did; lives as long as the acl. */
bool acl_may(const struct acl *a, const struct acl_who *w, enum acl_access want, struct view topic,
             const struct acl_rule **rule);
/* Is there a topic that the filter matches and that the client may read? A valid filter, with or without $share/GROUP/.
 * *rule: a line that grants such a topic; where it is false, a line that denies what others would grant, or NULL. */
bool acl_may_subscribe(const struct acl *a, const struct acl_who *w, struct view filter, const struct acl_rule **rule);

/* "pattern deny a/%c/#" */
const char *acl_rule_text(const struct acl_rule *r, char *out, size_t cap);

#endif
