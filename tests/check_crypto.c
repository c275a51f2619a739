/* Hashes, MACs, key derivation against the published vectors; base64; the name table.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/base64.h"
#include "broker/crypto.h"
#include "broker/names.h"
#include "broker/textfile.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AS_VIEW(s) { (const uint8_t *)(s), sizeof(s) - 1 }

static const char *hex(const uint8_t *p, size_t n)
{
    static char text[2 * CRYPTO_LEN_MAX + 1];

    for (size_t i = 0; i < n; i++)
        sprintf(text + 2 * i, "%02x", p[i]);
    return text;
}

/* FIPS 180-4's examples, and the empty text. */
static const struct { enum crypto_alg alg; struct view text; const char *want; } hashes[] = {
    { CRYPTO_SHA256, AS_VIEW(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
    { CRYPTO_SHA256, AS_VIEW("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
    { CRYPTO_SHA512, AS_VIEW(""),
      "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
      "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e" },
    { CRYPTO_SHA512, AS_VIEW("abc"),
      "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
      "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f" },
};

START_TEST(hash_rows)
{
    uint8_t out[CRYPTO_LEN_MAX];
    struct view halves[2] = { hashes[_i].text, hashes[_i].text };
    size_t n = hashes[_i].text.len / 2;

    ck_assert(crypto_hash(hashes[_i].alg, &hashes[_i].text, 1, out));
    ck_assert_str_eq(hex(out, crypto_len(hashes[_i].alg)), hashes[_i].want);
    halves[0].len = n;
    halves[1].p += n;
    halves[1].len -= n;
    ck_assert(crypto_hash(hashes[_i].alg, halves, 2, out));
    ck_assert_str_eq(hex(out, crypto_len(hashes[_i].alg)), hashes[_i].want);
}
END_TEST

/* RFC 4231, test cases 1, 2 and 6 (a key longer than a block). */
#define LONG_KEY_20 "\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa"
#define LONG_KEY LONG_KEY_20 LONG_KEY_20 LONG_KEY_20 LONG_KEY_20 LONG_KEY_20 LONG_KEY_20 \
    "\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa"
#define LONG_TEXT "Test Using Larger Than Block-Size Key - Hash Key First"
#define KEY_1 "\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b"
static const struct { enum crypto_alg alg; struct view key, text; const char *want; } macs[] = {
    { CRYPTO_SHA256, AS_VIEW(KEY_1), AS_VIEW("Hi There"),
      "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7" },
    { CRYPTO_SHA512, AS_VIEW(KEY_1), AS_VIEW("Hi There"),
      "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde"
      "daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854" },
    { CRYPTO_SHA256, AS_VIEW("Jefe"), AS_VIEW("what do ya want for nothing?"),
      "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843" },
    { CRYPTO_SHA512, AS_VIEW("Jefe"), AS_VIEW("what do ya want for nothing?"),
      "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
      "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737" },
    { CRYPTO_SHA256, AS_VIEW(LONG_KEY), AS_VIEW(LONG_TEXT),
      "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54" },
    { CRYPTO_SHA512, AS_VIEW(LONG_KEY), AS_VIEW(LONG_TEXT),
      "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f352"
      "6b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598" },
};

START_TEST(mac_rows)
{
    uint8_t out[CRYPTO_LEN_MAX];

    ck_assert(crypto_hmac(macs[_i].alg, macs[_i].key, &macs[_i].text, 1, out));
    ck_assert_str_eq(hex(out, crypto_len(macs[_i].alg)), macs[_i].want);
}
END_TEST

/* SHA-256: RFC 7914, section 11 (first block of 64 bytes). SHA-512: the RFC 6070 inputs, as other libraries do them. */
static const struct {
    enum crypto_alg alg;
    struct view password, salt;
    uint32_t iterations;
    const char *want;
} keys[] = {
    { CRYPTO_SHA256, AS_VIEW("passwd"), AS_VIEW("salt"), 1,
      "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc" },
    { CRYPTO_SHA256, AS_VIEW("Password"), AS_VIEW("NaCl"), 80000,
      "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56" },
    { CRYPTO_SHA512, AS_VIEW("password"), AS_VIEW("salt"), 1,
      "867f70cf1ade02cff3752599a3a53dc4af34c7a669815ae5d513554e1c8cf252"
      "c02d470a285a0501bad999bfe943c08f050235d7d68b1da55e63f73b60a57fce" },
    { CRYPTO_SHA512, AS_VIEW("password"), AS_VIEW("salt"), 2,
      "e1d9c16aa681708a45f5c7c4e215ceb66e011a2e9f0040713f18aefdb866d53c"
      "f76cab2868a39b9f7840edce4fef5a82be67335c77a6068e04112754f27ccf4e" },
    { CRYPTO_SHA512, AS_VIEW("password"), AS_VIEW("salt"), 4096,
      "d197b1b33db0143e018b12f3d1d1479e6cdebdcc97c5c0f87f6902e072f457b5"
      "143f30602641b3d55cd335988cb36b84376060ecd532e039b742a239434af2d5" },
};

START_TEST(key_rows)
{
    static const uint32_t slices[] = { 1, 7, 4095, 100000 };
    uint8_t out[CRYPTO_LEN_MAX];

    ck_assert(crypto_pbkdf2(keys[_i].alg, keys[_i].password, keys[_i].salt, keys[_i].iterations, out));
    ck_assert_str_eq(hex(out, crypto_len(keys[_i].alg)), keys[_i].want);
    for (unsigned s = 0; s < sizeof slices / sizeof slices[0]; s++) {
        struct crypto_kdf *k = crypto_kdf_new(keys[_i].alg, keys[_i].password, keys[_i].salt, keys[_i].iterations);
        uint32_t calls = 1;
        while (crypto_kdf_step(k, slices[s]) == 0)
            calls++;
        ck_assert_str_eq(hex(crypto_kdf_key(k), crypto_len(keys[_i].alg)), keys[_i].want);
        if (keys[_i].iterations > 1)
            ck_assert_uint_eq(calls, (keys[_i].iterations - 2) / slices[s] + 1);
        crypto_kdf_free(&k);
        ck_assert_ptr_null(k);
    }
}
END_TEST

START_TEST(library_fits)
{
    const char *why = NULL;

    ck_assert_msg(crypto_start(&why), "%s", why);
}
END_TEST

START_TEST(random_and_same)
{
    uint8_t a[100] = { 0 }, b[100] = { 0 };

    ck_assert(crypto_random(a, sizeof a));
    ck_assert(crypto_random(b, sizeof b));
    ck_assert(!crypto_same(a, b, sizeof a));
    memcpy(b, a, sizeof a);
    ck_assert(crypto_same(a, b, sizeof a));
    for (unsigned i = 0; i < sizeof a; i++) {
        b[i] ^= 0x80;
        ck_assert(!crypto_same(a, b, sizeof a));
        b[i] ^= 0x80;
    }
    ck_assert(crypto_same(a, b, 0));
}
END_TEST

/* RFC 4648, section 10. */
static const struct { const char *plain, *text; } codes[] = {
    { "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" }, { "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" },
    { "foobar", "Zm9vYmFy" }, { "\xFB\xFF\xFE", "+//+" },
};

START_TEST(base64_rows)
{
    char text[16];
    uint8_t back[8];
    size_t n = strlen(codes[_i].plain);

    ck_assert_uint_eq(base64_encode(view_of(codes[_i].plain), text), strlen(codes[_i].text));
    ck_assert_str_eq(text, codes[_i].text);
    ck_assert_uint_eq(BASE64_LEN(n), strlen(text));
    ck_assert_int_eq(base64_decode(view_of(text), back, n), (int)n);
    ck_assert_int_eq(memcmp(back, codes[_i].plain, n), 0);
    if (n > 0)
        ck_assert_int_eq(base64_decode(view_of(text), back, n - 1), -1);
}
END_TEST

static const char *const not_base64[] = {
    "Z", "Zg", "Zg=", "=", "====", "Z===", "Zg==Zg==", "Zm9v\n", "Zm 9", "Zm9v=", "Zh==", "Zm9=", "Zm9-", "Zm9_",
    "Zg=A", "\x80m9v",
};

START_TEST(base64_strict)
{
    uint8_t back[16];

    ck_assert_int_eq(base64_decode(view_of(not_base64[_i]), back, sizeof back), -1);
}
END_TEST

START_TEST(many_names)
{
    enum { COUNT = 5000 };
    char (*text)[8] = malloc(COUNT * sizeof *text);
    struct names n;

    names_init(&n);
    ck_assert_uint_eq(names_find(&n, view_of("x")), NAMES_NONE);
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(text[i], sizeof text[i], "u%u", i);
        ck_assert_uint_eq(names_find(&n, view_of(text[i])), NAMES_NONE);
        ck_assert_uint_eq(names_add(&n, view_of(text[i]), view_of("v")), i);
    }
    for (unsigned i = 0; i < COUNT; i++)
        ck_assert_uint_eq(names_find(&n, view_of(text[i])), i);
    ck_assert_uint_eq(names_find(&n, view_of("u")), NAMES_NONE);
    ck_assert_uint_eq(names_find(&n, (struct view){ NULL, 0 }), NAMES_NONE);
    names_fini(&n);
    free(text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("crypto");
    TCase *t = tcase_create("crypto");

    tcase_add_loop_test(t, hash_rows, 0, COUNT(hashes));
    tcase_add_loop_test(t, mac_rows, 0, COUNT(macs));
    tcase_add_loop_test(t, key_rows, 0, COUNT(keys));
    tcase_add_test(t, library_fits);
    tcase_add_test(t, random_and_same);
    tcase_add_loop_test(t, base64_rows, 0, COUNT(codes));
    tcase_add_loop_test(t, base64_strict, 0, COUNT(not_base64));
    tcase_add_test(t, many_names);
    tcase_set_timeout(t, 30);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
