/* `caddis retained rm`: removes retained messages, in a running broker or in the store of one that does not run.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/cmd.h"
#include "broker/control_tool.h"
#include "proto/proto.h"

#include <stdlib.h>
#include <string.h>

/* Callbacks must not change the store: the ids first. */
struct matching {
    struct view filter;
    int64_t *ids;
    size_t n, cap;
    bool no_memory;
};

static int collect(void *arg, const struct persist_retained *r)
{
    struct matching *m = arg;

    if (!topic_matches(m->filter, (struct view){ r->m.topic.p, r->m.topic.len }))
        return 0;
    if (m->n == m->cap) {
        size_t cap = m->cap > 0 ? m->cap * 2 : 64;
        int64_t *ids = realloc(m->ids, cap * sizeof *ids);

        m->no_memory = ids == NULL;
        if (ids == NULL)
            return 1;
        m->ids = ids;
        m->cap = cap;
    }
    m->ids[m->n++] = r->id;
    return 0;
}

static int remove_stored(const struct control_tool *t, struct view filter)
{
    struct matching m = { .filter = filter };
    struct persist *p = control_store_open(t);
    enum persist_rc rc;
    int code;

    if (p == NULL)
        return EXIT_FAILED;
    rc = persist_each_retained(p, 0, collect, &m);
    if (m.no_memory) {
        fputs("caddis retained: no memory\n", stderr);
        persist_close(&p);
        free(m.ids);
        return EXIT_FAILED;
    }
    for (size_t i = 0; rc == PERSIST_OK && i < m.n; i++)
        rc = persist_retained_del(p, m.ids[i]);
    code = control_store_close(t, p, rc);
    if (code == EXIT_OK)
        printf("retained messages removed: %zu\n", m.n);
    free(m.ids);
    return code;
}

static int remove_matching(const struct control_tool *t)
{
    struct view filter = { (const uint8_t *)t->words[1], strlen(t->words[1]) }, group, below;
    enum control_asked asked;

    if (strcmp(t->words[0], "rm") != 0) {
        fprintf(stderr, "caddis retained: %s? There is only rm; `caddis show retained` lists them\n",
                log_qs(t->words[0]));
        return EXIT_USAGE;
    }
    if (!utf8_valid(filter) || !topic_filter_valid(filter) || topic_split_share(filter, &group, &below)) {
        fprintf(stderr, "caddis retained: %s is no topic filter\n", log_qs(t->words[1]));
        return EXIT_USAGE;
    }
    asked = control_ask(t, "retained-rm", t->words[1], stdout);
    return asked == ASKED_OK ? EXIT_OK : asked == ASKED_NOBODY ? remove_stored(t, filter) : EXIT_FAILED;
}

int cmd_retained(int argc, char **argv)
{
    struct control_tool t = {
        .name = "retained", .words_needed = 2,
        .help =
            "Usage: caddis retained rm FILTER [-c FILE | --socket PATH]\n\n"
            "Removes the retained messages whose topics match, + and # included. Subscribers are not told.\n"
            "Without a running broker the same is done to its store.\n\n"
            "  -c, --config FILE   the broker's configuration: where its control socket and its store are\n"
            "      --socket PATH   the control socket itself\n"
            "  -h, --help          this text\n\n"
            "Exit status: 0 done, and stored, even if there was none; 1 it could not be stored; 2 wrong\n"
            "options; 3 errors in the configuration.\n",
    };
    int code = control_tool_parse(&t, argc, argv);

    if (code < 0)
        code = remove_matching(&t);
    return control_tool_done(&t, code);
}
