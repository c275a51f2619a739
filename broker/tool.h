/* The options that `caddis pub` and `caddis sub` share, named like those of mosquitto's clients.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_TOOL_H
#define CADDIS_BROKER_TOOL_H

#include "broker/client.h"
#include "broker/tls.h"

/* Exit codes beyond the server's reason codes, as mosquitto's clients have them. */
enum { TOOL_OK = 0, TOOL_FAILED = 1, TOOL_TIMEOUT = 27 };

enum tool { TOOL_PUB = 1, TOOL_SUB = 2 };

enum payload_source { SOURCE_NONE, SOURCE_TEXT, SOURCE_FILE, SOURCE_LINES, SOURCE_STDIN, SOURCE_EMPTY };

/* Packets that -D names. */
enum { TOOL_CONNECT, TOOL_PUBLISH, TOOL_SUBSCRIBE, TOOL_DISCONNECT, TOOL_WILL, TOOL_PACKETS };

struct tool_list {
    const char **items;
    unsigned count;
};

struct tool_options {
    enum tool tool;
    struct client_options client;
    struct tls_client_options tls;
    struct view props[TOOL_PACKETS];    /* encoded blocks without length */
    bool quiet;
    uint8_t qos;
    bool retain;
    struct tool_list topics;
    /* pub */
    enum payload_source source;
    const char *payload;                /* text, or the file's name */
    /* sub */
    struct tool_list unsubscribe, filter_out;
    uint64_t count;                     /* messages to wait for, 0: no end */
    unsigned wait_s;                    /* 0: for ever */
    bool verbose, no_newline, no_retained, only_retained, exit_subscribed;
    bool no_local, retain_as_published;
    uint8_t retain_handling;
    const char *format;                 /* NULL: payload, or topic and payload */
};

/* -1: go on; otherwise the exit code (a mistake has been explained on stderr, or help printed). */
int tool_parse(enum tool tool, int argc, char **argv, struct tool_options *o);
/* Frees what tool_parse() allocated. */
void tool_done(struct tool_options *o);

/* One -D: packet, property name, value(s) from argv[*at] on; moves *at past them. False: why. */
bool tool_property(struct tool_options *o, const char *packet, int argc, char **argv, int *at, char why[CLIENT_WHY_MAX]);
/* Appends a number property to a packet's block. */
void tool_add_number(struct view *block, enum prop id, uint32_t v);
/* Decodes the blocks of CONNECT and will into o->client.connect, and checks all of them. False: why. */
bool tool_check_properties(struct tool_options *o, char why[CLIENT_WHY_MAX]);

static inline struct view view_of(const char *s)
{
    return (struct view){ (const uint8_t *)s, s != NULL ? strlen(s) : 0 };
}

#endif
