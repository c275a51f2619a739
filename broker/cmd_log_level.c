/* `caddis log-level`: how much a running broker logs.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/cmd.h"
#include "broker/control_tool.h"

int cmd_log_level(int argc, char **argv)
{
    struct control_tool t = {
        .name = "log-level", .words_needed = 1,
        .help =
            "Usage: caddis log-level LEVEL [-c FILE | --socket PATH]\n\n"
            "Makes a running broker log more or less until its next reload. LEVEL: error, warning, notice,\n"
            "info or debug.\n\n"
            "  -c, --config FILE   the broker's configuration: where its control socket is\n"
            "      --socket PATH   the control socket itself\n"
            "  -h, --help          this text\n\n"
            "Exit status: 0 done, 1 no such level or no broker runs, 2 wrong options, 3 errors in the\n"
            "configuration.\n",
    };
    int code = control_tool_parse(&t, argc, argv);

    if (code < 0)
        code = control_ask_only(&t, "log-level", t.words[0]);
    return control_tool_done(&t, code);
}
