/* Passes everything on to the system's file system, except syncs.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "crash/vfs_record.h"

#include <assert.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECTOR = 512 };

struct record *vfs_records;
unsigned vfs_record_count;
static unsigned capacity;
static char recorded[256];          /* "": off */
static sqlite3_vfs *system_vfs, vfs;

struct file {
    sqlite3_file base;
    char suffix[16];
    bool on;                        /* it is one of those that are recorded */
    sqlite3_file *real;             /* behind this struct */
};

/* ---- writing down ---- */

static void add(enum record_what what, const char *suffix, int64_t offset, const void *data, size_t len)
{
    struct record *r;

    if (recorded[0] == '\0')
        return;
    if (vfs_record_count == capacity) {
        capacity = capacity > 0 ? capacity * 2 : 1024;
        vfs_records = realloc(vfs_records, capacity * sizeof *vfs_records);
        assert(vfs_records != NULL);
    }
    r = &vfs_records[vfs_record_count++];
    *r = (struct record){ .what = what, .offset = offset, .len = len };
    snprintf(r->suffix, sizeof r->suffix, "%s", suffix);
    if (len > 0) {
        r->data = malloc(len);
        assert(r->data != NULL);
        memcpy(r->data, data, len);
    }
}

void vfs_record_add(enum record_what what, const char *suffix, int64_t number)
{
    add(what, suffix, number, NULL, 0);
}

unsigned vfs_record_start(const char *store)
{
    int fd = open(store, O_RDONLY);
    unsigned char page[4096];
    ssize_t n;

    snprintf(recorded, sizeof recorded, "%s", store);
    for (int64_t at = 0; fd >= 0 && (n = read(fd, page, sizeof page)) > 0; at += n)
        add(RECORD_WRITE, "", at, page, (size_t)n);
    if (fd >= 0)
        close(fd);
    add(RECORD_SYNC, "", 0, NULL, 0);
    return vfs_record_count;
}

void vfs_record_stop(void)
{
    recorded[0] = '\0';
}

/* NULL: not recorded. */
static const char *suffix_of(const char *path)
{
    size_t len = strlen(recorded);
    const char *suffix = len > 0 && path != NULL && strncmp(path, recorded, len) == 0 ? path + len : NULL;

    if (suffix != NULL && (*suffix == '\0' || strcmp(suffix, "-wal") == 0 || strcmp(suffix, "-journal") == 0))
        return suffix;
    return NULL;
}

/* The program's own syncs. */
static int sync_fd(int fd)
{
    char link[64], path[300];
    struct stat st;
    ssize_t n;
    const char *suffix;

    if (fstat(fd, &st) < 0)
        return -1;
    if (S_ISDIR(st.st_mode)) {
        add(RECORD_SYNC, "/", 0, NULL, 0);
        return 0;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    suffix = suffix_of(path);
    if (suffix != NULL)
        add(RECORD_SYNC, suffix, 0, NULL, 0);
    return 0;
}

int fsync(int fd)
{
    return sync_fd(fd);
}

int fdatasync(int fd)
{
    return sync_fd(fd);
}

/* ---- files ---- */

static sqlite3_file *real(sqlite3_file *f)
{
    return ((struct file *)f)->real;
}

static int x_close(sqlite3_file *f)
{
    return real(f)->pMethods->xClose(real(f));
}
static int x_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
    return real(f)->pMethods->xRead(real(f), p, n, at);
}
static int x_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    struct file *mine = (struct file *)f;

    if (mine->on)
        add(RECORD_WRITE, mine->suffix, at, p, (size_t)n);
    return real(f)->pMethods->xWrite(real(f), p, n, at);
}
static int x_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    struct file *mine = (struct file *)f;

    if (mine->on)
        add(RECORD_TRUNCATE, mine->suffix, size, NULL, 0);
    return real(f)->pMethods->xTruncate(real(f), size);
}
static int x_sync(sqlite3_file *f, int flags)
{
    struct file *mine = (struct file *)f;

    (void)flags;
    if (mine->on)
        add(RECORD_SYNC, mine->suffix, 0, NULL, 0);
    return SQLITE_OK;
}
static int x_size(sqlite3_file *f, sqlite3_int64 *size)
{
    return real(f)->pMethods->xFileSize(real(f), size);
}
static int x_lock(sqlite3_file *f, int how)
{
    return real(f)->pMethods->xLock(real(f), how);
}
static int x_unlock(sqlite3_file *f, int how)
{
    return real(f)->pMethods->xUnlock(real(f), how);
}
static int x_reserved(sqlite3_file *f, int *out)
{
    return real(f)->pMethods->xCheckReservedLock(real(f), out);
}
static int x_control(sqlite3_file *f, int op, void *arg)
{
    return real(f)->pMethods->xFileControl(real(f), op, arg);
}
static int x_sector(sqlite3_file *f)
{
    return real(f)->pMethods->xSectorSize(real(f));
}
static int x_device(sqlite3_file *f)
{
    return real(f)->pMethods->xDeviceCharacteristics(real(f));
}
static int x_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **out)
{
    return real(f)->pMethods->xShmMap(real(f), page, size, extend, out);
}
static int x_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
    return real(f)->pMethods->xShmLock(real(f), offset, n, flags);
}
static void x_shm_barrier(sqlite3_file *f)
{
    real(f)->pMethods->xShmBarrier(real(f));
}
static int x_shm_unmap(sqlite3_file *f, int delete)
{
    return real(f)->pMethods->xShmUnmap(real(f), delete);
}

/* Version 2: with shared memory, without mapped pages, which would be written behind our back. */
static const sqlite3_io_methods methods = {
    .iVersion = 2, .xClose = x_close, .xRead = x_read, .xWrite = x_write, .xTruncate = x_truncate, .xSync = x_sync,
    .xFileSize = x_size, .xLock = x_lock, .xUnlock = x_unlock, .xCheckReservedLock = x_reserved,
    .xFileControl = x_control, .xSectorSize = x_sector, .xDeviceCharacteristics = x_device, .xShmMap = x_shm_map,
    .xShmLock = x_shm_lock, .xShmBarrier = x_shm_barrier, .xShmUnmap = x_shm_unmap,
};

static int v_open(sqlite3_vfs *v, const char *path, sqlite3_file *f, int flags, int *out)
{
    struct file *mine = (struct file *)f;
    const char *suffix = suffix_of(path);
    bool is_new = suffix != NULL && access(path, F_OK) < 0;
    int rc;

    (void)v;
    *mine = (struct file){ .real = (sqlite3_file *)(mine + 1), .on = suffix != NULL };
    snprintf(mine->suffix, sizeof mine->suffix, "%s", suffix != NULL ? suffix : "");
    rc = system_vfs->xOpen(system_vfs, path, mine->real, flags, out);
    /* SQLite closes what has methods, even if it could not be opened. */
    f->pMethods = mine->real->pMethods != NULL ? &methods : NULL;
    if (rc == SQLITE_OK && is_new)
        add(RECORD_CREATE, mine->suffix, 0, NULL, 0);
    return rc;
}

static int v_delete(sqlite3_vfs *v, const char *path, int sync_dir)
{
    const char *suffix = suffix_of(path);
    int rc = system_vfs->xDelete(system_vfs, path, 0);

    (void)v;
    if (rc == SQLITE_OK && suffix != NULL)
        add(RECORD_DELETE, suffix, sync_dir, NULL, 0);
    return rc;
}

static int v_access(sqlite3_vfs *v, const char *path, int flags, int *out)
{
    (void)v;
    return system_vfs->xAccess(system_vfs, path, flags, out);
}
static int v_full_path(sqlite3_vfs *v, const char *path, int n, char *out)
{
    (void)v;
    return system_vfs->xFullPathname(system_vfs, path, n, out);
}
static int v_random(sqlite3_vfs *v, int n, char *out)
{
    (void)v;
    return system_vfs->xRandomness(system_vfs, n, out);
}
static int v_sleep(sqlite3_vfs *v, int us)
{
    (void)v;
    return system_vfs->xSleep(system_vfs, us);
}
static int v_time(sqlite3_vfs *v, double *out)
{
    (void)v;
    return system_vfs->xCurrentTime(system_vfs, out);
}
static int v_last_error(sqlite3_vfs *v, int n, char *out)
{
    (void)v;
    return system_vfs->xGetLastError(system_vfs, n, out);
}

void vfs_record_install(void)
{
    system_vfs = sqlite3_vfs_find(NULL);
    vfs = (sqlite3_vfs){
        .iVersion = 1, .szOsFile = (int)sizeof(struct file) + system_vfs->szOsFile,
        .mxPathname = system_vfs->mxPathname, .zName = "record", .xOpen = v_open, .xDelete = v_delete,
        .xAccess = v_access, .xFullPathname = v_full_path,
        .xRandomness = v_random, .xSleep = v_sleep, .xCurrentTime = v_time, .xGetLastError = v_last_error,
    };
    sqlite3_vfs_register(&vfs, 1);
}

/* ---- after the power cut ---- */

/* splitmix64 */
static uint64_t next(uint64_t *luck)
{
    uint64_t z = *luck += 0x9E3779B97F4A7C15u;

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* A file as it grows out of the records. */
struct image {
    unsigned char *bytes;
    size_t size, capacity;
    bool exists;
};

static void resize(struct image *m, size_t size)
{
    if (size > m->capacity) {
        m->capacity = size * 2;
        m->bytes = realloc(m->bytes, m->capacity);
        assert(m->bytes != NULL);
    }
    if (size > m->size)
        memset(m->bytes + m->size, 0, size - m->size);
    m->size = size;
}

static void put(struct image *m, const struct record *r, bool torn, uint64_t *luck)
{
    size_t start = (size_t)r->offset;

    if (start + r->len > m->size)
        resize(m, start + r->len);
    for (size_t at = 0; at < r->len;) {
        /* Sectors of the disk, not of the write. */
        size_t n = SECTOR - (start + at) % SECTOR;
        n = n < r->len - at ? n : r->len - at;
        if (!torn || next(luck) % 2 == 0)
            memcpy(m->bytes + start + at, (char *)r->data + at, n);
        at += n;
    }
}

static void apply(struct image *m, const struct record *r, bool sure, enum vfs_fate fate, uint64_t *luck)
{
    if (!sure && fate != FATE_ALL && !(fate == FATE_LUCK && next(luck) % 4 != 0))
        return;
    m->exists = r->what != RECORD_DELETE;
    if (r->what == RECORD_DELETE)
        m->size = 0;
    else if (r->what == RECORD_WRITE)
        put(m, r, !sure && fate == FATE_LUCK && next(luck) % 2 == 0, luck);
    else if (r->what == RECORD_TRUNCATE)
        resize(m, (size_t)r->offset);
}

static void write_image(const struct image *m, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0640);

    assert(fd >= 0 && write(fd, m->bytes, m->size) == (ssize_t)m->size);
    close(fd);
}

static void replay_file(unsigned n, const char *suffix, enum vfs_fate fate, uint64_t *luck, const char *store)
{
    struct image m = { .bytes = NULL };
    unsigned file_sync = 0, dir_sync = 0;   /* the first record that no sync has covered */
    char path[300];

    for (unsigned i = 0; i < n; i++) {
        const struct record *r = &vfs_records[i];
        if (r->what == RECORD_SYNC && strcmp(r->suffix, suffix) == 0)
            file_sync = i + 1;
        if ((r->what == RECORD_SYNC && strcmp(r->suffix, "/") == 0) || (r->what == RECORD_DELETE && r->offset != 0))
            dir_sync = i + 1;
    }
    for (unsigned i = 0; i < n; i++) {
        const struct record *r = &vfs_records[i];
        if (r->what != RECORD_MARK && r->what != RECORD_SYNC && strcmp(r->suffix, suffix) == 0)
            apply(&m, r, i < (r->what == RECORD_DELETE ? dir_sync : file_sync), fate, luck);
    }
    snprintf(path, sizeof path, "%s%s", store, suffix);
    if (m.exists)
        write_image(&m, path);
    free(m.bytes);
}

void vfs_record_replay(unsigned n, enum vfs_fate fate, uint64_t luck, const char *store)
{
    replay_file(n, "", fate, &luck, store);
    replay_file(n, "-journal", fate, &luck, store);
    replay_file(n, "-wal", fate, &luck, store);
}
