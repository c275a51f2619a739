/* WebSocket as a transport of the broker's connections.
 *
 * REQUEST -a whole request that can be answered with 101-> UP -a close frame-> ENDED
 *                                                          UP -a frame that is none-> BROKEN
 *
 * W1  What is read is unframed where it lies; nothing of a frame is kept but its head and a control frame's payload.
 * W2  A turn's output is one frame, in one write with whatever goes before it. A frame is begun when a byte of its head
 *     has been taken; from then on frame_left bytes of the output belong to it.
 * W3  `say` goes out between two frames.
 * W4  The close frame is the last thing that is written, when the connection is freed.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/ws.h"

#include "broker/base64.h"
#include "broker/broker.h"
#include "broker/crypto.h"
#include "broker/listen.h"
#include "broker/shed.h"
#include "proto/http.h"
#include "proto/ws.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* A request has this much room at first. Pongs that wait for a client which does not read fill no more than the other. */
enum { REQUEST_FIRST = 1024, SAY_MAX = 512 };
/* Pieces given to one write: the output's, and what goes between and before them. */
enum { OUT_PIECES = 64, OUT_MORE = 4 };
/* RFC 6455, section 7.4.1. */
enum { WS_NORMAL = 1000, WS_GOING_AWAY = 1001, WS_RULES = 1002, WS_KIND = 1003, WS_POLICY = 1008, WS_TOO_BIG = 1009 };

struct bytes {
    uint32_t at, len, cap;      /* p[at..len) is still wanted */
    uint8_t p[];
};

struct ws {
    const struct transport *base;
    struct bytes *request;      /* what has come of the request, then what came behind it; NULL: none */
    struct bytes *control;      /* payload of a control frame under way; NULL: none */
    struct bytes *say;          /* the answer to the request, then pongs; NULL: none */
    uint64_t frame_left;        /* bytes of the output that belong to the frame begun */
    struct ws_reader in;
    uint8_t head[WS_HEAD_MAX], head_at, head_len;   /* of the frame begun; head_at < head_len: still to be written */
    uint8_t phase;              /* REQUEST, UP, ENDED, BROKEN */
    uint16_t close_code;        /* for the close frame; 0: by the reason for which the connection ends */
};
enum { REQUEST, UP, ENDED, BROKEN };

static struct ws *of(const struct conn *c)
{
    return c->transport_state;
}

/* ---- bytes ---- */

static bool bytes_room(struct bytes **bp, size_t n)
{
    struct bytes *b = *bp;
    size_t len = b != NULL ? b->len - b->at : 0;

    if (b != NULL && b->at > 0) {
        memmove(b->p, b->p + b->at, len);
        b->at = 0;
        b->len = (uint32_t)len;
    }
    if (b != NULL && b->cap - len >= n)
        return true;
    b = mem_grow(MEM_BUFFER, b, sizeof *b + len + n);
    if (b == NULL)
        return false;
    if (*bp == NULL)
        b->at = b->len = 0;
    b->cap = (uint32_t)(len + n);
    *bp = b;
    return true;
}

static bool bytes_add(struct bytes **bp, const void *p, size_t n)
{
    if (!bytes_room(bp, n))
        return false;
    memcpy((*bp)->p + (*bp)->len, p, n);
    (*bp)->len += (uint32_t)n;
    return true;
}

static void bytes_free(struct bytes **bp)
{
    mem_free(MEM_BUFFER, *bp);
    *bp = NULL;
}

/* ---- the end of it ---- */

/* For the log. Returns what a read gives then. */
static ssize_t broken(struct conn *c, int code, const char *text)
{
    of(c)->close_code = (uint16_t)code;
    if (of(c)->phase == UP)
        of(c)->phase = BROKEN;
    conn_trouble(c, text);
    errno = EBADMSG;
    return -1;
}

static ssize_t no_memory(void)
{
    errno = ENOMEM;
    return -1;
}

/* An answer that is no WebSocket. */
static ssize_t refuse(struct conn *c, int status, const char *why)
{
    struct ws *w = of(c);
    char answer[512];
    int n = snprintf(answer, sizeof answer,
                     "HTTP/1.1 %d %s\r\n%s%sContent-Type: text/plain\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s\n",
                     status, http_status_text(status),
                     status == 426 ? "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" : "",
                     status == 405 ? "Allow: GET\r\n" : "", strlen(why) + 1, why);

    bytes_add(&w->say, answer, (size_t)n);      /* without memory it goes without a word */
    return broken(c, 0, why);
}

/* ---- the request ---- */

static bool origin_allowed(const struct conn *c, struct view origin)
{
    char **allowed = c->listener->cfg->websockets_origin;

    if (allowed == NULL)
        return true;
    for (; *allowed != NULL; allowed++)
        if (strlen(*allowed) == origin.len && strncasecmp(*allowed, (const char *)origin.p, origin.len) == 0)
            return true;
    return false;
}

/* RFC 6455, section 4.2.2, point 5. */
static bool accept_key(struct view key, char out[BASE64_LEN(SHA1_LEN) + 1])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    const struct view parts[] = { key, { (const uint8_t *)guid, sizeof guid - 1 } };
    uint8_t hash[SHA1_LEN];

    if (!crypto_sha1(parts, 2, hash))
        return false;
    base64_encode((struct view){ hash, sizeof hash }, out);
    return true;
}

static ssize_t open_up(struct conn *c, struct view head)
{
    struct ws *w = of(c);
    struct http_upgrade u;
    char accept[BASE64_LEN(SHA1_LEN) + 1], answer[256];
    const char *why;
    int status = http_upgrade(head, &u, &why), n;

    if (status != 101)
        return refuse(c, status, why);
    if (!origin_allowed(c, u.origin))
        return refuse(c, 403, u.origin.p == NULL ? "no Origin, and websockets_origin asks for one"
                                                 : "this Origin is none of websockets_origin");
    if (!accept_key(u.key, accept))
        return no_memory();
    n = snprintf(answer, sizeof answer, "HTTP/1.1 101 %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                        "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n",
                 http_status_text(101), accept, u.protocol);
    if (!bytes_add(&w->say, answer, (size_t)n))
        return no_memory();
    w->phase = UP;
    return 1;
}

/* Who does not speak HTTP should not have to wait for the connect timeout. */
static const char *speaks(uint8_t first)
{
    if (first == 0x10)
        return "an MQTT client that does not use WebSocket";
    if (first == 0x16)
        return "a TLS client, on a port without TLS";
    return first < 'A' || first > 'Z' ? "not HTTP" : NULL;
}

/* There may be more above the socket, and epoll would not tell. */
static bool transport_pending(const struct conn *c)
{
    const struct ws *w = of(c);

    return w->phase > UP || (w->phase == UP && w->request != NULL) ||
           (w->base->pending != NULL && w->base->pending(c));
}

static ssize_t nothing_yet(struct conn *c)
{
    if (transport_pending(c))
        conn_due(c->listener->b, c, DUE_READ);
    errno = EAGAIN;
    return -1;
}

static bool request_room(struct conn *c)
{
    struct ws *w = of(c);
    struct bytes *r = w->request;

    if (r == NULL)
        return bytes_room(&w->request, REQUEST_FIRST);
    return r->len < r->cap || (!shed(c->listener->b, SHED_MESSAGES) &&
                               bytes_room(&w->request, r->cap * 2 < HTTP_HEAD_MAX ? r->cap : HTTP_HEAD_MAX - r->cap));
}

/* 1: it is up. */
static ssize_t read_request(struct conn *c)
{
    struct ws *w = of(c);
    struct iovec iov;
    struct bytes *r;
    size_t before, len;
    ssize_t got;

    if (!request_room(c))
        return refuse(c, 503, "out of memory");
    r = w->request;
    iov = (struct iovec){ r->p + r->len, r->cap - r->len };
    got = w->base->readv(c, &iov, 1);
    if (got <= 0)
        return got;
    before = r->len;
    r->len += (uint32_t)got;
    if (speaks(r->p[0]) != NULL)
        return broken(c, 0, speaks(r->p[0]));
    len = http_head_len((struct view){ r->p, r->len }, before);
    if (len == 0)
        return r->len < HTTP_HEAD_MAX ? nothing_yet(c) : refuse(c, 431, "a request of more than 8192 bytes");
    got = open_up(c, (struct view){ r->p, len });
    r->at = (uint32_t)len;
    if (r->at == r->len || got != 1)
        bytes_free(&w->request);
    conn_dirty(c->listener->b, c);
    return got;
}

/* What came in one read with the request. */
static ssize_t take_rest(struct ws *w, const struct iovec *iov, int n)
{
    struct bytes *r = w->request;
    size_t taken = 0;

    for (int i = 0; i < n && r->at < r->len; i++) {
        size_t part = r->len - r->at < iov[i].iov_len ? r->len - r->at : iov[i].iov_len;

        memcpy(iov[i].iov_base, r->p + r->at, part);
        r->at += (uint32_t)part;
        taken += part;
    }
    if (r->at == r->len)
        bytes_free(&w->request);
    return (ssize_t)taken;
}

/* ---- reading frames ---- */

/* Where unframed payload goes: over what has been read. It never overtakes the reading. */
struct place {
    const struct iovec *iov;
    size_t off;
    size_t total;
};

static void put(struct place *out, const uint8_t *p, size_t n)
{
    out->total += n;
    while (n > 0) {
        size_t part = out->iov->iov_len - out->off;

        if (part == 0) {
            out->iov++;
            out->off = 0;
            continue;
        }
        part = part < n ? part : n;
        memmove((uint8_t *)out->iov->iov_base + out->off, p, part);
        out->off += part;
        p += part;
        n -= part;
    }
}

static ssize_t on_close(struct conn *c)
{
    struct ws *w = of(c);
    const struct bytes *said = w->control;
    unsigned code = said != NULL && said->len >= 2 ? (unsigned)said->p[0] << 8 | said->p[1] : WS_NORMAL;

    if ((said != NULL && said->len == 1) || !ws_close_code_valid(code))
        return broken(c, WS_RULES, "a close frame with a code that is none");
    w->close_code = (uint16_t)code;
    w->phase = ENDED;
    return 1;
}

static ssize_t on_ping(struct conn *c)
{
    struct ws *w = of(c);
    size_t len = w->control != NULL ? w->control->len : 0;
    uint8_t head[WS_HEAD_MAX];
    unsigned n = ws_write_head(head, WS_PONG, len);

    if (w->say != NULL && w->say->len - w->say->at + n + len > SAY_MAX)
        return 1;               /* it does not read; the last ones get no answer */
    if (!bytes_room(&w->say, n + len))
        return no_memory();
    bytes_add(&w->say, head, n);
    if (len > 0)
        bytes_add(&w->say, w->control->p, len);
    conn_dirty(c->listener->b, c);
    return 1;
}

static ssize_t on_control(struct conn *c, const struct ws_piece *piece)
{
    struct ws *w = of(c);
    ssize_t rc = 1;

    if (piece->opcode == WS_PONG)
        return 1;
    if (piece->len > 0 && !bytes_add(&w->control, piece->p, piece->len))
        return no_memory();
    if (piece->last) {
        rc = piece->opcode == WS_PING ? on_ping(c) : on_close(c);
        bytes_free(&w->control);
    }
    return rc;
}

/* Of n bytes that were read at p: 1, or what a read gives when it is over with them. */
static ssize_t unframe(struct conn *c, uint8_t *p, size_t n, struct place *out)
{
    struct ws *w = of(c);
    struct ws_piece piece;
    const char *why = NULL;

    while (w->phase == UP) {
        ssize_t rc = 1;

        switch (ws_next(&w->in, &p, &n, &piece, &why)) {
        case WS_MORE:
            return 1;
        case WS_PIECE:
            if (piece.opcode == WS_BINARY)
                put(out, piece.p, piece.len);
            else
                rc = on_control(c, &piece);
            break;
        case WS_PROTOCOL_ERROR:
            return broken(c, WS_RULES, why);
        case WS_NOT_BINARY:
            return broken(c, WS_KIND, "a text frame; MQTT goes in binary ones");
        }
        if (rc != 1)
            return rc;
    }
    return 1;
}

/* got bytes have been read into iov. 1, or what a read gives when it is over with them. */
static ssize_t unframe_all(struct conn *c, const struct iovec *iov, size_t got, struct place *out)
{
    ssize_t rc = 1;

    for (; got > 0 && rc == 1; iov++) {
        size_t part = got < iov->iov_len ? got : iov->iov_len;

        rc = unframe(c, iov->iov_base, part, out);
        got -= part;
    }
    return rc;
}

static ssize_t at_end(const struct ws *w)
{
    errno = EBADMSG;
    return w->phase == ENDED ? 0 : -1;
}

static ssize_t transport_readv(struct conn *c, const struct iovec *iov, int n)
{
    struct ws *w = of(c);
    struct place out = { iov, 0, 0 };
    ssize_t got, rc;

    if (w->phase == REQUEST) {
        rc = read_request(c);
        if (rc != 1)
            return rc;
        if (w->request == NULL)
            return nothing_yet(c);
    }
    if (w->phase > UP)
        return at_end(w);
    got = w->request != NULL ? take_rest(w, iov, n) : w->base->readv(c, iov, n);
    if (got <= 0)
        return got;
    rc = unframe_all(c, iov, (size_t)got, &out);
    if (rc != 1 && w->phase == UP)
        return rc;
    if (out.total > 0)
        return (ssize_t)out.total;      /* what came before the end counts; transport_pending() tells of it */
    return w->phase > UP ? at_end(w) : nothing_yet(c);
}

/* ---- writing ---- */

static size_t size_of(const struct iovec *iov, int n)
{
    size_t total = 0;

    for (int i = 0; i < n; i++)
        total += iov[i].iov_len;
    return total;
}

/* The n bytes that begin `from` bytes into iov, as pieces. */
static int slice(struct iovec *out, const struct iovec *iov, size_t from, size_t n)
{
    int k = 0;

    for (; n > 0; iov++) {
        size_t part = iov->iov_len - from;

        if (from >= iov->iov_len) {
            from -= iov->iov_len;
            continue;
        }
        part = part < n ? part : n;
        out[k++] = (struct iovec){ (uint8_t *)iov->iov_base + from, part };
        from = 0;
        n -= part;
    }
    return k;
}

/* Of `sent` bytes those that belong to the next part, which has n. */
static size_t share(size_t *sent, size_t n)
{
    size_t part = *sent < n ? *sent : n;

    *sent -= part;
    return part;
}

static void head_sent(struct ws *w, size_t n)
{
    w->head_at += (uint8_t)n;
    if (w->head_at == w->head_len)
        w->head_at = w->head_len = 0;
}

static void say_sent(struct ws *w, size_t n)
{
    w->say->at += (uint32_t)n;
    if (w->say->at == w->say->len)
        bytes_free(&w->say);
}

/* What has gone of: the rest of the open frame's head, `old` bytes for it, `say`, `head` for the `fresh` bytes that a
 * new frame has. Returns how many were output. */
static size_t note_sent(struct ws *w, size_t sent, size_t old, bool said, const uint8_t *head, unsigned head_len,
                        size_t fresh)
{
    size_t took;

    head_sent(w, share(&sent, w->head_len - w->head_at));
    took = share(&sent, old);
    w->frame_left -= took;
    if (said)
        say_sent(w, share(&sent, w->say->len - w->say->at));
    if (sent == 0)
        return took;
    memcpy(w->head, head, head_len);
    w->head_len = (uint8_t)head_len;
    head_sent(w, share(&sent, head_len));
    w->frame_left = fresh - sent;
    return took + sent;
}

static bool between_frames(const struct ws *w)
{
    return w->frame_left == 0 && w->head_at == w->head_len;
}

static ssize_t transport_writev(struct conn *c, const struct iovec *iov, int n)
{
    struct ws *w = of(c);
    struct iovec out[OUT_PIECES + OUT_MORE];
    size_t total = size_of(iov, n = n < OUT_PIECES ? n : OUT_PIECES);
    size_t old = total < w->frame_left ? total : (size_t)w->frame_left, fresh = total - old;
    bool say = w->say != NULL && old == w->frame_left;
    uint8_t head[WS_HEAD_MAX];
    unsigned head_len = 0;
    ssize_t sent;
    int k = 0;

    if (w->head_at < w->head_len)
        out[k++] = (struct iovec){ w->head + w->head_at, (size_t)(w->head_len - w->head_at) };
    k += slice(out + k, iov, 0, old);
    if (say)
        out[k++] = (struct iovec){ w->say->p + w->say->at, w->say->len - w->say->at };
    if (fresh > 0) {
        head_len = ws_write_head(head, WS_BINARY, fresh);
        out[k++] = (struct iovec){ head, head_len };
        k += slice(out + k, iov, old, fresh);
    }
    if (k == 0 && w->base->unsent == NULL)
        return 0;
    sent = w->base->writev(c, out, k);
    return sent <= 0 ? sent : (ssize_t)note_sent(w, (size_t)sent, old, say, head, head_len, fresh);
}

/* ---- */

static bool transport_unsent(const struct conn *c)
{
    const struct ws *w = of(c);

    return w->head_at < w->head_len || (w->say != NULL && w->frame_left == 0) ||
           (w->base->unsent != NULL && w->base->unsent(c));
}

static unsigned code_for(const struct conn *c)
{
    if (of(c)->close_code != 0)
        return of(c)->close_code;
    switch (c->close_reason) {
    case CLOSE_DISCONNECT:
    case CLOSE_PEER_EOF: return WS_NORMAL;
    case CLOSE_SHUTDOWN: return WS_GOING_AWAY;
    case CLOSE_NOT_MQTT:
    case CLOSE_MALFORMED:
    case CLOSE_PROTOCOL_ERROR: return WS_RULES;
    case CLOSE_TOO_LARGE: return WS_TOO_BIG;
    default: return WS_POLICY;
    }
}

static void transport_close(struct conn *c)
{
    struct ws *w = of(c);
    unsigned code = code_for(c);
    uint8_t frame[WS_HEAD_MAX + 2];
    struct iovec iov = { frame, ws_write_head(frame, WS_CLOSE, 2) + 2 };

    if (w->phase != REQUEST && between_frames(w) && w->say == NULL) {
        frame[iov.iov_len - 2] = (uint8_t)(code >> 8);
        frame[iov.iov_len - 1] = (uint8_t)code;
        w->base->writev(c, &iov, 1);
    }
    w->base->close(c);
    bytes_free(&w->request);
    bytes_free(&w->control);
    bytes_free(&w->say);
    mem_free(MEM_CONN, w);
    c->transport_state = NULL;
}

static const struct transport transport_ws = {
    .name = "websocket",
    .readv = transport_readv,
    .writev = transport_writev,
    .pending = transport_pending,
    .unsent = transport_unsent,
    .close = transport_close,
};

bool ws_accept(struct conn *c)
{
    struct ws *w = mem_zero(MEM_CONN, sizeof *w);

    if (w == NULL)
        return false;
    w->base = c->transport;
    c->transport_state = w;
    c->transport = &transport_ws;
    return true;
}

bool ws_used(const struct conn *c)
{
    return c->transport == &transport_ws;
}
