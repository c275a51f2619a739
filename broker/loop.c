/* Event loop over epoll.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/loop.h"

#include <assert.h>
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

/* Events fetched by one epoll_wait: enough to batch, few enough that timers keep their time. */
#define LOOP_BATCH 256

static uint32_t to_epoll(unsigned want)
{
    return ((want & LOOP_READ) ? (uint32_t)EPOLLIN : 0) | ((want & LOOP_WRITE) ? (uint32_t)EPOLLOUT : 0);
}

int loop_init(struct loop *l)
{
    l->epfd = epoll_create1(EPOLL_CLOEXEC);
    return l->epfd < 0 ? -1 : 0;
}

void loop_fini(struct loop *l)
{
    if (l->epfd >= 0)
        close(l->epfd);
    l->epfd = -1;
}

int loop_add(struct loop *l, struct loop_source *s, int fd, unsigned want)
{
    struct epoll_event e = { .events = to_epoll(want), .data.ptr = s };

    if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, fd, &e) < 0)
        return -1;
    s->fd = fd;
    s->want = want;
    return 0;
}

void loop_want(struct loop *l, struct loop_source *s, unsigned want)
{
    struct epoll_event e = { .events = to_epoll(want), .data.ptr = s };

    if (s->fd < 0 || s->want == want)
        return;
    s->want = want;
    if (epoll_ctl(l->epfd, EPOLL_CTL_MOD, s->fd, &e) < 0)
        assert(errno == ENOMEM);      /* anything else: we lost track of a descriptor */
}

void loop_del(struct loop *l, struct loop_source *s)
{
    if (s->fd < 0)
        return;
    epoll_ctl(l->epfd, EPOLL_CTL_DEL, s->fd, NULL);
    s->fd = -1;
}

void loop_wait(struct loop *l, int timeout_ms, void (*before)(void *arg), void *arg)
{
    struct epoll_event ev[LOOP_BATCH];
    int n = epoll_wait(l->epfd, ev, LOOP_BATCH, timeout_ms);

    before(arg);
    for (int i = 0; i < n; i++) {
        struct loop_source *s = ev[i].data.ptr;
        unsigned got = ((ev[i].events & EPOLLIN) ? LOOP_READ : 0u) | ((ev[i].events & EPOLLOUT) ? LOOP_WRITE : 0u) |
                       ((ev[i].events & (EPOLLERR | EPOLLHUP)) ? LOOP_HANGUP : 0u);

        if (s->fd >= 0)
            s->ready(s, got, arg);
    }
}
