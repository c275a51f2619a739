/* The log: quoting, the limiter, lines, files.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/log.h"
#include "suite.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct { const char *in; size_t len; const char *want; } quoted[] = {
#define IN(s) s, sizeof s - 1
    { IN("sensor-7"), "\"sensor-7\"" },
    { IN(""), "\"\"" },
    { IN("a\"b\\c"), "\"a\\\"b\\\\c\"" },
    { IN("a\nb"), "\"a\\x0ab\"" },
    { IN("\033[2J"), "\"\\x1b[2J\"" },
    { IN("a\0b"), "\"a\\x00b\"" },
    { IN("\x7F"), "\"\\x7f\"" },
    { IN("caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80"), "\"caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80\"" },
    { IN("\xC2\x9B" "2J"), "\"\\xc2\\x9b" "2J\"" },                       /* C1: CSI */
    { IN("\xE2\x80\xAE" "a"), "\"\\xe2\\x80\\xae" "a\"" },                /* right-to-left override */
    { IN("\xE2\x80\xA8"), "\"\\xe2\\x80\\xa8\"" },                        /* line separator */
    { IN("\xFF\xC3"), "\"\\xff\\xc3\"" },
    { IN("\xC0\xAF"), "\"\\xc0\\xaf\"" },                                 /* overlong */
    { IN("\xED\xA0\x80"), "\"\\xed\\xa0\\x80\"" },                        /* surrogate */
    { IN("\xF4\x90\x80\x80"), "\"\\xf4\\x90\\x80\\x80\"" },               /* beyond U+10FFFF */
#undef IN
};

START_TEST(quoted_rows)
{
    char *copy = malloc(quoted[_i].len + 1);    /* of its own, so that a sanitizer sees reads past the end */

    memcpy(copy, quoted[_i].in, quoted[_i].len);
    copy = realloc(copy, quoted[_i].len > 0 ? quoted[_i].len : 1);
    ck_assert_str_eq(log_q(copy, quoted[_i].len), quoted[_i].want);
    free(copy);
}
END_TEST

START_TEST(quoting_cuts)
{
    char text[1000];
    const char *q;

    memset(text, 'x', sizeof text);
    q = log_q(text, sizeof text);
    ck_assert_uint_lt(strlen(q), 216);
    ck_assert_str_eq(q + strlen(q) - 4, "\"...");
    memset(text, 1, sizeof text);
    q = log_q(text, sizeof text);
    ck_assert_uint_lt(strlen(q), 216);
    ck_assert_str_eq(log_q(NULL, 7), "\"\"");
    ck_assert_str_eq(log_qs(NULL), "\"\"");
}
END_TEST

START_TEST(eight_quotes_live_together)
{
    const char *q[8];
    char text[2] = "a", want[4];

    for (unsigned i = 0; i < 8; i++, text[0]++)
        q[i] = log_qs(text);
    for (unsigned i = 0; i < 8; i++) {
        snprintf(want, sizeof want, "\"%c\"", (char)('a' + (int)i));
        ck_assert_str_eq(q[i], want);
    }
}
END_TEST

/* ---- with a sink of our own ---- */

static struct { char last[4096]; enum log_level level; unsigned lines; } heard;

static void hear(void *arg, enum log_level level, const char *line, size_t len)
{
    ck_assert_ptr_eq(arg, &heard);
    ck_assert_uint_lt(len, sizeof heard.last);
    memcpy(heard.last, line, len);
    heard.last[len] = '\0';
    heard.level = level;
    heard.lines++;
    log_error("a topic sink that logs does not hear itself");
}

static void listen_in(enum log_level level)
{
    struct log_options o = { .dests = DEST_TOPIC, .level = level, .topic = hear, .topic_arg = &heard };

    ck_assert_int_eq(log_open(&o), 0);
}

START_TEST(threshold)
{
    listen_in(LEVEL_NOTICE);
    log_info("no");
    log_debug("no");
    ck_assert_uint_eq(heard.lines, 0);
    log_notice("yes n=%d", 7);
    ck_assert_uint_eq(heard.lines, 1);
    ck_assert_str_eq(heard.last, "yes n=7");
    ck_assert_int_eq((int)heard.level, LEVEL_NOTICE);
    log_error("yes");
    ck_assert_uint_eq(heard.lines, 2);
}
END_TEST

START_TEST(no_forged_lines)
{
    listen_in(LEVEL_INFO);
    log_info("a\nb\rc\033d %s", "e\nf");
    ck_assert_str_eq(heard.last, "a?b?c?d e?f");
}
END_TEST

START_TEST(long_lines_are_cut)
{
    char text[5000];

    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    listen_in(LEVEL_INFO);
    log_info("%s", text);
    ck_assert_uint_eq(strlen(heard.last), 2047);
    ck_assert_str_eq(heard.last + 2044, "...");
}
END_TEST

START_TEST(errno_survives)
{
    listen_in(LEVEL_INFO);
    errno = ENOSPC;
    log_info("x");
    ck_assert_int_eq(errno, ENOSPC);
}
END_TEST

START_TEST(limiter)
{
    struct log_limit l = { 0 };
    unsigned passed = 0;

    listen_in(LEVEL_INFO);
    for (unsigned i = 0; i < 100; i++)
        passed += log_allow(&l, 5, 1000 + i);
    ck_assert_uint_eq(passed, 5);
    ck_assert_uint_eq(heard.lines, 0);
    ck_assert(!log_allow(&l, 5, 1000 + 9999));
    ck_assert(log_allow(&l, 5, 1000 + 10000));      /* the next window says what was left out */
    ck_assert_uint_eq(heard.lines, 1);
    ck_assert_str_eq(heard.last, "left out 96 lines like the next one");
    ck_assert(log_allow(&l, 5, 1000 + 10001));
    ck_assert_uint_eq(heard.lines, 1);
}
END_TEST

/* ---- files ---- */

static char dir[] = "/tmp/check_log.XXXXXX";
static char path[64], moved[64];

static char *content(const char *name)
{
    static char text[4096];
    FILE *f = fopen(name, "r");

    ck_assert_ptr_nonnull(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    return text;
}

static struct log_options to_file(enum log_timestamp timestamp)
{
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/log", dir);
    snprintf(moved, sizeof moved, "%s/log.1", dir);
    return (struct log_options){ .dests = DEST_FILE, .file = path, .level = LEVEL_INFO, .timestamp = timestamp };
}

static void remove_files(void)
{
    log_close();
    unlink(path);
    unlink(moved);
    rmdir(dir);
}

START_TEST(file_and_rotation)
{
    struct log_options o = to_file(TIMESTAMP_NONE);
    struct stat st;

    ck_assert_int_eq(log_open(&o), 0);
    log_warning("one");
    ck_assert_int_eq(rename(path, moved), 0);
    log_info("two");
    ck_assert_int_eq(log_reopen(), 0);
    log_info("three");
    ck_assert_str_eq(content(moved), "warning one\ninfo two\n");
    ck_assert_str_eq(content(path), "info three\n");
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07, 0);          /* nobody else reads who connects */
    remove_files();
}
END_TEST

START_TEST(bad_file_keeps_the_old_sink)
{
    struct log_options o = to_file(TIMESTAMP_NONE), bad = o;

    ck_assert_int_eq(log_open(&o), 0);
    bad.file = "/nowhere/at/all/log";
    ck_assert_int_eq(log_open(&bad), -1);
    ck_assert_int_eq(errno, ENOENT);
    log_info("still here");
    ck_assert_str_eq(content(path), "info still here\n");
    remove_files();
}
END_TEST

START_TEST(timestamps)
{
    struct log_options o = to_file(TIMESTAMP_ISO8601);
    unsigned y, mo, d, h, mi, s, ms, sec;
    char *text;
    int n = 0;

    ck_assert_int_eq(log_open(&o), 0);
    log_info("x");
    text = content(path);
    ck_assert_int_eq(sscanf(text, "%4u-%2u-%2uT%2u:%2u:%2u.%3uZ info x%n", &y, &mo, &d, &h, &mi, &s, &ms, &n), 7);
    ck_assert_uint_eq((size_t)n + 1, strlen(text));
    unlink(path);
    o.timestamp = TIMESTAMP_EPOCH;
    ck_assert_int_eq(log_open(&o), 0);
    log_info("x");
    text = content(path);
    n = 0;
    ck_assert_int_eq(sscanf(text, "%u.%3u info x%n", &sec, &ms, &n), 2);
    ck_assert_uint_eq((size_t)n + 1, strlen(text));
    remove_files();
}
END_TEST

/* Under systemd: a priority, no time, no level; but only if stderr really is the journal's stream. */
START_TEST(journal)
{
    struct log_options o = to_file(TIMESTAMP_ISO8601);
    FILE *f = freopen(path, "w", stderr);
    char stream[64];
    struct stat st;

    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
    snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    o.dests = DEST_STDERR;
    ck_assert_int_eq(log_open(&o), 0);
    log_error("x");
    log_info("y");
    setenv("JOURNAL_STREAM", "1:1", 1);
    o.timestamp = TIMESTAMP_NONE;
    ck_assert_int_eq(log_open(&o), 0);
    log_info("z");
    ck_assert_str_eq(content(path), "<3>x\n<6>y\ninfo z\n");
    remove_files();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log");
    TCase *t = tcase_create("log");

    tcase_add_loop_test(t, quoted_rows, 0, COUNT(quoted));
    tcase_add_test(t, quoting_cuts);
    tcase_add_test(t, eight_quotes_live_together);
    tcase_add_test(t, threshold);
    tcase_add_test(t, no_forged_lines);
    tcase_add_test(t, long_lines_are_cut);
    tcase_add_test(t, errno_survives);
    tcase_add_test(t, limiter);
    tcase_add_test(t, file_and_rotation);
    tcase_add_test(t, bad_file_keeps_the_old_sink);
    tcase_add_test(t, timestamps);
    tcase_add_test(t, journal);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
