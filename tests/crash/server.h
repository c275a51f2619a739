/* The broker as a process: a directory of its own, a configuration, a start, and the end it is given.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_TESTS_SERVER_H
#define CADDIS_TESTS_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

struct server {
    const char *program;                /* takes -c FILE */
    const char *test;                   /* who says what went wrong */
    char dir[128];                      /* configuration, store, log: kept when the test fails */
    pid_t pid;                          /* 0: not running */
    int err;                            /* its stderr; -1: none */
    FILE *log;
    uint16_t port;                      /* 0: not known yet */
    void (*said)(const char *line);     /* gets each line of its log; NULL: nobody does */
    char line[1024];                    /* of stderr, so far */
    size_t line_len;
};

/* A new directory under TMPDIR. false: said why on stderr, as all do that return bool, unless said otherwise. */
bool server_prepare(struct server *s, const char *program, const char *test);
/* A file in the directory. */
void server_path(const struct server *s, const char *name, char *buf, size_t cap);
/* The configuration: what every test needs (its place, its listener on a port of the kernel's choice), and text. */
bool server_configure(const struct server *s, const char *text);
/* why: for the log. */
bool server_start(struct server *s, const char *why);
/* Takes in what is on stderr; sets port when the broker says where it listens. */
void server_read(struct server *s);
/* true: it ended without being told to; *status as from waitpid(). */
bool server_died(struct server *s, int *status);
void server_signal(struct server *s, int sig);
/* Waits for the end at most limit_ms; false: still there. */
bool server_wait(struct server *s, uint64_t limit_ms, int *status);
/* After the end: queued messages and packet ids held in the store; -1: it can't be read, *why says so (static). */
long server_left_over(const struct server *s, const char **why);
/* keep: leaves the directory and says where it is. */
void server_finish(struct server *s, bool keep);

#endif
