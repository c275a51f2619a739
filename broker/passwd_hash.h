/* One stored password, as text in a password file and taken apart. What goes into a file behind `user:` is
 *
 *     $7$ITERATIONS$SALT$HASH                              PBKDF2-HMAC-SHA512       mosquitto_passwd's usual one
 *     $6$SALT$HASH                                         SHA-512(password, salt)  mosquitto 1.6 and older
 *     $scram-sha-256$ITERATIONS$SALT$STOREDKEY$SERVERKEY   RFC 5802, RFC 7677       caddis's own
 *
 * with salts, hashes and keys in base64. The last one serves SCRAM and plain passwords alike; from the others no SCRAM
 * key can be made. A stolen file gives nobody a login with SCRAM, but each of the three lets passwords be guessed.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_PASSWD_HASH_H
#define CADDIS_BROKER_PASSWD_HASH_H

#include "broker/crypto.h"

/*    name             prefix             default iterations, 0: has none */
#define PASSWD_KINDS(X)                                       \
    X(PBKDF2, "sha512-pbkdf2", "$7$", 10000)                  \
    X(SHA512, "sha512", "$6$", 0)                             \
    X(SCRAM, "scram-sha-256", "$scram-sha-256$", 4096)

enum passwd_kind {
#define X(id, name, prefix, iterations) PASSWD_##id,
    PASSWD_KINDS(X)
#undef X
    PASSWD_KIND_COUNT
};

enum {
    PASSWD_SALT_MAX = 64,
    PASSWD_ITERATIONS_MAX = 10000000,       /* more is a mistyped number: minutes for each login */
    PASSWD_TEXT_MAX = 256,                  /* the longest text, with its NUL */
};

struct passwd_hash {
    enum passwd_kind kind;
    uint32_t iterations;                    /* 1 for SHA512 */
    uint32_t salt_len;
    uint8_t salt[PASSWD_SALT_MAX];
    uint8_t key[SHA512_LEN];                /* SCRAM: StoredKey, then ServerKey, 32 bytes each */
};

const char *passwd_kind_name(enum passwd_kind kind);
uint32_t passwd_kind_iterations(enum passwd_kind kind);
/* PASSWD_KIND_COUNT: there is no such name. */
enum passwd_kind passwd_kind_find(const char *name);

/* NULL: fine. Otherwise what is wrong with it, and what would be right; a static text. */
const char *passwd_hash_parse(struct passwd_hash *h, struct view text);
/* With a salt of its own. iterations is ignored where the kind has none. false: the library failed. */
bool passwd_hash_make(struct passwd_hash *h, enum passwd_kind kind, uint32_t iterations,
                      struct view password) CRYPTO_MUST_CHECK;
/* The length without the NUL. */
size_t passwd_hash_format(const struct passwd_hash *h, char out[PASSWD_TEXT_MAX]);

/* StoredKey and ServerKey from the salted password that PBKDF2 gave. */
bool passwd_scram_keys(const uint8_t salted[SHA256_LEN], uint8_t stored[SHA256_LEN],
                       uint8_t server[SHA256_LEN]) CRYPTO_MUST_CHECK;

#endif
