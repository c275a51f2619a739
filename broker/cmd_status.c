/* `caddis status`: what a running broker is doing.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/cmd.h"
#include "broker/control_tool.h"

int cmd_status(int argc, char **argv)
{
    struct control_tool t = {
        .name = "status", .takes_json = true,
        .help =
            "Usage: caddis status [--json] [-c FILE | --socket PATH]\n\n"
            "Says what a running broker is doing: clients, queues, memory, the state of the store, and how\n"
            "much it writes to the card.\n\n"
            "      --json          an object for programs\n"
            "  -c, --config FILE   the broker's configuration: where its control socket is\n"
            "      --socket PATH   the control socket itself\n"
            "  -h, --help          this text\n\n"
            "Exit status: 0 it runs, 1 no broker runs there, 2 wrong options, 3 errors in the configuration.\n",
    };
    int code = control_tool_parse(&t, argc, argv);

    if (code < 0)
        code = control_ask_only(&t, "status", t.json ? "json" : NULL);
    return control_tool_done(&t, code);
}
