/* Durability without waiting. SQLite (synchronous=NORMAL) keeps every order that matters by itself: the WAL before
 * a checkpoint, the database after it, the WAL's header after a reset. What is left to us is that a commit is
 * durable, and for that any descriptor of the WAL file does; SQLite takes its locks on the other two files, so
 * closing ours drops none.
 *
 * Kernel AIO by raw system calls: libaio would be a dependency for four lines.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "persist/db.h"

#include <assert.h>
#include <errno.h>
#include <linux/aio_abi.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

void sync_init(struct persist *p)
{
    aio_context_t aio = 0;

    p->sync = (struct sync){ .event_fd = -1 };
    if (p->o.sync_commit || p->o.read_only || p->wal_fd < 0)
        return;
    if (syscall(SYS_io_setup, 1, &aio) < 0)
        return;
    p->sync.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (p->sync.event_fd < 0)
        syscall(SYS_io_destroy, aio);
    else
        p->sync.aio = aio;
}

void sync_fini(struct persist *p)
{
    /* Waits for what is under way. */
    if (p->sync.aio != 0)
        syscall(SYS_io_destroy, (aio_context_t)p->sync.aio);
    if (p->sync.event_fd >= 0)
        close(p->sync.event_fd);
    p->sync.aio = 0;
    p->sync.event_fd = -1;
    p->sync.under_way = false;
}

int persist_sync_fd(const struct persist *p)
{
    return p->sync.event_fd;
}

static enum persist_rc failed(struct persist *p, int error)
{
    /* The kernel may have dropped the pages: what they held is known only to be gone after a power cut, but that is
     * enough. */
    p->sync.failed = true;
    snprintf(p->error, sizeof p->error, "store %s: the write-ahead log could not be made durable: %s", p->o.path,
             strerror(error));
    return PERSIST_IO;
}

/* 0 or an errno. */
static int sync_now(struct persist *p)
{
    int rc;

    do
        rc = fdatasync(p->wal_fd);
    while (rc < 0 && errno == EINTR);
    p->stats.syncs++;
    return rc < 0 ? errno : 0;
}

static bool submit(struct persist *p)
{
    struct iocb cb, *list = &cb;

    memset(&cb, 0, sizeof cb);
    cb.aio_lio_opcode = IOCB_CMD_FDSYNC;
    cb.aio_fildes = (uint32_t)p->wal_fd;
    cb.aio_flags = IOCB_FLAG_RESFD;
    cb.aio_resfd = (uint32_t)p->sync.event_fd;
    return syscall(SYS_io_submit, (aio_context_t)p->sync.aio, 1, &list) == 1;
}

enum persist_rc persist_sync_start(struct persist *p)
{
    uint64_t one = 1;

    assert(!p->sync.under_way);
    if (p->sync.failed)
        return failed(p, EIO);
    if (p->o.sync_commit)
        return PERSIST_OK;
    if (p->sync.event_fd < 0)
        return persist_sync_wait(p);
    p->sync.under_way = true;
    p->sync.submitted = p->unsynced && submit(p);
    if (p->sync.submitted) {
        p->stats.syncs++;
    } else {
        /* Nothing to do, or the kernel will not have it (a busy system has a limit). Done here, told as ever. */
        p->sync.done_errno = p->unsynced ? sync_now(p) : 0;
        if (write(p->sync.event_fd, &one, sizeof one) < 0)
            return failed(p, errno);
    }
    p->unsynced = false;
    return PERSIST_OK;
}

enum persist_rc persist_sync_finish(struct persist *p)
{
    struct io_event done = { .res = 0 };
    uint64_t count;
    long n = 1;

    assert(p->sync.under_way);
    if (p->sync.submitted) {
        do
            n = syscall(SYS_io_getevents, (aio_context_t)p->sync.aio, 1, 1, &done, NULL);
        while (n < 0 && errno == EINTR);
    } else {
        done.res = -p->sync.done_errno;
    }
    if (read(p->sync.event_fd, &count, sizeof count) < 0 && errno != EAGAIN)
        n = -1;
    p->sync.under_way = false;
    if (n != 1)
        return failed(p, errno);
    return done.res < 0 ? failed(p, (int)-done.res) : PERSIST_OK;
}

enum persist_rc persist_sync_wait(struct persist *p)
{
    int error;

    if (p->sync.under_way && persist_sync_finish(p) != PERSIST_OK)
        return PERSIST_IO;
    if (p->sync.failed)
        return failed(p, EIO);
    if (p->o.sync_commit || !p->unsynced || p->wal_fd < 0)
        return PERSIST_OK;
    error = sync_now(p);
    if (error != 0)
        return failed(p, error);
    p->unsynced = false;
    return PERSIST_OK;
}
