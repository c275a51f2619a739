/* Which ciphers are used. The library takes a list, skips names it does not know, and has anonymous, unencrypted and
 * broken ones among those it does; so every name is looked up here, and only sound ones are handed on.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/tls_engine.h"

#include "broker/config_value.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { LIST_MAX = 4096 };

#define AES13    "TLS13-AES128-GCM-SHA256"
#define CHACHA13 "TLS13-CHACHA20-POLY1305-SHA256"

static const char *const defaults_13[] = {
    TLS_LIB_FAST_AES ? AES13 : CHACHA13, TLS_LIB_FAST_AES ? CHACHA13 : AES13, "TLS13-AES256-GCM-SHA384", NULL,
};
static const char *const defaults_cert[] = {
    "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384", NULL,
};
static const char *const defaults_dh[] = {
    "DHE-RSA-CHACHA20-POLY1305", "DHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES256-GCM-SHA384", NULL,
};
static const char *const defaults_psk[] = {
    "ECDHE-PSK-CHACHA20-POLY1305", "ECDHE-PSK-AES128-GCM-SHA256", "ECDHE-PSK-AES128-CBC-SHA256",
    "DHE-PSK-CHACHA20-POLY1305", "DHE-PSK-AES128-GCM-SHA256", "PSK-CHACHA20-POLY1305", NULL,
};

/* What OpenSSL, and therefore mosquitto.conf, calls the TLS 1.3 ciphers. */
static const char *const names_13[][2] = {
    { "TLS_AES_128_GCM_SHA256", AES13 },
    { "TLS_AES_256_GCM_SHA384", "TLS13-AES256-GCM-SHA384" },
    { "TLS_CHACHA20_POLY1305_SHA256", CHACHA13 },
    { "TLS_AES_128_CCM_SHA256", "TLS13-AES128-CCM-SHA256" },
    { "TLS_AES_128_CCM_8_SHA256", "TLS13-AES128-CCM-8-SHA256" },
};

static bool is_13(const char *name)
{
    return strncmp(name, "TLS13-", 6) == 0;
}

static bool is_sound(const char *name)
{
    static const char *const bad[] = { "NULL", "ADH", "RC4", "DES", "MD5", "WDM", "anon", "OLD", "TLS13-SHA", "EXP" };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (strstr(name, bad[i]) != NULL)
            return false;
    return true;
}

/* All names the library has, split. The text belongs to the caller, the words point into it. */
static unsigned library_names(char *text, size_t cap, const char **words, unsigned most)
{
    unsigned n = 0;
    char *save = NULL;

    if (wolfSSL_get_ciphers(text, (int)cap) != WOLFSSL_SUCCESS)
        return 0;
    for (char *w = strtok_r(text, ":", &save); w != NULL && n < most; w = strtok_r(NULL, ":", &save))
        words[n++] = w;
    return n;
}

struct candidates {
    const char *words[200];
    unsigned count;
    bool tls13;
};

static const char *candidate(void *arg, unsigned i)
{
    const struct candidates *c = arg;

    return is_13(c->words[i]) == c->tls13 && is_sound(c->words[i]) ? c->words[i] : NULL;
}

/* The library's name for what the configuration calls `name`; NULL: why. */
static const char *look_up(const char *name, const struct candidates *c, char *why, size_t cap)
{
    const char *near;

    for (size_t i = 0; c->tls13 && i < sizeof names_13 / sizeof names_13[0]; i++)
        if (strcmp(name, names_13[i][0]) == 0)
            name = names_13[i][1];
    for (unsigned i = 0; i < c->count; i++) {
        if (strcasecmp(name, c->words[i]) != 0)
            continue;
        if (!is_sound(c->words[i]))
            snprintf(why, cap, "%s protects nothing; leave it out", log_qs(name));
        else if (is_13(c->words[i]) != c->tls13)
            snprintf(why, cap, "%s is a cipher of TLS 1.%d; it belongs into %s", log_qs(name), c->tls13 ? 2 : 3,
                     c->tls13 ? "ciphers" : "ciphers_tls1.3");
        else
            return c->words[i];
        return NULL;
    }
    near = nearest_name(name, c->count, candidate, (void *)(uintptr_t)c);
    if (strchr("!+-@", name[0]) != NULL || strcasecmp(name, "HIGH") == 0 || strcasecmp(name, "DEFAULT") == 0 ||
        strcasecmp(name, "ALL") == 0 || strchr(name, '+') != NULL)
        snprintf(why, cap, "%s is a rule for OpenSSL; name single ciphers, or leave the line out for sound ones",
                 log_qs(name));
    else
        snprintf(why, cap, "%s is not a cipher of this library%s%s%s", log_qs(name),
                 near != NULL ? "; did you mean " : "", near != NULL ? near : "", near != NULL ? "?" : "");
    return NULL;
}

static void append(char *list, const char *name)
{
    size_t n = strlen(list);

    snprintf(list + n, LIST_MAX - n, "%s%s", n > 0 ? ":" : "", name);
}

/* The library's names for a configured list, appended to out. */
static bool translate(const char *list, bool tls13, char *out, char *why, size_t cap)
{
    char text[LIST_MAX], *copy = strdup(list), *save = NULL;
    struct candidates c = { .tls13 = tls13 };
    unsigned n = 0;
    bool ok = copy != NULL;

    c.count = library_names(text, sizeof text, c.words, sizeof c.words / sizeof c.words[0]);
    snprintf(why, cap, "no memory");
    for (char *w = ok ? strtok_r(copy, ":, ", &save) : NULL; ok && w != NULL; w = strtok_r(NULL, ":, ", &save)) {
        const char *name = look_up(w, &c, why, cap);
        ok = name != NULL;
        if (ok)
            append(out, name);
        n++;
    }
    free(copy);
    if (ok && n == 0)
        snprintf(why, cap, "names no cipher");
    return ok && n > 0;
}

bool tls_ciphers_check(const char *list, bool tls13, char *why, size_t cap)
{
    char out[LIST_MAX] = "";

    return translate(list, tls13, out, why, cap);
}

/* Those of the defaults that this build of the library has. */
static void add_defaults(char *out, const char *const *names)
{
    char text[LIST_MAX];
    const char *words[200];
    unsigned n = library_names(text, sizeof text, words, 200);

    for (; *names != NULL; names++)
        for (unsigned i = 0; i < n; i++)
            if (strcmp(words[i], *names) == 0) {
                append(out, *names);
                break;
            }
}

bool tls_set_ciphers(struct tls_set *s, enum tls_kind kind, int lowest, const char *ciphers, const char *ciphers_tls13,
                     char **why)
{
    char list[LIST_MAX] = "", text[256];

    if (ciphers_tls13 != NULL && !translate(ciphers_tls13, true, list, text, sizeof text))
        return tls_why(why, "ciphers_tls1.3: %s", text);
    if (ciphers_tls13 == NULL)
        add_defaults(list, defaults_13);
    if (lowest < 0x0304 && ciphers != NULL && !translate(ciphers, false, list, text, sizeof text))
        return tls_why(why, "ciphers: %s", text);
    if (lowest < 0x0304 && ciphers == NULL) {
        add_defaults(list, kind == TLS_KIND_PSK ? defaults_psk : defaults_cert);
        if (kind == TLS_KIND_CERT_DH)
            add_defaults(list, defaults_dh);
    }
    s->ciphers = strdup(list);
    if (s->ciphers == NULL)
        return tls_why(why, "no memory");
    if (wolfSSL_CTX_set_cipher_list(s->ctx, list) == WOLFSSL_SUCCESS)
        return true;
    tls_lib_forget_errors();
    return tls_why(why, "the library refuses the ciphers %s", list);
}
