/* The broker: start, the turn, reload, stop.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/broker.h"

#include "broker/auth.h"
#include "broker/clock.h"
#include "broker/control.h"
#include "broker/daemon.h"
#include "broker/listen.h"
#include "broker/login.h"
#include "broker/route.h"
#include "broker/service.h"
#include "broker/tls.h"

#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#ifdef CADDIS_DEBUG_CHECKS
#define CHECK_TURN(b)  broker_check(b)
#define CHECK_STORE(b) broker_check_store((b), false)
#else
#define CHECK_TURN(b)  ((void)(b))
#define CHECK_STORE(b) ((void)(b))
#endif

/* ---- signals ---- */

static void signal_ready(struct loop_source *src, unsigned events, void *arg)
{
    struct broker *b = arg;
    struct signalfd_siginfo si;

    (void)events;
    while (read(src->fd, &si, sizeof si) == (ssize_t)sizeof si) {
        if (si.ssi_signo == SIGHUP) {
            b->reload = true;
        } else {
            log_notice("stopping signal=%s", strsignal((int)si.ssi_signo));
            broker_stop(b, 0);
        }
    }
}

static bool open_signals(struct broker *b)
{
    sigset_t set;
    int fd;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    b->signals = (struct loop_source){ .fd = -1, .ready = signal_ready };
    return fd >= 0 && loop_add(&b->loop, &b->signals, fd, LOOP_READ) == 0;
}

/* ---- memory ---- */

/* The C library keeps what was freed for the next time. On a small board others need it. */
#define TRIM_LEFT 100
#define TRIM_MS   2000

static void trim(struct timer *t, void *arg)
{
    struct broker *b = arg;

    (void)t;
    b->left = 0;
    b->large_freed = mem_large_freed;
    tls_tidy();
    persist_shed(b->journal.db);
    mem_trim();
}

void broker_left(struct broker *b)
{
    if (++b->left >= TRIM_LEFT && !timer_armed(&b->trim))
        timer_arm(&b->wheel, &b->trim, b->now_ms + TRIM_MS);
}

/* ---- signs of life ---- */

static void alive(struct timer *t, void *arg)
{
    struct broker *b = arg;

    service_alive();
    timer_arm(&b->wheel, t, b->now_ms + b->watchdog_ms);
}

/* Whoever starts us may ask for a sign of life. It comes from a timer of the loop: a loop that hangs gives none. */
static void watch_over(struct broker *b)
{
    b->watchdog_ms = service_watchdog_ms();
    if (b->watchdog_ms > 0)
        timer_arm(&b->wheel, &b->watchdog, b->now_ms);
}

/* ---- start ---- */

static void read_clocks(void *arg)
{
    struct broker *b = arg;

    b->now_ms = clock_mono_ms();
    b->wall_ms = clock_wall_ms();
}

static bool init(struct broker *b)
{
    list_init(&b->logins);
    list_init(&b->turn);
    list_init(&b->holding);
    read_clocks(b);
    b->started_ms = b->now_ms;
    wheel_init(&b->wheel, b->now_ms);
    hash_key_init(&b->key);
    calendar_init(b);
    journal_init(b, NULL, false);
    timer_init(&b->trim, trim);
    timer_init(&b->watchdog, alive);
    b->read_buffer = mmap(NULL, READ_BUFFER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (b->read_buffer == MAP_FAILED) {
        b->read_buffer = NULL;
        return false;
    }
    b->encoded = mem_zero(MEM_OTHER, sizeof *b->encoded);
    if (loop_init(&b->loop) < 0)
        return false;
    calendar_watch(b);
    return open_signals(b) && sessions_init(&b->sessions, &b->key) && subs_init(&b->subs, &b->key) &&
           retain_init(&b->retain, &b->key) && b->encoded != NULL && sys_init(b);
}

/* Who the process is going to be; NULL: who it is. */
static const struct passwd *account(const struct config *cfg)
{
    return geteuid() == 0 ? getpwnam(cfg->user != NULL ? cfg->user : "caddis") : NULL;
}

/* A file's directory is made when only its last part is missing, for the account that we will run as. */
static void make_dir_of(const struct config *cfg, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash != NULL && slash != path ? strndup(path, (size_t)(slash - path)) : NULL;
    const struct passwd *pw = account(cfg);

    if (dir != NULL && mkdir(dir, 0750) == 0) {
        log_info("directory made path=%s", log_qs(dir));
        if (pw != NULL && chown(dir, pw->pw_uid, pw->pw_gid) < 0)
            log_warning("can't give the directory to user=%s error=%s", log_qs(pw->pw_name), log_qs(strerror(errno)));
    }
    free(dir);
}

/* What was read as root has to be read again at a reload, by somebody who may do less. */
static void warn_unreadable(const struct broker *b)
{
    for (unsigned i = 0; i < b->listener_count; i++) {
        const struct config_listener *l = b->listeners[i].cfg;
        const char *const files[] = { b->cfg->path,        l->certfile,    l->keyfile,          l->cafile,
                                      l->capath,           l->crlfile,     l->dhparamfile,      l->auth.password_file,
                                      l->auth.acl_file,    l->auth.psk_file };

        for (size_t k = i == 0 ? 0 : 1; k < sizeof files / sizeof files[0]; k++)
            if (files[k] != NULL && !daemon_may_read(files[k]))
                log_warning("a reload will fail: user=%s can't read file=%s listener=%s; chgrp and chmod g+r help",
                            log_qs(daemon_account()), log_qs(files[k]), log_qs(l->name));
    }
}

#define PROGRESS_EVERY_MS 3000

struct progress {
    const char *what;
    uint64_t said_ms;
};

static void progress(void *arg, const char *what, uint64_t done, uint64_t total)
{
    struct progress *p = arg;
    uint64_t now_ms = clock_mono_ms();

    if (p->what == what && now_ms - p->said_ms < PROGRESS_EVERY_MS)
        return;
    *p = (struct progress){ what, now_ms };
    service_starting(what, done);
    if (total > 0)
        log_notice("store: %s done=%" PRIu64 " of=%" PRIu64, what, done, total);
    else
        log_notice("store: %s done=%" PRIu64, what, done);
}

static bool open_file(struct broker *b, bool check, char **why)
{
    const struct config *cfg = b->cfg;
    struct progress p = { .what = NULL };
    struct persist_options o = {
        .path = cfg->store_path, .sync_commit = false, .salvage = true, .check = check,
        .cache_bytes = cfg->store_cache_bytes, .max_bytes = cfg->store_max_bytes, .progress = progress, .progress_arg = &p,
    };
    struct persist_open_info info = { .unclean = false };
    struct persist *db;

    switch (persist_open(&o, &db, &info, why)) {
    case PERSIST_REFUSED:
        return false;
    case PERSIST_SALVAGED:
        log_error("the store was damaged and moved aside moved_to=%s salvaged_rows=%llu lost_rows=%llu",
                  log_qs(info.moved_to), (unsigned long long)info.salvaged_rows, (unsigned long long)info.lost_rows);
        break;
    case PERSIST_CREATED:
    case PERSIST_OPENED:
        break;
    }
    if (info.stale_log[0] != '\0')
        log_error("another file was put in the store's place; the log of the one before was moved aside moved_to=%s",
                  log_qs(info.stale_log));
    if (info.migrated_from != 0)
        log_notice("store migrated from_version=%d backup=%s", info.migrated_from, log_qs(info.backup));
    log_notice("store path=%s durability=%s", log_qs(cfg->store_path),
               cfg->durability == DURABILITY_POWER ? "power" : "crash");
    if (journal_init(b, db, cfg->durability == DURABILITY_POWER) < 0) {
        *why = strdup(strerror(errno));
        return false;
    }
    b->journal.salvaged_rows = info.salvaged_rows;
    b->journal.lost_rows = info.lost_rows;
    return true;
}

/* Lets go of what has been restored so far. */
static bool start_over(struct broker *b)
{
    struct session *s;

    b->journal.broken = true;           /* what it has to write is not worth a damaged file */
    journal_fini(b);
    journal_init(b, NULL, false);
    while ((s = session_each(&b->sessions, NULL)) != NULL)
        session_free(b, s);
    retain_fini(b);
    return retain_init(&b->retain, &b->key);
}

/* A large store is not looked at as a whole at every start. If it turns out while it is read that it is damaged, it
 * is, and what can be read makes a new one. */
static bool open_store(struct broker *b, char **why)
{
    bool damaged;

    if (!b->cfg->persistence) {
        log_notice("no store: everything is forgotten at exit");
        return true;
    }
    if (!open_file(b, false, why))
        return false;
    if (recover(b, &damaged, why))
        return true;
    if (!damaged)
        return false;
    log_error("the store is damaged, looking for what can be read error=%s", log_qs(*why));
    free(*why);
    *why = NULL;
    return start_over(b) && open_file(b, true, why) && recover(b, &damaged, why);
}

struct broker *broker_new(struct config *cfg, char **why)
{
    struct broker *b = mem_zero(MEM_OTHER, sizeof *b);

    *why = NULL;
    if (b == NULL) {
        config_free(cfg);
        return NULL;
    }
    b->cfg = cfg;
    b->loop.epfd = b->signals.fd = -1;
    mem_tune();
    if (!init(b) || !listen_open(b, account(cfg), why))
        goto fail;
    b->auth = auth_new(b);
    if (b->auth == NULL || !listen_load_tls(b, cfg)) {
        *why = strdup("a file that the configuration names has errors, see above");
        goto fail;
    }
    listen_take_tls(b, true);
    if (cfg->persistence)
        make_dir_of(cfg, cfg->store_path);
    if (control_built && cfg->enable_control)
        make_dir_of(cfg, cfg->control_socket);
    control_open(b, account(cfg));
    if (daemon_drop(cfg->user, why) < 0)
        goto fail;
    warn_unreadable(b);
    if (!open_store(b, why))
        goto fail;
    journal_arm(b);
    sys_watch(b);
    persist_shed(b->journal.db);
    mem_trim();
    listen_start(b);
    return b;
fail:
    broker_free(b);
    return NULL;
}

void broker_free(struct broker *b)
{
    struct session *s;

    control_close(b);
    while (b->listener_count > 0 && b->conn_count > 0) {
        for (unsigned i = 0; i < b->listener_count; i++)
            LIST_EACH(l, &b->listeners[i].conns)
                conn_close(b, LIST_ENTRY(l, struct conn, all), CLOSE_SHUTDOWN);
        conn_reap(b);
    }
    journal_fini(b);
    if (b->sessions.slots != NULL) {
        while ((s = session_each(&b->sessions, NULL)) != NULL)
            session_free(b, s);
        sessions_fini(&b->sessions);
    }
    retain_fini(b);
    subs_fini(&b->subs);
    matches_fini(&b->matches);
    sys_fini(b);
    listen_close(b);
    auth_free(&b->auth);
    calendar_fini(b);
    if (b->signals.fd >= 0) {
        int fd = b->signals.fd;

        loop_del(&b->loop, &b->signals);
        close(fd);
    }
    loop_fini(&b->loop);
    if (b->read_buffer != NULL)
        munmap(b->read_buffer, READ_BUFFER);
    mem_free(MEM_OTHER, b->encoded);
    config_free(b->cfg);
    mem_free(MEM_OTHER, b);
}

/* ---- reload ---- */

void broker_error(struct broker *b, const char *line)
{
    log_error("%s", line);
    control_reload_says(b, line);
}

static void say_error(void *arg, const char *line)
{
    broker_error(arg, line);
}

static void say_fixed(void *arg, const char *key)
{
    char line[256];

    snprintf(line, sizeof line, "%s changes with the next start, not with a reload", key);
    log_warning("%s", line);
    control_reload_says(arg, line);
}

/* Every listener must be in the new file, or it could not be said what its clients may do. */
static bool may_adopt(struct broker *b, struct config *now)
{
    for (unsigned i = 0; i < b->listener_count; i++)
        if (config_listener_named(now, b->listeners[i].cfg->name) == NULL) {
            char line[256];

            snprintf(line, sizeof line, "not reloaded: [listener %s] is gone from the file; taking a listener away "
                     "needs a restart", b->listeners[i].cfg->name);
            say_error(b, line);
            return false;
        }
    return true;
}

static void adopt(struct broker *b, struct config *now)
{
    for (unsigned i = 0; i < b->listener_count; i++)
        b->listeners[i].cfg = config_listener_named(now, b->listeners[i].cfg->name);
}

static void take(struct broker *b, struct config *now)
{
    struct log_options o;

    now->verbose = b->cfg->verbose;
    now->no_terminal = b->cfg->no_terminal;
    o = config_log_options(now);
    config_keep_fixed(b->cfg, now, say_fixed, b);
    adopt(b, now);
    config_free(b->cfg);
    b->cfg = now;
    o.topic = sys_log;
    o.topic_arg = b;
    if (log_open(&o) < 0)
        log_error("the log file can't be opened, the old log stays file=%s error=%s", log_qs(o.file),
                  log_qs(strerror(errno)));
    sys_reload(b);
    log_notice("configuration reloaded file=%s", now->path != NULL ? log_qs(now->path) : "(defaults)");
}

/* false: the old configuration stays in use. */
static bool reload(struct broker *b)
{
    struct config *now;
    bool taken;

    service_reloading();
    now = config_load(b->cfg->path, say_error, b);
    taken = now != NULL && may_adopt(b, now);
    if (taken && listen_load_tls(b, now)) {
        taken = auth_reload(b, now);
        if (taken)
            take(b, now);
        listen_take_tls(b, taken);
    } else {
        taken = false;
    }
    if (!taken) {
        log_error("not reloaded, the old configuration stays in use");
        config_free(now);
    }
    log_reopen();
    service_reloaded(taken);
    return taken;
}

/* ---- the turn ---- */

static int wait_ms(const struct broker *b)
{
    if (!list_empty(&b->turn) || !list_empty(&b->logins) || b->reload || control_due(b))
        return 0;
    return wheel_wait_ms(&b->wheel, b->now_ms);
}

void broker_turn(struct broker *b)
{
    conn_read_again(b);
    wheel_run(&b->wheel, b->now_ms, b);
    if (b->reload) {
        b->reload = false;
        control_reloaded(b, reload(b));
    }
    control_turn(b);
    login_turn(b);
    sys_turn(b);
    conn_pump(b);
    calendar_turn(b);
    journal_turn(b);
    conn_flush(b);
    conn_reap(b);
    retain_turn(b);
    journal_arm(b);
    if (mem_large_freed != b->large_freed && !timer_armed(&b->trim))
        timer_arm(&b->wheel, &b->trim, b->now_ms + TRIM_MS);
    metrics_sample(b);
}

void broker_unpause(struct broker *b)
{
    for (unsigned i = 0; i < b->listener_count; i++)
        LIST_EACH(l, &b->listeners[i].conns) {
            struct conn *c = LIST_ENTRY(l, struct conn, all);

            if (c->paused)
                conn_pause(b, c, false);
        }
}

void broker_stop(struct broker *b, int exit_code)
{
    if (!b->stopping)
        b->exit_code = exit_code;
    b->stopping = true;
}

/* Everything acknowledged is stored; what is stored is acknowledged if it can be; everybody is told. */
static void say_goodbye(struct broker *b)
{
    struct journal *j = &b->journal;

    service_stopping();
    listen_stop(b);
    calendar_turn(b);
    if (journal_on(j) && !j->broken && journal_commit_now(b) && persist_sync_wait(j->db) == PERSIST_OK) {
        j->durable = j->seq;
        j->syncing = 0;
        CHECK_STORE(b);
        conn_release_all(b);
        conn_flush(b);
    }
    for (unsigned i = 0; i < b->listener_count; i++)
        LIST_EACH(l, &b->listeners[i].conns)
            conn_close(b, LIST_ENTRY(l, struct conn, all), CLOSE_SHUTDOWN);
    conn_flush(b);
    conn_reap(b);
}

int broker_run(struct broker *b)
{
    struct log_options o = config_log_options(b->cfg);

    if (o.dests & DEST_TOPIC) {
        o.topic = sys_log;
        o.topic_arg = b;
        log_open(&o);
    }
    watch_over(b);
    while (!b->stopping) {
        loop_wait(&b->loop, wait_ms(b), read_clocks, b);
        broker_turn(b);
        CHECK_TURN(b);
    }
    say_goodbye(b);
    return b->exit_code;
}
