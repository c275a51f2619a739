/* MQTT clients by the thousand in one thread: the load side of the benchmark. It does the least a client can do,
 * decodes in place from one shared buffer and writes in large pieces, so that it is cheaper than any broker. Its
 * codec is its own and not proto/: an error there must not be able to hide from a test that shares it.
 *
 * The callbacks run while packets are cut; they may call client_send(), never pool_turn().
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BENCH_CLIENT_H
#define CADDIS_BENCH_CLIENT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CUT_MAX = 256,              /* the longest head of a packet that may arrive in pieces */
    FILTER_MAX = 128,           /* bytes of a filter or topic, the NUL included */
    STAMP_LEN = 16,             /* each payload starts with: from u32, seq u32, stamp u64, host order */
    READ_LEN = 256 << 10,
    SCRATCH_LEN = 512 << 10,    /* replies to one full read buffer fit, and a batch of publishes */
};

enum client_state { CLIENT_CLOSED, CLIENT_CONNECTING, CLIENT_UP };

struct delivery {
    uint64_t stamp_ns;
    uint32_t from, seq;
    uint32_t payload_len;       /* bytes, the stamp included */
    uint16_t pid;
    uint8_t qos;
    bool dup, retain;
};

struct client {
    int fd;
    uint32_t index;             /* among its kind; the caller's */
    enum client_state state;
    uint8_t qos;                /* to subscribe with */
    bool durable;
    bool linked;                /* the TCP connection stands */
    bool want_out;              /* EPOLLOUT is asked for */
    uint8_t cut_len;
    uint32_t skip;              /* payload bytes of `late` still to come */
    struct delivery late;
    uint8_t *out;               /* what the socket did not take */
    size_t out_len, out_cap;
    char id[24];
    char filter[FILTER_MAX];    /* empty: connect only */
    uint8_t cut[CUT_MAX];
};

struct pool {
    int epoll;
    struct sockaddr_in to;
    uint8_t version;            /* 4 or 5 */
    void *user;
    void (*on_message)(struct pool *p, struct client *c, const struct delivery *d);
    void (*on_ack)(struct pool *p, struct client *c, uint16_t pid);     /* PUBACK or PUBCOMP */
    uint32_t refused;           /* CONNACK or SUBACK with a failure */
    uint32_t dropped;           /* connections the broker ended */
    uint32_t settled;           /* clients that finished client_open()'s part */
    uint8_t *in;                /* CUT_MAX + READ_LEN */
    uint8_t *scratch;           /* SCRATCH_LEN: replies while reading, the caller's between turns */
    size_t scratch_len;
};

/* Exits with a message when the system refuses. */
void pool_init(struct pool *p, const char *host, uint16_t port, uint8_t version);
void pool_fini(struct pool *p);
/* Waits at most `timeout_ns` (-1: for ever), handles what came. Returns the number of sockets with news. */
int pool_turn(struct pool *p, int64_t timeout_ns);

void client_init(struct client *c, const char *kind, uint32_t index);
/* TCP connect, CONNECT and, if it has a filter, SUBSCRIBE; counted in p->settled when answered. */
void client_open(struct pool *p, struct client *c);
/* `polite`: DISCONNECT first. */
void client_close(struct pool *p, struct client *c, bool polite);
void client_send(struct pool *p, struct client *c, const uint8_t *bytes, size_t len);
/* Opens all, `parallel` at a time, and returns when all are settled; exits if the broker leaves one out for 30 s. */
void clients_open(struct pool *p, struct client *c, uint32_t n, uint32_t parallel);
void clients_close(struct pool *p, struct client *c, uint32_t n, bool polite);
/* Sends SUBSCRIBE for the filters FORMAT % first .. first + n - 1; the SUBACK counts as settled. */
void client_subscribe_many(struct pool *p, struct client *c, const char *format, uint32_t first, uint32_t n);

/* Writes fixed header, topic and a payload of `size` bytes. Returns the length; *pid_at and *stamp_at say where the
 * caller patches the packet id (if qos > 0) and the stamp. `out` holds at least size + FILTER_MAX + 32
 * bytes. */
size_t publish_template(uint8_t *out, uint8_t version, uint8_t qos, bool retain, const char *topic, uint32_t size,
                        size_t *pid_at, size_t *stamp_at);

#endif
