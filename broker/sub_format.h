/* How `caddis sub` prints a message.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_SUB_FORMAT_H
#define CADDIS_BROKER_SUB_FORMAT_H

#include "broker/client.h"

#include <stdio.h>

/* False: why names the letter that means nothing. */
bool format_valid(const char *format, char why[CLIENT_WHY_MAX]);
/* format is valid. tame: to a terminal, which must not obey control characters in topics and payloads. */
void format_print(FILE *out, const char *format, const struct publish *p, bool tame);

#endif
