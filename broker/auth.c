/* Who may come in, and what for.
 *
 * The files are loaded as a set, all or nothing, and shared by the listeners that name the same ones.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/auth.h"

#include "broker/acl.h"
#include "broker/handle.h"
#include "broker/listen.h"
#include "broker/login.h"
#include "broker/pace.h"
#include "broker/passwd_cache.h"
#include "broker/tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* Verified credentials that are remembered, 32 bytes each. */
#define CACHE_ENTRIES 4096

struct policy {
    const char *password_file, *acl_file;       /* borrowed from the configuration */
    struct passwd *users;                       /* NULL: no file */
    struct acl *acl;                            /* NULL: no file, everything is allowed */
};

struct auth {
    struct passwd_cache *cache;
    struct pace *pace;
    uint8_t fake_key[SHA256_LEN];
    struct policy *v;                           /* one a listener; those with the same file share what was loaded */
    unsigned n;
};

/* What a session's client may do. */
struct access_rights {
    const struct acl *acl;
    struct acl_who who;
    unsigned listener;
};

/* ---- files ---- */

struct loading {
    struct broker *b;
    bool failed;
};

static void say_error(void *arg, const char *line)
{
    struct loading *l = arg;

    l->failed = true;
    broker_error(l->b, line);
}

static bool same(const char *a, const char *b)
{
    return a != NULL && b != NULL && strcmp(a, b) == 0;
}

static void load(struct policy *v, unsigned i, struct loading *l)
{
    for (unsigned k = 0; k < i; k++) {
        if (v[i].users == NULL && same(v[i].password_file, v[k].password_file))
            v[i].users = v[k].users;
        if (v[i].acl == NULL && same(v[i].acl_file, v[k].acl_file))
            v[i].acl = v[k].acl;
    }
    if (v[i].password_file != NULL && v[i].users == NULL)
        v[i].users = passwd_load(v[i].password_file, say_error, l);
    if (v[i].acl_file != NULL && v[i].acl == NULL)
        v[i].acl = acl_load(v[i].acl_file, say_error, l);
}

static void free_policies(struct policy *v, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        for (unsigned k = i + 1; k < n; k++) {
            if (v[k].users == v[i].users)
                v[k].users = NULL;
            if (v[k].acl == v[i].acl)
                v[k].acl = NULL;
        }
        passwd_free(&v[i].users);
        acl_free(&v[i].acl);
    }
    mem_free(MEM_OTHER, v);
}

/* In the order of our listeners, which may stand in another order in the file. */
static struct policy *load_policies(struct broker *b, const struct config *cfg)
{
    struct policy *v = mem_zero(MEM_OTHER, b->listener_count * sizeof *v);
    struct loading l = { .b = b };

    for (unsigned i = 0; v != NULL && i < b->listener_count; i++) {
        const struct config_auth *a = &config_listener_named(cfg, b->listeners[i].cfg->name)->auth;

        v[i].password_file = a->password_file;
        v[i].acl_file = a->acl_file;
        load(v, i, &l);
    }
    if (v != NULL && l.failed) {
        free_policies(v, b->listener_count);
        return NULL;
    }
    return v;
}

struct auth *auth_new(struct broker *b)
{
    struct auth *a = mem_zero(MEM_OTHER, sizeof *a);
    const char *why;

    if (a == NULL)
        return NULL;
    if (!crypto_start(&why)) {
        log_error("%s", why);
        auth_free(&a);
        return NULL;
    }
    a->cache = passwd_cache_new(CACHE_ENTRIES);
    a->pace = pace_new();
    a->v = load_policies(b, b->cfg);
    a->n = b->listener_count;
    if (a->cache == NULL || a->pace == NULL || a->v == NULL ||
        getrandom(a->fake_key, sizeof a->fake_key, 0) != (ssize_t)sizeof a->fake_key)
        auth_free(&a);
    return a;
}

void auth_free(struct auth **ap)
{
    struct auth *a = *ap;

    *ap = NULL;
    if (a == NULL)
        return;
    if (a->v != NULL)
        free_policies(a->v, a->n);
    passwd_cache_free(&a->cache);
    pace_free(&a->pace);
    mem_free(MEM_OTHER, a);
}

struct pace *auth_pace(struct broker *b)
{
    return b->auth->pace;
}

static unsigned listener_index(const struct broker *b, const struct listener *l)
{
    return (unsigned)(l - b->listeners);
}

const struct passwd *auth_users(const struct broker *b, const struct conn *c)
{
    return b->auth->v[listener_index(b, c->listener)].users;
}

struct scram *auth_scram_new(const struct broker *b)
{
    return scram_new(b->auth->fake_key);
}

/* ---- CONNECT ---- */

bool auth_id_allowed(const struct conn *c, struct view id)
{
    char *const *prefixes = c->listener->cfg->auth.clientid_prefixes;

    if (prefixes == NULL)
        return true;
    for (; *prefixes != NULL; prefixes++)
        if (id.len >= strlen(*prefixes) && memcmp(id.p, *prefixes, strlen(*prefixes)) == 0)
            return true;
    return false;
}

/* Does somebody vouch for the names of this listener's clients? */
static bool names_are_proven(const struct broker *b, const struct listener *l)
{
    return b->auth->v[listener_index(b, l)].users != NULL || l->cfg->use_identity_as_username ||
           l->cfg->use_subject_as_username;
}

bool auth_may_take(struct broker *b, const struct conn *c, const struct session *s, struct view user)
{
    struct view owner = ident_user(s->ident);

    if (!b->cfg->auth.bind_sessions || owner.len == 0 || view_same(owner, user) || !names_are_proven(b, c->listener))
        return true;
    if (log_allow(&b->limit_deny, 10, b->now_ms))
        log_warning("session belongs to user %s, not to %s: `caddis drop-session` ends it id=%s peer=%s",
                    log_q(owner.p, owner.len), user.p != NULL ? log_q(user.p, user.len) : "nobody",
                    log_q(ident_id(s->ident).p, ident_id(s->ident).len), c->peer);
    return false;
}

bool auth_identity(const struct conn *c, struct view *user)
{
    const struct config_listener *l = c->listener->cfg;
    const char *name = NULL;

    *user = (struct view){ NULL, 0 };
    if (!l->use_identity_as_username && !l->use_subject_as_username)
        return true;
    name = l->use_subject_as_username && tls_peer_subject(c) != NULL ? tls_peer_subject(c) : tls_peer_name(c);
    if (name == NULL)
        return l->auth.allow_anonymous || l->auth.password_file != NULL;
    *user = (struct view){ (const uint8_t *)name, strlen(name) };
    return user->len > 0 && user->len <= UINT16_MAX && utf8_valid(*user);
}

enum reason auth_connect(struct broker *b, struct conn *c, const struct connect *p)
{
    const struct config_auth *a = &c->listener->cfg->auth;
    const struct policy *l = &b->auth->v[listener_index(b, c->listener)];
    struct passwd_try *t;
    struct view proven;

    if (props_has(&p->props, PROP_AUTH_METHOD))
        return auth_scram_begin(b, c, p);
    if (auth_identity(c, &proven) && proven.p != NULL)
        return R_OK;
    if (!p->has_username)
        return a->allow_anonymous ? R_OK : R_NOT_AUTHORIZED;
    if (l->users == NULL)
        return a->allow_anonymous ? R_OK : R_BAD_CREDENTIALS;
    t = passwd_try_new(l->users, b->auth->cache, p->username,
                       p->has_password ? p->password : (struct view){ NULL, 0 });
    if (t != NULL && passwd_try_known(t) && passwd_try_step(t, 1) == PASSWD_RIGHT) {
        passwd_try_free(&t);
        return R_OK;
    }
    return login_by_password(b, c, t) ? R_CONTINUE_AUTHENTICATION : R_SERVER_UNAVAILABLE;
}

/* ---- rights ---- */

bool auth_attach(struct broker *b, struct session *s, const struct conn *c)
{
    unsigned i = listener_index(b, c->listener);
    const struct acl *acl = b->auth->v[i].acl;

    auth_forget(s);
    if (acl == NULL)
        return true;
    s->rights = mem_alloc(MEM_SESSION, sizeof *s->rights);
    if (s->rights == NULL)
        return false;
    s->rights->acl = acl;
    s->rights->listener = i;
    s->rights->who = acl_who(acl, ident_id(s->ident), ident_user(s->ident));
    return true;
}

void auth_forget(struct session *s)
{
    mem_free(MEM_SESSION, s->rights);
    s->rights = NULL;
}

/* Sessions that are away keep the listener they came by. */
static void refresh_rights(struct broker *b, struct session *s)
{
    unsigned i = s->rights != NULL ? s->rights->listener : s->conn != NULL ? listener_index(b, s->conn->listener) : 0;
    const struct acl *acl = b->auth->v[i].acl;

    if (s->rights == NULL && s->conn == NULL)
        return;
    if (acl == NULL) {
        auth_forget(s);
        return;
    }
    if (s->rights == NULL && !auth_attach(b, s, s->conn)) {
        conn_close(b, s->conn, CLOSE_NO_MEMORY);
        return;
    }
    s->rights->acl = acl;
    s->rights->who = acl_who(acl, ident_id(s->ident), ident_user(s->ident));
}

/* Did it log in with an account that is gone, or has another password now? */
static bool revoked(const struct conn *c, const struct policy *was, const struct policy *now)
{
    struct view user = ident_user(c->session->ident), proven;

    if (!c->by_scram && auth_identity(c, &proven) && proven.p != NULL)
        return false;
    return user.p != NULL && passwd_same(was->users, was->users, user) && !passwd_same(was->users, now->users, user);
}

bool auth_reload(struct broker *b, const struct config *cfg)
{
    struct policy *v = load_policies(b, cfg), *old = b->auth->v;

    if (v == NULL)
        return false;
    b->auth->v = v;
    for (struct session *s = session_each(&b->sessions, NULL); s != NULL; s = session_each(&b->sessions, s)) {
        const struct listener *l = s->conn != NULL ? s->conn->listener : NULL;

        refresh_rights(b, s);
        if (l != NULL && !conn_closing(s->conn) &&
            revoked(s->conn, &old[listener_index(b, l)], &v[listener_index(b, l)]))
            conn_close_text(b, s->conn, CLOSE_NOT_AUTHORIZED, "its account is gone or changed");
    }
    free_policies(old, b->auth->n);
    return true;
}

/* $SYS is ours alone. */
static bool is_sys(struct view topic)
{
    return topic.len >= 4 && memcmp(topic.p, "$SYS", 4) == 0 && (topic.len == 4 || topic.p[4] == '/');
}

/* acl NULL: the topic is in $SYS. what: "publish topic", and so on: what was tried, and what the topic is called. */
static void log_denied(struct broker *b, const char *what, struct view id, struct view user, struct view topic,
                       const struct acl *acl, const struct acl_rule *rule)
{
    int verb = (int)strcspn(what, " ");
    char text[128];

    if (!log_allow(&b->limit_deny, 10, b->now_ms))
        return;
    if (acl == NULL)
        snprintf(text, sizeof text, "$SYS is the broker's");
    else if (rule != NULL)
        snprintf(text, sizeof text, "%.90s:%u", acl_name(acl), rule->line);
    else
        snprintf(text, sizeof text, "no line of %.90s allows it", acl_name(acl));
    log_warning("%.*s denied id=%s user=%s %s=%s rule=%s", verb, what, log_q(id.p, id.len),
                user.p != NULL ? log_q(user.p, user.len) : "-", what + verb + 1, log_q(topic.p, topic.len),
                log_qs(text));
}

bool auth_will_allowed(struct broker *b, const struct conn *c, const struct connect *p, struct view id,
                       struct view topic)
{
    const struct acl *acl = is_sys(topic) ? NULL : b->auth->v[listener_index(b, c->listener)].acl;
    const struct view user = p->has_username ? p->username : (struct view){ NULL, 0 };
    const struct acl_rule *rule = NULL;
    bool may = !is_sys(topic);
    struct acl_who who;

    if (acl != NULL) {
        who = acl_who(acl, id, user);
        may = acl_may(acl, &who, ACL_WRITE, topic, &rule);
    }
    if (!may)
        log_denied(b, "will topic", id, user, topic, acl, rule);
    return may;
}

bool auth_allowed(struct broker *b, const struct session *s, enum access what, struct view topic)
{
    const struct acl_rule *rule = NULL;
    bool sys = what == ACCESS_WRITE && is_sys(topic), may = !sys;

    if (may && s->rights != NULL)
        may = what == ACCESS_SUBSCRIBE ? acl_may_subscribe(s->rights->acl, &s->rights->who, topic, &rule)
                                       : acl_may(s->rights->acl, &s->rights->who, ACL_WRITE, topic, &rule);
    if (!may)
        log_denied(b, what == ACCESS_WRITE ? "publish topic" : "subscription filter", ident_id(s->ident),
                   ident_user(s->ident), topic, sys ? NULL : s->rights->acl, rule);
    return may;
}

bool auth_may_read(const struct session *s, struct view topic)
{
    const struct acl_rule *rule;

    return s->rights == NULL || acl_may(s->rights->acl, &s->rights->who, ACL_READ, topic, &rule);
}

bool auth_source_allowed(const struct broker *b, const struct session *s, const struct msg *m)
{
    const struct acl_rule *rule;
    struct acl_who who;

    if (!b->cfg->check_retain_source || s->rights == NULL || m->from == NULL)
        return true;
    who = acl_who(s->rights->acl, ident_id(m->from), ident_user(m->from));
    return acl_may(s->rights->acl, &who, ACL_WRITE, msg_topic(m), &rule);
}
