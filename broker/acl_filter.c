/* What could a subscription match that the client may read?
 *
 * For a rule that grants reading, and the filter, a topic is made up that both match and as few denials as possible do:
 * where one of the two names a level, that one; where both leave it open, a name that no rule knows ("fresh").
 * Fresh is never worse than another name, because the wildcards that match it match every name. Where both go on with #
 * the topic may be longer; beyond the longest denial nothing changes any more. So trying each length finds a topic
 * whenever there is one: if no denial matches it, it can be read.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/acl_rules.h"

#include "proto/topic.h"

#include <string.h>

/* ---- levels ---- */

/* The text of a level byte by byte, with the client's names put in. */
struct spell {
    struct view v, put_in;
    bool pattern;
};

static int spell_next(struct spell *s, const struct acl_who *w)
{
    for (;;) {
        if (s->put_in.len > 0) {
            s->put_in.len--;
            return *s->put_in.p++;
        }
        if (s->v.len == 0)
            return -1;
        if (!s->pattern || s->v.p[0] != '%' || s->v.len < 2 || (s->v.p[1] != 'c' && s->v.p[1] != 'u')) {
            s->v.len--;
            return *s->v.p++;
        }
        s->put_in = s->v.p[1] == 'c' ? w->id : w->user;
        s->v.p += 2;
        s->v.len -= 2;
    }
}

static bool plain(struct level l)
{
    return !l.pattern || l.v.len < 2 || memchr(l.v.p, '%', l.v.len) == NULL;
}

bool level_same(struct level a, struct level b, const struct acl_who *w)
{
    struct spell x = { .v = a.v, .pattern = a.pattern }, y = { .v = b.v, .pattern = b.pattern };
    int c;

    if (plain(a) && plain(b))
        return view_same(a.v, b.v);
    do {
        c = spell_next(&x, w);
        if (c != spell_next(&y, w))
            return false;
    } while (c >= 0);
    return true;
}

static bool is_wildcard(struct view level, char c)
{
    return level.len == 1 && level.p[0] == c;
}

static bool starts(struct view v, char c)
{
    return v.len > 0 && v.p[0] == c;
}

/* ---- the made-up topic ---- */

struct walk {
    struct view filter, rule;   /* what is left of them */
    bool filter_open, rule_open, pattern;
    unsigned longer;            /* levels to go on with where both have come to # */
};

enum step { STEP_END, STEP_LEVEL, STEP_FRESH };

/* The next level. The two overlap, so where one ends the other ends or has come to its #. */
static enum step walk_next(struct walk *k, struct level *out)
{
    struct view f = { NULL, 0 }, r = { NULL, 0 };
    bool f_ends = !k->filter_open && !topic_next_level(&k->filter, &f);
    bool r_ends = !k->rule_open && !topic_next_level(&k->rule, &r);

    if (f_ends || r_ends)
        return STEP_END;
    k->filter_open |= is_wildcard(f, '#');
    k->rule_open |= is_wildcard(r, '#');
    if (k->filter_open && k->rule_open) {
        if (k->longer == 0)
            return STEP_END;
        k->longer--;
        return STEP_FRESH;
    }
    if (!k->filter_open && !is_wildcard(f, '+')) {
        *out = (struct level){ f, false };
        return STEP_LEVEL;
    }
    if (!k->rule_open && !is_wildcard(r, '+')) {
        *out = (struct level){ r, k->pattern };
        return STEP_LEVEL;
    }
    return STEP_FRESH;
}

/* Is there any topic that both match? */
static bool overlap(struct view filter, const struct acl_rule *rule, const struct acl_who *w)
{
    struct view rest = rule->topic, f, r;

    /* Wildcards do not match a $ at the start, nor may a client's name put one there. */
    if (starts(filter, '$') != starts(rule->topic, '$'))
        return false;
    if (starts(rule->topic, '%') && rule->pattern) {
        struct spell s = { .v = rule->topic, .pattern = true };
        if (spell_next(&s, w) == '$')
            return false;
    }
    while (topic_next_level(&filter, &f)) {
        if (is_wildcard(f, '#'))
            return true;
        if (!topic_next_level(&rest, &r))
            return false;
        if (is_wildcard(r, '#'))
            return true;
        if (!is_wildcard(f, '+') && !is_wildcard(r, '+') &&
            !level_same((struct level){ f, false }, (struct level){ r, rule->pattern }, w))
            return false;
    }
    return !topic_next_level(&rest, &r) || is_wildcard(r, '#');
}

static bool denied_by(const struct acl_rule *deny, struct walk k, const struct acl_who *w)
{
    struct view rest = deny->topic, d;
    enum step step;
    struct level l;

    /* The filter starts with $ exactly when the topic does. */
    if (starts(k.filter, '$') && !starts(deny->topic, '$'))
        return false;
    while (topic_next_level(&rest, &d)) {
        if (is_wildcard(d, '#'))
            return true;
        step = walk_next(&k, &l);
        if (step == STEP_END || (step == STEP_FRESH && !is_wildcard(d, '+')))
            return false;
        if (!is_wildcard(d, '+') && !level_same((struct level){ d, deny->pattern }, l, w))
            return false;
    }
    return walk_next(&k, &l) == STEP_END;
}

static bool any_denies(const struct acl_rule *rules, uint32_t count, struct walk k, const struct acl_who *w)
{
    for (uint32_t i = 0; i < count && rules[i].access == ACL_DENY; i++)
        if (!(rules[i].uses_user && w->user.p == NULL) && denied_by(&rules[i], k, w))
            return true;
    return false;
}

/* Does the topic end where both have come to # for the first time? Then others can be longer. */
static bool can_be_longer(struct walk k)
{
    struct level l;

    k.longer = 0;
    while (walk_next(&k, &l) != STEP_END)
        continue;
    return k.filter_open && k.rule_open;
}

/* Two # without a level, or a single empty one, make no topic. */
static bool is_topic(struct walk k, const struct acl_who *w)
{
    struct level l;
    enum step step = walk_next(&k, &l);

    if (step != STEP_LEVEL || !level_same(l, (struct level){ .pattern = false }, w))
        return step != STEP_END;
    return walk_next(&k, &l) != STEP_END;
}

static bool grants_some(const struct acl *a, const struct acl_who *w, const struct acl_rule *rule, struct view filter)
{
    struct walk k = { .filter = filter, .rule = rule->topic, .pattern = rule->pattern };
    unsigned most = can_be_longer(k) ? a->deny_levels + 1 : 0;

    for (; k.longer <= most; k.longer++)
        if (is_topic(k, w) && !any_denies(w->rules, w->rule_count, k, w) &&
            !(rule->pattern && any_denies(a->rules + a->patterns.first, a->patterns.count, k, w)))
            return true;
    return false;
}

static const struct acl_rule *first_denial(const struct acl_who *w, const struct acl_rule *rules, uint32_t count,
                                           struct view filter)
{
    for (uint32_t i = 0; i < count && rules[i].access == ACL_DENY; i++)
        if (!(rules[i].uses_user && w->user.p == NULL) && overlap(filter, &rules[i], w))
            return &rules[i];
    return NULL;
}

/* false: *rule is a denial if it takes away what one of these rules would grant, and else what it was. */
static bool search(const struct acl *a, const struct acl_who *w, const struct acl_rule *rules, uint32_t count,
                   struct view filter, const struct acl_rule **rule)
{
    bool denied = false;

    for (const struct acl_rule *r = rules; r < rules + count; r++) {
        if (!(r->access & ACL_READ) || (r->uses_user && w->user.p == NULL))
            continue;
        if (!overlap(filter, r, w))
            continue;
        if (grants_some(a, w, r, filter)) {
            *rule = r;
            return true;
        }
        denied = true;
    }
    if (denied && *rule == NULL)
        *rule = first_denial(w, w->rules, w->rule_count, filter);
    if (denied && *rule == NULL)
        *rule = first_denial(w, a->rules + a->patterns.first, a->patterns.count, filter);
    return false;
}

bool acl_may_subscribe(const struct acl *a, const struct acl_who *w, struct view filter, const struct acl_rule **rule)
{
    const struct acl_rule *unused;
    struct view group, inner;

    if (rule == NULL)
        rule = &unused;
    *rule = NULL;
    if (topic_split_share(filter, &group, &inner))
        filter = inner;
    return search(a, w, w->rules, w->rule_count, filter, rule) ||
           (!w->barred && search(a, w, a->rules + a->patterns.first, a->patterns.count, filter, rule));
}
