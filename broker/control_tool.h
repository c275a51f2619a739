/* What the tools share that talk to a running broker, or change the store of one that does not run.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_CONTROL_TOOL_H
#define CADDIS_BROKER_CONTROL_TOOL_H

#include "broker/config.h"
#include "persist/persist.h"

#include <stdio.h>

struct control_tool {
    /* Set by the tool. */
    const char *name;           /* for messages */
    const char *help;
    unsigned words_needed;
    bool takes_json;
    /* Set by control_tool_parse(). */
    const char *words[2];
    bool json;
    const char *socket;         /* the broker's control socket */
    struct config *cfg;         /* NULL: only the socket was named */
};

/* -1: go on; otherwise the exit code (a mistake has been explained on stderr, or help printed). */
int control_tool_parse(struct control_tool *t, int argc, char **argv);
/* Frees the configuration; returns code. */
int control_tool_done(struct control_tool *t, int code);

enum control_asked {
    ASKED_OK,
    ASKED_NOBODY,               /* no broker runs at that socket; nothing was said about it */
    ASKED_FAILED,               /* it refused, or can't be reached; stderr has the reason */
};

/* Asks the broker. word NULL: none. The lines of the answer but the last go to out. */
enum control_asked control_ask(const struct control_tool *t, const char *verb, const char *word, FILE *out);
/* A tool that can do nothing without a broker: asks, answers go to stdout; an exit code. */
int control_ask_only(const struct control_tool *t, const char *verb, const char *word);
/* "no broker runs at ..." on stderr. */
void control_nobody(const struct control_tool *t, const char *more);

/* No broker runs: opens its store to change it, under its lock and as its owner, and begins a transaction. NULL: stderr
 * has the reason. */
struct persist *control_store_open(const struct control_tool *t);
/* Commits if rc is PERSIST_OK, makes it durable, closes; an exit code. */
int control_store_close(const struct control_tool *t, struct persist *p, enum persist_rc rc);

#endif
