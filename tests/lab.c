/* A broker inside the test.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "lab.h"

#include "broker/listen.h"
#include "broker/ws.h"

#include "proto/ws.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

const char lab_upgrade[] =
    "GET /mqtt HTTP/1.1\r\nHost: lab\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
uint64_t lab_mono_ms = 1000000;
int64_t lab_wall_ms = 1700000000000;
bool lab_synchronized;

int __wrap_clock_gettime(clockid_t which, struct timespec *t);
int __wrap_clock_gettime(clockid_t which, struct timespec *t)
{
    uint64_t ms = which == CLOCK_REALTIME ? (uint64_t)lab_wall_ms : lab_mono_ms;

    *t = (struct timespec){ .tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000 };
    return 0;
}
/* What it is called on a 32-bit system with 64 bits of time. */
int __wrap___clock_gettime64(clockid_t which, struct timespec *t);
int __wrap___clock_gettime64(clockid_t which, struct timespec *t)
{
    return __wrap_clock_gettime(which, t);
}

int __wrap_adjtimex(struct timex *t);
int __wrap_adjtimex(struct timex *t)
{
    t->status = lab_synchronized ? STA_PLL : STA_UNSYNC;
    return lab_synchronized ? TIME_OK : TIME_ERROR;
}

/* Kernel AIO takes milliseconds to set up and end, and comes back when it likes. Refused, the store syncs at once and
 * tells so by its eventfd. */
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    if (number == SYS_io_setup || number == SYS_io_destroy)
        return 0;
    errno = ENOSYS;
    return -1;
}

/* ---- a transport made of memory ---- */

static void add(uint8_t **p, size_t *len, size_t *cap, const void *bytes, size_t n)
{
    if (*len + n > *cap) {
        *cap = (*len + n) * 2;
        *p = realloc(*p, *cap);
        assert(*p != NULL);
    }
    if (n > 0)
        memcpy(*p + *len, bytes, n);
    *len += n;
}

static ssize_t nothing(int error)
{
    errno = error;
    return -1;
}

/* One lab at a time: a transport above ours has the connection's pointer. */
static struct lab *current;

static struct lab_client *of(const struct conn *c)
{
    for (unsigned i = 0; i < LAB_CLIENTS; i++)
        if (current->clients[i].c == c)
            return &current->clients[i];
    abort();
}

static ssize_t lab_readv(struct conn *c, const struct iovec *iov, int n)
{
    struct lab_client *cl = of(c);
    size_t got = 0;

    if (cl->reset)
        return nothing(ECONNRESET);
    for (int i = 0; i < n && got < cl->in_len; i++) {
        size_t some = cl->in_len - got < iov[i].iov_len ? cl->in_len - got : iov[i].iov_len;

        memcpy(iov[i].iov_base, cl->in + got, some);
        got += some;
    }
    if (got == 0)
        return cl->ended ? 0 : nothing(EAGAIN);
    memmove(cl->in, cl->in + got, cl->in_len - got);
    cl->in_len -= got;
    return (ssize_t)got;
}

static ssize_t lab_writev(struct conn *c, const struct iovec *iov, int n)
{
    struct lab_client *cl = of(c);
    size_t taken = 0;

    if (cl->reset)
        return nothing(EPIPE);
    for (int i = 0; i < n && taken < cl->room; i++) {
        size_t some = cl->room - taken < iov[i].iov_len ? cl->room - taken : iov[i].iov_len;

        if (ws_used(c))
            add(&cl->raw, &cl->raw_len, &cl->raw_cap, iov[i].iov_base, some);
        else
            add(&cl->out, &cl->out_len, &cl->out_cap, iov[i].iov_base, some);
        taken += some;
    }
    if (cl->room != SIZE_MAX)
        cl->room -= taken;
    return taken > 0 || n == 0 ? (ssize_t)taken : nothing(EAGAIN);
}

static void lab_close(struct conn *c)
{
    of(c)->c = NULL;
}

static const struct transport transport_lab = {
    .name = "memory", .readv = lab_readv, .writev = lab_writev, .close = lab_close,
};

/* ---- the broker ---- */

static void empty_dir(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    char path[400];

    while (d != NULL && (e = readdir(d)) != NULL) {
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (e->d_name[0] != '.')
            unlink(path);
    }
    if (d != NULL)
        closedir(d);
}

void lab_init(struct lab *l, const char *settings)
{
    *l = (struct lab){ .settings = strdup(settings), .strict = true };
    snprintf(l->dir, sizeof l->dir, "/dev/shm/caddis-lab-%ld", (long)getpid());
    if (mkdir(l->dir, 0700) < 0 && errno != EEXIST)
        snprintf(l->dir, sizeof l->dir, "/tmp/caddis-lab-%ld", (long)getpid());
    mkdir(l->dir, 0700);
    empty_dir(l->dir);
    log_open(&(struct log_options){ .level = LEVEL_ERROR });
    current = l;
}

static void no_errors(void *arg, const char *line)
{
    (void)arg;
    fprintf(stderr, "%s\n", line);
    abort();
}

static struct config *configuration(const struct lab *l)
{
    char *text;
    int n = asprintf(&text, "[broker]\nenable_control = false\n%s[persistence]\npath = %s/s.db\n[listener lab]\n"
                     "address = %s/socket\nallow_anonymous = true\n%s", geteuid() == 0 ? "user = root\n" : "", l->dir,
                     l->dir, l->settings);
    struct config *cfg;

    assert(n > 0);
    cfg = config_load_text("lab", text, (size_t)n, no_errors, NULL);
    free(text);
    return cfg;
}

bool lab_start(struct lab *l)
{
    char *why = NULL;
    sigset_t none;

    l->b = broker_new(configuration(l), &why);
    snprintf(l->why, sizeof l->why, "%s", why != NULL ? why : "");
    free(why);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (l->b == NULL)
        return false;
    broker_check(l->b);
    return true;
}

static void all_gone(struct lab *l)
{
    l->b = NULL;
    for (unsigned i = 0; i < LAB_CLIENTS; i++) {
        struct lab_client *cl = &l->clients[i];

        assert(cl->c == NULL);
        free(cl->in);
        free(cl->out);
        free(cl->raw);
        *cl = (struct lab_client){ .room = SIZE_MAX };
    }
}

void lab_stop(struct lab *l)
{
    if (l->b == NULL)
        return;
    broker_stop(l->b, 0);
    broker_run(l->b);
    broker_free(l->b);
    all_gone(l);
}

void lab_kill(struct lab *l)
{
    if (l->b == NULL)
        return;
    l->b->journal.broken = true;        /* it writes no more */
    broker_free(l->b);
    all_gone(l);
}

void lab_fini(struct lab *l)
{
    lab_kill(l);
    empty_dir(l->dir);
    rmdir(l->dir);
    free(l->settings);
}

/* ---- WebSocket, the client's side of it ---- */

void lab_send_raw(struct lab *l, unsigned i, const void *bytes, size_t n)
{
    struct lab_client *cl = &l->clients[i];

    if (cl->c != NULL)
        add(&cl->in, &cl->in_len, &cl->in_cap, bytes, n);
}

void lab_send_frame(struct lab *l, unsigned i, uint8_t first, const void *bytes, size_t n)
{
    static const uint8_t mask[] = { 0xA5, 0x00, 0x5A, 0x13 };
    uint8_t head[WS_HEAD_MAX];
    unsigned len = ws_write_head(head, WS_BINARY, n);

    head[0] = first;
    head[1] |= 0x80;
    lab_send_raw(l, i, head, len);
    lab_send_raw(l, i, mask, sizeof mask);
    for (size_t k = 0; k < n; k++)
        lab_send_raw(l, i, &(uint8_t){ ((const uint8_t *)bytes)[k] ^ mask[k % 4] }, 1);
}

/* One message, of two frames with a ping between them when it is long enough. */
void lab_send(struct lab *l, unsigned i, const void *bytes, size_t n)
{
    size_t half = n / 3;

    if (!l->websocket) {
        lab_send_raw(l, i, bytes, n);
    } else if (half == 0) {
        lab_send_frame(l, i, 0x80 | WS_BINARY, bytes, n);
    } else {
        lab_send_frame(l, i, WS_BINARY, bytes, half);
        lab_send_frame(l, i, 0x80 | WS_PING, bytes, half < WS_CONTROL_MAX ? half : WS_CONTROL_MAX);
        lab_send_frame(l, i, 0x80 | WS_CONTINUATION, (const uint8_t *)bytes + half, n - half);
    }
}

static bool open_websocket(struct lab *l, unsigned i)
{
    struct lab_client *cl = &l->clients[i];

    cl->raw_len = 0;
    cl->status = 0;
    cl->pongs = cl->close_code = 0;
    if (!ws_accept(cl->c)) {
        conn_close(l->b, cl->c, CLOSE_NO_MEMORY);
        return false;
    }
    lab_send_raw(l, i, lab_upgrade, strlen(lab_upgrade));
    return true;
}

/* The key is the one of RFC 6455, section 1.3, and so is what it gives. */
static void look_at_answer(const uint8_t *p, size_t len)
{
    static const char *const lines[] = {
        "\r\nUpgrade: websocket\r\n", "\r\nConnection: Upgrade\r\n", "\r\nSec-WebSocket-Protocol: mqtt\r\n",
        "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
    };

    for (unsigned i = 0; i < sizeof lines / sizeof lines[0]; i++)
        assert(memmem(p, len, lines[i], strlen(lines[i])) != NULL);
}

/* How many bytes of the beginning of raw were of use; 0: more must come. */
static size_t unwrap_one(struct lab_client *cl)
{
    const uint8_t *p = cl->raw, *end;
    size_t head = 2, len;

    if (cl->status == 0) {
        end = memmem(p, cl->raw_len, "\r\n\r\n", 4);
        if (end != NULL)
            assert(sscanf((const char *)p, "HTTP/1.1 %d ", &cl->status) == 1);
        if (cl->status == 101)
            look_at_answer(p, (size_t)(end - p) + 4);
        return end != NULL ? (size_t)(end - p) + 4 : 0;
    }
    if (cl->status != 101)
        return cl->raw_len;             /* words for people */
    assert(cl->close_code == 0);        /* the close frame is the last thing */
    if (cl->raw_len < 2)
        return 0;
    head += p[1] == 126 ? 2 : p[1] == 127 ? 8 : 0;
    if (cl->raw_len < head)
        return 0;
    len = p[1];
    for (size_t k = 2; k < head; k++)
        len = k == 2 ? p[k] : len << 8 | p[k];
    if (cl->raw_len < head + len)
        return 0;
    if (p[0] == (0x80 | WS_PONG)) {
        cl->pongs++;
    } else if (p[0] == (0x80 | WS_CLOSE)) {
        assert(len == 2);
        cl->close_code = (unsigned)p[2] << 8 | p[3];
        assert(ws_close_code_valid(cl->close_code));
    } else {
        assert(p[0] == (0x80 | WS_BINARY) && len > 0);
        add(&cl->out, &cl->out_len, &cl->out_cap, p + head, len);
    }
    return head + len;
}

static void unwrap(struct lab_client *cl)
{
    size_t at = 1;

    while (cl->raw_len > 0 && at > 0) {
        at = unwrap_one(cl);
        cl->raw_len -= at;
        memmove(cl->raw, cl->raw + at, cl->raw_len);
    }
}

/* ---- clients ---- */

bool lab_open(struct lab *l, unsigned i)
{
    struct lab_client *cl = &l->clients[i];
    int fd;

    if (cl->c != NULL) {                /* the old one has gone without a word */
        cl->ended = cl->reset = true;
        lab_turn(l);
        if (cl->c != NULL)
            return false;
    }
    cl->in_len = 0;
    cl->ended = cl->reset = false;
    cl->room = SIZE_MAX;
    cl->version = 0;
    cl->out_len = cl->checked = 0;
    lab_forget(cl);
    fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);      /* it stands for the socket where the loop wants one */
    assert(fd >= 0);
    cl->c = conn_new(l->b, &l->b->listeners[0], fd, "lab");
    if (cl->c == NULL)
        return false;
    cl->c->transport = &transport_lab;
    return !l->websocket || open_websocket(l, i);
}

void lab_forget(struct lab_client *cl)
{
    if (cl->out_len > cl->checked)      /* the rest of the last packet is still to come */
        memmove(cl->out, cl->out + cl->checked, cl->out_len - cl->checked);
    cl->out_len -= cl->checked;
    cl->checked = 0;
    memset(cl->got, 0, sizeof cl->got);
}

/* Everything that the broker says must be a packet that a server may send, whole, in the client's version. */
static void look(const struct lab *l, struct lab_client *cl)
{
    struct view in;
    struct frame f;

    unwrap(cl);
    in = (struct view){ NULL, cl->out_len - cl->checked };
    if (in.len > 0)
        in.p = cl->out + cl->checked;
    while (in.len > 0) {
        enum frame_result r = frame_next(&in, FRAME_MAX_REMAINING, &f);
        struct publish p;

        if (r == FRAME_MORE)
            break;
        assert(!l->strict || r == FRAME_OK);
        cl->got[frame_type(f.head)]++;
        if (l->strict && frame_type(f.head) == PKT_PUBLISH && cl->version != 0)
            assert(publish_decode(f.head, f.body, cl->version, &p) == R_OK);
        assert(!l->strict || (frame_type(f.head) != PKT_CONNECT && frame_type(f.head) != PKT_SUBSCRIBE &&
                              frame_type(f.head) != PKT_UNSUBSCRIBE && frame_type(f.head) != PKT_PINGREQ));
    }
    cl->checked = cl->out_len - in.len;
}

static void events(struct lab *l)
{
    for (unsigned i = 0; i < LAB_CLIENTS; i++) {
        struct lab_client *cl = &l->clients[i];
        struct loop_source *s = cl->c != NULL ? &cl->c->source : NULL;
        unsigned got = 0;

        if (s == NULL)
            continue;
        if (cl->c->version != 0)
            cl->version = cl->c->version;
        if ((s->want & LOOP_READ) && (cl->in_len > 0 || cl->ended))
            got |= LOOP_READ;
        if ((s->want & LOOP_WRITE) && cl->room > 0)
            got |= LOOP_WRITE;
        if (cl->reset)
            got |= LOOP_HANGUP;
        if (got != 0)
            s->ready(s, got, l->b);
    }
    if (l->b->journal.syncing != 0 && !l->hold_sync && l->b->journal.sync.fd >= 0)
        l->b->journal.sync.ready(&l->b->journal.sync, LOOP_READ, l->b);
}

void lab_turn(struct lab *l)
{
    l->b->now_ms = lab_mono_ms;
    l->b->wall_ms = lab_wall_ms;
    events(l);
    broker_turn(l->b);
    broker_check(l->b);
    for (unsigned i = 0; i < LAB_CLIENTS; i++)
        look(l, &l->clients[i]);
}

void lab_pass(struct lab *l, uint64_t ms, uint64_t step_ms)
{
    while (ms > 0) {
        uint64_t step = ms < step_ms ? ms : step_ms;

        lab_mono_ms += step;
        lab_wall_ms += (int64_t)step;
        ms -= step;
        lab_turn(l);
    }
}

static bool busy(const struct lab *l)
{
    for (unsigned i = 0; i < LAB_CLIENTS; i++)
        if (l->clients[i].c != NULL && (l->clients[i].in_len > 0 || l->clients[i].ended))
            return true;
    return !list_empty(&l->b->turn) || (l->b->journal.syncing != 0 && !l->hold_sync);
}

void lab_settle(struct lab *l, unsigned n)
{
    do
        lab_turn(l);
    while (n-- > 0 && busy(l) && !l->b->stopping);
}

void lab_check_store(struct lab *l, bool ours)
{
    bool checked = false;

    if (!journal_on(&l->b->journal) || l->b->stopping)
        return;
    for (unsigned n = 0; n < 20 && !checked && !l->b->stopping; n++) {
        checked = broker_check_store(l->b, ours);
        if (!checked)
            lab_pass(l, 1000, 500);
    }
    assert(checked || l->b->stopping);
}

/* ---- the store from the side ---- */

sqlite3 *lab_side(const struct lab *l, const char *sql)
{
    char path[128];
    sqlite3 *db;

    snprintf(path, sizeof path, "%s/s.db", l->dir);
    if (sqlite3_open(path, &db) == SQLITE_OK && sqlite3_busy_timeout(db, 1000) == SQLITE_OK &&
        sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK)
        return db;
    fprintf(stderr, "%.80s: %s\n", sql, sqlite3_errmsg(db));
    abort();
}

void lab_sql(const struct lab *l, const char *sql)
{
    sqlite3_close(lab_side(l, sql));
}
