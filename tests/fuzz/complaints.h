/* What the loader of a text file complains about: each line must name the file, "f".
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_TESTS_FUZZ_COMPLAINTS_H
#define CADDIS_TESTS_FUZZ_COMPLAINTS_H

#include <stdlib.h>
#include <string.h>

/* arg: an unsigned, the lines so far. */
static inline void hear(void *arg, const char *line)
{
    unsigned *lines = arg;

    if (strncmp(line, "f:", 2) != 0 || strchr(line, '\n') != NULL)
        abort();
    ++*lines;
}

#endif
