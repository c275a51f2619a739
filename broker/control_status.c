/* What the broker is doing, in words and as JSON: one set of numbers, taken first.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/control.h"
#include "broker/listen.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DAY_S 86400

struct figures {
    uint64_t uptime_s;
    uint64_t waiting, waiting_bytes, inflight;  /* messages of all sessions */
    uint32_t waiting_sessions;
    uint64_t resident_bytes;
    struct persist_stats store;
    uint64_t changes;                           /* that the next commits will write */
    uint64_t undurable;                         /* commits that somebody waits for */
    uint64_t failing_s;
    struct wear wear;
};

/* ---- numbers ---- */

static uint64_t resident_bytes(void)
{
    char text[64];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    char *end;

    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    strtoull(text, &end, 10);
    return strtoull(end, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void take_sessions(struct broker *b, struct figures *f)
{
    for (struct session *s = session_each(&b->sessions, NULL); s != NULL; s = session_each(&b->sessions, s)) {
        f->waiting += session_waiting(s);
        f->waiting_bytes += s->queued_bytes;
        f->waiting_sessions += session_waiting(s) > 0;
        f->inflight += s->flow->inflight;
    }
}

static void take_store(struct broker *b, struct figures *f)
{
    const struct journal *j = &b->journal;

    if (!journal_on(j))
        return;
    persist_stats(j->db, &f->store);
    f->changes = (uint64_t)j->unstored + j->ops.n + j->gone.n + j->dropped.n;
    f->undurable = j->waited > j->durable ? j->waited - j->durable : 0;
    f->failing_s = journal_failing(j) ? (b->now_ms - j->failed_since_ms) / 1000 : 0;
    f->wear = journal_wear(b, f->store.bytes_written);
}

static void take(struct broker *b, struct figures *f)
{
    *f = (struct figures){ .uptime_s = (b->now_ms - b->started_ms) / 1000, .resident_bytes = resident_bytes() };
    take_sessions(b, f);
    take_store(b, f);
}

/* ---- for people ---- */

static const char *size_text(double bytes, char out[32])
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    unsigned u = 0;

    for (; bytes >= 1024 && u < 4; u++)
        bytes /= 1024;
    snprintf(out, 32, u == 0 ? "%.0f %s" : "%.1f %s", bytes, units[u]);
    return out;
}

static const char *time_text(uint64_t s, char out[32])
{
    if (s < 60)
        snprintf(out, 32, "%" PRIu64 " s", s);
    else if (s < 3600)
        snprintf(out, 32, "%" PRIu64 " min %" PRIu64 " s", s / 60, s % 60);
    else if (s < DAY_S)
        snprintf(out, 32, "%" PRIu64 " h %" PRIu64 " min", s / 3600, s % 3600 / 60);
    else
        snprintf(out, 32, "%" PRIu64 " d %" PRIu64 " h", s / DAY_S, s % DAY_S / 3600);
    return out;
}

static void listeners_text(const struct broker *b, struct control_text *out)
{
    for (unsigned i = 0; i < b->listener_count; i++) {
        const struct listener *l = &b->listeners[i];

        text_add(out, "listener       %s", log_qs(l->cfg->name));
        for (unsigned k = 0; k < l->socket_count; k++)
            text_add(out, "%s %s", k > 0 ? "," : "", l->sockets[k].name);
        text_add(out, "%s%s: %u connections\n", l->socket_count == 0 ? " not open, tried again" : "",
                 l->cfg->protocol != PROTOCOL_WEBSOCKETS ? l->tls != NULL ? " (TLS)" : ""
                 : l->tls != NULL                        ? " (WebSocket, TLS)"
                                                         : " (WebSocket)", l->conn_count);
    }
}

static void memory_text(const struct figures *f, struct control_text *out)
{
    char a[32], peak[32], sqlite[32], resident[32];

    text_add(out, "memory         %s, at most %s; SQLite %s; process %s\n", size_text((double)mem_total, a),
             size_text((double)mem_peak, peak), size_text((double)f->store.memory_bytes, sqlite),
             size_text((double)f->resident_bytes, resident));
    text_add(out, "              ");
    for (unsigned i = 0; i < MEM_CLASS_COUNT; i++)
        text_add(out, "%s %s %s", i > 0 ? "," : "", mem_class_name((enum mem_class)i),
                 size_text((double)mem_bytes[i], a));
    text_add(out, "\n");
}

static void wear_text(const struct figures *f, struct control_text *out)
{
    char a[32], d[32], up[32];

    text_add(out, "written        %s in %s", size_text((double)f->store.bytes_written, a),
             time_text(f->uptime_s, up));
    if (f->wear.early || f->wear.card_days == 0) {
        text_add(out, ", too short a time to say what that means for a card\n");
        return;
    }
    text_add(out, ", %s a day at this rate\n", size_text(f->wear.bytes_a_day, d));
    text_add(out, "               a card of 8 GB that takes %d cycles would last ", WEAR_CARD_CYCLES);
    if (f->wear.card_days > 100 * 365.0)
        text_add(out, "more than 100 years");
    else if (f->wear.card_days > 2 * 365.0)
        text_add(out, "%.0f years", f->wear.card_days / 365);
    else
        text_add(out, "%.0f days", f->wear.card_days);
    text_add(out, ", if it rewrites %d bytes for each\n", WEAR_CARD_REWRITES);
}

static void store_text(struct broker *b, const struct figures *f, struct control_text *out)
{
    char a[32], c[32];

    if (!journal_on(&b->journal)) {
        text_add(out, "store          none: everything is forgotten at exit\n");
        return;
    }
    text_add(out, "store          %s: %s, its log %s; durability = %s\n", log_qs(b->cfg->store_path),
             size_text((double)f->store.file_bytes, a), size_text((double)f->store.wal_bytes, c),
             b->cfg->durability == DURABILITY_POWER ? "power" : "crash");
    if (journal_failing(&b->journal))
        text_add(out, "journal        CAN'T BE WRITTEN for %s, QoS 1 and 2 wait: %s\n", time_text(f->failing_s, a),
                 persist_error(b->journal.db));
    text_add(out, "journal        %" PRIu64 " commits, %" PRIu64 " syncs, %" PRIu64 " failed; %" PRIu64 " changes wait "
             "for a commit, %" PRIu64 " commits for the disk\n", f->store.commits, f->store.syncs,
             METRIC(b, COMMITS_FAILED), f->changes, f->undurable);
    if (b->journal.lost_rows > 0 || b->journal.salvaged_rows > 0)
        text_add(out, "salvage        the store was damaged at the start: %" PRIu64 " rows salvaged, %" PRIu64
                 " lost\n", b->journal.salvaged_rows, b->journal.lost_rows);
    wear_text(f, out);
}

static void status_text(struct broker *b, const struct figures *f, struct control_text *out)
{
    char a[32], ram[32];

    text_add(out, "caddis         " CADDIS_VERSION ", pid %ld, up %s\n", (long)getpid(), time_text(f->uptime_s, a));
    text_add(out, "configuration  %s\n", b->cfg->path != NULL ? log_qs(b->cfg->path) : "(defaults)");
    listeners_text(b, out);
    text_add(out, "clients        %u online, %u offline, at most %u sessions\n", b->sessions.online,
             b->sessions.count - b->sessions.online, b->session_peak);
    text_add(out, "subscriptions  %u, of these shared %u\n", b->subs.count, b->subs.shared_count);
    text_add(out, "retained       %u messages, %s; of these %u in memory, %s\n", b->retain.count,
             size_text((double)b->retain.bytes, a), b->retain.ram_count, size_text((double)b->retain.ram_bytes, ram));
    text_add(out, "queued         %" PRIu64 " messages for %u clients, %s; %" PRIu64 " in flight\n", f->waiting,
             f->waiting_sessions, size_text((double)f->waiting_bytes, a), f->inflight);
    text_add(out, "messages       %" PRIu64 " in, %" PRIu64 " out, %" PRIu64 " dropped\n", METRIC(b, PUBLISH_RECEIVED),
             METRIC(b, PUBLISH_SENT), METRIC(b, PUBLISH_DROPPED));
    memory_text(f, out);
    store_text(b, f, out);
}

/* ---- for programs ---- */

static void json_string(struct control_text *out, const char *s)
{
    bool utf8;

    if (s == NULL) {
        text_add(out, "null");
        return;
    }
    utf8 = utf8_valid((struct view){ (const uint8_t *)s, strlen(s) });
    text_add(out, "\"");
    for (; *s != '\0'; s++) {
        unsigned char c = (unsigned char)*s;

        if (c == '"' || c == '\\')
            text_add(out, "\\%c", c);
        else if (c < ' ' || c == 0x7F || (!utf8 && c >= 0x80))
            text_add(out, "\\u%04x", c);
        else
            text_add(out, "%c", c);
    }
    text_add(out, "\"");
}

static void listeners_json(const struct broker *b, struct control_text *out)
{
    text_add(out, "\"listeners\": [");
    for (unsigned i = 0; i < b->listener_count; i++) {
        const struct listener *l = &b->listeners[i];

        text_add(out, "%s{\"name\": ", i > 0 ? ", " : "");
        json_string(out, l->cfg->name);
        text_add(out, ", \"sockets\": [");
        for (unsigned k = 0; k < l->socket_count; k++) {
            text_add(out, "%s", k > 0 ? ", " : "");
            json_string(out, l->sockets[k].name);
        }
        text_add(out, "], \"protocol\": \"%s\", \"tls\": %s, \"connections\": %u}",
                 listener_protocol(l->cfg), l->tls != NULL ? "true" : "false", l->conn_count);
    }
    text_add(out, "],\n");
}

static void memory_json(const struct figures *f, struct control_text *out)
{
    text_add(out, "\"memory\": {\"total_bytes\": %zu, \"peak_bytes\": %zu, \"sqlite_bytes\": %" PRIu64
             ", \"resident_bytes\": %" PRIu64 ", \"classes\": {", mem_total, mem_peak, f->store.memory_bytes,
             f->resident_bytes);
    for (unsigned i = 0; i < MEM_CLASS_COUNT; i++)
        text_add(out, "%s\"%s\": %zu", i > 0 ? ", " : "", mem_class_name((enum mem_class)i), mem_bytes[i]);
    text_add(out, "}},\n");
}

static void counters_json(const struct broker *b, struct control_text *out)
{
    static const char *const names[] = {
#define X(name, topic, text) topic,
        METRICS(X)
#undef X
    };

    text_add(out, "\"counters\": {");
    for (unsigned i = 0; i < METRIC_COUNT; i++)
        text_add(out, "%s\"%s\": %" PRIu64, i > 0 ? ", " : "", names[i], b->metrics.count[i]);
    text_add(out, "},\n");
}

static void store_json(struct broker *b, const struct figures *f, struct control_text *out)
{
    if (!journal_on(&b->journal)) {
        text_add(out, "\"store\": null\n");
        return;
    }
    text_add(out, "\"store\": {\"path\": ");
    json_string(out, b->cfg->store_path);
    text_add(out, ", \"durability\": \"%s\", \"file_bytes\": %" PRIu64 ", \"wal_bytes\": %" PRIu64
             ", \"commits\": %" PRIu64 ", \"syncs\": %" PRIu64 ", \"checkpoints\": %" PRIu64
             ", \"failed_commits\": %" PRIu64 ",\n", b->cfg->durability == DURABILITY_POWER ? "power" : "crash",
             f->store.file_bytes, f->store.wal_bytes, f->store.commits, f->store.syncs, f->store.checkpoints,
             METRIC(b, COMMITS_FAILED));
    text_add(out, "  \"salvaged_rows\": %" PRIu64 ", \"lost_rows\": %" PRIu64 ",\n", b->journal.salvaged_rows,
             b->journal.lost_rows);
    text_add(out, "  \"changes_waiting\": %" PRIu64 ", \"commits_waiting\": %" PRIu64 ", \"failing\": ", f->changes,
             f->undurable);
    if (journal_failing(&b->journal)) {
        text_add(out, "{\"since_s\": %" PRIu64 ", \"error\": ", f->failing_s);
        json_string(out, persist_error(b->journal.db));
        text_add(out, "}");
    } else {
        text_add(out, "null");
    }
    text_add(out, ",\n  \"bytes_written\": %" PRIu64 ", \"bytes_written_per_day\": %.0f, \"card_days\": ",
             f->store.bytes_written, f->wear.bytes_a_day);
    if (f->wear.card_days > 0 && !f->wear.early)
        text_add(out, "%.0f}\n", f->wear.card_days);
    else
        text_add(out, "null}\n");
}

static void status_json(struct broker *b, const struct figures *f, struct control_text *out)
{
    text_add(out, "{\"version\": \"" CADDIS_VERSION "\", \"pid\": %ld, \"uptime_s\": %" PRIu64 ", \"started_ms\": %"
             PRId64 ", \"config\": ", (long)getpid(), f->uptime_s, calendar_utc(b, (int64_t)b->started_ms));
    json_string(out, b->cfg->path);
    text_add(out, ",\n");
    listeners_json(b, out);
    text_add(out, "\"clients\": {\"online\": %u, \"offline\": %u, \"peak\": %u},\n", b->sessions.online,
             b->sessions.count - b->sessions.online, b->session_peak);
    text_add(out, "\"subscriptions\": {\"count\": %u, \"shared\": %u},\n", b->subs.count, b->subs.shared_count);
    text_add(out, "\"retained\": {\"count\": %u, \"bytes\": %" PRIu64 ", \"memory_count\": %u, \"memory_bytes\": "
             "%" PRIu64 "},\n", b->retain.count, b->retain.bytes, b->retain.ram_count, b->retain.ram_bytes);
    text_add(out, "\"queued\": {\"messages\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"sessions\": %u, \"inflight\": %"
             PRIu64 "},\n", f->waiting, f->waiting_bytes, f->waiting_sessions, f->inflight);
    memory_json(f, out);
    counters_json(b, out);
    store_json(b, f, out);
    text_add(out, "}\n");
}

void control_status(struct broker *b, struct control_text *out, bool json)
{
    struct figures f;

    take(b, &f);
    if (json)
        status_json(b, &f, out);
    else
        status_text(b, &f, out);
}
