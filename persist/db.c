/* The connection: how it is set up, its transactions, its failures.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "persist/db.h"

#include "persist/schema.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    OPEN_BUSY_MS = 2000,
    CACHE_DEFAULT = 128 << 10,
    /* A reader that holds the log back must not fill the disk with it. */
    WAL_MOST = 256 << 20,
    WAL_LEAST = 16 << 20,
};

/* ---- errors ---- */

const char *persist_error(const struct persist *p)
{
    return p->error;
}

static enum persist_rc rc_of(int rc, int error)
{
    switch (rc & 0xFF) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return PERSIST_OK;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_NOMEM:
    case SQLITE_INTERRUPT:
        return PERSIST_BUSY;
    case SQLITE_FULL:
        return PERSIST_FULL;
    case SQLITE_IOERR:
        /* SQLite takes ENOSPC for a full disk, but a quota and a file size limit for failing devices. */
        return rc == SQLITE_IOERR_NOMEM ? PERSIST_BUSY
               : error == EDQUOT || error == EFBIG || error == ENOSPC ? PERSIST_FULL : PERSIST_IO;
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
        return PERSIST_IO;
    default:
        return PERSIST_BROKEN;
    }
}

enum persist_rc db_fail(struct persist *p, int rc, const char *doing)
{
    /* SQLite does not keep the errno of a COMMIT. What runs between sets errno only if it fails too. */
    int known = p->db != NULL ? sqlite3_system_errno(p->db) : 0;
    int error = (rc & 0xFF) == SQLITE_IOERR || (rc & 0xFF) == SQLITE_CANTOPEN ? (known != 0 ? known : errno) : 0;
    enum persist_rc mapped = rc_of(rc, error);

    snprintf(p->error, sizeof p->error, "store %s: %s: %s%s%s (%d)", p->o.path, doing, sqlite3_errmsg(p->db),
             error != 0 ? ": " : "", error != 0 ? strerror(error) : "", rc);
    /* Some failures roll back by themselves, some do not. */
    if (!sqlite3_get_autocommit(p->db))
        db_exec(p->db, "ROLLBACK");
    if (p->tx == TX_OPEN)
        p->tx = TX_FAILED;
    p->tx_rc = mapped;
    if (mapped == PERSIST_BROKEN && !p->pair.damaged)
        pair_note_damage(p);
    return mapped;
}

int db_exec(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

int64_t db_int(sqlite3 *db, const char *sql, int64_t none, int *rc)
{
    sqlite3_stmt *st = NULL;
    int64_t v = none;
    int result = sqlite3_prepare_v2(db, sql, -1, &st, NULL);

    if (result == SQLITE_OK) {
        result = sqlite3_step(st);
        if (result == SQLITE_ROW)
            v = sqlite3_column_int64(st, 0);
        if (result == SQLITE_ROW || result == SQLITE_DONE)
            result = SQLITE_OK;
    }
    sqlite3_finalize(st);
    if (rc != NULL)
        *rc = result;
    return v;
}

int64_t db_now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t db_mono_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_BOOTTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void db_date(char out[32])
{
    time_t now = time(NULL);
    struct tm tm;

    gmtime_r(&now, &tm);
    strftime(out, 32, "%Y-%m-%dT%H-%M-%SZ", &tm);
}

int db_sync_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc;

    if (fd < 0)
        return -1;
    rc = fsync(fd);
    close(fd);
    return rc;
}

int db_sync_dir(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash == NULL ? strdup(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
    int rc = dir != NULL ? db_sync_file(dir) : -1;

    free(dir);
    return rc;
}

/* ---- connecting ---- */

static int on_wal(void *arg, sqlite3 *db, const char *name, int frames)
{
    struct persist *p = arg;

    (void)db;
    (void)name;
    if ((unsigned)frames < p->wal_frames)
        p->checkpoint_at = DB_CHECKPOINT_FRAMES;    /* it was reset and begins anew */
    p->wal_frames = (unsigned)frames;
    return SQLITE_OK;
}

/* Whatever stands in a file that somebody handed us, it gets no code to run: no triggers, no views, no functions with
 * side effects out of the schema. */
static void harden(sqlite3 *db)
{
    sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_FKEY, 0, NULL);
    db_exec(db, "PRAGMA cell_size_check = ON");
}

static enum db_state state_of(struct persist *p, int rc, const char *doing)
{
    db_fail(p, rc, doing);
    switch (rc & 0xFF) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR:
        return DB_DAMAGED;
    default:
        return DB_UNUSABLE;
    }
}

/* What kind of database is it? Reads the header and the names of the tables. */
static enum db_state look(struct persist *p)
{
    int rc;
    int64_t id = db_int(p->db, "PRAGMA application_id", 0, &rc), version, tables;

    if (rc != SQLITE_OK)
        return state_of(p, rc, "open");
    version = db_int(p->db, "PRAGMA user_version", 0, &rc);
    if (rc != SQLITE_OK)
        return state_of(p, rc, "open");
    tables = db_int(p->db, "SELECT count(*) FROM sqlite_schema", 0, &rc);
    if (rc != SQLITE_OK)
        return state_of(p, rc, "read the schema");
    if (id == 0 && version == 0 && tables == 0)
        return DB_NEW;
    if (id != SCHEMA_APPLICATION_ID)
        return DB_FOREIGN;
    return version > SCHEMA_VERSION ? DB_NEWER : version < SCHEMA_VERSION ? DB_OLDER : DB_READY;
}

static enum db_state check_by(struct persist *p, const char *sql)
{
    sqlite3_stmt *st = NULL;
    enum db_state state = DB_READY;
    int rc = sqlite3_prepare_v2(p->db, sql, -1, &st, NULL);

    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    if (rc != SQLITE_ROW) {
        state = state_of(p, rc, "check");
    } else {
        const char *text = (const char *)sqlite3_column_text(st, 0);
        if (text == NULL || strcmp(text, "ok") != 0) {
            snprintf(p->error, sizeof p->error, "store %s: check: %s", p->o.path, text != NULL ? text : "failed");
            for (char *c = p->error; *c != '\0'; c++)
                *c = *c == '\n' ? ' ' : *c;
            state = DB_DAMAGED;
        }
    }
    sqlite3_finalize(st);
    return state;
}

/* One complaint is enough. quick_check would not see that an index has what its table lacks: a client id that is taken
 * by nobody can't be stored, and no commit succeeds any more. In a schema with views SQLite 3.40 leaves the list of
 * free pages out of a check of everything, but not out of one of the schema. */
enum db_state db_check(struct persist *p)
{
    enum db_state state = check_by(p, "PRAGMA integrity_check(sqlite_master)");

    return state == DB_READY ? check_by(p, "PRAGMA integrity_check(1)") : state;
}

int db_version(const struct persist *p)
{
    return (int)db_int(p->db, "PRAGMA user_version", 0, NULL);
}

static int set_number(sqlite3 *db, const char *pragma, int64_t number)
{
    char sql[80];

    snprintf(sql, sizeof sql, "PRAGMA %s = %lld", pragma, (long long)number);
    return db_exec(db, sql);
}

/* "wal" is what it must be afterwards; the answer is a row, not a code. */
static bool set_wal(struct persist *p, int *rc)
{
    sqlite3_stmt *st = NULL;
    bool wal = false;

    *rc = sqlite3_prepare_v2(p->db, "PRAGMA journal_mode = WAL", -1, &st, NULL);
    if (*rc == SQLITE_OK) {
        *rc = sqlite3_step(st);
        wal = *rc == SQLITE_ROW && strcmp((const char *)sqlite3_column_text(st, 0), "wal") == 0;
        if (*rc == SQLITE_ROW)
            *rc = SQLITE_OK;
    }
    sqlite3_finalize(st);
    return wal;
}

static enum db_state set_up(struct persist *p, enum db_state state)
{
    uint64_t cache = p->o.cache_bytes != 0 ? p->o.cache_bytes : CACHE_DEFAULT;
    int rc = SQLITE_OK, zero = 0;

    /* These two hold only if they come before the first table. INCREMENTAL lets the file shrink after a backlog. */
    if (state == DB_NEW)
        rc = db_exec(p->db, "PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL");
    if (rc == SQLITE_OK && !set_wal(p, &rc) && rc == SQLITE_OK) {
        snprintf(p->error, sizeof p->error, "store %s: this file system does not allow a write-ahead log (a network "
                 "or shared folder?); put the store on a local disk", p->o.path);
        return DB_UNUSABLE;
    }
    if (rc == SQLITE_OK)
        db_int(p->db, "PRAGMA schema_version", 0, &rc);     /* the first read makes the file, if it is a new one */
    /* Changing to a log took a rollback journal. SQLite has deleted it, but if the directory still had it after a
     * power cut, it would undo the change, and with it all that is in the log. */
    if (rc == SQLITE_OK && db_sync_dir(p->o.path) < 0)
        rc = SQLITE_IOERR_DIR_FSYNC;
    if (rc != SQLITE_OK)
        return state_of(p, rc, "open the write-ahead log");
    /* secure_delete is on in Debian's library and would write every freed page. A WAL that is cut and grows again
     * costs nearly three times the bytes of one that is reused. */
    rc = db_exec(p->db, p->o.sync_commit ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
    if (rc == SQLITE_OK)
        rc = db_exec(p->db, "PRAGMA secure_delete = OFF; PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0");
    if (rc == SQLITE_OK)
        rc = set_number(p->db, "journal_size_limit", DB_WAL_KEEP);
    if (rc == SQLITE_OK)
        rc = set_number(p->db, "cache_size", -(int64_t)(cache >> 10 > 0 ? cache >> 10 : 1));
    if (rc == SQLITE_OK && p->o.max_bytes != 0)
        rc = set_number(p->db, "max_page_count", (int64_t)(p->o.max_bytes / DB_PAGE));
    if (rc != SQLITE_OK)
        return state_of(p, rc, "set up");
    p->wal_limit = p->o.max_bytes != 0 && p->o.max_bytes < WAL_MOST ? p->o.max_bytes : WAL_MOST;
    p->wal_limit = p->wal_limit > WAL_LEAST ? p->wal_limit : WAL_LEAST;
    /* A block of the WAL that holds a commit is not written again: on flash a torn write takes the whole block. */
    if (p->o.sync_commit)
        sqlite3_file_control(p->db, "main", SQLITE_FCNTL_POWERSAFE_OVERWRITE, &zero);
    sqlite3_wal_hook(p->db, on_wal, p);
    return state;
}

/* Our own descriptor of the WAL file, before the first write of this process. */
static void open_wal(struct persist *p)
{
    char *name = sqlite3_mprintf("%s-wal", p->o.path);
    char *shm = sqlite3_mprintf("%s-shm", p->o.path);

    p->wal_fd = name != NULL ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    if (shm == NULL || stat(shm, &p->shm) < 0)
        memset(&p->shm, 0, sizeof p->shm);
    sqlite3_free(name);
    sqlite3_free(shm);
}

static int open_harmless(const char *path, bool immutable, sqlite3 **db)
{
    char *uri = malloc(strlen(path) * 3 + 32), *p = uri;
    int rc;

    *db = NULL;
    if (uri == NULL)
        return SQLITE_NOMEM;
    p += sprintf(p, "file:");
    for (const char *s = path; *s != '\0'; s++)
        p += strchr("?#%", *s) != NULL ? sprintf(p, "%%%02X", (unsigned char)*s) : sprintf(p, "%c", *s);
    strcpy(p, immutable ? "?immutable=1" : "");
    rc = sqlite3_open_v2(uri, db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI, NULL);
    free(uri);
    if (rc != SQLITE_OK)
        return rc;
    sqlite3_extended_result_codes(*db, 1);
    harden(*db);
    sqlite3_busy_timeout(*db, OPEN_BUSY_MS);
    db_int(*db, "SELECT count(*) FROM sqlite_schema", 0, &rc);
    return rc;
}

/* A store with a log that nobody has open needs its -shm file made, which takes the right to write the directory. Who
 * may only read is served if the last user closed the store: then everything is in the main file. */
int db_open_read_only(const char *path, sqlite3 **db)
{
    char *wal = sqlite3_mprintf("%s-wal", path);
    int rc = open_harmless(path, false, db), plain = rc & 0xFF;

    if ((plain == SQLITE_CANTOPEN || plain == SQLITE_READONLY) && wal != NULL && access(wal, F_OK) < 0) {
        sqlite3_close(*db);
        rc = open_harmless(path, true, db);
    }
    sqlite3_free(wal);
    return rc;
}

/* SQLite takes a single byte for none: it once wrote one where file systems could not lock empty files. */
bool db_log_alone(const char *path)
{
    char *wal = sqlite3_mprintf("%s-wal", path);
    struct stat st;
    bool alone = (stat(path, &st) < 0 || st.st_size <= 1) && wal != NULL && stat(wal, &st) == 0 && st.st_size > 0;

    sqlite3_free(wal);
    return alone;
}

enum db_state db_connect(struct persist *p, bool read_only)
{
    int rc = read_only ? db_open_read_only(p->o.path, &p->db)
                       : sqlite3_open_v2(p->o.path, &p->db, SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_READWRITE, NULL);
    enum db_state state, whole = DB_READY;

    p->checkpoint_at = DB_CHECKPOINT_FRAMES;
    p->wal_frames = 0;
    p->wal_fd = -1;
    if (rc != SQLITE_OK)
        return state_of(p, rc, "open");
    sqlite3_extended_result_codes(p->db, 1);
    sqlite3_busy_timeout(p->db, OPEN_BUSY_MS);
    harden(p->db);
    state = look(p);
    /* One without tables can be damaged as well, which has to be known before its header is written. */
    if (!read_only && state == DB_NEW)
        whole = db_check(p);
    if (whole != DB_READY)
        return whole;
    if (read_only || (state != DB_NEW && state != DB_READY && state != DB_OLDER))
        return state;
    if (sqlite3_db_readonly(p->db, "main") != 0) {
        snprintf(p->error, sizeof p->error, "store %s: this user may only read it", p->o.path);
        return DB_UNUSABLE;
    }
    state = set_up(p, state);
    if (state != DB_NEW && state != DB_READY && state != DB_OLDER)
        return state;
    open_wal(p);
    if (p->wal_fd < 0) {
        snprintf(p->error, sizeof p->error, "store %s-wal: %s", p->o.path, strerror(errno));
        return DB_UNUSABLE;
    }
    return state;
}

void db_disconnect(struct persist *p)
{
    stmt_finalize_all(p);
    /* After a lost sync the WAL is the only thing known to be whole in memory; a checkpoint would mix it into the
     * rest. */
    if (p->db != NULL && p->sync.failed)
        sqlite3_db_config(p->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_close(p->db);
    p->db = NULL;
    if (p->wal_fd >= 0)
        close(p->wal_fd);
    p->wal_fd = -1;
}

void db_adopt(struct persist *p)
{
    p->wal_frames = 0;
    p->checkpoint_at = DB_CHECKPOINT_FRAMES;
    sqlite3_wal_hook(p->db, on_wal, p);
    sqlite3_busy_timeout(p->db, 0);
}

/* ---- transactions ---- */

/* Has the log grown beyond all reason, and can't it be shortened? */
static bool log_is_stuck(struct persist *p)
{
    int in_wal = 0, moved = 0, pid;
    char name[64];

    if ((uint64_t)p->wal_frames * DB_FRAME < p->wal_limit)
        return false;
    if (sqlite3_wal_checkpoint_v2(p->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &in_wal, &moved) != SQLITE_OK ||
        moved == in_wal)
        return false;
    snprintf(p->error, sizeof p->error, "store %s: the write-ahead log can't grow further, a reader holds it back",
             p->o.path);
    if (persist_blocker(p, &pid, name)) {
        size_t len = strlen(p->error);
        snprintf(p->error + len, sizeof p->error - len, ": process %d (%s)", pid, name);
    }
    return true;
}

enum persist_rc persist_begin(struct persist *p)
{
    sqlite3_stmt *st;
    enum persist_rc rc;

    assert(p->tx != TX_OPEN && !p->o.read_only);
    p->tx = TX_NONE;
    if (p->sync.failed)
        return PERSIST_IO;
    if (log_is_stuck(p))
        return PERSIST_FULL;
    st = stmt_get(p, STMT_BEGIN);
    rc = st != NULL ? stmt_run(p, st) : p->tx_rc;
    if (rc == PERSIST_OK)
        p->tx = TX_OPEN;
    return rc;
}

/* Pages that the transaction wrote into the WAL. */
static void count_written(struct persist *p)
{
    int pages = 0, high = 0;

    if (sqlite3_db_status(p->db, SQLITE_DBSTATUS_CACHE_WRITE, &pages, &high, 1) == SQLITE_OK)
        p->stats.bytes_written += (uint64_t)pages * DB_FRAME;
}

enum persist_rc persist_commit(struct persist *p)
{
    sqlite3_stmt *st;
    enum persist_rc rc;

    assert(p->tx != TX_NONE && p->reading == 0);
    if (p->tx == TX_FAILED) {
        p->tx = TX_NONE;
        return p->tx_rc;
    }
    st = stmt_get(p, STMT_COMMIT);
    rc = st != NULL ? stmt_run(p, st) : p->tx_rc;
    p->tx = TX_NONE;
    count_written(p);
    if (rc != PERSIST_OK)
        return rc;
    p->unsynced = true;
    p->stats.commits++;
    return PERSIST_OK;
}

void persist_shed(struct persist *p)
{
    if (p != NULL)
        sqlite3_db_release_memory(p->db);
}

/* A fraction of the smallest max_size that is of any use. */
enum { RESERVE_PAGES = 16 };

void persist_reserve(struct persist *p, bool use)
{
    if (p->o.max_bytes != 0)
        set_number(p->db, "max_page_count", (int64_t)(p->o.max_bytes / DB_PAGE) + (use ? RESERVE_PAGES : 0));
}

bool persist_full(struct persist *p)
{
    return p->o.max_bytes != 0 && db_int(p->db, "PRAGMA freelist_count", 1, NULL) == 0 &&
           db_int(p->db, "PRAGMA page_count", 0, NULL) >= (int64_t)(p->o.max_bytes / DB_PAGE);
}

void persist_rollback(struct persist *p)
{
    if (!sqlite3_get_autocommit(p->db))
        db_exec(p->db, "ROLLBACK");
    p->tx = TX_NONE;
}
