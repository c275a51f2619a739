/* The subcommands of the one binary: `caddis NAME ...`. Each lives in cmd_NAME.c and gets argv[0] = its name.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_CMD_H
#define CADDIS_BROKER_CMD_H

/*    name     what it does, for --help */
#define COMMANDS(X)                                                                  \
    X(check,   "check a configuration and say who could connect; print a sample")    \
    X(passwd,  "make and change password files")                                     \
    X(explain, "say which line of an ACL file allows or denies a topic")             \
    X(pub,     "publish messages")                                                   \
    X(sub,     "subscribe and print messages")                                       \
    X(show,    "show sessions, queues, retained messages and more from the store")

enum {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,     /* wrong options */
    EXIT_CONFIG = 3,    /* the configuration has errors; they are on stderr */
};

#define X(name, text) int cmd_##name(int argc, char **argv);
COMMANDS(X)
#undef X

/* What `check` and `--test-config` do with a file (NULL: the defaults). EXIT_OK or EXIT_CONFIG. */
int cmd_check_file(const char *path);

/* A config_load() callback: the line to stderr. */
void cmd_say(void *arg, const char *line);

#endif
