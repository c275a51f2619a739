/* What the store knows of the machine's clock, and times that prove to have been wrong.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "persist/db.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

void db_boot_id(char out[64])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, out, 63) : 0;

    if (fd >= 0)
        close(fd);
    out[n > 0 ? n : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
}

static int give_number(struct row *r, void *arg)
{
    int64_t *out = arg;

    *out = sqlite3_column_int64(r->st, 0);
    return 1;
}

static int give_last_run(struct row *r, void *arg)
{
    struct persist_clock *c = arg;
    char boot[64];
    const char *then = (const char *)sqlite3_column_text(r->st, 2);

    db_boot_id(boot);
    *c = (struct persist_clock){
        .same_boot = then != NULL && boot[0] != '\0' && strcmp(then, boot) == 0,
        .zero_ms = row_opt_int(r, 3, -ROW_MS_MAX, ROW_MS_MAX, 0),
        .since_ms = row_opt_int(r, 4, 0, ROW_MS_MAX, 0),
        .before_ms = row_opt_int(r, 5, 0, ROW_MS_MAX, 0),
    };
    if (r->bad || c->since_ms <= c->before_ms)
        *c = (struct persist_clock){ .same_boot = false };
    return 1;
}

enum persist_rc persist_clock(struct persist *p, struct persist_clock *out)
{
    sqlite3_stmt *last = stmt_get(p, STMT_LAST_RUN), *newest = stmt_get(p, STMT_MAX_TIME);

    *out = (struct persist_clock){ .same_boot = false };
    if (last == NULL || newest == NULL || stmt_each(p, last, give_last_run, out) != PERSIST_OK)
        return p->tx_rc;
    if (out->same_boot)
        return PERSIST_OK;
    sqlite3_bind_int64(newest, 1, ROW_MS_MAX);
    return stmt_each(p, newest, give_number, &out->newest_ms);
}

enum persist_rc persist_clock_move(struct persist *p, int64_t since_ms, int64_t by_ms)
{
    /* When a will is due hangs on when its session was left: wills first. */
    static const enum stmt moves[] = {
        STMT_MOVE_WILL, STMT_MOVE_CONNECTED, STMT_MOVE_GONE, STMT_MOVE_MESSAGE, STMT_MOVE_RETAINED, STMT_MOVE_DROPPED,
        STMT_MOVE_START, STMT_MOVE_END,
    };
    int64_t run_id = p->run_id != 0 ? p->run_id : p->last_run_id;
    enum persist_rc rc = PERSIST_OK;

    for (unsigned i = 0; rc == PERSIST_OK && i < sizeof moves / sizeof moves[0]; i++)
        rc = stmt_run_ints(p, moves[i], 2, since_ms, by_ms);
    return rc == PERSIST_OK ? stmt_run_ints(p, STMT_MOVE_CLOCK, 3, since_ms, by_ms, run_id) : rc;
}
