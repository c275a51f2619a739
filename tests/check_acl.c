/* ACL files: grammar, the matrix of mosquitto's rules, and what a filter could match, compared with trying every topic.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/acl.h"
#include "broker/mem.h"
#include "broker/textfile.h"
#include "proto/topic.h"
#include "hear.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct acl *load(const char *text)
{
    struct acl *a = acl_load_text("acl", view_of(text), hear, NULL);

    ck_assert_msg(a != NULL, "%s", heard);
    return a;
}

/* NULL: no user name. */
static struct acl_who client(const struct acl *a, const char *id, const char *user)
{
    return acl_who(a, view_of(id), view_of(user));
}

/* ---- grammar ---- */

static const struct { const char *text, *want; } refused[] = {
    { "topic", "acl:1: the topic is missing\n" },
    { "# x\n\ntopic read", "acl:3: the topic is missing after read" },
    { "topic deny", "the topic is missing after deny" },
    { "pattern write   ", "the topic is missing after write" },
    { "topic reed a", "\"reed\" is not one of read, write, readwrite, deny" },
    { "topic a b", "\"a\" is not one of" },
    { "topic READ a", "\"READ\" is not one of" },
    { "topic read a#", "\"a#\" is not a topic or filter" },
    { "topic read #/a", "is not a topic or filter" },
    { "topic read a+", "is not a topic or filter" },
    { "topic read $share/g/a", "shared subscriptions are checked by their filter" },
    { "topic read $share/a", "is not a topic or filter" },
    { "user", "the name is missing after user" },
    { "user   ", "the name is missing after user" },
    { "users a", "a line begins with topic, pattern or user, not with \"users\"" },
    { "read a", "a line begins with topic, pattern or user, not with \"read\"" },
    { "topic read a\nx\nuser\n", "acl:2: a line begins with topic, pattern or user, not with \"x\"\nacl:3: " },
    { "topic read \xFF", "acl:1: this is not UTF-8 text" },
};

START_TEST(refused_rows)
{
    ck_assert_ptr_null(acl_load_text("acl", view_of(refused[_i].text), hear, NULL));
    ck_assert_msg(strstr(heard, refused[_i].want) != NULL, "heard: %s", heard);
    ck_assert_uint_eq(mem_bytes[MEM_OTHER], 0);
}
END_TEST

/* ---- one topic ---- */

#define CASE(name, acl, id, user, topic, read, write) { name, acl, id, user, topic, read, write }
/* read, write: number of the deciding line; positive: yes, negative: no, 0: no, no line says anything. */
static const struct { const char *name, *acl, *id, *user, *topic; int read, write; } checks[] = {
    CASE("an empty file allows nothing", "", "c", NULL, "a", 0, 0),
    CASE("comments only", "# topic a\n", "c", NULL, "a", 0, 0),
    CASE("without a word: both", "topic a/b", "c", NULL, "a/b", 1, 1),
    CASE("read", "topic read a", "c", NULL, "a", 1, 0),
    CASE("write", "topic write a", "c", NULL, "a", 0, 1),
    CASE("readwrite", "topic readwrite a", "c", NULL, "a", 1, 1),
    CASE("tabs, blanks", "  topic\t read \t a  \t", "c", NULL, "a", 1, 0),
    CASE("CR LF, BOM", "\xEF\xBB\xBFtopic read a\r\n", "c", NULL, "a", 1, 0),
    CASE("blanks inside a topic", "topic read a b/c d", "c", NULL, "a b/c d", 1, 0),
    CASE("a topic called read", "topic read read", "c", NULL, "read", 1, 0),
    CASE("two lines, one right each", "topic read a\ntopic write a\n", "c", NULL, "a", 1, 2),
    CASE("another topic", "topic a", "c", NULL, "b", 0, 0),
    CASE("a prefix is no match", "topic a/b", "c", NULL, "a/bc", 0, 0),
    CASE("nor is a shorter one", "topic a/bc", "c", NULL, "a/b", 0, 0),
    CASE("+", "topic a/+/c", "c", NULL, "a/x/c", 1, 1),
    CASE("+ is one level", "topic a/+/c", "c", NULL, "a/x/y/c", 0, 0),
    CASE("#", "topic a/#", "c", NULL, "a/x/y", 1, 1),
    CASE("# and its parent", "topic a/#", "c", NULL, "a", 1, 1),
    CASE("# and a longer name", "topic a/#", "c", NULL, "ab", 0, 0),
    CASE("# alone", "topic #", "c", NULL, "a/b", 1, 1),
    CASE("# does not match $", "topic #", "c", NULL, "$SYS/a", 0, 0),
    CASE("+/# does not match $", "topic +/#", "c", NULL, "$SYS/a", 0, 0),
    CASE("$ by name", "topic read $SYS/#", "c", NULL, "$SYS/a", 1, 0),

    CASE("denial before a grant", "topic deny a/s\ntopic a/#", "c", NULL, "a/s", -1, -1),
    CASE("denial behind a grant", "topic a/#\ntopic deny a/s", "c", NULL, "a/s", -2, -2),
    CASE("what is beside the denial", "topic a/#\ntopic deny a/s", "c", NULL, "a/t", 1, 1),
    CASE("denial with wildcards", "topic a/#\ntopic deny +/s/#", "c", NULL, "a/s/x", -2, -2),

    CASE("user", "user u\ntopic a", "c", "u", "a", 2, 2),
    CASE("another user", "user u\ntopic a", "c", "v", "a", 0, 0),
    CASE("a user's lines are not for the anonymous", "user u\ntopic a", "c", NULL, "a", 0, 0),
    CASE("lines before the first user are for the anonymous", "topic a\nuser u\ntopic b", "c", NULL, "a", 1, 1),
    CASE("and not for users", "topic a\nuser u\ntopic b", "c", "u", "a", 0, 0),
    CASE("nor for users without lines", "topic a\nuser u\ntopic b", "c", "v", "a", 0, 0),
    CASE("an empty user name is a user name", "topic a", "c", "", "a", 0, 0),
    CASE("a user twice", "user u\ntopic a\nuser v\ntopic b\nuser u\ntopic c", "c", "u", "c", 6, 6),
    CASE("a user with a blank", "user u v\ntopic a", "c", "u v", "a", 2, 2),
    CASE("denial in another block", "user u\ntopic #\nuser u\ntopic deny a", "c", "u", "a", -4, -4),
    CASE("another one's denial", "user u\ntopic #\nuser v\ntopic deny a", "c", "u", "a", 2, 2),

    CASE("pattern for everybody", "pattern a", "c", "u", "a", 1, 1),
    CASE("pattern for the anonymous", "pattern a", "c", NULL, "a", 1, 1),
    CASE("pattern behind a user line", "user u\npattern a", "c", "v", "a", 2, 2),
    CASE("%c", "pattern d/%c/#", "c1", NULL, "d/c1/x", 1, 1),
    CASE("%c of another", "pattern d/%c/#", "c1", NULL, "d/c2/x", 0, 0),
    CASE("%c longer", "pattern d/%c/#", "c1", NULL, "d/c1x/x", 0, 0),
    CASE("%c, the parent", "pattern d/%c/#", "c1", NULL, "d/c1", 1, 1),
    CASE("%u", "pattern read d/%u", "c", "u", "d/u", 1, 0),
    CASE("%u without a user name", "pattern d/%u", "c", NULL, "d/", 0, 0),
    CASE("%u with an empty one", "pattern d/%u", "c", "", "d/", 1, 1),
    CASE("%u and %c", "pattern %u/%c/+", "c", "u", "u/c/x", 1, 1),
    CASE("as a part of a level", "pattern d/dev-%c-%u/x", "c", "u", "d/dev-c-u/x", 1, 1),
    CASE("twice", "pattern %c%c", "ab", NULL, "abab", 1, 1),
    CASE("twice, too short", "pattern %c%c", "ab", NULL, "aba", 0, 0),
    CASE("a percent sign alone", "pattern a%b/%", "c", NULL, "a%b/%", 1, 1),
    CASE("a percent sign, wildcard", "pattern a%b/+", "c", NULL, "a%b/x", 1, 1),
    CASE("%c in a topic line is text", "topic d/%c", "c", NULL, "d/c", 0, 0),
    CASE("%c in a topic line is text, matched", "topic d/%c", "c", NULL, "d/%c", 1, 1),
    CASE("pattern denies", "pattern a/#\npattern deny a/%c", "s", NULL, "a/s", -2, -2),
    CASE("pattern denies, other", "pattern a/#\npattern deny a/%c", "s", NULL, "a/t", 1, 1),
    CASE("own denial before a pattern's grant", "topic deny a\npattern a", "c", NULL, "a", -1, -1),
    CASE("own grant before a pattern's denial", "topic a\npattern deny a", "c", NULL, "a", 1, 1),
    CASE("own read, the pattern denies writing", "topic read a\npattern deny a", "c", NULL, "a", 1, -2),
    CASE("names do not open $SYS", "pattern %c/x", "$SYS", NULL, "$SYS/x", 0, 0),
    CASE("names behind a $", "pattern $d/%c", "c", NULL, "$d/c", 1, 1),

    CASE("+ in an id", "pattern d/%c", "+", NULL, "d/a", 0, 0),
    CASE("+ in an id, itself", "pattern d/%c", "+", NULL, "d/+", 0, 0),
    CASE("# in an id", "pattern d/%c", "#", NULL, "d/a", 0, 0),
    CASE("# in an id: no pattern at all", "pattern a", "x#", NULL, "a", 0, 0),
    CASE("# in an id: topic lines go on", "topic a\npattern b", "x#", NULL, "a", 1, 1),
    CASE("+ in a user name", "pattern d/%u", "c", "+", "d/a", 0, 0),
    CASE("+ in a user name: no pattern at all", "pattern a", "c", "a+b", "a", 0, 0),
    CASE("/ in an id", "pattern d/%c/#", "a/b", NULL, "d/a/b", 0, 0),
    CASE("/ in an id escapes no denial", "pattern a/#\npattern deny a/%c", "x/y", NULL, "a/x/y", 0, 0),
    CASE("/ in an id that no pattern uses", "pattern d/%u", "a/b", "u", "d/u", 1, 1),
    CASE("/ in a user name", "pattern d/%u", "c", "a/b", "d/a/b", 0, 0),
    CASE("/ in a user name that no pattern uses", "pattern d/%c", "c", "a/b", "d/c", 1, 1),
    CASE("/ in a user name, own lines", "user a/b\ntopic x", "c", "a/b", "x", 2, 2),
};

static int line_of(bool yes, const struct acl_rule *rule)
{
    ck_assert(!yes || rule != NULL);
    return rule == NULL ? 0 : yes ? (int)rule->line : -(int)rule->line;
}

START_TEST(check_rows)
{
    struct acl *a = load(checks[_i].acl);
    struct acl_who w = client(a, checks[_i].id, checks[_i].user);
    struct view topic = view_of(checks[_i].topic);
    const struct acl_rule *rule;
    size_t before = mem_total;
    bool yes;

    yes = acl_may(a, &w, ACL_READ, topic, &rule);
    ck_assert_msg(line_of(yes, rule) == checks[_i].read, "%s: read %d", checks[_i].name, line_of(yes, rule));
    ck_assert_int_eq(acl_may(a, &w, ACL_READ, topic, NULL), yes);
    ck_assert_msg(acl_may_subscribe(a, &w, topic, NULL) == yes, "%s: as a filter", checks[_i].name);
    yes = acl_may(a, &w, ACL_WRITE, topic, &rule);
    ck_assert_msg(line_of(yes, rule) == checks[_i].write, "%s: write %d", checks[_i].name, line_of(yes, rule));
    ck_assert_uint_eq(mem_total, before);
    acl_free(&a);
    ck_assert_uint_eq(mem_bytes[MEM_OTHER], 0);
}
END_TEST

START_TEST(rule_texts)
{
    struct acl *a = load("topic a\nuser u\ntopic deny b/#\npattern read c/%c\n");
    struct acl_who w = client(a, "i", NULL);
    const struct acl_rule *rule;
    char text[64];

    ck_assert(acl_may(a, &w, ACL_READ, view_of("a"), &rule));
    ck_assert_str_eq(acl_rule_text(rule, text, sizeof text), "topic readwrite a");
    ck_assert(acl_may(a, &w, ACL_READ, view_of("c/i"), &rule));
    ck_assert_str_eq(acl_rule_text(rule, text, sizeof text), "pattern read c/%c");
    w = client(a, "i", "u");
    ck_assert(!acl_may(a, &w, ACL_READ, view_of("b"), &rule));
    ck_assert_str_eq(acl_rule_text(rule, text, sizeof text), "topic deny b/#");
    ck_assert_str_eq(acl_name(a), "acl");
    acl_free(&a);
    ck_assert_ptr_null(a);
}
END_TEST

START_TEST(no_memory_anywhere)
{
    struct acl *a = NULL;

    for (uint64_t n = 1; a == NULL; n++) {
        mem_fail_at = n;
        a = acl_load_text("acl", view_of("topic a\nuser u\ntopic b\n"), hear, NULL);
        if (a == NULL)
            ck_assert_uint_eq(mem_bytes[MEM_OTHER], 0);
        ck_assert_uint_lt(n, 20);
    }
    acl_free(&a);
    ck_assert_uint_eq(mem_bytes[MEM_OTHER], 0);
}
END_TEST

/* ---- filters ---- */

static const struct { const char *name, *acl, *id, *user, *filter; int line; } filters[] = {
    { "nothing is allowed", "", "c", NULL, "#", 0 },
    { "writing does not count", "topic write #", "c", NULL, "a", 0 },
    { "wider than the right", "topic read a/b", "c", NULL, "#", 1 },
    { "narrower than the right", "topic read a/#", "c", NULL, "a/b/c", 1 },
    { "beside the right", "topic read a/#", "c", NULL, "b/#", 0 },
    { "crosswise", "topic read a/+/c", "c", NULL, "+/b/+", 1 },
    { "crosswise, no common topic", "topic read a/+/c", "c", NULL, "+/b/d", 0 },
    { "crosswise, other length", "topic read a/+/c", "c", NULL, "+/b", 0 },
    { "the parent of #", "topic read a/#", "c", NULL, "a", 1 },
    { "the parent of #, the other way", "topic read a", "c", NULL, "a/#", 1 },
    { "# does not mean $SYS", "topic read $SYS/#", "c", NULL, "#", 0 },
    { "# does not give $SYS", "topic read #", "c", NULL, "$SYS/#", 0 },
    { "$SYS", "topic read $SYS/a", "c", NULL, "$SYS/+", 1 },
    { "+/x does not mean $SYS/x", "topic read $SYS/x", "c", NULL, "+/x", 0 },
    { "shared", "topic read a", "c", NULL, "$share/g/a", 1 },
    { "shared, not allowed", "topic read a", "c", NULL, "$share/g/b", 0 },
    { "shared $SYS", "topic read #", "c", NULL, "$share/g/$SYS/#", 0 },

    { "denied", "topic read #\ntopic deny a/#", "c", NULL, "a/#", -2 },
    { "denied, deeper", "topic read #\ntopic deny a/#", "c", NULL, "a/b/+", -2 },
    { "denied in part", "topic read #\ntopic deny a/b", "c", NULL, "a/+", 1 },
    { "denied all but the parent", "topic read #\ntopic deny a/+/#", "c", NULL, "a/#", 1 },
    { "denied by two lines together", "topic read #\ntopic deny a\ntopic deny a/+/#", "c", NULL, "a/#", -2 },
    { "denied by levels, not all", "topic read #\ntopic deny +\ntopic deny +/+", "c", NULL, "#", 1 },
    { "denied by levels, all", "topic read #\ntopic deny +\ntopic deny +/+\ntopic deny +/+/+/#", "c", NULL, "#", -2 },
    { "denied altogether", "topic read a/#\ntopic deny #", "c", NULL, "#", -2 },
    { "a denial of $ does not hit others", "topic read #\ntopic deny $SYS/#", "c", NULL, "#", 1 },
    { "a denial of # does not hit $", "topic read $SYS/#\ntopic deny #", "c", NULL, "$SYS/#", 1 },
    { "a denial of # does not hit what a name opens", "pattern read %c/x\ntopic deny #", "$d", NULL, "$d/x", 0 },

    { "%c", "pattern read d/%c/#", "c1", NULL, "d/#", 1 },
    { "%c, own", "pattern read d/%c/#", "c1", NULL, "d/c1/#", 1 },
    { "%c, other's", "pattern read d/%c/#", "c1", NULL, "d/c2/#", 0 },
    { "%u without a name", "pattern read d/%u/#", "c", NULL, "#", 0 },
    { "%u denied without a name", "pattern read d/#\npattern deny d/%u/#", "c", NULL, "d/x/#", 1 },
    { "%c and its denial", "pattern read d/%c/#\npattern deny d/%c/s", "c1", NULL, "d/+/s", -2 },
    { "%c and a denial by name", "pattern read d/%c\ntopic deny d/c1", "c1", NULL, "d/#", -2 },
    { "own grant, pattern's denial", "topic read a\npattern deny #", "c", NULL, "#", 1 },
    { "pattern's grant, own denial", "topic deny #\npattern read a", "c", NULL, "a", -1 },
    { "+ in an id [M CVE-2017-7650]", "pattern read d/%c/#", "+", NULL, "d/#", 0 },
    { "/ in an id", "pattern read d/%c/#", "a/b", NULL, "d/a/b/#", 0 },
    { "no topic is empty", "topic read /#", "c", NULL, "+", 0 },
    { "nor with an empty name", "pattern read %u/#", "c", "", "+", 0 },
    { "names do not open $SYS", "pattern read %c/#", "$SYS", NULL, "$SYS/#", 0 },
};

START_TEST(filter_rows)
{
    struct acl *a = load(filters[_i].acl);
    struct acl_who w = client(a, filters[_i].id, filters[_i].user);
    const struct acl_rule *rule;
    bool yes = acl_may_subscribe(a, &w, view_of(filters[_i].filter), &rule);

    ck_assert_msg(line_of(yes, rule) == filters[_i].line, "%s: %d", filters[_i].name, line_of(yes, rule));
    acl_free(&a);
}
END_TEST

/* ---- against every topic ---- */

static uint32_t seed;

static unsigned pick(unsigned n)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 16) % n;
}

/* One to three levels of a, b, (in patterns) %c, +; perhaps # behind. */
static void random_filter(char *out, bool pattern)
{
    static const char *const levels[] = { "a", "b", "+", "", "$d", "%c", "b%u" };
    unsigned n = pick(4);

    *out = '\0';
    for (unsigned i = 0; i < n; i++) {
        strcat(out, i > 0 ? "/" : "");
        strcat(out, levels[pick(pattern ? 7 : i == 0 ? 5 : 4)]);
    }
    if (n == 0 || pick(3) == 0)
        strcat(out, n > 0 ? "/#" : "#");
    if (*out == '\0')
        strcpy(out, "a");
}

static void random_acl(char *out)
{
    static const char *const access[] = { "read", "deny", "deny", "write", "readwrite" };
    unsigned lines = 1 + pick(6);

    *out = '\0';
    for (unsigned i = 0; i < lines; i++) {
        char filter[64];
        bool pattern = pick(3) == 0;
        random_filter(filter, pattern);
        sprintf(out + strlen(out), "%s %s %s\n", pattern ? "pattern" : "topic", access[pick(5)], filter);
    }
}

/* Every topic of up to five levels, from the names that rules may have and one that none has. */
static bool any_topic(const struct acl *a, const struct acl_who *w, struct view filter)
{
    static const char *const names[] = { "a", "b", "", "$d", "bu", "fresh" };
    char topic[64];

    for (unsigned levels = 1; levels <= 5; levels++) {
        unsigned total = 1;
        for (unsigned i = 0; i < levels; i++)
            total *= 6;
        for (unsigned n = 0; n < total; n++) {
            *topic = '\0';
            for (unsigned i = 0, rest = n; i < levels; i++, rest /= 6) {
                strcat(topic, i > 0 ? "/" : "");
                strcat(topic, names[rest % 6]);
            }
            if (*topic != '\0' && topic_matches(filter, view_of(topic)) &&
                acl_may(a, w, ACL_READ, view_of(topic), NULL))
                return true;
        }
    }
    return false;
}

START_TEST(filters_against_every_topic)
{
    unsigned yes = 0;

    seed = (uint32_t)_i * 7919 + 1;
    for (unsigned round = 0; round < 60; round++) {
        char text[512], filter[64];
        struct acl_who w;
        struct acl *a;
        bool got, want;
        random_acl(text);
        random_filter(filter, false);
        a = load(text);
        w = client(a, pick(2) ? "a" : "$d", pick(2) ? "u" : NULL);
        got = acl_may_subscribe(a, &w, view_of(filter), NULL);
        want = any_topic(a, &w, view_of(filter));
        ck_assert_msg(got == want, "id %s filter %s got %d\n%s", (const char *)w.id.p, filter, got, text);
        yes += got;
        acl_free(&a);
    }
    ck_assert_uint_gt(yes, 3);
    ck_assert_uint_lt(yes, 57);
}
END_TEST

/* 60,000 levels: no recursion, and no time to speak of. */
START_TEST(deep)
{
    char *text = malloc(65536 + 64), *filter = malloc(65536);
    struct acl_who w;
    struct acl *a;
    int n;

    n = sprintf(text, "topic read #\npattern deny +/");
    memset(text + n, '/', 60000);
    text[n + 60000] = '\0';
    memset(filter, '/', 60000);
    strcpy(filter + 60000, "/#");
    a = load(text);
    w = client(a, "c", NULL);
    ck_assert(acl_may_subscribe(a, &w, view_of(filter), NULL));
    ck_assert(acl_may(a, &w, ACL_READ, (struct view){ (uint8_t *)filter, 60000 }, NULL));
    acl_free(&a);
    free(text);
    free(filter);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("acl");
    TCase *t = tcase_create("acl");

    tcase_add_loop_test(t, refused_rows, 0, COUNT(refused));
    tcase_add_loop_test(t, check_rows, 0, COUNT(checks));
    tcase_add_test(t, rule_texts);
    tcase_add_test(t, no_memory_anywhere);
    tcase_add_loop_test(t, filter_rows, 0, COUNT(filters));
    tcase_add_loop_test(t, filters_against_every_topic, 0, 20);
    tcase_add_test(t, deep);
    tcase_set_timeout(t, 60);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
