/* Packets as words: what a line says becomes bytes, what the broker sent becomes fields to compare.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/wire/wire.h"

#include <ctype.h>
#include <inttypes.h>

static const struct { const char *word; enum prop id; } words[] = {
    { "format",           PROP_PAYLOAD_FORMAT },
    { "expiry",           PROP_MESSAGE_EXPIRY },
    { "content_type",     PROP_CONTENT_TYPE },
    { "response_topic",   PROP_RESPONSE_TOPIC },
    { "correlation",      PROP_CORRELATION_DATA },
    { "subid",            PROP_SUBSCRIPTION_ID },
    { "session_expiry",   PROP_SESSION_EXPIRY },
    { "assigned",         PROP_ASSIGNED_CLIENTID },
    { "server_keepalive", PROP_SERVER_KEEP_ALIVE },
    { "auth_method",      PROP_AUTH_METHOD },
    { "auth_data",        PROP_AUTH_DATA },
    { "problem_info",     PROP_REQUEST_PROBLEM },
    { "delay",            PROP_WILL_DELAY },
    { "request_response", PROP_REQUEST_RESPONSE },
    { "response_info",    PROP_RESPONSE_INFO },
    { "server_reference", PROP_SERVER_REFERENCE },
    { "reason_string",    PROP_REASON_STRING },
    { "receive_max",      PROP_RECEIVE_MAXIMUM },
    { "alias_max",        PROP_TOPIC_ALIAS_MAX },
    { "alias",            PROP_TOPIC_ALIAS },
    { "max_qos",          PROP_MAXIMUM_QOS },
    { "retain_available", PROP_RETAIN_AVAILABLE },
    { "user",             PROP_USER_PROPERTY },
    { "max_packet",       PROP_MAXIMUM_PACKET },
    { "wildcards",        PROP_WILDCARD_AVAIL },
    { "subids",           PROP_SUBID_AVAIL },
    { "shared",           PROP_SHARED_AVAIL },
};

enum kind { NUMBER, TEXT, PAIR };

static enum kind kind_of(enum prop id)
{
    static const char *const types[] = {
#define X(name, id, type, range, many, where) #type,
        PROPERTIES(X)
#undef X
    };
    const char *t = types[id];

    return strcmp(t, "PAIR") == 0 ? PAIR : strcmp(t, "UTF8") == 0 || strcmp(t, "BIN") == 0 ? TEXT : NUMBER;
}

/* -1: no property. */
static int prop_of(const char *word)
{
    for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(words[i].word, word) == 0)
            return (int)words[i].id;
    return -1;
}

static const char *word_of(enum prop id)
{
    for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++)
        if (words[i].id == id)
            return words[i].word;
    return "?";
}

unsigned packet_type(const char *word)
{
    char upper[16];
    size_t i;

    for (i = 0; word[i] != '\0' && i < sizeof upper - 1; i++)
        upper[i] = (char)toupper((unsigned char)word[i]);
    upper[i] = '\0';
    for (unsigned type = 1; type <= 15; type++)
        if (strcmp(packet_name(type), upper) == 0)
            return type;
    return 0;
}

const struct field *packet_field(const struct said *p, const char *key)
{
    for (unsigned i = 0; i < p->count; i++)
        if (strcmp(p->field[i].key, key) == 0)
            return &p->field[i];
    return NULL;
}

static struct field *add(struct said *p, const char *key)
{
    struct field *f;

    if (p->count == MAX_FIELDS)
        give_up("more than %d fields in a packet", MAX_FIELDS);
    f = &p->field[p->count++];
    *f = (struct field){ .num = -1 };
    snprintf(f->key, sizeof f->key, "%s", key);
    return f;
}

void packet_add(struct said *p, const char *key, struct view value)
{
    add(p, key)->value = value;
}

void packet_add_number(struct said *p, const char *key, int64_t n)
{
    add(p, key)->num = n;
}

/* Moves a value into the packet, which lives longer than the line. */
struct view packet_keep(struct said *p, struct view v)
{
    uint8_t *at = (uint8_t *)p->store + p->used;

    if (v.len > sizeof p->store - p->used)
        give_up("the packet is too long; use fill=N for large payloads");
    if (v.len > 0)
        memcpy(at, v.p, v.len);
    p->used += v.len;
    return (struct view){ at, v.len };
}

void packet_set(struct said *p, const char *key, struct view value)
{
    for (unsigned i = 0; i < p->count; i++)
        if (strcmp(p->field[i].key, key) == 0)
            p->field[i].value = value;
}

/* false: it is no number. */
static bool number(struct view v, int64_t *out)
{
    char text[24], *end;

    if (v.len == 0 || v.len >= sizeof text || !isdigit(v.p[0]))
        return false;
    memcpy(text, v.p, v.len);
    text[v.len] = '\0';
    *out = strtoll(text, &end, 0);
    return *end == '\0';
}

int64_t word_number(const struct field *f)
{
    int64_t n;

    if (!number(f->value, &n))
        give_up("%s=%.*s: not a number", f->key, (int)f->value.len, (const char *)f->value.p);
    return n;
}

/* ---- words to bytes ---- */

static int64_t get_number(const struct said *p, const char *key, int64_t absent)
{
    const struct field *f = packet_field(p, key);

    return f != NULL ? word_number(f) : absent;
}

static struct view get_text(const struct said *p, const char *key)
{
    const struct field *f = packet_field(p, key);

    return f != NULL ? f->value : (struct view){ NULL, 0 };
}

static void write_prop(struct writer *w, enum prop id, const struct field *f)
{
    const uint8_t *eq;

    switch (kind_of(id)) {
    case NUMBER:
        props_write_num(w, id, (uint32_t)word_number(f));
        break;
    case TEXT:
        props_write_bytes(w, id, f->value);
        break;
    case PAIR:
        eq = memchr(f->value.p, '=', f->value.len);
        if (eq == NULL)
            give_up("%s: a user property is written user=\"NAME=VALUE\"", f->key);
        props_write_pair(w, (struct view){ f->value.p, (size_t)(eq - f->value.p) },
                         (struct view){ eq + 1, (size_t)(f->value.p + f->value.len - eq - 1) });
    }
}

/* The fields of p that are properties, those of the will being the ones with this prefix. */
static struct view write_props(const struct said *p, const char *prefix, uint8_t *buf, size_t cap)
{
    struct writer w = wr_make(buf, cap);
    size_t n = strlen(prefix);

    for (unsigned i = 0; i < p->count; i++) {
        int id = strncmp(p->field[i].key, prefix, n) == 0 ? prop_of(p->field[i].key + n) : -1;

        if (id >= 0)
            write_prop(&w, (enum prop)id, &p->field[i]);
    }
    if (w.bad)
        give_up("more properties than fit");
    return (struct view){ buf, (size_t)(w.p - buf) };
}

static uint8_t prop_buf[1 << 17], will_buf[1 << 16];

static struct view props_of(const struct said *p)
{
    return write_props(p, "", prop_buf, sizeof prop_buf);
}

static void *room(size_t n, struct writer *w)
{
    void *p = malloc(n > 0 ? n : 1);

    if (p == NULL)
        give_up("no memory");
    *w = wr_make(p, n);
    return p;
}

static struct view done(void *p, const struct writer *w)
{
    if (w->bad || w->p != w->end)
        give_up("this packet cannot be encoded");
    return (struct view){ p, (size_t)(w->p - (uint8_t *)p) };
}

static struct view encode_connect(const struct said *p, enum version v)
{
    struct connect c = {
        .version = v,
        .clean_start = get_number(p, "clean", 1) != 0,
        .bridge = get_number(p, "bridge", 0) != 0,
        .keepalive_s = (uint16_t)get_number(p, "keepalive", 60),
        .client_id = get_text(p, "id"),
        .has_will = packet_field(p, "will_topic") != NULL,
        .will_topic = get_text(p, "will_topic"),
        .will_payload = get_text(p, "will"),
        .will_qos = (uint8_t)get_number(p, "will_qos", 0),
        .will_retain = get_number(p, "will_retain", 0) != 0,
        .has_username = packet_field(p, "username") != NULL,
        .username = get_text(p, "username"),
        .has_password = packet_field(p, "password") != NULL,
        .password = get_text(p, "password"),
    };
    struct writer w;
    void *buf;

    c.props.raw = props_of(p);
    c.will_props.raw = write_props(p, "will_", will_buf, sizeof will_buf);
    buf = room(connect_size(&c), &w);
    connect_encode(&c, &w);
    return done(buf, &w);
}

static struct view encode_publish(const struct said *p, enum version v)
{
    struct view payload = get_text(p, "payload");
    struct publish_out o = {
        .version = v,
        .dup = get_number(p, "dup", 0) != 0,
        .retain = get_number(p, "retain", 0) != 0,
        .qos = (uint8_t)get_number(p, "qos", 0),
        .packet_id = (uint16_t)get_number(p, "pid", 0),
        .topic = get_text(p, "topic"),
        .props = props_of(p),
        .payload_len = payload.len,
    };
    struct writer w;
    void *buf = room(publish_size(&o), &w);

    publish_head_encode(&o, &w);
    wr_view(&w, payload);
    return done(buf, &w);
}

static struct view encode_ack(const struct said *p, enum version v)
{
    enum reason reason = (enum reason)get_number(p, "reason", 0);
    struct view why = get_text(p, "reason_string");
    struct writer w;
    void *buf = room(ack_size(v, reason, why), &w);

    ack_encode((enum packet)p->type, (uint16_t)get_number(p, "pid", 0), v, reason, why, &w);
    return done(buf, &w);
}

/* Each filter= starts a subscription; what follows belongs to it. */
static struct view encode_subscribe(const struct said *p, enum version v)
{
    struct subscription subs[MAX_FIELDS], *s = NULL;
    unsigned n = 0;
    struct view raw = props_of(p);
    struct writer w;
    void *buf;

    for (unsigned i = 0; i < p->count; i++) {
        const struct field *f = &p->field[i];

        if (strcmp(f->key, "filter") == 0) {
            s = &subs[n++];
            *s = (struct subscription){ .filter = f->value };
        } else if (s == NULL) {
            continue;
        } else if (strcmp(f->key, "qos") == 0) {
            s->qos = (uint8_t)word_number(f);
        } else if (strcmp(f->key, "nl") == 0) {
            s->no_local = word_number(f) != 0;
        } else if (strcmp(f->key, "rap") == 0) {
            s->retain_as_published = word_number(f) != 0;
        } else if (strcmp(f->key, "rh") == 0) {
            s->retain_handling = (uint8_t)word_number(f);
        }
    }
    buf = room(subscribe_size(v, subs, n, raw), &w);
    subscribe_encode(v, (uint16_t)get_number(p, "pid", 0), subs, n, raw, &w);
    return done(buf, &w);
}

static struct view encode_unsubscribe(const struct said *p, enum version v)
{
    struct view filters[MAX_FIELDS];
    unsigned n = 0;
    struct writer w;
    void *buf;

    for (unsigned i = 0; i < p->count; i++)
        if (strcmp(p->field[i].key, "filter") == 0)
            filters[n++] = p->field[i].value;
    buf = room(unsubscribe_size(v, filters, n), &w);
    unsubscribe_encode(v, (uint16_t)get_number(p, "pid", 0), filters, n, &w);
    return done(buf, &w);
}

static struct view encode_end(const struct said *p, enum version v)
{
    enum reason reason = (enum reason)get_number(p, "reason", 0);
    struct view raw = props_of(p);
    bool auth = p->type == PKT_AUTH;
    struct writer w;
    void *buf = room(auth ? auth_size(reason, raw) : disconnect_size(v, reason, raw), &w);

    if (auth)
        auth_encode(reason, raw, &w);
    else
        disconnect_encode(v, reason, raw, &w);
    return done(buf, &w);
}

static struct view encode_ping(enum packet type)
{
    struct writer w;
    void *buf = room(2, &w);

    ping_encode(type, &w);
    return done(buf, &w);
}

/* The keys a statement may use, besides properties. */
static const char *const known[16] = {
    [PKT_CONNECT] = " id ver clean keepalive bridge will_topic will will_qos will_retain username password ",
    [PKT_CONNACK] = " sp reason ",
    [PKT_PUBLISH] = " topic payload qos retain dup pid bare ",
    [PKT_PUBACK] = " pid reason ", [PKT_PUBREC] = " pid reason ",
    [PKT_PUBREL] = " pid reason ", [PKT_PUBCOMP] = " pid reason ",
    [PKT_SUBSCRIBE] = " pid filter qos nl rap rh ",
    [PKT_SUBACK] = " pid code ", [PKT_UNSUBACK] = " pid code ",
    [PKT_UNSUBSCRIBE] = " pid filter ",
    [PKT_PINGREQ] = " ", [PKT_PINGRESP] = " ", [PKT_DISCONNECT] = " reason ", [PKT_AUTH] = " reason ",
};

static void check_keys(const struct said *p)
{
    char word[32];

    for (unsigned i = 0; i < p->count; i++) {
        const char *key = p->field[i].key;

        snprintf(word, sizeof word, " %s ", key);
        if (strstr(known[p->type], word) == NULL && prop_of(key) < 0 &&
            (p->type != PKT_CONNECT || strncmp(key, "will_", 5) != 0 || prop_of(key + 5) < 0))
            give_up("%s has no field %s", packet_name(p->type), key);
    }
}

struct view packet_encode(const struct said *p, enum version v)
{
    check_keys(p);
    switch (p->type) {
    case PKT_CONNECT: return encode_connect(p, v);
    case PKT_PUBLISH: return encode_publish(p, v);
    case PKT_PUBACK:
    case PKT_PUBREC:
    case PKT_PUBREL:
    case PKT_PUBCOMP: return encode_ack(p, v);
    case PKT_SUBSCRIBE: return encode_subscribe(p, v);
    case PKT_UNSUBSCRIBE: return encode_unsubscribe(p, v);
    case PKT_PINGREQ: return encode_ping(PKT_PINGREQ);
    case PKT_DISCONNECT:
    case PKT_AUTH: return encode_end(p, v);
    default: give_up("a client can't send %s; use hex", packet_name(p->type));
    }
}

/* ---- bytes to fields ---- */

static void add_pair(struct said *p, const struct prop_item *it)
{
    char *at = p->store + p->used;
    size_t n = it->name.len + 1 + it->value.len;

    if (n > sizeof p->store - p->used)
        give_up("more user properties than fit");
    memcpy(at, it->name.p, it->name.len);
    at[it->name.len] = '=';
    memcpy(at + it->name.len + 1, it->value.p, it->value.len);
    p->used += n;
    packet_add(p, "user", (struct view){ (const uint8_t *)at, n });
}

static void add_props(struct said *p, const struct props *props)
{
    struct reader r = rd_make(props->raw);
    struct prop_item it;

    while (props_next(&r, &it)) {
        enum kind k = kind_of(it.id);

        if (k == PAIR)
            add_pair(p, &it);
        else if (k == TEXT)
            packet_add(p, word_of(it.id), it.value);
        else
            packet_add_number(p, word_of(it.id), it.num);
    }
}

static enum reason decode_publish(const struct frame *f, enum version v, struct said *out)
{
    struct publish p;
    enum reason why = publish_decode(f->head, f->body, v, &p);

    if (why != R_OK)
        return why;
    packet_add(out, "topic", p.topic);
    packet_add_number(out, "qos", p.qos);
    packet_add_number(out, "retain", p.retain);
    packet_add_number(out, "dup", p.dup);
    if (p.qos > 0)
        packet_add_number(out, "pid", p.packet_id);
    packet_add(out, "payload", p.payload);
    add_props(out, &p.props);
    return R_OK;
}

static enum reason decode_connack(const struct frame *f, enum version v, struct said *out)
{
    struct connack a;
    enum reason why = connack_decode(f->head, f->body, v, &a);

    if (why != R_OK)
        return why;
    packet_add_number(out, "sp", a.session_present);
    packet_add_number(out, "reason", f->body.p[1]); /* as sent: 0..5 in 3.x */
    add_props(out, &a.props);
    return R_OK;
}

static enum reason decode_suback(const struct frame *f, enum version v, struct said *out)
{
    struct suback a;
    enum reason why = suback_decode(f->head, f->body, v, &a);

    if (why != R_OK)
        return why;
    packet_add_number(out, "pid", a.packet_id);
    for (size_t i = 0; i < a.codes.len; i++)
        packet_add_number(out, "code", a.codes.p[i]);
    add_props(out, &a.props);
    return R_OK;
}

static enum reason decode_ack(const struct frame *f, enum version v, struct said *out)
{
    struct ack a;
    enum reason why = ack_decode(f->head, f->body, v, &a);

    if (why != R_OK)
        return why;
    packet_add_number(out, "pid", a.packet_id);
    packet_add_number(out, "reason", a.reason);
    add_props(out, &a.props);
    return R_OK;
}

static enum reason decode_end(const struct frame *f, enum version v, struct said *out)
{
    struct disconnect d;
    struct auth_message a;
    bool auth = out->type == PKT_AUTH;
    enum reason why = auth ? auth_decode(f->head, f->body, &a) : disconnect_decode(f->head, f->body, v, false, &d);

    if (why != R_OK)
        return why;
    packet_add_number(out, "reason", auth ? a.reason : d.reason);
    add_props(out, auth ? &a.props : &d.props);
    return R_OK;
}

enum reason packet_decode(const struct frame *f, enum version v, struct said *out)
{
    out->type = frame_type(f->head);
    out->count = 0;
    out->used = 0;
    switch (out->type) {
    case PKT_CONNACK: return decode_connack(f, v, out);
    case PKT_PUBLISH: return decode_publish(f, v, out);
    case PKT_PUBACK:
    case PKT_PUBREC:
    case PKT_PUBREL:
    case PKT_PUBCOMP: return decode_ack(f, v, out);
    case PKT_SUBACK:
    case PKT_UNSUBACK: return decode_suback(f, v, out);
    case PKT_PINGRESP: return ping_decode(f->head, f->body);
    case PKT_DISCONNECT:
    case PKT_AUTH: return decode_end(f, v, out);
    default: return R_PROTOCOL_ERROR; /* no server sends it */
    }
}

/* ---- comparison ---- */

/* want: a number, a range FROM..TO, a text, or the begin of one and a *. */
static bool value_matches(struct view want, const struct field *got)
{
    bool begin = want.len > 0 && want.p[want.len - 1] == '*';
    char text[64], *dots;
    int64_t from, to;

    if (begin)
        want.len--;
    if (got->num < 0)
        return (begin ? want.len <= got->value.len : want.len == got->value.len) &&
               (want.len == 0 || memcmp(want.p, got->value.p, want.len) == 0);
    if (begin && want.len == 0)
        return true;
    if (number(want, &from))
        return from == got->num;
    snprintf(text, sizeof text, "%.*s", (int)want.len, (const char *)want.p);
    dots = strstr(text, "..");
    if (dots == NULL ||
        !number((struct view){ (const uint8_t *)text, (size_t)(dots - text) }, &from) ||
        !number((struct view){ (const uint8_t *)dots + 2, strlen(dots + 2) }, &to))
        give_up("%s=%s: expected a number or FROM..TO", got->key, text);
    return from <= got->num && got->num <= to;
}

/* The values of one key, in order; Subscription Identifiers may come in any. */
static bool key_matches(const struct said *want, const struct said *got, const char *key)
{
    bool taken[MAX_FIELDS] = { false }, ordered = strcmp(key, "subid") != 0;
    unsigned wanted = 0, found = 0, at = 0;

    for (unsigned i = 0; i < got->count; i++)
        found += strcmp(got->field[i].key, key) == 0;
    for (unsigned i = 0; i < want->count; i++) {
        const struct field *w = &want->field[i];
        unsigned g;

        if (strcmp(w->key, key) != 0)
            continue;
        if (w->value.len == 4 && memcmp(w->value.p, "none", 4) == 0 && packet_field(got, key) == NULL)
            return true;
        for (g = ordered ? at : 0; g < got->count; g++)
            if (!taken[g] && strcmp(got->field[g].key, key) == 0 &&
                (ordered || value_matches(w->value, &got->field[g])))
                break;
        if (g == got->count || !value_matches(w->value, &got->field[g]))
            return false;
        taken[g] = true;
        at = g + 1;
        wanted++;
    }
    return wanted == found;
}

/* Fields that are compared even if the line does not name them: with this value. */
static bool defaults_match(const struct said *want, const struct said *got)
{
    static const char *const zero[] = { "dup", "retain", "qos", "sp", "reason", "bare" };

    for (unsigned i = 0; i < sizeof zero / sizeof zero[0]; i++) {
        const struct field *f = packet_field(got, zero[i]);

        if (f != NULL && packet_field(want, zero[i]) == NULL && f->num != 0)
            return false;
    }
    return true;
}

bool packet_matches(const struct said *want, const struct said *got)
{
    check_keys(want);
    if (want->type != got->type || !defaults_match(want, got))
        return false;
    for (unsigned i = 0; i < want->count; i++)
        if (!key_matches(want, got, want->field[i].key))
            return false;
    return true;
}

const char *packet_text(const struct said *p, char *buf, size_t cap)
{
    enum { SHOWN = 80 };
    size_t n = (size_t)snprintf(buf, cap, "%s", packet_name(p->type));

    for (unsigned i = 0; i < p->count && n + SHOWN * 4 + 64 < cap; i++) {
        const struct field *f = &p->field[i];

        n += (size_t)snprintf(buf + n, cap - n, " %s=", f->key);
        if (f->num >= 0)
            n += (size_t)snprintf(buf + n, cap - n, "%" PRId64, f->num);
        for (size_t k = 0; k < f->value.len && k < SHOWN; k++)
            n += (size_t)snprintf(buf + n, cap - n, isprint(f->value.p[k]) ? "%c" : "\\x%02x", f->value.p[k]);
        if (f->value.len > SHOWN)
            n += (size_t)snprintf(buf + n, cap - n, "... (%zu bytes)", f->value.len);
    }
    return buf;
}
