/* `caddis kick`: disconnects a client.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/cmd.h"
#include "broker/control_tool.h"

int cmd_kick(int argc, char **argv)
{
    struct control_tool t = {
        .name = "kick", .words_needed = 1,
        .help =
            "Usage: caddis kick ID [-c FILE | --socket PATH]\n\n"
            "Disconnects a client. Its session stays, its will is sent, and it may come back at once.\n\n"
            "  -c, --config FILE   the broker's configuration: where its control socket is\n"
            "      --socket PATH   the control socket itself\n"
            "  -h, --help          this text\n\n"
            "Exit status: 0 done, 1 it is not connected or no broker runs, 2 wrong options, 3 errors in the\n"
            "configuration.\n",
    };
    int code = control_tool_parse(&t, argc, argv);

    if (code < 0)
        code = control_ask_only(&t, "kick", t.words[0]);
    return control_tool_done(&t, code);
}
