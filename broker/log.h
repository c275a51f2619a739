/* The log: one sink for the process (the only global state besides the memory counters).
 * logfmt lines: an event in words, then key=value; names from the wire are quoted and escaped by log_q().
 * error: an operator must act. warning: a peer misbehaves or a limit bites (rate-limited). notice: start, stop, reload.
 * info: life cycle of clients. debug: packets. Passwords and payloads are never logged.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_LOG_H
#define CADDIS_BROKER_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LEVEL_ERROR, LEVEL_WARNING, LEVEL_NOTICE, LEVEL_INFO, LEVEL_DEBUG };
enum log_dest { DEST_STDERR = 1, DEST_STDOUT = 2, DEST_SYSLOG = 4, DEST_FILE = 8, DEST_TOPIC = 16 };
enum log_timestamp { TIMESTAMP_ISO8601, TIMESTAMP_EPOCH, TIMESTAMP_NONE };

struct log_options {
    unsigned dests;            /* enum log_dest bits; 0: none */
    const char *file;          /* with DEST_FILE */
    enum log_level level;
    enum log_timestamp timestamp;
    int facility;              /* syslog(3) */
    /* With DEST_TOPIC: gets every line; must not log. */
    void (*topic)(void *arg, enum log_level level, const char *line, size_t len);
    void *topic_arg;
};

/* Before log_open() lines go to stderr at level info. -1: the file can't be opened (errno set), the old sink stays.
 * Under systemd (JOURNAL_STREAM set) stderr lines carry <N> priorities and no time. Copies what it needs. */
int log_open(const struct log_options *o);
/* Opens the log file again (rotation). -1: can't (errno), the old one stays in use. */
int log_reopen(void);
/* Gives the log file to the account that the process will run as, so that it can be opened again later. */
void log_chown(unsigned uid, unsigned gid);
void log_close(void);
/* The topic sink with this argument is about to be gone: lines no longer go there. Another one stays. */
void log_topic_gone(const void *topic_arg);

extern enum log_level log_threshold;

void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define log_at(level, ...) ((level) <= log_threshold ? log_write((level), __VA_ARGS__) : (void)0)
#define log_error(...)   log_at(LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_at(LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...)  log_at(LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...)    log_at(LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_at(LEVEL_DEBUG, __VA_ARGS__)

/* Quotes and escapes: "sensor-7", "a\x1b[2J", cut at ~200 bytes with "...". The text lives in one of eight rotating
 * buffers: good for one log call. NULL gives "". */
const char *log_q(const void *p, size_t len);
const char *log_qs(const char *s);

/* Rate limit for warnings that a peer can cause at will: at most `burst` lines per 10 s window per limiter; the first
 * line of the next window says how many were left out. Embed one per kind. now_ms: any monotonic clock. */
struct log_limit { uint64_t window_ms; uint32_t used, left_out; };
bool log_allow(struct log_limit *l, unsigned burst, uint64_t now_ms);

#endif
