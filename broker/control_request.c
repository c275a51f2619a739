/* Requests at the control socket: from a line to words and back.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/control_request.h"

#include <stdio.h>

static bool is_control(char c)
{
    return (unsigned char)c < ' ' || c == 0x7F;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* What stands behind a backslash at *at; moves *at past it. */
static bool unescape(char **at, const char *end, char *out)
{
    char *p = *at;

    if (p < end && (*p == '"' || *p == '\\')) {
        *out = *p;
        *at = p + 1;
        return true;
    }
    if (end - p < 3 || *p != 'x' || hex_digit(p[1]) < 0 || hex_digit(p[2]) < 0)
        return false;
    *out = (char)(hex_digit(p[1]) << 4 | hex_digit(p[2]));
    *at = p + 3;
    return true;
}

/* *at stands behind the opening quote; what is read shrinks, so it is written where it stood. */
static bool quoted(char **at, const char *end, struct view *word, const char **why)
{
    char *in = *at, *out = *at;

    word->p = (const uint8_t *)out;
    for (; in < end && *in != '"'; out++) {
        if (*in != '\\') {
            *out = *in++;
            continue;
        }
        in++;
        if (!unescape(&in, end, out)) {
            *why = "after a backslash comes \", \\ or xHH";
            return false;
        }
    }
    if (in == end) {
        *why = "a quote is not closed";
        return false;
    }
    word->len = (size_t)((const uint8_t *)out - word->p);
    *at = in + 1;
    return true;
}

static bool bare(char **at, const char *end, struct view *word, const char **why)
{
    word->p = (const uint8_t *)*at;
    while (*at < end && **at != ' ' && **at != '"' && **at != '\\')
        ++*at;
    word->len = (size_t)((const uint8_t *)*at - word->p);
    if (word->len > 0)
        return true;
    *why = "a backslash stands only in quotes";
    return false;
}

static bool plain(const char *line, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (is_control(line[i]))
            return false;
    return true;
}

bool request_parse(char *line, size_t len, struct control_request *r, const char **why)
{
    const char *end = line + len;

    *r = (struct control_request){ .count = 0 };
    if (!plain(line, len)) {
        *why = "control characters are written \\xHH, in quotes";
        return false;
    }
    for (char *at = line;;) {
        struct view *word = &r->words[r->count];
        bool in_quotes;

        while (at < end && *at == ' ')
            at++;
        if (at == end)
            break;
        if (r->count == REQUEST_WORDS) {
            *why = "too many words";
            return false;
        }
        in_quotes = *at == '"';
        at += in_quotes;
        if (!(in_quotes ? quoted(&at, end, word, why) : bare(&at, end, word, why)))
            return false;
        if (at < end && *at != ' ') {
            *why = "words are divided by blanks";
            return false;
        }
        r->count++;
    }
    *why = "an empty request";
    return r->count > 0;
}

size_t request_quote(struct view word, char *out)
{
    char *to = out;

    *to++ = '"';
    for (size_t i = 0; i < word.len; i++) {
        char c = (char)word.p[i];

        if (is_control(c)) {
            to += sprintf(to, "\\x%02x", (unsigned)word.p[i]);
            continue;
        }
        if (c == '"' || c == '\\')
            *to++ = '\\';
        *to++ = c;
    }
    *to++ = '"';
    return (size_t)(to - out);
}
