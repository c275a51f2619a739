/* What the requests at the control socket do.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/control.h"

#include "broker/control_request.h"
#include "broker/will.h"

#include <stdlib.h>
#include <string.h>

/*    function        request       words after it: least, most, what they are */
#define VERBS(X)                                                    \
    X(status,         "status",       0, 1, "[json]")               \
    X(kick,           "kick",         1, 1, "ID")                   \
    X(drop_session,   "drop-session", 1, 1, "ID")                   \
    X(retained_rm,    "retained-rm",  1, 1, "FILTER")               \
    X(commit,         "commit",       0, 0, "")                     \
    X(reload,         "reload",       0, 0, "")                     \
    X(log_level,      "log-level",    1, 1, "LEVEL")

static bool is(struct view v, const char *text)
{
    return v.len == strlen(text) && memcmp(v.p, text, v.len) == 0;
}

/* The answer leaves when everything marked so far is durable. */
static void wait_for_commit(struct broker *b, struct control_client *c)
{
    c->seq = journal_next(b);
    c->wait = WAIT_COMMIT;
}

static void do_status(struct broker *b, struct control_client *c, const struct view *word)
{
    if (word->len > 0 && !is(*word, "json"))
        control_error(c, "status %s: there is only json", log_q(word->p, word->len));
    else
        control_status(b, &c->out, word->len > 0);
}

static void do_kick(struct broker *b, struct control_client *c, const struct view *id)
{
    struct session *s = session_find(&b->sessions, *id);

    if (s == NULL || !session_online(s)) {
        control_error(c, "no client %s is connected", log_q(id->p, id->len));
        return;
    }
    log_notice("control: client kicked id=%s by_uid=%u by_pid=%d", log_q(id->p, id->len), c->uid, c->pid);
    conn_close(b, s->conn, CLOSE_ADMIN);
}

static void do_drop_session(struct broker *b, struct control_client *c, const struct view *id)
{
    struct session *s = session_find(&b->sessions, *id);

    if (s == NULL) {
        control_error(c, "there is no session %s", log_q(id->p, id->len));
        return;
    }
    log_notice("control: session dropped id=%s waiting=%u by_uid=%u by_pid=%d", log_q(id->p, id->len),
               session_waiting(s), c->uid, c->pid);
    text_add(&c->out, "dropped %s; messages that waited for it: %u\n", log_q(id->p, id->len), session_waiting(s));
    if (s->conn != NULL) {
        conn_close(b, s->conn, CLOSE_ADMIN);
        conn_detach(b, s->conn);
        s = session_find(&b->sessions, *id);    /* gone already if it was not to outlive the connection */
    }
    if (s != NULL) {
        will_trigger(b, s, true);
        session_free(b, s);
    }
    wait_for_commit(b, c);
}

static void do_retained_rm(struct broker *b, struct control_client *c, const struct view *filter)
{
    struct view group, below;
    uint32_t n;

    if (!utf8_valid(*filter) || !topic_filter_valid(*filter) || topic_split_share(*filter, &group, &below)) {
        control_error(c, "%s is no topic filter", log_q(filter->p, filter->len));
        return;
    }
    n = retain_clear(b, *filter);
    log_notice("control: retained messages removed filter=%s count=%u by_uid=%u by_pid=%d",
               log_q(filter->p, filter->len), n, c->uid, c->pid);
    text_add(&c->out, "retained messages removed: %u\n", n);
    wait_for_commit(b, c);
}

static void do_commit(struct broker *b, struct control_client *c, const struct view *none)
{
    char *path;

    (void)none;
    if (!journal_on(&b->journal)) {
        control_error(c, "this broker has no store");
        return;
    }
    path = realpath(b->cfg->store_path, NULL);
    text_add(&c->out, "store: %s\n", path != NULL ? path : b->cfg->store_path);
    free(path);
    wait_for_commit(b, c);
}

static void do_reload(struct broker *b, struct control_client *c, const struct view *none)
{
    (void)none;
    b->reload = true;
    c->wait = WAIT_RELOAD;
}

static void do_log_level(struct broker *b, struct control_client *c, const struct view *name)
{
    static const char *const names[] = {
        [LEVEL_ERROR] = "error", [LEVEL_WARNING] = "warning", [LEVEL_NOTICE] = "notice", [LEVEL_INFO] = "info",
        [LEVEL_DEBUG] = "debug",
    };

    (void)b;
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
        if (is(*name, names[i])) {
            log_notice("control: log level=%s until the next reload by_uid=%u by_pid=%d", names[i], c->uid, c->pid);
            log_threshold = (enum log_level)i;
            return;
        }
    control_error(c, "there is no level %s; there are error, warning, notice, info and debug",
                  log_q(name->p, name->len));
}

void control_request(struct broker *b, struct control_client *c, char *line, size_t len)
{
    static const struct {
        const char *name;
        unsigned least, most;
        const char *words;
        void (*run)(struct broker *b, struct control_client *c, const struct view *word);
    } verbs[] = {
#define X(ident, name, least, most, words) { name, least, most, words, do_##ident },
        VERBS(X)
#undef X
    };
    struct control_request r;
    const char *why;

    if (!request_parse(line, len, &r, &why)) {
        control_error(c, "%s", why);
        return;
    }
    for (unsigned i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (!is(r.words[0], verbs[i].name))
            continue;
        if (r.count - 1 < verbs[i].least || r.count - 1 > verbs[i].most)
            control_error(c, "it is %s%s%s", verbs[i].name, verbs[i].most > 0 ? " " : "", verbs[i].words);
        else
            verbs[i].run(b, c, &r.words[1]);
        return;
    }
    control_error(c, "there is no request %s", log_q(r.words[0].p, r.words[0].len));
}
