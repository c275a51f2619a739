/* From a path to a store that can be relied on, or a text that says what is wrong and what would help.
 *
 * Nothing is touched before it is known to be ours: what is foreign or newer is refused, what is damaged is refused
 * or, on request, moved aside as it is.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "persist/db.h"
#include "persist/schema.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum {
    CHECK_BYTES = 8 << 20,          /* a second on a small board */
    PROGRESS_STEPS = 200000,        /* of SQLite's machine: some milliseconds */
    STORE_MODE = 0640,              /* payloads are nobody else's business, but a group may be let in */
};

static char *name_of(const char *path, const char *suffix)
{
    char *name;

    return asprintf(&name, "%s%s", path, suffix) < 0 ? NULL : name;
}

static int64_t size_of(const char *path, const char *suffix)
{
    char *name = name_of(path, suffix);
    struct stat st;
    int64_t size = name != NULL && stat(name, &st) == 0 ? (int64_t)st.st_size : -1;

    free(name);
    return size;
}

__attribute__((format(printf, 2, 3)))
static bool refuse(char **why, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    if (vasprintf(why, format, ap) < 0)
        *why = NULL;
    va_end(ap);
    return false;
}

/* ---- what must hold before SQLite is asked ---- */

static bool directory_fits(const char *path, char **why)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash == NULL ? strdup(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
    struct stat st;
    bool ok = true;

    if (dir == NULL)
        return refuse(why, "store %s: no memory", path);
    if (stat(dir, &st) < 0)
        ok = refuse(why, "store %s: directory %s: %s; create it and give it to the user that runs caddis", path, dir,
                    strerror(errno));
    else if (!S_ISDIR(st.st_mode))
        ok = refuse(why, "store %s: %s is not a directory; name another path", path, dir);
    else if (access(dir, W_OK | X_OK) < 0)
        ok = refuse(why, "store %s: directory %s: %s; the log of the store is written there too: make it writable "
                    "for the user that runs caddis, or name another path", path, dir, strerror(errno));
    free(dir);
    return ok;
}

/* The lock is on a file of its own: closing any descriptor of the database would drop SQLite's locks on it. */
static bool take_lock(struct persist *p, char **why)
{
    char *name = name_of(p->o.path, ".lock"), pid[32] = "";
    ssize_t n;
    int len;

    /* Where there is one, caddis has been before. */
    p->had_lock = name != NULL && access(name, F_OK) == 0;
    p->lock_fd = name != NULL ? open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, STORE_MODE) : -1;
    if (p->lock_fd < 0) {
        refuse(why, "store %s: %s: %s; the user that runs caddis must be able to write it", p->o.path,
               name != NULL ? name : ".lock", strerror(errno));
        free(name);
        return false;
    }
    free(name);
    if (flock(p->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        int error = errno;
        n = pread(p->lock_fd, pid, sizeof pid - 1, 0);
        pid[n > 0 ? n : 0] = '\0';
        pid[strcspn(pid, "\n")] = '\0';
        if (error != EWOULDBLOCK)
            return refuse(why, "store %s: the lock file can't be locked: %s", p->o.path, strerror(error));
        return refuse(why, "store %s: in use by process %s; stop that broker, or give this one a store of its own",
                      p->o.path, pid[0] != '\0' ? pid : "(unknown)");
    }
    pair_read(p);
    /* Only a hint for the text above. */
    len = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(p->lock_fd, 0) == 0 && pwrite(p->lock_fd, pid, (size_t)len, 0) < 0)
        return refuse(why, "store %s: the lock file can't be written: %s", p->o.path, strerror(errno));
    if (p->pair.damaged)
        pair_note_damage(p);
    return true;
}

/* Puts PATH.new in its place when a rescue or a salvage died just before that. */
static bool finish_install(const char *path, char **why)
{
    char moved[512];

    if (size_of(path, "") >= 0 || size_of(path, ".new") < 0)
        return true;
    return db_install(path, "corrupt", moved, sizeof moved, why) == 0;
}

static bool log_alone(struct persist *p)
{
    if (!db_log_alone(p->o.path))
        return false;
    snprintf(p->error, sizeof p->error, "store %s: empty or gone, but %s-wal is there", p->o.path, p->o.path);
    return true;
}

/* *state: DB_DAMAGED if what lies there can't be given to SQLite, else DB_READY. */
static bool file_fits(struct persist *p, struct persist_open_info *info, bool *created, enum db_state *state,
                      char **why)
{
    struct stat st;
    int fd;

    *state = DB_READY;
    *created = false;
    if (!finish_install(p->o.path, why) || !pair_check(p, info->stale_log, sizeof info->stale_log, why))
        return false;
    if (stat(p->o.path, &st) == 0 && !S_ISREG(st.st_mode))
        return refuse(why, "store %s: not a regular file; name another path", p->o.path);
    if (log_alone(p)) {
        *state = DB_DAMAGED;
        return true;
    }
    if (size_of(p->o.path, "") >= 0)
        return true;
    /* Before SQLite does it, for the mode; the log and its index take theirs from it. */
    fd = open(p->o.path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, STORE_MODE);
    if (fd < 0)
        return refuse(why, "store %s: %s; its directory must be writable for the user that runs caddis", p->o.path,
                      strerror(errno));
    close(fd);
    *created = true;
    return true;
}

/* ---- in what state it is ---- */

static enum db_state examine(struct persist *p)
{
    int64_t size = size_of(p->o.path, "");

    if (!stmt_check_all(p))
        return sqlite3_errcode(p->db) == SQLITE_NOMEM || p->tx_rc == PERSIST_BUSY ? DB_UNUSABLE : DB_DAMAGED;
    if (p->o.check || p->pair.damaged || size < CHECK_BYTES)
        return db_check(p);
    return DB_READY;
}

/* A store on a file system that has become read-only opens without a word, and so does BEGIN; only a write tells. A
 * full disk is no reason to stay away: what is stored can be delivered, and that makes room. */
static bool can_write(struct persist *p, char **why)
{
    char sql[64], name[64];
    int rc, pid;

    snprintf(sql, sizeof sql, "BEGIN IMMEDIATE; PRAGMA user_version = %d; COMMIT", SCHEMA_VERSION);
    rc = db_exec(p->db, sql);
    if (rc == SQLITE_OK)
        return true;
    if (db_fail(p, rc, "write") == PERSIST_FULL)
        return true;
    if (p->tx_rc == PERSIST_BUSY && persist_blocker(p, &pid, name))
        return refuse(why, "store %s: locked by process %d (%s); let it finish", p->o.path, pid, name);
    return refuse(why, "%s; the user that runs caddis must be able to write it", p->error);
}

/* A migration under way. */
struct migration {
    const struct persist *p;
    const char *copy;           /* being written; NULL: it is done */
    unsigned done, total;       /* steps */
};

/* Called by SQLite now and then. */
static int on_progress(void *arg)
{
    const struct migration *m = arg;
    const struct persist_options *o = &m->p->o;
    int64_t written = m->copy != NULL ? size_of(m->copy, "") : 0;

    if (o->progress == NULL)
        return 0;
    if (m->copy != NULL)
        o->progress(o->progress_arg, "copying the store, which has to be brought up to date",
                    written > 0 ? (uint64_t)written : 0, (uint64_t)size_of(o->path, ""));
    else
        o->progress(o->progress_arg, "bringing the store up to date", m->done, m->total);
    return 0;
}

static void on_step(void *arg, unsigned done, unsigned total)
{
    struct migration *m = arg;

    m->done = done;
    m->total = total;
    on_progress(m);
}

static bool migrate(struct persist *p, struct persist_open_info *info, char **why)
{
    struct migration m = { .p = p, .copy = info->backup };
    char date[32];
    bool copied;
    int rc;

    info->migrated_from = db_version(p);
    db_date(date);
    snprintf(info->backup, sizeof info->backup, "%s.v%d-%s", p->o.path, info->migrated_from, date);
    sqlite3_progress_handler(p->db, PROGRESS_STEPS, on_progress, &m);
    on_progress(&m);
    copied = persist_backup(p, info->backup, why) == PERSIST_OK;
    m.copy = NULL;
    rc = copied ? schema_migrate(p->db, schema_steps, schema_step_count, SCHEMA_VERSION, on_step, &m) : SQLITE_OK;
    sqlite3_progress_handler(p->db, 0, NULL, NULL);
    if (!copied) {
        char *inner = *why;
        refuse(why, "store %s: has to be brought up to date, but the copy that must be made first failed: %s",
               p->o.path, inner != NULL ? inner : "no memory");
        free(inner);
        return false;
    }
    if (rc == SQLITE_OK)
        return true;
    db_fail(p, rc, "bring up to date");
    return refuse(why, "%s; the store as it was is in %s", p->error, info->backup);
}

static bool create(struct persist *p, char **why)
{
    int rc = schema_create(p->db);

    if (rc == SQLITE_OK)
        return true;
    db_fail(p, rc, "create");
    return refuse(why, "%s", p->error);
}

/* ---- all of it ---- */

static bool refuse_damaged(struct persist *p, char **why)
{
    return refuse(why, "%s: the store is damaged. The next start of the broker makes a new one of what can be read and "
                  "keeps this one. To restore a copy instead, move %s-wal and %s-shm away with it", p->error, p->o.path,
                  p->o.path);
}

/* The last copy that a newer caddis made of a store of this version before it changed it: migrate() names it so. */
static bool find_copy(const char *path, char *copy, size_t size)
{
    const char *slash = strrchr(path, '/'), *base = slash != NULL ? slash + 1 : path;
    int before = (int)(base - path);
    char *dir = slash != NULL ? strndup(path, (size_t)(before > 1 ? before - 1 : 1)) : strdup(".");
    DIR *d = dir != NULL ? opendir(dir) : NULL;
    struct dirent *e;
    char start[300];

    *copy = '\0';
    snprintf(start, sizeof start, "%s.v%d-", base, SCHEMA_VERSION);
    while (d != NULL && (e = readdir(d)) != NULL)
        if (strncmp(e->d_name, start, strlen(start)) == 0 && strchr(e->d_name + strlen(base) + 1, '.') == NULL &&
            (*copy == '\0' || strcmp(e->d_name, copy + before) > 0))
            snprintf(copy, size, "%.*s%s", before, path, e->d_name);
    if (d != NULL)
        closedir(d);
    free(dir);
    return *copy != '\0';
}

static bool refuse_newer(struct persist *p, char **why)
{
    char copy[768];

    if (find_copy(p->o.path, copy, sizeof copy))
        return refuse(why, "store %s: written by a newer caddis (schema %d, this one knows %d); use that one, or put %s "
                      "in its place, a copy from before, which lacks what came since: see UPGRADING in caddis(8)",
                      p->o.path, db_version(p), SCHEMA_VERSION, copy);
    return refuse(why, "store %s: written by a newer caddis (schema %d, this one knows %d); use that one, or give this "
                  "one a store of its own", p->o.path, db_version(p), SCHEMA_VERSION);
}

/* False: refused. On true *state is DB_READY or DB_DAMAGED. */
static bool settle(struct persist *p, enum db_state *state, bool *created, struct persist_open_info *info, char **why)
{
    switch (*state) {
    case DB_NEW:
        *created = true;
        if (!create(p, why))
            return false;
        *state = DB_READY;
        break;
    case DB_OLDER:
        *state = db_check(p);         /* the copy that is made first needs every page too */
        if (*state == DB_READY && !migrate(p, info, why))
            return false;
        break;
    case DB_NEWER:
        return refuse_newer(p, why);
    case DB_FOREIGN:
        return refuse(why, "store %s: a database of another program; name another path", p->o.path);
    case DB_UNUSABLE:
        return refuse(why, "%s%s", p->error, strstr(p->error, strerror(ENOSPC)) != NULL ? "; make room there" : "");
    case DB_READY:
    case DB_DAMAGED:
        break;
    }
    if (*state == DB_READY)
        *state = examine(p);
    return *state != DB_UNUSABLE || refuse(why, "%s", p->error);
}

/* What is not ours or not whole stays as it is, its log included. */
static void leave_alone(struct persist *p)
{
    if (p->db != NULL)
        sqlite3_db_config(p->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
}

/* The damaged one goes aside, and one with its readable rows takes its place. */
static bool salvage(struct persist *p, struct persist_open_info *info, char **why)
{
    bool created;
    enum db_state state;

    leave_alone(p);
    db_disconnect(p);
    if (salvage_build(&p->o, info, why) < 0)
        return false;
    if (db_install(p->o.path, "corrupt", info->moved_to, sizeof info->moved_to, why) < 0)
        return false;
    state = db_connect(p, false);
    return settle(p, &state, &created, info, why) &&
           (state == DB_READY || refuse(why, "%s, after salvage", p->error));
}

static bool open_for_tools(struct persist *p, char **why)
{
    if (log_alone(p))
        return refuse_damaged(p, why);
    switch (db_connect(p, true)) {
    case DB_READY:
        return stmt_check_all(p) || refuse_damaged(p, why);
    case DB_NEW:
        return refuse(why, "store %s: empty", p->o.path);
    case DB_OLDER:
        return refuse(why, "store %s: of an older caddis (schema %d); start the broker once, which brings it up to "
                      "date", p->o.path, db_version(p));
    case DB_NEWER:
        return refuse(why, "store %s: written by a newer caddis (schema %d, this one knows %d)", p->o.path,
                      db_version(p), SCHEMA_VERSION);
    case DB_FOREIGN:
        return refuse(why, "store %s: a database of another program", p->o.path);
    case DB_DAMAGED:
        return refuse_damaged(p, why);
    case DB_UNUSABLE:
        break;
    }
    return refuse(why, "%s", p->error);
}

static bool open_for_broker(struct persist *p, struct persist_open_info *info, bool *created, char **why)
{
    enum db_state state;
    int rc;

    if (!directory_fits(p->o.path, why) || !take_lock(p, why) || !file_fits(p, info, created, &state, why))
        return false;
    if (state == DB_READY)
        state = db_connect(p, false);
    if (!settle(p, &state, created, info, why))
        return false;
    if (state == DB_DAMAGED) {
        if (!p->had_lock && p->db != NULL && sqlite3_errcode(p->db) == SQLITE_NOTADB)
            return refuse(why, "store %s: not a database, and no store has been here; name another path, or move it "
                          "away", p->o.path);
        if (!p->o.salvage)
            return refuse_damaged(p, why);
        if (!salvage(p, info, why))
            return false;
    }
    if (!can_write(p, why))
        return false;
    /* Only people read them: not worth staying away for. */
    rc = schema_refresh_views(p->db);
    if (rc != SQLITE_OK)
        db_fail(p, rc, "views");
    pair_note(p);
    sync_init(p);
    run_look_back(p);
    info->unclean = p->last_run_id > 0 && strcmp(p->previous_end, "clean") != 0;
    sqlite3_busy_timeout(p->db, 0);
    return true;
}

enum persist_open_rc persist_open(const struct persist_options *o, struct persist **out,
                                  struct persist_open_info *info, char **why)
{
    struct persist *p = calloc(1, sizeof *p);
    bool created = false;

    *out = NULL;
    *why = NULL;
    *info = (struct persist_open_info){ .moved_to = "" };
    if (p == NULL)
        return PERSIST_REFUSED;
    p->o = *o;
    p->o.path = strdup(o->path);
    p->lock_fd = p->wal_fd = p->sync.event_fd = -1;
    p->unsynced = true;         /* a run that was killed may have left commits that no sync covered */
    p->previous_end = "first";
    p->position_max = ROW_ID_MAX;
    if (p->o.path == NULL || !(o->read_only ? open_for_tools(p, why) : open_for_broker(p, info, &created, why))) {
        leave_alone(p);
        persist_close(&p);
        return PERSIST_REFUSED;
    }
    p->error[0] = '\0';
    *out = p;
    return info->moved_to[0] != '\0' ? PERSIST_SALVAGED : created ? PERSIST_CREATED : PERSIST_OPENED;
}

void persist_close(struct persist **pp)
{
    struct persist *p = *pp;

    *pp = NULL;
    if (p == NULL)
        return;
    assert(p->reading == 0);
    if (p->db != NULL && p->lock_fd >= 0) {
        persist_rollback(p);
        run_end(p);
    }
    sync_fini(p);
    if (p->pair.damaged)
        leave_alone(p);
    db_disconnect(p);
    if (p->lock_fd >= 0)
        close(p->lock_fd);
    free((char *)p->o.path);
    free(p);
}
