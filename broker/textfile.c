/* Small text files.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/textfile.h"

#include "broker/daemon.h"
#include "broker/mem.h"
#include "proto/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void start(struct textfile *f, const char *name, void (*say)(void *arg, const char *line), void *arg)
{
    *f = (struct textfile){ .name = name, .say = say, .arg = arg };
}

/* False: errno, and nothing allocated. The file may grow or shrink while it is read. */
static bool read_all(struct textfile *f, int fd, size_t size)
{
    ssize_t n = 1;

    f->text = mem_alloc(MEM_OTHER, size + 1);
    if (f->text == NULL)
        errno = ENOMEM;
    while (f->text != NULL && n > 0 && f->len < size) {
        n = read(fd, f->text + f->len, size - f->len);
        if (n < 0 && errno == EINTR)
            n = 1;
        else if (n < 0)
            textfile_close(f);
        else
            f->len += (size_t)n;
    }
    return f->text != NULL;
}

/* What keeps a file from being read; NULL: nothing. */
static const char *unreadable(int fd, struct stat *st)
{
    if (fd < 0 || fstat(fd, st) < 0)
        return strerror(errno);
    if (S_ISDIR(st->st_mode))
        return "it is a directory";
    if (!S_ISREG(st->st_mode))
        return "it is not a plain file";
    return st->st_size > TEXTFILE_MAX ? "it is larger than 64 MiB" : NULL;
}

bool textfile_open(struct textfile *f, const char *path, void (*say)(void *arg, const char *line), void *arg)
{
    /* Not blocking: a FIFO would hold up the broker until somebody writes to it. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st = { 0 };
    const char *why = unreadable(fd, &st);

    start(f, path, say, arg);
    if (why == NULL && !read_all(f, fd, (size_t)st.st_size))
        why = strerror(errno);
    if (why != NULL && fd < 0 && errno == EACCES)
        textfile_error(f, "can't be read: %s; user %s has to be able to", why, daemon_account());
    else if (why != NULL)
        textfile_error(f, "can't be read: %s", why);
    if (fd >= 0)
        close(fd);
    return why == NULL;
}

bool textfile_set(struct textfile *f, const char *name, struct view text, void (*say)(void *arg, const char *line),
                  void *arg)
{
    start(f, name, say, arg);
    f->text = mem_alloc(MEM_OTHER, text.len + 1);
    if (f->text == NULL) {
        textfile_error(f, "can't be read: no memory");
        return false;
    }
    if (text.len > 0)
        memcpy(f->text, text.p, text.len);
    f->len = text.len;
    return true;
}

bool textfile_raw(struct textfile *f, struct view *line)
{
    const char *p, *lf;
    size_t n;

    if (f->at == f->len)
        return false;
    p = f->text + f->at;
    lf = memchr(p, '\n', f->len - f->at);
    n = lf != NULL ? (size_t)(lf - p) : f->len - f->at;
    f->at += n + (lf != NULL);
    f->line++;
    if (f->line == 1 && n >= 3 && memcmp(p, "\xEF\xBB\xBF", 3) == 0) {
        p += 3;
        n -= 3;
    }
    if (n > 0 && p[n - 1] == '\r')
        n--;
    *line = (struct view){ (const uint8_t *)p, n };
    return true;
}

bool textfile_next(struct textfile *f, struct view *line)
{
    while (textfile_raw(f, line)) {
        while (line->len > 0 && strchr(" \t\r\v\f", line->p[line->len - 1]) != NULL && line->p[line->len - 1] != '\0')
            line->len--;
        if (line->len == 0 || line->p[0] == '#')
            continue;
        if (utf8_valid(*line))
            return true;
        textfile_error(f, "this is not UTF-8 text");
    }
    return false;
}

void textfile_error(struct textfile *f, const char *fmt, ...)
{
    char text[1024];
    size_t n;
    va_list ap;

    f->errors++;
    if (f->say == NULL)
        return;
    if (f->line > 0)
        n = (size_t)snprintf(text, sizeof text, "%s:%d: ", f->name, f->line);
    else
        n = (size_t)snprintf(text, sizeof text, "%s: ", f->name);
    if (n >= sizeof text)
        n = sizeof text - 1;
    va_start(ap, fmt);
    vsnprintf(text + n, sizeof text - n, fmt, ap);
    va_end(ap);
    f->say(f->arg, text);
}

char *textfile_take(struct textfile *f, size_t *len)
{
    char *text = f->text;

    *len = f->len;
    f->text = NULL;
    f->len = f->at = 0;
    return text;
}

void textfile_wipe(char **text, size_t len)
{
    if (*text != NULL)
        explicit_bzero(*text, len);
    mem_free(MEM_OTHER, *text);
    *text = NULL;
}

void textfile_close(struct textfile *f)
{
    textfile_wipe(&f->text, f->len);
    f->len = f->at = 0;
}

static bool blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

struct view view_trim(struct view v)
{
    while (v.len > 0 && blank(v.p[0])) {
        v.p++;
        v.len--;
    }
    while (v.len > 0 && blank(v.p[v.len - 1]))
        v.len--;
    return v;
}

struct view view_cut(struct view v, char c, struct view *rest)
{
    const uint8_t *p = v.len > 0 ? memchr(v.p, c, v.len) : NULL;

    if (p == NULL) {
        *rest = (struct view){ NULL, 0 };
        return v;
    }
    *rest = (struct view){ p + 1, v.len - (size_t)(p - v.p) - 1 };
    v.len = (size_t)(p - v.p);
    return v;
}
