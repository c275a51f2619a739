/* Topic names, filters, shared subscriptions, matching, covering, overlapping.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "check_proto.h"

static const struct {
    const char *name, *text;
    bool topic, filter;
} rows[] = {
    { "one letter",                                       "a",            true, true },
    { "empty [MQTT-4.7.3-1]",                             "",             false, false },
    { "a slash alone",                                    "/",            true, true },
    { "empty levels",                                     "//a//",        true, true },
    { "spaces",                                           "Accounts payable", true, true },
    { "longer than a word",                               "house/kitchen/lamp/1", true, true },
    { "$SYS",                                             "$SYS/broker",  true, true },
    { "# alone",                                          "#",            false, true },
    { "# as the last level",                              "sport/#",      false, true },
    { "# after letters [MQTT311-4.7.1-2] [MQTT5-4.7.1-1]", "sport#",      false, false },
    { "# before letters [MQTT5-4.7.1-1]",                 "#sport",       false, false },
    { "# not last [MQTT311-4.7.1-2] [MQTT5-4.7.1-1]",     "a/#/b",        false, false },
    { "# before a last slash [MQTT5-4.7.1-1]",            "#/",           false, false },
    { "##  [MQTT5-4.7.1-1]",                              "##",           false, false },
    { "+ alone",                                          "+",            false, true },
    { "+ at each level",                                  "+/+/+",        false, true },
    { "+ then #",                                         "+/tennis/#",   false, true },
    { "/+",                                               "/+",           false, true },
    { "+ after letters [MQTT311-4.7.1-3] [MQTT5-4.7.1-2]", "sport+",      false, false },
    { "+ before letters [MQTT5-4.7.1-2]",                 "+a",           false, false },
    { "++ [MQTT5-4.7.1-2]",                               "++",           false, false },
    { "+# [MQTT5-4.7.1-1]",                               "+#",           false, false },
    { "wildcard at the end of a word [MQTT-3.3.2-2] [MQTT5-4.7.0-1]", "aaaaaa/+", false, true },
    { "wildcard at the start of a word [MQTT311-4.7.1-1]", "aaaaaaa/+/aaaaaa", false, true },
    { "wildcard after two words [MQTT311-4.7.1-1]",       "aaaaaaaaaaaaaaa/#", false, true },
    { "share",                                            "$share/g/a",   true, true },
    { "share with wildcards",                             "$share/g/+/#", false, true },
    { "share of an empty level",                          "$share/g//a",  true, true },
    { "share alone is an ordinary topic",                 "$share",       true, true },
    { "so is $shared",                                    "$shared/g",    true, true },
    { "share without a group [MQTT5-4.8.2-1]",            "$share/",      true, false },
    { "share with an empty group [MQTT5-4.8.2-1]",        "$share//a",    true, false },
    { "share without a filter [MQTT5-4.8.2-2]",           "$share/g",     true, false },
    { "share with an empty filter [MQTT5-4.8.2-2]",       "$share/g/",    true, false },
    { "+ in the group [MQTT5-4.8.2-2]",                   "$share/g+/a",  false, false },
    { "+ as the group [MQTT5-4.8.2-2]",                   "$share/+/a",   false, false },
    { "# in the group [MQTT5-4.8.2-2]",                   "$share/#/a",   false, false },
    { "share of a bad filter",                            "$share/g/a#",  false, false },
};

START_TEST(valid_rows)
{
    struct view v = exact(rows[_i].text, strlen(rows[_i].text));

    ck_assert_msg(topic_name_valid(v) == rows[_i].topic, "as a name: %s", rows[_i].name);
    ck_assert_msg(topic_filter_valid(v) == rows[_i].filter, "as a filter: %s", rows[_i].name);
    ck_assert(topic_has_wildcard(v) == (strpbrk(rows[_i].text, "+#") != NULL));
    drop(v);
}
END_TEST

/* [MQTT-3.3.2-2], [MQTT-4.7.3-2]: one bad character, wherever it stands. The neighbours of '+' and '#' are good. */
START_TEST(name_every_byte_every_place)
{
    for (size_t len = 1; len <= 2 * sizeof(size_t) + 3; len++) {
        for (size_t at = 0; at < len; at++) {
            uint8_t text[32];
            struct view v;

            memset(text, 'a', sizeof text);
            text[at] = (uint8_t)_i;
            v = exact(text, len);
            ck_assert_msg(topic_name_valid(v) == (_i != 0 && _i != '+' && _i != '#'), "%02X at %zu of %zu",
                          (unsigned)_i, at, len);
            drop(v);
        }
    }
}
END_TEST

START_TEST(filter_with_nul) /* [MQTT-4.7.3-2] */
{
    ck_assert(!topic_filter_valid(view_of(LIT("a\0b"))));
}
END_TEST

static const struct {
    const char *filter, *name;
    bool want;
} matches[] = {
    { "sport/tennis/player1", "sport/tennis/player1", true },
    { "sport/tennis/player1", "sport/tennis/player2", false },
    { "sport/tennis/player1", "sport/tennis", false },
    { "sport/tennis", "sport/tennis/player1", false },
    { "sport/tennis/player1/#", "sport/tennis/player1", true },
    { "sport/tennis/player1/#", "sport/tennis/player1/ranking", true },
    { "sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true },
    { "sport/tennis/player1/#", "sport/tennis/player12", false },
    { "sport/#", "sport", true },
    { "sport/#", "sport/", true },
    { "#", "a", true },
    { "#", "/", true },
    { "#", "a/b/c", true },
    { "sport/tennis/+", "sport/tennis/player1", true },
    { "sport/tennis/+", "sport/tennis/player1/ranking", false },
    { "sport/+", "sport", false },
    { "sport/+", "sport/", true },
    { "+/tennis/#", "sport/tennis", true },
    { "+/+", "/finance", true },
    { "/+", "/finance", true },
    { "+", "/finance", false },
    { "+", "finance", true },
    { "+/#", "a", true },
    { "+/#", "a/b/c", true },
    { "a/+/b", "a//b", true },
    { "a//b", "a/b", false },
    { "/a", "a", false },
    { "a", "/a", false },
    { "a", "a/", false },
    { "A", "a", false },                    /* case counts (4.7.3) */
    { "#", "$SYS/uptime", false },          /* [MQTT-4.7.2-1] */
    { "+/uptime", "$SYS/uptime", false },   /* [MQTT-4.7.2-1] */
    { "+", "$SYS", false },                 /* [MQTT-4.7.2-1] */
    { "$SYS/#", "$SYS/uptime", true },
    { "$SYS/+", "$SYS/uptime", true },
    { "$SYS/#", "$SYS", true },
    { "a/#", "a/$b", true },                /* a $ further down is a letter like others */
    { "a/+", "a/$b", true },
    { "/#", "/$SYS", true },
};

START_TEST(match_rows)
{
    struct view f = exact(matches[_i].filter, strlen(matches[_i].filter));
    struct view n = exact(matches[_i].name, strlen(matches[_i].name));

    ck_assert_msg(topic_matches(f, n) == matches[_i].want, "%s against %s", matches[_i].filter, matches[_i].name);
    drop(f);
    drop(n);
}
END_TEST

static const struct {
    const char *a, *b;
    bool a_covers_b, b_covers_a, overlap;
} pairs[] = {
    { "a/b", "a/b", true, true, true },
    { "a/b", "a/c", false, false, false },
    { "a/+", "a/b", true, false, true },
    { "a/#", "a/b/c", true, false, true },
    { "a/#", "a", true, false, true },
    { "a/#", "a/+", true, false, true },
    { "a/#", "a/+/#", true, false, true },
    { "#", "a/#", true, false, true },
    { "#", "+", true, false, true },
    { "#", "+/#", true, true, true },
    { "+/#", "+", true, false, true },
    { "+/+", "+/#", false, true, true },
    { "#", "$SYS/#", false, false, false },
    { "+/uptime", "$SYS/uptime", false, false, false },
    { "$SYS/#", "$SYS/+", true, false, true },
    { "a/+", "+/b", false, false, true },
    { "a/+/c", "+/b/c", false, false, true },
    { "a/+/c", "+/b/d", false, false, false },
    { "a/+", "a", false, false, false },
    { "a/+", "a/b/#", false, false, true },
    { "a/b/#", "a/c/#", false, false, false },
    { "a/b", "a/b/c", false, false, false },
    { "+", "a/#", false, false, true },
    { "+/a", "#", false, true, true },
    { "/+", "+/a", false, false, true },
    { "/", "+/+", false, true, true },
};

START_TEST(pair_rows)
{
    struct view a = str(pairs[_i].a), b = str(pairs[_i].b);

    ck_assert_msg(topic_filter_covers(a, b) == pairs[_i].a_covers_b, "%s covers %s", pairs[_i].a, pairs[_i].b);
    ck_assert_msg(topic_filter_covers(b, a) == pairs[_i].b_covers_a, "%s covers %s", pairs[_i].b, pairs[_i].a);
    ck_assert_msg(topic_filters_overlap(a, b) == pairs[_i].overlap, "%s and %s", pairs[_i].a, pairs[_i].b);
    ck_assert_msg(topic_filters_overlap(b, a) == pairs[_i].overlap, "%s and %s", pairs[_i].b, pairs[_i].a);
}
END_TEST

/* All filters and names of up to three levels over a few words: what matches decides what covers and overlaps.
 * The empty name takes part although no PUBLISH can carry it: "/#" would match it, and telling that apart is not
 * worth a line in the code under test. */
#define WORDS 4
#define ALL (WORDS + WORDS * WORDS + WORDS * WORDS * WORDS)

static void build(unsigned n, const char *const words[WORDS], char out[24])
{
    unsigned levels = n < WORDS ? 1 : n < WORDS + WORDS * WORDS ? 2 : 3;

    out[0] = '\0';
    n -= levels == 1 ? 0 : levels == 2 ? WORDS : WORDS + WORDS * WORDS;
    for (unsigned i = 0; i < levels; i++, n /= WORDS) {
        if (i > 0)
            strcat(out, "/");
        strcat(out, words[n % WORDS]);
    }
}

static void compare(const char *a, const char *b)
{
    static const char *const words[WORDS] = { "a", "", "$c", "d" };
    bool covers = true, overlap = false;

    for (unsigned k = 0; k < 2 * ALL; k++) {
        char name[24];
        bool in_a, in_b;

        build(k / 2, words, name);
        if (k % 2 == 1) /* one level more than any filter has tells '#' from a row of '+' */
            strcat(name, "/x");
        in_a = topic_matches(str(a), str(name));
        in_b = topic_matches(str(b), str(name));
        covers = covers && (in_a || !in_b);
        overlap = overlap || (in_a && in_b);
    }
    ck_assert_msg(topic_filter_covers(str(a), str(b)) == covers, "%s covers %s: %d", a, b, covers);
    ck_assert_msg(topic_filters_overlap(str(a), str(b)) == overlap, "%s overlaps %s: %d", a, b, overlap);
}

START_TEST(covers_is_what_matching_says)
{
    static const char *const words[WORDS] = { "a", "", "+", "#" };
    char a[24], b[24];

    for (unsigned i = 0; i < ALL; i++) {
        build(i, words, a);
        for (unsigned j = 0; topic_filter_valid(str(a)) && j < ALL; j++) {
            build(j, words, b);
            if (topic_filter_valid(str(b)))
                compare(a, b);
        }
    }
}
END_TEST

START_TEST(split_share)
{
    struct view group, filter;

    ck_assert(topic_split_share(str("$share/g/a/b"), &group, &filter));
    ck_assert(same(group, str("g")) && same(filter, str("a/b")));
    ck_assert(topic_split_share(str("$share/g//"), &group, &filter));
    ck_assert(same(filter, str("/")));
    ck_assert(!topic_split_share(str("$shared/g/a"), &group, &filter));
    ck_assert(!topic_split_share(str("$share"), &group, &filter));
    ck_assert(!topic_split_share(str("a"), &group, &filter));
}
END_TEST

START_TEST(levels)
{
    struct view rest = str("/"), level;
    unsigned n = 0;

    while (topic_next_level(&rest, &level)) {
        ck_assert_uint_eq(level.len, 0);
        n++;
    }
    ck_assert_uint_eq(n, 2);
    ck_assert_uint_eq(topic_levels(str("a")), 1);
    ck_assert_uint_eq(topic_levels(str("/")), 2);
    ck_assert_uint_eq(topic_levels(str("a/b//c")), 4);
}
END_TEST

/* A filter of 65,535 bytes that is all slashes killed others by recursion [MQTT-4.7.3-3]. The time limit of the test
 * is what fails if any of these is not linear. */
START_TEST(longest)
{
    enum { LEN = 65535 };
    uint8_t *slashes = malloc(LEN), *wild = malloc(LEN);
    struct view name = { slashes, LEN }, filter = { wild, LEN };

    ck_assert_ptr_nonnull(slashes);
    ck_assert_ptr_nonnull(wild);
    memset(slashes, '/', LEN);
    for (size_t i = 0; i < LEN; i++)
        wild[i] = i % 2 == 0 ? '+' : '/';
    ck_assert(topic_name_valid(name) && topic_filter_valid(name) && topic_filter_valid(filter));
    ck_assert_uint_eq(topic_levels(name), LEN + 1);
    for (int i = 0; i < 50; i++) {
        ck_assert(topic_matches(name, name) && !topic_matches(filter, name));
        ck_assert(topic_filter_covers(name, name) && topic_filters_overlap(filter, filter));
    }
    free(slashes);
    free(wild);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("proto/topic");
    TCase *t = tcase_create("topic");

    tcase_add_loop_test(t, valid_rows, 0, COUNT(rows));
    tcase_add_loop_test(t, name_every_byte_every_place, 0, 256);
    tcase_add_test(t, filter_with_nul);
    tcase_add_loop_test(t, match_rows, 0, COUNT(matches));
    tcase_add_loop_test(t, pair_rows, 0, COUNT(pairs));
    tcase_add_test(t, covers_is_what_matching_says);
    tcase_add_test(t, split_share);
    tcase_add_test(t, levels);
    tcase_add_test(t, longest);
    suite_add_tcase(s, t);
    return run_suite(s);
}
