/* Who may come in, and what for.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/auth.h"

#include "broker/handle.h"
#include "broker/listen.h"

#include <string.h>

static bool prefix_allowed(char *const *prefixes, struct view id)
{
    if (prefixes == NULL)
        return true;
    for (; *prefixes != NULL; prefixes++)
        if (id.len >= strlen(*prefixes) && memcmp(id.p, *prefixes, strlen(*prefixes)) == 0)
            return true;
    return false;
}

enum reason auth_connect(struct broker *b, struct conn *c, const struct connect *p, struct view id)
{
    const struct config_auth *a = &c->listener->cfg->auth;

    (void)b;
    if (!prefix_allowed(a->clientid_prefixes, id))
        return R_CLIENTID_NOT_VALID;
    if (props_has(&p->props, PROP_AUTH_METHOD))
        return R_BAD_AUTH_METHOD;
    return a->allow_anonymous ? R_OK : R_NOT_AUTHORIZED;
}

/* $SYS is ours alone. */
static bool is_sys(struct view topic)
{
    return topic.len >= 4 && memcmp(topic.p, "$SYS", 4) == 0 && (topic.len == 4 || topic.p[4] == '/');
}

bool auth_allowed(struct broker *b, const struct ident *who, enum access what, struct view topic)
{
    if (what != ACCESS_WRITE || !is_sys(topic))
        return true;
    if (log_allow(&b->limit_deny, 10, b->now_ms))
        log_warning("publish denied id=%s topic=%s reason=\"$SYS is the broker's\"", log_q(who->data, who->id_len),
                    log_q(topic.p, topic.len));
    return false;
}

bool auth_may_read(struct broker *b, const struct session *s, struct view topic)
{
    (void)b;
    (void)s;
    (void)topic;
    return true;
}

enum reason handle_auth(struct broker *b, struct conn *c, const struct frame *f)
{
    (void)b;
    (void)c;
    (void)f;
    return R_PROTOCOL_ERROR;
}
