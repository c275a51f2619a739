/* What the files of persist/ share: the store itself, its errors, its way in.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_PERSIST_DB_H
#define CADDIS_PERSIST_DB_H

#include "persist/persist.h"
#include "persist/stmt.h"

#include <sqlite3.h>
#include <sys/stat.h>

enum {
    DB_PAGE = 4096,             /* a file system block, so that a torn one holds only pages that are in the WAL */
    DB_FRAME = DB_PAGE + 24,    /* a page in the WAL */
    DB_CHECKPOINT_FRAMES = 250, /* below a shell's 1000: a shell that writes never checkpoints beside us */
    DB_WAL_KEEP = 2 << 20,      /* a WAL larger than this is cut after a reset */
};

enum db_tx {
    TX_NONE,
    TX_OPEN,
    TX_FAILED,                  /* rolled back already; persist_commit() will say so */
};

/* fdatasync of the WAL file without waiting: kernel AIO that rings an eventfd. */
struct sync {
    unsigned long aio;          /* context; 0: none */
    int event_fd;               /* -1: no asynchronous sync */
    bool under_way;
    bool submitted;             /* the one under way is in the kernel, not done by ourselves */
    int done_errno;             /* result of the one that is not */
    bool failed;                /* for good: what was lost stays lost */
};

struct persist {
    sqlite3 *db;
    sqlite3_stmt *st[STMT_COUNT];
    enum db_tx tx;
    enum persist_rc tx_rc;
    unsigned reading;           /* callbacks under way */
    struct persist_options o;   /* o.path is ours */
    int lock_fd;                /* -1: read only */
    bool had_lock;              /* the lock file was there already */
    struct {
        unsigned long long database, log;       /* inodes at the last run; 0: not known */
        bool damaged;                           /* has the lock file a word of it? */
    } pair;
    int wal_fd;                 /* -1: none. Open before the first write: errors are told once per descriptor */
    bool unsynced;              /* commits that no sync has covered */
    struct sync sync;
    struct stat shm;            /* of the -shm file when it was opened */

    uint64_t wal_limit;         /* bytes of the log from which nothing is written while a reader holds it back */
    unsigned wal_frames;        /* after the last commit */
    unsigned checkpoint_at;     /* frames from which the next checkpoint is worth while */
    struct persist_stats stats; /* sizes are filled in when asked */
    unsigned dropped_adds;
    int64_t sweep_after;
    int64_t position_max;       /* a queue row behind it is none of ours; see persist_maxima() */

    int64_t run_id;             /* 0: persist_run_start() not called */
    int64_t last_run_id;        /* the run before */
    const char *previous_end;
    char error[640];
};

/* Notes what failed, rolls an open transaction back. rc is SQLite's. */
enum persist_rc db_fail(struct persist *p, int rc, const char *doing);
/* Runs SQL that returns nothing worth reading. SQLite's code. */
int db_exec(sqlite3 *db, const char *sql);
/* First column of the first row; `none` if there is no row or on failure, which *rc tells (may be NULL). */
int64_t db_int(sqlite3 *db, const char *sql, int64_t none, int *rc);
int64_t db_now_ms(void);
/* Since the machine booted. */
int64_t db_mono_ms(void);
/* "eb15a116-...": another after every boot of the machine. "" where there is none. */
void db_boot_id(char out[64]);
/* "2026-11-24T15-59-58Z": for file names. */
void db_date(char out[32]);
/* Makes the names in the directory of path durable. */
int db_sync_dir(const char *path);
/* Opens a file, makes it durable, closes it. Never for a file that SQLite has open. 0 or -1. */
int db_sync_file(const char *path);

/* Connects to o.path and makes everything ready. Used by persist_open() and after a rescue. */
enum db_state {
    DB_READY,
    DB_NEW,         /* an empty database: schema to be made */
    DB_OLDER,       /* schema of an older version */
    DB_NEWER,
    DB_FOREIGN,     /* a database of something else */
    DB_DAMAGED,
    DB_UNUSABLE,    /* not ours to judge: rights, locks, memory */
};
enum db_state db_connect(struct persist *p, bool read_only);
/* Is the database empty or gone, and a log with something in it beside it? SQLite would delete the log as soon as it
 * opens the database, for reading only too, and it may be all that there is. */
bool db_log_alone(const char *path);
/* Reads every page: DB_READY, DB_DAMAGED or DB_UNUSABLE, with p->error. */
enum db_state db_check(struct persist *p);
/* For reading only, whether a broker has it open or not. SQLite's code; *db must be closed in any case. */
int db_open_read_only(const char *path, sqlite3 **db);
int db_version(const struct persist *p);
/* Closes the database and our descriptor of its log; p->sync stays, for another connection. */
void db_disconnect(struct persist *p);
/* After p->db was taken from another struct persist. */
void db_adopt(struct persist *p);

/* Opens sync.event_fd or leaves it -1. */
void sync_init(struct persist *p);
void sync_fini(struct persist *p);

/* pair.c: what the lock file says of the last run; what is to be said of this one, once the log is there. */
void pair_read(struct persist *p);
void pair_note(struct persist *p);
/* Says there that the store is damaged, so that the next start looks at all of it. */
void pair_note_damage(struct persist *p);
/* Moves a log aside that belongs to another file, and says where to. false: it can't be. */
bool pair_check(struct persist *p, char *moved, size_t size, char **why);

/* run.c: how the run before ended. */
void run_look_back(struct persist *p);
/* Marks this run as ended cleanly, if it was begun. */
void run_end(struct persist *p);

/* salvage.c. The new store is complete at PATH.new when this returns 0; db_install() puts it in place. */
int salvage_build(const struct persist_options *o, struct persist_open_info *info, char **why);
/* Moves what is at o->path (with its -wal and -shm) to PATH.WORD-DATE, whose name goes to `moved`, and PATH.new to
 * PATH. */
int db_install(const char *path, const char *word, char *moved, size_t moved_size, char **why);

#endif
