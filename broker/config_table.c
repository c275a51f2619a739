/* The directive table as data, and what is printed from it.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/config_table.h"

#include <stdio.h>
#include <string.h>
#include <syslog.h>

static const struct choice choices_level[] = {
    { "error", LEVEL_ERROR }, { "warning", LEVEL_WARNING }, { "notice", LEVEL_NOTICE },
    { "info", LEVEL_INFO }, { "debug", LEVEL_DEBUG }, { NULL, 0 },
};
static const struct choice choices_timestamp[] = {
    { "iso8601", TIMESTAMP_ISO8601 }, { "epoch", TIMESTAMP_EPOCH }, { "none", TIMESTAMP_NONE }, { NULL, 0 },
};
static const struct choice choices_facility[] = {
    { "daemon", LOG_DAEMON }, { "user", LOG_USER }, { "local0", LOG_LOCAL0 }, { "local1", LOG_LOCAL1 },
    { "local2", LOG_LOCAL2 }, { "local3", LOG_LOCAL3 }, { "local4", LOG_LOCAL4 }, { "local5", LOG_LOCAL5 },
    { "local6", LOG_LOCAL6 }, { "local7", LOG_LOCAL7 }, { NULL, 0 },
};
static const struct choice choices_durability[] = {
    { "power", DURABILITY_POWER }, { "crash", DURABILITY_CRASH }, { NULL, 0 },
};
static const struct choice choices_queue_full[] = {
    { "drop-newest", QUEUE_FULL_DROP_NEWEST }, { "drop-oldest", QUEUE_FULL_DROP_OLDEST },
    { "disconnect", QUEUE_FULL_DISCONNECT }, { NULL, 0 },
};
static const struct choice choices_domain[] = {
    { "both", DOMAIN_BOTH }, { "ipv4", DOMAIN_IPV4 }, { "ipv6", DOMAIN_IPV6 }, { NULL, 0 },
};
static const struct choice choices_protocol[] = {
    { "mqtt", PROTOCOL_MQTT }, { "websockets", PROTOCOL_WEBSOCKETS }, { NULL, 0 },
};
static const struct choice choices_tls_version[] = {
    { "tlsv1.2", 0x0303 }, { "tlsv1.3", 0x0304 }, { NULL, 0 },
};

const struct section config_sections[SECTION_COUNT] = {
#define X(name, named, doc) { #name, named, doc },
    CONFIG_SECTIONS(X)
#undef X
};

const struct directive config_directives[] = {
#define X(section, key, type, place, preset, least, most, flags, choices, doc) \
    { SECTION_##section, #key, VALUE_##type, place, preset, least, most, flags, choices, doc },
    CONFIG_DIRECTIVES(X)
#undef X
};
const unsigned config_directive_count = sizeof config_directives / sizeof config_directives[0];

/* A comment, broken between words. */
static void write_comment(FILE *out, const char *text)
{
    size_t column = 0;

    while (*text != '\0') {
        size_t len = strcspn(text, " ");
        if (column > 0 && column + len + 1 > 96) {
            fputc('\n', out);
            column = 0;
        }
        column += (size_t)fprintf(out, "%s%.*s", column == 0 ? "; " : " ", (int)len, text);
        text += len + strspn(text + len, " ");
    }
    fputc('\n', out);
}

static void write_directive(FILE *out, const struct directive *d)
{
    char doc[512];
    size_t n = (size_t)snprintf(doc, sizeof doc, "%s", d->doc);

    if (d->type == VALUE_CHOICE && d->choices[1].name != NULL) {
        n += (size_t)snprintf(doc + n, sizeof doc - n, " (");
        for (const struct choice *c = d->choices; c->name != NULL; c++)
            n += (size_t)snprintf(doc + n, sizeof doc - n, "%s%s", c->name, c[1].name != NULL ? ", " : ")");
    }
    if (d->flags & MANY)
        n += (size_t)snprintf(doc + n, sizeof doc - n, "; may stand several times");
    if (d->flags & EXAMPLE)
        snprintf(doc + n, sizeof doc - n, "; not set by default");
    fputc('\n', out);
    write_comment(out, doc);
    fprintf(out, ";%s = %s\n", d->key, d->preset);
}

void config_write_sample(void *stdio_file)
{
    FILE *out = stdio_file;

    fputs("; caddis.ini: every key with its default.\n"
          "; Take the ; before a key away to change it. `caddis check -c FILE` says what is wrong with a file,\n"
          "; and who could connect. Sizes: bytes, or with K, M, G. Durations: a number and ms, s, m, h, d, w.\n",
          out);
    for (unsigned s = 0; s < SECTION_COUNT; s++) {
        fputs("\n", out);
        write_comment(out, config_sections[s].doc);
        fprintf(out, config_sections[s].named ? ";[%s NAME]\n" : "[%s]\n", config_sections[s].name);
        for (unsigned i = 0; i < config_directive_count; i++)
            if (config_directives[i].section == s)
                write_directive(out, &config_directives[i]);
    }
}
