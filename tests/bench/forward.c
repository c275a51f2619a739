/* A bare forwarder: the least a program with one epoll loop must do to carry MQTT messages, hence the ceiling for
 * brokers. It knows exact topics only and trusts its clients: no sessions, no retained messages, no wildcards, no
 * checks, no limits. `forward PORT`; says where it listens as caddis does.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_LEN = 128 << 10, TOPIC_MAX = 64, BUCKETS = 1 << 16, EVENTS = 256 };

struct conn {
    int fd;
    bool five, dirty, want_out;
    uint8_t *rest;              /* a packet of which the end is missing */
    size_t rest_len;
    uint8_t *out;               /* to send; allocated while there is something */
    size_t out_len, out_cap;
    struct conn *next_dirty;
};

struct sub {
    struct conn *conn;
    struct sub *next;
    uint8_t len;
    char topic[TOPIC_MAX];
};

struct forwarder {
    int epoll, listener;
    struct sub *subs[BUCKETS];
    struct conn *dirty, **dirty_end;    /* first come, first sent: a delivery leaves before its acknowledgement */
    uint8_t in[READ_LEN];
};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static uint32_t bucket_of(const uint8_t *topic, size_t len)
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < len; i++)
        h = (h ^ topic[i]) * 16777619u;
    return h % BUCKETS;
}

static void stage(struct forwarder *f, struct conn *c, const uint8_t *bytes, size_t len)
{
    if (c->fd < 0)
        return;
    if (c->out_len + len > c->out_cap) {
        c->out_cap = (c->out_len + len) * 2 + 512;
        c->out = realloc(c->out, c->out_cap);
        if (c->out == NULL)
            die("memory");
    }
    memcpy(c->out + c->out_len, bytes, len);
    c->out_len += len;
    if (!c->dirty) {
        c->dirty = true;
        c->next_dirty = NULL;
        *f->dirty_end = c;
        f->dirty_end = &c->next_dirty;
    }
}

static void ask_for(struct forwarder *f, struct conn *c, bool want_out)
{
    struct epoll_event ev = { .events = EPOLLIN | (want_out ? (uint32_t)EPOLLOUT : 0), .data.ptr = c };

    if (c->want_out == want_out)
        return;
    c->want_out = want_out;
    epoll_ctl(f->epoll, EPOLL_CTL_MOD, c->fd, &ev);
}

static void conn_send(struct forwarder *f, struct conn *c)
{
    if (c->fd < 0 || c->out_len == 0)
        return;
    ssize_t n = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL);
    if (n < 0)
        n = errno == EAGAIN ? 0 : (ssize_t)c->out_len;     /* a dead peer is noticed by reading */
    c->out_len -= (size_t)n;
    if (c->out_len > 0)
        memmove(c->out, c->out + n, c->out_len);
    ask_for(f, c, c->out_len > 0);
}

static void flush(struct forwarder *f)
{
    while (f->dirty != NULL) {
        struct conn *c = f->dirty;
        f->dirty = c->next_dirty;
        c->dirty = false;
        conn_send(f, c);
        if (c->fd < 0)
            free(c);            /* closed in this turn */
    }
    f->dirty_end = &f->dirty;
}

static void subscribe(struct forwarder *f, struct conn *c, const uint8_t *b)
{
    const uint8_t *filter = b + 2 + (c->five ? 1 + b[2] : 0);
    size_t len = (size_t)(filter[0] << 8 | filter[1]);
    uint8_t ack[8] = { 0x90, 3, b[0], b[1] };
    struct sub *s = calloc(1, sizeof *s);

    if (s == NULL || len >= TOPIC_MAX)
        die("subscription");
    s->conn = c;
    s->len = (uint8_t)len;
    memcpy(s->topic, filter + 2, len);
    struct sub **bucket = &f->subs[bucket_of(filter + 2, len)];
    s->next = *bucket;
    *bucket = s;
    if (c->five)
        ack[1] = 4;
    ack[ack[1] + 1] = filter[2 + len] & 3;
    stage(f, c, ack, (size_t)ack[1] + 2);
}

static void acknowledge(struct forwarder *f, struct conn *c, uint8_t head, const uint8_t *pid)
{
    uint8_t ack[4] = { head, 2, pid[0], pid[1] };

    stage(f, c, ack, sizeof ack);
}

static void publish(struct forwarder *f, struct conn *c, const uint8_t *packet, const uint8_t *body, size_t len)
{
    size_t topic_len = (size_t)(body[0] << 8 | body[1]);
    unsigned qos = packet[0] >> 1 & 3;

    for (struct sub *s = f->subs[bucket_of(body + 2, topic_len)]; s != NULL; s = s->next) {
        if (s->len == topic_len && memcmp(s->topic, body + 2, topic_len) == 0)
            stage(f, s->conn, packet, len);
    }
    if (qos > 0)
        acknowledge(f, c, qos == 1 ? 0x40 : 0x50, body + 2 + topic_len);
}

static void handle(struct forwarder *f, struct conn *c, const uint8_t *packet, const uint8_t *body, size_t len)
{
    static const uint8_t connack4[] = { 0x20, 2, 0, 0 }, connack5[] = { 0x20, 3, 0, 0, 0 }, pong[] = { 0xD0, 0 };

    switch (packet[0] >> 4) {
    case 1:
        c->five = body[6] == 5;
        stage(f, c, c->five ? connack5 : connack4, c->five ? sizeof connack5 : sizeof connack4);
        break;
    case 3:
        publish(f, c, packet, body, len);
        break;
    case 5:
        acknowledge(f, c, 0x62, body);
        break;
    case 6:
        acknowledge(f, c, 0x70, body);
        break;
    case 8:
        subscribe(f, c, body);
        break;
    case 12:
        stage(f, c, pong, sizeof pong);
        break;
    default:
        break;
    }
}

/* Cuts whole packets off; returns how many bytes they had. */
static size_t cut(struct forwarder *f, struct conn *c, const uint8_t *b, size_t have)
{
    size_t done = 0;

    while (have - done >= 2) {
        const uint8_t *p = b + done;
        size_t len = 0, at = 1;
        for (unsigned shift = 0; shift < 28; shift += 7) {
            if (at >= have - done)
                return done;
            len |= (size_t)(p[at] & 0x7F) << shift;
            if (p[at++] < 0x80)
                break;
        }
        if (have - done < at + len)
            return done;
        handle(f, c, p, p + at, at + len);
        done += at + len;
    }
    return done;
}

static void conn_close(struct forwarder *f, struct conn *c)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct sub **s = &f->subs[i]; *s != NULL;) {
            struct sub *gone = *s;
            if (gone->conn != c) {
                s = &gone->next;
                continue;
            }
            *s = gone->next;
            free(gone);
        }
    }
    close(c->fd);
    c->fd = -1;
    free(c->out);
    free(c->rest);
    c->out = c->rest = NULL;
    if (!c->dirty)
        free(c);
}

static void conn_read(struct forwarder *f, struct conn *c)
{
    memcpy(f->in, c->rest, c->rest_len);
    ssize_t n = recv(c->fd, f->in + c->rest_len, READ_LEN - c->rest_len, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        conn_close(f, c);
        return;
    }
    size_t have = c->rest_len + (size_t)n, done = cut(f, c, f->in, have);
    free(c->rest);
    c->rest = NULL;
    c->rest_len = have - done;
    if (c->rest_len == 0)
        return;
    c->rest = malloc(c->rest_len);
    if (c->rest == NULL || c->rest_len == READ_LEN)
        die("packet");
    memcpy(c->rest, f->in + done, c->rest_len);
}

static void accept_some(struct forwarder *f)
{
    for (int i = 0; i < 16; i++) {
        int one = 1, fd = accept4(f->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        struct conn *c;

        if (fd < 0)
            return;
        c = calloc(1, sizeof *c);
        if (c == NULL)
            die("memory");
        c->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };
        epoll_ctl(f->epoll, EPOLL_CTL_ADD, fd, &ev);
    }
}

static void start(struct forwarder *f, uint16_t port)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    struct epoll_event ev = { .events = EPOLLIN, .data.ptr = NULL };
    struct rlimit r;
    socklen_t len = sizeof at;
    int one = 1;

    getrlimit(RLIMIT_NOFILE, &r);
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_NOFILE, &r);
    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(f->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(f->listener, (struct sockaddr *)&at, len) < 0 || listen(f->listener, 1024) < 0)
        die("listen");
    f->epoll = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(f->epoll, EPOLL_CTL_ADD, f->listener, &ev);
    getsockname(f->listener, (struct sockaddr *)&at, &len);
    fprintf(stderr, "listening name=\"forward\" on 127.0.0.1:%u protocol=mqtt\n", ntohs(at.sin_port));
}

int main(int argc, char **argv)
{
    static struct forwarder f;
    struct epoll_event ev[EVENTS];

    f.dirty_end = &f.dirty;
    start(&f, (uint16_t)(argc > 1 ? atoi(argv[1]) : 0));
    for (;;) {
        int n = epoll_wait(f.epoll, ev, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct conn *c = ev[i].data.ptr;
            if (c == NULL)
                accept_some(&f);
            else if (ev[i].events & EPOLLIN)
                conn_read(&f, c);
            else
                conn_send(&f, c);
        }
        flush(&f);
    }
}
