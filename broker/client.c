/* The client engine of the tools.
 *
 * Outbound QoS 1:  free -client_publish-> PUBACK -on_ack-> free
 * Outbound QoS 2:  free -client_publish-> PUBREC -on_ack-> PUBCOMP -on_ack-> free
 * Inbound QoS 2:   the id is in `unreleased` from the PUBLISH, when the message is handed over, to the PUBREL: a second
 *                  PUBLISH with it is answered and not handed over again [MQTT-4.3.3-2].
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/client.h"

#include "broker/client_net.h"
#include "broker/clock.h"
#include "broker/log.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PACKET_MAX = 268435460, ID_FREE = 0, READ_STEP = 65536 };

struct buffer {
    uint8_t *p;
    size_t start, len, cap;     /* bytes from start to start + len are waiting */
};

struct client {
    const struct client_events *events;
    struct net net;
    enum version version;
    bool trace, stopped, over;
    char why[CLIENT_WHY_MAX];
    struct buffer in, out;
    /* what the server announced */
    uint32_t max_packet, window, alias_max;
    uint8_t max_qos;
    bool retain_available;
    /* outbound: what the id waits for, a packet type; ID_FREE */
    uint8_t waits[65536];
    uint16_t last_id;
    unsigned unfinished;
    /* inbound */
    uint8_t unreleased[65536 / 8];
    unsigned unreleased_count;
    char **aliases;             /* alias_count + 1, index 0 unused; topics */
    uint16_t alias_count;
    /* keep alive */
    uint64_t keepalive_ms, last_sent_ms, ping_ms; /* ping_ms 0: no answer is awaited */
    bool connacked;
    struct connack connack;     /* props not kept */
};

/* ---- buffers ---- */

/* Room for n bytes more at the end; the tools can't go on without memory, so this can't fail. */
static uint8_t *room(struct buffer *b, size_t n)
{
    if (b->start > 0 && (b->len == 0 || b->start + b->len + n > b->cap)) {
        memmove(b->p, b->p + b->start, b->len);
        b->start = 0;
    }
    if (b->start + b->len + n > b->cap) {
        size_t cap = (b->len + n) * 2;
        b->p = realloc(b->p, cap);
        if (b->p == NULL) {
            fputs("caddis: no memory\n", stderr);
            abort();
        }
        b->cap = cap;
    }
    return b->p + b->start + b->len;
}

static struct writer stage(struct client *c, size_t size)
{
    struct writer w = wr_make(room(&c->out, size), size);

    c->out.len += size;
    return w;
}

static void over(struct client *c, const char *why)
{
    if (!c->over)
        snprintf(c->why, sizeof c->why, "%s", why);
    c->over = true;
}

static void flush(struct client *c)
{
    while (c->out.len > 0 && !c->over) {
        ssize_t n = net_write(&c->net, c->out.p + c->out.start, c->out.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EPROTO && net_trouble(&c->net) != NULL)
            over(c, net_trouble(&c->net));
        if (n < 0) {
            /* What the server said before it closed is worth more than "broken pipe": it is read first. */
            if (errno != EAGAIN && errno != EPIPE && errno != ECONNRESET)
                over(c, strerror(errno));
            if (errno == EPIPE || errno == ECONNRESET)
                c->out.len = 0;
            return;
        }
        c->out.start += (size_t)n;
        c->out.len -= (size_t)n;
        c->last_sent_ms = clock_mono_ms();
    }
}

/* ---- trace ---- */

static void trace(const struct client *c, const char *dir, unsigned type, unsigned id, int reason)
{
    if (!c->trace)
        return;
    fprintf(stderr, "%s %s", dir, packet_name(type));
    if (id > 0)
        fprintf(stderr, " mid=%u", id);
    if (reason >= 0)
        fprintf(stderr, " 0x%02X %s", (unsigned)reason, reason_text((enum reason)reason));
    fputc('\n', stderr);
}

static void trace_publish(const struct client *c, const char *dir, const struct publish *p)
{
    if (c->trace)
        fprintf(stderr, "%s PUBLISH qos=%u retain=%d dup=%d mid=%u topic=%s bytes=%zu\n", dir, p->qos, p->retain, p->dup,
                p->packet_id, log_q(p->topic.p, p->topic.len), p->payload.len);
}

/* ---- packets to the server ---- */

static void send_ack(struct client *c, enum packet type, uint16_t id, enum reason reason)
{
    struct view none = { NULL, 0 };
    struct writer w = stage(c, ack_size(c->version, reason, none));

    ack_encode(type, id, c->version, reason, none, &w);
    trace(c, "->", type, id, -1);
}

static uint16_t take_id(struct client *c, enum packet waits_for)
{
    do
        c->last_id++;
    while (c->last_id == 0 || c->waits[c->last_id] != ID_FREE);
    c->waits[c->last_id] = (uint8_t)waits_for;
    return c->last_id;
}

bool client_may_publish(const struct client *c)
{
    return c->unfinished < c->window;
}

unsigned client_unfinished(const struct client *c)
{
    return c->unfinished;
}

unsigned client_unreleased(const struct client *c)
{
    return c->unreleased_count;
}

size_t client_staged(const struct client *c)
{
    return c->out.len;
}

const char *client_why(const struct client *c)
{
    return c->why;
}

int client_publish(struct client *c, const struct publish *p, struct view props, char why[CLIENT_WHY_MAX])
{
    struct publish_out out = { .version = c->version, .dup = p->dup, .retain = p->retain, .qos = p->qos,
                               .topic = p->topic, .props = props, .payload_len = p->payload.len };
    size_t size = publish_size(&out), head = publish_head_size(&out);
    struct publish shown = *p;
    struct writer w;

    if (p->qos > c->max_qos)
        snprintf(why, CLIENT_WHY_MAX, "the server takes QoS %u at most", c->max_qos);
    else if (p->retain && !c->retain_available)
        snprintf(why, CLIENT_WHY_MAX, "the server does not keep retained messages");
    else if (size == 0 || size > c->max_packet)
        snprintf(why, CLIENT_WHY_MAX, "the message makes a packet of %zu bytes, the server takes %u at most",
                 head + p->payload.len, c->max_packet);
    else
        goto fits;
    return -1;
fits:
    if (p->qos > 0) {
        out.packet_id = take_id(c, p->qos == 1 ? PKT_PUBACK : PKT_PUBREC);
        c->unfinished++;
    }
    w = stage(c, size);
    publish_head_encode(&out, &w);
    wr_view(&w, p->payload);
    shown.packet_id = out.packet_id;
    trace_publish(c, "->", &shown);
    return out.packet_id;
}

int client_subscribe(struct client *c, const struct subscription *subs, unsigned count, struct view props)
{
    uint16_t id = take_id(c, PKT_SUBACK);
    struct writer w = stage(c, subscribe_size(c->version, subs, count, props));

    subscribe_encode(c->version, id, subs, count, props, &w);
    trace(c, "->", PKT_SUBSCRIBE, id, -1);
    return id;
}

int client_unsubscribe(struct client *c, const struct view *filters, unsigned count)
{
    uint16_t id = take_id(c, PKT_UNSUBACK);
    struct writer w = stage(c, unsubscribe_size(c->version, filters, count));

    unsubscribe_encode(c->version, id, filters, count, &w);
    trace(c, "->", PKT_UNSUBSCRIBE, id, -1);
    return id;
}

static void send_disconnect(struct client *c, enum reason reason, struct view props)
{
    struct writer w = stage(c, disconnect_size(c->version, reason, props));

    disconnect_encode(c->version, reason, props, &w);
    trace(c, "->", PKT_DISCONNECT, 0, (int)reason);
}

/* ---- packets from the server ---- */

/* Fills the topic in from the alias, or learns the alias [MQTT5-3.3.2-12]. */
static enum reason resolve_alias(struct client *c, struct publish *p)
{
    uint32_t alias = props_num(&p->props, PROP_TOPIC_ALIAS, 0);

    if (alias == 0)
        return R_OK;
    if (alias > c->alias_count)
        return R_TOPIC_ALIAS_INVALID;
    if (p->topic.len > 0) {
        free(c->aliases[alias]);
        c->aliases[alias] = strndup((const char *)p->topic.p, p->topic.len);
    }
    if (c->aliases[alias] == NULL)
        return R_PROTOCOL_ERROR;
    p->topic = (struct view){ (const uint8_t *)c->aliases[alias], strlen(c->aliases[alias]) };
    return R_OK;
}

static bool unreleased(const struct client *c, uint16_t id)
{
    return (c->unreleased[id / 8] >> id % 8 & 1) != 0;
}

static void flip_unreleased(struct client *c, uint16_t id)
{
    c->unreleased[id / 8] ^= (uint8_t)(1u << id % 8);
}

static enum reason on_publish(struct client *c, const struct frame *f)
{
    struct publish p;
    enum reason r = publish_decode(f->head, f->body, c->version, &p);
    bool again;

    if (r == R_OK)
        r = resolve_alias(c, &p);
    if (r != R_OK || c->stopped)
        return r;
    trace_publish(c, "<-", &p);
    again = p.qos == 2 && unreleased(c, p.packet_id);
    if (p.qos == 2 && !again) {
        flip_unreleased(c, p.packet_id);
        c->unreleased_count++;
    }
    if (!again && c->events->message != NULL && c->events->message(c->events->arg, &p) != 0)
        c->stopped = true;
    if (p.qos > 0)
        send_ack(c, p.qos == 1 ? PKT_PUBACK : PKT_PUBREC, p.packet_id, R_OK);
    return R_OK;
}

static void finished(struct client *c, const struct ack *a)
{
    c->waits[a->packet_id] = ID_FREE;
    c->unfinished--;
    if (c->events->published != NULL)
        c->events->published(c->events->arg, a->packet_id, a->reason, props_bytes(&a->props, PROP_REASON_STRING));
}

/* PUBREL and the three acknowledgements of what we published. */
static enum reason on_ack(struct client *c, const struct frame *f)
{
    unsigned type = frame_type(f->head);
    struct ack a;
    enum reason r = ack_decode(f->head, f->body, c->version, &a);

    if (r != R_OK)
        return r;
    trace(c, "<-", type, a.packet_id, c->version == MQTT_50 ? (int)a.reason : -1);
    if (type == PKT_PUBREL) {
        if (unreleased(c, a.packet_id)) {
            flip_unreleased(c, a.packet_id);
            c->unreleased_count--;
        }
        send_ack(c, PKT_PUBCOMP, a.packet_id, R_OK);
        return R_OK;
    }
    if (c->waits[a.packet_id] != type) {
        /* A PUBREC of an earlier connection: the server must be let go of the id [MQTT-4.3.3-1]. */
        if (type == PKT_PUBREC && a.reason < 0x80)
            send_ack(c, PKT_PUBREL, a.packet_id, c->version == MQTT_50 ? R_PACKET_ID_NOT_FOUND : R_OK);
        return R_OK;
    }
    if (type == PKT_PUBREC && a.reason < 0x80) {
        c->waits[a.packet_id] = PKT_PUBCOMP;
        send_ack(c, PKT_PUBREL, a.packet_id, R_OK);
    } else {
        finished(c, &a);
    }
    return R_OK;
}

static enum reason on_suback(struct client *c, const struct frame *f)
{
    unsigned type = frame_type(f->head);
    struct suback s;
    enum reason r = suback_decode(f->head, f->body, c->version, &s);

    if (r != R_OK)
        return r;
    trace(c, "<-", type, s.packet_id, -1);
    if (c->waits[s.packet_id] != type)
        return R_PROTOCOL_ERROR;
    c->waits[s.packet_id] = ID_FREE;
    if (c->events->subscribed != NULL)
        c->events->subscribed(c->events->arg, (enum packet)type, &s);
    return R_OK;
}

/* "text: the server's own words", the latter only where there are some. */
static void server_words(char *why, const char *what, enum reason reason, const struct props *props)
{
    struct view words = props_bytes(props, PROP_REASON_STRING);

    snprintf(why, CLIENT_WHY_MAX, "%s: %s%s%s", what, reason_text(reason), words.len > 0 ? ": " : "",
             words.len > 0 ? log_q(words.p, words.len) : "");
}

static enum reason on_disconnect(struct client *c, const struct frame *f)
{
    struct disconnect d;
    enum reason r = disconnect_decode(f->head, f->body, c->version, false, &d);
    char why[CLIENT_WHY_MAX];

    if (r != R_OK)
        return r;
    trace(c, "<-", PKT_DISCONNECT, 0, (int)d.reason);
    server_words(why, "the server ended the connection", d.reason, &d.props);
    over(c, why);
    return R_OK;
}

static enum reason on_connack(struct client *c, const struct frame *f)
{
    enum reason r = connack_decode(f->head, f->body, c->version, &c->connack);
    const struct props *p = &c->connack.props;

    if (r != R_OK)
        return r;
    trace(c, "<-", PKT_CONNACK, 0, (int)c->connack.reason);
    c->connacked = true;
    if (c->connack.reason != R_OK) {
        server_words(c->why, "the server refused the connection", c->connack.reason, p);
        c->over = true;
        return R_OK;
    }
    if (props_num(p, PROP_RECEIVE_MAXIMUM, 65535) < c->window)
        c->window = p->val[PROP_RECEIVE_MAXIMUM].num;
    c->max_packet = props_num(p, PROP_MAXIMUM_PACKET, PACKET_MAX);
    c->max_qos = (uint8_t)props_num(p, PROP_MAXIMUM_QOS, 2);
    c->retain_available = props_num(p, PROP_RETAIN_AVAILABLE, 1) != 0;
    if (props_has(p, PROP_SERVER_KEEP_ALIVE))
        c->keepalive_ms = p->val[PROP_SERVER_KEEP_ALIVE].num * UINT64_C(1000);
    return R_OK;
}

static enum reason on_packet(struct client *c, const struct frame *f)
{
    unsigned type = frame_type(f->head);

    if (!c->connacked && type != PKT_CONNACK)
        return R_PROTOCOL_ERROR;
    switch (type) {
    case PKT_CONNACK: return c->connacked ? R_PROTOCOL_ERROR : on_connack(c, f);
    case PKT_PUBLISH: return on_publish(c, f);
    case PKT_PUBACK:
    case PKT_PUBREC:
    case PKT_PUBREL:
    case PKT_PUBCOMP: return on_ack(c, f);
    case PKT_SUBACK:
    case PKT_UNSUBACK: return on_suback(c, f);
    case PKT_PINGRESP:
        trace(c, "<-", type, 0, -1);
        c->ping_ms = 0;
        return ping_decode(f->head, f->body);
    case PKT_DISCONNECT: return c->version == MQTT_50 ? on_disconnect(c, f) : R_PROTOCOL_ERROR;
    default: return R_PROTOCOL_ERROR;
    }
}

/* The server broke a rule: 5.0 lets us say so before we go [MQTT5-4.13.1-1]. */
static void broken(struct client *c, enum reason reason, unsigned type)
{
    char why[CLIENT_WHY_MAX];

    snprintf(why, sizeof why, "the server sent a wrong %s: %s", packet_name(type), reason_text(reason));
    if (c->version == MQTT_50 && c->connacked) {
        send_disconnect(c, reason, (struct view){ NULL, 0 });
        flush(c);
    }
    over(c, why);
}

static void handle_input(struct client *c)
{
    while (!c->over) {
        struct view in = { c->in.p + c->in.start, c->in.len };
        struct frame f = { 0 };
        enum frame_result got = c->in.len > 0 ? frame_next(&in, PACKET_MAX, &f) : FRAME_MORE;
        enum reason r;

        if (got == FRAME_MORE)
            return;
        if (got != FRAME_OK) {
            broken(c, R_MALFORMED, frame_type(f.head));
            return;
        }
        c->in.start += c->in.len - in.len;
        c->in.len = in.len;
        r = on_packet(c, &f);
        if (r != R_OK)
            broken(c, r, frame_type(f.head));
    }
}

static void read_some(struct client *c)
{
    uint8_t *p = room(&c->in, READ_STEP);
    ssize_t n = net_read(&c->net, p, READ_STEP);

    if (n > 0) {
        c->in.len += (size_t)n;
        handle_input(c);
    } else if (n == 0) {
        over(c, c->connacked ? "the server closed the connection" : "the server closed the connection without an answer");
    } else if (errno != EAGAIN && errno != EINTR) {
        over(c, net_trouble(&c->net) != NULL ? net_trouble(&c->net) : strerror(errno));
    }
}

/* ---- waiting ---- */

/* Sends a PINGREQ when it is time to; when something must happen next, in ms from now, -1: never. */
static int keep_alive(struct client *c, uint64_t now)
{
    uint64_t due;

    if (c->keepalive_ms == 0 || !c->connacked)
        return -1;
    if (c->ping_ms != 0 && now - c->ping_ms >= c->keepalive_ms) {
        over(c, "the server does not answer any more");
        return 0;
    }
    /* A little early: the server's patience is one and a half times the interval, the network's is not known. */
    due = c->last_sent_ms + c->keepalive_ms * 9 / 10;
    if (c->ping_ms == 0 && now >= due) {
        struct writer w = stage(c, 2);
        ping_encode(PKT_PINGREQ, &w);
        trace(c, "->", PKT_PINGREQ, 0, -1);
        c->ping_ms = now;
        flush(c);
    }
    due = c->ping_ms != 0 ? c->ping_ms + c->keepalive_ms : due;
    return due - now > 1000000 ? 1000000 : (int)(due - now);
}

int client_poll(struct client *c, int other_fd, int timeout_ms)
{
    struct pollfd fds[2] = { { .fd = c->net.fd, .events = POLLIN }, { .fd = other_fd, .events = POLLIN } };
    uint64_t start = clock_mono_ms();
    bool staged = c->out.len > 0;
    int got = 0;

    errno = 0;      /* so that EINTR afterwards speaks of this call */
    flush(c);
    if (staged && c->out.len == 0) {
        got = CLIENT_SENT;
        timeout_ms = 0;
    }
    while (!c->over) {
        uint64_t now = clock_mono_ms();
        int wait = keep_alive(c, now), n;
        int left = timeout_ms < 0 ? -1 : now - start >= (uint64_t)timeout_ms ? 0 : timeout_ms - (int)(now - start);

        if (c->over)
            break;
        if (left >= 0 && (wait < 0 || left < wait))
            wait = left;
        fds[0].events = net_events(&c->net, c->out.len > 0);
        n = poll(fds, other_fd >= 0 ? 2 : 1, net_pending(&c->net) ? 0 : wait);
        if (n < 0)
            return 0;
        if (net_pending(&c->net))
            fds[0].revents |= POLLIN;
        if (fds[0].revents & POLLOUT) {
            flush(c);
            got |= c->out.len == 0 ? CLIENT_SENT : 0;
        }
        if (fds[0].revents & ~POLLOUT) {
            read_some(c);
            got |= CLIENT_READ;
        }
        if (other_fd >= 0 && fds[1].revents != 0)
            got |= CLIENT_OTHER;
        if (got != 0 || left == 0)
            break;
    }
    return c->over ? -1 : got;
}

/* ---- begin and end ---- */

static void learn_options(struct client *c, const struct client_options *o)
{
    uint16_t aliases = (uint16_t)props_num(&o->connect.props, PROP_TOPIC_ALIAS_MAX, 0);

    c->version = o->connect.version;
    c->trace = o->trace;
    c->window = o->window;
    c->keepalive_ms = o->connect.keepalive_s * UINT64_C(1000);
    c->max_packet = PACKET_MAX;
    c->max_qos = 2;
    c->retain_available = true;
    if (aliases > 0)
        c->aliases = calloc(aliases + 1u, sizeof *c->aliases);
    if (c->aliases != NULL)
        c->alias_count = aliases;
}

struct client *client_open(const struct client_options *o, const struct client_events *events,
                           char why[CLIENT_WHY_MAX], int *code)
{
    struct client *c = calloc(1, sizeof *c);
    uint64_t deadline = clock_mono_ms() + o->timeout_ms, now;
    struct writer w;

    *code = 1;
    snprintf(why, CLIENT_WHY_MAX, "no memory");
    if (c == NULL)
        return NULL;
    c->events = events;
    learn_options(c, o);
    c->net.fd = o->unix_path != NULL ? net_connect_unix(o->unix_path, why, CLIENT_WHY_MAX)
                                     : net_connect(o->host, o->port, deadline, why, CLIENT_WHY_MAX);
    if (c->net.fd < 0)
        goto fail;
    if (o->tls != NULL && !net_start_tls(&c->net, o->tls, o->host, deadline, why, CLIENT_WHY_MAX))
        goto fail;
    w = stage(c, connect_size(&o->connect));
    connect_encode(&o->connect, &w);
    trace(c, "->", PKT_CONNECT, 0, -1);
    while (!c->over && !c->connacked) {
        now = clock_mono_ms();
        if (now >= deadline)
            over(c, "the server does not answer");
        else if (client_poll(c, -1, (int)(deadline - now)) == 0 && errno == EINTR)
            over(c, "interrupted");
    }
    if (!c->over)
        return c;
    memcpy(why, c->why, CLIENT_WHY_MAX);
    if (c->connacked && c->connack.reason != R_OK) {
        int v3 = reason_connack_v3(c->connack.reason);
        *code = c->version == MQTT_50 || v3 < 0 ? (int)c->connack.reason : v3;
    }
fail:
    client_free(c);
    return NULL;
}

void client_free(struct client *c)
{
    if (c == NULL)
        return;
    net_close(&c->net);
    for (unsigned i = 1; i <= c->alias_count; i++)
        free(c->aliases[i]);
    free(c->aliases);
    free(c->in.p);
    free(c->out.p);
    free(c);
}

void client_close(struct client *c, enum reason reason, struct view props, unsigned timeout_ms)
{
    uint64_t deadline = clock_mono_ms() + timeout_ms, now;

    send_disconnect(c, reason, props);
    c->stopped = true;
    while ((now = clock_mono_ms()) < deadline && client_staged(c) > 0 && client_poll(c, -1, (int)(deadline - now)) >= 0)
        ;
    /* The server may still send; reading it away until it closes keeps our last packets from being reset with the
     * unread bytes. */
    net_end(&c->net);
    while ((now = clock_mono_ms()) < deadline && client_poll(c, -1, (int)(deadline - now)) >= 0)
        ;
    client_free(c);
}
