/* What the store needs now and then, done right after a commit: moving the write-ahead log into the database, and
 * noticing what people do to the files. And what all the writing means.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/broker.h"

#include <inttypes.h>
#include <stdlib.h>

/* Are the files still where they were? */
#define LOOK_MS 10000
/* A write-ahead log of this size means that a reader keeps it from being moved; said again at each doubling. */
#define WAL_LARGE (16u << 20)
#define WEAR_CARD_BYTES 8e9
#define WEAR_LEAST_S    600

struct wear journal_wear(const struct broker *b, uint64_t bytes_written)
{
    double up_s = (double)(b->now_ms - b->started_ms) / 1000;
    struct wear w = { .early = up_s < WEAR_LEAST_S };

    w.bytes_a_day = (double)bytes_written * 86400 / (up_s > 1 ? up_s : 1);
    if (bytes_written > 0)
        w.card_days = WEAR_CARD_BYTES * WEAR_CARD_CYCLES / WEAR_CARD_REWRITES / w.bytes_a_day;
    return w;
}

static void look_for_blocker(struct broker *b)
{
    struct journal *j = &b->journal;
    struct persist_stats st;
    char name[64];
    int pid;

    persist_stats(j->db, &st);
    if (st.wal_bytes < WAL_LARGE)
        j->wal_said_bytes = 0;
    else
        persist_checkpoint(j->db, true);        /* the reader may be gone; the log then begins anew, and short */
    if (st.wal_bytes < WAL_LARGE || st.wal_bytes < 2 * j->wal_said_bytes)
        return;
    j->wal_said_bytes = st.wal_bytes;
    if (persist_blocker(j->db, &pid, name))
        log_warning("the store's log grows, because a process reads the store without end wal_bytes=%" PRIu64
                    " pid=%d process=%s", st.wal_bytes, pid, log_qs(name));
    else
        log_warning("the store's log grows wal_bytes=%" PRIu64, st.wal_bytes);
}

static void look_for_files(struct broker *b)
{
    struct journal *j = &b->journal;
    char *why = NULL;

    if (b->now_ms - j->looked_ms < LOOK_MS)
        return;
    j->looked_ms = b->now_ms;
    look_for_blocker(b);
    if (!persist_moved(j->db))
        return;
    log_error("the store was deleted or replaced while in use; writing it anew path=%s", log_qs(b->cfg->store_path));
    if (persist_rescue(j->db, &why) == PERSIST_OK && journal_watch_sync(b) == 0)
        log_notice("the store is complete again path=%s", log_qs(b->cfg->store_path));
    else
        log_error("the store can't be written anew, what is acknowledged from now on is lost at the end error=%s",
                  log_qs(why));
    free(why);
}

void journal_upkeep(struct broker *b)
{
    struct journal *j = &b->journal;

    if (j->syncing != 0 || j->broken)
        return;
    j->upkeep = false;
    look_for_files(b);
    if (persist_checkpoint(j->db, false) != PERSIST_OK && log_allow(&j->limit, 1, b->now_ms))
        log_warning("the store's log can't be moved into the database now error=%s", log_qs(persist_error(j->db)));
}
