/* The small text files that an operator edits: passwords, access rules, keys. One entry per line, # starts a comment
 * line; UTF-8 with or without a byte order mark, LF or CR LF.
 *
 * Errors are counted and handed out as `FILE:LINE: text`, all of them in one run. What is made from a file with an
 * error in it is thrown away, so that half a file never decides who may come in.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_TEXTFILE_H
#define CADDIS_BROKER_TEXTFILE_H

#include "proto/reader.h"

enum { TEXTFILE_MAX = 64 << 20 };

struct textfile {
    const char *name;           /* in messages; borrowed */
    char *text;                 /* owned; lines are views into it */
    size_t len, at;
    int line;                   /* of the entry given last, from 1 */
    unsigned errors;
    void (*say)(void *arg, const char *line);   /* NULL: nobody listens */
    void *arg;
};

/* Reads the whole file. false: it said why; nothing is kept. */
bool textfile_open(struct textfile *f, const char *path, void (*say)(void *arg, const char *line), void *arg);
/* The same from memory (copied); `name` stands for the file. */
bool textfile_set(struct textfile *f, const char *name, struct view text, void (*say)(void *arg, const char *line),
                  void *arg);
/* The next line that is neither empty nor a comment, without blanks at its end. Lines that are not UTF-8 count as
 * errors and are skipped. */
bool textfile_next(struct textfile *f, struct view *line);
/* The next line whatever it is, without its end; for who copies a file. */
bool textfile_raw(struct textfile *f, struct view *line);
/* An error in the current line (line 0: in the file). */
void textfile_error(struct textfile *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Hands the text over to the caller, who calls textfile_wipe() in the end. Views into it stay good. */
char *textfile_take(struct textfile *f, size_t *len);
void textfile_wipe(char **text, size_t len);
void textfile_close(struct textfile *f);

/* Without blanks on both sides. */
struct view view_trim(struct view v);
/* Cuts at the first c: what is before it; *rest is what follows, p NULL if there is no c. */
struct view view_cut(struct view v, char c, struct view *rest);
static inline struct view view_of(const char *s)
{
    return (struct view){ (const uint8_t *)s, s != NULL ? __builtin_strlen(s) : 0 };
}

#endif
