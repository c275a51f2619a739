/* Real stores, and what can happen to their files.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "store_damage.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096, WAL_HEAD = 32, FRAME_HEAD = 24, FRAME = FRAME_HEAD + PAGE, STEPS_MAX = 40,
       FILE_MOST = 32 << 20 };

const int64_t store_wall_ms = 1700000000000;
const char *const store_tables[] = {
    "session", "ended_session", "will", "subscription", "message", "queue", "inbound_qos2", "retained", "dropped",
    "run", NULL
};

/* ---- files ---- */

static void file_name(char *name, size_t size, const char *path, unsigned which)
{
    snprintf(name, size, "%s%s", path, which == STORE_WAL ? "-wal" : "");
}

void store_write(const struct store_image *s, const char *path)
{
    char name[400];

    for (unsigned i = 0; i < STORE_FILES; i++) {
        int fd;

        file_name(name, sizeof name, path, i);
        unlink(name);
        if (i == STORE_WAL && s->file[i].len == 0)
            continue;
        fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert(fd >= 0);
        if (s->file[i].len > 0 && write(fd, s->file[i].p, s->file[i].len) != (ssize_t)s->file[i].len)
            abort();
        close(fd);
    }
    snprintf(name, sizeof name, "%s-shm", path);
    unlink(name);
}

bool store_read(struct store_image *s, const char *path)
{
    bool any = false;

    *s = (struct store_image){ 0 };
    for (unsigned i = 0; i < STORE_FILES; i++) {
        char name[600];
        struct stat st;
        int fd;

        file_name(name, sizeof name, path, i);
        fd = open(name, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        any = true;
        assert(fstat(fd, &st) == 0);
        s->file[i].len = (size_t)st.st_size;
        s->file[i].p = malloc(s->file[i].len + 1);
        assert(s->file[i].p != NULL);
        if (read(fd, s->file[i].p, s->file[i].len) != (ssize_t)s->file[i].len)
            abort();
        close(fd);
    }
    return any;
}

void store_free(struct store_image *s)
{
    for (unsigned i = 0; i < STORE_FILES; i++)
        free(s->file[i].p);
    *s = (struct store_image){ 0 };
}

bool store_same(const struct store_image *a, const struct store_image *b, unsigned files)
{
    bool same = true;

    for (unsigned i = 0; i < files; i++) {
        size_t at = 0, least = a->file[i].len < b->file[i].len ? a->file[i].len : b->file[i].len;

        if (a->file[i].len == b->file[i].len && (least == 0 || memcmp(a->file[i].p, b->file[i].p, least) == 0))
            continue;
        while (at < least && a->file[i].p[at] == b->file[i].p[at])
            at++;
        fprintf(stderr, "%s of %zu and %zu bytes differ at %zu\n", i == STORE_WAL ? "logs" : "databases",
                a->file[i].len, b->file[i].len, at);
        same = false;
    }
    return same;
}

/* ---- the log's checksums ---- */

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put32(uint8_t *p, uint32_t v)
{
    for (int i = 3; i >= 0; i--, v >>= 8)
        p[i] = (uint8_t)v;
}

/* SQLite's file format, section 4.2. */
static void checksum(const uint8_t *p, size_t n, bool big, uint32_t sum[2])
{
    for (size_t i = 0; i + 8 <= n; i += 8) {
        uint32_t a = get32(p + i), b = get32(p + i + 4);

        if (!big) {
            a = __builtin_bswap32(a);
            b = __builtin_bswap32(b);
        }
        sum[0] += a + sum[1];
        sum[1] += b + sum[0];
    }
}

/* Every frame that the log began with its salt counts, whatever was done to it, and the salt is always the same. */
static void make_log_count(struct store_image *s)
{
    uint8_t *p = s->file[STORE_WAL].p;
    size_t len = s->file[STORE_WAL].len;
    uint8_t salt[8];
    uint32_t sum[2] = { 0, 0 };
    bool big;

    if (len < WAL_HEAD)
        return;
    big = (p[3] & 1) != 0;
    memcpy(salt, p + 16, 8);
    memset(p + 16, 0x5A, 8);
    checksum(p, 24, big, sum);
    put32(p + 24, sum[0]);
    put32(p + 28, sum[1]);
    for (size_t at = WAL_HEAD; at + FRAME <= len && memcmp(p + at + 8, salt, 8) == 0; at += FRAME) {
        memset(p + at + 8, 0x5A, 8);
        checksum(p + at, 8, big, sum);
        checksum(p + at + FRAME_HEAD, PAGE, big, sum);
        put32(p + at + 16, sum[0]);
        put32(p + at + 20, sum[1]);
    }
}

/* ---- stores as the broker makes them ---- */

static void exec(sqlite3 *db, const char *sql)
{
    sqlite3_exec(db, sql, NULL, NULL, NULL);
}

/* Its log stays as it is. */
static void shut(sqlite3 *db)
{
    if (db == NULL)
        return;
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_close(db);
}

static sqlite3 *open_db(const char *path)
{
    sqlite3 *db = NULL;

    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
        sqlite3_close(db);
        return NULL;
    }
    exec(db, "PRAGMA temp_store = MEMORY; PRAGMA synchronous = OFF; PRAGMA max_page_count = 4096");
    return db;
}

static void come(struct lab *l, unsigned i, const char *id, unsigned version, const char *will)
{
    const struct lab_connect p = { .id = id, .version = (uint8_t)version, .expiry_s = UINT32_MAX - (i == 2),
                                   .will_topic = will, .will_qos = 1, .will_retain = true,
                                   .will_delay_s = will != NULL ? 3600 : 0 };

    lab_join(l, i, &p);
    lab_settle(l, 4);
}

/* Sessions that are there and away, in flight in both states, inbound, queued, retained, a will, a drop, a group. */
static void fill(struct lab *l)
{
    static const char *const filters[] = { "t", "t/+", "$share/g/t/#", "w" };

    come(l, 0, "a", MQTT_311, NULL);
    come(l, 1, "b", MQTT_50, "w");
    come(l, 2, "c", MQTT_50, NULL);
    for (unsigned i = 0; i < 3; i++)
        for (unsigned f = 0; f < 4; f++)
            lab_subscribe(l, i, filters[f], 2u | (i == 1 ? 8u : 0), (uint16_t)(f + 1));
    lab_settle(l, 4);
    for (unsigned k = 0; k < 6; k++)                        /* sent; every second one goes on */
        lab_publish(l, 2, k % 3 == 0 ? "t" : "t/1", 10 + k, 1 + k % 2, k == 5, (uint16_t)(10 + k), k == 4 ? 90000 : 0);
    lab_settle(l, 6);
    lab_ack(l, 0, PKT_PUBREC, 2);
    lab_ack(l, 1, PKT_PUBREC, 2);
    lab_publish(l, 0, "r/1", 40, 1, true, 77, 0);
    lab_publish(l, 0, "r/2", 3000, 0, true, 0, 0);
    lab_publish(l, 2, "r/3", 7, 1, true, 78, 600000);
    lab_settle(l, 6);
    l->clients[0].ended = l->clients[1].ended = l->clients[1].reset = true;
    lab_settle(l, 6);
    for (unsigned k = 0; k < 20; k++) {                     /* more than the queues take */
        lab_publish(l, 2, "t", 20, 1, false, (uint16_t)(100 + k), 0);
        lab_settle(l, 6);
    }
    lab_pass(l, 6000, 1000);
}

static void fill_more(struct lab *l)
{
    char id[16], topic[32];

    fill(l);
    for (unsigned k = 0; k < 60; k++) {
        snprintf(id, sizeof id, "sensor-%u", k);
        come(l, 3, id, k % 2 == 0 ? MQTT_311 : MQTT_50, NULL);
        for (unsigned f = 0; f < 3; f++) {
            snprintf(topic, sizeof topic, "house/%u/%u/#", k % 7, f);
            lab_subscribe(l, 3, topic, f, (uint16_t)(f + 1));
        }
        lab_settle(l, 4);
        lab_disconnect(l, 3);
        lab_settle(l, 4);
    }
    come(l, 3, "writer", MQTT_311, NULL);
    for (unsigned k = 0; k < 60; k++) {
        snprintf(topic, sizeof topic, "house/%u/%u/%u", k % 7, k % 3, k);
        lab_publish(l, 3, topic, k % 16 == 0 ? 9000 : 300, 1, k % 2 == 0, (uint16_t)(k + 1), 0);
        lab_settle(l, 2);
    }
    lab_pass(l, 6000, 1000);
}

/* What differs from machine to machine is made the same, so that an input means the same everywhere. */
static void make_equal(struct store_image *s, const char *path)
{
    sqlite3 *db;

    make_log_count(s);
    store_write(s, path);
    db = open_db(path);
    exec(db, "UPDATE run SET pid = 4711, boot_id = 'b0075b00-7b00-47b0-07b0-07b007b007b0', version = '1.0.0',"
         " sqlite_version = '3.40.1', start_ms = 1");
    if (s->file[STORE_WAL].len == 0)
        exec(db, "PRAGMA wal_checkpoint(TRUNCATE)");
    shut(db);
    store_free(s);
    store_read(s, path);
    make_log_count(s);
}

static void make(enum store_kind kind, struct store_image *s)
{
    struct lab l;
    char path[128];

    lab_init(&l, "[persistence]\ngather = 0\ncommit_interval = 0\ndurability = crash\n[limits]\n"
             "max_queued_messages = 12\nmax_inflight_messages = 6\n");
    snprintf(path, sizeof path, "%s/s.db", l.dir);
    if (!lab_start(&l))
        abort();
    if (kind == STORE_LARGE)
        fill_more(&l);
    else
        fill(&l);
    if (kind == STORE_AGAIN) {
        lab_stop(&l);
        if (!lab_start(&l))
            abort();
        come(&l, 0, "a", MQTT_311, NULL);
        lab_ack_all(&l, 0);
        come(&l, 4, "d", MQTT_50, "w");
        lab_subscribe(&l, 4, "#", 1, 9);
        lab_publish(&l, 4, "t/9", 5000, 2, true, 3, 0);
        lab_pass(&l, 6000, 1000);
    }
    if (kind == STORE_SMALL || kind == STORE_LARGE)
        lab_stop(&l);
    store_read(s, path);
    lab_kill(&l);
    make_equal(s, path);
    lab_fini(&l);
}

const struct store_image *store_made(enum store_kind kind)
{
    static struct store_image made[STORE_KINDS];

    /* All of them at the first call, before anybody has a lab of his own. */
    for (unsigned i = 0; i < STORE_KINDS && made[STORE_KINDS - 1].file[STORE_DB].p == NULL; i++) {
        lab_wall_ms = store_wall_ms;
        make((enum store_kind)i, &made[i]);
    }
    return &made[kind];
}

/* ---- bytes ---- */

struct patient {
    const char *path;
    struct store_image s;       /* in memory... */
    sqlite3 *db;                /* ... or open */
    bool raw;
};

static void to_memory(struct patient *p)
{
    if (p->s.file[STORE_DB].p != NULL)
        return;
    shut(p->db);
    p->db = NULL;
    /* SQLite writes a page wherever a damaged header says that the file ends. */
    for (unsigned i = 0; i < STORE_FILES; i++) {
        char name[400];
        struct stat st;

        file_name(name, sizeof name, p->path, i);
        if (stat(name, &st) == 0 && st.st_size > FILE_MOST && truncate(name, FILE_MOST) < 0)
            abort();
    }
    store_read(&p->s, p->path);
}

static void to_disk(struct patient *p)
{
    if (p->s.file[STORE_DB].p != NULL) {
        store_write(&p->s, p->path);
        store_free(&p->s);
    }
    if (p->db == NULL)
        p->db = open_db(p->path);
}

/* Where a page begins in the file; len < PAGE: there is none. A page of the log is that of a frame. */
static uint8_t *page_of(struct patient *p, unsigned which, unsigned number, size_t *len)
{
    size_t head = which == STORE_WAL ? WAL_HEAD + FRAME_HEAD : 0, size = which == STORE_WAL ? FRAME : PAGE;
    size_t n = p->s.file[which].len > head ? (p->s.file[which].len - head) / size : 0;

    *len = n > 0 ? PAGE : 0;
    return n > 0 ? p->s.file[which].p + head + number % n * size : NULL;
}

enum byte_step { POKE, POKE_HEAD, POKE_CELL, SMEAR, MOVE, CUT, EMPTY, OTHER_LOG, BYTE_STEPS };

/* The cell's place as the page's own list says, then a few bytes on: its lengths and types, then its values. */
static size_t cell_of(const uint8_t *page, unsigned cell, unsigned on)
{
    const uint8_t *tree = page[0] == 'S' ? page + 100 : page;
    unsigned cells = (unsigned)tree[3] << 8 | tree[4], head = tree[0] == 2 || tree[0] == 5 ? 12 : 8;
    size_t at = (size_t)(tree - page) + head + 2 * (size_t)(cells > 0 ? cell % cells : 0);

    return at + 2 <= PAGE ? ((size_t)page[at] << 8 | page[at + 1]) + on : at;
}

static void poke(struct patient *p, struct reader *r, enum byte_step step)
{
    unsigned where = rd_u8(r), number = rd_u8(r);
    size_t len, at;
    uint8_t *page = page_of(p, where & 1, number, &len);

    if (page == NULL)
        return;
    at = step == POKE_CELL ? cell_of(page, rd_u8(r), rd_u8(r)) : step == POKE_HEAD ? rd_u8(r) % 128u : rd_u16(r) % PAGE;
    for (unsigned n = 1 + (where >> 1) % 8; n > 0 && at < len; n--)
        page[at++] = rd_u8(r);
}

static void smear(struct patient *p, struct reader *r)
{
    unsigned where = rd_u8(r), number = rd_u8(r);
    size_t len, at = rd_u16(r) % PAGE, n = rd_u16(r);
    uint8_t *page = page_of(p, where & 1, number, &len), with = rd_u8(r);

    if (page != NULL)
        memset(page + at, with, n < len - at ? n : len - at);
}

static void move(struct patient *p, struct reader *r)
{
    unsigned where = rd_u8(r), a = rd_u8(r), b = rd_u8(r);
    size_t len_a, len_b;
    uint8_t *from = page_of(p, where & 1, a, &len_a), *to = page_of(p, where >> 1 & 1, b, &len_b);

    if (from != NULL && to != NULL)
        memmove(to, from, PAGE >> (where >> 2 & 1));        /* whole, or torn in the middle */
}

static void byte_step(struct patient *p, struct reader *r, unsigned step)
{
    unsigned which;

    to_memory(p);
    p->raw = true;
    switch ((enum byte_step)(step % BYTE_STEPS)) {
    case POKE: case POKE_HEAD: case POKE_CELL: poke(p, r, (enum byte_step)(step % BYTE_STEPS)); break;
    case SMEAR: smear(p, r); break;
    case MOVE: move(p, r); break;
    case CUT:
        which = rd_u8(r) & 1;
        if (p->s.file[which].len > 0)
            p->s.file[which].len = (size_t)((uint64_t)p->s.file[which].len * rd_u16(r) / 65536);
        break;
    case EMPTY:
        p->s.file[rd_u8(r) & 1].len = 0;
        break;
    case OTHER_LOG: {
        const struct store_image *o = store_made(rd_u8(r) & 1 ? STORE_KILLED : STORE_AGAIN);

        free(p->s.file[STORE_WAL].p);
        p->s.file[STORE_WAL].len = o->file[STORE_WAL].len;
        p->s.file[STORE_WAL].p = malloc(o->file[STORE_WAL].len + 1);
        assert(p->s.file[STORE_WAL].p != NULL);
        memcpy(p->s.file[STORE_WAL].p, o->file[STORE_WAL].p, o->file[STORE_WAL].len);
        break;
    }
    case BYTE_STEPS: break;
    }
}

/* ---- rows ---- */

static const int64_t numbers[] = {
    0, 1, -1, 2, 3, 4, 5, 6, 255, 65535, 65536, 268435455, 268435456, UINT32_MAX, (int64_t)UINT32_MAX + 1, INT64_MAX,
    INT64_MIN, INT64_MAX - 1, INT64_MAX / 2, INT64_MAX / 2 + 1, 100000000000000, 100000000000001, 1700000000000,
    1600000000000, 4000000000000,
};
static const char *const texts[] = {
    "", "a", "b", "c", "#", "+", "t/#", "$share/g/t/#", "$share/g/", "$share//t", "$share/g+/t", "t/#/1",
    "$SYS/broker/uptime", "/", "\x01", "\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xC3", "\xEF\xBF\xBE",
    "w", "t/1", "r/1",
};

/* The n-th column's name, and how many there are. */
static const char *column(sqlite3 *db, const char *table, unsigned n, char name[64], unsigned *count)
{
    char sql[128];
    sqlite3_stmt *st = NULL;

    *count = 0;
    name[0] = '\0';
    snprintf(sql, sizeof sql, "SELECT name FROM pragma_table_info('%s')", table);
    if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK)
        while (sqlite3_step(st) == SQLITE_ROW)
            if ((*count)++ == n)
                snprintf(name, 64, "%s", (const char *)sqlite3_column_text(st, 0));
    sqlite3_finalize(st);
    return name;
}

/* "(k1, k2)" of the primary key. */
static const char *key(const char *table)
{
    static const char *const keys[] = {
        "session_id", "session_id", "session_id", "session_id, topic_filter", "message_id", "session_id, position",
        "session_id, packet_id", "retained_id", "client_id, reason", "run_id",
    };
    unsigned i = 0;

    while (store_tables[i] != table)
        i++;
    return keys[i];
}

static void bind_value(sqlite3_stmt *st, int i, struct reader *r)
{
    unsigned kind = rd_u8(r);
    struct view v;
    size_t n;

    switch (kind % 8) {
    case 0: sqlite3_bind_null(st, i); break;
    case 1: sqlite3_bind_int64(st, i, (int8_t)rd_u8(r)); break;
    case 2: sqlite3_bind_int64(st, i, numbers[rd_u8(r) % (sizeof numbers / sizeof numbers[0])]); break;
    case 3: sqlite3_bind_int64(st, i, (int64_t)((uint64_t)rd_u32(r) << 32 | rd_u32(r))); break;
    case 4: sqlite3_bind_text(st, i, texts[rd_u8(r) % (sizeof texts / sizeof texts[0])], -1, SQLITE_STATIC); break;
    case 5:                                                 /* long ones around the limit, of levels or of letters */
        n = 65533 + rd_u8(r) % 5u;
        v.p = memset(sqlite3_malloc((int)n), kind & 8 ? '/' : 'x', n);
        sqlite3_bind_text(st, i, (const char *)v.p, (int)n, sqlite3_free);
        break;
    case 6:
        n = rd_u8(r);
        v = rd_bytes(r, n < rd_left(r) ? n : rd_left(r));
        if (kind & 8)
            sqlite3_bind_text(st, i, (const char *)v.p, (int)v.len, SQLITE_TRANSIENT);
        else
            sqlite3_bind_blob(st, i, v.p != NULL ? v.p : (const void *)"", (int)v.len, SQLITE_TRANSIENT);
        break;
    case 7: sqlite3_bind_zeroblob(st, i, kind & 8 ? rd_u8(r) * 4096 : rd_u8(r)); break;
    }
}

static void run_with(sqlite3 *db, char *sql, struct reader *r)
{
    sqlite3_stmt *st = NULL;

    if (sql != NULL && sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK) {
        for (int i = 1; i <= sqlite3_bind_parameter_count(st); i++)
            bind_value(st, i, r);
        for (unsigned n = 0; n < 1000 && sqlite3_step(st) == SQLITE_ROW; n++)
            ;
    }
    sqlite3_finalize(st);
    sqlite3_free(sql);
}

/* A row like another, one column excepted. */
static char *insert_like(sqlite3 *db, const char *table, unsigned col, unsigned row)
{
    char name[64], *list = sqlite3_mprintf(""), *values = sqlite3_mprintf(""), *sql;
    unsigned count;

    column(db, table, 0, name, &count);
    for (unsigned i = 0; i < count; i++) {
        unsigned n;

        column(db, table, i, name, &n);
        list = sqlite3_mprintf("%z%s%s", list, i > 0 ? ", " : "", name);
        values = sqlite3_mprintf("%z%s%s", values, i > 0 ? ", " : "", i == col % count ? "?" : name);
    }
    sql = sqlite3_mprintf("INSERT OR IGNORE INTO %s (%z) SELECT %z FROM %s LIMIT 1 OFFSET %u", table, list, values,
                          table, row);
    return sql;
}

enum row_step { SET_ONE, SET_ALL, ADD, REMOVE_ONE, REMOVE_ALL, SET_WRONG, ODD_THING, ROW_STEPS };

/* What people and tools do, and what an attacker would. */
static const char *const odd_things[] = {
    "DROP TABLE will", "DROP TABLE queue", "DROP TABLE session", "DROP TABLE run", "DROP TABLE dropped",
    "DROP INDEX queue_shared_message", "DROP VIEW v_session", "ALTER TABLE message RENAME COLUMN payload TO content",
    "ALTER TABLE retained ADD COLUMN more TEXT", "ALTER TABLE session RENAME TO sessions",
    "CREATE TRIGGER x AFTER INSERT ON queue BEGIN DELETE FROM session; END",
    "CREATE TRIGGER x BEFORE INSERT ON run BEGIN SELECT RAISE(ABORT, 'no'); END",
    "CREATE UNIQUE INDEX x ON subscription (topic_filter)",
    "CREATE TABLE mine (a); INSERT INTO mine VALUES (zeroblob(9999))",
    "PRAGMA user_version = 0", "PRAGMA user_version = 2147483647", "PRAGMA application_id = 0",
    "PRAGMA journal_mode = DELETE", "PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM",
    "PRAGMA journal_mode = DELETE; PRAGMA page_size = 1024; VACUUM",
    "PRAGMA journal_mode = DELETE; PRAGMA auto_vacuum = 0; VACUUM", "ANALYZE", "REINDEX",
    ("DROP VIEW v_queue; CREATE VIEW v_queue AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x FROM c)"
     " SELECT x FROM c"),
    "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = 'CREATE TABLE will (a)' WHERE name = 'will'",
    "PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE name = 'message'",
    "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = 3 WHERE name = 'queue'",
};

static char *set_one(const char *table, const char *name, unsigned row)
{
    return sqlite3_mprintf("UPDATE OR IGNORE %s SET %s = ? WHERE (%s) IN (SELECT %s FROM %s LIMIT 1 OFFSET %u)", table,
                           name, key(table), key(table), table, row);
}

/* Types that the table does not take, and NULL: as if it were no STRICT one, which it then is again or (row) not. */
static void set_wrong(sqlite3 *db, const char *table, const char *name, unsigned row, struct reader *r)
{
    exec(db, "CREATE TEMP TABLE was AS SELECT name, sql FROM sqlite_schema WHERE type = 'table';"
         "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql ="
         " replace(replace(replace(sql, 'STRICT, ', ''), 'STRICT', ''), 'NOT NULL', '') WHERE type = 'table';"
         "PRAGMA writable_schema = RESET");
    run_with(db, set_one(table, name, row % 64), r);
    if ((row & 64) == 0)
        exec(db, "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = (SELECT w.sql FROM was w"
             " WHERE w.name = sqlite_schema.name) WHERE type = 'table'; PRAGMA writable_schema = RESET");
    exec(db, "DROP TABLE was");
}

static void row_step(struct patient *p, struct reader *r, unsigned step)
{
    const char *table = store_tables[rd_u8(r) % 10];
    unsigned col = rd_u8(r), row = rd_u8(r), count;
    char name[64];

    to_disk(p);
    if (p->db == NULL)
        return;
    column(p->db, table, 0, name, &count);
    if (count > 0)
        column(p->db, table, col % count, name, &count);
    switch ((enum row_step)(step % ROW_STEPS)) {
    case SET_ONE: run_with(p->db, set_one(table, name, row % 64), r); break;
    case SET_ALL: run_with(p->db, sqlite3_mprintf("UPDATE OR IGNORE %s SET %s = ?", table, name), r); break;
    case ADD: run_with(p->db, insert_like(p->db, table, col, row % 64), r); break;
    case REMOVE_ONE:
        run_with(p->db, sqlite3_mprintf("DELETE FROM %s WHERE (%s) IN (SELECT %s FROM %s LIMIT 1 OFFSET %u)", table,
                                        key(table), key(table), table, row % 64), r);
        break;
    case REMOVE_ALL: run_with(p->db, sqlite3_mprintf("DELETE FROM %s", table), r); break;
    case SET_WRONG: set_wrong(p->db, table, name, row, r); break;
    case ODD_THING: exec(p->db, odd_things[col % (sizeof odd_things / sizeof odd_things[0])]); break;
    case ROW_STEPS: break;
    }
}

void store_damage(struct reader *r, const char *path, bool *raw)
{
    struct patient p = { .path = path };
    bool count = (rd_u8(r) & 1) != 0;

    for (unsigned n = 0; n < STEPS_MAX && rd_left(r) > 0 && !r->bad; n++) {
        unsigned step = rd_u8(r);

        if (step & 128)
            byte_step(&p, r, step & 127);
        else
            row_step(&p, r, step);
    }
    to_memory(&p);
    if (count)
        make_log_count(&p.s);
    store_write(&p.s, path);
    store_free(&p.s);
    *raw = p.raw;
}
