/* Options of the client tools: one table for the parser and for --help.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/tool.h"

#include "broker/log.h"
#include "broker/sub_format.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BOTH = TOOL_PUB | TOOL_SUB };
enum { OPT_HELP = 256, OPT_UNIX, OPT_WILL_TOPIC, OPT_WILL_PAYLOAD, OPT_WILL_QOS, OPT_WILL_RETAIN, OPT_RETAINED_ONLY,
       OPT_RETAIN_AS_PUBLISHED, OPT_RETAIN_HANDLING, OPT_NO_LOCAL, OPT_QUIET, OPT_MAX_INFLIGHT, OPT_CAFILE, OPT_CAPATH,
       OPT_CERT, OPT_KEY, OPT_OS_CERTS, OPT_INSECURE, OPT_TLS_VERSION, OPT_CIPHERS, OPT_ALPN, OPT_PSK, OPT_PSK_IDENTITY };

static const struct spec {
    int code;               /* the letter, or OPT_* */
    const char *name;
    const char *arg;        /* NULL: none */
    unsigned tools;
    const char *text;
} specs[] = {
    { 'h', "host", "HOST", BOTH, "server to connect to; default localhost" },
    { 'p', "port", "PORT", BOTH, "its port; default 1883, with TLS 8883" },
    { OPT_UNIX, "unix", "PATH", BOTH, "connect to this Unix socket instead" },
    { 't', "topic", "TOPIC", BOTH, "pub: where to publish; sub: filter, may stand several times" },
    { 'm', "message", "TEXT", TOOL_PUB, "publish this text" },
    { 'f', "file", "FILE", TOOL_PUB, "publish the content of a file" },
    { 'l', "stdin-line", NULL, TOOL_PUB, "publish every line of the standard input as a message" },
    { 's', "stdin-file", NULL, TOOL_PUB, "publish the whole standard input as one message" },
    { 'n', "null-message", NULL, TOOL_PUB, "publish a message of no bytes" },
    { 'r', "retain", NULL, TOOL_PUB, "have the server keep it for later subscribers" },
    { 'q', "qos", "0|1|2", BOTH, "quality of service; default 0" },
    { 'i', "id", "ID", BOTH, "client id; default: the server gives one" },
    { 'c', "disable-clean-session", NULL, BOTH, "keep the session when the connection ends (needs -i)" },
    { 'x', "session-expiry-interval", "SECONDS", BOTH, "how long to keep it, or never (MQTT 5)" },
    { 'u', "username", "NAME", BOTH, "user name" },
    { 'P', "pw", "PASSWORD", BOTH, "password" },
    { 'k', "keepalive", "SECONDS", BOTH, "keep alive; default 60" },
    { 'V', "protocol-version", "VERSION", BOTH, "31, 311 or 5 (also mqttv31, mqttv311, mqttv5); default 311, or 5 where "
                                                "an option needs it" },
    { 'D', "property", "PACKET NAME VALUE", BOTH, "MQTT 5 property for connect, publish, subscribe, disconnect or will; "
                                                  "user-property takes a name and a value" },
    { OPT_WILL_TOPIC, "will-topic", "TOPIC", BOTH, "will message: its topic" },
    { OPT_WILL_PAYLOAD, "will-payload", "TEXT", BOTH, "its payload" },
    { OPT_WILL_QOS, "will-qos", "0|1|2", BOTH, "its QoS" },
    { OPT_WILL_RETAIN, "will-retain", NULL, BOTH, "it is to be retained" },
    { OPT_MAX_INFLIGHT, "max-inflight", "N", TOOL_PUB, "unacknowledged messages under way; default 20" },
    { 'C', "count", "N", TOOL_SUB, "exit after N messages" },
    { 'W', "timeout", "SECONDS", TOOL_SUB, "exit with status 27 after this time" },
    { 'E', "exit-subscribed", NULL, TOOL_SUB, "exit when the server has acknowledged the subscriptions" },
    { 'v', "verbose", NULL, TOOL_SUB, "print the topic before the payload" },
    { 'F', "format", "FORMAT", TOOL_SUB, "print messages so: %t topic, %p payload, %x payload in hex, %l its length, "
                                         "%q QoS, %r retain, %m packet id, %I time, %U seconds since 1970, %C content "
                                         "type, %R response topic, %D correlation data, %E expiry, %F payload format, "
                                         "%S subscription ids, %P user properties, %% a percent sign; \\n \\t \\0 \\\\" },
    { 'N', "no-newline", NULL, TOOL_SUB, "no line feed after a message" },
    { 'R', "no-retained", NULL, TOOL_SUB, "do not print retained messages" },
    { OPT_RETAINED_ONLY, "retained-only", NULL, TOOL_SUB, "print retained messages only, exit at the first other one" },
    { OPT_RETAIN_AS_PUBLISHED, "retain-as-published", NULL, TOOL_SUB, "have the retain flag of publishers (MQTT 5)" },
    { OPT_RETAIN_HANDLING, "retain-handling", "0|1|2", TOOL_SUB, "retained messages at subscribing: always, for a new "
                                                                 "subscription, never (MQTT 5)" },
    { OPT_NO_LOCAL, "no-local", NULL, TOOL_SUB, "not what this client publishes itself (MQTT 5)" },
    { 'T', "filter-out", "FILTER", TOOL_SUB, "do not print messages of these topics; may stand several times" },
    { 'U', "unsubscribe", "FILTER", TOOL_SUB, "unsubscribe first; may stand several times" },
    { OPT_CAFILE, "cafile", "FILE", BOTH, "TLS: authorities that may have issued the server's certificate, in PEM form" },
    { OPT_CAPATH, "capath", "DIRECTORY", BOTH, "the same as a directory of files" },
    { OPT_OS_CERTS, "tls-use-os-certs", NULL, BOTH, "TLS with the authorities that this machine trusts" },
    { OPT_CERT, "cert", "FILE", BOTH, "certificate to show to the server" },
    { OPT_KEY, "key", "FILE", BOTH, "its private key" },
    { OPT_INSECURE, "insecure", NULL, BOTH, "take a certificate that is for another name" },
    { OPT_PSK, "psk", "HEX", BOTH, "TLS with a shared key instead of certificates" },
    { OPT_PSK_IDENTITY, "psk-identity", "NAME", BOTH, "whose key that is" },
    { OPT_TLS_VERSION, "tls-version", "VERSION", BOTH, "tlsv1.2 or tlsv1.3, and no other; default: what the server has" },
    { OPT_CIPHERS, "ciphers", "LIST", BOTH, "ciphers of TLS 1.2, colons between them" },
    { OPT_ALPN, "tls-alpn", "NAME", BOTH, "application protocol to ask for" },
    { 'd', "debug", NULL, BOTH, "packets to stderr" },
    { OPT_QUIET, "quiet", NULL, BOTH, "no messages about errors" },
    { OPT_HELP, "help", NULL, BOTH, "this text" },
};
enum { SPEC_COUNT = sizeof specs / sizeof specs[0] };

struct parse {
    struct tool_options *o;
    bool clean_off, keep_for_ever, wants_5, has_expiry, has_port;
    bool bad;
};

static const char *tool_name(enum tool tool)
{
    return tool == TOOL_PUB ? "pub" : "sub";
}

__attribute__((format(printf, 2, 3)))
static void wrong(struct parse *p, const char *fmt, ...)
{
    va_list ap;

    p->bad = true;
    fprintf(stderr, "caddis %s: ", tool_name(p->o->tool));
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

/* Text in a column that starts at 26. */
static void print_wrapped(const char *text)
{
    size_t column = 26;

    while (*text != '\0') {
        size_t len = strcspn(text, " ");
        if (column + len + 1 > 98) {
            printf("\n%*s", 26, "");
            column = 26;
        }
        column += (size_t)printf(" %.*s", (int)len, text);
        text += len + strspn(text + len, " ");
    }
    putchar('\n');
}

static void help(enum tool tool)
{
    if (tool == TOOL_PUB)
        puts("Usage: caddis pub -t TOPIC (-m TEXT | -f FILE | -l | -s | -n) [OPTIONS]\n");
    else
        puts("Usage: caddis sub -t FILTER [-t FILTER ...] [OPTIONS]\n");
    for (unsigned i = 0; i < SPEC_COUNT; i++) {
        const struct spec *s = &specs[i];
        char left[64];
        if (!(s->tools & (unsigned)tool))
            continue;
        if (s->code < 256)
            snprintf(left, sizeof left, "-%c, --%s%s%s", s->code, s->name, s->arg != NULL ? " " : "",
                     s->arg != NULL ? s->arg : "");
        else
            snprintf(left, sizeof left, "    --%s%s%s", s->name, s->arg != NULL ? " " : "", s->arg != NULL ? s->arg : "");
        if (strlen(left) > 23)
            printf("  %s\n%*s", left, 26, "");
        else
            printf("  %-24s", left);
        print_wrapped(s->text);
    }
    printf("\nExit status: 0 fine, 1 failed, 27 time is up, otherwise the server's reason for refusing.\n");
}

static uint64_t number(struct parse *p, const char *option, const char *text, uint64_t least, uint64_t most)
{
    char *end;
    unsigned long long v;

    errno = 0;
    v = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || v < least || v > most) {
        wrong(p, "%s: %s is not a number from %llu to %llu", option, log_qs(text), (unsigned long long)least,
              (unsigned long long)most);
        return least;
    }
    return v;
}

static void add(struct tool_list *l, const char *item)
{
    l->items = realloc(l->items, (l->count + 1) * sizeof *l->items);
    if (l->items == NULL)
        abort();
    l->items[l->count++] = item;
}

static void set_version(struct parse *p, const char *text)
{
    static const struct { const char *name; enum version v; } versions[] = {
        { "31", MQTT_31 }, { "mqttv31", MQTT_31 }, { "311", MQTT_311 }, { "mqttv311", MQTT_311 },
        { "5", MQTT_50 },  { "mqttv5", MQTT_50 },  { "50", MQTT_50 },   { "mqttv50", MQTT_50 },
    };

    for (unsigned i = 0; i < sizeof versions / sizeof versions[0]; i++)
        if (strcmp(text, versions[i].name) == 0) {
            p->o->client.connect.version = versions[i].v;
            return;
        }
    wrong(p, "-V: %s is not one of 31, 311, 5, mqttv31, mqttv311, mqttv5", log_qs(text));
}

static void set_source(struct parse *p, enum payload_source source, const char *text)
{
    if (p->o->source != SOURCE_NONE)
        wrong(p, "only one of -m, -f, -l, -s and -n can be given");
    p->o->source = source;
    p->o->payload = text;
}

static void set_expiry(struct parse *p, const char *text)
{
    bool never = strcmp(text, "never") == 0 || strcmp(text, "-1") == 0;

    p->wants_5 = p->has_expiry = true;
    tool_add_number(&p->o->props[TOOL_CONNECT], PROP_SESSION_EXPIRY,
                    never ? UINT32_MAX : (uint32_t)number(p, "-x", text, 0, UINT32_MAX));
}

static void on_connect_option(struct parse *p, int code, char *arg)
{
    struct client_options *c = &p->o->client;

    switch (code) {
    case 'h': c->host = arg; break;
    case 'p': c->port = (uint16_t)number(p, "-p", arg, 1, 65535); p->has_port = true; break;
    case OPT_UNIX: c->unix_path = arg; break;
    case 'i': c->connect.client_id = view_of(arg); break;
    case 'c': p->clean_off = true; break;
    case 'x': set_expiry(p, arg); break;
    case 'u': c->connect.username = view_of(arg); c->connect.has_username = true; break;
    case 'P': c->connect.password = view_of(arg); c->connect.has_password = true; break;
    case 'k': c->connect.keepalive_s = (uint16_t)number(p, "-k", arg, 0, 65535); break;
    case 'V': set_version(p, arg); break;
    case OPT_WILL_TOPIC: c->connect.will_topic = view_of(arg); c->connect.has_will = true; break;
    case OPT_WILL_PAYLOAD: c->connect.will_payload = view_of(arg); break;
    case OPT_WILL_QOS: c->connect.will_qos = (uint8_t)number(p, "--will-qos", arg, 0, 2); break;
    case OPT_WILL_RETAIN: c->connect.will_retain = true; break;
    case OPT_MAX_INFLIGHT: c->window = (unsigned)number(p, "--max-inflight", arg, 1, 65535); break;
    case 'd': c->trace = true; break;
    default: break;
    }
}

static void set_tls_version(struct parse *p, const char *text)
{
    struct tls_client_options *t = &p->o->tls;

    if (strcmp(text, "tlsv1.2") != 0 && strcmp(text, "tlsv1.3") != 0)
        wrong(p, "--tls-version: %s is neither tlsv1.2 nor tlsv1.3", log_qs(text));
    t->tls_version = t->tls_version_most = text[strlen(text) - 1] == '3' ? 0x0304 : 0x0303;
}

/* Any of these means TLS. */
static void on_tls_option(struct parse *p, int code, char *arg)
{
    struct tls_client_options *t = &p->o->tls;

    switch (code) {
    case OPT_CAFILE: t->cafile = arg; break;
    case OPT_CAPATH: t->capath = arg; break;
    case OPT_OS_CERTS: t->use_os_certs = true; break;
    case OPT_CERT: t->certfile = arg; break;
    case OPT_KEY: t->keyfile = arg; break;
    case OPT_INSECURE: t->insecure = true; break;
    case OPT_PSK: t->psk = arg; break;
    case OPT_PSK_IDENTITY: t->psk_identity = arg; break;
    case OPT_TLS_VERSION: set_tls_version(p, arg); break;
    case OPT_CIPHERS: t->ciphers = arg; break;
    case OPT_ALPN: t->alpn = arg; break;
    default: return;
    }
    p->o->client.tls = t;
}

static void on_message_option(struct parse *p, int code, char *arg)
{
    struct tool_options *o = p->o;

    switch (code) {
    case 't': add(&o->topics, arg); break;
    case 'U': add(&o->unsubscribe, arg); break;
    case 'T': add(&o->filter_out, arg); break;
    case 'm': set_source(p, SOURCE_TEXT, arg); break;
    case 'f': set_source(p, SOURCE_FILE, arg); break;
    case 'l': set_source(p, SOURCE_LINES, NULL); break;
    case 's': set_source(p, SOURCE_STDIN, NULL); break;
    case 'n': set_source(p, SOURCE_EMPTY, NULL); break;
    case 'r': o->retain = true; break;
    case 'q': o->qos = (uint8_t)number(p, "-q", arg, 0, 2); break;
    case 'C': o->count = number(p, "-C", arg, 1, UINT64_MAX); break;
    case 'W': o->wait_s = (unsigned)number(p, "-W", arg, 1, 1000000); break;
    case 'E': o->exit_subscribed = true; break;
    case 'v': o->verbose = true; break;
    case 'F': o->format = arg; break;
    case 'N': o->no_newline = true; break;
    case 'R': o->no_retained = true; break;
    case OPT_RETAINED_ONLY: o->only_retained = true; break;
    case OPT_RETAIN_AS_PUBLISHED: o->retain_as_published = p->wants_5 = true; break;
    case OPT_RETAIN_HANDLING:
        o->retain_handling = (uint8_t)number(p, "--retain-handling", arg, 0, 2);
        p->wants_5 = true;
        break;
    case OPT_NO_LOCAL: o->no_local = p->wants_5 = true; break;
    case OPT_QUIET: o->quiet = true; break;
    default: break;
    }
}

/* ---- what depends on several options ---- */

static void check_topics(struct parse *p)
{
    const struct tool_options *o = p->o;
    bool pub = o->tool == TOOL_PUB;

    if (o->topics.count == 0 && !(o->unsubscribe.count > 0 && !pub))
        wrong(p, "a topic is needed: -t TOPIC");
    if (pub && o->topics.count > 1)
        wrong(p, "only one -t can be given");
    for (unsigned i = 0; i < o->topics.count; i++) {
        struct view t = view_of(o->topics.items[i]);
        if (!utf8_valid(t) || t.len > 65535 || (pub ? !topic_name_valid(t) : !topic_filter_valid(t)))
            wrong(p, "%s is not a valid %s", log_q(t.p, t.len),
                  pub ? "topic: not empty, without + and #" : "filter: + and # stand alone in a level, # in the last one");
    }
    for (unsigned i = 0; i < o->unsubscribe.count; i++)
        if (!utf8_valid(view_of(o->unsubscribe.items[i])) || !topic_filter_valid(view_of(o->unsubscribe.items[i])))
            wrong(p, "%s is not a valid filter", log_qs(o->unsubscribe.items[i]));
    for (unsigned i = 0; i < o->filter_out.count; i++)
        if (!topic_filter_valid(view_of(o->filter_out.items[i])))
            wrong(p, "%s is not a valid filter", log_qs(o->filter_out.items[i]));
}

static void check_connect(struct parse *p)
{
    struct connect *c = &p->o->client.connect;
    static char id[40];

    if (c->version == 0)
        c->version = p->wants_5 ? MQTT_50 : MQTT_311;
    if (c->version != MQTT_50 && p->wants_5)
        wrong(p, "-D, -x, --no-local, --retain-as-published and --retain-handling need MQTT 5: -V 5");
    if (!utf8_valid(c->client_id) || !utf8_valid(c->username) || !utf8_valid(c->will_topic))
        wrong(p, "client id, user name and will topic must be UTF-8");
    if (c->client_id.len > 65535 || c->username.len > 65535 || c->password.len > 65535 || c->will_payload.len > 65535)
        wrong(p, "client id, user name, password and will can have 65535 bytes each");
    if (c->has_will && !topic_name_valid(c->will_topic))
        wrong(p, "--will-topic: %s is not a valid topic", log_q(c->will_topic.p, c->will_topic.len));
    if (!c->has_will && (c->will_payload.len > 0 || c->will_qos > 0 || c->will_retain || p->o->props[TOOL_WILL].len > 0))
        wrong(p, "a will needs --will-topic");
    if (c->has_password && !c->has_username && c->version != MQTT_50)
        wrong(p, "a password needs a user name: -u NAME");
    if (p->clean_off && c->client_id.len == 0)
        wrong(p, "-c needs a client id: -i ID");
    c->clean_start = !p->clean_off;
    if (p->clean_off && c->version == MQTT_50 && !p->has_expiry)
        tool_add_number(&p->o->props[TOOL_CONNECT], PROP_SESSION_EXPIRY, UINT32_MAX);
    if (c->version == MQTT_31 && c->client_id.len == 0) {
        snprintf(id, sizeof id, "caddis-%s-%ld", tool_name(p->o->tool), (long)getpid());  /* 3.1 has no empty ids */
        c->client_id = view_of(id);
    }
}

static void check_all(struct parse *p)
{
    struct tool_options *o = p->o;
    char why[CLIENT_WHY_MAX];

    check_topics(p);
    check_connect(p);
    if (o->client.tls != NULL && !p->has_port)
        o->client.port = 8883;
    if (o->client.tls != NULL && (o->tls.psk == NULL) != (o->tls.psk_identity == NULL))
        wrong(p, "--psk and --psk-identity belong together");
    if (o->client.tls != NULL && (o->tls.certfile == NULL) != (o->tls.keyfile == NULL))
        wrong(p, "--cert and --key belong together");
    if (o->tool == TOOL_PUB && o->source == SOURCE_NONE)
        wrong(p, "a message is needed: one of -m TEXT, -f FILE, -l, -s, -n");
    if (o->no_retained && o->only_retained)
        wrong(p, "-R and --retained-only exclude each other");
    if (o->format != NULL && !format_valid(o->format, why))
        wrong(p, "-F: %s", why);
    if (!tool_check_properties(o, why))
        wrong(p, "-D: %s", why);
    else if (o->client.connect.client_id.len == 0 &&
             props_num(&o->client.connect.props, PROP_SESSION_EXPIRY, 0) == UINT32_MAX)
        wrong(p, "a session that never ends needs a client id: -i ID");     /* nobody could ever come back for it */
}

int tool_parse(enum tool tool, int argc, char **argv, struct tool_options *o)
{
    struct option longs[SPEC_COUNT + 1] = { { 0 } };
    char shorts[SPEC_COUNT * 2 + 2] = "+", *s = shorts + 1;
    struct parse p = { .o = o };
    char why[CLIENT_WHY_MAX];
    unsigned n = 0;
    int c;

    *o = (struct tool_options){ .tool = tool, .client = { .host = "localhost", .port = 1883, .timeout_ms = 10000,
                                                          .window = 20, .connect = { .keepalive_s = 60 } } };
    for (unsigned i = 0; i < SPEC_COUNT; i++) {
        if (!(specs[i].tools & (unsigned)tool))
            continue;
        longs[n++] = (struct option){ specs[i].name, specs[i].arg != NULL, NULL, specs[i].code };
        if (specs[i].code < 256)
            *s++ = (char)specs[i].code;
        if (specs[i].code < 256 && specs[i].arg != NULL)
            *s++ = ':';
    }
    while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        if (c == OPT_HELP) {
            help(tool);
            return TOOL_OK;
        }
        if (c == '?') {
            fprintf(stderr, "caddis %s: `caddis %s --help` lists the options\n", tool_name(tool), tool_name(tool));
            return TOOL_FAILED;
        }
        p.wants_5 |= c == 'D';
        if (c == 'D' && !tool_property(o, optarg, argc, argv, &optind, why)) {
            wrong(&p, "-D: %s", why);
            return TOOL_FAILED;
        }
        on_connect_option(&p, c, optarg);
        on_tls_option(&p, c, optarg);
        on_message_option(&p, c, optarg);
    }
    if (optind < argc) {
        wrong(&p, "%s is one word too many; is something to be quoted?", log_qs(argv[optind]));
        return TOOL_FAILED;
    }
    check_all(&p);
    return p.bad ? TOOL_FAILED : -1;
}

void tool_done(struct tool_options *o)
{
    for (unsigned i = 0; i < TOOL_PACKETS; i++)
        free((void *)(uintptr_t)o->props[i].p);
    free(o->topics.items);
    free(o->unsubscribe.items);
    free(o->filter_out.items);
}
