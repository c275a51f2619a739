/* Subscriptions come and go at random; who gets a message is compared with asking every filter on its own.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/session.h"
#include "broker/textfile.h"
#include "proto/topic.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLIENTS 7
#define FILTERS 60
#define STEPS   3000

static const struct hash_key key = { 1, 2 };
static uint32_t random_state;

static uint32_t below(uint32_t n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % n;
}

/* One to four levels from few words, so that much of it meets. */
static void any_topic(char *at, bool filter)
{
    static const char *const words[] = { "a", "b", "", "$SYS", "$SYSx", "+", "+" };
    unsigned levels = 1 + below(4);

    *at = '\0';
    for (unsigned i = 0; i < levels; i++) {
        if (i > 0)
            strcat(at, "/");
        strcat(at, words[below(filter ? 7 : 5)]);
    }
    if (filter && below(4) == 0)
        strcat(at, "/#");
    if (*at == '\0')
        strcpy(at, filter ? "#" : "a");
}

/* What there should be. */
struct world {
    struct subs subs;
    struct matches m;
    struct session s[CLIENTS];
    char filter[FILTERS][48];       /* every third of a group */
    int subscribed[CLIENTS][FILTERS]; /* QoS + 1; 0: not */
};

static struct view path_of(const struct world *w, unsigned i)
{
    struct view group, path = view_of(w->filter[i]);

    topic_split_share(path, &group, &path);
    return path;
}

static bool is_twin(const struct world *w, unsigned i)
{
    for (unsigned j = 0; j < i; j++)
        if (strcmp(w->filter[i], w->filter[j]) == 0)
            return true;
    return false;
}

static void world_make(struct world *w)
{
    memset(w, 0, sizeof *w);
    ck_assert(subs_init(&w->subs, &key));
    for (unsigned i = 0; i < FILTERS; i++)
        do {
            strcpy(w->filter[i], i % 3 == 0 ? "$share/g/" : "");
            any_topic(w->filter[i] + strlen(w->filter[i]), true);
        } while (!topic_filter_valid(view_of(w->filter[i])) || is_twin(w, i));
    for (unsigned i = 0; i < CLIENTS; i++)
        w->s[i].durable = true;     /* offline: a group still chooses them */
}

static void step(struct world *w)
{
    unsigned c = below(CLIENTS), f = below(FILTERS);
    struct sub_options o = { .qos = (uint8_t)below(3) };
    int *now = &w->subscribed[c][f];

    if (below(200) == 0) {
        subs_remove_all(&w->subs, &w->s[c]);
        memset(w->subscribed[c], 0, sizeof w->subscribed[c]);
    } else if (below(3) == 0) {
        ck_assert_int_eq(subs_remove(&w->subs, &w->s[c], view_of(w->filter[f])), *now != 0);
        *now = 0;
    } else {
        enum sub_result want = *now == 0 ? SUB_NEW : *now == o.qos + 1 ? SUB_SAME : SUB_CHANGED;

        ck_assert_int_eq(subs_add(&w->subs, &w->s[c], view_of(w->filter[f]), &o), want);
        *now = o.qos + 1;
    }
}

static unsigned members(const struct world *w, unsigned f)
{
    unsigned n = 0;

    for (unsigned c = 0; c < CLIENTS; c++)
        n += w->subscribed[c][f] != 0;
    return n;
}

/* Recipients by groups, and what each client gets by itself: how many, and the highest QoS + 1. */
struct expected {
    unsigned shared, own[CLIENTS];
    int best[CLIENTS];
};

static void expect(const struct world *w, struct view topic, struct expected *e)
{
    memset(e, 0, sizeof *e);
    for (unsigned f = 0; f < FILTERS; f++) {
        if (!topic_matches(path_of(w, f), topic))
            continue;
        if (f % 3 == 0)
            e->shared += members(w, f) > 0;
        for (unsigned c = 0; f % 3 != 0 && c < CLIENTS; c++) {
            e->own[c] += w->subscribed[c][f] != 0;
            if (w->subscribed[c][f] > e->best[c])
                e->best[c] = w->subscribed[c][f];
        }
    }
}

static void compare(struct world *w, bool merge)
{
    char topic[48];
    struct expected e;
    unsigned shared = 0, own[CLIENTS] = { 0 };

    any_topic(topic, false);
    expect(w, view_of(topic), &e);
    subs_match(&w->subs, view_of(topic), NULL, merge, &w->m);
    for (uint32_t i = 0; i < w->m.n; i++) {
        size_t c = (size_t)(w->m.v[i].s - w->s);

        shared += w->m.v[i].share != NULL;
        if (w->m.v[i].share == NULL) {
            own[c]++;
            ck_assert(!merge || w->m.v[i].qos + 1 == e.best[c]);
        }
    }
    ck_assert_msg(shared == e.shared, "%s: %u groups, not %u", topic, shared, e.shared);
    for (unsigned c = 0; c < CLIENTS; c++) {
        unsigned want = merge ? e.own[c] > 0 : e.own[c];

        ck_assert_msg(own[c] == want, "%s: client %u gets %u, not %u", topic, c, own[c], want);
    }
}

static unsigned count(const struct world *w, bool sys_only)
{
    unsigned n = 0;

    for (unsigned f = 0; f < FILTERS; f++) {
        struct view path = path_of(w, f), level = { NULL, 0 };

        topic_next_level(&path, &level);
        if (members(w, f) > 0 && (!sys_only || (level.len == 4 && memcmp(level.p, "$SYS", 4) == 0)))
            n += sys_only ? 1 : members(w, f);
    }
    return n;
}

START_TEST(random_subscriptions)
{
    static struct world w;
    size_t before = mem_bytes[MEM_TREE];

    random_state = (uint32_t)_i;
    world_make(&w);
    for (unsigned i = 0; i < STEPS; i++) {
        step(&w);
        compare(&w, below(2) == 0);
    }
    ck_assert_uint_eq(w.subs.count, count(&w, false));
    ck_assert_int_eq(w.subs.filters.sys_count > 0, count(&w, true) > 0);
    for (unsigned c = 0; c < CLIENTS; c++)
        subs_remove_all(&w.subs, &w.s[c]);
    ck_assert_uint_eq(w.subs.count + w.subs.shared_count + w.subs.filters.count + w.subs.filters.tree.count, 0);
    ck_assert_uint_eq(w.subs.filters.sys_count, 0);
    subs_fini(&w.subs);
    matches_fini(&w.m);
    ck_assert_uint_eq(mem_bytes[MEM_TREE], before);
}
END_TEST

/* A wildcard that comes after many others, and one that goes, while its siblings stay. */
START_TEST(wildcards_among_siblings)
{
    static const char *const wild[] = { "x/+", "x/#", "+/7", "#", "+", "x/+/#" };
    struct subs t;
    struct session s = { .durable = true };
    struct matches m = { 0 };
    const struct sub_options o = { .qos = 1 };
    char text[32];

    ck_assert(subs_init(&t, &key));
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 300; i++) {
            snprintf(text, sizeof text, "x/%u/+", i);
            ck_assert_int_eq(subs_add(&t, &s, view_of(text), &o), SUB_NEW);
        }
        for (unsigned i = 0; i < 6; i++)
            ck_assert_int_eq(subs_add(&t, &s, view_of(wild[i]), &o), SUB_NEW);
        subs_match(&t, view_of("x/7"), NULL, false, &m);
        ck_assert_uint_eq(m.n, 5);
        for (unsigned i = 0; i < 6; i++)
            ck_assert(subs_remove(&t, &s, view_of(wild[i])));
        subs_match(&t, view_of("x/7"), NULL, false, &m);
        ck_assert_uint_eq(m.n, 0);
        subs_match(&t, view_of("x/7/y"), NULL, false, &m);
        ck_assert_uint_eq(m.n, 1);
        subs_remove_all(&t, &s);
    }
    subs_fini(&t);
    matches_fini(&m);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sub");
    TCase *t = tcase_create("sub");

    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, random_subscriptions, 0, 8);
    tcase_add_test(t, wildcards_among_siblings);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
