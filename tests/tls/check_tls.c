/* TLS in one process: our server's side against our client's, over a socket pair. What other programs make of it is in
 * tests/tls/interop.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/tls_engine.h"

#include "broker/mem.h"
#include "broker/x509.h"
#include "suite.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* In sanitized builds. */
extern void __lsan_disable(void) __attribute__((weak));
extern void __lsan_enable(void) __attribute__((weak));

static char certs[] = "/tmp/check_tls.XXXXXX";

/* A path among the certificates; one of 16 rotating texts. NULL stays NULL. */
static char *in_certs(const char *name)
{
    static char paths[16][128];
    static unsigned next;
    char *p;

    if (name == NULL)
        return NULL;
    p = paths[next++ % 16];
    snprintf(p, sizeof paths[0], "%s/%s", certs, name);
    return p;
}

/* ---- two ends ---- */

struct pair {
    struct tls_context *server, *client;
    struct tls *s, *c;
    int fd[2];
};

static struct config_listener listener_of(const char *certfile, const char *keyfile)
{
    return (struct config_listener){ .name = (char *)(uintptr_t)"test", .tls_version = 0x0303,
                                     .certfile = in_certs(certfile), .keyfile = in_certs(keyfile) };
}

static struct config_listener listener_psk(void)
{
    struct config_listener l = listener_of(NULL, NULL);
    FILE *f = fopen(in_certs("psk"), "w");

    ck_assert_ptr_nonnull(f);
    fputs("sensor-1:00112233445566778899aabbccddeeff\nsensor-2:ff\n", f);
    fclose(f);
    chmod(in_certs("psk"), 0600);
    l.psk_hint = (char *)(uintptr_t)"hint";
    l.auth.psk_file = in_certs("psk");
    return l;
}

static void open_pair(struct pair *p, const struct config_listener *l, const struct tls_client_options *o)
{
    char *why = NULL;

    *p = (struct pair){ .server = tls_context_new(l, &why) };
    ck_assert_msg(p->server != NULL, "server: %s", why);
    p->client = tls_client_context_new(o, &why);
    ck_assert_msg(p->client != NULL, "client: %s", why);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p->fd), 0);
}

static void begin_pair(struct pair *p, const char *host)
{
    p->s = tls_new(tls_context_set(p->server), p->fd[0]);
    p->c = tls_client_start(p->client, p->fd[1], host);
    ck_assert(p->s != NULL && p->c != NULL);
}

static void close_pair(struct pair *p)
{
    tls_free(&p->c);
    tls_free(&p->s);
    tls_context_free(&p->server);
    tls_context_free(&p->client);
    close(p->fd[0]);
    close(p->fd[1]);
    tls_tidy();
}

/* What is left of a connection after a read: 'o'pen, 'e'nded, 'b'roken. */
static char look(struct tls *t)
{
    char byte[64];
    struct iovec v = { byte, sizeof byte };
    ssize_t n = tls_readv(t, &v, 1);

    ck_assert(n <= 0);
    return n == 0 ? 'e' : errno == EAGAIN ? 'o' : 'b';
}

/* Until both are ready, or one has given up and the other has heard of it. */
static void shake_hands(struct pair *p)
{
    for (int i = 0; i < 30; i++) {
        look(p->s);
        tls_writev(p->s, NULL, 0);
        look(p->c);
        tls_writev(p->c, NULL, 0);
    }
}

static const char *trouble(const struct tls *t)
{
    return tls_trouble(t) != NULL ? tls_trouble(t) : "";
}

static void must_talk(struct pair *p, const char *what)
{
    char got[8];
    struct iovec v = { (void *)(uintptr_t)"hello", 5 }, to = { got, sizeof got };

    ck_assert_msg(tls_ready(p->s) && tls_ready(p->c), "%s: server \"%s\", client \"%s\"", what, trouble(p->s), trouble(p->c));
    ck_assert_int_eq(tls_writev(p->c, &v, 1), 5);
    ck_assert_int_eq(tls_readv(p->s, &to, 1), 5);
    ck_assert_int_eq(tls_writev(p->s, &v, 1), 5);
    ck_assert_int_eq(tls_readv(p->c, &to, 1), 5);
    ck_assert_int_eq(memcmp(got, "hello", 5), 0);
}

/* ---- who comes in ---- */

static const struct client_row {
    const char *cert, *crl;
    const char *trouble;            /* the server's; NULL: comes in */
    const char *name, *subject;
} clients[] = {
    { "client", NULL, NULL, "device-1", "CN=device-1,OU=sensors,O=Acme\\, Inc.,C=NL" },
    { "client", "ca.crl", NULL, "device-1", "CN=device-1,OU=sensors,O=Acme\\, Inc.,C=NL" },
    { "client-rsa", NULL, NULL, "device-rsa", "CN=device-rsa" },
    { "client-utf8", NULL, NULL, "d\xC3\xA9v,ice", "CN=d\\C3\\A9v\\,ice" },
    { NULL, NULL, "no certificate was shown", NULL, NULL },
    { "client-expired", NULL, "has expired", NULL, NULL },
    { "client-future", NULL, "not valid yet", NULL, NULL },
    { "client-revoked", "ca.crl", "has been revoked", NULL, NULL },
    { "client-revoked", NULL, NULL, "device-lost", "CN=device-lost" },
    { "client", "ended.crl", "revocation list of the certificate's issuer", NULL, NULL },
    { "client", "middle.crl", "no revocation list of the certificate's issuer", NULL, NULL },
    { "client-foreign", NULL, "issued by nobody we trust", NULL, NULL },
    { "client-self", NULL, "issued by nobody we trust", NULL, NULL },
    { "client-middle", NULL, "issued by nobody we trust", NULL, NULL },
    { "client-wrong", NULL, "another purpose", NULL, NULL },
    { "client-nul", NULL, "common name of the client's certificate is not plain text", NULL, NULL },
    { "client-two", NULL, "common name of the client's certificate is there twice", NULL, NULL },
    { "client-none", NULL, "common name of the client's certificate is missing", NULL, NULL },
};
enum { CLIENT_ROWS = sizeof clients / sizeof clients[0] };

static void name_files(struct tls_client_options *o, const char *cert, char key[64], char crt[64])
{
    if (cert == NULL)
        return;
    snprintf(crt, 64, "%s.crt", cert);
    snprintf(key, 64, "%s.key", cert);
    o->certfile = in_certs(crt);
    o->keyfile = in_certs(key);
}

static void run_client(const struct client_row *r, int version, const char *want)
{
    struct config_listener l = listener_of("server.crt", "server.key");
    struct tls_client_options o = { .cafile = in_certs("ca.crt"), .tls_version_most = version };
    char key[64], crt[64];
    struct pair p;

    name_files(&o, r->cert, key, crt);
    l.cafile = in_certs(r->crl != NULL && strcmp(r->crl, "middle.crl") == 0 ? "authorities" : "ca.crt");
    l.crlfile = in_certs(r->crl);
    l.require_certificate = l.use_identity_as_username = true;
    l.use_subject_as_username = r->subject != NULL;
    open_pair(&p, &l, &o);
    begin_pair(&p, "localhost");
    shake_hands(&p);
    if (want == NULL) {
        must_talk(&p, r->cert);
        ck_assert_str_eq(wolfSSL_get_version(p.s->ssl), version == 0x0303 ? "TLSv1.2" : "TLSv1.3");
        ck_assert_str_eq(p.s->name, r->name);
        ck_assert_str_eq(p.s->subject, r->subject);
    } else {
        ck_assert_msg(strstr(trouble(p.s), want) != NULL, "%s: %s", r->cert != NULL ? r->cert : "none", trouble(p.s));
        ck_assert_int_eq(look(p.s), 'b');
        ck_assert_ptr_null(p.s->name);
        ck_assert(!tls_ready(p.s));
    }
    close_pair(&p);
}

START_TEST(client_rows)
{
    const struct client_row *r = &clients[_i / 2];

    run_client(r, _i % 2 ? 0x0303 : 0x0304, r->trouble);
}
END_TEST

/* Until the clock is set, dates are nobody's fault; all else is. T5 */
START_TEST(clock_unset)
{
    static const struct client_row rows[] = {
        { "client-expired", NULL, NULL, "device-old", "CN=device-old" },
        { "client-future", NULL, NULL, "device-new", "CN=device-new" },
        { "client-future", "ca.crl", "", NULL, NULL },  /* a list that had ended before the certificate was issued */
        { "client", "ca.crl", NULL, "device-1", "CN=device-1,OU=sensors,O=Acme\\, Inc.,C=NL" },
        { "client-revoked", "ca.crl", "has been revoked", NULL, NULL },
        { "client-revoked-old", "ca.crl", "has been revoked", NULL, NULL },
        { "client-foreign", NULL, "issued by nobody we trust", NULL, NULL },
        { "client-self", NULL, "issued by nobody we trust", NULL, NULL },
        { "client-wrong", NULL, "another purpose", NULL, NULL },
        { NULL, NULL, "no certificate was shown", NULL, NULL },
    };

    /* A library whose own time_t ends in 2038 can't pretend that it is 2048. */
    time_t t;
    bool narrow = wc_GetTime(&t, sizeof(int32_t)) == 0;

    tls_clock_offset_s = 1000 - (int64_t)time(NULL);
    for (size_t i = 0; i < 2 * sizeof rows / sizeof rows[0]; i++)
        if (!narrow || strcmp(rows[i / 2].cert != NULL ? rows[i / 2].cert : "", "client-future") != 0)
            run_client(&rows[i / 2], i % 2 ? 0x0303 : 0x0304, rows[i / 2].trouble);
    tls_clock_offset_s = 0;
}
END_TEST

/* ---- whom we go to ---- */

static const struct {
    const char *server, *cafile, *host;
    bool insecure;
    const char *trouble;            /* the client's */
} servers[] = {
    { "server", "ca.crt", "localhost", false, NULL },
    { "server", "ca.crt", "127.0.0.1", false, NULL },
    { "server-rsa", "ca.crt", "localhost", false, NULL },
    { "server-chain", "ca.crt", "localhost", false, NULL },
    { "server", "ca.crt", "127.0.0.2", false, "another" },
    { "server", "ca.crt", "elsewhere.example", false, "another" },
    { "server-other", "ca.crt", "localhost", false, "another" },
    { "server-expired", "ca.crt", "localhost", false, "has expired" },
    { "server", "foreign.crt", "localhost", false, "issued by nobody we trust" },
    { "server-foreign", "ca.crt", "localhost", false, "issued by nobody we trust" },
    { "server-other", "ca.crt", "localhost", true, NULL },
    { "server-foreign", "ca.crt", "localhost", true, "issued by nobody we trust" },
    { "server-expired", "ca.crt", "localhost", true, "has expired" },
};

START_TEST(server_rows)
{
    char crt[64], key[64];
    struct tls_client_options o = { .cafile = in_certs(servers[_i].cafile), .insecure = servers[_i].insecure, .alpn = "mqtt" };
    struct config_listener l;
    struct pair p;

    snprintf(crt, sizeof crt, "%s.crt", servers[_i].server);
    snprintf(key, sizeof key, "%s.key", servers[_i].server);
    l = listener_of(crt, key);
    open_pair(&p, &l, &o);
    begin_pair(&p, servers[_i].host);
    shake_hands(&p);
    if (servers[_i].trouble == NULL) {
        must_talk(&p, servers[_i].server);
    } else {
        ck_assert_msg(strstr(trouble(p.c), servers[_i].trouble) != NULL, "%d: %s", _i, trouble(p.c));
        ck_assert_int_eq(look(p.s), 'b');
        ck_assert_msg(strstr(trouble(p.s), "the other side") != NULL, "%s", trouble(p.s));
    }
    close_pair(&p);
}
END_TEST

/* The library's client would take an anonymous server; ours must not, whatever its verification says. T1 */
START_TEST(anonymous_server)
{
    struct config_listener l = listener_of("server.crt", "server.key");
    struct tls_client_options o = { .cafile = in_certs("ca.crt"), .tls_version_most = 0x0303 };
    char names[8192];
    struct pair p;

    open_pair(&p, &l, &o);
    wolfSSL_get_ciphers(names, sizeof names);
    if (strstr(names, "ADH-AES128-SHA") != NULL) {
        ck_assert_int_eq(wolfSSL_CTX_set_cipher_list(tls_context_set(p.server)->ctx, "ADH-AES128-SHA"), 1);
        begin_pair(&p, "localhost");
        shake_hands(&p);
        ck_assert(!tls_ready(p.c) && !tls_ready(p.s));
    }
    close_pair(&p);
}
END_TEST

/* ---- shared keys ---- */

static const struct {
    const char *identity, *key, *trouble;
} keys[] = {
    { "sensor-1", "00112233445566778899AABBCCDDEEFF", NULL },
    { "sensor-2", "ff", NULL },
    { "sensor-1", "00112233445566778899aabbccddeefe", "wrong" },
    { "sensor-3", "ff", "no PSK identity that we know" },
};

START_TEST(psk_rows)
{
    struct config_listener l = listener_psk();
    struct tls_client_options o = { .psk_identity = keys[_i / 2].identity, .psk = keys[_i / 2].key,
                                    .tls_version_most = _i % 2 ? 0x0303 : 0 };
    struct pair p;

    open_pair(&p, &l, &o);
    begin_pair(&p, "localhost");
    shake_hands(&p);
    if (keys[_i / 2].trouble == NULL) {
        must_talk(&p, keys[_i / 2].identity);
        ck_assert_str_eq(p.s->name, keys[_i / 2].identity);
        ck_assert_str_eq(wolfSSL_get_version(p.s->ssl), _i % 2 ? "TLSv1.2" : "TLSv1.3");
    } else {
        ck_assert(!tls_ready(p.s) && p.s->name == NULL);
        ck_assert_msg(strstr(trouble(p.s), keys[_i / 2].trouble) != NULL, "%d: %s", _i, trouble(p.s));
    }
    close_pair(&p);
}
END_TEST

/* A client with a certificate instead of a key gets nowhere, nor does the reverse. */
START_TEST(psk_against_certificate)
{
    struct config_listener with_key = listener_psk(), with_cert = listener_of("server.crt", "server.key");
    struct tls_client_options cert = { .cafile = in_certs("ca.crt") }, key = { .psk_identity = "sensor-2", .psk = "ff" };
    struct pair p;

    open_pair(&p, &with_key, &cert);
    begin_pair(&p, "localhost");
    shake_hands(&p);
    ck_assert(!tls_ready(p.s) && !tls_ready(p.c));
    close_pair(&p);
    open_pair(&p, &with_cert, &key);
    begin_pair(&p, "localhost");
    shake_hands(&p);
    ck_assert(!tls_ready(p.s) && !tls_ready(p.c));
    close_pair(&p);
}
END_TEST

/* Where connections share the list of ciphers with their context, the library narrows it down for everybody once a client
 * offers a key or a ticket. */
START_TEST(a_client_changes_nothing_for_others)
{
    struct config_listener l = listener_of("server.crt", "server.key");
    struct tls_client_options key = { .psk_identity = "sensor-2", .psk = "ff", .tls_version_most = 0 };
    struct tls_client_options cert = { .cafile = in_certs("ca.crt"), .tls_version_most = 0x0303 };
    char *why = NULL;
    struct pair p;

    open_pair(&p, &l, &key);
    begin_pair(&p, "localhost");
    shake_hands(&p);
    ck_assert(!tls_ready(p.s));
    tls_free(&p.c);
    tls_free(&p.s);
    close(p.fd[0]);
    close(p.fd[1]);
    tls_context_free(&p.client);
    p.client = tls_client_context_new(&cert, &why);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p.fd), 0);
    begin_pair(&p, "localhost");
    shake_hands(&p);
    must_talk(&p, "1.2 after a key in 1.3");
    close_pair(&p);
}
END_TEST

/* ---- bytes ---- */

static uint8_t byte_at(size_t i)
{
    return (uint8_t)(i * 2654435761u >> 13);
}

/* Sends `total` bytes in pieces of many sizes through a socket that takes little at a time. */
static void stream(struct tls *from, struct tls *to, size_t total, size_t most_read)
{
    static uint8_t out[70000], in[70000];
    size_t sent = 0, got = 0, step = 1, wrong = 0;

    for (int idle = 0; got < total; ) {
        size_t n = total - sent < step ? total - sent : step, room = most_read;
        struct iovec pieces[3], v[2] = { { in, room / 3 }, { in + room / 3, room - room / 3 } };
        ssize_t k;

        for (size_t i = 0; i < n; i++)
            out[i] = byte_at(sent + i);
        pieces[0] = (struct iovec){ out, n / 5 };
        pieces[1] = (struct iovec){ out + n / 5, n / 7 };
        pieces[2] = (struct iovec){ out + n / 5 + n / 7, n - n / 5 - n / 7 };
        k = tls_writev(from, pieces, n > 0 ? 3 : 0);
        ck_assert_msg(k >= 0 || errno == EAGAIN, "%s", trouble(from));
        sent += k > 0 ? (size_t)k : 0;
        step = step * 7 % 69997 + 1;
        ck_assert_uint_le(from->queue_len, 120000);
        do {
            k = tls_readv(to, v, 2);
            ck_assert_msg(k > 0 || (k < 0 && errno == EAGAIN), "%s", trouble(to));
            for (ssize_t i = 0; i < k; i++)
                wrong += in[i] != byte_at(got + (size_t)i);
            ck_assert_uint_eq(wrong, 0);
            got += k > 0 ? (size_t)k : 0;
            idle = k > 0 ? 0 : idle + 1;
        } while (k > 0 && tls_pending(to));
        ck_assert_int_lt(idle, 100);
    }
}

START_TEST(streams)
{
    struct config_listener l = listener_of("server.crt", "server.key");
    struct tls_client_options o = { .cafile = in_certs("ca.crt"), .tls_version_most = _i >= 6 ? 0x0303 : 0 };
    static const size_t rooms[] = { 65536, 30000, 16385, 5000, 7, 1 };
    int small = 4608;
    struct pair p;

    open_pair(&p, &l, &o);
    for (int i = 0; i < 2; i++)
        setsockopt(p.fd[i], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    begin_pair(&p, "localhost");
    shake_hands(&p);
    must_talk(&p, "stream");
    stream(p.c, p.s, rooms[_i % 6] < 100 ? 60000 : 3000000, rooms[_i % 6]);
    stream(p.s, p.c, rooms[_i % 6] < 100 ? 60000 : 3000000, rooms[_i % 6]);
    close_pair(&p);
}
END_TEST

/* What was sent before the goodbye arrives before the end does. */
START_TEST(end_comes_last)
{
    struct config_listener l = listener_of("server.crt", "server.key");
    struct tls_client_options o = { .cafile = in_certs("ca.crt") };
    struct iovec v = { (void *)(uintptr_t)"bye", 3 };
    char got[64];
    struct iovec to = { got, sizeof got };
    struct pair p;

    open_pair(&p, &l, &o);
    begin_pair(&p, "localhost");
    shake_hands(&p);
    ck_assert_int_eq(tls_writev(p.c, &v, 1), 3);
    tls_free(&p.c);
    if (_i == 1)
        shutdown(p.fd[1], SHUT_WR);
    ck_assert_int_eq(tls_readv(p.s, &to, 1), 3);
    ck_assert(tls_pending(p.s));
    ck_assert_int_eq(tls_readv(p.s, &to, 1), 0);
    ck_assert_int_eq(tls_readv(p.s, &to, 1), 0);
    close_pair(&p);
}
END_TEST

static const struct {
    const char *name, *bytes;
    size_t len;
    const char *trouble;            /* "": ended without one */
} strangers[] = {
#define BYTES(s) s, sizeof s - 1
    { "nothing", BYTES(""), "" },
    { "MQTT without TLS", BYTES("\x10\x0c\0\4MQTT\4\2\0\x3c\0\0"), "an MQTT client without TLS" },
    { "HTTP", BYTES("GET / HTTP/1.1\r\n\r\n"), "does not speak TLS (first byte 0x47)" },
    { "SSL 2", BYTES("\x80\x2e\1\0\2\0\x15"), "does not speak TLS (first byte 0x80)" },
    { "one byte of a handshake", BYTES("\x16"), "closed" },
    { "rubbish as a handshake", BYTES("\x16\3\1\0\5hello"), "handshake" },
    { "an empty record", BYTES("\x16\3\3\0\0"), "handshake" },
    { "a record that is too large", BYTES("\x16\3\3\xff\xff\1\0\xff\xff"), "handshake" },
    { "application data first", BYTES("\x16\3\3\0\0\x17\3\3\0\x05hello"), "" },
    { "a hello of SSL 3", BYTES("\x16\3\0\0\x2d\1\0\0\x29\3\0"
                                "0123456789abcdef0123456789abcdef\0\0\2\0\x2f\1\0"), "handshake" },
};

START_TEST(stranger_rows)
{
    struct config_listener l = listener_of("server.crt", "server.key");
    struct tls_client_options o = { .cafile = in_certs("ca.crt") };
    struct pair p;
    char end = 'o';

    open_pair(&p, &l, &o);
    p.s = tls_new(tls_context_set(p.server), p.fd[0]);
    ck_assert_int_eq(look(p.s), 'o');
    ck_assert_ptr_null(p.s->ssl);
    ck_assert_int_eq(write(p.fd[1], strangers[_i].bytes, strangers[_i].len), (ssize_t)strangers[_i].len);
    shutdown(p.fd[1], SHUT_WR);
    for (int i = 0; i < 5 && end == 'o'; i++)
        end = look(p.s);
    ck_assert_msg(end == (strangers[_i].len == 0 ? 'e' : 'b'), "%s: %c", strangers[_i].name, end);
    ck_assert_msg(strstr(trouble(p.s), strangers[_i].trouble) != NULL, "%s: %s", strangers[_i].name, trouble(p.s));
    close_pair(&p);
}
END_TEST

/* A handshake that ends after any number of bytes, or goes wrong in any of them. */
START_TEST(cut_and_bent_handshakes)
{
    struct config_listener l = listener_of("server.crt", "server.key");
    struct tls_client_options o = { .cafile = in_certs("ca.crt") };
    uint8_t hello[2048];
    ssize_t len;
    struct pair p;

    open_pair(&p, &l, &o);
    p.c = tls_client_start(p.client, p.fd[1], "localhost");
    len = read(p.fd[0], hello, sizeof hello);
    ck_assert_int_gt(len, 100);
    tls_free(&p.c);
    for (ssize_t i = 1; i < 2 * len; i++) {
        ssize_t n = i < len ? i : len;
        bool bent = i >= len;
        int fd[2];
        struct tls *t;

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
        t = tls_new(tls_context_set(p.server), fd[0]);
        if (bent)
            hello[i - len] ^= 0x55;
        ck_assert_int_eq(write(fd[1], hello, (size_t)n), n);
        if (bent)
            hello[i - len] ^= 0x55;
        look(t);
        shutdown(fd[1], SHUT_WR);
        ck_assert_int_eq(look(t), 'b');
        tls_free(&t);
        close(fd[0]);
        close(fd[1]);
    }
    close_pair(&p);
}
END_TEST

/* CVE-2024-0901: a record too short to hold even its content type. */
START_TEST(empty_inner_record)
{
    struct config_listener l = listener_of("server.crt", "server.key");
    struct tls_client_options o = { .cafile = in_certs("ca.crt"), .tls_version = 0x0304 };
    uint8_t record[5 + 16] = { 0x17, 3, 3, 0, 16 };
    struct pair p;

    open_pair(&p, &l, &o);
    begin_pair(&p, "localhost");
    shake_hands(&p);
    must_talk(&p, "before");
    ck_assert_int_eq(write(p.fd[1], record, sizeof record), (ssize_t)sizeof record);
    ck_assert_int_eq(look(p.s), 'b');
    ck_assert_ptr_nonnull(strstr(trouble(p.s), "empty TLS record"));
    close_pair(&p);
}
END_TEST

/* Records of any type and length in the middle of a connection. */
START_TEST(strange_records)
{
    static const uint8_t types[] = { 0, 20, 21, 22, 23, 24, 25, 128, 255 };
    static const uint16_t lengths[] = { 0, 1, 2, 16, 17, 100, 16384, 16640, 16641, 18432, 18433, 65535 };
    struct config_listener l = listener_of("server.crt", "server.key");
    struct tls_client_options o = { .cafile = in_certs("ca.crt"), .tls_version_most = _i ? 0x0303 : 0 };
    static uint8_t record[5 + 65535];
    struct pair p;

    open_pair(&p, &l, &o);
    for (size_t i = 0; i < sizeof types * (sizeof lengths / sizeof lengths[0]); i++) {
        uint16_t len = lengths[i / sizeof types];
        size_t n = 5 + (size_t)len;
        int fd[2];

        begin_pair(&p, "localhost");
        shake_hands(&p);
        ck_assert(tls_ready(p.s));
        for (size_t k = 0; k < sizeof record; k++)
            record[k] = byte_at(k + i);
        memcpy(record, (const uint8_t[]){ types[i % sizeof types], 3, 3, (uint8_t)(len >> 8), (uint8_t)len }, 5);
        for (size_t at = 0; at < n; ) {
            ssize_t k = write(p.fd[1], record + at, n - at > 30000 ? 30000 : n - at);
            at = k > 0 ? at + (size_t)k : n;
            look(p.s);
        }
        shutdown(p.fd[1], SHUT_WR);
        ck_assert_msg(look(p.s) != 'o', "type %u, length %u", types[i % sizeof types], len);
        tls_free(&p.c);
        tls_free(&p.s);
        close(p.fd[0]);
        close(p.fd[1]);
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
        memcpy(p.fd, fd, sizeof fd);
    }
    close_pair(&p);
}
END_TEST

/* Who asks for new keys again and again and reads no answer gets no memory for them. */
START_TEST(endless_key_updates)
{
    struct config_listener l = listener_of("server.crt", "server.key");
    char *why = NULL;
    struct tls_context *t = tls_context_new(&l, &why);
    WOLFSSL_CTX *ctx = wolfSSL_CTX_new(wolfTLSv1_3_client_method());
    WOLFSSL *c = wolfSSL_new(ctx);
    struct tls *s;
    int fd[2], rounds = 0;
    char end = 'o';

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
    s = tls_new(tls_context_set(t), fd[0]);
    wolfSSL_set_verify(c, WOLFSSL_VERIFY_NONE, NULL);
    wolfSSL_set_fd(c, fd[1]);
    for (int i = 0; i < 10 && wolfSSL_connect(c) != WOLFSSL_SUCCESS; i++)
        look(s);
    look(s);
    ck_assert_msg(tls_ready(s), "%s", trouble(s));
    for (; rounds < 60000 && end == 'o'; rounds++) {
        wolfSSL_update_keys(c);
        end = look(s);
        ck_assert_uint_le(s->queue_len, 262144);
    }
    ck_assert_int_eq(end, 'b');
    ck_assert_ptr_nonnull(strstr(trouble(s), "does not read the answers"));
    wolfSSL_free(c);
    wolfSSL_CTX_free(ctx);
    tls_free(&s);
    tls_context_free(&t);
    close(fd[0]);
    close(fd[1]);
}
END_TEST

/* ---- contexts ---- */

static const struct {
    const char *cert, *key, *ca, *crl, *dh, *ciphers, *ciphers13;
    const char *why;                /* after the directory of the certificates; NULL: it loads */
} loads[] = {
    { "server.crt", "server.key", NULL, NULL, NULL, NULL, NULL, NULL },
    { "server-rsa.crt", "server-rsa.key", "ca.crt", "ca.crl", "dh.pem", "ECDHE-RSA-AES128-GCM-SHA256",
      "TLS_AES_128_GCM_SHA256", NULL },
    { "nowhere.crt", "server.key", NULL, NULL, NULL, NULL, NULL, "nowhere.crt: No such file or directory" },
    { "server.crt", "nowhere.key", NULL, NULL, NULL, NULL, NULL, "nowhere.key: No such file or directory" },
    { ".", "server.key", NULL, NULL, NULL, NULL, NULL, ".: is a directory; name the file in it" },
    { "server.key", "server.key", NULL, NULL, NULL, NULL, NULL, "server.key: holds no certificate in PEM form; it is a key" },
    { "server.crt", "server.crt", NULL, NULL, NULL, NULL, NULL,
      "server.crt: holds no private key in PEM form; it is a certificate" },
    { "server.der", "server.key", NULL, NULL, NULL, NULL, NULL, "server.der: is in DER form; make it PEM with `openssl x509" },
    { "damaged.crt", "server.key", NULL, NULL, NULL, NULL, NULL, "damaged.crt: can't be used as a certificate: " },
    { "server.crt", "encrypted.key", NULL, NULL, NULL, NULL, NULL, "encrypted.key: is encrypted, and nobody is there" },
    { "server.crt", "server2.key", NULL, NULL, NULL, NULL, NULL, "the private key is not this certificate's" },
    { "server-rsa.crt", "client-rsa.key", NULL, NULL, NULL, NULL, NULL, "the private key is not this certificate's" },
    { "server.crt", "server-rsa.key", NULL, NULL, NULL, NULL, NULL, "server.crt with " },
    { "server.crt", "server.key", "nowhere.crt", NULL, NULL, NULL, NULL, "nowhere.crt: No such file or directory" },
    { "server.crt", "server.key", "ext", NULL, NULL, NULL, NULL, "ext: holds no certificate in PEM form" },
    { "server.crt", "server.key", "damaged-bundle.crt", NULL, NULL, NULL, NULL, "can't be used as a certificate" },
    { "server.crt", "server.key", "ca.crt", "ca.crt", NULL, NULL, NULL,
      "ca.crt: holds no revocation list in PEM form; it is a certificate" },
    { "server.crt", "server.key", "ca.crt", "middle.crl", NULL, NULL, NULL, "middle.crl:1: can't be used as a revocation" },
    { "server.crt", "server.key", "authorities", "both.crl", NULL, NULL, NULL, NULL },
    { "server.crt", "server.key", NULL, NULL, "ca.crt", NULL, NULL, "ca.crt: holds no DH parameters in PEM form" },
    { "server.crt", "server.key", NULL, NULL, NULL, "HIGH:!aNULL", NULL,
      "ciphers: \"HIGH\" is a rule for OpenSSL; name single ciphers, or leave the line out for sound ones" },
    { "server.crt", "server.key", NULL, NULL, NULL, "ECDHE-RSA-AES128-GCM-SHA265", NULL,
      "\"ECDHE-RSA-AES128-GCM-SHA265\" is not a cipher of this library; did you mean ECDHE-RSA-AES128-GCM-SHA256?" },
    { "server.crt", "server.key", NULL, NULL, NULL, "TLS13-AES128-GCM-SHA256", NULL, "it belongs into ciphers_tls1.3" },
    { "server.crt", "server.key", NULL, NULL, NULL, NULL, "ECDHE-RSA-AES128-GCM-SHA256", "it belongs into ciphers" },
    { "server.crt", "server.key", NULL, NULL, NULL, ":", NULL, "ciphers: names no cipher" },
};

START_TEST(load_rows)
{
    struct config_listener l = listener_of(loads[_i].cert, loads[_i].key);
    char *why = NULL;
    struct tls_context *t;

    l.cafile = in_certs(loads[_i].ca);
    l.crlfile = in_certs(loads[_i].crl);
    l.dhparamfile = in_certs(loads[_i].dh);
    l.ciphers = (char *)(uintptr_t)loads[_i].ciphers;
    l.ciphers_tls13 = (char *)(uintptr_t)loads[_i].ciphers13;
    l.require_certificate = l.cafile != NULL;
    t = tls_context_new(&l, &why);
    if (loads[_i].why == NULL)
        ck_assert_msg(t != NULL && why == NULL, "row %d: %s", _i, why);
    else
        ck_assert_msg(t == NULL && why != NULL && strstr(why, loads[_i].why) != NULL, "row %d: %s", _i, why);
    tls_context_free(&t);
    free(why);
}
END_TEST

/* What a client makes of a signature by another key is a matter of chance, what is said of it is not. */
START_TEST(another_rsa_key)
{
    struct config_listener l = listener_of("server-rsa.crt", "client-rsa.key");

    for (unsigned n = 0; n < 400; n++) {
        char *why = NULL;

        ck_assert_ptr_null(tls_context_new(&l, &why));
        ck_assert_msg(strstr(why, ": the private key is not this certificate's") != NULL, "%u: %s", n, why);
        free(why);
    }
}
END_TEST

static const struct {
    const char *name, *bad;
} unsound[] = {
    { "NULL", "ECDHE-ECDSA-NULL-SHA" }, { "anonymous", "ADH-AES128-SHA" }, { "RC4", "ECDHE-RSA-RC4-SHA" },
    { "DES", "ECDHE-RSA-DES-CBC3-SHA" },
};

START_TEST(unsound_ciphers)
{
    char why[256];

    for (size_t i = 0; i < sizeof unsound / sizeof unsound[0]; i++) {
        ck_assert_msg(!tls_ciphers_check(unsound[i].bad, false, why, sizeof why), "%s", unsound[i].name);
        ck_assert_msg(strstr(why, "protects nothing") != NULL || strstr(why, "is not a cipher") != NULL, "%s", why);
    }
    ck_assert(tls_ciphers_check("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-CHACHA20-POLY1305", false, why, sizeof why));
    ck_assert(tls_ciphers_check("TLS_AES_256_GCM_SHA384, TLS13-AES128-GCM-SHA256", true, why, sizeof why));
}
END_TEST

static void copy_file(const char *from, const char *to)
{
    struct view text;
    char *why = NULL;
    FILE *f;

    ck_assert(tls_file_read(in_certs(from), &text, &why));
    f = fopen(in_certs(to), "w");
    ck_assert_ptr_nonnull(f);
    fwrite(text.p, 1, text.len, f);
    fclose(f);
    tls_file_free(&text);
}

static void serial_of(struct tls *t, uint8_t out[32])
{
    WOLFSSL_X509 *x = wolfSSL_get_peer_certificate(t->ssl);
    int n = 32;

    ck_assert_ptr_nonnull(x);
    memset(out, 0, 32);
    wolfSSL_X509_get_serial_number(x, out, &n);
    wolfSSL_X509_free(x);
}

/* One more connection to the same server: the serial number that it is shown. */
static void serial_now(const struct pair *p, const char *what, uint8_t serial[32])
{
    struct pair q = *p;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, q.fd), 0);
    begin_pair(&q, "localhost");
    shake_hands(&q);
    must_talk(&q, what);
    serial_of(q.c, serial);
    tls_free(&q.s);
    tls_free(&q.c);
    close(q.fd[0]);
    close(q.fd[1]);
}

/* New connections get the new certificate, old ones go on; a bad one changes nothing. T2 */
START_TEST(reloading)
{
    struct config_listener l = listener_of("now.crt", "now.key");
    struct tls_client_options o = { .cafile = in_certs("ca.crt") };
    uint8_t first[32], second[32];
    struct pair p;
    char *why = NULL;

    copy_file("server.crt", "now.crt");
    copy_file("server.key", "now.key");
    open_pair(&p, &l, &o);
    ck_assert(!tls_context_changed(p.server));
    begin_pair(&p, "localhost");
    shake_hands(&p);
    must_talk(&p, "first");
    serial_of(p.c, first);

    copy_file("server2.crt", "now.crt");
    ck_assert(tls_context_changed(p.server));
    ck_assert(!tls_context_reload(p.server, &l, &why));
    ck_assert_ptr_nonnull(strstr(why, "the private key is not this certificate's"));
    free(why);
    ck_assert(!tls_context_changed(p.server));          /* said once is enough */

    serial_now(&p, "still the first", second);
    ck_assert_int_eq(memcmp(first, second, 32), 0);

    copy_file("server2.key", "now.key");
    ck_assert(tls_context_changed(p.server));
    ck_assert(tls_context_reload(p.server, &l, &why));
    serial_now(&p, "second", second);
    ck_assert_int_ne(memcmp(first, second, 32), 0);
    must_talk(&p, "first, after the reload");
    close_pair(&p);
}
END_TEST

START_TEST(expiry)
{
    struct config_listener l = listener_of("server.crt", "server.key"), k = listener_psk();
    char *why = NULL;
    struct tls_context *t = tls_context_new(&l, &why), *u = tls_context_new(&k, &why);

    ck_assert_int_eq(tls_expires_ms(t), INT64_C(2524521600000));     /* 2049-12-31 */
    ck_assert_int_eq(tls_expires_ms(u), INT64_MAX);
    tls_context_free(&t);
    tls_context_free(&u);
}
END_TEST

/* ---- caddis check ---- */

struct said {
    char text[4096];
};

static void hear(void *arg, const char *key, bool error, const char *text)
{
    struct said *s = arg;
    size_t n = strlen(s->text);

    snprintf(s->text + n, sizeof s->text - n, "%s %s: %s\n", error ? "error" : "advice", key, text);
}

static const struct {
    const char *cert, *key, *ca, *crl, *ciphers;
    bool require;
    unsigned errors;
    const char *says;
} checks[] = {
    { "server.crt", "server.key", NULL, NULL, NULL, false, 0, "" },
    { "server-chain.crt", "server-chain.key", "ca.crt", "ca.crl", NULL, true, 0, "" },
    { "server.crt", "server.key", "ca.crt", "soon.crl", NULL, true, 0, "advice crlfile: " },
    { "server-expired.crt", "server-expired.key", NULL, NULL, NULL, false, 0, "ended on 2021-01-01; clients refuse it" },
    { "disordered.crt", "server.key", NULL, NULL, NULL, false, 0, ": did not issue the certificate above it" },
    { "server.crt", "server2.key", NULL, NULL, NULL, false, 1, "error certfile: " },
    { "server.crt", "server.key", "nowhere.crt", NULL, NULL, true, 1, "error cafile: " },
    { "server.crt", "server.key", "ca.crt", "ended.crl", NULL, true, 0, "ended on 2020-02-01; its issuer's clients are refused" },
    { "server.crt", "server.key", "client.crt", NULL, NULL, true, 0, "is not an authority's certificate" },
    { "server.crt", "server.key", "ca.crt", NULL, NULL, false, 0, "advice cafile: is not used" },
    { "server.crt", "server.key", NULL, NULL, "ECDHE-RSA-AES128-GCM-SHA256", false, 0, "advice ciphers: no handshake of TLS 1.2" },
};

START_TEST(check_rows)
{
    struct config_listener l = listener_of(checks[_i].cert, checks[_i].key);
    struct said s = { "" };
    unsigned errors;

    l.cafile = in_certs(checks[_i].ca);
    l.crlfile = in_certs(checks[_i].crl);
    l.ciphers = (char *)(uintptr_t)checks[_i].ciphers;
    l.require_certificate = checks[_i].require;
    errors = tls_check(&l, hear, &s);
    ck_assert_msg(errors == checks[_i].errors, "row %d: %s", _i, s.text);
    ck_assert_msg(strstr(s.text, checks[_i].says) != NULL, "row %d: %s", _i, s.text);
    ck_assert_msg(checks[_i].says[0] != '\0' || s.text[0] == '\0', "row %d: %s", _i, s.text);
}
END_TEST

/* ---- memory ---- */

/* Everything that was taken is given back, also when any one allocation fails. */
START_TEST(no_memory)
{
    struct config_listener l = listener_of("server.crt", "server.key");
    struct tls_client_options o = { .cafile = in_certs("ca.crt"), .certfile = in_certs("client.crt"),
                                    .keyfile = in_certs("client.key") };
    struct pair p;
    size_t before;
    unsigned ready = 0;

    l.cafile = in_certs("ca.crt");
    l.require_certificate = l.use_identity_as_username = true;
    open_pair(&p, &l, &o);
    begin_pair(&p, "localhost");
    shake_hands(&p);
    must_talk(&p, "all well");
    tls_free(&p.c);
    tls_free(&p.s);
    tls_tidy();
    before = mem_bytes[MEM_TLS];
    if (__lsan_disable != NULL)
        __lsan_disable();
    for (uint64_t n = 1; n < 400; n++) {
        int fd[2];
        struct tls *s, *c;

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
        c = tls_client_start(p.client, fd[1], "localhost");
        ck_assert_ptr_nonnull(c);
        mem_fail_at = n;
        s = tls_new(tls_context_set(p.server), fd[0]);
        if (s != NULL) {
            struct pair q = { .s = s, .c = c };
            shake_hands(&q);
            ready += tls_ready(s);
        }
        mem_fail_at = 0;
        tls_free(&c);
        tls_free(&s);
        close(fd[0]);
        close(fd[1]);
        tls_tidy();
        /* The library itself forgets a few small things then, once in each of some places. */
        ck_assert_msg(mem_bytes[MEM_TLS] <= before + 1024, "allocation %u: %zu bytes more", (unsigned)n,
                      mem_bytes[MEM_TLS] - before);
    }
    if (__lsan_enable != NULL)
        __lsan_enable();
    ck_assert_uint_gt(ready, 0);
    close_pair(&p);
}
END_TEST

/* ---- names ---- */

static const struct {
    const char *der;
    size_t len;
    enum x509_name cn, full;
    const char *want_cn, *want_full;
} names[] = {
#define CN(tag, n, s) "\x31" n "\x30" n "\x06\3\x55\4\3" tag s
    { BYTES("\x30\x0e\x31\x0c\x30\x0a\x06\3\x55\4\3\x0c\3abc"), X509_NAME_OK, X509_NAME_OK, "abc", "CN=abc" },
    { BYTES("\x30\x0e\x31\x0c\x30\x0a\x06\3\x55\4\3\x13\3 a "), X509_NAME_OK, X509_NAME_OK, " a ", "CN=\\ a\\ " },
    { BYTES("\x30\x0e\x31\x0c\x30\x0a\x06\3\x55\4\3\x0c\3a\0b"), X509_NAME_BAD, X509_NAME_BAD, "", "" },
    { BYTES("\x30\x0e\x31\x0c\x30\x0a\x06\3\x55\4\3\x0c\3a\xff" "b"), X509_NAME_BAD, X509_NAME_BAD, "", "" },
    { BYTES("\x30\x0e\x31\x0c\x30\x0a\x06\3\x55\4\3\x1e\3abc"), X509_NAME_BAD, X509_NAME_BAD, "", "" },
    { BYTES("\x30\x0e\x31\x0c\x30\x0a\x06\3\x55\4\3\x16\3a\xc3\xa9"), X509_NAME_BAD, X509_NAME_BAD, "", "" },
    { BYTES("\x30\x0b\x31\x09\x30\x07\x06\3\x55\4\3\x0c\0"), X509_NAME_NONE, X509_NAME_OK, "", "CN=" },
    { BYTES("\x30\0"), X509_NAME_NONE, X509_NAME_NONE, "", "" },
    { BYTES("\x30\x0e\x31\x0c\x30\x0a\x06\3\x55\4\7\x0c\3abc"), X509_NAME_NONE, X509_NAME_OK, "", "L=abc" },
    { BYTES("\x30\x0c\x31\x0a\x30\x08\x06\3\x2a\3\4\x0c\1x"), X509_NAME_NONE, X509_NAME_OK, "", "1.2.3.4=#0C0178" },
    { BYTES("\x30\x16\x31\x14\x30\x08\x06\3\x55\4\3\x0c\1a\x30\x08\x06\3\x55\4\x0b\x0c\1b"), X509_NAME_OK, X509_NAME_OK, "a",
      "CN=a+OU=b" },
    { BYTES("\x30\x18\x31\x0a\x30\x08\x06\3\x55\4\3\x0c\1a\x31\x0a\x30\x08\x06\3\x55\4\3\x0c\1b"), X509_NAME_TWO,
      X509_NAME_OK, "", "CN=b,CN=a" },
    { BYTES("\x30\x0e\x31\x0c\x30\x0a\x06\3\x55\4\3\x0c\4abc"), X509_NAME_BAD, X509_NAME_BAD, "", "" },
    { BYTES("\x30\x80\x31\x0c"), X509_NAME_BAD, X509_NAME_BAD, "", "" },
};

START_TEST(name_rows)
{
    uint8_t *copy = malloc(names[_i].len);
    struct view v = { copy, names[_i].len };
    char out[64];

    memcpy(copy, names[_i].der, names[_i].len);
    ck_assert_int_eq((int)x509_common_name(v, out, sizeof out), (int)names[_i].cn);
    ck_assert_str_eq(out, names[_i].want_cn);
    ck_assert_int_eq((int)x509_full_name(v, out, sizeof out), (int)names[_i].full);
    ck_assert_str_eq(out, names[_i].want_full);
    ck_assert_int_ne((int)x509_common_name(v, out, 3), (int)X509_NAME_OK - (names[_i].cn == X509_NAME_OK &&
                                                                           strlen(names[_i].want_cn) < 3));
    free(copy);
}
END_TEST

/* Certificates and lists cut at every byte, each in memory of its own size. */
START_TEST(x509_cut)
{
    static const char *const files[] = { "client.crt", "ca.crt", "both.crl" };

    for (unsigned f = 0; f < 3; f++) {
        struct view text, rest, block, der;
        char *why = NULL;

        ck_assert(tls_file_read(in_certs(files[f]), &text, &why));
        rest = text;
        ck_assert(x509_pem_next(&rest, f == 2 ? "X509 CRL" : "CERTIFICATE", &block));
        der = tls_pem_der(block, f == 2 ? CRL_TYPE : CERT_TYPE);
        ck_assert_ptr_nonnull(der.p);
        for (size_t n = 0; n <= der.len; n++) {
            uint8_t *copy = malloc(n + (n == 0));
            struct x509 x;
            bool ok;

            memcpy(copy, der.p, n);
            ok = f == 2 ? x509_crl((struct view){ copy, n }, &x) : x509_cert((struct view){ copy, n }, &x);
            ck_assert_msg(ok == (n == der.len), "%s cut at %zu of %zu", files[f], n, der.len);
            free(copy);
        }
        tls_file_free(&der);
        tls_file_free(&text);
    }
}
END_TEST

/* ---- all of it ---- */

static int make_certs(void)
{
    const char *srcdir = getenv("srcdir");
    char command[512];

    if (mkdtemp(certs) == NULL)
        return 1;
    snprintf(command, sizeof command, "%s/tests/tls/certs %s && cd %s && cat ca.crt middle.crt >authorities && "
             "cat server.crt foreign.crt >disordered.crt && chmod 600 *.key", srcdir != NULL ? srcdir : ".", certs, certs);
    return system(command);
}

int main(void)
{
    Suite *suite = suite_create("tls");
    TCase *t = tcase_create("tls");

    if (make_certs() != 0) {
        fprintf(stderr, "tests/tls/certs failed: is openssl installed?\n");
        return 77;
    }
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, client_rows, 0, 2 * CLIENT_ROWS);
    tcase_add_test(t, clock_unset);
    tcase_add_loop_test(t, server_rows, 0, COUNT(servers));
    tcase_add_test(t, anonymous_server);
    tcase_add_loop_test(t, psk_rows, 0, 2 * COUNT(keys));
    tcase_add_test(t, psk_against_certificate);
    tcase_add_test(t, a_client_changes_nothing_for_others);
    tcase_add_loop_test(t, streams, 0, 12);
    tcase_add_loop_test(t, end_comes_last, 0, 2);
    tcase_add_loop_test(t, stranger_rows, 0, COUNT(strangers));
    tcase_add_test(t, cut_and_bent_handshakes);
    tcase_add_test(t, empty_inner_record);
    tcase_add_loop_test(t, strange_records, 0, 2);
    tcase_add_test(t, endless_key_updates);
    tcase_add_loop_test(t, load_rows, 0, COUNT(loads));
    tcase_add_test(t, another_rsa_key);
    tcase_add_test(t, unsound_ciphers);
    tcase_add_test(t, reloading);
    tcase_add_test(t, expiry);
    tcase_add_loop_test(t, check_rows, 0, COUNT(checks));
    tcase_add_test(t, no_memory);
    tcase_add_loop_test(t, name_rows, 0, COUNT(names));
    tcase_add_test(t, x509_cut);
    suite_add_tcase(suite, t);
    return run_suite_in(certs, suite);
}
