/* The stores that older caddises left: tests/stores/.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_TESTS_OLD_STORE_H
#define CADDIS_TESTS_OLD_STORE_H

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The SQL that makes it; free it. */
static inline char *old_store(const char *name)
{
    const char *dir = getenv("srcdir");
    char path[512], *sql = calloc(1, 65536);
    FILE *f;

    snprintf(path, sizeof path, "%s/tests/stores/%s", dir != NULL ? dir : ".", name);
    f = fopen(path, "r");
    ck_assert_msg(f != NULL, "%s: %s", path, strerror(errno));
    ck_assert_uint_gt(fread(sql, 1, 65535, f), 1000);
    fclose(f);
    return sql;
}

#endif
