/* Which log belongs to which database. SQLite plays a log that it finds into whatever lies beside it: put a copy of the
 * store in place of one whose broker was killed, and the log that is still there turns it into neither of the two.
 *
 * So the lock file keeps the inode numbers of both. Only where the database is another file and the log still the same
 * is the log a leftover; both are others when a whole directory was copied, and then they belong together.
 *
 * It is also the place for what must be remembered of a store that can't be written any more because it is damaged.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "persist/db.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DAMAGED "damaged\n"

static bool look(const char *path, const char *suffix, struct stat *st)
{
    char *name = sqlite3_mprintf("%s%s", path, suffix);
    bool there = name != NULL && stat(name, st) == 0;

    sqlite3_free(name);
    return there;
}

void pair_read(struct persist *p)
{
    char text[128];
    ssize_t n = pread(p->lock_fd, text, sizeof text - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    if (sscanf(text, "%*d database %llu log %llu", &p->pair.database, &p->pair.log) != 2)
        p->pair.database = p->pair.log = 0;
    p->pair.damaged = strstr(text, DAMAGED) != NULL;
}

void pair_note_damage(struct persist *p)
{
    if (p->lock_fd >= 0 && lseek(p->lock_fd, 0, SEEK_END) >= 0 &&
        write(p->lock_fd, DAMAGED, strlen(DAMAGED)) == (ssize_t)strlen(DAMAGED))
        p->pair.damaged = true;
}

void pair_note(struct persist *p)
{
    struct stat database, log;
    char text[128];
    int len;

    if (p->lock_fd < 0 || !look(p->o.path, "", &database) || !look(p->o.path, "-wal", &log))
        return;
    len = snprintf(text, sizeof text, "%ld\ndatabase %llu\nlog %llu\n", (long)getpid(),
                   (unsigned long long)database.st_ino, (unsigned long long)log.st_ino);
    /* Only a safety net: without it nothing is moved aside. What it said of another database must not come back, though:
     * after a power cut its log could be taken for a leftover. */
    if (ftruncate(p->lock_fd, 0) == 0 && pwrite(p->lock_fd, text, (size_t)len, 0) == len &&
        p->pair.database != 0 && p->pair.database != database.st_ino)
        fdatasync(p->lock_fd);
    p->pair.database = database.st_ino;
    p->pair.log = log.st_ino;
    p->pair.damaged = false;
}

bool pair_check(struct persist *p, char *moved, size_t size, char **why)
{
    struct stat database, log;
    char date[32], *from, *shm;
    bool ok;

    if (p->pair.database == 0 || !look(p->o.path, "", &database) || !look(p->o.path, "-wal", &log) ||
        log.st_size == 0 || database.st_ino == p->pair.database || log.st_ino != p->pair.log)
        return true;
    db_date(date);
    snprintf(moved, size, "%s.stale-%s-wal", p->o.path, date);
    from = sqlite3_mprintf("%s-wal", p->o.path);
    shm = sqlite3_mprintf("%s-shm", p->o.path);
    ok = from != NULL && shm != NULL && (unlink(shm) == 0 || errno == ENOENT) && rename(from, moved) == 0 &&
         db_sync_dir(p->o.path) == 0;
    if (!ok && asprintf(why, "store %s: %s-wal belongs to another file and can't be moved away: %s", p->o.path,
                        p->o.path, strerror(errno)) < 0)
        *why = NULL;
    sqlite3_free(from);
    sqlite3_free(shm);
    return ok;
}
