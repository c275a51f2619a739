/* The event loop: epoll, level-triggered. Everything that can become readable embeds a loop_source.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_LOOP_H
#define CADDIS_BROKER_LOOP_H

#include <stdbool.h>
#include <stdint.h>

enum { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_HANGUP = 4 };

struct loop_source {
    int fd;              /* -1: not in the loop */
    unsigned want;       /* LOOP_READ | LOOP_WRITE */
    /* events: LOOP_*; LOOP_HANGUP is reported whatever was asked for. Must not free the source. */
    void (*ready)(struct loop_source *s, unsigned events, void *arg);
};

struct loop {
    int epfd;
};

int loop_init(struct loop *l);        /* -1: errno */
void loop_fini(struct loop *l);
/* -1: errno (ENOSPC: /proc/sys/fs/epoll/max_user_watches). */
int loop_add(struct loop *l, struct loop_source *s, int fd, unsigned want);
/* Changes what is waited for; does nothing if that is what it waits for already. */
void loop_want(struct loop *l, struct loop_source *s, unsigned want);
/* Takes it out; the caller closes the fd. Events of this turn that were already fetched are dropped. */
void loop_del(struct loop *l, struct loop_source *s);
/* Sleeps at most timeout_ms (-1: for ever) and calls ready() for what came. The only place that sleeps.
 * before(): called between the sleep and the first ready(), to read the clocks. */
void loop_wait(struct loop *l, int timeout_ms, void (*before)(void *arg), void *arg);

#endif
