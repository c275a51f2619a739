/* Hashes, MACs, key derivation and random bytes. Everything cryptographic but the TLS transport comes through here;
 * crypto.c is the only file behind it that knows wolfCrypt.
 *
 * A false return means that the library failed (in practice: no memory). The output is then not to be used; who
 * verifies something refuses.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_CRYPTO_H
#define CADDIS_BROKER_CRYPTO_H

#include "proto/reader.h"

enum crypto_alg { CRYPTO_SHA256, CRYPTO_SHA512 };
enum { SHA1_LEN = 20, SHA256_LEN = 32, SHA512_LEN = 64, CRYPTO_LEN_MAX = SHA512_LEN };

#define CRYPTO_MUST_CHECK __attribute__((warn_unused_result))

/* Bytes of a hash, and of what is derived from it. */
size_t crypto_len(enum crypto_alg alg);

/* Is the library that was loaded the one the program was compiled for? Its structures have other sizes in another
 * version. Called once at start, before anything else here. false: *why is a static text. */
bool crypto_start(const char **why) CRYPTO_MUST_CHECK;

/* From the kernel; waits on a board that has just booted and has no entropy yet. */
bool crypto_random(void *out, size_t n) CRYPTO_MUST_CHECK;
/* The parts one after the other. */
bool crypto_hash(enum crypto_alg alg, const struct view *parts, unsigned count, uint8_t *out) CRYPTO_MUST_CHECK;
/* SHA-1, which protects nothing: the handshake of WebSockets asks for it (RFC 6455). */
bool crypto_sha1(const struct view *parts, unsigned count, uint8_t out[SHA1_LEN]) CRYPTO_MUST_CHECK;
bool crypto_hmac(enum crypto_alg alg, struct view key, const struct view *parts, unsigned count,
                 uint8_t *out) CRYPTO_MUST_CHECK;
/* Takes the same time wherever a and b differ. */
bool crypto_same(const void *a, const void *b, size_t n);

/* PBKDF2-HMAC, first block: crypto_len(alg) bytes. In slices, because 100,000 iterations take a small board longer than
 * its other clients should wait. */
struct crypto_kdf;
/* iterations >= 1. Copies what it needs. NULL: no memory. */
struct crypto_kdf *crypto_kdf_new(enum crypto_alg alg, struct view password, struct view salt, uint32_t iterations);
/* At most this many iterations more. 1: done; 0: call again; -1: the library failed. */
int crypto_kdf_step(struct crypto_kdf *k, uint32_t iterations);
/* Valid after the step that returned 1, until crypto_kdf_free(). */
const uint8_t *crypto_kdf_key(const struct crypto_kdf *k);
/* Wipes and frees. NULL is fine. */
void crypto_kdf_free(struct crypto_kdf **kp);
/* The same in one go. */
bool crypto_pbkdf2(enum crypto_alg alg, struct view password, struct view salt, uint32_t iterations,
                   uint8_t *out) CRYPTO_MUST_CHECK;

#endif
