/* One line of a conversation as words: variables, quotes, escapes; and what several words say together, a packet or
 * plain bytes.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/wire/wire.h"

#include <ctype.h>
#include <inttypes.h>

enum { WORDS = 256, VARIABLES = 64, LINE = 1 << 18, FILL_MAX = 1 << 20 };

struct word {
    struct view v;
    bool quoted;
};

static struct {
    unsigned variables;
    struct { char name[24], value[256]; } variable[VARIABLES];
    struct word word[WORDS];            /* of the line */
    unsigned count;
    char text[LINE];                    /* where they are */
    uint8_t filler[FILL_MAX];           /* x, and a NUL at the end */
} words;

/* ---- variables ---- */

static char *variable(const char *name, size_t len)
{
    for (unsigned i = 0; i < words.variables; i++)
        if (strlen(words.variable[i].name) == len && strncmp(words.variable[i].name, name, len) == 0)
            return words.variable[i].value;
    return NULL;
}

void words_set(const char *name, const char *value)
{
    char *v = variable(name, strlen(name));

    if (v == NULL) {
        if (words.variables == VARIABLES)
            give_up("too many variables");
        v = words.variable[words.variables].value;
        snprintf(words.variable[words.variables++].name, sizeof words.variable[0].name, "%s", name);
    }
    snprintf(v, sizeof words.variable[0].value, "%s", value);
}

/* {name} becomes its value, {x*N} becomes that many x, {p{i}} becomes {p1}: true if anything was replaced. */
static bool expand(const char *line, char *out, size_t cap)
{
    bool found = false;
    size_t n = 0;
    int many;

    while (*line != '\0') {
        size_t len = *line == '{' ? strcspn(line + 1, "{} ") : 0;

        if (len > 0 && line[1 + len] == '}') {
            const char *value = variable(line + 1, len);

            if (sscanf(line, "{x*%d}", &many) == 1)
                value = (const char *)words.filler + sizeof words.filler - 1 - (size_t)many;
            if (value == NULL)
                give_up("nothing is called {%.*s}", (int)len, line + 1);
            n += (size_t)snprintf(out + n, cap - n, "%s", value);
            line += len + 2;
            found = true;
        } else {
            out[n++] = *line++;
        }
        if (n >= cap - 1)
            give_up("the line is too long");
    }
    out[n] = '\0';
    return found;
}

/* ---- words ---- */

static unsigned hex_digit(char c)
{
    if (!isxdigit((unsigned char)c))
        give_up("'%c' is no hexadecimal digit", c);
    return (unsigned)(isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10);
}

/* One character of a word, an escape being one: \n, \xHH, \\, \". */
static uint8_t unescape(const char **p)
{
    const char *s = *p;

    *p += 1;
    if (s[0] != '\\')
        return (uint8_t)s[0];
    *p += 1;
    if (s[1] == 'n')
        return '\n';
    if (s[1] != 'x')
        return (uint8_t)s[1];
    *p += 2;
    return (uint8_t)(hex_digit(s[2]) << 4 | hex_digit(s[3]));
}

/* Splits an expanded line at blanks outside quotes. */
static void split(const char *s)
{
    uint8_t *out = (uint8_t *)words.text;

    words.count = 0;
    for (s += strspn(s, " \t"); *s != '\0' && *s != '#'; s += strspn(s, " \t")) {
        struct word *w = &words.word[words.count++];
        bool inside = false;

        if (words.count == WORDS)
            give_up("too many words");
        *w = (struct word){ .v = { out, 0 } };
        while (*s != '\0' && (inside || (*s != ' ' && *s != '\t'))) {
            if (*s == '"') {
                inside = !inside;
                w->quoted = true;
                s++;
            } else {
                *out++ = unescape(&s);
            }
        }
        w->v.len = (size_t)(out - w->v.p);
        *out++ = '\0';
    }
}

const char *word(unsigned i)
{
    return i < words.count ? (const char *)words.word[i].v.p : "";
}

bool word_is(unsigned i, const char *text)
{
    return strcmp(word(i), text) == 0;
}

/* ---- packets ---- */

static void add_codes(struct said *p, struct view v)
{
    struct view code;

    v = packet_keep(p, v);
    for (size_t from = 0, to; from <= v.len; from = to + 1) {
        const uint8_t *comma = from < v.len ? memchr(v.p + from, ',', v.len - from) : NULL;

        to = comma != NULL ? (size_t)(comma - v.p) : v.len;
        code = (struct view){ v.p + from, to - from };
        if (code.len > 0)
            packet_add(p, "code", code);
    }
}

static void add_word(struct said *p, struct view v)
{
    const uint8_t *eq = memchr(v.p, '=', v.len);
    char key[24];
    struct view value;

    if (eq == NULL || eq - v.p >= (ptrdiff_t)sizeof key)
        give_up("expected FIELD=VALUE, not %.*s", (int)v.len, (const char *)v.p);
    snprintf(key, sizeof key, "%.*s", (int)(eq - v.p), (const char *)v.p);
    value = (struct view){ eq + 1, v.len - (size_t)(eq + 1 - v.p) };
    if (strcmp(key, "codes") == 0) {
        add_codes(p, value);
    } else if (strcmp(key, "fill") == 0) {
        struct field f = { .key = "fill", .value = value };
        int64_t n = word_number(&f);

        if (n >= FILL_MAX)
            give_up("fill=%" PRId64 " is too much", n);
        packet_add(p, "payload", (struct view){ words.filler, (size_t)n });
    } else {
        packet_add(p, strcmp(key, "rc") == 0 ? "reason" : key, packet_keep(p, value));
    }
}

/* The packet that the words from `at` on describe. */
void words_packet(struct said *p, unsigned at)
{
    p->type = packet_type(word(at));
    p->count = 0;
    p->used = 0;
    if (p->type == 0)
        give_up("there is no packet \"%s\"", word(at));
    for (unsigned i = at + 1; i < words.count; i++)
        add_word(p, words.word[i].v);
}

/* Pairs of digits and quoted texts; :: stands for the remaining length of all that follows. */
struct view words_hex(unsigned at)
{
    static uint8_t out[FILL_MAX];
    size_t n = 0, mark = SIZE_MAX, head;
    struct writer w;
    uint8_t len[4];

    for (unsigned i = at; i < words.count; i++) {
        struct view v = words.word[i].v;

        if (word_is(i, "::")) {
            mark = n;
        } else if (words.word[i].quoted) {
            memcpy(out + n, v.p, v.len);
            n += v.len;
        } else {
            if (v.len % 2 != 0)
                give_up("%s: an odd number of digits", word(i));
            for (size_t k = 0; k < v.len; k += 2)
                out[n++] = (uint8_t)(hex_digit((char)v.p[k]) << 4 | hex_digit((char)v.p[k + 1]));
        }
    }
    if (mark == SIZE_MAX)
        return (struct view){ out, n };
    w = wr_make(len, sizeof len);
    wr_varint(&w, (uint32_t)(n - mark));
    head = (size_t)(w.p - len);
    memmove(out + mark + head, out + mark, n - mark);
    memcpy(out + mark, len, head);
    return (struct view){ out, n + head };
}

void words_load(const char *line)
{
    static char expanded[2][LINE];
    unsigned i = 0;

    if (words.filler[0] == '\0')
        memset(words.filler, 'x', sizeof words.filler - 1);
    if (line[strspn(line, " \t")] == '#')
        line = "";
    while (expand(line, expanded[i], LINE)) {
        line = expanded[i];
        i ^= 1;
    }
    split(expanded[i]);
}

unsigned words_count(void)
{
    return words.count;
}
