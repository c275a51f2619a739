/* TLS for listeners, and for connections that we open. Built twice: transport_tls_none.c stands in for all of it under
 * ./configure --without-tls.
 *
 * T1  Every context sets its lowest version, its ciphers and whether it verifies: the library's defaults are not safe.
 * T2  A context is complete or not there: what can't be loaded or does not fit together leaves the old one in use.
 * T3  A name is taken from a certificate only after it was verified, and never from one with a NUL in it.
 * T4  Where certificates or keys say who a client is, sessions are not resumed: every handshake looks again.
 * T5  Certificates' dates are not held against them while the clock has never been set.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_TLS_H
#define CADDIS_BROKER_TLS_H

#include "broker/config.h"
#include "broker/transport.h"

#include <sys/types.h>

extern const bool tls_built;
/* "wolfSSL 5.5.4", with what matters for memory and speed; "none". */
const char *tls_library(void);

/* Does the listener ask for TLS at all? */
static inline bool tls_wanted(const struct config_listener *l)
{
    return l->certfile != NULL || l->psk_hint != NULL;
}

/* ---- contexts ---- */

/* Certificates, keys and settings of one listener (or of what connects to one server). Connections go on with those
 * they began with, so it may be reloaded and freed at any time. */
struct tls_context;

/* NULL: *why (malloc'ed) names the file and the remedy. */
struct tls_context *tls_context_new(const struct config_listener *l, char **why);
/* For new connections; all or nothing. false: *why, and the old one stays in use. */
bool tls_context_reload(struct tls_context *t, const struct config_listener *l, char **why);
void tls_context_free(struct tls_context **t);
/* Has one of its files changed since it was loaded? A few stat() calls. */
bool tls_context_changed(const struct tls_context *t);
/* When its own certificate ends; INT64_MAX: it has none (TLS-PSK). */
int64_t tls_expires_ms(const struct tls_context *t);

/* For `caddis check`: loads everything, and looks at what a running broker takes as it comes. say: error or advice about
 * a key of the listener. The number of errors. */
unsigned tls_check(const struct config_listener *l,
                   void (*say)(void *arg, const char *key, bool error, const char *text), void *arg);
/* Ciphers as a list of names with colons between. false: why says which name is wrong. */
bool tls_ciphers_check(const char *list, bool tls13, char *why, size_t cap);

/* What a client says about TLS; strings are borrowed for the call, NULL: not set. */
struct tls_client_options {
    const char *cafile, *capath, *certfile, *keyfile;
    const char *psk_identity, *psk;     /* both; psk in hex */
    const char *ciphers, *ciphers_tls13;
    const char *alpn;
    int tls_version, tls_version_most;  /* lowest and highest: 0x0303, 0x0304; 0: all that we speak */
    bool use_os_certs;
    bool insecure;                      /* whatever name the server's certificate is for; who issued it counts */
};
struct tls_context *tls_client_context_new(const struct tls_client_options *o, char **why);

/* Gives back what the library keeps for the next handshake (Debian's build: up to 12 MB). To be called when none is
 * expected soon; also before the heap is trimmed. */
void tls_tidy(void);

/* ---- connections of the broker ---- */

/* The transport becomes TLS: sets c->transport and c->tls. The handshake goes on in readv and writev. false: no memory.
 * fd is the connection's; it stays the caller's. */
bool tls_accept(struct tls_context *t, struct conn *c, int fd);
/* The same in the client's role, towards a server of this name or address; the ClientHello is on its way. */
bool tls_connect(struct tls_context *t, struct conn *c, int fd, const char *host);

extern const struct transport transport_tls;

/* After the handshake; NULL: there is none. Live as long as the connection has this transport.
 * Name: the verified certificate's common name, or the PSK identity. Subject: of the certificate, as in RFC 2253. */
const char *tls_peer_name(const struct conn *c);
const char *tls_peer_subject(const struct conn *c);
/* "TLSv1.3 TLS13-AES128-GCM-SHA256", for the log; NULL: no TLS, or no handshake yet. Good until the next call. */
const char *tls_describe(const struct conn *c);

/* ---- a connection of one's own, for the tools ---- */

struct tls;
/* NULL: no memory. */
struct tls *tls_client_start(struct tls_context *t, int fd, const char *host);
/* Like the functions of struct transport. */
ssize_t tls_readv(struct tls *t, const struct iovec *iov, int n);
ssize_t tls_writev(struct tls *t, const struct iovec *iov, int n);
bool tls_pending(const struct tls *t);
bool tls_unsent(const struct tls *t);
bool tls_ready(const struct tls *t);    /* the handshake is done */
/* What went wrong, after EPROTO; NULL: nothing to add. */
const char *tls_trouble(const struct tls *t);
/* Says goodbye and frees. */
void tls_free(struct tls **t);

#endif
