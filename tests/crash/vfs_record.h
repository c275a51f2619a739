/* A file system for SQLite that writes down what is written, cut to size, made durable and deleted, so that a test
 * can ask what would be left if the power had failed in between. Nothing is really made durable: the test need not
 * wait.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_TESTS_CRASH_VFS_RECORD_H
#define CADDIS_TESTS_CRASH_VFS_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum record_what { RECORD_CREATE, RECORD_WRITE, RECORD_TRUNCATE, RECORD_SYNC, RECORD_DELETE, RECORD_MARK };

struct record {
    enum record_what what;
    char suffix[16];        /* of the file, after the path of the store: "", "-wal", "-journal"; "/": the directory */
    int64_t offset;         /* or size, or the number of a mark */
    void *data;             /* ours */
    size_t len;
};

/* Becomes SQLite's default. Files whose names begin with `store` are recorded. */
void vfs_record_install(void);
/* The records of what is there already come first, made durable. How many those are. */
unsigned vfs_record_start(const char *store);
void vfs_record_stop(void);
/* What passes neither through SQLite nor through fsync() and fdatasync(), which this replaces for the whole
 * program. */
void vfs_record_add(enum record_what what, const char *suffix, int64_t number);

extern struct record *vfs_records;
extern unsigned vfs_record_count;

/* Writes to `store` (which must not exist) what is left after the first n records: of what no sync has covered all,
 * nothing, or a part that `luck` chooses, down to sectors. */
enum vfs_fate { FATE_ALL, FATE_NOTHING, FATE_LUCK };
void vfs_record_replay(unsigned n, enum vfs_fate fate, uint64_t luck, const char *store);

#endif
