/* HTTP, as far as a WebSocket needs it.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "proto/http.h"

#include <string.h>
#include <strings.h>

static struct view part(const uint8_t *from, const uint8_t *to)
{
    return (struct view){ from, (size_t)(to - from) };
}

static bool same_word(struct view v, const char *word)
{
    return v.len == strlen(word) && strncasecmp((const char *)v.p, word, v.len) == 0;
}

static bool same_text(struct view v, const char *text)
{
    return v.len == strlen(text) && memcmp(v.p, text, v.len) == 0;
}

size_t http_head_len(struct view in, size_t from)
{
    for (size_t i = from > 3 ? from - 3 : 0; i + 4 <= in.len; i++)
        if (memcmp(in.p + i, "\r\n\r\n", 4) == 0)
            return i + 4;
    return 0;
}

/* What stands before the next CRLF; `head` goes on behind it. */
static bool next_line(struct view *head, struct view *line)
{
    const uint8_t *end = memmem(head->p, head->len, "\r\n", 2);

    if (end == NULL)
        return false;
    *line = part(head->p, end);
    *head = part(end + 2, head->p + head->len);
    return true;
}

static bool is_token(struct view v)
{
    for (size_t i = 0; i < v.len; i++)
        if (v.p[i] <= ' ' || v.p[i] >= 0x7F || strchr("\"(),/:;<=>?@[\\]{}", v.p[i]) != NULL)
            return false;
    return v.len > 0;
}

static bool is_value(struct view v)
{
    for (size_t i = 0; i < v.len; i++)
        if ((v.p[i] < ' ' && v.p[i] != '\t') || v.p[i] == 0x7F)
            return false;
    return true;
}

static struct view trim(struct view v)
{
    while (v.len > 0 && (v.p[0] == ' ' || v.p[0] == '\t')) {
        v.p++;
        v.len--;
    }
    while (v.len > 0 && (v.p[v.len - 1] == ' ' || v.p[v.len - 1] == '\t'))
        v.len--;
    return v;
}

/* The next word of a list with commas. */
static bool next_item(struct view *list, struct view *item)
{
    const uint8_t *comma;

    if (list->len == 0)
        return false;
    comma = memchr(list->p, ',', list->len);
    *item = trim(part(list->p, comma != NULL ? comma : list->p + list->len));
    *list = comma != NULL ? part(comma + 1, list->p + list->len) : part(list->p + list->len, list->p + list->len);
    return true;
}

static bool lists_word(struct view list, const char *word)
{
    struct view item;

    while (next_item(&list, &item))
        if (same_word(item, word))
            return true;
    return false;
}

static const char *spoken(struct view list)
{
    static const char *const ours[] = { "mqtt", "mqttv3.1" };
    struct view item;

    while (next_item(&list, &item))
        for (unsigned i = 0; i < sizeof ours / sizeof ours[0]; i++)
            if (same_text(item, ours[i]))
                return ours[i];
    return NULL;
}

/* What the fields say. */
struct fields {
    struct http_upgrade *u;
    struct view host, version;
    bool upgrade, connection;
    bool twice;                 /* one of those that may stand once only */
};

static void once(struct fields *f, struct view *field, struct view value)
{
    f->twice = f->twice || field->p != NULL;
    *field = value;
}

static void take_field(struct fields *f, struct view name, struct view value)
{
    if (same_word(name, "Host"))
        once(f, &f->host, value);
    else if (same_word(name, "Origin"))
        once(f, &f->u->origin, value);
    else if (same_word(name, "Sec-WebSocket-Key"))
        once(f, &f->u->key, value);
    else if (same_word(name, "Sec-WebSocket-Version"))
        once(f, &f->version, value);
    else if (same_word(name, "Upgrade"))
        f->upgrade = f->upgrade || lists_word(value, "websocket");
    else if (same_word(name, "Connection"))
        f->connection = f->connection || lists_word(value, "upgrade");
    else if (same_word(name, "Sec-WebSocket-Protocol") && f->u->protocol == NULL)
        f->u->protocol = spoken(value);
}

static bool read_fields(struct view head, struct fields *f)
{
    struct view line;

    while (next_line(&head, &line) && line.len > 0) {
        const uint8_t *colon = memchr(line.p, ':', line.len);
        struct view value;

        if (colon == NULL || !is_token(part(line.p, colon)))
            return false;
        value = trim(part(colon + 1, line.p + line.len));
        if (!is_value(value))
            return false;
        take_field(f, part(line.p, colon), value);
    }
    return true;
}

/* "GET /mqtt HTTP/1.1". *minor: the last digit. */
static bool read_request_line(struct view line, struct view *method, int *minor)
{
    static const char version[] = "HTTP/1.";
    const uint8_t *end = line.p + line.len, *a = memchr(line.p, ' ', line.len);
    const uint8_t *b = a != NULL ? memchr(a + 1, ' ', (size_t)(end - a - 1)) : NULL;

    if (b == NULL || b == a + 1 || !is_value(line) || (size_t)(end - b - 1) != sizeof version ||
        memcmp(b + 1, version, sizeof version - 1) != 0)
        return false;
    *method = part(line.p, a);
    *minor = end[-1] - '0';
    return is_token(*method) && *minor >= 0 && *minor <= 9;
}

static bool is_key(struct view key)
{
    if (key.len != 24 || key.p[22] != '=' || key.p[23] != '=')      /* 16 bytes */
        return false;
    for (unsigned i = 0; i < 22; i++)
        if (strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", key.p[i]) == NULL ||
            key.p[i] == 0)
            return false;
    return true;
}

int http_upgrade(struct view head, struct http_upgrade *u, const char **why)
{
    struct fields f = { .u = u };
    struct view line, method;
    int minor;

    *u = (struct http_upgrade){ .protocol = NULL };
    *why = "not a request of HTTP/1.1";
    if (!next_line(&head, &line) || !read_request_line(line, &method, &minor) || minor < 1 || !read_fields(head, &f))
        return 400;
    *why = "only GET opens a WebSocket";
    if (!same_text(method, "GET"))
        return 405;
    *why = "this is the WebSocket of an MQTT broker; Upgrade: websocket and Connection: Upgrade are missing";
    if (!f.upgrade || !f.connection)
        return 426;
    *why = "Sec-WebSocket-Version is not 13";
    if (!same_text(f.version, "13"))
        return 426;
    *why = "a field that may stand once only stands twice";
    if (f.twice)
        return 400;
    *why = "Host is missing";
    if (f.host.p == NULL)
        return 400;
    *why = "Sec-WebSocket-Key is not base64 of 16 bytes";
    if (!is_key(u->key))
        return 400;
    *why = "Sec-WebSocket-Protocol does not name mqtt";     /* [MQTT-6.0.0-3] */
    return u->protocol != NULL ? 101 : 400;
}

const char *http_status_text(int status)
{
    switch (status) {
    case 101: return "Switching Protocols";
    case 403: return "Forbidden";
    case 405: return "Method Not Allowed";
    case 426: return "Upgrade Required";
    case 431: return "Request Header Fields Too Large";
    case 503: return "Service Unavailable";
    default: return "Bad Request";
    }
}
