/* MQTT clients by the thousand in one thread: see client.h.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench/load.h"
#include "bench/watch.h"

enum {
    CONNACK = 2, PUBLISH = 3, PUBACK = 4, PUBREC = 5, PUBREL = 6, PUBCOMP = 7, SUBACK = 9, PINGRESP = 13,
    DISCONNECT = 14,
    PER_ADDRESS = 20000,        /* connections from one source address, well below the range of ephemeral ports */
};

void pool_init(struct pool *p, const char *host, uint16_t port, uint8_t version)
{
    *p = (struct pool){ .version = version };
    p->to.sin_family = AF_INET;
    p->to.sin_port = htons(port);
    if (inet_pton(AF_INET, host, &p->to.sin_addr) != 1)
        load_die("not an IPv4 address: %s", host);
    p->epoll = epoll_create1(EPOLL_CLOEXEC);
    p->in = malloc(CUT_MAX + READ_LEN);
    p->scratch = malloc(SCRATCH_LEN);
    if (p->epoll < 0 || p->in == NULL || p->scratch == NULL)
        load_die("no epoll or no memory");
}

void pool_fini(struct pool *p)
{
    close(p->epoll);
    free(p->in);
    free(p->scratch);
}

void client_init(struct client *c, const char *kind, uint32_t index)
{
    *c = (struct client){ .fd = -1, .index = index };
    snprintf(c->id, sizeof c->id, "%s-%u", kind, index);
}

static size_t put_u16(uint8_t *out, size_t v)
{
    out[0] = (uint8_t)(v >> 8);
    out[1] = (uint8_t)v;
    return 2;
}

static size_t put_string(uint8_t *out, const char *s)
{
    size_t len = strlen(s);

    put_u16(out, len);
    memcpy(out + 2, s, len);
    return len + 2;
}

static size_t put_varint(uint8_t *out, size_t v)
{
    size_t n = 0;

    do {
        out[n] = (uint8_t)(v & 0x7F);
        v >>= 7;
        if (v != 0)
            out[n] |= 0x80;
        n++;
    } while (v != 0);
    return n;
}

/* Sends head byte, remaining length and body. */
static void send_packet(struct pool *p, struct client *c, uint8_t head, const uint8_t *body, size_t len)
{
    uint8_t packet[8192];
    size_t n = 1;

    packet[0] = head;
    n += put_varint(packet + 1, len);
    memcpy(packet + n, body, len);
    client_send(p, c, packet, n + len);
}

static void send_connect(struct pool *p, struct client *c)
{
    uint8_t body[128];
    size_t n = put_string(body, "MQTT");

    body[n++] = p->version;
    body[n++] = c->durable ? 0 : 2;
    n += put_u16(body + n, 600);
    if (p->version == 5) {
        static const uint8_t for_ever[] = { 5, 0x11, 0xFF, 0xFF, 0xFF, 0xFF };
        size_t len = c->durable ? sizeof for_ever : 1;
        memcpy(body + n, c->durable ? for_ever : (const uint8_t *)"", len);
        n += len;
    }
    n += put_string(body + n, c->id);
    send_packet(p, c, 0x10, body, n);
}

static size_t subscribe_head(const struct pool *p, uint8_t *body)
{
    size_t n = put_u16(body, 1);

    if (p->version == 5)
        body[n++] = 0;
    return n;
}

static void send_subscribe(struct pool *p, struct client *c)
{
    uint8_t body[FILTER_MAX + 8];
    size_t n = subscribe_head(p, body);

    n += put_string(body + n, c->filter);
    body[n++] = c->qos;
    send_packet(p, c, 0x82, body, n);
}

void client_subscribe_many(struct pool *p, struct client *c, const char *format, uint32_t first, uint32_t n)
{
    uint8_t body[8000];
    size_t len = subscribe_head(p, body);

    for (uint32_t i = 0; i < n && len < sizeof body - FILTER_MAX - 3; i++) {
        char filter[FILTER_MAX];
        load_format(filter, sizeof filter, format, first + i);
        len += put_string(body + len, filter);
        body[len++] = c->qos;
    }
    send_packet(p, c, 0x82, body, len);
}

size_t publish_template(uint8_t *out, uint8_t version, uint8_t qos, bool retain, const char *topic, uint32_t size,
                        size_t *pid_at, size_t *stamp_at)
{
    size_t body = 2 + strlen(topic) + (qos > 0 ? 2 : 0) + (version == 5 ? 1 : 0) + size;
    size_t n = 1;

    out[0] = (uint8_t)(0x30 | qos << 1 | (retain ? 1 : 0));
    n += put_varint(out + 1, body);
    n += put_string(out + n, topic);
    *pid_at = n;
    if (qos > 0)
        n += put_u16(out + n, 0);
    if (version == 5)
        out[n++] = 0;
    *stamp_at = n;
    memset(out + n, 'x', size);
    return n + size;
}

static void listen_for(struct pool *p, struct client *c, bool want_out)
{
    struct epoll_event ev = { .events = EPOLLIN | (want_out ? (uint32_t)EPOLLOUT : 0), .data.ptr = c };

    c->want_out = want_out;
    epoll_ctl(p->epoll, EPOLL_CTL_MOD, c->fd, &ev);
}

static void hold_back(struct client *c, const uint8_t *bytes, size_t len)
{
    if (c->out_len + len > c->out_cap) {
        c->out_cap = (c->out_len + len) * 2;
        c->out = realloc(c->out, c->out_cap);
        if (c->out == NULL)
            load_die("no memory");
    }
    memcpy(c->out + c->out_len, bytes, len);
    c->out_len += len;
}

void client_send(struct pool *p, struct client *c, const uint8_t *bytes, size_t len)
{
    ssize_t n = 0;

    if (c->fd < 0)
        return;
    if (c->out_len == 0 && c->linked) {
        n = send(c->fd, bytes, len, MSG_NOSIGNAL);
        if (n < 0)
            n = 0;              /* a dead connection is noticed by reading */
    }
    if ((size_t)n == len)
        return;
    hold_back(c, bytes + n, len - (size_t)n);
    if (!c->want_out)
        listen_for(p, c, true);
}

static void send_rest(struct pool *p, struct client *c)
{
    ssize_t n = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL);

    if (n <= 0)
        return;
    c->out_len -= (size_t)n;
    memmove(c->out, c->out + n, c->out_len);
    if (c->out_len == 0)
        listen_for(p, c, false);
}

void client_open(struct pool *p, struct client *c)
{
    struct sockaddr_in from = { .sin_family = AF_INET };
    struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT, .data.ptr = c };
    int one = 1;

    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        load_die("socket: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (ntohl(p->to.sin_addr.s_addr) >> 24 == 127) {
        setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + c->index / PER_ADDRESS);
        if (bind(c->fd, (struct sockaddr *)&from, sizeof from) < 0)
            load_die("bind: %s", strerror(errno));
    }
    if (connect(c->fd, (struct sockaddr *)&p->to, sizeof p->to) < 0 && errno != EINPROGRESS)
        load_die("connect: %s", strerror(errno));
    c->state = CLIENT_CONNECTING;
    c->linked = false;
    c->want_out = true;
    c->cut_len = 0;
    c->skip = 0;
    c->out_len = 0;
    epoll_ctl(p->epoll, EPOLL_CTL_ADD, c->fd, &ev);
    send_connect(p, c);
}

void client_close(struct pool *p, struct client *c, bool polite)
{
    static const uint8_t disconnect[] = { 0xE0, 0 };

    if (c->fd < 0)
        return;
    if (polite)
        client_send(p, c, disconnect, sizeof disconnect);
    close(c->fd);
    free(c->out);
    c->out = NULL;
    c->out_len = c->out_cap = 0;
    c->fd = -1;
    c->state = CLIENT_CLOSED;
}

static void reply(struct pool *p, struct client *c, uint8_t head, uint16_t pid)
{
    if (p->scratch_len + 4 > SCRATCH_LEN) {
        client_send(p, c, p->scratch, p->scratch_len);
        p->scratch_len = 0;
    }
    uint8_t *out = p->scratch + p->scratch_len;
    out[0] = head;
    out[1] = 2;
    put_u16(out + 2, pid);
    p->scratch_len += 4;
}

static void deliver(struct pool *p, struct client *c, const struct delivery *d)
{
    if (d->qos > 0)
        reply(p, c, d->qos == 1 ? PUBACK << 4 : PUBREC << 4, d->pid);
    if (p->on_message != NULL)
        p->on_message(p, c, d);
}

/* A PUBLISH whose body of `len` bytes starts at b; `have` of them are here. Returns what it took, 0: wait for more. */
static size_t got_publish(struct pool *p, struct client *c, uint8_t head, const uint8_t *b, size_t len, size_t have)
{
    struct delivery d = { .qos = head >> 1 & 3, .dup = (head & 8) != 0, .retain = (head & 1) != 0 };
    size_t at = 2;

    if (have < 2)
        return 0;
    at += (size_t)(b[0] << 8 | b[1]);
    if (d.qos > 0)
        at += 2;
    if (have < at + (p->version == 5 ? 1 : 0))
        return 0;
    if (d.qos > 0)
        d.pid = (uint16_t)(b[at - 2] << 8 | b[at - 1]);
    if (p->version == 5) {
        if (b[at] > 0x7F)
            load_die("properties of more than 127 bytes in a delivery");
        at += 1 + (size_t)b[at];
    }
    if (len < at + STAMP_LEN)
        load_die("a delivery of %zu bytes has no stamp", len);
    if (have < at + STAMP_LEN)
        return 0;
    memcpy(&d.from, b + at, 4);
    memcpy(&d.seq, b + at + 4, 4);
    memcpy(&d.stamp_ns, b + at + 8, 8);
    d.payload_len = (uint32_t)(len - at);
    if (have >= len) {
        deliver(p, c, &d);
        return len;
    }
    c->late = d;
    c->skip = (uint32_t)(len - have);
    return have;
}

static void settle(struct pool *p, struct client *c, bool refused)
{
    c->state = CLIENT_UP;
    p->settled++;
    if (refused)
        p->refused++;
}

static void got_other(struct pool *p, struct client *c, uint8_t type, const uint8_t *b, size_t len)
{
    uint16_t pid = (uint16_t)(len >= 2 ? b[0] << 8 | b[1] : 0);

    switch (type) {
    case CONNACK:
        if (len < 2 || b[1] != 0 || c->filter[0] == '\0')
            settle(p, c, len < 2 || b[1] != 0);
        else
            send_subscribe(p, c);
        break;
    case SUBACK:
        settle(p, c, len < 3 || b[len - 1] >= 0x80);
        break;
    case PUBACK:
    case PUBCOMP:
        if (p->on_ack != NULL)
            p->on_ack(p, c, pid);
        break;
    case PUBREC:
        reply(p, c, PUBREL << 4 | 2, pid);
        break;
    case PUBREL:
        reply(p, c, PUBCOMP << 4, pid);
        break;
    case PINGRESP:
    case DISCONNECT:            /* the close that follows is counted */
        break;
    default:
        load_die("packet type %u from the broker", type);
    }
}

/* Handles the packet at b. Returns its length, or what was taken of a PUBLISH that goes on; 0: not all is here. */
static size_t got_packet(struct pool *p, struct client *c, const uint8_t *b, size_t have)
{
    size_t len = 0, at = 1, took;

    for (unsigned shift = 0;; shift += 7) {
        if (at >= have)
            return 0;
        len |= (size_t)(b[at] & 0x7F) << shift;
        if (b[at++] < 0x80)
            break;
        if (shift == 21)
            load_die("bad remaining length from the broker");
    }
    if (b[0] >> 4 == PUBLISH) {
        took = got_publish(p, c, b[0], b + at, len, have - at);
        return took != 0 ? at + took : 0;
    }
    if (have - at < len)
        return 0;
    got_other(p, c, b[0] >> 4, b + at, len);
    return at + len;
}

static void client_read(struct pool *p, struct client *c)
{
    uint8_t *b = p->in + CUT_MAX - c->cut_len;
    ssize_t n = recv(c->fd, p->in + CUT_MAX, READ_LEN, 0);

    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        p->dropped++;
        client_close(p, c, false);
        return;
    }
    memcpy(b, c->cut, c->cut_len);
    size_t have = (size_t)n + c->cut_len;
    c->cut_len = 0;
    p->scratch_len = 0;
    if (c->skip > 0) {
        size_t gone = have < c->skip ? have : c->skip;
        c->skip -= (uint32_t)gone;
        b += gone;
        have -= gone;
        if (c->skip == 0)
            deliver(p, c, &c->late);
    }
    while (have > 0) {
        size_t took = got_packet(p, c, b, have);
        if (took == 0)
            break;
        b += took;
        have -= took;
    }
    if (have > CUT_MAX - 1)
        load_die("a packet head of %zu bytes", have);
    memcpy(c->cut, b, have);
    c->cut_len = (uint8_t)have;
    if (p->scratch_len > 0)
        client_send(p, c, p->scratch, p->scratch_len);
}

int pool_turn(struct pool *p, int64_t timeout_ns)
{
    struct epoll_event ev[512];
    struct timespec ts = { timeout_ns / 1000000000, timeout_ns % 1000000000 };
    /* epoll_pwait2(): not every libc has it. */
    int n = (int)syscall(SYS_epoll_pwait2, p->epoll, ev, 512, timeout_ns < 0 ? NULL : &ts, NULL, (size_t)0);

    for (int i = 0; i < n; i++) {
        struct client *c = ev[i].data.ptr;
        if (ev[i].events & EPOLLOUT)
            c->linked = true;
        if ((ev[i].events & EPOLLOUT) && c->out_len > 0)
            send_rest(p, c);
        if (c->fd >= 0 && (ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
            client_read(p, c);
    }
    return n;
}

void clients_open(struct pool *p, struct client *c, uint32_t n, uint32_t parallel)
{
    uint32_t opened = 0, before = p->settled;
    uint64_t last_ns = watch_now_ns();

    while (p->settled - before < n) {
        while (opened < n && opened - (p->settled - before) < parallel)
            client_open(p, &c[opened++]);
        uint32_t settled = p->settled;
        pool_turn(p, 100000000);
        if (p->settled != settled)
            last_ns = watch_now_ns();
        if (p->dropped > 0 || p->refused > 0)
            load_die("the broker refused a client (%u of %u were in)", p->settled - before, n);
        if (watch_now_ns() - last_ns > 30000000000u)
            load_die("the broker answered %u of %u clients, then nothing for 30 s", p->settled - before, n);
    }
}

void clients_close(struct pool *p, struct client *c, uint32_t n, bool polite)
{
    for (uint32_t i = 0; i < n; i++)
        client_close(p, &c[i], polite);
}
