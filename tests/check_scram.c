/* SCRAM-SHA-256: the exchange of RFC 7677, what clients get wrong, and that users without keys look like others.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/base64.h"
#include "broker/mem.h"
#include "broker/scram.h"
#include "broker/textfile.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* RFC 7677, section 3. The comma is user number two: escaped as =2C, with the same password. */
#define KEYS "$scram-sha-256$4096$W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=" \
    "$wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
#define USERS "user:" KEYS "\na,b=c:" KEYS "\nplain:$6$qHC3iOq9w6WrqNco$ckBx3x3tGzMgaKGt2vH9s7s2wqi/65hfZuCWQtK45WDj" \
    "UrO7f9BrBpy7yBQF0+7ZqBetNseM1TGSJZlbkenrhQ==\n"
#define CLIENT_NONCE "rOprNGfwEbeRWgbNEkqO"
#define OUR_NONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define NONCE CLIENT_NONCE OUR_NONCE
#define SALT_AND_I ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"

static const uint8_t fake_key[SHA256_LEN] = { 1, 2, 3 };
static struct passwd *users;
static struct scram *s;
static struct view out;

static void start(void)
{
    users = passwd_load_text("pw", view_of(USERS), NULL, NULL);
    ck_assert_ptr_nonnull(users);
    s = scram_new(fake_key);
    ck_assert_ptr_nonnull(s);
    scram_set_nonce(s, OUR_NONCE);
}

static void stop(void)
{
    scram_free(&s);
    ck_assert_ptr_null(s);
    passwd_free(&users);
    ck_assert_uint_eq(mem_bytes[MEM_OTHER], 0);
}

/* A copy of its own, so that a sanitizer sees reads past the end, and nobody relies on it later. */
static enum scram_result step(const char *text)
{
    size_t n = strlen(text);
    uint8_t *copy = malloc(n > 0 ? n : 1);
    enum scram_result r;

    memcpy(copy, text, n);
    r = scram_step(s, users, (struct view){ copy, n }, &out);
    memset(copy, 'x', n);
    free(copy);
    return r;
}

static void expect_out(const char *want)
{
    ck_assert_msg(out.len == strlen(want) && memcmp(out.p, want, out.len) == 0, "got %.*s", (int)out.len,
                  (const char *)out.p);
}

START_TEST(rfc_7677)
{
    start();
    scram_set_nonce(s, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
    ck_assert_int_eq(step("n,,n=user,r=rOprNGfwEbeRWgbNEkqO"), SCRAM_CONTINUE);
    expect_out("r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
    ck_assert_int_eq(step("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                          "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="), SCRAM_DONE);
    expect_out("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    ck_assert_uint_eq(scram_user(s).len, 4);
    ck_assert_int_eq(memcmp(scram_user(s).p, "user", 4), 0);
    ck_assert_int_eq(step("c=biws"), SCRAM_FAILED);
    stop();
}
END_TEST

/* ---- a client ---- */

/* client-final for what the server said: bare is client-first without its header, binding the base64 of the header. */
static char *final_message(const char *binding, const char *bare, const char *server_first, const char *password,
                           const char *extension)
{
    static char text[2048];
    char message[4096], proof_text[64];
    uint8_t salt[64], salted[32], client[32], stored[32], signature[32];
    const char *comma = strchr(server_first, ','), *i = strstr(server_first, ",i=");
    struct view salted_key = { salted, 32 }, client_key = { client, 32 }, stored_key = { stored, 32 }, v;
    int n = base64_decode((struct view){ (const uint8_t *)comma + 3, (size_t)(i - comma - 3) }, salt, sizeof salt);

    ck_assert_int_gt(n, 0);
    ck_assert(crypto_pbkdf2(CRYPTO_SHA256, view_of(password), (struct view){ salt, (size_t)n },
                            (uint32_t)atoi(i + 3), salted));
    v = view_of("Client Key");
    ck_assert(crypto_hmac(CRYPTO_SHA256, salted_key, &v, 1, client));
    ck_assert(crypto_hash(CRYPTO_SHA256, &client_key, 1, stored));
    snprintf(text, sizeof text, "c=%s,%.*s%s", binding, (int)(comma - server_first), server_first, extension);
    snprintf(message, sizeof message, "%s,%s,%s", bare, server_first, text);
    v = view_of(message);
    ck_assert(crypto_hmac(CRYPTO_SHA256, stored_key, &v, 1, signature));
    for (unsigned k = 0; k < 32; k++)
        client[k] ^= signature[k];
    base64_encode(client_key, proof_text);
    snprintf(text + strlen(text), sizeof text - strlen(text), ",p=%s", proof_text);
    return text;
}

static const struct {
    const char *name, *header, *binding, *bare, *password, *extension, *user;
    const char *why;                    /* NULL: comes in */
} logins[] = {
    { "usual", "n,,", "biws", "n=user,r=abc", "pencil", "", "user", NULL },
    { "client could bind channels, server can't", "y,,", "eSws", "n=user,r=abc", "pencil", "", "user", NULL },
    { "as itself", "n,a=user,", "bixhPXVzZXIs", "n=user,r=abc", "pencil", "", "user", NULL },
    { "escaped name", "n,,", "biws", "n=a=2Cb=3Dc,r=abc", "pencil", "", "a,b=c", NULL },
    { "extension in the first message", "n,,", "biws", "n=user,r=abc,x=y", "pencil", "", "user", NULL },
    { "extension in the second message", "n,,", "biws", "n=user,r=abc", "pencil", ",x=y", "user", NULL },
    { "wrong password", "n,,", "biws", "n=user,r=abc", "pencils", "", "user", "wrong password" },
    { "no such user", "n,,", "biws", "n=nobody,r=abc", "pencil", "", "nobody", "no such user" },
    { "user with a hash of another kind", "n,,", "biws", "n=plain,r=abc", "x", "", "plain",
      "this user's hash can't serve SCRAM; `caddis passwd -H scram-sha-256 FILE USER` makes one" },
    { "another header than before", "n,,", "eSws", "n=user,r=abc", "pencil", "", "user",
      "its two messages do not agree about channel binding" },
};

START_TEST(login_rows)
{
    char first[256], server_first[512], *final;
    enum scram_result r;

    start();
    scram_set_nonce(s, NULL);
    snprintf(first, sizeof first, "%s%s", logins[_i].header, logins[_i].bare);
    ck_assert_msg(step(first) == SCRAM_CONTINUE, "%s: %s", logins[_i].name, scram_why(s));
    snprintf(server_first, sizeof server_first, "%.*s", (int)out.len, (const char *)out.p);
    ck_assert_uint_eq(strcspn(server_first, ",") - 2, 3 + SCRAM_NONCE_LEN);
    final = final_message(logins[_i].binding, logins[_i].bare, server_first, logins[_i].password, logins[_i].extension);
    r = step(final);
    ck_assert_msg(r == (logins[_i].why == NULL ? SCRAM_DONE : SCRAM_FAILED), "%s: %s", logins[_i].name, scram_why(s));
    ck_assert_uint_eq(scram_user(s).len, strlen(logins[_i].user));
    ck_assert_int_eq(memcmp(scram_user(s).p, logins[_i].user, strlen(logins[_i].user)), 0);
    if (logins[_i].why != NULL) {
        ck_assert_str_eq(scram_why(s), logins[_i].why);
        ck_assert_uint_eq(out.len, 0);
        ck_assert_int_eq(scram_guessed(s), strcmp(logins[_i].name, "another header than before") != 0);
    }
    stop();
}
END_TEST

/* ---- grammar ---- */

#define LONG10 "aaaaaaaaaa"
#define LONG130 LONG10 LONG10 LONG10 LONG10 LONG10 LONG10 LONG10 LONG10 LONG10 LONG10 LONG10 LONG10 LONG10
static const struct { const char *text, *why; } firsts[] = {
    { "", "not SCRAM" },
    { "n", "not SCRAM" },
    { "n,", "not SCRAM" },
    { "n,,", "not SCRAM" },
    { "n,,n=user", "not SCRAM" },
    { "n,,n=user,", "not SCRAM" },
    { "n,,n=user,r=", "not SCRAM" },
    { "n,,r=abc,n=user", "not SCRAM" },
    { "n,,n=user,r=a\001b", "not SCRAM" },
    { "n,,n=user,r=a b", "not SCRAM" },
    { "x,,n=user,r=abc", "not SCRAM" },
    { "nn,,n=user,r=abc", "not SCRAM" },
    { "n,b=user,n=user,r=abc", "not SCRAM" },
    { "p=tls-unique,,n=user,r=abc", "channel binding" },
    { "n,,m=x,n=user,r=abc", "an extension of SCRAM that is unknown" },
    { "n,,n=,r=abc", "its user name is empty" },
    { "n,,n=a=b,r=abc", "badly escaped" },
    { "n,,n=a=2,r=abc", "badly escaped" },
    { "n,,n=a=,r=abc", "badly escaped" },
    { "n,,n=a=2c,r=abc", "badly escaped" },
    { "n,a=root,n=user,r=abc", "another user" },
    { "n,a=,n=user,r=abc", "another user" },
    { "n,a,n=user,r=abc", "not SCRAM" },
    { "n,,n=user,r=" LONG130, "too long" },
    { "n,,n=" LONG130 LONG130 ",r=abc", "too long" },
};

START_TEST(first_rows)
{
    start();
    ck_assert_int_eq(step(firsts[_i].text), SCRAM_FAILED);
    ck_assert_msg(strstr(scram_why(s), firsts[_i].why) != NULL, "%s: %s", firsts[_i].text, scram_why(s));
    ck_assert_uint_eq(out.len, 0);
    ck_assert(!scram_guessed(s));
    ck_assert_int_eq(step("n,,n=user,r=" CLIENT_NONCE), SCRAM_FAILED);        /* no second chance */
    stop();
}
END_TEST

#define PROOF "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
static const struct { const char *text, *why; } finals[] = {
    { "", "not SCRAM" },
    { "c=biws", "not SCRAM" },
    { "c=biws,r=" NONCE, "no proof" },
    { "c=biws,r=" NONCE ",", "no proof" },
    { "c=biws,r=" NONCE ",p=", "no proof" },
    { "c=biws,r=" NONCE ",p=AAAA", "no proof" },
    { "c=biws,r=" NONCE ",p=" PROOF "=", "no proof" },
    { "c=biws,r=" NONCE ",p=" PROOF ",x=y", "no proof" },
    { "r=" NONCE ",c=biws,p=" PROOF, "not SCRAM" },
    { "c=biws,r=" CLIENT_NONCE ",p=" PROOF, "does not repeat the nonce" },
    { "c=biws,r=" NONCE "x,p=" PROOF, "does not repeat the nonce" },
    { "c=eSws,r=" NONCE ",p=" PROOF, "do not agree about channel binding" },
    { "c=,r=" NONCE ",p=" PROOF, "do not agree about channel binding" },
    { "c=biws,r=" NONCE ",p=eHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "wrong password" },
    { "c=biws,r=" NONCE ",x=y,p=" PROOF, "wrong password" },      /* the proof covers the extension */
};

START_TEST(final_rows)
{
    start();
    ck_assert_int_eq(step("n,,n=user,r=" CLIENT_NONCE), SCRAM_CONTINUE);
    ck_assert_int_eq(step(finals[_i].text), SCRAM_FAILED);
    ck_assert_msg(strstr(scram_why(s), finals[_i].why) != NULL, "%s: %s", finals[_i].text, scram_why(s));
    ck_assert_int_eq(step("c=biws,r=" NONCE ",p=" PROOF), SCRAM_FAILED);
    stop();
}
END_TEST

/* ---- nothing to learn ---- */

static char *server_first_for(const char *user, const uint8_t *key)
{
    static char text[2][512];
    static unsigned which;
    char first[64];

    which = !which;
    scram_free(&s);
    s = scram_new(key);
    scram_set_nonce(s, OUR_NONCE);
    snprintf(first, sizeof first, "n,,n=%s,r=%s", user, CLIENT_NONCE);
    ck_assert_int_eq(step(first), SCRAM_CONTINUE);
    snprintf(text[which], sizeof text[0], "%.*s", (int)out.len, (const char *)out.p);
    return text[which];
}

START_TEST(salts_of_nobody)
{
    static const uint8_t other_key[SHA256_LEN] = { 9 };

    start();
    ck_assert_str_eq(server_first_for("user", fake_key), "r=" NONCE SALT_AND_I);
    ck_assert_uint_eq(strlen(server_first_for("nobody", fake_key)), strlen("r=" NONCE SALT_AND_I));
    ck_assert_str_eq(server_first_for("nobody", fake_key), server_first_for("nobody", fake_key));
    ck_assert_str_eq(server_first_for("plain", fake_key), server_first_for("plain", fake_key));
    ck_assert_str_ne(server_first_for("nobody", fake_key), server_first_for("nobody2", fake_key));
    ck_assert_str_ne(server_first_for("nobody", fake_key), server_first_for("nobody", other_key));
    ck_assert_str_ne(server_first_for("nobody", fake_key), "r=" NONCE SALT_AND_I);
    stop();
}
END_TEST

START_TEST(nonces_differ)
{
    char first[256];

    start();
    scram_set_nonce(s, NULL);
    ck_assert_int_eq(step("n,,n=user,r=abc"), SCRAM_CONTINUE);
    snprintf(first, sizeof first, "%.*s", (int)out.len, (const char *)out.p);
    scram_free(&s);
    s = scram_new(fake_key);
    ck_assert_int_eq(step("n,,n=user,r=abc"), SCRAM_CONTINUE);
    ck_assert(out.len == strlen(first) && memcmp(out.p, first, out.len) != 0);
    stop();
}
END_TEST

/* The file was loaded again between the two messages, without the user: he may finish. */
START_TEST(reload_under_way)
{
    start();
    ck_assert_int_eq(step("n,,n=user,r=" CLIENT_NONCE), SCRAM_CONTINUE);
    passwd_free(&users);
    ck_assert_int_eq(step("c=biws,r=" NONCE ",p=" PROOF), SCRAM_DONE);
    stop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scram");
    TCase *t = tcase_create("scram");

    tcase_add_test(t, rfc_7677);
    tcase_add_loop_test(t, login_rows, 0, COUNT(logins));
    tcase_add_loop_test(t, first_rows, 0, COUNT(firsts));
    tcase_add_loop_test(t, final_rows, 0, COUNT(finals));
    tcase_add_test(t, salts_of_nobody);
    tcase_add_test(t, nonces_differ);
    tcase_add_test(t, reload_under_way);
    tcase_set_timeout(t, 30);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
