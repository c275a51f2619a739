/* The door to wolfSSL: no other file includes its headers. options.h must come first, in every file that sees them:
 * it says how the library was built, and the size of its structures depends on that.
 *
 * Debian's build has OpenSSL's compatibility layer, a lean one (scripts/lean-wolfssl) has not: what only the first one
 * knows is wrapped here.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_TLS_LIB_H
#define CADDIS_BROKER_TLS_LIB_H

#include <wolfssl/options.h>

#include <wolfssl/ssl.h>
#include <wolfssl/error-ssl.h>
#include <wolfssl/version.h>
#include <wolfssl/wolfcrypt/asn.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/sha256.h>
#include <wolfssl/wolfcrypt/sha512.h>

#endif
