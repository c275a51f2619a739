/* What the loader of a text file complains about.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_TESTS_HEAR_H
#define CADDIS_TESTS_HEAR_H

#include <stdio.h>
#include <string.h>

static char heard[4096];        /* line by line */

static inline void hear(void *arg, const char *line)
{
    size_t n = strlen(heard);

    (void)arg;
    snprintf(heard + n, sizeof heard - n, "%s\n", line);
}

#endif
