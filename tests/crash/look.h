/* A client that asks for everything that is retained, for a test to compare with what should be.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_TESTS_LOOK_H
#define CADDIS_TESTS_LOOK_H

#include "tests/crash/link.h"

struct look {
    struct link l;                      /* first: a link is its look */
    const char *filter;
    bool pinged;                        /* PINGRESP: what came with the SUBACK is behind us */
    void (*saw)(const struct link *l, const struct publish *p);
};

/* It is offline; call look_reset() before it connects. */
void look_init(struct look *k, const char *filter, void (*saw)(const struct link *l, const struct publish *p));
/* It starts afresh, in one version or another. */
void look_reset(struct look *k);

#endif
