/* Feeds inih line by line. inih has a fixed line buffer (200 bytes in Debian's build), drops what does not fit, does
 * not say where a key stood, and tells of the first bad line only. So it is given lines that always fit: comments are
 * taken off here, a long value is handed over as continuation lines and put together again, and every line that
 * should have given a key and did not is reported.
 *
 * R1  inih's "previous key" is set exactly when `in_key` is: a section line clears both, a key sets both.
 * R2  A value is passed on when the next key, section or the end is seen; its line is the one with the key.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/config_read.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MAX = 1 << 20, VALUE_MAX = 1 << 16 };

struct source {
    const struct config_events *ev;
    const char *next, *end;    /* what has not been read yet */
    int line;
    const char *rest;          /* of a line too long for inih's buffer */
    size_t rest_len;
    bool continuation;         /* the line inih has now goes on with the value before */
    bool glue;                 /* ... and without a blank: we cut it ourselves */
    bool owed;                 /* the line inih has now must lead to a call of on_pair() */
    bool in_key;               /* R1 */
    bool dropped;              /* the last key line was bad: what goes on with it is dropped too */
    char *key;                 /* the value being put together, NULL: none */
    char *value;
    int key_line;
};

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\v' || c == '\f' || c == '\r';
}

static void pass_on(struct source *s)
{
    if (s->key != NULL)
        s->ev->pair(s->ev->arg, s->key_line, s->key, s->value);
    free(s->key);
    free(s->value);
    s->key = s->value = NULL;
}

static void append(struct source *s, const char *more)
{
    size_t have = strlen(s->value), len = strlen(more);
    char *bigger;

    if (have + len >= VALUE_MAX) {
        s->ev->problem(s->ev->arg, s->line, "the value is longer than 64 KiB; is a line indented by mistake?");
        s->dropped = true;
        return;
    }
    bigger = realloc(s->value, have + len + 2);
    if (bigger == NULL)
        return;
    s->value = bigger;
    if (!s->glue && have > 0)
        bigger[have++] = ' ';
    memcpy(bigger + have, more, len + 1);
}

static int on_pair(void *arg, const char *section, const char *name, const char *value)
{
    struct source *s = arg;

    (void)section;      /* inih cuts long ones; ours come from give_section() */
    s->owed = false;
    if (s->continuation) {
        if (!s->dropped && s->key != NULL)
            append(s, value);
        return 1;
    }
    pass_on(s);
    s->key = strdup(name);
    s->value = strdup(value != NULL ? value : "");
    if (s->key == NULL || s->value == NULL)
        abort();        /* a few bytes at start: nothing sensible can follow */
    s->key_line = s->line;
    s->in_key = true;
    s->dropped = false;
    return 1;
}

/* Length of the part of a line that means something: without comment and trailing blanks. */
static size_t meaning(const char *p, size_t len)
{
    size_t i = 0;

    while (i < len && blank(p[i]))
        i++;
    if (i < len && p[i] == '#')
        return 0;
    for (; i < len; i++)
        if (p[i] == ';' && (i == 0 || blank(p[i - 1])))
            len = i;
    while (len > 0 && blank(p[len - 1]))
        len--;
    return len;
}

/* The heading goes to our own caller; inih gets a short one, to forget its previous key. */
static void give_section(struct source *s, const char *p, size_t len, char *buf)
{
    const char *close = memchr(p, ']', len);
    char *name = NULL;

    pass_on(s);
    s->in_key = false;
    if (close == NULL)
        s->ev->problem(s->ev->arg, s->line, "a section is written [name]: the ] is missing");
    else if (close + 1 != p + len)
        s->ev->problem(s->ev->arg, s->line, "nothing may follow the ] of a section");
    else
        name = strndup(p + 1, (size_t)(close - p - 1));
    s->ev->section(s->ev->arg, s->line, name);
    free(name);
    strcpy(buf, "[s]\n");
}

/* Copies as much of the rest as fits into inih's buffer and cuts where inih's trimming of blanks and its comment
 * characters do no harm. A leading blank makes it a continuation. */
static void give_piece(struct source *s, char *buf, size_t cap)
{
    size_t room = cap - 4, n = s->rest_len, at = 0;

    if (s->continuation)
        buf[at++] = ' ';
    if (n > room) {
        for (n = room; n > 1; n--)
            if (!blank(s->rest[n - 1]) && !blank(s->rest[n]) && s->rest[n] != ';' && s->rest[n] != '#')
                break;
        if (n == 1)
            n = room;
    }
    memcpy(buf + at, s->rest, n);
    strcpy(buf + at + n, "\n");
    s->rest += n;
    s->rest_len -= n;
    s->owed = true;
}

static void unpaid(struct source *s)
{
    if (!s->owed)
        return;
    s->owed = false;
    pass_on(s);
    s->dropped = true;
    s->ev->problem(s->ev->arg, s->line, "expected 'key = value' or '[section]', unlike mosquitto.conf");
}

/* "max_qos = 1" or "[listener web]"? No value of ours goes on like that, and people indent what belongs together. */
static bool begins_anew(const char *p, size_t len)
{
    size_t n = 0;

    if (len > 0 && p[0] == '[')
        return p[len - 1] == ']';
    while (n < len && (isalnum((unsigned char)p[n]) || p[n] == '_' || p[n] == '.'))
        n++;
    if (n == 0)
        return false;
    while (n < len && blank(p[n]))
        n++;
    return n < len && p[n] == '=';
}

/* inih's reader, in the manner of fgets(). */
static char *give_line(char *buf, int cap, void *stream)
{
    struct source *s = stream;

    unpaid(s);
    if (s->rest_len > 0 && !s->dropped) {
        s->continuation = s->glue = true;
        give_piece(s, buf, (size_t)cap);
        return buf;
    }
    while (s->next < s->end) {
        const char *p = s->next, *feed = memchr(p, '\n', (size_t)(s->end - p));
        size_t len = (size_t)((feed != NULL ? feed : s->end) - p), indent = 0;

        s->next = feed != NULL ? feed + 1 : s->end;
        s->line++;
        len = meaning(p, len);
        if (len == 0)
            continue;
        while (blank(p[indent]))
            indent++;
        s->continuation = indent > 0 && s->in_key && !begins_anew(p + indent, len - indent);
        s->glue = false;
        if (!s->continuation && p[indent] == '[') {
            give_section(s, p + indent, len - indent, buf);
            return buf;
        }
        s->rest = p + indent;
        s->rest_len = len - indent;
        give_piece(s, buf, (size_t)cap);
        return buf;
    }
    return NULL;
}

void config_read_text(const char *text, size_t len, const struct config_events *ev)
{
    struct source s = { .ev = ev, .next = text, .end = text + len };

    if (len >= 2 && (memcmp(text, "\xFF\xFE", 2) == 0 || memcmp(text, "\xFE\xFF", 2) == 0)) {
        ev->problem(ev->arg, 0, "is UTF-16; save it as UTF-8");
        return;
    }
    if (memchr(text, '\0', len) != NULL) {
        ev->problem(ev->arg, 0, "holds a zero byte; is it UTF-16, or no text at all? Save it as UTF-8");
        return;
    }
    if (len >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
        s.next += 3;
    ini_parse_stream(give_line, &s, on_pair, &s);
    unpaid(&s);
    pass_on(&s);
}

static char *read_all(int fd, size_t *len, const char **why)
{
    size_t cap = 4096, have = 0;
    char *text = malloc(cap);

    while (text != NULL) {
        ssize_t n = read(fd, text + have, cap - have - 1);
        char *bigger;

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            if (n == 0) {
                text[have] = '\0';
                *len = have;
                return text;
            }
            break;
        }
        have += (size_t)n;
        if (have >= FILE_MAX) {
            errno = 0;
            *why = "is larger than 1 MiB; that is no configuration file";
            break;
        }
        if (have + 1 == cap) {
            cap *= 2;
            bigger = realloc(text, cap);
            if (bigger == NULL)
                break;
            text = bigger;
        }
    }
    if (*why == NULL)
        *why = strerror(errno);
    free(text);
    return NULL;
}

char *config_read_file(const char *path, size_t *len, const char **why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    struct stat st;
    char *text = NULL;

    *why = NULL;
    if (fd < 0) {
        *why = strerror(errno);
        return NULL;
    }
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
        *why = "is a directory; name the file in it";
    else
        text = read_all(fd, len, why);
    close(fd);
    return text;
}
