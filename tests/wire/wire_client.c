/* The clients of a conversation: sockets, what was received and not yet looked at, and what must hold for every
 * packet that a server sends.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/wire/wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS = 256 };

static struct client clients[CLIENTS];
static unsigned count;

uint64_t clock_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

struct client *client_get(const char *name)
{
    struct client *c;

    for (unsigned i = 0; i < count; i++)
        if (strcmp(clients[i].name, name) == 0)
            return &clients[i];
    if (count == CLIENTS)
        return NULL;
    c = &clients[count++];
    c->fd = -1;
    c->version = MQTT_311;
    snprintf(c->name, sizeof c->name, "%s", name);
    snprintf(c->listener, sizeof c->listener, "default");
    return c;
}

static void connect_to(struct client *c)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(broker_port(c->listener)),
    };
    int one = 1;

    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0)
        give_up("%s can't connect: %s", c->name, strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    c->in_at = c->in_len = 0;
    c->greeted = false;
    c->max_packet = UINT32_MAX;
    c->alias_max = 0;
    for (unsigned i = 0; i < ALIASES; i++) {
        free(c->alias[i]);
        c->alias[i] = NULL;
    }
}

/* A peer that has gone is for the expectations to find out. */
static void write_all(struct client *c, struct view v)
{
    uint64_t deadline = clock_ms() + WIRE_WAIT_MS;

    while (v.len > 0) {
        ssize_t n = send(c->fd, v.p, v.len, MSG_NOSIGNAL);

        if (n >= 0) {
            v.p += n;
            v.len -= (size_t)n;
        } else if (errno == EAGAIN) {
            if (!broker_poll(c->fd, POLLOUT, deadline))
                give_up("%s can't send: the broker does not read", c->name);
        } else if (errno == EPIPE || errno == ECONNRESET) {
            return;
        } else if (errno != EINTR) {
            give_up("%s can't send: %s", c->name, strerror(errno));
        }
    }
}

void client_send(struct client *c, struct view bytes, bool hold)
{
    broker_start();
    if (c->fd < 0)
        connect_to(c);
    if (hold || c->out_len > 0) {
        c->out = realloc(c->out, c->out_len + bytes.len + 1);
        if (c->out == NULL)
            give_up("no memory");
        if (bytes.len > 0)
            memcpy(c->out + c->out_len, bytes.p, bytes.len);
        c->out_len += bytes.len;
        bytes = (struct view){ c->out, c->out_len };
    }
    if (hold)
        return;
    write_all(c, bytes);
    c->out_len = 0;
}

/* One answer to a ping of somebody else means one turn of the broker, in which it has read what was there before. */
static void turn(struct client *pacer)
{
    static const uint8_t ping[] = { 0xC0, 0x00 };
    struct said answer;
    struct view raw;

    client_send(pacer, (struct view){ ping, sizeof ping }, false);
    if (!client_receive(pacer, &answer, &raw) || answer.type != PKT_PINGRESP)
        give_up("no answer to the ping that paces the bytes");
}

void client_send_slowly(struct client *c, struct view bytes)
{
    struct client *pacer = client_get("(pacer)");
    static const uint8_t hello[] = "\x10\x11\0\4MQTT\4\2\0\0\0\5pacer";
    struct said answer;
    struct view raw;

    if (pacer->fd < 0) {
        client_send(pacer, (struct view){ hello, sizeof hello - 1 }, false);
        if (!client_receive(pacer, &answer, &raw) || answer.type != PKT_CONNACK)
            give_up("the client that paces the bytes can't connect");
    }
    for (size_t i = 0; i < bytes.len; i++) {
        client_send(c, (struct view){ bytes.p + i, 1 }, false);
        turn(pacer);
    }
}

void client_note(struct client *c, const struct said *sent)
{
    const struct field *f;

    if (sent->type != PKT_CONNECT)
        return;
    f = packet_field(sent, "max_packet");
    c->max_packet = f != NULL && word_number(f) > 0 ? (uint32_t)word_number(f) : UINT32_MAX;
    f = packet_field(sent, "alias_max");
    c->alias_max = f != NULL ? (uint32_t)word_number(f) : 0;
}

/* Reads once, waiting as long as it may take. false: the connection is closed. */
static bool fill(struct client *c, const char *what)
{
    uint64_t deadline = clock_ms() + WIRE_WAIT_MS;
    ssize_t n;

    if (c->in_at > 0) {
        memmove(c->in, c->in + c->in_at, c->in_len);
        c->in_at = 0;
    }
    if (c->in_len == c->in_cap) {
        c->in_cap = c->in_cap > 0 ? c->in_cap * 2 : 65536;
        c->in = realloc(c->in, c->in_cap);
        if (c->in == NULL)
            give_up("no memory");
    }
    for (;;) {
        n = recv(c->fd, c->in + c->in_len, c->in_cap - c->in_len, 0);
        if (n >= 0 || errno == ECONNRESET)
            break;
        if (errno != EAGAIN && errno != EINTR)
            give_up("%s can't receive: %s", c->name, strerror(errno));
        if (!broker_poll(c->fd, POLLIN, deadline))
            give_up("%s: %s did not come in %d s", c->name, what, WIRE_WAIT_MS / 1000);
    }
    if (n > 0)
        c->in_len += (size_t)n;
    return n > 0;
}

/* An alias instead of the topic becomes the topic, and bare=1. */
static void resolve_alias(struct client *c, struct said *p)
{
    const struct field *alias = packet_field(p, "alias"), *topic = packet_field(p, "topic");
    char **known;

    if (p->type != PKT_PUBLISH)
        return;
    packet_add_number(p, "bare", topic->value.len == 0);
    if (alias == NULL)
        return;
    if (alias->num >= ALIASES)
        give_up("%s: more than %d aliases", c->name, ALIASES);
    known = &c->alias[alias->num];
    if (topic->value.len > 0) {
        free(*known);
        *known = strndup((const char *)topic->value.p, topic->value.len);
        return;
    }
    if (*known == NULL)
        give_up("%s got alias %d, which stands for nothing [MQTT5-3.3.2-7]", c->name, (int)alias->num);
    packet_set(p, "topic", (struct view){ (const uint8_t *)*known, strlen(*known) });
}

static void require(const struct client *c, bool good, const char *rule, const struct said *p)
{
    char text[4096];

    if (!good)
        give_up("%s got %s: %s", c->name, packet_text(p, text, sizeof text), rule);
}

/* What holds for every packet of every server. */
static void check(struct client *c, const struct said *p, size_t size)
{
    const struct field *alias = packet_field(p, "alias");

    require(c, c->greeted || p->type == PKT_CONNACK || p->type == PKT_AUTH,
            "a packet before CONNACK [MQTT-3.2.0-1]", p);
    require(c, !c->greeted || p->type != PKT_CONNACK, "a second CONNACK [MQTT5-3.2.0-2]", p);
    require(c, size <= c->max_packet, "larger than the client's maximum [MQTT5-3.1.2-24]", p);
    require(c, alias == NULL || alias->num <= (int64_t)c->alias_max,
            "an alias above the client's maximum [MQTT5-3.1.2-26, -27]", p);
    if (p->type == PKT_CONNACK)
        c->greeted = true;
}

bool client_receive(struct client *c, struct said *out, struct view *raw)
{
    struct frame f;
    struct view in;
    enum frame_result cut;
    enum reason why;

    if (c->fd < 0)
        give_up("%s is not connected", c->name);
    for (;;) {
        in = (struct view){ c->in + c->in_at, c->in_len };
        cut = frame_next(&in, FRAME_MAX_REMAINING + 5, &f);
        if (cut == FRAME_OK)
            break;
        if (cut != FRAME_MORE)
            give_up("%s got bytes that are no packet", c->name);
        if (!fill(c, "a packet")) {
            if (c->in_len > 0)
                give_up("%s: closed in the middle of a packet", c->name);
            return false;
        }
    }
    *raw = (struct view){ c->in + c->in_at, f.need };
    c->in_at += f.need;
    c->in_len -= f.need;
    why = packet_decode(&f, c->version, out);
    if (why != R_OK)
        give_up("%s got a bad %s packet: %s; first bytes %02x %02x %02x %02x", c->name, packet_name(out->type),
                reason_text(why), raw->p[0], raw->p[1], f.need > 2 ? raw->p[2] : 0, f.need > 3 ? raw->p[3] : 0);
    check(c, out, f.need);
    resolve_alias(c, out);
    if (packet_field(out, "pid") != NULL)
        c->last_pid = (uint16_t)packet_field(out, "pid")->num;
    return true;
}

void client_expect_closed(struct client *c)
{
    struct said p;
    struct view raw;
    char text[4096];

    if (client_receive(c, &p, &raw))
        give_up("%s got %s, but should be closed", c->name, packet_text(&p, text, sizeof text));
    client_close(c, false);
}

void client_close(struct client *c, bool reset)
{
    struct linger now = { .l_onoff = 1, .l_linger = 0 };

    if (c->fd < 0)
        return;
    if (reset)
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(c->fd);
    c->fd = -1;
    c->out_len = 0;
    c->in_len = 0;
}

void client_close_all(void)
{
    for (unsigned i = 0; i < count; i++)
        client_close(&clients[i], false);
}

unsigned client_first(struct client **set, unsigned n)
{
    uint64_t deadline = clock_ms() + WIRE_WAIT_MS;
    char byte;

    while (clock_ms() < deadline) {
        for (unsigned i = 0; i < n; i++)
            if (set[i]->in_len > 0 || recv(set[i]->fd, &byte, 1, MSG_PEEK) >= 0)
                return i;
        for (unsigned i = 0; i < n; i++)
            broker_poll(set[i]->fd, POLLIN, clock_ms() + 5);
    }
    give_up("none of the clients got anything in %d s", WIRE_WAIT_MS / 1000);
}
