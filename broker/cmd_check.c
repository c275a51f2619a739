/* `caddis check`: is the configuration right, can everything it names be opened, and who could connect?
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/cmd.h"
#include "broker/config.h"
#include "broker/config_check.h"
#include "broker/tls.h"
#include "persist/persist.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void help(void)
{
    puts("Usage: caddis check [-c FILE] | --sample\n\n"
         "Reads a configuration, opens what it names, and prints every error as FILE:LINE: text; then who\n"
         "could connect from where.\n\n"
         "  -c, --config FILE   the file; without it: the built-in defaults\n"
         "      --sample        print a configuration with every key and its default\n"
         "  -h, --help          this text\n\n"
         "Exit status: 0 no errors, 2 wrong options, 3 errors.");
}

static void print_versions(unsigned versions)
{
    static const char *const names[] = { [3] = "3.1", [4] = "3.1.1", [5] = "5.0" };
    const char *sep = "MQTT ";

    for (unsigned v = 3; v <= 5; v++)
        if (versions >> v & 1) {
            printf("%s%s", sep, names[v]);
            sep = ", ";
        }
}

static void print_place(const struct config_listener *l)
{
    if (listener_is_unix(l))
        printf("Unix socket %s", log_qs(l->address));
    else if (l->address == NULL)
        printf("all addresses, port %u", l->port);
    else
        printf("%s, port %u", l->address, l->port);
    if (l->protocol == PROTOCOL_WEBSOCKETS)
        printf(", WebSocket");
    if (l->interface != NULL)
        printf(" on %s", l->interface);
    if (l->socket_domain != DOMAIN_BOTH)
        printf(" (%s only)", l->socket_domain == DOMAIN_IPV4 ? "IPv4" : "IPv6");
}

static void print_who(const struct config_listener *l)
{
    char who[256];

    listener_who(l, who, sizeof who);
    fputs(who, stdout);
    for (unsigned i = 0; l->auth.clientid_prefixes != NULL && l->auth.clientid_prefixes[i] != NULL; i++)
        printf("%s%s", i == 0 ? "; client ids that start with " : ", ", log_qs(l->auth.clientid_prefixes[i]));
}

static void print_listeners(const struct config *c)
{
    for (unsigned i = 0; i < c->listener_count; i++) {
        const struct config_listener *l = &c->listeners[i];
        printf("listener %s: ", log_qs(l->name));
        print_place(l);
        fputs(tls_wanted(l) ? l->tls_version == 0x0304 ? ", TLS 1.3, " : ", TLS 1.2 and 1.3, " : ", ", stdout);
        print_versions(l->versions);
        fputs(": ", stdout);
        print_who(l);
        putchar('\n');
    }
}

static unsigned check_store(const struct config *c)
{
    struct persist_options o = { .path = c->store_path, .read_only = true };
    struct persist_open_info info;
    struct persist *p;
    char *why = NULL;

    if (!c->persistence) {
        puts("store: none; everything is forgotten at exit");
        return 0;
    }
    if (access(c->store_path, F_OK) < 0 && errno == ENOENT) {
        printf("store: %s, not there yet\n", c->store_path);
        return 0;
    }
    if (persist_open(&o, &p, &info, &why) == PERSIST_REFUSED) {
        char where[512];
        fprintf(stderr, "%s: path: %s\n", config_where(c, "persistence", "path", -1, where, sizeof where),
                why != NULL ? why : "no memory");
        free(why);
        return 1;
    }
    persist_close(&p);
    printf("store: %s, readable\n", c->store_path);
    return 0;
}

int cmd_check_file(const char *path)
{
    struct config *c = config_load(path, cmd_say, NULL);
    unsigned errors;

    if (c == NULL)
        return EXIT_CONFIG;
    errors = config_check_files(c, cmd_say, NULL);
    errors += check_store(c);
    print_listeners(c);
    config_free(c);
    return errors > 0 ? EXIT_CONFIG : EXIT_OK;
}

int cmd_check(int argc, char **argv)
{
    static const struct option longs[] = {
        { "config", required_argument, NULL, 'c' },
        { "sample", no_argument, NULL, 's' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    const char *path = NULL;
    int c;

    while ((c = getopt_long(argc, argv, "+c:h", longs, NULL)) != -1)
        switch (c) {
        case 'c': path = optarg; break;
        case 's': config_write_sample(stdout); return EXIT_OK;
        case 'h': help(); return EXIT_OK;
        default: return EXIT_USAGE;
        }
    if (optind < argc) {
        fprintf(stderr, "caddis check: %s is one word too many; the file goes after -c\n", log_qs(argv[optind]));
        return EXIT_USAGE;
    }
    return cmd_check_file(path);
}
