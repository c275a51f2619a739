/* SCRAM-SHA-256. The message formats are in RFC 5802, section 7.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/scram.h"

#include "broker/base64.h"
#include "broker/mem.h"
#include "broker/textfile.h"

#include <stdio.h>
#include <string.h>

enum { NONCE_MAX = SCRAM_CLIENT_NONCE_MAX + 64, FIRST_MAX = 6 * SCRAM_USER_MAX + SCRAM_CLIENT_NONCE_MAX + 64 };

enum stage { WANT_FIRST, WANT_FINAL, OVER };

struct scram {
    enum stage stage;
    enum passwd_scram found;
    const char *why;
    const char *fixed_nonce;            /* tests */
    struct passwd_hash stored;
    uint8_t fake_key[SHA256_LEN];
    char user[SCRAM_USER_MAX + 1];
    size_t user_len;
    char nonce[NONCE_MAX];              /* the client's, then ours */
    uint8_t client_first[FIRST_MAX];
    size_t client_first_len, header_len;        /* header: up to the second comma */
    char server_first[NONCE_MAX + BASE64_LEN(PASSWD_SALT_MAX) + 24];
    char server_final[2 + BASE64_LEN(SHA256_LEN) + 1];
    bool guessed;
};

struct scram *scram_new(const uint8_t fake_key[SHA256_LEN])
{
    struct scram *s = mem_zero(MEM_OTHER, sizeof *s);

    if (s != NULL)
        memcpy(s->fake_key, fake_key, sizeof s->fake_key);
    return s;
}

void scram_free(struct scram **sp)
{
    if (*sp == NULL)
        return;
    explicit_bzero(*sp, sizeof **sp);
    mem_free(MEM_OTHER, *sp);
    *sp = NULL;
}

struct view scram_user(const struct scram *s)
{
    return (struct view){ (const uint8_t *)s->user, s->user_len };
}

const char *scram_why(const struct scram *s)
{
    return s->why;
}

bool scram_guessed(const struct scram *s)
{
    return s->guessed;
}

void scram_set_nonce(struct scram *s, const char *nonce)
{
    s->fixed_nonce = nonce;
}

static enum scram_result fail(struct scram *s, const char *why)
{
    s->stage = OVER;
    s->why = why;
    return SCRAM_FAILED;
}

/* ---- grammar ---- */

/* Takes "X=value," off; false: it is not there. */
static bool take(struct view *rest, char name, struct view *value)
{
    struct view after, field;

    if (rest->p == NULL)
        return false;
    field = view_cut(*rest, ',', &after);
    if (field.len < 2 || field.p[0] != (uint8_t)name || field.p[1] != '=')
        return false;
    *value = (struct view){ field.p + 2, field.len - 2 };
    *rest = after;
    return true;
}

/* =2C is a comma and =3D an equals sign; no other = may stand in a name. */
static bool unescape(struct view v, char *out, size_t cap, size_t *len)
{
    size_t n = 0;

    for (size_t i = 0; i < v.len; i++) {
        char c = (char)v.p[i];
        if (n == cap || c == '\0')
            return false;
        if (c == '=') {
            if (v.len - i < 3 || (memcmp(v.p + i, "=2C", 3) != 0 && memcmp(v.p + i, "=3D", 3) != 0))
                return false;
            c = v.p[i + 1] == '2' ? ',' : '=';
            i += 2;
        }
        out[n++] = c;
    }
    *len = n;
    return n > 0;
}

static bool printable(struct view v)
{
    for (size_t i = 0; i < v.len; i++)
        if (v.p[i] < 0x21 || v.p[i] > 0x7E)
            return false;
    return true;
}

/* authzid: "", or "a=NAME". NULL: fine. */
static const char *parse_names(struct scram *s, struct view name, struct view authzid)
{
    char other[SCRAM_USER_MAX];
    size_t n;

    if (!unescape(name, s->user, SCRAM_USER_MAX, &s->user_len)) {
        s->user_len = 0;
        return "its user name is empty, too long or badly escaped";
    }
    if (authzid.len == 0)
        return NULL;
    if (!unescape((struct view){ authzid.p + 2, authzid.len - 2 }, other, sizeof other, &n) ||
        n != s->user_len || memcmp(other, s->user, n) != 0)
        return "it wants to act as another user than it logs in as";
    return NULL;
}

/* Splits and keeps client-first. NULL: fine. */
static const char *parse_first(struct scram *s, struct view in, struct view *nonce)
{
    struct view rest, flag = view_cut(in, ',', &rest), authzid, name, bare;
    const char *why;

    if (flag.len != 1 || (flag.p[0] != 'n' && flag.p[0] != 'y'))
        return flag.len > 0 && flag.p[0] == 'p' ? "it insists on channel binding, which is not done over MQTT"
                                                : "its first message is not SCRAM";
    authzid = view_cut(rest, ',', &bare);
    if (bare.p == NULL || (authzid.len > 0 && (authzid.len < 2 || memcmp(authzid.p, "a=", 2) != 0)))
        return "its first message is not SCRAM";
    rest = bare;
    if (take(&rest, 'm', &name))
        return "it asks for an extension of SCRAM that is unknown";
    if (!take(&rest, 'n', &name) || !take(&rest, 'r', nonce) || nonce->len == 0 || !printable(*nonce))
        return "its first message is not SCRAM";
    if (nonce->len > SCRAM_CLIENT_NONCE_MAX || in.len > sizeof s->client_first)
        return "its nonce or its user name is too long";
    why = parse_names(s, name, authzid);
    if (why != NULL)
        return why;
    memcpy(s->client_first, in.p, in.len);
    s->client_first_len = in.len;
    s->header_len = (size_t)(bare.p - in.p);
    return NULL;
}

/* ---- the two steps ---- */

static bool make_nonce(struct scram *s, struct view client)
{
    uint8_t random[SCRAM_NONCE_LEN / 4 * 3];
    char ours[SCRAM_NONCE_LEN + 1];

    if (!crypto_random(random, sizeof random))
        return false;
    base64_encode((struct view){ random, sizeof random }, ours);
    return (size_t)snprintf(s->nonce, sizeof s->nonce, "%.*s%s", (int)client.len, (const char *)client.p,
                            s->fixed_nonce != NULL ? s->fixed_nonce : ours) < sizeof s->nonce;
}

/* For who has no keys: always the same salt for the same name. */
static bool fake_salt(struct scram *s)
{
    uint8_t mac[SHA512_LEN];
    struct view name = scram_user(s);

    if (!crypto_hmac(CRYPTO_SHA512, (struct view){ s->fake_key, sizeof s->fake_key }, &name, 1, mac))
        return false;
    memcpy(s->stored.salt, mac, s->stored.salt_len);
    return true;
}

static enum scram_result on_first(struct scram *s, const struct passwd *users, struct view in, struct view *out)
{
    char salt[BASE64_LEN(PASSWD_SALT_MAX) + 1];
    struct view nonce = { NULL, 0 };
    const char *why = parse_first(s, in, &nonce);

    if (why != NULL)
        return fail(s, why);
    s->found = passwd_scram_find(users, scram_user(s), &s->stored);
    if (!make_nonce(s, nonce) || (s->found != PASSWD_SCRAM_KEYS && !fake_salt(s)))
        return fail(s, "the broker has no random numbers or no memory");
    base64_encode((struct view){ s->stored.salt, s->stored.salt_len }, salt);
    snprintf(s->server_first, sizeof s->server_first, "r=%s,s=%s,i=%u", s->nonce, salt, s->stored.iterations);
    *out = view_of(s->server_first);
    s->stage = WANT_FINAL;
    return SCRAM_CONTINUE;
}

/* Does H(proof XOR HMAC(StoredKey, AuthMessage)) give StoredKey? And our signature, while AuthMessage is at hand. */
static bool verify(struct scram *s, const uint8_t *proof, struct view without_proof, uint8_t signature[SHA256_LEN])
{
    struct view stored = { s->stored.key, SHA256_LEN }, server = { s->stored.key + SHA256_LEN, SHA256_LEN };
    struct view message[] = { { s->client_first + s->header_len, s->client_first_len - s->header_len }, view_of(","),
                              view_of(s->server_first), view_of(","), without_proof };
    uint8_t client[SHA256_LEN], hashed[SHA256_LEN];
    struct view client_key = { client, sizeof client };
    bool right;

    if (!crypto_hmac(CRYPTO_SHA256, stored, message, 5, client) ||
        !crypto_hmac(CRYPTO_SHA256, server, message, 5, signature))
        return false;
    for (unsigned i = 0; i < SHA256_LEN; i++)
        client[i] ^= proof[i];
    right = crypto_hash(CRYPTO_SHA256, &client_key, 1, hashed) && crypto_same(hashed, s->stored.key, SHA256_LEN);
    explicit_bzero(client, sizeof client);
    return right && s->found == PASSWD_SCRAM_KEYS;
}

static bool same_text(struct view v, const char *text)
{
    return v.len == strlen(text) && memcmp(v.p, text, v.len) == 0;
}

static enum scram_result on_final(struct scram *s, struct view in, struct view *out)
{
    struct view rest = in, binding, nonce, proof, without_proof;
    uint8_t given[SHA256_LEN], signature[SHA256_LEN];
    char header[BASE64_LEN(FIRST_MAX) + 1];

    if (!take(&rest, 'c', &binding) || !take(&rest, 'r', &nonce))
        return fail(s, "its second message is not SCRAM");
    while (rest.p != NULL && !(rest.len > 1 && memcmp(rest.p, "p=", 2) == 0))
        view_cut(rest, ',', &rest);     /* extensions may stand here; unknown ones are to be ignored */
    without_proof = (struct view){ in.p, rest.p != NULL ? (size_t)(rest.p - 1 - in.p) : 0 };
    if (!take(&rest, 'p', &proof) || rest.p != NULL || base64_decode(proof, given, sizeof given) != SHA256_LEN)
        return fail(s, "its second message has no proof, or a damaged one");
    base64_encode((struct view){ s->client_first, s->header_len }, header);
    if (!same_text(binding, header))
        return fail(s, "its two messages do not agree about channel binding");
    if (!same_text(nonce, s->nonce))
        return fail(s, "it does not repeat the nonce");
    if (!verify(s, given, without_proof, signature)) {
        s->guessed = true;
        return fail(s, s->found == PASSWD_SCRAM_KEYS ? "wrong password"
                       : s->found == PASSWD_SCRAM_NO_USER ? "no such user"
                       : "this user's hash can't serve SCRAM; `caddis passwd -H scram-sha-256 FILE USER` makes one");
    }
    memcpy(s->server_final, "v=", 2);
    base64_encode((struct view){ signature, sizeof signature }, s->server_final + 2);
    *out = view_of(s->server_final);
    s->stage = OVER;
    return SCRAM_DONE;
}

enum scram_result scram_step(struct scram *s, const struct passwd *users, struct view in, struct view *out)
{
    *out = (struct view){ NULL, 0 };
    switch (s->stage) {
    case WANT_FIRST: return on_first(s, users, in, out);
    case WANT_FINAL: return on_final(s, in, out);
    default: return fail(s, "it goes on after the end");
    }
}
