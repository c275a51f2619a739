/* What went wrong, in words that name the remedy.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/tls_engine.h"

#include <stdio.h>

static const struct {
    int code;
    const char *text;
} errors[] = {
    { NO_PEER_CERT, "no certificate was shown, and one is required" },
    { ASN_NO_SIGNER_E, "the certificate was issued by nobody we trust (cafile)" },
    { ASN_SELF_SIGNED_E, "the certificate was issued by nobody we trust (cafile)" },
    { ASN_SIG_CONFIRM_E, "the certificate's signature is wrong" },
    { ASN_BEFORE_DATE_E, "the certificate is not valid yet; is the clock right?" },
    { ASN_AFTER_DATE_E, "the certificate has expired" },
    { CRL_CERT_REVOKED, "the certificate has been revoked" },
    { CRL_MISSING, "there is no revocation list of the certificate's issuer (crlfile)" },
    { CRL_CERT_DATE_ERR, "the revocation list of the certificate's issuer has ended (crlfile)" },
    { EXTKEYUSE_AUTH_E, "the certificate is for another purpose (extended key usage)" },
    { KEYUSE_SIGNATURE_E, "the certificate is for another purpose (key usage)" },
    { DOMAIN_NAME_MISMATCH, "the certificate is for another name" },
    { IPADDR_MISMATCH, "the certificate is for another address" },
    { PSK_KEY_ERROR, "unknown PSK identity" },
    { BAD_BINDER, "wrong PSK key" },
    { VERSION_ERROR, "no TLS version in common" },
    { UNSUPPORTED_SUITE, "no cipher in common" },
    { MATCH_SUITE_ERROR, "no cipher in common" },
    { VERIFY_MAC_ERROR, "a record has been tampered with, or the key is wrong" },
    { DECRYPT_ERROR, "a record has been tampered with, or the key is wrong" },
    { UNKNOWN_ALPN_PROTOCOL_NAME_E, "no application protocol in common (ALPN)" },
    { UNKNOWN_RECORD_TYPE, "what came is not TLS" },
    { UNKNOWN_HANDSHAKE_TYPE, "what came is not TLS" },
    { OUT_OF_ORDER_E, "a handshake message out of order" },
    { SECURE_RENEGOTIATION_E, "renegotiation, which we don't do" },
    { ASN_NO_PEM_HEADER, "it holds nothing in PEM form" },
    { MEMORY_E, "no memory" },
};

const char *tls_error_text(int code, char *buf, size_t cap)
{
    char text[WOLFSSL_MAX_ERROR_SZ];

    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        if (errors[i].code == code)
            return errors[i].text;
    wolfSSL_ERR_error_string_n((unsigned long)code, text, sizeof text);
    snprintf(buf, cap, "%s (%d)", text, code);
    return buf;
}

const char *tls_alert_text(int code)
{
    static const struct {
        int code;
        const char *text;
    } alerts[] = {
        { 10, "unexpected message" },
        { 20, "a record has been tampered with, or the key is wrong" },
        { 40, "no settings in common (handshake failure)" },
        { 42, "our certificate is bad" },
        { 43, "our certificate is of an unsupported kind" },
        { 44, "our certificate is revoked" },
        { 45, "our certificate has expired" },
        { 46, "our certificate is not acceptable" },
        { 47, "illegal parameter" },
        { 48, "our certificate was issued by nobody it trusts (unknown CA)" },
        { 49, "access denied" },
        { 50, "decode error" },
        { 51, "decrypt error: wrong key or signature" },
        { 70, "no TLS version in common" },
        { 71, "insufficient security" },
        { 80, "internal error" },
        { 90, "cancelled by its user" },
        { 109, "missing extension" },
        { 112, "our name is not the one it wanted" },
        { 115, "unknown PSK identity" },
        { 116, "certificate required" },
        { 120, "no application protocol in common (ALPN)" },
    };

    for (size_t i = 0; i < sizeof alerts / sizeof alerts[0]; i++)
        if (alerts[i].code == code)
            return alerts[i].text;
    return "an alert";
}
