/* TLS towards a server: for bridges and for the tools.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/tls_engine.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

/* ---- contexts ---- */

static unsigned on_client_psk(WOLFSSL *ssl, const char *hint, char *identity, unsigned most_id, unsigned char *key,
                              unsigned most)
{
    struct tls *t = wolfSSL_get_psk_callback_ctx(ssl);
    const struct tls_set *s = t->set;

    (void)hint;
    if (strlen(s->psk_identity) >= most_id || s->psk_key_len > most)
        return 0;
    strcpy(identity, s->psk_identity);
    memcpy(key, s->psk_key, s->psk_key_len);
    return s->psk_key_len;
}

static unsigned on_client_psk13(WOLFSSL *ssl, const char *hint, char *identity, unsigned most_id, unsigned char *key,
                                unsigned most, const char **cipher)
{
    /* An external key goes with one hash, and SHA-256 is what everybody takes. */
    *cipher = "TLS13-AES128-GCM-SHA256";
    return on_client_psk(ssl, hint, identity, most_id, key, most);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

static bool client_psk(struct tls_set *s, const struct tls_client_options *o, char **why)
{
    size_t len = strlen(o->psk != NULL ? o->psk : "");

    if (o->psk == NULL || o->psk_identity == NULL)
        return tls_why(why, "TLS-PSK needs both an identity and a key");
    if (len == 0 || len % 2 != 0 || len > 2 * PSK_KEY_MAX)
        return tls_why(why, "the PSK has %zu hex digits; 2 to %d, two for each byte, are possible", len, 2 * PSK_KEY_MAX);
    for (size_t i = 0; i < len; i += 2) {
        int high = hex_digit(o->psk[i]), low = hex_digit(o->psk[i + 1]);
        if (high < 0 || low < 0)
            return tls_why(why, "the PSK is not made of hex digits only");
        s->psk_key[i / 2] = (uint8_t)(high << 4 | low);
    }
    s->psk_key_len = (unsigned)(len / 2);
    s->psk_identity = strdup(o->psk_identity);
    if (s->psk_identity == NULL)
        return tls_why(why, "no memory");
    wolfSSL_CTX_set_psk_client_callback(s->ctx, on_client_psk);
    wolfSSL_CTX_set_psk_client_tls13_callback(s->ctx, on_client_psk13);
    return true;
}

static bool trust_system(struct tls_set *s, char **why)
{
#ifdef WOLFSSL_SYS_CA_CERTS
    if (wolfSSL_CTX_load_system_CA_certs(s->ctx) == WOLFSSL_SUCCESS) {
        tls_lib_forget_errors();
        return true;
    }
#else
    (void)s;
#endif
    tls_lib_forget_errors();
    return tls_why(why, "this machine has no list of authorities that could be used (package ca-certificates); name a "
                        "cafile");
}

static bool load_client(struct tls_set *s, const struct tls_client_options *o, char **why)
{
    bool psk = o->psk != NULL || o->psk_identity != NULL;

    if (psk && !client_psk(s, o, why))
        return false;
    if (o->cafile != NULL && !tls_load_cafile(s->ctx, o->cafile, why))
        return false;
    if (o->capath != NULL && !tls_load_capath(s->ctx, o->capath, why))
        return false;
    if (!psk && (o->use_os_certs || (o->cafile == NULL && o->capath == NULL)) && !trust_system(s, why))
        return false;
    if ((o->certfile == NULL) != (o->keyfile == NULL))
        return tls_why(why, "a certificate needs its key and a key its certificate; only one of them is given");
    if (o->certfile != NULL && !tls_load_own(s, o->certfile, o->keyfile, why))
        return false;
    s->verify = !psk;
    s->any_name = o->insecure;
    /* Even where a key is shared, a certificate instead of it is never taken unverified. */
    wolfSSL_CTX_set_verify(s->ctx, WOLFSSL_VERIFY_PEER, NULL);
    return tls_set_ciphers(s, psk ? TLS_KIND_PSK : TLS_KIND_CERT, o->tls_version, o->ciphers, o->ciphers_tls13, why);
}

struct tls_context *tls_client_context_new(const struct tls_client_options *o, char **why)
{
    struct tls_context *t;
    struct tls_set *s;

    *why = NULL;
    if (!tls_start(why))
        return NULL;
    s = calloc(1, sizeof *s);
    t = s != NULL ? tls_context_of(s) : NULL;
    if (t == NULL) {
        free(s);
        return NULL;
    }
    s->refs = 1;
    s->client = true;
    s->until_s = INT64_MAX;
    s->alpn = o->alpn != NULL ? strdup(o->alpn) : NULL;
    if (!tls_set_start(s, o->tls_version_most == 0x0303 ? wolfTLSv1_2_client_method() : wolfSSLv23_client_method(),
                       o->tls_version, why) || !load_client(s, o, why))
        tls_context_free(&t);
    return t;
}

/* ---- connections ---- */

/* The server must prove to be who we meant, by name or by address; only a name is told to it (SNI). */
static bool name_server(struct tls *t, const char *host)
{
    struct in6_addr a;
    bool is_ip = inet_pton(AF_INET, host, &a) == 1 || inet_pton(AF_INET6, host, &a) == 1;

    if (!is_ip && wolfSSL_UseSNI(t->ssl, WOLFSSL_SNI_HOST_NAME, host, (unsigned short)strlen(host)) != WOLFSSL_SUCCESS)
        return false;
    return !t->set->verify || t->set->any_name || wolfSSL_check_domain_name(t->ssl, host) == WOLFSSL_SUCCESS;
}

struct tls *tls_client_start(struct tls_context *context, int fd, const char *host)
{
    struct tls *t = tls_new(tls_context_set(context), fd);

    if (t == NULL)
        return NULL;
    if (!tls_begin(t) || !name_server(t, host)) {
        tls_free(&t);
        return NULL;
    }
    tls_step(t);
    return t;
}
