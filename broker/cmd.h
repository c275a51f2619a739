/* The subcommands of the one binary: `caddis NAME ...`. Each lives in cmd_NAME.c and gets argv[0] = its name.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_CMD_H
#define CADDIS_BROKER_CMD_H

/*    function      name            what it does, for --help */
#define COMMANDS(X)                                                                                  \
    X(check,        "check",        "check a configuration and say who could connect; print a sample") \
    X(passwd,       "passwd",       "make and change password files")                                \
    X(explain,      "explain",      "say which line of an ACL file allows or denies a topic")        \
    X(pub,          "pub",          "publish messages")                                              \
    X(sub,          "sub",          "subscribe and print messages")                                  \
    X(show,         "show",         "show sessions, queues, retained messages and more from the store") \
    X(status,       "status",       "say what a running broker is doing")                            \
    X(reload,       "reload",       "make it read its configuration again")                          \
    X(log_level,    "log-level",    "make it log more or less")                                      \
    X(kick,         "kick",         "disconnect a client")                                           \
    X(drop_session, "drop-session", "end a session and forget what waits for it")                    \
    X(retained,     "retained",     "remove retained messages")                                      \
    X(backup,       "backup",       "copy the store, running or not")

enum {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,     /* wrong options */
    EXIT_CONFIG = 3,    /* the configuration has errors; they are on stderr */
};

#define X(function, name, text) int cmd_##function(int argc, char **argv);
COMMANDS(X)
#undef X

/* What `check` and `--test-config` do with a file (NULL: the defaults). EXIT_OK or EXIT_CONFIG. */
int cmd_check_file(const char *path);

/* A config_load() callback: the line to stderr. */
void cmd_say(void *arg, const char *line);

#endif
