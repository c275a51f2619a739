/* wolfCrypt, as far as passwords need it.
 *
 * HMAC and PBKDF2 are built here on the library's hashes: the two padded key blocks are hashed once and the states
 * copied, which makes an iteration of PBKDF2 two compressions. The library's own takes four, and can't be interrupted.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/crypto.h"

#include "broker/mem.h"
#include "broker/tls_lib.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

_Static_assert(SHA256_LEN == (int)WC_SHA256_DIGEST_SIZE && SHA512_LEN == (int)WC_SHA512_DIGEST_SIZE, "lengths");

enum { BLOCK_MAX = 128 };

union state {
    wc_Sha256 s256;
    wc_Sha512 s512;
};

struct hmac {
    enum crypto_alg alg;
    union state inner, outer;       /* after their padded key blocks */
};

struct crypto_kdf {
    struct hmac prf;
    uint32_t left;                  /* iterations to go */
    uint8_t u[CRYPTO_LEN_MAX], key[CRYPTO_LEN_MAX];
};

size_t crypto_len(enum crypto_alg alg)
{
    return alg == CRYPTO_SHA256 ? SHA256_LEN : SHA512_LEN;
}

bool crypto_start(const char **why)
{
    *why = "the wolfSSL library that was found is not of the version this program was compiled for";
    return wolfSSL_lib_version_hex() == LIBWOLFSSL_VERSION_HEX;
}

/* The kernel's generator rather than one of our own that would be seeded from it: nothing to keep, nothing to fork. */
bool crypto_random(void *out, size_t n)
{
    uint8_t *p = out;

    while (n > 0) {
        ssize_t got = getrandom(p, n, 0);
        if (got < 0 && errno != EINTR)
            return false;
        if (got > 0) {
            p += got;
            n -= (size_t)got;
        }
    }
    return true;
}

bool crypto_same(const void *a, const void *b, size_t n)
{
    const volatile uint8_t *x = a, *y = b;
    uint8_t differ = 0;

    for (size_t i = 0; i < n; i++)
        differ |= (uint8_t)(x[i] ^ y[i]);
    return differ == 0;
}

/* ---- one hash ---- */

static bool state_init(enum crypto_alg alg, union state *s)
{
    return (alg == CRYPTO_SHA256 ? wc_InitSha256(&s->s256) : wc_InitSha512(&s->s512)) == 0;
}

static bool state_update(enum crypto_alg alg, union state *s, struct view v)
{
    while (v.len > 0) {
        word32 n = v.len < UINT32_MAX / 2 ? (word32)v.len : UINT32_MAX / 2;
        if ((alg == CRYPTO_SHA256 ? wc_Sha256Update(&s->s256, v.p, n) : wc_Sha512Update(&s->s512, v.p, n)) != 0)
            return false;
        v.p += n;
        v.len -= n;
    }
    return true;
}

static bool state_final(enum crypto_alg alg, union state *s, uint8_t *out)
{
    return (alg == CRYPTO_SHA256 ? wc_Sha256Final(&s->s256, out) : wc_Sha512Final(&s->s512, out)) == 0;
}

static bool state_copy(enum crypto_alg alg, union state *from, union state *to)
{
    return (alg == CRYPTO_SHA256 ? wc_Sha256Copy(&from->s256, &to->s256) : wc_Sha512Copy(&from->s512, &to->s512)) == 0;
}

static void state_free(enum crypto_alg alg, union state *s)
{
    if (alg == CRYPTO_SHA256)
        wc_Sha256Free(&s->s256);
    else
        wc_Sha512Free(&s->s512);
    explicit_bzero(s, sizeof *s);
}

static bool state_parts(enum crypto_alg alg, union state *s, const struct view *parts, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (!state_update(alg, s, parts[i]))
            return false;
    return true;
}

bool crypto_hash(enum crypto_alg alg, const struct view *parts, unsigned count, uint8_t *out)
{
    union state s;
    bool ok;

    if (!state_init(alg, &s))
        return false;
    ok = state_parts(alg, &s, parts, count) && state_final(alg, &s, out);
    state_free(alg, &s);
    return ok;
}

bool crypto_sha1(const struct view *parts, unsigned count, uint8_t out[SHA1_LEN])
{
    wc_Sha s;
    bool ok = wc_InitSha(&s) == 0;

    if (!ok)
        return false;
    for (unsigned i = 0; i < count; i++)
        ok = ok && wc_ShaUpdate(&s, parts[i].p, (word32)parts[i].len) == 0;
    ok = ok && wc_ShaFinal(&s, out) == 0;
    wc_ShaFree(&s);
    return ok;
}

/* ---- HMAC (RFC 2104) ---- */

static bool hmac_pad(enum crypto_alg alg, union state *s, const uint8_t *key, uint8_t pad)
{
    uint8_t block[BLOCK_MAX];
    size_t n = alg == CRYPTO_SHA256 ? WC_SHA256_BLOCK_SIZE : WC_SHA512_BLOCK_SIZE;
    bool ok;

    for (size_t i = 0; i < n; i++)
        block[i] = key[i] ^ pad;
    ok = state_update(alg, s, (struct view){ block, n });
    explicit_bzero(block, sizeof block);
    return ok;
}

static void hmac_fini(struct hmac *h)
{
    state_free(h->alg, &h->inner);
    state_free(h->alg, &h->outer);
}

static bool hmac_init(struct hmac *h, enum crypto_alg alg, struct view key)
{
    uint8_t block[BLOCK_MAX] = { 0 };
    size_t n = alg == CRYPTO_SHA256 ? WC_SHA256_BLOCK_SIZE : WC_SHA512_BLOCK_SIZE;
    bool ok = true;

    memset(h, 0, sizeof *h);
    h->alg = alg;
    if (key.len > n)
        ok = crypto_hash(alg, &key, 1, block);
    else if (key.len > 0)
        memcpy(block, key.p, key.len);
    ok = ok && state_init(alg, &h->inner) && state_init(alg, &h->outer) && hmac_pad(alg, &h->inner, block, 0x36) &&
         hmac_pad(alg, &h->outer, block, 0x5C);
    explicit_bzero(block, sizeof block);
    if (!ok)
        hmac_fini(h);
    return ok;
}

static bool hmac_run(struct hmac *h, const struct view *parts, unsigned count, uint8_t *out)
{
    union state s = { 0 };
    bool ok;

    ok = state_copy(h->alg, &h->inner, &s) && state_parts(h->alg, &s, parts, count) && state_final(h->alg, &s, out);
    state_free(h->alg, &s);
    ok = ok && state_copy(h->alg, &h->outer, &s) &&
         state_update(h->alg, &s, (struct view){ out, crypto_len(h->alg) }) && state_final(h->alg, &s, out);
    state_free(h->alg, &s);
    return ok;
}

bool crypto_hmac(enum crypto_alg alg, struct view key, const struct view *parts, unsigned count, uint8_t *out)
{
    struct hmac h;
    bool ok;

    if (!hmac_init(&h, alg, key))
        return false;
    ok = hmac_run(&h, parts, count, out);
    hmac_fini(&h);
    return ok;
}

/* ---- PBKDF2 (RFC 8018, section 5.2) ---- */

struct crypto_kdf *crypto_kdf_new(enum crypto_alg alg, struct view password, struct view salt, uint32_t iterations)
{
    static const uint8_t first_block[4] = { 0, 0, 0, 1 };
    struct crypto_kdf *k = mem_zero(MEM_OTHER, sizeof *k);
    struct view parts[2] = { salt, { first_block, sizeof first_block } };

    assert(iterations > 0);
    if (k == NULL)
        return NULL;
    k->left = iterations - 1;
    if (hmac_init(&k->prf, alg, password) && hmac_run(&k->prf, parts, 2, k->u)) {
        memcpy(k->key, k->u, sizeof k->key);
        return k;
    }
    crypto_kdf_free(&k);
    return NULL;
}

int crypto_kdf_step(struct crypto_kdf *k, uint32_t iterations)
{
    size_t n = crypto_len(k->prf.alg);
    struct view u = { k->u, n };

    for (; iterations > 0 && k->left > 0; iterations--, k->left--) {
        if (!hmac_run(&k->prf, &u, 1, k->u))
            return -1;
        for (size_t i = 0; i < n; i++)
            k->key[i] ^= k->u[i];
    }
    return k->left == 0;
}

const uint8_t *crypto_kdf_key(const struct crypto_kdf *k)
{
    return k->key;
}

void crypto_kdf_free(struct crypto_kdf **kp)
{
    if (*kp == NULL)
        return;
    hmac_fini(&(*kp)->prf);
    explicit_bzero(*kp, sizeof **kp);
    mem_free(MEM_OTHER, *kp);
    *kp = NULL;
}

bool crypto_pbkdf2(enum crypto_alg alg, struct view password, struct view salt, uint32_t iterations, uint8_t *out)
{
    struct crypto_kdf *k = crypto_kdf_new(alg, password, salt, iterations);
    bool ok = k != NULL && crypto_kdf_step(k, UINT32_MAX) == 1;

    if (ok)
        memcpy(out, k->key, crypto_len(alg));
    crypto_kdf_free(&k);
    return ok;
}
