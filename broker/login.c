/* Logins under way.
 *
 * A key derivation takes up to 100 ms on a small board. It is done in slices between the turns' other work, one login at
 * a time in the order they came, and only when its peer's address has not failed too often of late.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/login.h"

#include "broker/auth.h"
#include "broker/handle.h"
#include "broker/pace.h"

#include <string.h>

/* Iterations of PBKDF2 in one turn: 2 ms on a PC, 20 ms on a slow board. */
#define SLICE 2000

static struct login *login_new(struct conn *c)
{
    struct login *l = conn_rare(c) != NULL ? mem_zero(MEM_CONN, sizeof *l) : NULL;

    if (l == NULL)
        return NULL;
    list_init(&l->queue);
    l->c = c;
    c->rare->login = l;
    return l;
}

bool login_by_password(struct broker *b, struct conn *c, struct passwd_try *t)
{
    struct login *l = t != NULL ? login_new(c) : NULL;

    if (l == NULL) {
        passwd_try_free(&t);
        return false;
    }
    l->try = t;
    list_push(&b->logins, &l->queue);
    return true;
}

bool login_by_scram(struct broker *b, struct conn *c, struct scram *s)
{
    struct login *l = login_new(c);

    (void)b;
    if (l == NULL) {
        scram_free(&s);
        return false;
    }
    l->scram = s;
    return true;
}

static bool keep(uint8_t **to, size_t *len, struct view bytes)
{
    uint8_t *p = mem_grow(MEM_CONN, *to, *len + bytes.len);

    if (p == NULL)
        return false;
    if (bytes.len > 0)
        memcpy(p + *len, bytes.p, bytes.len);
    *to = p;
    *len += bytes.len;
    return true;
}

bool login_keep_connect(struct conn *c, uint8_t head, struct view body)
{
    c->rare->login->connect_head = head;
    return keep(&c->rare->login->connect, &c->rare->login->connect_len, body);
}

bool login_keep_later(struct conn *c, struct view bytes)
{
    return bytes.len == 0 || keep(&c->rare->login->later, &c->rare->login->later_len, bytes);
}

void login_free(struct conn *c)
{
    struct login *l = c->rare->login;

    if (l == NULL)
        return;
    c->rare->login = NULL;
    list_unlink(&l->queue);
    passwd_try_free(&l->try);
    scram_free(&l->scram);
    mem_free(MEM_CONN, l->connect);
    mem_free(MEM_CONN, l->later);
    mem_free(MEM_CONN, l);
}

bool login_computing(const struct conn *c)
{
    return c->rare->login != NULL && c->rare->login->try != NULL;
}

/* The CONNECT is carried on with, then what came behind it. */
static void finish(struct broker *b, struct login *l, enum reason verdict)
{
    struct conn *c = l->c;
    struct frame f = { .head = l->connect_head, .body = { l->connect, l->connect_len } };
    uint8_t *later = l->later;
    size_t later_len = l->later_len;

    l->later = NULL;
    passwd_try_free(&l->try);
    list_unlink(&l->queue);
    handle_connect_verdict(b, c, &f, verdict, (struct view){ NULL, 0 });
    login_free(c);
    if (later_len > 0)
        conn_received(b, c, (struct view){ later, later_len });
    mem_free(MEM_CONN, later);
    conn_dirty(b, c);                   /* it is read from again */
}

void login_turn(struct broker *b)
{
    struct login *l;

    if (list_empty(&b->logins))
        return;
    l = LIST_ENTRY(b->logins.next, struct login, queue);
    if (conn_closing(l->c)) {
        list_unlink(&l->queue);
        return;
    }
    if (!passwd_try_known(l->try) && !pace_may_try(auth_pace(b), l->c->peer, b->now_ms)) {
        if (log_allow(&b->limit_deny, 10, b->now_ms))
            log_warning("login refused peer=%s reason=\"too many failures from there\"", l->c->peer);
        finish(b, l, R_SERVER_BUSY);
        return;
    }
    switch (passwd_try_step(l->try, SLICE)) {
    case PASSWD_PENDING:
        break;
    case PASSWD_RIGHT:
        finish(b, l, R_OK);
        break;
    case PASSWD_WRONG:
        pace_failed(auth_pace(b), l->c->peer, b->now_ms);
        finish(b, l, R_BAD_CREDENTIALS);
        break;
    }
}
