/* A handshake with ourselves, in memory. The library's own question whether a key belongs to a certificate is answered
 * wrongly by some builds (tls_load_own()), and does not ask whether a client could find a cipher for both.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/tls_engine.h"

#include <stdlib.h>
#include <string.h>

struct pipe {
    uint8_t *p;
    size_t at, len, cap;
};

struct end {
    struct pipe *in, *out;
};

static int on_receive(WOLFSSL *ssl, char *p, int n, void *arg)
{
    struct pipe *in = ((struct end *)arg)->in;
    size_t got = in->len - in->at;

    (void)ssl;
    if (got == 0)
        return WOLFSSL_CBIO_ERR_WANT_READ;
    got = got > (size_t)n ? (size_t)n : got;
    memcpy(p, in->p + in->at, got);
    in->at += got;
    return (int)got;
}

static int on_send(WOLFSSL *ssl, char *p, int n, void *arg)
{
    struct pipe *out = ((struct end *)arg)->out;

    (void)ssl;
    if (out->len + (size_t)n > out->cap) {
        size_t cap = (out->len + (size_t)n) * 2;
        uint8_t *bigger = realloc(out->p, cap);
        if (bigger == NULL)
            return WOLFSSL_CBIO_ERR_GENERAL;
        out->p = bigger;
        out->cap = cap;
    }
    memcpy(out->p + out->len, p, (size_t)n);
    out->len += (size_t)n;
    return n;
}

static WOLFSSL *new_end(WOLFSSL_CTX *ctx, struct end *e)
{
    WOLFSSL *ssl = ctx != NULL ? wolfSSL_new(ctx) : NULL;

    if (ssl == NULL)
        return NULL;
    wolfSSL_SSLSetIORecv(ssl, on_receive);
    wolfSSL_SSLSetIOSend(ssl, on_send);
    wolfSSL_SetIOReadCtx(ssl, e);
    wolfSSL_SetIOWriteCtx(ssl, e);
    wolfSSL_set_verify(ssl, WOLFSSL_VERIFY_NONE, NULL);
    return ssl;
}

/* 0, or the code of the side that gave up. */
static int shake(WOLFSSL *server, WOLFSSL *client)
{
    bool served = false, connected = false;

    for (int round = 0; round < 20; round++) {
        int r = connected ? WOLFSSL_SUCCESS : wolfSSL_connect(client);
        int code = r == WOLFSSL_SUCCESS ? 0 : wolfSSL_get_error(client, r);

        if (code != 0 && code != WOLFSSL_ERROR_WANT_READ)
            return code;
        connected = code == 0;
        r = served ? WOLFSSL_SUCCESS : wolfSSL_accept(server);
        code = r == WOLFSSL_SUCCESS ? 0 : wolfSSL_get_error(server, r);
        if (code != 0 && code != WOLFSSL_ERROR_WANT_READ)
            return code;
        served = code == 0;
        if (served && connected)
            return 0;
    }
    return WOLFSSL_ERROR_WANT_READ;
}

static WOLFSSL_CTX *client_context(int version)
{
    WOLFSSL_CTX *ctx = wolfSSL_CTX_new(version == 0x0304 ? wolfTLSv1_3_client_method() : wolfTLSv1_2_client_method());

    if (ctx != NULL)
        wolfSSL_CTX_set_verify(ctx, WOLFSSL_VERIFY_NONE, NULL);
    return ctx;
}

static bool is_wrong_key(int code)
{
    return code == VERIFY_SIGN_ERROR || code == VERIFY_CERT_ERROR || code == SIG_VERIFY_E || code == RSA_SIGN_FAULT ||
           code == BAD_PADDING_E || code == DECRYPT_ERROR || code == RSA_PAD_E || code == PSS_SALTLEN_E;
}

bool tls_selftest(const struct tls_set *s, int version, char **why)
{
    struct pipe up = { NULL, 0, 0, 0 }, down = { NULL, 0, 0, 0 };
    struct end at_server = { &up, &down }, at_client = { &down, &up };
    WOLFSSL_CTX *ctx = client_context(version);
    WOLFSSL *server = new_end(s->ctx, &at_server), *client = new_end(ctx, &at_client);
    char buf[128];
    int code = server != NULL && client != NULL ? shake(server, client) : MEMORY_E;

    wolfSSL_free(server);
    wolfSSL_free(client);
    wolfSSL_CTX_free(ctx);
    free(up.p);
    free(down.p);
    tls_lib_forget_errors();
    tls_lib_drop_tables();
    if (code == 0)
        return true;
    if (is_wrong_key(code))
        return tls_why(why, "the private key is not this certificate's");
    return tls_why(why, "no handshake of TLS 1.%d comes about with it: %s", version - 0x0301,
                   tls_error_text(code, buf, sizeof buf));
}
