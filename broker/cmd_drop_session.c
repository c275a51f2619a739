/* `caddis drop-session`: ends a session for good, in a running broker or in the store of one that does not run.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/cmd.h"
#include "broker/control_tool.h"

#include <string.h>

/* Queue rows deleted in one go: bounds what SQLite keeps in memory. */
enum { ROWS = 1000 };

struct search {
    struct blob client_id;
    int64_t id;                 /* 0: not found */
};

static int compare(void *arg, const struct persist_session *s)
{
    struct search *f = arg;

    if (s->client_id.len != f->client_id.len || memcmp(s->client_id.p, f->client_id.p, s->client_id.len) != 0)
        return 0;
    f->id = s->id;
    return 1;
}

static int drop_stored(const struct control_tool *t)
{
    struct search f = { .client_id = { t->words[0], strlen(t->words[0]) } };
    struct persist *p = control_store_open(t);
    enum persist_rc rc;
    bool more = true;

    if (p == NULL)
        return EXIT_FAILED;
    rc = persist_each_session(p, compare, &f);
    if (rc == PERSIST_OK && f.id == 0) {
        fprintf(stderr, "caddis drop-session: there is no session %s\n", log_qs(t->words[0]));
        persist_close(&p);
        return EXIT_FAILED;
    }
    while (rc == PERSIST_OK && more)
        rc = persist_session_del(p, f.id, ROWS, &more);
    return control_store_close(t, p, rc);
}

int cmd_drop_session(int argc, char **argv)
{
    struct control_tool t = {
        .name = "drop-session", .words_needed = 1,
        .help =
            "Usage: caddis drop-session ID [-c FILE | --socket PATH]\n\n"
            "Ends a session: disconnects the client, and forgets its subscriptions and the messages that wait\n"
            "for it. Without a running broker the same is done to its store.\n\n"
            "  -c, --config FILE   the broker's configuration: where its control socket and its store are\n"
            "      --socket PATH   the control socket itself\n"
            "  -h, --help          this text\n\n"
            "Exit status: 0 done, and stored; 1 there is none, or it could not be stored; 2 wrong options;\n"
            "3 errors in the configuration.\n",
    };
    int code = control_tool_parse(&t, argc, argv);
    enum control_asked asked;

    if (code < 0) {
        asked = control_ask(&t, "drop-session", t.words[0], stdout);
        code = asked == ASKED_OK ? EXIT_OK : asked == ASKED_NOBODY ? drop_stored(&t) : EXIT_FAILED;
    }
    return control_tool_done(&t, code);
}
