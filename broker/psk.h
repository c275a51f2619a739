/* Keys for TLS-PSK: a file of IDENTITY:HEXKEY lines, taken whole or not at all.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_PSK_H
#define CADDIS_BROKER_PSK_H

#include "proto/reader.h"

enum {
    PSK_KEY_MAX = 64,           /* bytes; wolfSSL's limit */
    PSK_IDENTITY_MAX = 1023,
};

struct psk;

/* Errors go to `say`, one line each, all of them in one run. NULL: there was at least one. */
struct psk *psk_load(const char *path, void (*say)(void *arg, const char *line), void *arg);
struct psk *psk_load_text(const char *name, struct view text, void (*say)(void *arg, const char *line), void *arg);
void psk_free(struct psk **pp);
uint32_t psk_count(const struct psk *p);
/* Its key's length, 0: no such identity. A hash lookup: TLS asks some 50 times per handshake. */
unsigned psk_find(const struct psk *p, struct view identity, uint8_t key[PSK_KEY_MAX]);

#endif
