/* Putting a new store in the place of one that was damaged, deleted or replaced, so that a crash in between leaves
 * either the old one or, at PATH.new, the whole new one, which the next start puts in place.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "persist/db.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *name_of(const char *path, const char *suffix)
{
    return sqlite3_mprintf("%s%s", path, suffix);
}

static bool exists(const char *path)
{
    struct stat st;

    return path != NULL && lstat(path, &st) == 0;
}

/* 0 also when there is nothing to move. */
static int move(const char *path, const char *to, const char *suffix)
{
    char *from = name_of(path, suffix), *dest = name_of(to, suffix);
    int rc = from == NULL || dest == NULL || (exists(from) && rename(from, dest) < 0) ? -1 : 0;

    sqlite3_free(from);
    sqlite3_free(dest);
    return rc;
}

/* PATH.WORD-DATE, with a number if that is taken. */
static bool free_name(const char *path, const char *word, char *name, size_t size)
{
    char date[32];

    db_date(date);
    for (int i = 1; i < 100; i++) {
        int n = i == 1 ? snprintf(name, size, "%s.%s-%s", path, word, date)
                       : snprintf(name, size, "%s.%s-%s.%d", path, word, date, i);
        char *wal = name_of(name, "-wal");
        bool taken = exists(name) || exists(wal);
        sqlite3_free(wal);
        if (n < 0 || (size_t)n >= size)
            return false;
        if (!taken)
            return true;
    }
    return false;
}

/* The database goes first: as soon as it is gone, PATH.new is what counts (see finish_install() in open.c). The log
 * goes with it, or SQLite would replay it into the new one. */
int db_install(const char *path, const char *word, char *moved, size_t moved_size, char **why)
{
    char *fresh = name_of(path, ".new"), *shm = name_of(path, "-shm"), *wal = name_of(path, "-wal");
    bool something = exists(path) || exists(wal);
    int rc = -1;

    if (fresh == NULL || shm == NULL || wal == NULL)
        errno = ENOMEM;
    else if (!free_name(path, word, moved, moved_size))
        errno = ENAMETOOLONG;
    else if (move(path, moved, "") == 0 && move(path, moved, "-wal") == 0)
        rc = (unlink(shm) < 0 && errno != ENOENT) || rename(fresh, path) < 0 || db_sync_dir(path) < 0 ? -1 : 0;
    if (rc < 0 && asprintf(why, "store %s: can't be put in place: %s", path, strerror(errno)) < 0)
        *why = NULL;
    if (!something)
        moved[0] = '\0';
    sqlite3_free(fresh);
    sqlite3_free(shm);
    sqlite3_free(wal);
    return rc;
}

/* What is ours at the path is in the copy; it would only be litter. */
static void remove_ours(struct persist *p)
{
    char *wal = name_of(p->o.path, "-wal");
    struct stat ours, there;
    int moved = 1;

    sqlite3_file_control(p->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
    if (moved == 0)
        unlink(p->o.path);
    if (wal != NULL && fstat(p->wal_fd, &ours) == 0 && stat(wal, &there) == 0 && ours.st_ino == there.st_ino &&
        ours.st_dev == there.st_dev)
        unlink(wal);
    sqlite3_free(wal);
}

static enum persist_rc reopen(struct persist *p, char **why)
{
    struct persist fresh = { .o = p->o, .lock_fd = -1, .wal_fd = -1 };

    if (db_connect(&fresh, false) != DB_READY) {
        *why = strdup(fresh.error);
        db_disconnect(&fresh);
        return PERSIST_IO;
    }
    /* Not into the file that somebody has put there: no last checkpoint. */
    sqlite3_db_config(p->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    db_disconnect(p);
    p->db = fresh.db;
    p->wal_fd = fresh.wal_fd;
    p->shm = fresh.shm;
    db_adopt(p);
    pair_note(p);
    return PERSIST_OK;
}

enum persist_rc persist_rescue(struct persist *p, char **why)
{
    char *fresh = name_of(p->o.path, ".new"), *part = name_of(p->o.path, ".new.part"), moved[512];
    enum persist_rc rc = PERSIST_BUSY;

    assert(p->tx != TX_OPEN && p->reading == 0 && !p->o.read_only);
    *why = NULL;
    if (fresh == NULL || part == NULL)
        goto out;
    unlink(part);
    rc = persist_backup(p, part, why);
    if (rc != PERSIST_OK)
        goto out;
    if (rename(part, fresh) < 0) {
        rc = PERSIST_IO;
        *why = strdup(strerror(errno));
        unlink(part);
        goto out;
    }
    remove_ours(p);
    rc = db_install(p->o.path, "replaced", moved, sizeof moved, why) < 0 ? PERSIST_IO : reopen(p, why);
out:
    sqlite3_free(fresh);
    sqlite3_free(part);
    return rc;
}
