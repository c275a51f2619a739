/* Base64 with padding (RFC 4648, section 4), strict: no blanks, no line feeds, nothing behind the padding, no stray
 * bits. Two texts that decode to the same bytes are the same text, so a stored hash has one spelling only.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_BASE64_H
#define CADDIS_BROKER_BASE64_H

#include "proto/reader.h"

/* Characters for n bytes, without a NUL. */
#define BASE64_LEN(n) (((n) + 2) / 3 * 4)

/* Writes BASE64_LEN(v.len) characters and a NUL; returns how many without the NUL. */
size_t base64_encode(struct view v, char *out);
/* The number of bytes written to out, -1: not base64, or more than cap bytes. */
int base64_decode(struct view text, uint8_t *out, size_t cap);

#endif
