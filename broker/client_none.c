/* What stands for `caddis pub` and `caddis sub` in a caddis that was built without them.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/cmd.h"

#include <stdio.h>

static int sorry(const char *name)
{
    fprintf(stderr, "caddis %s: this caddis was built without it; any other MQTT client does\n", name);
    return EXIT_USAGE;
}

int cmd_pub(int argc, char **argv)
{
    (void)argc;
    return sorry(argv[0]);
}

int cmd_sub(int argc, char **argv)
{
    (void)argc;
    return sorry(argv[0]);
}
