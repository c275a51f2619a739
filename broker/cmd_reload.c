/* `caddis reload`: makes a running broker read its configuration again.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/cmd.h"
#include "broker/control_tool.h"

int cmd_reload(int argc, char **argv)
{
    struct control_tool t = {
        .name = "reload",
        .help =
            "Usage: caddis reload [-c FILE | --socket PATH]\n\n"
            "Makes a running broker read its configuration again, as SIGHUP does, and says whether it took it\n"
            "and which keys need a restart.\n\n"
            "  -c, --config FILE   the broker's configuration: where its control socket is\n"
            "      --socket PATH   the control socket itself\n"
            "  -h, --help          this text\n\n"
            "Exit status: 0 taken, 1 not taken or no broker runs, 2 wrong options, 3 errors in the\n"
            "configuration.\n",
    };
    int code = control_tool_parse(&t, argc, argv);

    if (code < 0)
        code = control_ask_only(&t, "reload", NULL);
    return control_tool_done(&t, code);
}
