/* TLS over a socket that does not wait.
 *
 * The library talks to the socket through two callbacks. Sending never refuses: what the socket does not take is queued
 * here, so that the library never holds a half-sent record whose retry would have to repeat the same bytes. Receiving
 * fetches several records at once into a buffer that all connections share and that is empty between two calls: the
 * library is asked until it wants more than there is, and never more is fetched than the caller has room for.
 *
 * An idle connection owns its struct tls and the library's object, no buffer.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/tls_engine.h"

#include "broker/log.h"
#include "broker/mem.h"
#include "broker/x509.h"

#include <assert.h>
#include <errno.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    RECORD = 16384,                 /* most plaintext of a record */
    OUT_HIGH = 32768,               /* enough to be worth a system call */
    QUEUE_MAX = 262144,             /* who lets more pile up asks without ever reading the answers */
    NAME_MAX_LEN = 1024,
};

/* Scratch space of the call that is going on. */
static struct {
    struct tls *owner;
    size_t room;                    /* plaintext the caller can still take */
    size_t in_at, in_len, out_len;
    bool dry;                       /* the socket has no more at the moment */
    uint8_t in[32768];
    uint8_t out[OUT_HIGH + RECORD + 2048];
    uint8_t plain[RECORD];
} io;

void tls_break(struct tls *t, int error, const char *fmt, ...)
{
    va_list ap;

    if (t->phase == TLS_BROKEN)
        return;
    t->phase = TLS_BROKEN;
    t->error = error;
    if (fmt == NULL)
        return;
    va_start(ap, fmt);
    if (vasprintf(&t->trouble, fmt, ap) < 0)
        t->trouble = NULL;
    va_end(ap);
}

/* ---- sending ---- */

static bool queue_add(struct tls *t, const void *p, size_t n)
{
    size_t len = t->queue_len - t->queue_at;

    if (len + n > QUEUE_MAX) {
        tls_break(t, EPROTO, "it makes us answer and does not read the answers");
        return false;
    }
    if (len + n > t->queue_cap) {
        char *bigger = mem_alloc(MEM_TLS, len + n);
        if (bigger == NULL) {
            tls_break(t, ENOMEM, NULL);
            return false;
        }
        memcpy(bigger, t->queue != NULL ? t->queue + t->queue_at : "", len);
        mem_free(MEM_TLS, t->queue);
        t->queue = bigger;
        t->queue_cap = (uint32_t)(len + n);
    } else if (t->queue_at > 0) {
        memmove(t->queue, t->queue + t->queue_at, len);
    }
    assert(t->queue != NULL);
    t->queue_at = 0;
    memcpy(t->queue + len, p, n);
    t->queue_len = (uint32_t)(len + n);
    return true;
}

/* How many bytes the socket took. */
static size_t send_some(struct tls *t, const void *p, size_t n)
{
    size_t done = 0;

    while (done < n && t->send_error == 0) {
        ssize_t k = send(t->fd, (const char *)p + done, n - done, MSG_NOSIGNAL);
        if (k >= 0)
            done += (size_t)k;
        else if (errno == EAGAIN)
            break;
        else if (errno != EINTR)
            t->send_error = errno;
    }
    return t->send_error != 0 ? n : done;       /* nobody will ever want the rest */
}

static void queue_flush(struct tls *t)
{
    if (t->queue == NULL)
        return;
    t->queue_at += (uint32_t)send_some(t, t->queue + t->queue_at, t->queue_len - t->queue_at);
    if (t->queue_at < t->queue_len)
        return;
    mem_free(MEM_TLS, t->queue);
    t->queue = NULL;
    t->queue_at = t->queue_len = t->queue_cap = 0;
}

/* Hands what the library has written to the socket. */
static void push(struct tls *t)
{
    size_t done = 0;

    queue_flush(t);
    if (t->queue == NULL)
        done = send_some(t, io.out, io.out_len);
    if (done < io.out_len)
        queue_add(t, io.out + done, io.out_len - done);
    io.out_len = 0;
}

static int on_send(WOLFSSL *ssl, char *p, int n, void *arg)
{
    struct tls *t = arg;

    (void)ssl;
    assert(io.owner == t && n >= 0);
    if ((size_t)n > sizeof io.out - io.out_len)
        push(t);
    if ((size_t)n > sizeof io.out)
        return queue_add(t, p, (size_t)n) ? n : WOLFSSL_CBIO_ERR_GENERAL;
    memcpy(io.out + io.out_len, p, (size_t)n);
    io.out_len += (size_t)n;
    return n;
}

/* ---- receiving ---- */

/* wolfSSL 5.5.4 reads beyond an encrypted TLS 1.3 record whose content is empty, type byte included (CVE-2024-0901). Such a
 * record is no longer than the 16 bytes of its tag, and no rightful one is that short.
 * A client that does not like our certificate says so in the clear, where the library expects ciphertext and sees a
 * malformed record: the alert is noted for the log. */
static bool records_sound(struct tls *t, const uint8_t *p, size_t n)
{
    enum { ALERT = 21, APPLICATION_DATA = 23, SHORTEST = 17 };

    while (n > 0) {
        size_t skip = n < t->rec_left ? n : t->rec_left;
        t->rec_left -= (uint32_t)skip;
        p += skip;
        n -= skip;
        if (skip > 0 && t->rec_left == 0 && t->rec_alert)
            t->alert = p[-1];
        if (n == 0)
            break;
        switch (t->rec_head++) {
        case 0: t->rec_type = *p; break;
        case 3: t->rec_high = *p; break;
        case 4:
            t->rec_head = 0;
            t->rec_left = (uint32_t)(t->rec_high << 8 | *p);
            t->rec_alert = t->rec_type == ALERT && t->rec_left == 2;
            if (t->rec_type == APPLICATION_DATA && t->rec_left < SHORTEST)
                return false;
            break;
        default: break;
        }
        p++;
        n--;
    }
    return true;
}

/* Bytes read, 0 with io.dry or t->eof or t->error set. */
static size_t fetch(struct tls *t, void *p, size_t n)
{
    ssize_t k;

    do
        k = recv(t->fd, p, n, 0);
    while (k < 0 && errno == EINTR);
    if (k < 0 && errno != EAGAIN)
        t->error = errno;
    t->eof |= k == 0;
    io.dry |= k < (ssize_t)n;
    return k > 0 ? (size_t)k : 0;
}

static int on_receive(WOLFSSL *ssl, char *p, int n, void *arg)
{
    struct tls *t = arg;
    size_t want = io.room > RECORD ? io.room - RECORD : 0, got = (size_t)n;

    (void)ssl;
    assert(io.owner == t && n >= 0);
    if (io.in_at == io.in_len) {
        if (io.dry)
            return t->eof ? WOLFSSL_CBIO_ERR_CONN_CLOSE : t->error != 0 ? WOLFSSL_CBIO_ERR_CONN_RST
                                                                        : WOLFSSL_CBIO_ERR_WANT_READ;
        /* A record that the library holds in part comes to RECORD bytes of plaintext, what is fetched in advance to
         * no more than its own size: both fit into the caller's room. */
        want = want > sizeof io.in ? sizeof io.in : want;
        want = want < (size_t)n ? (size_t)n : want;
        want = want > sizeof io.in ? sizeof io.in : want;
        io.in_at = 0;
        io.in_len = fetch(t, io.in, want);
        if (io.in_len == 0)
            return on_receive(ssl, p, n, arg);
        if (!records_sound(t, io.in, io.in_len)) {
            tls_break(t, EPROTO, "an empty TLS record, which is an attack on old libraries");
            io.in_len = 0;
            return WOLFSSL_CBIO_ERR_GENERAL;
        }
    }
    if (got > io.in_len - io.in_at)
        got = io.in_len - io.in_at;
    memcpy(p, io.in + io.in_at, got);
    io.in_at += got;
    return (int)got;
}

void tls_engine_setup(WOLFSSL_CTX *ctx)
{
    wolfSSL_CTX_SetIORecv(ctx, on_receive);
    wolfSSL_CTX_SetIOSend(ctx, on_send);
}

static void io_begin(struct tls *t, size_t room)
{
    assert(io.owner == NULL);
    io.owner = t;
    io.room = room;
    io.in_at = io.in_len = io.out_len = 0;
    io.dry = false;
}

static void io_end(struct tls *t)
{
    assert(io.owner == t && (io.in_at == io.in_len || t->phase >= TLS_ENDED));
    push(t);
    io.owner = NULL;
}

/* ---- the handshake ---- */

/* Debian's build keeps 37 KB of session for each connection, nearly all of them zero. Whole pages of zeros can be given
 * back: they read as zeros again. */
static void give_back_zero_pages(void *block)
{
    static const char zeros[4096];
    size_t page = (size_t)sysconf(_SC_PAGESIZE), n;
    char *end, *run = NULL, *p;

    if (block == NULL || page % sizeof zeros != 0)
        return;
    n = malloc_usable_size(block);
    if (n < 4 * page)
        return;
    end = (char *)block + n;
    p = (char *)(((uintptr_t)block + page - 1) & ~(uintptr_t)(page - 1));
    for (; p + page <= end; p += page) {
        bool zero = true;
        for (size_t i = 0; zero && i < page; i += sizeof zeros)
            zero = memcmp(p + i, zeros, sizeof zeros) == 0;
        if (zero && run == NULL)
            run = p;
        if (!zero && run != NULL) {
            madvise(run, (size_t)(p - run), MADV_DONTNEED);
            run = NULL;
        }
    }
    if (run != NULL)
        madvise(run, (size_t)(p - run), MADV_DONTNEED);
}

static char *name_kept(const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = mem_alloc(MEM_TLS, n);

    return copy != NULL ? memcpy(copy, text, n) : NULL;
}

/* The verified certificate's names. False: it has none that could serve, and t is BROKEN. */
static bool learn_names(struct tls *t)
{
    WOLFSSL_X509 *cert = wolfSSL_get_peer_certificate(t->ssl);
    char text[NAME_MAX_LEN];
    enum x509_name got;
    struct x509 x;
    int len = 0;
    const unsigned char *der = cert != NULL ? wolfSSL_X509_get_der(cert, &len) : NULL;
    bool sound = der != NULL && len > 0 && x509_cert((struct view){ der, (size_t)len }, &x);

    if (!sound) {
        tls_break(t, EPROTO, "the certificate can't be read");
        goto out;
    }
    got = x509_common_name(x.subject, text, sizeof text);
    if (got == X509_NAME_BAD || (t->set->want_name && got != X509_NAME_OK)) {
        tls_break(t, EPROTO, "the common name of the client's certificate %s", x509_name_text(got));
        goto out;
    }
    if (got == X509_NAME_OK)
        t->name = name_kept(text);
    got = x509_full_name(x.subject, text, sizeof text);
    if (t->set->want_subject && got != X509_NAME_OK) {
        tls_break(t, EPROTO, "the subject of the client's certificate %s", x509_name_text(got));
        goto out;
    }
    if (t->set->want_subject)
        t->subject = name_kept(text);
    /* Without memory for it the client must not pass for one without a name. */
    if ((t->set->want_name && t->name == NULL) || (t->set->want_subject && t->subject == NULL))
        tls_break(t, ENOMEM, NULL);
out:
    wolfSSL_X509_free(cert);
    return t->phase != TLS_BROKEN;
}

static void finish(struct tls *t)
{
    t->phase = TLS_UP;
    if (!t->set->client && t->set->verify)
        learn_names(t);
    t->name = t->psk_identity != NULL ? t->psk_identity : t->name;
    t->psk_identity = NULL;
    wolfSSL_FreeArrays(t->ssl);
    give_back_zero_pages(tls_lib_session(t->ssl));
}

/* The library gave up: in words. */
static void explain(struct tls *t, int error, const char *when)
{
    WOLFSSL_ALERT_HISTORY h = { { 0, 0 }, { 0, 0 } };
    char buf[128];
    bool cut = error == SOCKET_ERROR_E || error == SOCKET_PEER_CLOSED_E || error == WOLFSSL_ERROR_SYSCALL;

    wolfSSL_get_alert_history(t->ssl, &h);
    if (error == FATAL_ERROR && h.last_rx.code >= 0 && h.last_rx.level == alert_fatal)
        tls_break(t, EPROTO, "%s: the other side says: %s", when, tls_alert_text(h.last_rx.code));
    else if (t->alert != 0 && t->phase == TLS_SHAKING)
        tls_break(t, EPROTO, "%s: the other side says: %s", when, tls_alert_text(t->alert));
    else if (cut && t->error != 0)
        tls_break(t, t->error, NULL);
    else if (cut)
        tls_break(t, EPROTO, "%s: the other side has closed the connection", when);
    else if (t->set->psk != NULL && t->psk_identity == NULL && (error == PSK_KEY_ERROR || error == BUFFER_ERROR ||
                                                                error == UNSUPPORTED_SUITE || error == MATCH_SUITE_ERROR))
        tls_break(t, EPROTO, "%s: no PSK identity that we know, or no cipher in common", when);
    else
        tls_break(t, EPROTO, "%s: %s", when, tls_error_text(error, buf, sizeof buf));
    tls_lib_forget_errors();
}

static void shake(struct tls *t)
{
    int r = t->set->client ? wolfSSL_connect(t->ssl) : wolfSSL_accept(t->ssl);
    int error = r == WOLFSSL_SUCCESS ? 0 : wolfSSL_get_error(t->ssl, r);

    if (t->phase == TLS_BROKEN || error == WOLFSSL_ERROR_WANT_READ)
        return;
    if (error == 0)
        finish(t);
    else
        explain(t, error, "handshake");
}

/* Is it TLS that the client speaks? Looks without taking the byte away. */
static void sniff(struct tls *t)
{
    uint8_t first;
    ssize_t n;

    do
        n = recv(t->fd, &first, 1, MSG_PEEK);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN)
        tls_break(t, errno, NULL);
    if (n == 0)
        t->phase = TLS_ENDED;
    if (n <= 0)
        return;
    if (first == 0x16)
        tls_begin(t);
    else if (first == 0x10)
        tls_break(t, EPROTO, "an MQTT client without TLS, on a port for TLS");
    else
        tls_break(t, EPROTO, "the client does not speak TLS (first byte 0x%02x)", first);
}

bool tls_begin(struct tls *t)
{
    struct tls_set *s = t->set;
    int mode = s->client ? WOLFSSL_VERIFY_PEER : WOLFSSL_VERIFY_PEER | WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT;

    t->ssl = wolfSSL_new(s->ctx);
    if (t->ssl == NULL || !tls_lib_own_ciphers(t->ssl, s->ciphers)) {
        tls_lib_forget_errors();
        tls_break(t, ENOMEM, NULL);
        return false;
    }
    wolfSSL_SetIOReadCtx(t->ssl, t);
    wolfSSL_SetIOWriteCtx(t->ssl, t);
    if (s->psk != NULL || s->psk_key_len > 0)
        wolfSSL_set_psk_callback_ctx(t->ssl, t);
    if (s->alpn != NULL)
        wolfSSL_UseALPN(t->ssl, s->alpn, (unsigned)strlen(s->alpn), WOLFSSL_ALPN_CONTINUE_ON_MISMATCH);
    if (s->verify && tls_clock_unset()) {
        wolfSSL_SetCertCbCtx(t->ssl, t);
        wolfSSL_set_verify(t->ssl, mode, tls_verify_without_clock);
    }
    t->phase = TLS_SHAKING;
    return true;
}

void tls_step(struct tls *t)
{
    if (t->phase != TLS_SHAKING)
        return;
    io_begin(t, 0);
    shake(t);
    io_end(t);
}

/* ---- reading and writing ---- */

/* One wolfSSL_read(); false: nothing more now. */
static bool read_piece(struct tls *t, struct iovec *to, size_t *total)
{
    int n = wolfSSL_read(t->ssl, to->iov_base, (int)(to->iov_len > RECORD ? RECORD : to->iov_len)), error;

    if (n > 0) {
        to->iov_base = (char *)to->iov_base + n;
        to->iov_len -= (size_t)n;
        *total += (size_t)n;
        io.room -= (size_t)n;
        return true;
    }
    error = wolfSSL_get_error(t->ssl, n);
    if (t->phase == TLS_BROKEN)
        return false;
    if (error == WOLFSSL_ERROR_WANT_READ)
        return io.in_at < io.in_len;            /* a message of the library's own came between */
    if (error == WOLFSSL_ERROR_ZERO_RETURN || (t->eof && io.in_at == io.in_len))
        t->phase = TLS_ENDED;
    else
        explain(t, error, "reading");
    return false;
}

static void read_pieces(struct tls *t, const struct iovec *iov, int n, size_t *total)
{
    for (int i = 0; i < n && t->phase == TLS_UP; i++) {
        struct iovec to = iov[i];
        while (to.iov_len > 0)
            if (!read_piece(t, &to, total))
                return;
    }
}

ssize_t tls_readv(struct tls *t, const struct iovec *iov, int n)
{
    size_t total = 0, room = 0;

    for (int i = 0; i < n; i++)
        room += iov[i].iov_len;
    io_begin(t, room);
    if (t->phase == TLS_SNIFF)
        sniff(t);
    if (t->phase == TLS_SHAKING)
        shake(t);
    if (t->phase == TLS_UP)
        read_pieces(t, iov, n, &total);
    io_end(t);
    if (total > 0)
        return (ssize_t)total;
    if (t->phase == TLS_ENDED)
        return 0;
    errno = t->phase == TLS_BROKEN ? t->error : EAGAIN;
    return -1;
}

bool tls_pending(const struct tls *t)
{
    /* An end that was noticed behind the last bytes is told by the next read, not by the socket. */
    return t->phase >= TLS_ENDED || (t->phase == TLS_UP && wolfSSL_pending(t->ssl) > 0);
}

bool tls_unsent(const struct tls *t)
{
    return t->queue != NULL;
}

bool tls_ready(const struct tls *t)
{
    return t->phase == TLS_UP;
}

/* The next up to RECORD bytes in one piece: small ones are gathered, so that they share a record. */
static size_t gather(const struct iovec *iov, int n, size_t skip, const void **p)
{
    size_t len = 0;

    for (int i = 0; i < n && len < RECORD; i++) {
        const char *from = iov[i].iov_base;
        size_t k = iov[i].iov_len;
        if (skip >= k) {
            skip -= k;
            continue;
        }
        from += skip;
        k -= skip;
        skip = 0;
        if (len == 0 && (k >= RECORD || i == n - 1)) {
            *p = from;
            return k > RECORD ? RECORD : k;
        }
        k = k > RECORD - len ? RECORD - len : k;
        memcpy(io.plain + len, from, k);
        len += k;
    }
    *p = io.plain;
    return len;
}

ssize_t tls_writev(struct tls *t, const struct iovec *iov, int n)
{
    size_t total = 0, len;
    const void *p;

    io_begin(t, 0);
    queue_flush(t);
    /* Ciphertext that piles up can't be taken back: no more is made than the socket takes, but for the last record. */
    while (t->phase == TLS_UP && t->queue == NULL && t->send_error == 0 && (len = gather(iov, n, total, &p)) > 0) {
        int r = wolfSSL_write(t->ssl, p, (int)len);
        if (r != (int)len) {
            explain(t, wolfSSL_get_error(t->ssl, r), "writing");
            break;
        }
        total += len;
        if (io.out_len >= OUT_HIGH)
            push(t);
    }
    io_end(t);
    if (t->send_error != 0 || t->phase == TLS_BROKEN) {
        errno = t->send_error != 0 ? t->send_error : t->error;
        return -1;
    }
    if (total > 0 || n == 0)
        return (ssize_t)total;
    errno = t->phase == TLS_ENDED ? EPIPE : EAGAIN;
    return -1;
}

/* ---- begin and end ---- */

struct tls *tls_new(struct tls_set *set, int fd)
{
    struct tls *t = mem_zero(MEM_TLS, sizeof *t);

    if (t == NULL)
        return NULL;
    t->set = tls_set_ref(set);
    t->fd = fd;
    t->phase = TLS_SNIFF;
    return t;
}

const char *tls_trouble(const struct tls *t)
{
    return t->trouble;
}

void tls_free(struct tls **tp)
{
    struct tls *t = *tp;

    *tp = NULL;
    if (t == NULL)
        return;
    if (t->phase == TLS_UP && t->queue == NULL) {
        io_begin(t, 0);
        wolfSSL_shutdown(t->ssl);
        t->phase = TLS_ENDED;
        io_end(t);
    }
    if (t->ssl != NULL)
        wolfSSL_free(t->ssl);
    tls_lib_forget_errors();
    tls_set_unref(&t->set);
    mem_free(MEM_TLS, t->queue);
    mem_free(MEM_TLS, t->name);
    mem_free(MEM_TLS, t->subject);
    mem_free(MEM_TLS, t->psk_identity);
    free(t->trouble);
    mem_free(MEM_TLS, t);
}
