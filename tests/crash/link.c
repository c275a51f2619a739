/* A client's connection: bytes in and out, and the model of its session.
 *
 * What the broker has after CONNECT(clean, lasting) goes from one of GONE, PERHAPS, KEPT to the next:
 *   sent, lasting         KEPT and not clean stays KEPT, all else becomes PERHAPS
 *   sent, not lasting     GONE stays GONE, all else becomes PERHAPS
 *   CONNACK, lasting      present: KEPT; not present: PERHAPS, for nothing in it has been promised yet
 *   CONNACK, not lasting  GONE: dropping the old one was promised, and the new one goes with the connection
 *   SUBACK, PUBREC        KEPT
 * CONNACK must say present when it was KEPT (and not clean), must not when it was GONE or clean.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/crash/link.h"

#include "tests/crash/dice.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void link_init(struct link *l, enum version version, void (*packet)(struct link *l, struct frame f), const char *id,
               ...)
{
    va_list ap;

    *l = (struct link){ .version = version, .fd = -1, .packet = packet };
    va_start(ap, id);
    vsnprintf(l->id, sizeof l->id, id, ap);
    va_end(ap);
}

void link_fini(struct link *l)
{
    link_down(l);
    free(l->in.p);
    free(l->out.p);
}

static uint8_t *room(struct buf *b, size_t n)
{
    if (b->len + n > b->cap) {
        b->cap = (b->len + n) * 2;
        b->p = realloc(b->p, b->cap);
        if (b->p == NULL)
            abort();
    }
    return b->p + b->len;
}

struct writer link_stage(struct link *l, size_t size)
{
    struct writer w = wr_make(room(&l->out, size), size);

    l->out.len += size;
    return w;
}

static void drop_front(struct buf *b, size_t n)
{
    memmove(b->p, b->p + n, b->len - n);
    b->len -= n;
}

static int open_socket(uint16_t port)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0)
        return -1;
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0) {
        close(fd);
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void expect_session(struct link *l, bool clean)
{
    l->expected = clean ? SESSION_GONE : l->session;
    if (l->lasting ? clean || l->session != SESSION_KEPT : l->session != SESSION_GONE)
        l->session = SESSION_PERHAPS;
}

void link_hello(struct link *l, uint16_t port, struct connect *c, bool lasting)
{
    struct writer w;

    l->fd = open_socket(port);
    if (l->fd < 0) {
        l->next_ms = now_ms() + 5;
        return;
    }
    l->in.len = l->out.len = 0;
    l->up = false;
    l->lasting = lasting;
    l->server_max = 65535;
    c->version = l->version;
    c->client_id = (struct view){ (const uint8_t *)l->id, strlen(l->id) };
    w = link_stage(l, connect_size(c));
    connect_encode(c, &w);
    expect_session(l, c->clean_start);
    l->since = model_tick();
    link_write(l);
}

void link_connect(struct link *l, uint16_t port, bool clean, bool lasting)
{
    uint8_t raw[16];
    struct writer props = wr_make(raw, sizeof raw);
    struct connect c = { .clean_start = clean, .keepalive_s = 60 };

    if (l->version == MQTT_50 && lasting)
        props_write_num(&props, PROP_SESSION_EXPIRY, UINT32_MAX);
    if (l->version == MQTT_50 && l->receive_max > 0)
        props_write_num(&props, PROP_RECEIVE_MAXIMUM, l->receive_max);
    c.props.raw = (struct view){ raw, (size_t)(props.p - raw) };
    link_hello(l, port, &c, lasting);
}

static void on_connack(struct link *l, struct frame f)
{
    struct connack a;
    enum reason r = connack_decode(f.head, f.body, l->version, &a);

    if (r != R_OK || a.reason != R_OK) {
        model_fail("%s: CONNACK: %s", l->id, reason_text(r != R_OK ? r : a.reason));
        link_down(l);
        return;
    }
    l->up = true;
    l->present = l->version == MQTT_31 ? l->expected == SESSION_KEPT : a.session_present;
    l->server_max = (uint16_t)props_num(&a.props, PROP_RECEIVE_MAXIMUM, 65535);
    l->server_aliases = (uint16_t)props_num(&a.props, PROP_TOPIC_ALIAS_MAX, 0);
    if (l->present && l->expected == SESSION_GONE)
        model_fail("%s: CONNACK says session present, but the session had ended", l->id);
    if (!l->present && l->expected == SESSION_KEPT)
        model_fail("%s: LOST: CONNACK says there is no session, but what it kept was acknowledged", l->id);
    l->session = !l->lasting ? SESSION_GONE : l->present ? SESSION_KEPT : SESSION_PERHAPS;
}

void link_promised(struct link *l)
{
    if (l->lasting)
        l->session = SESSION_KEPT;
}

void link_write(struct link *l)
{
    while (l->fd >= 0 && l->out.len > 0) {
        ssize_t n = send(l->fd, l->out.p, l->out.len, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            /* What the broker has sent is still there to be read, and counts. */
            l->out.len = 0;
            return;
        }
        drop_front(&l->out, (size_t)n);
    }
}

static void take_packets(struct link *l)
{
    struct view in = { l->in.p, l->in.len };
    struct frame f;
    enum frame_result r;

    while (l->fd >= 0 && (r = frame_next(&in, UINT32_MAX, &f)) != FRAME_MORE) {
        if (r != FRAME_OK) {
            model_fail("%s: the broker sent what is no packet", l->id);
            link_down(l);
            return;
        }
        if (!l->up && frame_type(f.head) != PKT_CONNACK)
            model_fail("%s: the first packet was %s", l->id, packet_name(frame_type(f.head)));
        if (frame_type(f.head) == PKT_CONNACK)
            on_connack(l, f);
        if (l->fd >= 0)
            l->packet(l, f);
    }
    if (l->fd >= 0)
        drop_front(&l->in, l->in.len - in.len);
}

void link_read(struct link *l)
{
    size_t most = l->sip > 0 ? l->sip : 65536;

    while (l->fd >= 0) {
        ssize_t n = recv(l->fd, room(&l->in, most), most, 0);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            link_down(l);
            return;
        }
        l->in.len += (size_t)n;
        take_packets(l);
        if (l->sip > 0)
            return;
    }
}

void link_down(struct link *l)
{
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
    l->up = false;
    l->next_ms = now_ms() + rnd(40);
}

void link_leave(struct link *l, bool disconnect)
{
    struct view none = { NULL, 0 };

    if (disconnect && l->up) {
        struct writer w = link_stage(l, disconnect_size(l->version, R_OK, none));
        disconnect_encode(l->version, R_OK, none, &w);
        link_write(l);
    }
    link_down(l);
}

void link_cut(struct link *l, size_t n, bool reset)
{
    struct linger now = { .l_onoff = 1 };

    if (l->fd < 0)
        return;
    if (n < l->out.len)
        l->out.len = n;
    link_write(l);
    if (l->fd >= 0 && reset)
        setsockopt(l->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    link_down(l);
}

void link_ack(struct link *l, enum packet type, uint16_t pid)
{
    struct view none = { NULL, 0 };
    struct writer w = link_stage(l, ack_size(l->version, R_OK, none));

    ack_encode(type, pid, l->version, R_OK, none, &w);
}

void link_hold(struct link *l, struct held *h, enum packet type, uint16_t pid)
{
    if (h->n == HELD_MAX)
        link_release(l, h, HELD_MAX);
    h->v[h->n].type = (uint8_t)type;
    h->v[h->n++].pid = pid;
}

void link_release(struct link *l, struct held *h, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        link_ack(l, (enum packet)h->v[i].type, h->v[i].pid);
    h->n -= n;
    memmove(h->v, h->v + n, h->n * sizeof h->v[0]);
}
