/* MQTT 5.0 properties on the command line: -D publish user-property NAME VALUE.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/tool.h"

#include "broker/config_value.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum type { TYPE_BYTE, TYPE_U16, TYPE_U32, TYPE_VARINT, TYPE_UTF8, TYPE_BIN, TYPE_PAIR };

static const struct {
    enum type type;
    uint32_t where;
} kinds[PROP_COUNT] = {
#define X(name, id, kind, range, many, places) [PROP_##name] = { TYPE_##kind, places },
    PROPERTIES(X)
#undef X
};

static const struct {
    const char *name;
    enum prop id;
} names[] = {
    { "payload-format-indicator", PROP_PAYLOAD_FORMAT },
    { "message-expiry-interval", PROP_MESSAGE_EXPIRY },
    { "content-type", PROP_CONTENT_TYPE },
    { "response-topic", PROP_RESPONSE_TOPIC },
    { "correlation-data", PROP_CORRELATION_DATA },
    { "subscription-identifier", PROP_SUBSCRIPTION_ID },
    { "session-expiry-interval", PROP_SESSION_EXPIRY },
    { "request-problem-information", PROP_REQUEST_PROBLEM },
    { "will-delay-interval", PROP_WILL_DELAY },
    { "request-response-information", PROP_REQUEST_RESPONSE },
    { "receive-maximum", PROP_RECEIVE_MAXIMUM },
    { "topic-alias-maximum", PROP_TOPIC_ALIAS_MAX },
    { "topic-alias", PROP_TOPIC_ALIAS },
    { "user-property", PROP_USER_PROPERTY },
    { "maximum-packet-size", PROP_MAXIMUM_PACKET },
};
enum { NAME_COUNT = sizeof names / sizeof names[0] };

static const struct {
    const char *name;
    uint32_t where;
} packets[TOOL_PACKETS] = {
    [TOOL_CONNECT] = { "connect", IN(CONNECT) },          [TOOL_PUBLISH] = { "publish", IN(PUBLISH) },
    [TOOL_SUBSCRIBE] = { "subscribe", IN(SUBSCRIBE) },    [TOOL_DISCONNECT] = { "disconnect", IN(DISCONNECT) },
    [TOOL_WILL] = { "will", IN_WILL },
};

static const char *packet_option(void *arg, unsigned i)
{
    (void)arg;
    return packets[i].name;
}

static const char *property_option(void *arg, unsigned i)
{
    (void)arg;
    return names[i].name;
}

/* The block grows by n bytes; a writer for them. */
static struct writer grow(struct view *block, size_t n)
{
    uint8_t *p = realloc((void *)(uintptr_t)block->p, block->len + n);

    if (p == NULL)
        abort();
    block->p = p;
    block->len += n;
    return wr_make(p + block->len - n, n);
}

void tool_add_number(struct view *block, enum prop id, uint32_t v)
{
    struct writer w = grow(block, props_size_num(id, v));

    props_write_num(&w, id, v);
}

static bool add_number(struct view *block, enum prop id, const char *text, char why[CLIENT_WHY_MAX])
{
    static const uint32_t most[] = { [TYPE_BYTE] = 255, [TYPE_U16] = 65535, [TYPE_U32] = UINT32_MAX,
                                     [TYPE_VARINT] = 268435455 };
    char *end;
    unsigned long long v;

    errno = 0;
    v = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || v > most[kinds[id].type]) {
        snprintf(why, CLIENT_WHY_MAX, "%s is not a number from 0 to %u", log_qs(text), most[kinds[id].type]);
        return false;
    }
    tool_add_number(block, id, (uint32_t)v);
    return true;
}

static bool add_value(struct view *block, enum prop id, char **values, char why[CLIENT_WHY_MAX])
{
    struct view v = view_of(values[0]);
    struct writer w;

    if (v.len > 65535 || (kinds[id].type == TYPE_PAIR && strlen(values[1]) > 65535)) {
        snprintf(why, CLIENT_WHY_MAX, "a property can have 65535 bytes");
        return false;
    }
    if (kinds[id].type == TYPE_PAIR) {
        w = grow(block, props_size_pair(v, view_of(values[1])));
        props_write_pair(&w, v, view_of(values[1]));
        return true;
    }
    if (kinds[id].type != TYPE_UTF8 && kinds[id].type != TYPE_BIN)
        return add_number(block, id, values[0], why);
    w = grow(block, props_size_bytes(v));
    props_write_bytes(&w, id, v);
    return true;
}

bool tool_property(struct tool_options *o, const char *packet, int argc, char **argv, int *at, char why[CLIENT_WHY_MAX])
{
    const char *name = *at < argc ? argv[*at] : "", *near;
    unsigned p = 0, n = 0;
    int values;

    while (p < TOOL_PACKETS && strcmp(packets[p].name, packet) != 0)
        p++;
    while (n < NAME_COUNT && strcmp(names[n].name, name) != 0)
        n++;
    if (p == TOOL_PACKETS || n == NAME_COUNT) {
        near = p == TOOL_PACKETS ? nearest_name(packet, TOOL_PACKETS, packet_option, NULL)
                                 : nearest_name(name, NAME_COUNT, property_option, NULL);
        snprintf(why, CLIENT_WHY_MAX, "%s is no %s%s%s%s", log_qs(p == TOOL_PACKETS ? packet : name),
                 p == TOOL_PACKETS ? "packet of -D: connect, publish, subscribe, disconnect, will" : "property",
                 near != NULL ? "; did you mean " : "", near != NULL ? near : "", near != NULL ? "?" : "");
        return false;
    }
    if (!(kinds[names[n].id].where & packets[p].where)) {
        snprintf(why, CLIENT_WHY_MAX, "%s can't stand in %s", name, packet);
        return false;
    }
    values = kinds[names[n].id].type == TYPE_PAIR ? 2 : 1;
    if (*at + values >= argc) {
        snprintf(why, CLIENT_WHY_MAX, "-D %s %s needs %s", packet, name, values == 2 ? "a name and a value" : "a value");
        return false;
    }
    *at += values + 1;
    return add_value(&o->props[p], names[n].id, argv + *at - values, why);
}

/* Through the decoder that a server uses: it knows what may stand twice, and which values are in range. */
static bool check_block(const struct tool_options *o, unsigned packet, struct props *out, char why[CLIENT_WHY_MAX])
{
    size_t len = o->props[packet].len, size = varint_size((uint32_t)len) + len;
    uint8_t *whole = malloc(size);
    struct writer w = wr_make(whole, size);
    struct reader r;
    enum reason got;

    if (whole == NULL)
        abort();
    wr_varint(&w, (uint32_t)len);
    wr_view(&w, o->props[packet]);
    r = rd_make((struct view){ whole, size });
    got = props_decode(&r, packets[packet].where, out);
    free(whole);
    out->raw = o->props[packet];
    if (got != R_OK)
        snprintf(why, CLIENT_WHY_MAX, "the properties of %s break a rule: given twice, out of range, or not UTF-8",
                 packets[packet].name);
    return got == R_OK;
}

bool tool_check_properties(struct tool_options *o, char why[CLIENT_WHY_MAX])
{
    struct props ignored;

    return check_block(o, TOOL_CONNECT, &o->client.connect.props, why) &&
           check_block(o, TOOL_WILL, &o->client.connect.will_props, why) &&
           check_block(o, TOOL_PUBLISH, &ignored, why) && check_block(o, TOOL_SUBSCRIBE, &ignored, why) &&
           check_block(o, TOOL_DISCONNECT, &ignored, why);
}
