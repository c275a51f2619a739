/* The file format: lines, comments, sections, values that go on in the next line. inih splits keys from values.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_CONFIG_READ_H
#define CADDIS_BROKER_CONFIG_READ_H

#include <stdbool.h>
#include <stddef.h>

/* Texts are borrowed for the call. `line` counts from 1; 0 speaks about the file as a whole. */
struct config_events {
    void *arg;
    /* name: what stands between the brackets. NULL: the heading was bad (and `problem` was called); skip its keys. */
    void (*section)(void *arg, int line, char *name);
    void (*pair)(void *arg, int line, const char *key, char *value);
    void (*problem)(void *arg, int line, const char *text);
};

void config_read_text(const char *text, size_t len, const struct config_events *ev);

/* The whole file, malloc'ed, NUL-terminated. NULL: *why says what is wrong ("is a directory"); static or in buf. */
char *config_read_file(const char *path, size_t *len, const char **why);

#endif
