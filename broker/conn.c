/* Connections: from accept to reap, reading, and what leaves when. Staging is in conn_out.c.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/conn.h"

#include "broker/alias.h"
#include "broker/broker.h"
#include "broker/handle.h"
#include "broker/listen.h"
#include "broker/login.h"
#include "broker/shed.h"
#include "broker/will.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* A cut-off packet gets this much room at first. */
#define REST_FIRST 512
/* And at most this much while memory is short. */
#define REST_WHEN_SHORT 16384

static const struct {
    enum log_level level;
    int code;
    const char *text;
} reasons[CLOSE_COUNT] = {
#define X(name, level, code, text) { level, code, text },
    CLOSE_REASONS(X)
#undef X
};

static struct conn *of_source(struct loop_source *s)
{
    return LIST_ENTRY(s, struct conn, source);
}

const char *conn_name(const struct conn *c)
{
    return c->session != NULL ? log_q(c->session->ident->data, c->session->ident->id_len) : "\"\"";
}

/* ---- rare parts ---- */

const struct rare rare_none = { .login = NULL };

static struct rare *no_rare(void)
{
    return (struct rare *)(uintptr_t)&rare_none;
}

struct rare *conn_rare(struct conn *c)
{
    struct rare *r = c->rare;

    if (r == &rare_none && (r = mem_zero(MEM_CONN, sizeof *r)) != NULL)
        c->rare = r;
    return r;
}

static void rare_free(struct conn *c)
{
    if (c->rare == &rare_none)
        return;
    login_free(c);
    alias_in_free(&c->rare->aliases_in);
    alias_out_free(&c->rare->aliases_out);
    free(c->rare->trouble);
    mem_free(MEM_CONN, c->rare);
    c->rare = no_rare();
}

/* ---- reading ---- */

/* Whole packets in `in`; what is left of it is the beginning of one. */
static void cut(struct broker *b, struct conn *c, struct view *in)
{
    struct frame f;

    while (!conn_closing(c) && !login_computing(c)) {
        switch (frame_next(in, b->cfg->max_packet_bytes, &f)) {
        case FRAME_OK:
            handle_packet(b, c, &f);
            break;
        case FRAME_MORE:
            return;
        case FRAME_MALFORMED:
            conn_close(b, c, c->state == CONN_UP ? CLOSE_MALFORMED : CLOSE_NOT_MQTT);
            return;
        case FRAME_TOO_LARGE:
            conn_close(b, c, CLOSE_TOO_LARGE);
            return;
        }
    }
}

/* Room for `least` bytes of a packet of `need`. */
static bool rest_grow(struct broker *b, struct conn *c, size_t need, size_t least)
{
    struct rest *r = c->rest;
    size_t cap = r != NULL ? (size_t)r->cap * 2 : REST_FIRST;

    if (cap < least)
        cap = least;
    if (cap > need)
        cap = need;
    if (cap > REST_WHEN_SHORT && shed(b, SHED_MESSAGES)) {
        conn_close(b, c, CLOSE_QUOTA);
        return false;
    }
    r = mem_grow(MEM_BUFFER, r, sizeof *r + cap);
    if (r == NULL) {
        conn_close(b, c, CLOSE_NO_MEMORY);
        return false;
    }
    if (c->rest == NULL)
        r->len = 0;
    r->cap = (uint32_t)cap;
    r->need = (uint32_t)need;
    c->rest = r;
    return true;
}

static void rest_free(struct conn *c)
{
    mem_free(MEM_BUFFER, c->rest);
    c->rest = NULL;
}

/* Keeps the beginning of a packet until the next read. */
static void keep(struct broker *b, struct conn *c, struct view in)
{
    struct frame f;
    struct view probe = in;
    bool soon;

    if (in.len == 0 || conn_closing(c))
        return;
    frame_next(&probe, b->cfg->max_packet_bytes, &f);
    soon = in.len >= f.need / 4;        /* a quarter of it is there: the rest will come */
    if (!rest_grow(b, c, f.need > 0 ? f.need : in.len, soon ? f.need : in.len))
        return;
    memcpy(c->rest->bytes, in.p, in.len);
    c->rest->len = (uint32_t)in.len;
    c->rest->need = (uint32_t)f.need;
}

/* Adds to the cut-off packet, handles it when it is whole. What is left of `in` comes after it. */
static void complete_rest(struct broker *b, struct conn *c, struct view *in)
{
    struct rest *r = c->rest;

    while (in->len > 0 && r->len < r->need) {
        size_t n;

        if (r->len == r->cap && !rest_grow(b, c, r->need, r->len + in->len))
            return;
        r = c->rest;
        n = r->cap - r->len;
        n = n < in->len ? n : in->len;
        memcpy(r->bytes + r->len, in->p, n);
        r->len += (uint32_t)n;
        in->p += n;
        in->len -= n;
    }
    if (r->len == r->need) {
        struct view whole = { r->bytes, r->len };

        cut(b, c, &whole);
        rest_free(c);
    }
}

/* What begins with this byte, in words; NULL: something. */
static const char *speaks(uint8_t first)
{
    if (first == 0x16)
        return "a TLS client, on a port without TLS";
    return first == 'G' || first == 'P' || first == 'H' || first == 'O' ? "an HTTP client" : NULL;
}

void conn_received(struct broker *b, struct conn *c, struct view in)
{
    /* Whoever speaks HTTP or TLS here should not have to wait for the connect timeout. */
    if (c->state == CONN_NEW && c->rest == NULL && in.len > 0 && in.p[0] != PKT_CONNECT << 4) {
        conn_close_text(b, c, CLOSE_NOT_MQTT, speaks(in.p[0]));
        return;
    }
    if (c->rest != NULL)
        complete_rest(b, c, &in);
    if (c->rest == NULL && !conn_closing(c)) {
        cut(b, c, &in);
        if (!login_computing(c))
            keep(b, c, in);
        else if (!login_keep_later(c, in))
            conn_close(b, c, CLOSE_NO_MEMORY);
    }
}

enum close_reason conn_failure(int error)
{
    switch (error) {
    case EPROTO: return CLOSE_TLS;
    case EBADMSG: return CLOSE_WEBSOCKET;
    case ENOMEM: return CLOSE_NO_MEMORY;
    default: return CLOSE_PEER_RESET;
    }
}

static void read_failed(struct broker *b, struct conn *c)
{
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
        return;
    conn_close(b, c, conn_failure(errno));
}

/* One read a turn. A long cut-off packet is read to its place, the rest of the read goes to the shared buffer. */
static void conn_read(struct broker *b, struct conn *c)
{
    struct iovec iov[2];
    struct rest *r = c->rest;
    size_t direct = r != NULL && r->need > 0 ? r->cap - r->len : 0, head = r != NULL && r->need == 0 ? r->len : 0;
    int n = 0;
    ssize_t got;

    if (direct > 0)
        iov[n++] = (struct iovec){ r->bytes + r->len, direct };
    if (head > 0)
        memcpy(b->read_buffer, r->bytes, head);
    iov[n++] = (struct iovec){ b->read_buffer + head, READ_BUFFER - head };
    got = c->transport->readv(c, iov, n);
    if (got == 0)
        conn_close(b, c, CLOSE_PEER_EOF);
    if (got < 0)
        read_failed(b, c);
    if (got <= 0)
        return;
    METRIC(b, BYTES_RECEIVED) += (uint64_t)got;
    if (head > 0)
        rest_free(c);
    if (direct > 0 && (size_t)got <= direct) {
        r->len += (uint32_t)got;
        conn_received(b, c, (struct view){ b->read_buffer, 0 });
    } else {
        if (direct > 0)
            r->len += (uint32_t)direct;
        conn_received(b, c, (struct view){ b->read_buffer, head + (size_t)got - direct });
    }
    if (c->transport->pending != NULL && !conn_closing(c) && c->transport->pending(c))
        conn_due(b, c, DUE_READ);
}

static void ready(struct loop_source *s, unsigned events, void *arg)
{
    struct broker *b = arg;
    struct conn *c = of_source(s);

    if (conn_closing(c))
        return;
    if (events & LOOP_WRITE)
        conn_dirty(b, c);
    if (events & (LOOP_READ | LOOP_HANGUP))
        conn_read(b, c);
}

void conn_pause(struct broker *b, struct conn *c, bool pause)
{
    c->paused = pause;
    conn_dirty(b, c);               /* conn_write() tells the loop what to wait for */
}

/* ---- timers ---- */

/* One and a half times the keep alive without a packet [MQTT-3.1.2-24], [MQTT5-3.1.2-22]. Per packet only the time is
 * noted; the timer moves itself on when it fires. */
static void timed_out(struct timer *t, void *arg)
{
    struct broker *b = arg;
    struct conn *c = LIST_ENTRY(t, struct conn, timer);
    uint32_t allowed_ms = c->keepalive_s * 1500u, silent_ms = (uint32_t)b->now_ms - c->last_rx_ms;

    if (c->session != NULL)
        flow_rest(c->session);      /* as good a moment as any to see that it is quiet */
    if (c->state != CONN_UP)
        conn_close(b, c, CLOSE_CONNECT_TIMEOUT);
    else if (c->paused)             /* we do not listen: its silence says nothing */
        timer_arm(&b->wheel, t, b->now_ms + allowed_ms);
    else if (silent_ms < allowed_ms)
        timer_arm(&b->wheel, t, b->now_ms + allowed_ms - silent_ms);
    else
        conn_close(b, c, CLOSE_KEEP_ALIVE);
}

/* ---- begin and end ---- */

struct conn *conn_new(struct broker *b, struct listener *l, int fd, const char *peer)
{
    struct conn *c = mem_zero(MEM_CONN, sizeof *c + strlen(peer) + 1);
    int on = 1;

    if (c == NULL) {
        close(fd);
        return NULL;
    }
    c->source = (struct loop_source){ .fd = -1, .ready = ready };
    c->transport = &transport_socket;
    c->listener = l;
    list_init(&c->turn);
    timer_init(&c->timer, timed_out);
    c->max_packet = UINT32_MAX;
    c->receive_max = UINT16_MAX;
    c->last_rx_ms = (uint32_t)b->now_ms;
    c->rare = no_rare();
    memcpy(c->peer, peer, strlen(peer) + 1);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);      /* fails on Unix sockets, harmless */
    if (loop_add(&b->loop, &c->source, fd, LOOP_READ) < 0) {
        log_error("no room for a connection peer=%s error=%s", peer, log_qs(strerror(errno)));
        mem_free(MEM_CONN, c);
        close(fd);
        return NULL;
    }
    list_push(&l->conns, &c->all);
    l->conn_count++;
    b->conn_count++;
    if (b->conn_count > b->conn_peak)
        b->conn_peak = b->conn_count;
    METRIC(b, SOCKETS)++;
    if (b->cfg->connect_timeout_ms > 0)
        timer_arm(&b->wheel, &c->timer, b->now_ms + b->cfg->connect_timeout_ms);
    return c;
}

static void say_goodbye(struct broker *b, struct conn *c, int code, const char *text)
{
    uint8_t raw[256];
    struct writer w = wr_make(raw, sizeof raw);
    struct view why = { NULL, 0 };
    uint8_t *at;
    size_t n;

    if (text != NULL && c->problem_info && strlen(text) < sizeof raw - 3) {
        props_write_bytes(&w, PROP_REASON_STRING, (struct view){ (const uint8_t *)text, strlen(text) });
        why = (struct view){ raw, (size_t)(w.p - raw) };
    }
    if (disconnect_size(MQTT_50, (enum reason)code, why) > c->max_packet)     /* [MQTT5-3.14.2-3] */
        why.len = 0;
    n = disconnect_size(MQTT_50, (enum reason)code, why);
    at = n <= c->max_packet ? outq_room(&c->out, n) : NULL;
    if (at == NULL)
        return;
    w = wr_make(at, n);
    disconnect_encode(MQTT_50, (enum reason)code, why, &w);
    METRIC(b, MESSAGES_SENT)++;
}

void conn_trouble(struct conn *c, const char *text)
{
    struct rare *r = conn_rare(c);

    if (r != NULL && r->trouble == NULL)
        r->trouble = strdup(text);
}

void conn_close_text(struct broker *b, struct conn *c, enum close_reason why, const char *text)
{
    if (conn_closing(c))
        return;
    c->close_reason = (uint8_t)why;
    if (text != NULL)
        conn_trouble(c, text);
    if (c->state == CONN_UP && c->version == MQTT_50 && reasons[why].code >= 0)
        say_goodbye(b, c, reasons[why].code, text != NULL ? text : reasons[why].text);
    conn_due(b, c, DUE_FLUSH | DUE_END);
}

void conn_close(struct broker *b, struct conn *c, enum close_reason why)
{
    conn_close_text(b, c, why, NULL);
}

static void log_down(struct broker *b, const struct conn *c)
{
    enum log_level level = reasons[c->close_reason].level;
    const char *id = conn_name(c), *trouble = c->rare->trouble;

    if (level == LEVEL_WARNING && !log_allow(&b->limit_peer, 20, b->now_ms))
        return;
    if (level != LEVEL_WARNING && !b->cfg->log_connections)
        return;
    if (c->state == CONN_UP && c->close_reason == CLOSE_DISCONNECT && c->disconnect_reason != 0)
        log_at(level, "client down id=%s peer=%s reason=\"disconnect: %s\"", id, c->peer,
               reason_text((enum reason)c->disconnect_reason));
    else
        log_at(level, "%s id=%s peer=%s reason=\"%s\"%s%s", c->state == CONN_UP ? "client down" : "connection closed", id,
               c->peer, reasons[c->close_reason].text, trouble != NULL ? " detail=" : "",
               trouble != NULL ? log_qs(trouble) : "");
}

void conn_detach(struct broker *b, struct conn *c)
{
    struct session *s = c->session;
    bool ends;

    if (s == NULL)
        return;
    log_down(b, c);
    ends = !s->durable || s->expiry_s == 0;
    if (c->clean_end)
        will_drop(b, s);
    else
        will_trigger(b, s, ends);
    if (ends) {
        session_free(b, s);
        return;
    }
    walk_finish(b, c);
    session_detach(b, s);
}

static void drain(struct broker *b, int fd)
{
    /* Unread bytes would turn the close into a reset, which can overtake what we said last. */
    for (int i = 0; i < 4 && recv(fd, b->read_buffer, READ_BUFFER, MSG_DONTWAIT) > 0; i++)
        ;
}

static void conn_free(struct broker *b, struct conn *c)
{
    int fd = c->source.fd;

    if (c->session == NULL && c->state != CONN_UP && c->close_reason != CLOSE_REFUSED)
        log_down(b, c);
    conn_detach(b, c);
    list_unlink(&c->turn);
    list_unlink(&c->all);
    timer_disarm(&c->timer);
    conn_drop_output(c);
    walk_finish(b, c);
    rest_free(c);
    c->transport->close(c);
    drain(b, fd);
    loop_del(&b->loop, &c->source);
    close(fd);
    rare_free(c);
    c->listener->conn_count--;
    b->conn_count--;
    listen_resume(b);
    mem_free(MEM_CONN, c);
    broker_left(b);
}

/* ---- the phases of a turn ---- */

void conn_due(struct broker *b, struct conn *c, enum due what)
{
    if (c->due == 0)
        list_push(&b->turn, &c->turn);
    c->due |= (uint8_t)what;
    b->due |= (uint8_t)what;
}

static void phase(struct broker *b, enum due what, void (*work)(struct broker *b, struct conn *c))
{
    struct link todo;

    if ((b->due & what) == 0)
        return;
    b->due &= (uint8_t)~(unsigned)what;
    list_init(&todo);
    list_splice(&todo, &b->turn);
    while (!list_empty(&todo)) {
        struct conn *c = LIST_ENTRY(todo.next, struct conn, turn);
        bool now = (c->due & what) != 0;

        list_unlink(&c->turn);
        c->due &= (uint8_t)~(unsigned)what;
        if (c->due != 0)
            list_push(&b->turn, &c->turn);
        if (now)
            work(b, c);
    }
}

static void read_again(struct broker *b, struct conn *c)
{
    if (!conn_closing(c))
        conn_read(b, c);
}

void conn_read_again(struct broker *b)
{
    phase(b, DUE_READ, read_again);
}

static void pump(struct broker *b, struct conn *c)
{
    c->stalled = false;
    if (c->session != NULL)
        session_pump(b, c->session);
}

void conn_pump(struct broker *b)
{
    phase(b, DUE_PUMP, pump);
}

void conn_flush(struct broker *b)
{
    phase(b, DUE_FLUSH, conn_write);
}

void conn_reap(struct broker *b)
{
    struct link *l = b->turn.next;

    if ((b->due & DUE_END) == 0)
        return;
    while (l != &b->turn) {
        struct link *before = l->prev;
        struct conn *c = LIST_ENTRY(l, struct conn, turn);

        if (conn_closing(c)) {
            conn_free(b, c);        /* others may become due at the end of the list, none goes from it */
            l = before;
        }
        l = l->next;
    }
    b->due &= (uint8_t)~DUE_END;
}
