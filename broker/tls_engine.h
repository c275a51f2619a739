/* The inside of TLS: what contexts, connections and checks share. Only tls_*.c and transport_tls.c include it.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_TLS_ENGINE_H
#define CADDIS_BROKER_TLS_ENGINE_H

#include "broker/tls_lib.h"

#include "broker/psk.h"
#include "broker/tls.h"

#include <time.h>

/* One loaded configuration. The context and every connection that began with it hold a reference. */
struct tls_set {
    uint32_t refs;
    WOLFSSL_CTX *ctx;
    char *ciphers;              /* the context's, as the library calls them */
    struct psk *psk;            /* server: NULL without TLS-PSK */
    bool client;
    bool verify;                /* the peer has to show a certificate that we trust */
    bool any_name;              /* client: the certificate may be for another name */
    bool want_name;             /* the certificate's common name becomes the user name */
    bool want_subject;          /* and here all of its subject */
    char *alpn;                 /* NULL: none */
    char *psk_identity;         /* client */
    uint8_t psk_key[PSK_KEY_MAX];
    unsigned psk_key_len;
    int64_t from_s, until_s;    /* of our own certificate; until INT64_MAX: none */
};

/* Connections:  SNIFF -first byte-> SHAKING -finish-> UP -close_notify, FIN-> ENDED;  any -> BROKEN
 * A client's begin with SHAKING. */
enum tls_phase { TLS_SNIFF, TLS_SHAKING, TLS_UP, TLS_ENDED, TLS_BROKEN };

struct tls {
    WOLFSSL *ssl;               /* NULL in SNIFF: who connects and says nothing costs us no TLS memory */
    struct tls_set *set;
    char *queue;                /* ciphertext that the socket did not take: queue[queue_at..queue_len) */
    char *name, *subject;       /* of the peer */
    char *psk_identity;         /* a client's, while it is not yet proved that it has the key */
    char *trouble;
    int fd;
    int error;                  /* errno of BROKEN */
    int send_error;             /* the socket takes nothing any more; what the peer said before can still be read */
    uint32_t queue_at, queue_len, queue_cap;
    uint32_t rec_left;          /* framing of what the library was given: rest of the record's body, */
    uint8_t rec_head, rec_type, rec_high;   /* bytes of its header so far, and what they said */
    bool rec_alert;             /* an alert in the clear is being read */
    uint8_t alert;              /* what it said; 0: there was none */
    uint8_t phase;              /* enum tls_phase */
    bool eof;                   /* the socket has ended */
};

/* ---- tls_engine.c ---- */

struct tls *tls_new(struct tls_set *set, int fd);
/* Makes the library's object; the handshake can begin. false: t is BROKEN. */
bool tls_begin(struct tls *t);
/* One step of the handshake, outside a read or write. */
void tls_step(struct tls *t);
void tls_break(struct tls *t, int error, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Callbacks for every context. */
void tls_engine_setup(WOLFSSL_CTX *ctx);

/* ---- tls_context.c ---- */

/* Once per process; again: does nothing. */
bool tls_start(char **why);
struct tls_set *tls_set_new(const struct config_listener *l, char **why);
/* The part that both roles share. lowest: 0x0303, 0x0304. */
bool tls_set_start(struct tls_set *s, WOLFSSL_METHOD *method, int lowest, char **why);
void tls_set_unref(struct tls_set **sp);
static inline struct tls_set *tls_set_ref(struct tls_set *s)
{
    s->refs++;
    return s;
}
struct tls_set *tls_context_set(struct tls_context *t);
/* Takes the set over. NULL: no memory, it is still the caller's. */
struct tls_context *tls_context_of(struct tls_set *s);

/* ---- tls_load.c: files into contexts; false: *why ---- */

enum { TLS_FILE_MAX = 16 << 20 };

/* malloc'ed, wiped and freed by tls_file_free(). */
bool tls_file_read(const char *path, struct view *text, char **why);
void tls_file_free(struct view *text);
/* Certificate chain and its key; when the certificate holds. */
bool tls_load_own(struct tls_set *s, const char *certfile, const char *keyfile, char **why);
bool tls_load_cafile(WOLFSSL_CTX *ctx, const char *path, char **why);
bool tls_load_capath(WOLFSSL_CTX *ctx, const char *path, char **why);
bool tls_load_crl(WOLFSSL_CTX *ctx, const char *path, char **why);
bool tls_load_dh(WOLFSSL_CTX *ctx, const char *path, char **why);
/* The DER bytes of a PEM certificate or revocation list (malloc'ed). p NULL: it is none. */
struct view tls_pem_der(struct view block, int type);
/* *why = the text; for every function that has one. Always false. */
bool tls_why(char **why, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- tls_ciphers.c ---- */

enum tls_kind { TLS_KIND_CERT, TLS_KIND_CERT_DH, TLS_KIND_PSK };
/* What is used where the configuration names none. */
bool tls_set_ciphers(struct tls_set *s, enum tls_kind kind, int lowest, const char *ciphers, const char *ciphers_tls13,
                     char **why);

/* ---- tls_selftest.c ---- */

/* Shakes hands with ourselves: do certificate, key and ciphers fit together? version: 0x0303, 0x0304. */
bool tls_selftest(const struct tls_set *s, int version, char **why);

/* ---- tls_error.c ---- */

/* A code of the library in words; into buf where it is not a constant. */
const char *tls_error_text(int code, char *buf, size_t cap);
const char *tls_alert_text(int code);

/* ---- tls_time.c ---- */

/* Has the clock ever been set? No certificate we could meet is older than this program. */
bool tls_clock_unset(void);
int64_t tls_now_s(void);
/* For the library's next calls it is this time; 0: the true one again. */
void tls_pretend_s(int64_t t);
void tls_time_setup(void);
/* Asked by the library when a certificate did not pass, while the clock is unset. */
int tls_verify_without_clock(int ok, WOLFSSL_X509_STORE_CTX *store);
/* Tests: added to the wall clock. */
extern int64_t tls_clock_offset_s;

#endif
