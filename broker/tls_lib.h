/* The door to wolfSSL: no other file includes its headers. options.h must come first, in every file that sees them:
 * it says how the library was built, and the size of its structures depends on that.
 *
 * Debian's build has OpenSSL's compatibility layer, a lean one (scripts/lean-wolfssl) has not: what only the first one
 * knows is wrapped here.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_TLS_LIB_H
#define CADDIS_BROKER_TLS_LIB_H

#include <wolfssl/options.h>

#include <stdbool.h>

#include <wolfssl/ssl.h>
#include <wolfssl/error-ssl.h>
#include <wolfssl/version.h>
#include <wolfssl/wolfcrypt/asn.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/sha.h>
#include <wolfssl/wolfcrypt/sha256.h>
#include <wolfssl/wolfcrypt/sha512.h>

#ifdef OPENSSL_EXTRA
#define TLS_LIB_BUILD "Debian's build"
/* What outlives the handshake for resuming it. NULL: nothing worth speaking of. */
static inline void *tls_lib_session(WOLFSSL *ssl)
{
    return wolfSSL_get_session(ssl);
}
/* This thread's list of errors would grow with every failed handshake. */
static inline void tls_lib_forget_errors(void)
{
    wolfSSL_ERR_clear_error();
}
static inline void tls_lib_no_session_cache(WOLFSSL_CTX *ctx)
{
    wolfSSL_CTX_set_session_cache_mode(ctx, WOLFSSL_SESS_CACHE_OFF);
}
/* What a verify callback is told about a certificate out of its time: OpenSSL's numbers, not the library's own. */
static inline bool tls_lib_is_date_error(int code)
{
    return code == X509_V_ERR_ERROR_IN_CERT_NOT_BEFORE_FIELD || code == X509_V_ERR_ERROR_IN_CERT_NOT_AFTER_FIELD;
}
#else
#define TLS_LIB_BUILD "lean build"
static inline void *tls_lib_session(WOLFSSL *ssl)
{
    (void)ssl;
    return NULL;
}
static inline void tls_lib_forget_errors(void)
{
}
static inline void tls_lib_no_session_cache(WOLFSSL_CTX *ctx)
{
    (void)ctx;
}
static inline bool tls_lib_is_date_error(int code)
{
    return code == ASN_BEFORE_DATE_E || code == ASN_AFTER_DATE_E;
}
#endif

/* Resumption without memory of ours: the client keeps the session, sealed with a key that the context invents. */
static inline void tls_lib_no_tickets(WOLFSSL_CTX *ctx)
{
#ifdef HAVE_SESSION_TICKET
    wolfSSL_CTX_NoTicketTLSv12(ctx);
    wolfSSL_CTX_no_ticket_TLSv13(ctx);
#else
    (void)ctx;
#endif
}

/* Built for one thread, the library lets all connections share their context's list of ciphers, and what one client offers
 * narrows it down for all that come later. false: no memory. */
static inline bool tls_lib_own_ciphers(WOLFSSL *ssl, const char *list)
{
#ifdef SINGLE_THREADED
    return wolfSSL_set_cipher_list(ssl, list) == WOLFSSL_SUCCESS;
#else
    (void)ssl;
    (void)list;
    return true;
#endif
}

/* Tables that speed up elliptic curves by 0.8 MB for each key that was used lately. */
static inline void tls_lib_drop_tables(void)
{
#ifdef FP_ECC
    wc_ecc_fp_free();
#endif
}

/* Without AES instructions ChaCha20 is several times faster. */
#if defined(WOLFSSL_AESNI) || defined(WOLFSSL_ARMASM)
#define TLS_LIB_FAST_AES 1
#else
#define TLS_LIB_FAST_AES 0
#endif

#endif
