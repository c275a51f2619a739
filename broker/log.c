/* The log's sinks. A line is built once, cleaned of control characters, and handed to each destination with the
 * decoration that one wants: a time for files and terminals, <N> for the journal, a priority for syslog.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 2048, QUOTED_MAX = 200, QUOTE_BUFFERS = 8, WINDOW_MS = 10000 };

static const struct { const char *name; int priority; } levels[] = {
    [LEVEL_ERROR] = { "error", LOG_ERR },
    [LEVEL_WARNING] = { "warning", LOG_WARNING },
    [LEVEL_NOTICE] = { "notice", LOG_NOTICE },
    [LEVEL_INFO] = { "info", LOG_INFO },
    [LEVEL_DEBUG] = { "debug", LOG_DEBUG },
};

enum log_level log_threshold = LEVEL_INFO;

static struct {
    unsigned dests;
    enum log_timestamp timestamp;
    char *file;
    int fd;                    /* of the file, -1: none */
    bool journal;              /* stderr goes to the journal */
    bool in_topic;             /* guards against a topic sink that logs */
    void (*topic)(void *arg, enum log_level level, const char *line, size_t len);
    void *topic_arg;
} sink = { .dests = DEST_STDERR, .fd = -1 };

/* JOURNAL_STREAM is inherited by everything a service starts, so it only counts when it names our own stderr. */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long dev, ino;
    struct stat st;

    return stream != NULL && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
           st.st_dev == (dev_t)dev && st.st_ino == (ino_t)ino;
}

static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
}

int log_open(const struct log_options *o)
{
    char *file = NULL;
    int fd = -1;

    if (o->dests & DEST_FILE) {
        file = strdup(o->file);
        fd = file != NULL ? open_file(file) : -1;
        if (fd < 0) {
            int saved = errno;
            free(file);
            errno = saved;
            return -1;
        }
    }
    log_close();
    sink.dests = o->dests;
    sink.timestamp = o->timestamp;
    sink.file = file;
    sink.fd = fd;
    sink.journal = stderr_is_journal();
    sink.topic = o->topic;
    sink.topic_arg = o->topic_arg;
    log_threshold = o->level;
    if (o->dests & DEST_SYSLOG)
        openlog("caddis", LOG_PID | LOG_NDELAY, o->facility);
    return 0;
}

int log_reopen(void)
{
    int fd;

    if (!(sink.dests & DEST_FILE))
        return 0;
    fd = open_file(sink.file);
    if (fd < 0)
        return -1;      /* the old descriptor stays: better an old file than none */
    close(sink.fd);
    sink.fd = fd;
    return 0;
}

void log_chown(unsigned uid, unsigned gid)
{
    struct stat st;

    /* Only a plain file of root's own: never /dev/something that the configuration names. */
    if (sink.fd >= 0 && fstat(sink.fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == 0 &&
        fchown(sink.fd, uid, gid) < 0)
        log_warning("can't give the log file to the broker's account file=%s error=%s", log_qs(sink.file),
                    log_qs(strerror(errno)));
}

void log_close(void)
{
    if (sink.dests & DEST_SYSLOG)
        closelog();
    if (sink.fd >= 0)
        close(sink.fd);
    free(sink.file);
    sink.dests = DEST_STDERR;
    sink.timestamp = TIMESTAMP_ISO8601;
    sink.file = NULL;
    sink.fd = -1;
    sink.topic = NULL;
    log_threshold = LEVEL_INFO;
}

void log_topic_gone(const void *topic_arg)
{
    if (sink.topic_arg == topic_arg)
        sink.topic = NULL;
}

/* "2026-11-24T14:57:47.123Z " in UTC, so that lines of several boards can be merged. Length written. */
static size_t put_time(char *out, size_t cap)
{
    struct timespec now;
    struct tm tm;
    size_t n;

    if (sink.timestamp == TIMESTAMP_NONE)
        return 0;
    clock_gettime(CLOCK_REALTIME, &now);
    if (sink.timestamp == TIMESTAMP_EPOCH)
        return (size_t)snprintf(out, cap, "%lld.%03ld ", (long long)now.tv_sec, now.tv_nsec / 1000000);
    if (gmtime_r(&now.tv_sec, &tm) == NULL)
        return 0;
    n = strftime(out, cap, "%Y-%m-%dT%H:%M:%S", &tm);
    return n + (size_t)snprintf(out + n, cap - n, ".%03ldZ ", now.tv_nsec / 1000000);
}

/* One write per line: lines of several processes in one file don't mix. A log that can't be written is no reason
 * to stop, and there is nobody left to tell. */
static void put_line(int fd, const char *head, size_t head_len, const char *text, size_t len)
{
    char line[64 + LINE_MAX_BYTES + 1];

    memcpy(line, head, head_len);
    memcpy(line + head_len, text, len);
    line[head_len + len] = '\n';
    while (write(fd, line, head_len + len + 1) < 0 && errno == EINTR)
        ;
}

static void put_stream(int fd, enum log_level level, bool journal, const char *text, size_t len)
{
    char head[64];
    size_t n = 0;

    if (journal)
        n = (size_t)snprintf(head, sizeof head, "<%d>", levels[level].priority);
    else
        n = put_time(head, 48);
    if (!journal)
        n += (size_t)snprintf(head + n, sizeof head - n, "%s ", levels[level].name);
    put_line(fd, head, n, text, len);
}

/* Texts from libraries and the kernel may hold a line feed: nothing may look like a second log line. */
static size_t clean(char *text, int formatted)
{
    size_t len = formatted < 0 ? 0 : (size_t)formatted;

    if (len >= LINE_MAX_BYTES) {
        len = LINE_MAX_BYTES - 1;
        memcpy(text + len - 3, "...", 3);
    }
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7F)
            text[i] = '?';
    return len;
}

void log_write(enum log_level level, const char *fmt, ...)
{
    char text[LINE_MAX_BYTES];
    int saved = errno;
    va_list ap;
    size_t len;

    va_start(ap, fmt);
    len = clean(text, vsnprintf(text, sizeof text, fmt, ap));
    va_end(ap);
    if (sink.dests & DEST_STDERR)
        put_stream(STDERR_FILENO, level, sink.journal, text, len);
    if (sink.dests & DEST_STDOUT)
        put_stream(STDOUT_FILENO, level, false, text, len);
    if (sink.dests & DEST_FILE)
        put_stream(sink.fd, level, false, text, len);
    if (sink.dests & DEST_SYSLOG)
        syslog(levels[level].priority, "%.*s", (int)len, text);
    if (sink.dests & DEST_TOPIC && sink.topic != NULL && !sink.in_topic) {
        sink.in_topic = true;
        sink.topic(sink.topic_arg, level, text, len);
        sink.in_topic = false;
    }
    errno = saved;      /* a log call between a failure and its use of errno must not change it */
}

/* Length of the well-formed, printable character at p, 0 if there is none. C1 controls, line separators and
 * the characters that turn the direction of text count as not printable: a terminal would obey them. */
static size_t printable(const unsigned char *p, size_t left)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xC2 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : p[0] < 0xF5 ? 4 : 0;
    uint32_t c;

    if (n == 1)
        return p[0] >= ' ' && p[0] != 0x7F;
    if (n == 0 || n > left)
        return 0;
    c = p[0] & (0xFFu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3Fu);
    }
    if (c < least[n] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
        return 0;
    if (c < 0xA0 || (c >= 0x200B && c <= 0x200F) || (c >= 0x2028 && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069) ||
        c == 0xFEFF)
        return 0;
    return n;
}

const char *log_q(const void *bytes, size_t len)
{
    static char buffers[QUOTE_BUFFERS][QUOTED_MAX + 16];
    static unsigned next;
    char *out = buffers[next++ % QUOTE_BUFFERS], *p = out;
    const unsigned char *in = bytes;
    size_t i = 0;

    if (bytes == NULL)
        len = 0;
    *p++ = '"';
    while (i < len && p - out < QUOTED_MAX) {
        size_t n = printable(in + i, len - i);
        if (n == 0) {
            p += snprintf(p, 5, "\\x%02x", in[i++]);
            continue;
        }
        if (in[i] == '"' || in[i] == '\\')
            *p++ = '\\';
        memcpy(p, in + i, n);
        p += n;
        i += n;
    }
    strcpy(p, i < len ? "\"..." : "\"");
    return out;
}

const char *log_qs(const char *s)
{
    return log_q(s, s != NULL ? strlen(s) : 0);
}

bool log_allow(struct log_limit *l, unsigned burst, uint64_t now_ms)
{
    if (now_ms - l->window_ms >= WINDOW_MS || l->used == 0) {
        uint32_t left_out = l->left_out;
        *l = (struct log_limit){ .window_ms = now_ms };
        if (left_out > 0)
            log_warning("left out %u lines like the next one", left_out);
    }
    if (l->used >= burst) {
        l->left_out++;
        return false;
    }
    l->used++;
    return true;
}
