/* The program: `caddis` runs the broker, `caddis COMMAND` is a tool.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/broker.h"
#include "broker/cmd.h"
#include "broker/config_value.h"
#include "broker/control.h"
#include "broker/daemon.h"
#include "broker/tls.h"
#include "persist/show.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct options {
    const char *config;
    bool background, verbose, test;
};

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *text;
} commands[] = {
#define X(function, name, text) { name, cmd_##function, text },
    COMMANDS(X)
#undef X
};
enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

static void help(void)
{
    puts("caddis, an MQTT broker\n\n"
         "Usage: caddis [-c FILE] [-d] [-v]     run the broker\n"
         "       caddis COMMAND [OPTIONS]       one of the tools below\n\n"
         "  -c, --config FILE   configuration; without it: port 1883 on this machine only, clients\n"
         "                      need no password there, and the store is " LOCALSTATEDIR "/lib/caddis/caddis.db\n"
         "  -d, --daemon        go to the background once the broker serves\n"
         "  -v, --verbose       log at level debug\n"
         "      --test-config   check the configuration and exit, like `caddis check`\n"
         "      --version       version, libraries, paths\n"
         "  -h, --help          this text; `caddis COMMAND --help` for a command's\n\n"
         "Commands:");
    for (unsigned i = 0; i < COMMAND_COUNT; i++)
        printf("  %-12s  %s\n", commands[i].name, commands[i].text);
    puts("\nExit status: 0 fine, 1 failed, 2 wrong options, 3 errors in the configuration.");
}

static void version(void)
{
    puts("caddis " CADDIS_VERSION);
    printf("SQLite     %s\n", persist_sqlite_version());
    printf("TLS        %s\n", tls_library());
    puts(tls_built ? "protocols  MQTT 3.1, 3.1.1, 5.0 over TCP, TLS, WebSocket and Unix sockets"
                   : "protocols  MQTT 3.1, 3.1.1, 5.0 over TCP, WebSocket and Unix sockets");
    puts("store      " LOCALSTATEDIR "/lib/caddis/caddis.db");
    printf("control    %s\n", control_built ? CONTROL_DEFAULT : "none");
}

void cmd_say(void *arg, const char *line)
{
    (void)arg;
    fprintf(stderr, "%s\n", line);
}

static const char *command_name(void *arg, unsigned i)
{
    (void)arg;
    return commands[i].name;
}

static int unknown_word(const char *word)
{
    const char *near = nearest_name(word, COMMAND_COUNT, command_name, NULL);

    if (near != NULL && strcmp(near, word) == 0)
        fprintf(stderr, "caddis: the command comes first: caddis %s [OPTIONS]\n", near);
    else if (near != NULL)
        fprintf(stderr, "caddis: there is no command %s; did you mean %s?\n", log_qs(word), near);
    else
        fprintf(stderr, "caddis: there is no command %s; `caddis --help` lists them (a configuration file goes after "
                        "-c)\n", log_qs(word));
    return EXIT_USAGE;
}

/* -1: go on; otherwise the exit code. */
static int parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        { "config", required_argument, NULL, 'c' }, { "daemon", no_argument, NULL, 'd' },
        { "verbose", no_argument, NULL, 'v' },      { "test-config", no_argument, NULL, 't' },
        { "version", no_argument, NULL, 'V' },      { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    int c;

    while ((c = getopt_long(argc, argv, "+c:dvh", longs, NULL)) != -1)
        switch (c) {
        case 'c': o->config = optarg; break;
        case 'd': o->background = true; break;
        case 'v': o->verbose = true; break;
        case 't': o->test = true; break;
        case 'V': version(); return EXIT_OK;
        case 'h': help(); return EXIT_OK;
        default: fputs("caddis: `caddis --help` lists the options\n", stderr); return EXIT_USAGE;
        }
    return optind < argc ? unknown_word(argv[optind]) : -1;
}

/* In the background a terminal is no place for the log: it would be gone at ready. */
static void open_log(struct config *cfg, bool background)
{
    struct log_options o;
    char where[512];

    if (background && cfg->log_dests == DEST_STDERR && isatty(STDERR_FILENO)) {
        log_notice("in the background the log goes to syslog; see [log] dest");
        cfg->no_terminal = true;
    }
    o = config_log_options(cfg);
    if (log_open(&o) == 0)
        return;
    fprintf(stderr, "%s: dest: %s can't be opened: %s\n", config_where(cfg, "log", "dest", -1, where, sizeof where),
            log_qs(o.file), strerror(errno));
    config_free(cfg);
    exit(EXIT_CONFIG);
}

static int fail_start(char *why)
{
    log_error("not started: %s", why != NULL ? why : "no memory");
    free(why);
    return EXIT_FAILED;
}

/* Takes cfg over. */
static int serve(struct config *cfg)
{
    struct broker *b;
    char *why = NULL;
    int code;

    daemon_raise_fds(cfg->max_connections);
    b = broker_new(cfg, &why);
    if (b == NULL)
        return fail_start(why);
    daemon_ready();
    code = broker_run(b);
    broker_free(b);
    return code;
}

static int run(const struct options *o)
{
    struct config *cfg = config_load(o->config, cmd_say, NULL);
    char *why = NULL;
    int code;

    if (cfg == NULL)
        return EXIT_CONFIG;
    if (config_check_missing(cfg, cmd_say, NULL) > 0) {
        config_free(cfg);
        return EXIT_CONFIG;
    }
    cfg->verbose = o->verbose;
    open_log(cfg, o->background);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);           /* a file that may not grow is a full disk */
    umask(027);
    if (o->background && daemon_fork() < 0) {
        log_error("can't go to the background error=%s", log_qs(strerror(errno)));
        config_free(cfg);
        return EXIT_FAILED;
    }
    log_notice("caddis starting version=%s pid=%ld config=%s", CADDIS_VERSION, (long)getpid(),
               o->config != NULL ? log_qs(o->config) : "(defaults)");
    if (daemon_pid_open(cfg->pid_file, &why) < 0) {
        config_free(cfg);
        return fail_start(why);
    }
    code = serve(cfg);
    daemon_pid_close();
    log_notice("caddis stopped exit=%d", code);
    log_close();
    return code;
}

int main(int argc, char **argv)
{
    struct options o = { 0 };
    int code;

    for (unsigned i = 0; argc > 1 && i < COMMAND_COUNT; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    code = parse(argc, argv, &o);
    if (code >= 0)
        return code;
    return o.test ? cmd_check_file(o.config) : run(&o);
}
