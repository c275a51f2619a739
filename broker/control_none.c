/* What stands for the control socket and the tools that use it in a caddis that was built without them. The
 * configuration refuses `enable_control = true` (control_built).
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/cmd.h"
#include "broker/control.h"

#include <stdio.h>

const bool control_built = false;

void control_open(struct broker *b, const struct passwd *account)
{
    (void)b;
    (void)account;
}

void control_close(struct broker *b)
{
    (void)b;
}

void control_turn(struct broker *b)
{
    (void)b;
}

bool control_due(const struct broker *b)
{
    (void)b;
    return false;
}

void control_reload_says(struct broker *b, const char *line)
{
    (void)b;
    (void)line;
}

void control_reloaded(struct broker *b, bool taken)
{
    (void)b;
    (void)taken;
}

static int sorry(const char *name, const char *instead)
{
    fprintf(stderr, "caddis %s: this caddis was built without the control socket; %s\n", name, instead);
    return EXIT_USAGE;
}

#define NO_TOOL(function, instead)              \
    int cmd_##function(int argc, char **argv)   \
    {                                           \
        (void)argc;                             \
        return sorry(argv[0], instead);         \
    }

NO_TOOL(status, "the topics under $SYS tell what a broker is doing")
NO_TOOL(reload, "send the broker SIGHUP")
NO_TOOL(log_level, "set [log] level and send the broker SIGHUP")
NO_TOOL(kick, "an ACL or a changed password keeps a client out")
NO_TOOL(drop_session, "a client ends its session by connecting with a clean start")
NO_TOOL(retained, "an empty retained message removes one")
NO_TOOL(backup, "sqlite3 -readonly STORE '.backup COPY' copies the store, running or not")
