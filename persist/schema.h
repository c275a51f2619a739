/* The tables and views, and the way from an older version's.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_PERSIST_SCHEMA_H
#define CADDIS_PERSIST_SCHEMA_H

#include <sqlite3.h>

enum {
    SCHEMA_APPLICATION_ID = 0x63616464,     /* "cadd" */
    SCHEMA_VERSION = 2,
};

/* Tables, index, ids: for an empty database, inside a transaction. */
extern const char schema_tables[];
/* DROP and CREATE of every view: nothing is kept in them, so they are made anew when they are not as they should
 * be. */
extern const char schema_views[];

/* Sets queue.bytes of every row from its message; length() of a blob reads no more than its header. */
#define SCHEMA_SET_BYTES \
    "UPDATE queue SET bytes = ifnull((SELECT length(CAST(m.topic AS BLOB)) + length(m.payload) +" \
    " ifnull(length(m.properties), 0) FROM message m WHERE m.message_id = queue.message_id), 0)"

/* One step of a migration: what turns version `from` into from + 1. */
struct schema_step {
    int from;
    const char *sql;
};

/* Each step in a transaction of its own, together with the version it reaches. SQLite's code; on failure the store
 * stands at the version reached before. `progress` may be NULL. */
int schema_migrate(sqlite3 *db, const struct schema_step *steps, unsigned count, int to,
                   void (*progress)(void *arg, unsigned done, unsigned total), void *arg);
extern const struct schema_step schema_steps[];
extern const unsigned schema_step_count;

/* Makes all tables and views in an empty database, in one transaction. */
int schema_create(sqlite3 *db);
/* Makes the views anew if one is missing or reads differently. */
int schema_refresh_views(sqlite3 *db);

#endif
