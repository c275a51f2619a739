/* Stored passwords: their text, and making them.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/passwd_hash.h"

#include "broker/base64.h"
#include "broker/textfile.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* mosquitto 2.0 takes salts of 12 bytes only. */
enum { SALT_NEW = 12, SALT_SCRAM = 16 };

static const struct {
    const char *name, *prefix;
    uint32_t iterations;
} kinds[] = {
#define X(id, name, prefix, iterations) { name, prefix, iterations },
    PASSWD_KINDS(X)
#undef X
};

const char *passwd_kind_name(enum passwd_kind kind)
{
    return kinds[kind].name;
}

uint32_t passwd_kind_iterations(enum passwd_kind kind)
{
    return kinds[kind].iterations;
}

enum passwd_kind passwd_kind_find(const char *name)
{
    unsigned kind = 0;

    while (kind < PASSWD_KIND_COUNT && strcmp(kinds[kind].name, name) != 0)
        kind++;
    return (enum passwd_kind)kind;
}

/* ---- text ---- */

static bool has_prefix(struct view text, const char *prefix)
{
    return text.len >= strlen(prefix) && memcmp(text.p, prefix, strlen(prefix)) == 0;
}

static bool parse_number(struct view v, uint32_t most, uint32_t *out)
{
    uint64_t n = 0;

    if (v.len == 0 || v.len > 10)
        return false;
    for (size_t i = 0; i < v.len; i++) {
        if (v.p[i] < '0' || v.p[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(v.p[i] - '0');
    }
    *out = (uint32_t)n;
    return n >= 1 && n <= most;
}

static const char *no_prefix(struct view text)
{
    if (text.len == 0)
        return "there is no password; give it one with `caddis passwd FILE USER`";
    if (has_prefix(text, "$argon2"))
        return "an argon2 hash can't be verified here; set the password anew with `caddis passwd FILE USER`";
    if (text.p[0] == '$')
        return "this kind of hash is unknown; known are $7$, $6$ and $scram-sha-256$";
    return "this is not a hashed password; `caddis passwd -U FILE` hashes a whole file of plain ones";
}

const char *passwd_hash_parse(struct passwd_hash *h, struct view text)
{
    unsigned kind = 0;
    struct view part;
    int n;

    memset(h, 0, sizeof *h);
    while (kind < PASSWD_KIND_COUNT && !has_prefix(text, kinds[kind].prefix))
        kind++;
    if (kind == PASSWD_KIND_COUNT)
        return no_prefix(text);
    h->kind = (enum passwd_kind)kind;
    h->iterations = 1;
    text.p += strlen(kinds[kind].prefix);
    text.len -= strlen(kinds[kind].prefix);
    if (kinds[kind].iterations > 0 && !parse_number(view_cut(text, '$', &text), PASSWD_ITERATIONS_MAX, &h->iterations))
        return "the number of iterations is missing, or not from 1 to 10000000";
    n = base64_decode(view_cut(text, '$', &text), h->salt, sizeof h->salt);
    if (n <= 0)
        return "the salt is missing or damaged (1 to 64 bytes in base64)";
    h->salt_len = (uint32_t)n;
    part = view_cut(text, '$', &text);
    if (kind != PASSWD_SCRAM)
        return base64_decode(part, h->key, SHA512_LEN) == SHA512_LEN && text.p == NULL
                   ? NULL : "the hash is missing or damaged (64 bytes in base64)";
    return base64_decode(part, h->key, SHA256_LEN) == SHA256_LEN &&
           base64_decode(text, h->key + SHA256_LEN, SHA256_LEN) == SHA256_LEN
               ? NULL : "a SCRAM key is missing or damaged (two of 32 bytes in base64)";
}

size_t passwd_hash_format(const struct passwd_hash *h, char out[PASSWD_TEXT_MAX])
{
    char *p = out + sprintf(out, "%s", kinds[h->kind].prefix);

    if (kinds[h->kind].iterations > 0)
        p += sprintf(p, "%u$", h->iterations);
    p += base64_encode((struct view){ h->salt, h->salt_len }, p);
    *p++ = '$';
    if (h->kind != PASSWD_SCRAM) {
        p += base64_encode((struct view){ h->key, SHA512_LEN }, p);
    } else {
        p += base64_encode((struct view){ h->key, SHA256_LEN }, p);
        *p++ = '$';
        p += base64_encode((struct view){ h->key + SHA256_LEN, SHA256_LEN }, p);
    }
    assert(p < out + PASSWD_TEXT_MAX);
    return (size_t)(p - out);
}

/* ---- making ---- */

/* ClientKey := HMAC(SaltedPassword, "Client Key"), StoredKey := H(ClientKey),
 * ServerKey := HMAC(SaltedPassword, "Server Key") (RFC 5802, section 3). */
bool passwd_scram_keys(const uint8_t salted[SHA256_LEN], uint8_t stored[SHA256_LEN], uint8_t server[SHA256_LEN])
{
    struct view key = { salted, SHA256_LEN }, client_text = view_of("Client Key"), server_text = view_of("Server Key");
    uint8_t client[SHA256_LEN];
    struct view client_key = { client, SHA256_LEN };
    bool ok = crypto_hmac(CRYPTO_SHA256, key, &client_text, 1, client) &&
              crypto_hash(CRYPTO_SHA256, &client_key, 1, stored) &&
              crypto_hmac(CRYPTO_SHA256, key, &server_text, 1, server);

    explicit_bzero(client, sizeof client);
    return ok;
}

static bool make_scram(struct passwd_hash *h, struct view password, struct view salt)
{
    uint8_t salted[SHA256_LEN];
    bool ok = crypto_pbkdf2(CRYPTO_SHA256, password, salt, h->iterations, salted) &&
              passwd_scram_keys(salted, h->key, h->key + SHA256_LEN);

    explicit_bzero(salted, sizeof salted);
    return ok;
}

bool passwd_hash_make(struct passwd_hash *h, enum passwd_kind kind, uint32_t iterations, struct view password)
{
    struct view parts[2] = { password };

    memset(h, 0, sizeof *h);
    h->kind = kind;
    h->iterations = kinds[kind].iterations > 0 ? iterations : 1;
    h->salt_len = kind == PASSWD_SCRAM ? SALT_SCRAM : SALT_NEW;
    if (!crypto_random(h->salt, h->salt_len))
        return false;
    parts[1] = (struct view){ h->salt, h->salt_len };
    switch (kind) {
    case PASSWD_PBKDF2: return crypto_pbkdf2(CRYPTO_SHA512, password, parts[1], iterations, h->key);
    case PASSWD_SHA512: return crypto_hash(CRYPTO_SHA512, parts, 2, h->key);
    default: return make_scram(h, password, parts[1]);
    }
}
