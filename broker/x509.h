/* What caddis itself wants to know from certificates and revocation lists: names, dates, issuers. TLS is the library's;
 * names are read here because the library hands them out as C strings, which end at a NUL that an attacker put there,
 * and writes them differently from one build to the next.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_X509_H
#define CADDIS_BROKER_X509_H

#include "proto/reader.h"

/* Views into the DER bytes. */
struct x509 {
    struct view issuer, subject;    /* Name, as x509_common_name() takes it */
    int64_t from_s, until_s;        /* Unix time. Revocation list: thisUpdate, nextUpdate (INT64_MAX: none) */
    bool is_ca;                     /* certificates: basicConstraints says so */
};

/* false: these bytes are no certificate. */
bool x509_cert(struct view der, struct x509 *out);
/* The same for a revocation list; subject stays empty. */
bool x509_crl(struct view der, struct x509 *out);

enum x509_name {
    X509_NAME_OK,
    X509_NAME_NONE,         /* there is no common name, or an empty one */
    X509_NAME_TWO,          /* there are several: which one counts differs from program to program */
    X509_NAME_BAD,          /* not text: a NUL, not UTF-8, an alphabet nobody uses any more */
    X509_NAME_LONG,         /* does not fit */
};
/* "is ambiguous", ... for messages. */
const char *x509_name_text(enum x509_name n);
/* NUL-terminated into out. */
enum x509_name x509_common_name(struct view name, char *out, size_t cap);
/* "CN=device-1,OU=sensors,O=Acme" as RFC 2253 has it, and as OpenSSL and thereby mosquitto writes it. */
enum x509_name x509_full_name(struct view name, char *out, size_t cap);

/* The next PEM block with this label ("CERTIFICATE"); *text moves past it. false: there is none. A block without an end
 * is given as far as it goes. */
bool x509_pem_next(struct view *text, const char *label, struct view *block);
/* The line of the text, from 1, in which `at` stands. */
unsigned x509_line(struct view text, const uint8_t *at);

#endif
