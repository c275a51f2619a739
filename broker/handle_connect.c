/* CONNECT: who comes in, and with which session.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/handle.h"

#include "broker/auth.h"
#include "broker/listen.h"
#include "broker/login.h"
#include "broker/shed.h"
#include "broker/tls.h"
#include "broker/will.h"
#include "broker/ws.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

/* auto_id_prefix and a UUID */
#define ID_MAX (AUTO_ID_PREFIX_MAX + 37)

/* What a CONNECT comes to. */
struct entry {
    struct connect p;
    struct view id;                 /* p's, or one that we give */
    bool assigned;
    bool session_present;
    struct view auth_data;          /* the last word of an enhanced authentication */
    uint64_t seq;                   /* commit that CONNACK waits for */
    uint8_t id_buf[ID_MAX];
};

/* ---- CONNACK ---- */

static uint8_t *connack_room(struct conn *c, struct view props, size_t *n)
{
    *n = connack_size((enum version)c->version, props);
    if (*n > c->max_packet)
        return NULL;
    return outq_room(&c->out, *n);
}

static enum reason refuse(struct broker *b, struct conn *c, const struct connect *p, enum reason why)
{
    uint8_t *at = NULL;
    size_t n = 0;

    METRIC(b, CLIENTS_REFUSED)++;
    if (log_allow(&b->limit_peer, 20, b->now_ms))
        log_warning("client refused id=%s peer=%s user=%s reason=\"%s\"", log_q(p->client_id.p, p->client_id.len), c->peer,
                    p->has_username ? log_q(p->username.p, p->username.len) : "-", reason_text(why));
    if (c->version == MQTT_50 || (c->version != 0 && reason_connack_v3(why) >= 0))
        at = connack_room(c, (struct view){ NULL, 0 }, &n);
    if (at != NULL) {
        struct writer w = wr_make(at, n);

        connack_encode((enum version)c->version, false, why, (struct view){ NULL, 0 }, &w);
        METRIC(b, MESSAGES_SENT)++;
    }
    conn_close_text(b, c, CLOSE_REFUSED, reason_text(why));
    return R_OK;
}

static struct view connack_props(const struct broker *b, const struct conn *c, const struct entry *e, uint8_t *buf,
                                 size_t cap)
{
    const struct config_listener *l = c->listener->cfg;
    uint32_t asked_s = props_num(&e->p.props, PROP_SESSION_EXPIRY, 0);
    struct writer w = wr_make(buf, cap);

    if (c->session->expiry_s != asked_s)
        props_write_num(&w, PROP_SESSION_EXPIRY, c->session->expiry_s);
    if (c->receive_max_in < UINT16_MAX)
        props_write_num(&w, PROP_RECEIVE_MAXIMUM, c->receive_max_in);
    if (l->max_qos < 2)
        props_write_num(&w, PROP_MAXIMUM_QOS, l->max_qos);
    if (!b->cfg->retain_available)
        props_write_num(&w, PROP_RETAIN_AVAILABLE, 0);
    if (b->cfg->max_packet_bytes < FRAME_MAX_REMAINING)
        props_write_num(&w, PROP_MAXIMUM_PACKET, b->cfg->max_packet_bytes);
    if (e->assigned)
        props_write_bytes(&w, PROP_ASSIGNED_CLIENTID, e->id);
    if (l->max_topic_alias > 0)
        props_write_num(&w, PROP_TOPIC_ALIAS_MAX, l->max_topic_alias);
    if (c->keepalive_s != e->p.keepalive_s)
        props_write_num(&w, PROP_SERVER_KEEP_ALIVE, c->keepalive_s);
    if (c->by_scram) {                                                  /* [MQTT5-4.12.0-4] */
        props_write_bytes(&w, PROP_AUTH_METHOD, props_bytes(&e->p.props, PROP_AUTH_METHOD));
        props_write_bytes(&w, PROP_AUTH_DATA, e->auth_data);
    }
    return (struct view){ buf, (size_t)(w.p - buf) };
}

/* CONNACK is the first packet: what comes behind it waits with it [MQTT-3.2.0-1]. */
static void accept(struct broker *b, struct conn *c, const struct entry *e)
{
    uint8_t buf[ID_MAX + 256], *at;
    struct view props = { NULL, 0 };
    struct writer w;
    size_t n;

    if (c->version == MQTT_50)
        props = connack_props(b, c, e, buf, sizeof buf);
    at = connack_room(c, props, &n);
    if (at == NULL) {
        conn_close_text(b, c, CLOSE_REFUSED, "its Maximum Packet Size has no room for CONNACK");
        return;
    }
    w = wr_make(at, n);
    connack_encode((enum version)c->version, e->session_present, R_OK, props, &w);
    METRIC(b, MESSAGES_SENT)++;
    conn_gate(b, c, e->seq);
    conn_dirty(b, c);
}

/* ---- may it come in? ---- */

static enum reason choose_id(struct broker *b, struct conn *c, struct entry *e)
{
    const struct config_listener *l = c->listener->cfg;
    bool unproven = props_has(&e->p.props, PROP_AUTH_METHOD) && auth_proven_user(c).p == NULL;
    uint8_t r[16];
    int n;

    e->id = e->p.client_id;
    if (l->use_username_as_clientid && unproven) {      /* asked again once it is */
        e->id = (struct view){ NULL, 0 };
        return R_OK;
    }
    if (l->use_username_as_clientid) {
        if (!e->p.has_username || e->p.username.len == 0)
            return R_NOT_AUTHORIZED;
        e->id = e->p.username;
        return R_OK;
    }
    if (e->id.len > 0)
        return R_OK;
    if (!b->cfg->auth.allow_zero_length_clientid)
        return R_CLIENTID_NOT_VALID;
    if (getrandom(r, sizeof r, 0) != (ssize_t)sizeof r)
        return R_SERVER_UNAVAILABLE;
    r[6] = (uint8_t)((r[6] & 0x0F) | 0x40);
    r[8] = (uint8_t)((r[8] & 0x3F) | 0x80);
    n = snprintf((char *)e->id_buf, sizeof e->id_buf,
                 "%s%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", l->auth.auto_id_prefix,
                 r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12], r[13], r[14], r[15]);
    e->id = (struct view){ e->id_buf, (size_t)n };
    e->assigned = true;
    return R_OK;
}

static enum reason check_will(struct broker *b, const struct conn *c, const struct connect *p)
{
    const struct config_listener *l = c->listener->cfg;

    if (!p->has_will)
        return R_OK;
    if (p->will_qos > l->max_qos)
        return R_QOS_NOT_SUPPORTED;
    if (p->will_retain && !b->cfg->retain_available)
        return R_RETAIN_NOT_SUPPORTED;
    if (topic_levels(p->will_topic) > b->cfg->max_topic_levels ||
        p->will_topic.len + c->listener->mount_len > UINT16_MAX)
        return R_TOPIC_INVALID;
    return R_OK;
}

/* Lowered by max_keepalive: 5.0 clients are told, others must ask for what they can get. */
static enum reason choose_keepalive(const struct broker *b, struct conn *c, const struct connect *p)
{
    uint16_t max = b->cfg->max_keepalive_s;

    c->keepalive_s = p->keepalive_s;
    if (max == 0 || max == UINT16_MAX || (p->keepalive_s > 0 && p->keepalive_s <= max))
        return R_OK;
    if (p->version < MQTT_50)
        return R_CLIENTID_NOT_VALID;
    c->keepalive_s = max;
    return R_OK;
}

static enum reason admit(struct broker *b, struct conn *c, struct entry *e)
{
    const struct connect *p = &e->p;
    enum reason r;

    if ((c->listener->cfg->versions >> p->version & 1) == 0)
        return R_UNSUPPORTED_VERSION;
    r = choose_id(b, c, e);
    if (r == R_OK && e->id.p != NULL && !auth_id_allowed(c, e->id))
        r = R_CLIENTID_NOT_VALID;
    if (r == R_OK)
        r = choose_keepalive(b, c, p);
    if (r == R_OK)
        r = check_will(b, c, p);
    if (r == R_OK && session_find(&b->sessions, e->id) == NULL &&
        ((b->cfg->max_clients > 0 && b->sessions.count >= b->cfg->max_clients) || shed(b, SHED_CLIENTS)))
        r = R_QUOTA_EXCEEDED;
    return r;
}

/* ---- its session ---- */

static uint32_t expiry_asked(const struct connect *p)
{
    if (p->version == MQTT_50)
        return props_num(&p->props, PROP_SESSION_EXPIRY, 0);
    return p->clean_start ? 0 : UINT32_MAX;
}

/* The old connection goes; what it leaves of its session is ours [MQTT-3.1.4-2], [MQTT5-3.1.4-3]. */
static void take_over(struct broker *b, const struct session *s)
{
    struct conn *old = s->conn;

    if (old == NULL)
        return;
    conn_close(b, old, CLOSE_TAKEN_OVER);
    conn_detach(b, old);
}

/* Could the store, by what it knows of the session, end it before its time? Then it must learn that the absence is
 * over. */
static bool is_mortal(const struct session *s, uint32_t expiry_s)
{
    return s->expiry_s != UINT32_MAX || expiry_s != UINT32_MAX;
}

/* The commit that CONNACK waits for: it says that the session is there. Before the first of what waits is sent, the
 * store knows that from now on it may have been. */
static uint64_t resume_promise(struct broker *b, struct session *s, uint32_t expiry_s)
{
    bool failing = journal_failing(&b->journal), longer = expiry_s > s->expiry_s;

    if (failing && s->backlog > 0)
        return 0;               /* who fetches makes room in a store that is full */
    if (longer || (!failing && (is_mortal(s, expiry_s) || s->backlog > 0)))
        return session_promise(b, s);
    return s->promise_seq;
}

static enum reason attach(struct broker *b, struct conn *c, struct entry *e)
{
    uint32_t expiry_s = session_expiry_s(b, expiry_asked(&e->p));
    struct session *s = session_find(&b->sessions, e->id);
    struct view user = e->p.has_username ? e->p.username : (struct view){ NULL, 0 };
    struct ident *ident;
    bool soon = true;           /* a new session is written at once */

    if (s != NULL && !auth_may_take(b, c, s, user))
        return R_CLIENTID_NOT_VALID;
    ident = ident_new(e->id, user);
    if (ident == NULL)
        return R_SERVER_UNAVAILABLE;
    if (s != NULL)
        take_over(b, s);
    s = session_find(&b->sessions, e->id);
    if (s != NULL && e->p.clean_start) {            /* [MQTT311-3.1.2-6], [MQTT5-3.1.2-4] */
        will_trigger(b, s, true);
        session_free(b, s);
        s = NULL;
        e->seq = journal_next(b);
    }
    e->session_present = s != NULL;
    if (s == NULL) {
        s = session_new(b, ident, expiry_s > 0);
        if (s == NULL)
            return R_SERVER_UNAVAILABLE;
        /* CONNACK promises a session that will be there. */
        if (s->durable)
            e->seq = session_promise(b, s);
    } else {
        if (!session_resume(b, s)) {
            ident_unref(&ident);
            return R_SERVER_UNAVAILABLE;
        }
        ident_unref(&s->ident);
        s->ident = ident;
        soon = is_mortal(s, expiry_s);
        e->seq = resume_promise(b, s, expiry_s);
    }
    s->version = (uint8_t)e->p.version;
    s->expiry_s = expiry_s;
    s->connected_ms = calendar_now(b);
    s->disconnected_ms = 0;
    s->conn = c;
    c->session = s;
    b->sessions.online++;
    session_wake(b, s);
    journal_session_put(b, s, soon);
    return R_OK;
}

/* The will's topic with the mount point before it, to be freed by the caller. NULL: no memory. */
static uint8_t *will_topic(const struct conn *c, const struct connect *p, struct view *topic)
{
    uint8_t *at;

    topic->len = c->listener->mount_len + p->will_topic.len;
    topic->p = at = mem_alloc(MEM_OTHER, topic->len);
    if (at == NULL)
        return NULL;
    if (c->listener->mount_len > 0)
        memcpy(at, c->listener->cfg->mount_point, c->listener->mount_len);
    memcpy(at + c->listener->mount_len, p->will_topic.p, p->will_topic.len);
    return at;
}

/* The session, and its will if the client may have it. */
static enum reason attach_with_will(struct broker *b, struct conn *c, struct entry *e)
{
    struct view topic = { NULL, 0 };
    uint8_t *room = e->p.has_will ? will_topic(c, &e->p, &topic) : NULL;
    enum reason r = e->p.has_will && room == NULL ? R_SERVER_UNAVAILABLE : R_OK;

    if (room != NULL && !auth_will_allowed(b, c, &e->p, e->id, topic))
        r = R_NOT_AUTHORIZED;
    if (r == R_OK)
        r = attach(b, c, e);
    if (r == R_OK) {
        bool had_will = c->session->will != NULL;

        if (!auth_attach(b, c->session, c) || !will_set(b, c->session, &e->p, topic))
            conn_close(b, c, CLOSE_NO_MEMORY);
        /* CONNACK promises the new will, and that the old one does not come [MQTT-3.1.2-8], [MQTT5-3.1.3-9]. */
        else if (c->session->durable && (had_will || e->p.has_will))
            e->seq = journal_next(b);
    }
    mem_free(MEM_OTHER, room);
    return r;
}

/* ---- */

static void set_limits(const struct broker *b, struct conn *c, const struct connect *p)
{
    const struct config_listener *l = c->listener->cfg;
    uint32_t alias_max = p->version == MQTT_50 ? props_num(&p->props, PROP_TOPIC_ALIAS_MAX, 0) : 0;

    c->alias_out_max = (uint16_t)(alias_max < l->max_topic_alias_broker ? alias_max : l->max_topic_alias_broker);
    if (p->version < MQTT_50)
        return;
    c->problem_info = props_num(&p->props, PROP_REQUEST_PROBLEM, 1) != 0;
    c->receive_max_in = b->cfg->max_inflight_messages;
    c->receive_max = (uint16_t)props_num(&p->props, PROP_RECEIVE_MAXIMUM, UINT16_MAX);
    c->max_packet = props_num(&p->props, PROP_MAXIMUM_PACKET, UINT32_MAX);
}

static void say_up(struct broker *b, const struct conn *c, const struct entry *e)
{
    static const char *const versions[] = { [MQTT_31] = "3.1", [MQTT_311] = "3.1.1", [MQTT_50] = "5.0" };

    if (!b->cfg->log_connections)
        return;
    log_info("client up id=%s peer=%s ver=%s user=%s keepalive_s=%u clean=%d resumed=%d queued=%u%s%s%s", conn_name(c),
             c->peer, versions[c->version], e->p.has_username ? log_q(e->p.username.p, e->p.username.len) : "-",
             c->keepalive_s, e->p.clean_start, e->session_present, session_waiting(c->session),
             c->tls != NULL ? " tls=" : "", c->tls != NULL ? log_qs(tls_describe(c)) : "",
             ws_used(c) ? " transport=websocket" : "");
}

/* It may come in. */
static void enter(struct broker *b, struct conn *c, struct entry *e)
{
    enum reason r = attach_with_will(b, c, e);

    if (r != R_OK) {
        refuse(b, c, &e->p, r);
        return;
    }
    c->state = CONN_UP;
    METRIC(b, CONNECTS)++;
    timer_disarm(&c->timer);
    if (c->keepalive_s > 0)
        timer_arm(&b->wheel, &c->timer, b->now_ms + (uint64_t)c->keepalive_s * 1500);
    if (conn_closing(c))
        return;
    accept(b, c, e);
    say_up(b, c, e);
}

static enum reason begin(struct broker *b, struct conn *c, const struct frame *f, struct entry *e)
{
    enum reason r = connect_decode(f->head, f->body, &e->p);
    struct view proven, scram = auth_proven_user(c);

    c->version = (uint8_t)e->p.version;
    if (r != R_OK) {
        METRIC(b, PROTOCOL_ERRORS)++;
        return r;
    }
    if (!auth_identity(c, &proven))
        return R_NOT_AUTHORIZED;
    if (proven.p != NULL || scram.p != NULL) {
        e->p.has_username = true;
        e->p.username = scram.p != NULL ? scram : proven;
    }
    set_limits(b, c, &e->p);
    return admit(b, c, e);
}

enum reason handle_connect(struct broker *b, struct conn *c, const struct frame *f)
{
    struct entry e = { .seq = 0 };
    enum reason r = begin(b, c, f, &e);

    if (r == R_OK)
        r = auth_connect(b, c, &e.p);
    if (r == R_CONTINUE_AUTHENTICATION) {
        c->state = CONN_AUTHENTICATING;
        r = login_keep_connect(c, f->head, f->body) ? R_OK : R_SERVER_UNAVAILABLE;
        if (r == R_OK && props_has(&e.p.props, PROP_AUTH_METHOD))
            r = auth_first(b, c, props_bytes(&e.p.props, PROP_AUTH_DATA));
        return r == R_OK || r == R_CONTINUE_AUTHENTICATION ? R_OK : refuse(b, c, &e.p, r);
    }
    if (r != R_OK)
        return refuse(b, c, &e.p, r);
    enter(b, c, &e);
    return R_OK;
}

void handle_connect_verdict(struct broker *b, struct conn *c, const struct frame *f, enum reason verdict,
                            struct view final)
{
    struct entry e = { .auth_data = final };
    enum reason r = begin(b, c, f, &e);         /* it went well before; what is decided there may have changed */

    if (r == R_OK)
        r = verdict;
    if (r != R_OK) {
        refuse(b, c, &e.p, r);
        return;
    }
    c->by_scram = auth_proven_user(c).p != NULL;
    enter(b, c, &e);
}
