/* ACL files: reading, and checking one topic. The question what a filter could match is in acl_filter.c.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/acl_rules.h"

#include "broker/log.h"
#include "broker/mem.h"
#include "broker/textfile.h"
#include "proto/topic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading ---- */

struct reading {
    struct acl *a;
    struct textfile f;
    uint32_t owner;             /* of topic lines */
    uint32_t room;
};

static const struct { const char *name; uint8_t access; } words[] = {
    { "read", ACL_READ },
    { "write", ACL_WRITE },
    { "readwrite", ACL_READ | ACL_WRITE },
    { "deny", ACL_DENY },
};
enum { WORD_COUNT = sizeof words / sizeof words[0] };

static bool is(struct view v, const char *word)
{
    return v.len == strlen(word) && memcmp(v.p, word, v.len) == 0;
}

/* Takes the first word off. */
static struct view take_word(struct view *rest)
{
    struct view v = view_trim(*rest), w = v;

    for (w.len = 0; w.len < v.len && v.p[w.len] != ' ' && v.p[w.len] != '\t';)
        w.len++;
    *rest = view_trim((struct view){ v.p + w.len, v.len - w.len });
    return w;
}

static struct acl_rule *new_rule(struct reading *r)
{
    uint32_t room = r->room > 0 ? r->room * 2 : 16;
    struct acl_rule *v = r->a->rules;

    if (r->a->count == r->room) {
        v = mem_grow(MEM_OTHER, r->a->rules, room * sizeof *v);
        if (v == NULL) {
            textfile_error(&r->f, "no memory");
            return NULL;
        }
        r->a->rules = v;
        r->room = room;
    }
    v += r->a->count++;
    *v = (struct acl_rule){ .line = (uint32_t)r->f.line };
    return v;
}

/* What can be known before there is a topic to compare with. */
static void study(struct acl_rule *rule)
{
    struct view t = rule->topic;
    size_t literal = t.len;

    for (size_t i = t.len; i-- > 0;) {
        bool put_in = rule->pattern && t.p[i] == '%' && i + 1 < t.len && (t.p[i + 1] == 'c' || t.p[i + 1] == 'u');
        if (put_in && t.p[i + 1] == 'c')
            rule->uses_id = true;
        else if (put_in)
            rule->uses_user = true;
        if (put_in || t.p[i] == '+')
            literal = i;
        else if (t.p[i] == '#')
            literal = i > 0 ? i - 1 : 0;    /* "a/#" matches "a" too */
    }
    rule->literal = (uint32_t)literal;
    rule->exact = literal == t.len;
}

static void add_rule(struct reading *r, struct view rest, bool pattern)
{
    struct view first = take_word(&rest), topic = rest.len > 0 ? rest : first;
    struct acl_rule *rule;
    unsigned w = 0;

    while (w < WORD_COUNT && !is(first, words[w].name))
        w++;
    if (first.len == 0)
        textfile_error(&r->f, "the topic is missing");
    else if (w == WORD_COUNT && rest.len > 0)
        textfile_error(&r->f, "%s is not one of read, write, readwrite, deny", log_q(first.p, first.len));
    else if (w < WORD_COUNT && rest.len == 0)
        textfile_error(&r->f, "the topic is missing after %s (a topic of that name is written with one of read, write, "
                              "readwrite, deny before it)", words[w].name);
    else if (topic.len > UINT16_MAX || !topic_filter_valid(topic))
        textfile_error(&r->f, "%s is not a topic or filter: + and # stand for whole levels, # for the last one only",
                       log_q(topic.p, topic.len));
    else if (topic.len >= 7 && memcmp(topic.p, "$share/", 7) == 0)
        textfile_error(&r->f, "shared subscriptions are checked by their filter; leave out $share/GROUP/");
    else if ((rule = new_rule(r)) != NULL) {
        rule->topic = topic;
        rule->owner = pattern ? OWNER_PATTERN : r->owner;
        rule->access = w < WORD_COUNT ? words[w].access : ACL_READ | ACL_WRITE;
        rule->pattern = pattern;
        study(rule);
    }
}

static void set_user(struct reading *r, struct view name)
{
    uint32_t i;

    if (name.len == 0) {
        textfile_error(&r->f, "the name is missing after user");
        return;
    }
    i = names_find(&r->a->users, name);
    if (i == NAMES_NONE)
        i = names_add(&r->a->users, name, (struct view){ NULL, 0 });
    if (i == NAMES_NONE)
        textfile_error(&r->f, "no memory");
    else
        r->owner = i + 1;
}

static void read_line(struct reading *r, struct view line)
{
    struct view word = take_word(&line);

    if (word.len > 0 && word.p[0] == '#')
        return;
    if (is(word, "topic") || is(word, "pattern"))
        add_rule(r, line, is(word, "pattern"));
    else if (is(word, "user"))
        set_user(r, line);
    else
        textfile_error(&r->f, "a line begins with topic, pattern or user, not with %s", log_q(word.p, word.len));
}

/* By owner; in each list denials first, then as in the file. */
static int order(const void *x, const void *y)
{
    const struct acl_rule *a = x, *b = y;

    if (a->owner != b->owner)
        return a->owner < b->owner ? -1 : 1;
    if ((a->access == ACL_DENY) != (b->access == ACL_DENY))
        return a->access == ACL_DENY ? -1 : 1;
    return a->line < b->line ? -1 : a->line > b->line;
}

static bool compile(struct acl *a)
{
    /* The spare room goes; there is an array even without rules. */
    struct acl_rule *v = mem_grow(MEM_OTHER, a->rules, (a->count > 0 ? a->count : 1) * sizeof *v);

    a->rules = v != NULL ? v : a->rules;
    a->lists = mem_zero(MEM_OTHER, (a->users.count + 1) * sizeof *a->lists);
    if (v == NULL || a->lists == NULL)
        return false;
    qsort(a->rules, a->count, sizeof *a->rules, order);
    for (uint32_t i = 0; i < a->count; i++) {
        const struct acl_rule *rule = &a->rules[i];
        struct acl_list *l = rule->owner == OWNER_PATTERN ? &a->patterns : &a->lists[rule->owner];
        if (l->count++ == 0)
            l->first = i;
        a->pattern_uses_id |= rule->uses_id;
        a->pattern_uses_user |= rule->uses_user;
        if (rule->access == ACL_DENY && topic_levels(rule->topic) > a->deny_levels)
            a->deny_levels = topic_levels(rule->topic);
    }
    return true;
}

/* Closes r->f. */
static struct acl *load(struct reading *r)
{
    struct view line;

    r->a = mem_zero(MEM_OTHER, sizeof *r->a);
    if (r->a == NULL) {
        textfile_error(&r->f, "can't be read: no memory");
        textfile_close(&r->f);
        return NULL;
    }
    names_init(&r->a->users);
    while (textfile_next(&r->f, &line))
        read_line(r, line);
    r->a->text = textfile_take(&r->f, &r->a->text_len);
    r->a->name = mem_alloc(MEM_OTHER, strlen(r->f.name) + 1);
    if (r->a->name != NULL)
        strcpy(r->a->name, r->f.name);
    if (r->f.errors == 0 && (r->a->name == NULL || !compile(r->a)))
        textfile_error(&r->f, "no memory");
    if (r->f.errors > 0)
        acl_free(&r->a);
    return r->a;
}

struct acl *acl_load(const char *path, void (*say)(void *arg, const char *line), void *arg)
{
    struct reading r = { 0 };

    return textfile_open(&r.f, path, say, arg) ? load(&r) : NULL;
}

struct acl *acl_load_text(const char *name, struct view text, void (*say)(void *arg, const char *line), void *arg)
{
    struct reading r = { 0 };

    return textfile_set(&r.f, name, text, say, arg) ? load(&r) : NULL;
}

void acl_free(struct acl **ap)
{
    struct acl *a = *ap;

    if (a == NULL)
        return;
    textfile_wipe(&a->text, a->text_len);
    names_fini(&a->users);
    mem_free(MEM_OTHER, a->name);
    mem_free(MEM_OTHER, a->rules);
    mem_free(MEM_OTHER, a->lists);
    mem_free(MEM_OTHER, a);
    *ap = NULL;
}

const char *acl_name(const struct acl *a)
{
    return a->name;
}

const char *acl_rule_text(const struct acl_rule *r, char *out, size_t cap)
{
    unsigned w = 0;

    while (words[w].access != r->access)
        w++;
    snprintf(out, cap, "%s %s %.*s", r->pattern ? "pattern" : "topic", words[w].name, (int)r->topic.len,
             (const char *)r->topic.p);
    return out;
}

/* ---- checking ---- */

static bool has_any(struct view v, const char *set)
{
    for (size_t i = 0; i < v.len; i++)
        if (v.p[i] != '\0' && strchr(set, v.p[i]) != NULL)
            return true;
    return false;
}

struct acl_who acl_who(const struct acl *a, struct view id, struct view user)
{
    struct acl_who w = { .id = id, .user = user };
    uint32_t i = user.p != NULL ? names_find(&a->users, user) : NAMES_NONE;
    struct acl_list list = { 0 };       /* a user without lines of his own: none, not those of the anonymous */

    if (user.p == NULL)
        list = a->lists[OWNER_ANONYMOUS];
    else if (i != NAMES_NONE)
        list = a->lists[i + 1];
    w.rules = a->rules + list.first;
    w.rule_count = list.count;
    if (has_any(id, a->pattern_uses_id ? "+#/" : "+#"))
        w.barred = ACL_BARRED_ID;
    else if (user.p != NULL && has_any(user, a->pattern_uses_user ? "+#/" : "+#"))
        w.barred = ACL_BARRED_USER;
    return w;
}

static bool rule_matches(const struct acl_rule *r, const struct acl_who *w, struct view topic)
{
    struct view want, have, filter = r->topic;

    if (topic.len < r->literal || (r->literal > 0 && memcmp(topic.p, r->topic.p, r->literal) != 0))
        return false;
    if (r->exact)
        return topic.len == r->topic.len;
    if (!r->uses_id && !r->uses_user)
        return topic_matches(filter, topic);
    /* As in mosquitto: what is put in can't open $SYS. */
    if (topic.len > 0 && topic.p[0] == '$' && filter.p[0] != '$')
        return false;
    while (topic_next_level(&filter, &want)) {
        if (want.len == 1 && want.p[0] == '#')
            return true;
        if (!topic_next_level(&topic, &have))
            return false;
        if (want.len == 1 && want.p[0] == '+')
            continue;
        if (!level_same((struct level){ want, true }, (struct level){ have, false }, w))
            return false;
    }
    return topic.p == NULL;
}

/* 1: granted, 0: denied, -1: these say nothing. Denials come first in the list. */
static int decide(const struct acl_rule *rules, uint32_t count, const struct acl_who *w, enum acl_access want,
                  struct view topic, const struct acl_rule **rule)
{
    for (const struct acl_rule *r = rules; r < rules + count; r++) {
        if ((r->access != ACL_DENY && !(r->access & want)) || (r->uses_user && w->user.p == NULL))
            continue;
        if (rule_matches(r, w, topic)) {
            *rule = r;
            return r->access != ACL_DENY;
        }
    }
    return -1;
}

bool acl_may(const struct acl *a, const struct acl_who *w, enum acl_access want, struct view topic,
             const struct acl_rule **rule)
{
    const struct acl_rule *unused;
    int verdict;

    if (rule == NULL)
        rule = &unused;
    *rule = NULL;
    verdict = decide(w->rules, w->rule_count, w, want, topic, rule);
    if (verdict < 0 && !w->barred)
        verdict = decide(a->rules + a->patterns.first, a->patterns.count, w, want, topic, rule);
    return verdict > 0;
}
