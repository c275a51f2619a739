/* Enhanced authentication [MQTT5-4.12]: SCRAM, at CONNECT and once more later.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/auth.h"

#include "broker/handle.h"
#include "broker/login.h"
#include "broker/pace.h"

#include <string.h>

static bool method_is_ours(const struct props *p)
{
    struct view method = props_bytes(p, PROP_AUTH_METHOD);

    return method.len == strlen(SCRAM_METHOD) && memcmp(method.p, SCRAM_METHOD, method.len) == 0;
}

enum reason auth_scram_begin(struct broker *b, struct conn *c, const struct connect *p)
{
    struct scram *s;

    if (auth_users(b, c) == NULL || !method_is_ours(&p->props))
        return R_BAD_AUTH_METHOD;
    s = auth_scram_new(b);
    return s != NULL && login_by_scram(b, c, s) ? R_CONTINUE_AUTHENTICATION : R_SERVER_UNAVAILABLE;
}

static void send_auth(struct broker *b, struct conn *c, enum reason reason, struct view data)
{
    static const uint8_t method[] = SCRAM_METHOD;
    const struct view name = { method, sizeof method - 1 };
    uint8_t raw[1024];
    struct writer w = wr_make(raw, sizeof raw);
    uint8_t *p;
    size_t n;

    props_write_bytes(&w, PROP_AUTH_METHOD, name);
    if (data.len > 0)
        props_write_bytes(&w, PROP_AUTH_DATA, data);
    n = auth_size(reason, (struct view){ raw, (size_t)(w.p - raw) });
    p = conn_room(b, c, n);
    if (p == NULL)
        return;
    METRIC(b, MESSAGES_SENT)++;
    auth_encode(reason, (struct view){ raw, (size_t)(w.p - raw) }, &(struct writer){ p, p + n, false });
}

/* One message of the client. R_CONTINUE_AUTHENTICATION: it has been answered. R_OK: *final is the last word. */
static enum reason scram_message(struct broker *b, struct conn *c, struct view data, struct view *final)
{
    struct scram *s = c->rare->login->scram;

    if (!pace_may_try(auth_pace(b), c->peer, b->now_ms))
        return R_SERVER_BUSY;
    switch (scram_step(s, auth_users(b, c), data, final)) {
    case SCRAM_CONTINUE:
        send_auth(b, c, R_CONTINUE_AUTHENTICATION, *final);
        return R_CONTINUE_AUTHENTICATION;
    case SCRAM_DONE:
        return R_OK;
    case SCRAM_FAILED:
        break;
    }
    if (scram_guessed(s))
        pace_failed(auth_pace(b), c->peer, b->now_ms);
    if (log_allow(&b->limit_deny, 10, b->now_ms))
        log_warning("login refused peer=%s user=%s method=" SCRAM_METHOD " reason=%s", c->peer,
                    log_q(scram_user(s).p, scram_user(s).len), log_qs(scram_why(s)));
    return R_BAD_CREDENTIALS;
}

enum reason auth_first(struct broker *b, struct conn *c, struct view data)
{
    struct view out = { NULL, 0 };
    enum reason r = scram_message(b, c, data, &out);

    return r == R_OK ? R_PROTOCOL_ERROR : r;        /* SCRAM takes two messages */
}

/* The name that was proven is the client's user name, whatever CONNECT says. */
struct view auth_proven_user(const struct conn *c)
{
    const struct login *l = c->rare->login;

    return l != NULL && l->scram != NULL ? scram_user(l->scram) : (struct view){ NULL, 0 };
}

static enum reason reauthenticate(struct broker *b, struct conn *c, const struct auth_message *p)
{
    struct scram *s;

    if (!c->by_scram || c->rare->login != NULL)
        return R_PROTOCOL_ERROR;
    s = auth_scram_new(b);
    if (s == NULL || !login_by_scram(b, c, s))
        return R_UNSPECIFIED;
    return auth_first(b, c, props_bytes(&p->props, PROP_AUTH_DATA)) == R_CONTINUE_AUTHENTICATION ? R_OK
                                                                                                 : R_NOT_AUTHORIZED;
}

/* The second message: CONNACK, or AUTH if the client was in already. */
static enum reason last_message(struct broker *b, struct conn *c, const struct auth_message *p)
{
    struct view final = { NULL, 0 };
    enum reason r = scram_message(b, c, props_bytes(&p->props, PROP_AUTH_DATA), &final);
    struct view was, now;

    if (r == R_CONTINUE_AUTHENTICATION)
        return R_OK;
    if (c->state == CONN_AUTHENTICATING) {
        const struct login *l = c->rare->login;
        const struct frame f = { .head = l->connect_head, .body = { l->connect, l->connect_len } };

        handle_connect_verdict(b, c, &f, r, final);
    } else if (r == R_OK) {
        /* The same user as before, or it would have the other's session. */
        was = ident_user(c->session->ident);
        now = scram_user(c->rare->login->scram);
        if (!view_same(was, now))
            r = R_NOT_AUTHORIZED;
        else
            send_auth(b, c, R_OK, final);
    } else {
        r = R_NOT_AUTHORIZED;
    }
    login_free(c);
    return c->state == CONN_UP ? r : R_OK;
}

enum reason handle_auth(struct broker *b, struct conn *c, const struct frame *f)
{
    struct auth_message p;
    enum reason r = c->version == MQTT_50 ? auth_decode(f->head, f->body, &p) : R_PROTOCOL_ERROR;

    if (r != R_OK)
        return r;
    if (!method_is_ours(&p.props))
        return c->by_scram || c->rare->login != NULL ? R_PROTOCOL_ERROR : R_BAD_AUTH_METHOD;   /* [MQTT5-4.12.0-5] */
    if (p.reason == R_REAUTHENTICATE)
        return c->state == CONN_UP ? reauthenticate(b, c, &p) : R_PROTOCOL_ERROR;
    if (p.reason != R_CONTINUE_AUTHENTICATION || c->rare->login == NULL || c->rare->login->scram == NULL)
        return R_PROTOCOL_ERROR;
    return last_message(b, c, &p);
}
