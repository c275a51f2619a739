/* Files into contexts. The library's own functions for files say neither which certificate of a bundle is broken nor why
 * a file can't be opened, so everything is read here and handed over piece by piece.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/tls_engine.h"

#include "broker/daemon.h"
#include "broker/log.h"
#include "broker/x509.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool tls_why(char **why, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(why, fmt, ap) < 0)
        *why = NULL;
    va_end(ap);
    return false;
}

/* ---- files ---- */

static bool cant_open(const char *path, int error, char **why)
{
    if (error != EACCES)
        return tls_why(why, "%s: %s", path, strerror(error));
    return tls_why(why, "%s: %s; user %s has to be able to read it", path, strerror(error), daemon_account());
}

bool tls_file_read(const char *path, struct view *text, char **why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;
    char *buf = NULL;
    size_t len = 0;

    *text = (struct view){ NULL, 0 };
    if (fd < 0)
        return cant_open(path, errno, why);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return tls_why(why, "%s: is %s", path, S_ISDIR(st.st_mode) ? "a directory; name the file in it" : "not a file");
    }
    if (st.st_size <= TLS_FILE_MAX)
        buf = malloc((size_t)st.st_size + 1);
    while (buf != NULL && len < (size_t)st.st_size) {
        ssize_t n = read(fd, buf + len, (size_t)st.st_size - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    close(fd);
    if (buf == NULL || len < (size_t)st.st_size) {
        free(buf);
        return tls_why(why, "%s: %s", path, st.st_size > TLS_FILE_MAX ? "is too large" : "can't be read whole");
    }
    buf[len] = '\0';
    *text = (struct view){ (uint8_t *)buf, len };
    return true;
}

void tls_file_free(struct view *text)
{
    if (text->p != NULL)
        explicit_bzero((void *)(uintptr_t)text->p, text->len);
    free((void *)(uintptr_t)text->p);
    *text = (struct view){ NULL, 0 };
}

static bool has(struct view text, const char *what)
{
    return text.len > 0 && memmem(text.p, text.len, what, strlen(what)) != NULL;
}

struct view tls_pem_der(struct view block, int type)
{
    struct view out = { NULL, 0 };
    DerBuffer *der = NULL;
    int r = wc_PemToDer(block.p, (long)block.len, type, &der, NULL, NULL, NULL);

    if (r == 0 && der->length > 0)
        out.p = malloc(der->length);
    if (out.p != NULL) {
        out.len = der->length;
        memcpy((void *)(uintptr_t)out.p, der->buffer, out.len);
    }
    wc_FreeDer(&der);
    tls_lib_forget_errors();
    return out;
}

/* A file without what it should hold, with a guess at the reason. */
static bool holds_no(const char *path, struct view text, const char *what, const char *openssl, char **why)
{
    if (text.len > 0 && text.p[0] == 0x30)
        return tls_why(why, "%s: is in DER form; make it PEM with `openssl %s -inform DER -in OLD -out NEW`", path,
                       openssl);
    return tls_why(why, "%s: holds no %s in PEM form%s", path, what,
                   has(text, "PRIVATE KEY-----") ? "; it is a key" : has(text, "BEGIN CERT") ? "; it is a certificate" : "");
}

/* ---- our own certificate ---- */

static bool load_chain(struct tls_set *s, const char *path, char **why)
{
    struct view text, rest, block, der;
    struct x509 x;
    char buf[128];
    bool ok = false;
    int r;

    if (!tls_file_read(path, &text, why))
        return false;
    rest = text;
    if (!x509_pem_next(&rest, "CERTIFICATE", &block)) {
        holds_no(path, text, "certificate", "x509", why);
        goto out;
    }
    der = tls_pem_der(block, CERT_TYPE);
    r = wolfSSL_CTX_use_certificate_chain_buffer(s->ctx, text.p, (long)text.len);
    if (der.p == NULL || !x509_cert(der, &x) || r != WOLFSSL_SUCCESS) {
        tls_why(why, "%s: can't be used as a certificate: %s", path,
                r != WOLFSSL_SUCCESS ? tls_error_text(r, buf, sizeof buf) : "it is damaged");
    } else {
        s->from_s = x.from_s;
        s->until_s = x.until_s;
        ok = true;
    }
    tls_file_free(&der);
out:
    tls_file_free(&text);
    tls_lib_forget_errors();
    return ok;
}

static bool load_key(struct tls_set *s, const char *path, char **why)
{
    struct view text;
    char buf[128];
    bool ok = false;
    int r;

    if (!tls_file_read(path, &text, why))
        return false;
    if (!has(text, "PRIVATE KEY-----")) {
        holds_no(path, text, "private key", "pkey", why);
    } else if (has(text, "ENCRYPTED")) {
        tls_why(why, "%s: is encrypted, and nobody is there to enter its password; `openssl pkey -in OLD -out NEW` "
                     "writes it without", path);
    } else {
        r = wolfSSL_CTX_use_PrivateKey_buffer(s->ctx, text.p, (long)text.len, WOLFSSL_FILETYPE_PEM);
        ok = r == WOLFSSL_SUCCESS;
        if (!ok)
            tls_why(why, "%s: can't be used as a private key: %s", path, tls_error_text(r, buf, sizeof buf));
    }
    tls_file_free(&text);
    tls_lib_forget_errors();
    return ok;
}

bool tls_load_own(struct tls_set *s, const char *certfile, const char *keyfile, char **why)
{
    if (!load_chain(s, certfile, why) || !load_key(s, keyfile, why))
        return false;
    /* A no is always right. A yes is not: some builds say it to every EC key (tls_selftest()). */
    if (wolfSSL_CTX_check_private_key(s->ctx) == WOLFSSL_SUCCESS)
        return true;
    tls_lib_forget_errors();
    return tls_why(why, "%s with %s: the private key is not this certificate's", certfile, keyfile);
}

/* ---- whom we trust ---- */

/* An authority whose own certificate has ended vouches for nobody any more. That is no reason not to start. */
static bool load_authority(WOLFSSL_CTX *ctx, const char *path, unsigned line, struct view block, char **why)
{
    unsigned flags = tls_clock_unset() ? WOLFSSL_LOAD_FLAG_DATE_ERR_OKAY : WOLFSSL_LOAD_FLAG_NONE;
    char buf[128];
    int r = wolfSSL_CTX_load_verify_buffer_ex(ctx, block.p, (long)block.len, WOLFSSL_FILETYPE_PEM, 0, flags);

    tls_lib_forget_errors();
    if (r == WOLFSSL_SUCCESS)
        return true;
    if (r != ASN_AFTER_DATE_E && r != ASN_BEFORE_DATE_E)
        return tls_why(why, "%s:%u: can't be used as a certificate: %s", path, line, tls_error_text(r, buf, sizeof buf));
    log_warning("an authority is left out, so clients with its certificates are refused file=%s line=%u reason=%s",
                log_qs(path), line, r == ASN_AFTER_DATE_E ? "\"it has expired\"" : "\"it is not valid yet\"");
    return true;
}

/* How many certificates there were, -1: *why. */
static int load_authorities(WOLFSSL_CTX *ctx, const char *path, struct view text, char **why)
{
    struct view rest = text, block;
    int n = 0;

    for (; x509_pem_next(&rest, "CERTIFICATE", &block); n++)
        if (!load_authority(ctx, path, x509_line(text, block.p), block, why))
            return -1;
    return n;
}

bool tls_load_cafile(WOLFSSL_CTX *ctx, const char *path, char **why)
{
    struct view text;
    int n;

    if (!tls_file_read(path, &text, why))
        return false;
    n = load_authorities(ctx, path, text, why);
    if (n == 0)
        holds_no(path, text, "certificate", "x509", why);
    tls_file_free(&text);
    return n > 0;
}

static int by_name(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

bool tls_load_capath(WOLFSSL_CTX *ctx, const char *path, char **why)
{
    struct dirent **found;
    int n = scandir(path, &found, by_name, alphasort), all = 0;
    bool ok = n >= 0;

    if (!ok)
        return cant_open(path, errno, why);
    for (int i = 0; i < n; i++) {
        struct view text;
        struct stat st;
        char file[4096];
        snprintf(file, sizeof file, "%s/%s", path, found[i]->d_name);
        /* A README between the certificates is no mistake, a broken certificate is. */
        if (ok && stat(file, &st) == 0 && S_ISREG(st.st_mode) && (ok = tls_file_read(file, &text, why))) {
            int here = load_authorities(ctx, file, text, why);
            ok = here >= 0;
            all += here;
            tls_file_free(&text);
        }
        free(found[i]);
    }
    free(found);
    if (ok && all == 0)
        return tls_why(why, "%s: no file in it holds a certificate in PEM form", path);
    return ok;
}

/* A list that has ended still says who was revoked when it was made, and the library goes on refusing its issuer's
 * certificates, as it should. That is better than not to start. */
static bool load_list(WOLFSSL_CTX *ctx, const char *path, unsigned line, struct view block, char **why)
{
    struct view der = tls_pem_der(block, CRL_TYPE);
    struct x509 x;
    char buf[128];
    int r;

    if (der.p == NULL || !x509_crl(der, &x)) {
        tls_file_free(&der);
        return tls_why(why, "%s:%u: is damaged", path, line);
    }
    if (x.until_s < tls_now_s())
        log_warning("a revocation list has ended, so its issuer's clients are refused file=%s line=%u", log_qs(path),
                    line);
    tls_pretend_s(x.from_s);
    r = wolfSSL_CTX_LoadCRLBuffer(ctx, der.p, (long)der.len, WOLFSSL_FILETYPE_ASN1);
    tls_pretend_s(0);
    tls_file_free(&der);
    tls_lib_forget_errors();
    if (r == WOLFSSL_SUCCESS)
        return true;
    return tls_why(why, "%s:%u: can't be used as a revocation list: %s%s", path, line, tls_error_text(r, buf, sizeof buf),
                   r == ASN_CRL_NO_SIGNER_E ? "; its issuer is not in cafile" : "");
}

bool tls_load_crl(WOLFSSL_CTX *ctx, const char *path, char **why)
{
    struct view text, rest, block;
    bool ok = true;
    int n = 0;

    if (wolfSSL_CTX_EnableCRL(ctx, WOLFSSL_CRL_CHECKALL) != WOLFSSL_SUCCESS)
        return tls_why(why, "no memory");
    if (!tls_file_read(path, &text, why))
        return false;
    for (rest = text; ok && x509_pem_next(&rest, "X509 CRL", &block); n++)
        ok = load_list(ctx, path, x509_line(text, block.p), block, why);
    if (n == 0)
        ok = holds_no(path, text, "revocation list", "crl", why);
    tls_file_free(&text);
    return ok;
}

bool tls_load_dh(WOLFSSL_CTX *ctx, const char *path, char **why)
{
    struct view text;
    char buf[128];
    bool ok = false;
    int r;

    if (!tls_file_read(path, &text, why))
        return false;
    if (!has(text, "BEGIN DH PARAMETERS")) {
        holds_no(path, text, "DH parameters", "dhparam", why);
    } else {
        r = wolfSSL_CTX_SetTmpDH_buffer(ctx, text.p, (long)text.len, WOLFSSL_FILETYPE_PEM);
        ok = r == WOLFSSL_SUCCESS;
        if (!ok)
            tls_why(why, "%s: %s", path, r == DH_KEY_SIZE_E ? "fewer than 2048 bits protect nothing any more"
                                                            : tls_error_text(r, buf, sizeof buf));
    }
    tls_file_free(&text);
    tls_lib_forget_errors();
    return ok;
}
