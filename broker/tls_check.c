/* What `caddis check` says about a listener's certificates: everything that would keep the broker from starting, and
 * what it would start with although clients will stumble over it.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/tls_engine.h"

#include "broker/x509.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Certificates are renewed by people, revocation lists by machines. */
enum { DAY_S = 86400, SOON_CERT_S = 30 * DAY_S, SOON_CRL_S = 2 * DAY_S };

struct check {
    const struct config_listener *l;
    void (*say)(void *arg, const char *key, bool error, const char *text);
    void *arg;
    unsigned errors;
};

__attribute__((format(printf, 4, 5)))
static void tell(struct check *k, const char *key, bool error, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    k->errors += error;
    k->say(k->arg, key, error, text);
}

static const char *date(int64_t s, char out[32])
{
    time_t t = (time_t)s;
    struct tm tm;

    gmtime_r(&t, &tm);
    strftime(out, 32, "%Y-%m-%d", &tm);
    return out;
}

/* Which key of the configuration a reason speaks about: the one whose file it names. */
static const char *key_of(const struct config_listener *l, const char *why)
{
    const struct { const char *key, *path; } files[] = {
        { "keyfile", l->keyfile }, { "cafile", l->cafile }, { "crlfile", l->crlfile }, { "capath", l->capath },
        { "dhparamfile", l->dhparamfile }, { "psk_file", l->auth.psk_file }, { "certfile", l->certfile },
    };

    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        if (files[i].path != NULL && strncmp(why, files[i].path, strlen(files[i].path)) == 0)
            return files[i].key;
    return l->certfile != NULL ? "certfile" : "psk_hint";
}

/* ---- dates ---- */

static void check_dates(struct check *k, const char *key, const char *path, unsigned line, const struct x509 *x,
                        const char *ends)
{
    int64_t now = tls_now_s();
    char day[32];

    if (tls_clock_unset())
        return;
    if (x->from_s > now)
        tell(k, key, false, "%s:%u: begins on %s; until then clients refuse it", path, line, date(x->from_s, day));
    else if (x->until_s < now)
        tell(k, key, false, "%s:%u: ended on %s; %s", path, line, date(x->until_s, day), ends);
    else if (x->until_s - now < (x->subject.p != NULL ? SOON_CERT_S : SOON_CRL_S))
        tell(k, key, false, "%s:%u: ends in %lld days, on %s", path, line, (long long)((x->until_s - now) / DAY_S),
             date(x->until_s, day));
}

/* ---- files, block by block; what can't be read has been said already ---- */

static void check_own(struct check *k)
{
    const struct config_listener *l = k->l;
    struct view text, rest, block;
    struct x509 below = { .until_s = 0 };
    char *why = NULL;
    /* Names are views into the DER bytes, which must live as long. */
    struct view der = { NULL, 0 }, der_below = { NULL, 0 };

    if (!tls_file_read(l->certfile, &text, &why)) {
        free(why);
        return;
    }
    for (rest = text; x509_pem_next(&rest, "CERTIFICATE", &block); ) {
        unsigned line = x509_line(text, block.p);
        struct x509 x;
        der = tls_pem_der(block, CERT_TYPE);
        if (der.p == NULL || !x509_cert(der, &x))
            break;
        check_dates(k, "certfile", l->certfile, line, &x, "clients refuse it");
        if (der_below.p != NULL && !view_same(below.issuer, x.subject))
            tell(k, "certfile", false, "%s:%u: did not issue the certificate above it: first the broker's own, then "
                                       "its issuer, then the issuer's", l->certfile, line);
        if (der_below.p == NULL && x.is_ca && !view_same(x.issuer, x.subject))
            tell(k, "certfile", false, "%s:%u: is an authority's; the broker's own comes first", l->certfile, line);
        tls_file_free(&der_below);
        der_below = der;
        der.p = NULL;
        below = x;
    }
    tls_file_free(&der);
    tls_file_free(&der_below);
    tls_file_free(&text);
}

static void check_blocks(struct check *k, const char *key, const char *path, bool crl, const char *ends)
{
    struct view text, rest, block;
    char *why = NULL;

    if (path == NULL)
        return;
    if (!tls_file_read(path, &text, &why)) {
        free(why);
        return;
    }
    for (rest = text; x509_pem_next(&rest, crl ? "X509 CRL" : "CERTIFICATE", &block); ) {
        struct view der = tls_pem_der(block, crl ? CRL_TYPE : CA_TYPE);
        unsigned line = x509_line(text, block.p);
        struct x509 x;
        if (der.p != NULL && (crl ? x509_crl(der, &x) : x509_cert(der, &x))) {
            check_dates(k, key, path, line, &x, ends);
            if (!crl && !x.is_ca)
                tell(k, key, false, "%s:%u: is not an authority's certificate; none that it issued is accepted", path,
                     line);
        }
        tls_file_free(&der);
    }
    tls_file_free(&text);
}

static void check_key_rights(struct check *k)
{
    struct stat st;

    if (stat(k->l->keyfile, &st) == 0 && st.st_mode & (S_IROTH | S_IWOTH))
        tell(k, "keyfile", false, "%s: everybody on this machine can read it; chmod o= takes that away", k->l->keyfile);
}

/* ---- all of it ---- */

unsigned tls_check(const struct config_listener *l,
                   void (*say)(void *arg, const char *key, bool error, const char *text), void *arg)
{
    struct check k = { .l = l, .say = say, .arg = arg };
    char *why = NULL;
    enum log_level was = log_threshold;
    struct tls_set *s;

    if (!tls_wanted(l))
        return 0;
    log_threshold = LEVEL_ERROR;        /* what loading would warn about is said here, with more detail */
    s = tls_set_new(l, &why);
    log_threshold = was;
    if (s == NULL)
        tell(&k, key_of(l, why != NULL ? why : ""), true, "%s", why != NULL ? why : "no memory");
    free(why);
    why = NULL;
    if (s != NULL && l->certfile != NULL && l->tls_version < 0x0304 && !tls_selftest(s, 0x0303, &why))
        tell(&k, l->ciphers != NULL ? "ciphers" : "certfile", false, "%s",
             why != NULL ? why : "no handshake of TLS 1.2 comes about with it");
    free(why);
    tls_set_unref(&s);
    if (l->certfile != NULL) {
        check_own(&k);
        check_key_rights(&k);
        check_blocks(&k, "cafile", l->cafile, false, "its clients are refused");
        check_blocks(&k, "crlfile", l->crlfile, true, "its issuer's clients are refused; fetch a new one");
    }
    if (l->certfile != NULL && (l->cafile != NULL || l->capath != NULL) && !l->require_certificate)
        tell(&k, l->cafile != NULL ? "cafile" : "capath", false,
             "is not used: clients are asked for a certificate only with require_certificate = true");
    return k.errors;
}
