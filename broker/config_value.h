/* One value of the configuration: from text to its place in the struct, and back.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_CONFIG_VALUE_H
#define CADDIS_BROKER_CONFIG_VALUE_H

#include "broker/config_table.h"

enum { WHY_MAX = 256 };
/* "dest = none" while a file is being read; config_load() takes it out of log_dests again. */
enum { DEST_NONE = 256 };

/* base: the struct config or config_listener that d->offset counts from. Frees what was there. False: nothing was
 * changed, and why says what is wrong and what would be right. Not for VALUE_INCLUDE. */
bool value_set(const struct directive *d, void *base, const char *text, char why[WHY_MAX]);
/* The default; also for places that are still zero. */
void value_preset(const struct directive *d, void *base);
/* dst's own copy of src's value; both bases are of the same kind of value, at the directives' own offsets. */
void value_copy(const struct directive *to, void *dst, const struct directive *from, const void *src);
bool value_same(const struct directive *d, const void *a, const void *b);
void value_free(const struct directive *d, void *base);

/* The nearest of `count` names to a misspelt one, NULL if none is near. get(i) gives name i, or NULL to skip it. */
const char *nearest_name(const char *wrong, unsigned count, const char *(*get)(void *arg, unsigned i), void *arg);

#endif
