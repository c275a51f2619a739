/* Rows of the store's views, for people: what `caddis show` prints. Own read-only connection; works beside a running
 * broker and without one, changes nothing.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_PERSIST_SHOW_H
#define CADDIS_PERSIST_SHOW_H

#include <stdbool.h>

struct show_column {
    const char *name;
    const char *text;   /* NULL: no value */
    bool number;
};

/* Runs `SELECT * FROM view`, only the rows whose first column is `first` unless that is NULL. row() gets every row
 * in the view's order; returning anything but 0 ends it. Texts live for the call. 0: done (also when there was no
 * row: then row() is called once with count columns whose text is NULL and empty == true, so that names can be
 * shown). -1: *why is a malloc'ed text with the remedy. */
int persist_show(const char *path, const char *view, const char *first,
                 int (*row)(void *arg, const struct show_column *columns, int count, bool empty), void *arg,
                 char **why);

/* "3.40.1": of the library in use. */
const char *persist_sqlite_version(void);

#endif
