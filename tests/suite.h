/* What the main() of every test with Check ends with.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_TESTS_SUITE_H
#define CADDIS_TESTS_SUITE_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

/* Rows of a table, for tcase_add_loop_test(). */
#define COUNT(a) ((int)(sizeof (a) / sizeof (a)[0]))

/* Runs the suite and frees it; the exit status. */
static inline int run_suite(Suite *s)
{
    SRunner *r = srunner_create(s);
    int failed;

    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* The same, and the directory that its tests have filled goes. */
static inline int run_suite_in(const char *dir, Suite *s)
{
    int failed = run_suite(s);
    char command[128];

    snprintf(command, sizeof command, "rm -rf %s", dir);
    if (system(command) != 0)
        fprintf(stderr, "%s stays behind\n", dir);
    return failed;
}

#endif
