/* `caddis explain`: why may somebody do something, or not?
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/acl.h"
#include "broker/cmd.h"
#include "broker/config.h"
#include "broker/textfile.h"
#include "proto/topic.h"
#include "proto/utf8.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct question {
    const char *user;           /* NULL: anonymous */
    const char *id, *topic;
    const char *config, *acl_file;
    bool anonymous;
};

static void help(void)
{
    puts("Usage: caddis explain acl USER TOPIC [--client ID] {-c FILE | --acl-file FILE}\n"
         "       caddis explain acl --anonymous TOPIC [...]\n\n"
         "Says whether a client may read and write a topic, or subscribe to a filter, and which line of\n"
         "the ACL file decides.\n\n"
         "      --client ID      the client id, for patterns with %c; default: empty\n"
         "      --anonymous      a client without a user name\n"
         "  -c, --config FILE    the broker's configuration, for its ACL files\n"
         "      --acl-file FILE  the ACL file itself\n"
         "  -h, --help           this text\n\n"
         "Exit status: 0 answered, 1 the ACL file has errors, 2 wrong options, 3 errors in the\n"
         "configuration.");
}

/* ---- answers ---- */

static void print_verdict(const struct acl *a, const char *what, bool yes, const struct acl_rule *rule)
{
    char text[512];

    printf("%-9s %s  ", what, yes ? "yes" : "no ");
    if (rule != NULL)
        printf("%s:%u: %s\n", acl_name(a), rule->line, acl_rule_text(rule, text, sizeof text));
    else
        printf("%s: no line allows it\n", acl_name(a));
}

static void print_barred(const struct acl_who *w)
{
    static const char *const name[] = { [ACL_BARRED_ID] = "client id", [ACL_BARRED_USER] = "user name" };

    if (w->barred)
        printf("Patterns give this client nothing: its %s has one of + # / in it.\n", name[w->barred]);
}

static void answer(const struct acl *a, const struct question *q)
{
    struct view topic = view_of(q->topic), id = view_of(q->id), user = view_of(q->user);
    struct acl_who w = acl_who(a, id, user);
    const struct acl_rule *rule;
    bool yes;

    if (!topic_has_wildcard(topic) && !topic_split_share(topic, &id, &user)) {
        yes = acl_may(a, &w, ACL_READ, topic, &rule);
        print_verdict(a, "read", yes, rule);
        yes = acl_may(a, &w, ACL_WRITE, topic, &rule);
        print_verdict(a, "write", yes, rule);
    } else {
        yes = acl_may_subscribe(a, &w, topic, &rule);
        print_verdict(a, "subscribe", yes, rule);
        if (yes)
            puts("What is delivered is decided topic by topic.");
    }
    print_barred(&w);
}

static int answer_file(const char *path, const struct question *q)
{
    struct acl *a = acl_load(path, cmd_say, NULL);

    if (a == NULL)
        return EXIT_FAILED;
    answer(a, q);
    acl_free(&a);
    return EXIT_OK;
}

/* One answer per listener. */
static int answer_config(const struct question *q)
{
    struct config *c = config_load(q->config, cmd_say, NULL);
    int code = EXIT_OK;

    if (c == NULL)
        return EXIT_CONFIG;
    for (unsigned i = 0; i < c->listener_count; i++) {
        const struct config_listener *l = &c->listeners[i];
        if (c->listener_count > 1)
            printf("%slistener %s\n", i > 0 ? "\n" : "", l->name);
        if (l->auth.acl_file == NULL)
            puts("There is no ACL file: who may connect may read and write everything.");
        else if (answer_file(l->auth.acl_file, q) != EXIT_OK)
            code = EXIT_FAILED;
    }
    config_free(c);
    return code;
}

/* ---- options ---- */

static int wrong(const char *text)
{
    fprintf(stderr, "caddis explain: %s; `caddis explain --help` shows how\n", text);
    return EXIT_USAGE;
}

/* -1: go on; otherwise the exit code. */
static int check(struct question *q, char **words, int count)
{
    int wanted = q->anonymous ? 2 : 3;

    if (count == 0 || strcmp(words[0], "acl") != 0)
        return wrong("what can be explained is acl");
    if (count != wanted)
        return wrong(count < wanted ? "something is missing" : "there is a word too many");
    if (q->config != NULL && q->acl_file != NULL)
        return wrong("-c and --acl-file do not go together");
    if (q->config == NULL && q->acl_file == NULL)
        return wrong("-c or --acl-file has to say where the rules are");
    q->user = q->anonymous ? NULL : words[1];
    q->topic = words[wanted - 1];
    if (!utf8_valid(view_of(q->topic)) || !topic_filter_valid(view_of(q->topic)))
        return wrong("this is not a topic or filter");
    return -1;
}

int cmd_explain(int argc, char **argv)
{
    static const struct option longs[] = {
        { "client", required_argument, NULL, 'i' }, { "anonymous", no_argument, NULL, 'a' },
        { "config", required_argument, NULL, 'c' }, { "acl-file", required_argument, NULL, 'f' },
        { "help", no_argument, NULL, 'h' },         { NULL, 0, NULL, 0 },
    };
    struct question q = { .id = "" };
    char *words[4];
    int c, count = 0;

    /* "-": words come in their place, as option 1, so that options may stand before and after them. */
    while ((c = getopt_long(argc, argv, "-c:h", longs, NULL)) != -1)
        switch (c) {
        case 1:
            if (count < 4)
                words[count++] = optarg;
            break;
        case 'i': q.id = optarg; break;
        case 'a': q.anonymous = true; break;
        case 'c': q.config = optarg; break;
        case 'f': q.acl_file = optarg; break;
        case 'h': help(); return EXIT_OK;
        default: return EXIT_USAGE;
        }
    while (optind < argc && count < 4)
        words[count++] = argv[optind++];
    c = check(&q, words, count);
    if (c >= 0)
        return c;
    return q.acl_file != NULL ? answer_file(q.acl_file, &q) : answer_config(&q);
}
