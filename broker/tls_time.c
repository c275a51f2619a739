/* Certificates and the clock. A board without a battery starts in 1970 and learns the time from the network, perhaps
 * over this broker. Until then dates are not held against certificates; everything else is.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/tls_engine.h"

#include "broker/x509.h"

#include <errno.h>

enum { YEAR_2024 = 1704067200 };

int64_t tls_clock_offset_s;

static int64_t pretended_s;

int64_t tls_now_s(void)
{
    return (int64_t)time(NULL) + tls_clock_offset_s;
}

bool tls_clock_unset(void)
{
    return tls_now_s() < YEAR_2024;
}

void tls_pretend_s(int64_t t)
{
    pretended_s = t;
}

static time_t library_time(time_t *out)
{
    time_t now = (time_t)(pretended_s != 0 ? pretended_s : tls_now_s());

    if (out != NULL)
        *out = now;
    return now;
}

/* A 32-bit library that was built with the system's old time_t calls what it takes for a wc_time_cb and is this. In
 * 2038 its clock goes back to 1901, and no certificate is valid: the library's end, not ours. */
static int32_t library_time32(int32_t *out)
{
    int32_t now = (int32_t)library_time(NULL);

    if (out != NULL)
        *out = now;
    return now;
}

void tls_time_setup(void)
{
    time_t t;
    /* Tells how wide the library's time_t is: it does not fill a place that is too small. */
    bool narrow = wc_GetTime(&t, sizeof(int32_t)) == 0;

    wc_SetTimeCb(narrow ? (wc_time_cb)(void (*)(void))library_time32 : library_time);
}

/* The library has stopped at the date and not looked at revocation and critical extensions. So the certificate is
 * verified once more, as if it were the day of its issue. */
int tls_verify_without_clock(int ok, WOLFSSL_X509_STORE_CTX *store)
{
    struct tls *t = store->userCtx;
    WOLFSSL_CERT_MANAGER *cm = t != NULL ? wolfSSL_CTX_GetCertManager(t->set->ctx) : NULL;
    struct x509 cert;
    char buf[128];
    int i = store->error_depth, r;

    if (ok)
        return ok;
    if (!tls_lib_is_date_error(store->error) || cm == NULL || store->certs == NULL || i < 0 || i >= store->totalCerts)
        return 0;
    if (!x509_cert((struct view){ store->certs[i].buffer, store->certs[i].length }, &cert))
        return 0;
    tls_pretend_s(cert.from_s);
    r = wolfSSL_CertManagerVerifyBuffer(cm, store->certs[i].buffer, (long)store->certs[i].length, WOLFSSL_FILETYPE_ASN1);
    tls_pretend_s(0);
    if (r != WOLFSSL_SUCCESS)
        tls_break(t, EPROTO, "handshake: %s", tls_error_text(r, buf, sizeof buf));
    return r == WOLFSSL_SUCCESS;
}
