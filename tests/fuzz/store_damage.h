/* Real stores, made by the broker itself, and what can happen to their files.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_TESTS_STORE_DAMAGE_H
#define CADDIS_TESTS_STORE_DAMAGE_H

#include "lab.h"

#include <sqlite3.h>

enum { STORE_DB, STORE_WAL, STORE_FILES };

/* A store at rest: its database and its write-ahead log. */
struct store_image {
    struct { uint8_t *p; size_t len; } file[STORE_FILES];
};

/* SMALL: everything that a store can hold, in the database alone. KILLED: the same, all of it still in the log.
 * LARGE: trees of several levels, payloads over several pages. AGAIN: a second run, in the log, over a first in the
 * database. */
enum store_kind { STORE_SMALL, STORE_KILLED, STORE_LARGE, STORE_AGAIN, STORE_KINDS };

/* Made once and kept. When its last run was on the lab's wall clock: store_wall_ms. */
const struct store_image *store_made(enum store_kind kind);
extern const int64_t store_wall_ms;

/* Writes it to PATH and PATH-wal (none if empty), and takes away what else is there. */
void store_write(const struct store_image *s, const char *path);
/* false: there is none at all. */
bool store_read(struct store_image *s, const char *path);
void store_free(struct store_image *s);
/* The first one or both of the files. */
bool store_same(const struct store_image *a, const struct store_image *b, unsigned files);

/* Does to the store at path what the bytes say. *raw: bytes were changed, not only rows. */
void store_damage(struct reader *r, const char *path, bool *raw);
/* The tables that hold the broker's state; NULL at the end. */
extern const char *const store_tables[];

#endif
