/* Housekeeping: checkpoints, numbers, copies, and what others do to our files.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "persist/db.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    VACUUM_PAGES = 256,         /* given back in one go, and not worth it below */
    SHM_WRITE_LOCK = 120,       /* bytes of the -shm file that SQLite locks: see its file format, section 4.2 */
    SHM_READ_FIRST = 123,
    SHM_READ_LAST = 127,
};

/* ---- checkpoints ---- */

/* Bytes this process has given to write(). -1: the kernel does not count. */
static int64_t written_so_far(void)
{
    char text[512];
    const char *at;
    int fd = open("/proc/self/io", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;

    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    at = strstr(text, "wchar: ");
    return at != NULL ? strtoll(at + 7, NULL, 10) : -1;
}

/* After a backlog the file is larger than it need be. Every page given back may mean another one moved, so it waits
 * until few are left in use, and does a few at a time: this is the broker's own thread. */
static void give_back(struct persist *p)
{
    int64_t unused = db_int(p->db, "PRAGMA freelist_count", 0, NULL);
    char sql[64];

    if (unused < VACUUM_PAGES || unused < db_int(p->db, "PRAGMA page_count", 0, NULL) / 4 * 3)
        return;
    snprintf(sql, sizeof sql, "PRAGMA incremental_vacuum(%d)", VACUUM_PAGES);
    if (db_exec(p->db, sql) == SQLITE_OK)
        p->unsynced = true;
    else if (!sqlite3_get_autocommit(p->db))
        db_exec(p->db, "ROLLBACK");
}

enum persist_rc persist_checkpoint(struct persist *p, bool force)
{
    int in_wal = 0, moved = 0, rc;
    int64_t before, after;

    assert(p->tx == TX_NONE && p->reading == 0);
    if (p->sync.failed)
        return PERSIST_IO;
    if (!force && p->wal_frames < p->checkpoint_at)
        return PERSIST_OK;
    give_back(p);
    before = written_so_far();
    rc = sqlite3_wal_checkpoint_v2(p->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &in_wal, &moved);
    if (rc != SQLITE_OK)
        return db_fail(p, rc, "checkpoint");
    after = written_so_far();
    /* Where the kernel does not count: no more than this. */
    p->stats.bytes_written += before >= 0 && after >= before ? (uint64_t)(after - before) : (uint64_t)moved * DB_PAGE;
    p->stats.checkpoints++;
    /* If all of it was moved, the next commit begins the log anew, which on_wal() sees. If a reader held it back, the
     * next try is worth while when there is as much again. */
    p->checkpoint_at = (unsigned)(in_wal > 0 ? in_wal : 0) + DB_CHECKPOINT_FRAMES;
    return PERSIST_OK;
}

void persist_stats(struct persist *p, struct persist_stats *out)
{
    struct stat st;

    *out = p->stats;
    out->file_bytes = stat(p->o.path, &st) == 0 ? (uint64_t)st.st_size : 0;
    out->wal_bytes = p->wal_fd >= 0 && fstat(p->wal_fd, &st) == 0 ? (uint64_t)st.st_size : 0;
    out->memory_bytes = persist_memory_bytes();
}

uint64_t persist_memory_bytes(void)
{
    return (uint64_t)sqlite3_memory_used();
}

/* ---- copies ---- */

static enum persist_rc tell(struct persist *p, char **why, enum persist_rc rc)
{
    *why = strdup(p->error);
    return rc;
}

enum persist_rc persist_backup(struct persist *p, const char *to, char **why)
{
    sqlite3_stmt *st = NULL;
    enum persist_rc result;
    int fd, rc;

    assert(p->tx != TX_OPEN);
    *why = NULL;
    /* Made by us for its mode; SQLite takes an empty file for a new one. */
    fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (fd < 0) {
        snprintf(p->error, sizeof p->error, "copy to %s: %s", to, strerror(errno));
        return tell(p, why, errno == ENOSPC || errno == EDQUOT ? PERSIST_FULL : PERSIST_IO);
    }
    close(fd);
    rc = sqlite3_prepare_v2(p->db, "VACUUM INTO ?", -1, &st, NULL);
    if (rc == SQLITE_OK) {
        sqlite3_bind_text(st, 1, to, -1, SQLITE_STATIC);
        rc = sqlite3_step(st);
    }
    sqlite3_finalize(st);
    if (rc == SQLITE_DONE && (db_sync_file(to) < 0 || db_sync_dir(to) < 0)) {
        snprintf(p->error, sizeof p->error, "copy to %s: %s", to, strerror(errno));
        result = PERSIST_IO;
    } else if (rc != SQLITE_DONE) {
        char doing[300];
        snprintf(doing, sizeof doing, "copy to %s", to);
        result = db_fail(p, rc, doing);
    } else {
        return PERSIST_OK;
    }
    unlink(to);
    return tell(p, why, result);
}

/* ---- others at our files ---- */

static bool same_file(const char *path, const char *suffix, const struct stat *ours)
{
    char *name = sqlite3_mprintf("%s%s", path, suffix);
    struct stat st;
    bool same = name != NULL && stat(name, &st) == 0 && st.st_ino == ours->st_ino && st.st_dev == ours->st_dev;

    sqlite3_free(name);
    return same;
}

bool persist_moved(struct persist *p)
{
    struct stat wal;
    int moved = 0;

    if (sqlite3_file_control(p->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK && moved != 0)
        return true;
    if (p->wal_fd >= 0 && fstat(p->wal_fd, &wal) == 0 && !same_file(p->o.path, "-wal", &wal))
        return true;
    return p->shm.st_ino != 0 && !same_file(p->o.path, "-shm", &p->shm);
}

/* One line of /proc/locks: "12: POSIX ADVISORY READ 20196 fe:00:1234 123 123". The process, if it holds what keeps
 * us from writing or checkpointing; else 0. */
static int holder(const char *line, uint64_t inode)
{
    unsigned long long ino, from, to;
    char kind[8];
    int pid;

    if (sscanf(line, "%*s POSIX %*s %7s %d %*x:%*x:%llu %llu %llu", kind, &pid, &ino, &from, &to) != 5)
        return 0;
    if (ino != inode || pid <= 0 || pid == getpid())
        return 0;
    if (strcmp(kind, "WRITE") == 0)
        return from <= SHM_WRITE_LOCK && to >= SHM_WRITE_LOCK ? pid : 0;
    return from <= SHM_READ_LAST && to >= SHM_READ_FIRST ? pid : 0;
}

static void name_process(int pid, char name[64])
{
    char path[64];
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "/proc/%d/comm", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd >= 0 ? read(fd, name, 63) : 0;
    if (fd >= 0)
        close(fd);
    name[n > 0 ? n : 0] = '\0';
    name[strcspn(name, "\n")] = '\0';
    if (name[0] == '\0')
        snprintf(name, 64, "unknown");
}

bool persist_blocker(struct persist *p, int *pid, char name[64])
{
    char line[256];
    FILE *f = p->shm.st_ino != 0 ? fopen("/proc/locks", "re") : NULL;

    *pid = 0;
    if (f == NULL)
        return false;
    while (*pid == 0 && fgets(line, sizeof line, f) != NULL)
        *pid = holder(line, p->shm.st_ino);
    fclose(f);
    if (*pid == 0)
        return false;
    name_process(*pid, name);
    return true;
}

/* ---- messages of nobody ---- */

struct ids {
    int64_t *v;
    unsigned n;
};

static int give_id(struct row *r, void *arg)
{
    struct ids *ids = arg;

    ids->v[ids->n++] = sqlite3_column_int64(r->st, 0);
    return 0;
}

static int by_id(const void *a, const void *b)
{
    int64_t x, y;

    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    x = x < 0 ? -x : x;
    y = y < 0 ? -y : y;
    return (x > y) - (x < y);
}

/* Found ones are made negative. */
static int give_used(struct row *r, void *arg)
{
    const struct ids *ids = arg;
    int64_t id = sqlite3_column_int64(r->st, 0);
    int64_t *at = id > 0 && ids->n > 0 ? bsearch(&id, ids->v, ids->n, sizeof id, by_id) : NULL;

    if (at != NULL && *at > 0)
        *at = -*at;
    return 0;
}

/* A list of all referenced ids could be larger than the memory; so a few messages are looked for in the whole
 * queue. */
enum persist_rc persist_sweep(struct persist *p, unsigned budget, unsigned *swept)
{
    struct ids ids = { malloc(((size_t)budget + 1) * sizeof(int64_t)), 0 };
    sqlite3_stmt *list = stmt_change(p, STMT_EACH_MESSAGE_ID), *used = stmt_get(p, STMT_EACH_QUEUE_MESSAGE);
    enum persist_rc rc = PERSIST_BUSY;

    *swept = 0;
    if (ids.v != NULL && list != NULL && used != NULL) {
        sqlite3_bind_int64(list, 1, p->sweep_after);
        sqlite3_bind_int64(list, 2, budget);
        rc = stmt_each(p, list, give_id, &ids);
        if (rc == PERSIST_OK && ids.n > 0)
            rc = stmt_each(p, used, give_used, &ids);
        p->sweep_after = ids.n > 0 ? llabs(ids.v[ids.n - 1]) : 0;
        for (unsigned i = 0; rc == PERSIST_OK && i < ids.n; i++) {
            if (ids.v[i] < 0)
                continue;
            rc = stmt_run_ints(p, STMT_MESSAGE_DEL, 1, ids.v[i]);
            ++*swept;
        }
    } else if (list == NULL || used == NULL) {
        rc = p->tx_rc;
    }
    free(ids.v);
    return rc;
}
