/* The broker, and what its operator does: reloads with good and with broken files, tools, backups, a reader of the
 * store that takes its time.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/soak/soak.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { START_LIMIT_MS = 30000, STOP_LIMIT_MS = 30000, ANSWER_LIMIT_MS = 30000, ANSWER_MAX = 16384 };

enum awaited { NOTHING, RELOADED, REFUSED };

struct server server;
static uint64_t started_ms, operate_ms;
static bool announced;                  /* it listens, and everybody knows */
static const char *durability;
static enum awaited awaited;            /* what the log is to say after a SIGHUP */
static uint64_t awaited_since_ms;
static char answer[ANSWER_MAX];

static struct {
    pid_t pid;                          /* 0: none runs */
    const char *name;
    uint64_t since_ms;
    unsigned life;                      /* of the broker it was started for */
    bool makes_backup;
} tool;
static unsigned life;

/* ---- configuration ---- */

/* What changes from one reload to the next is what may change without anybody losing anything. */
static void configure(bool broken)
{
    char text[768], control[256];

    server_path(&server, "control", control, sizeof control);
    snprintf(text, sizeof text,
             "[broker]\nenable_control = true\ncontrol_socket = %s\nsys_interval = 0\n"
             "[log]\nlevel = %s\n"
             "[persistence]\ndurability = %s\n"
             "[limits]\nmax_queued_messages = %d\nmax_inflight_messages = %u\nwrite_buffer = %uK\n"
             "connect_timeout = %us\nmax_packet_size = %u\n%s",
             control, chance(4) ? "debug" : "info", durability, QUEUE_LIMIT, WINDOW_MAX + rnd(30), 128 + rnd(256), 5 + rnd(20),
             1000000 + rnd(1000000), broken ? "max_inflight_mesages = many\n[nonsense\n" : "");
    if (!server_configure(&server, text))
        fail_about(NULL, NULL, "the configuration can't be written");
}

static void said(const char *line)
{
    if (strstr(line, "configuration reloaded") != NULL) {
        if (awaited == REFUSED)
            fail_about(NULL, NULL, "a broken configuration was taken");
        awaited = NOTHING;
    } else if (strstr(line, "not reloaded, the old configuration stays in use") != NULL) {
        if (awaited != REFUSED)
            fail_about(NULL, NULL, "a good configuration was refused; see the log");
        awaited = NOTHING;
        configure(false);
    } else if (strstr(line, "assertion") != NULL || strstr(line, "Sanitizer") != NULL ||
               strstr(line, "runtime error") != NULL || strstr(line, "rows missing") != NULL ||
               strstr(line, "can't be read") != NULL) {
        note("broker", "says: %.120s", line);
        fail_about(NULL, NULL, "the broker says: %s", line);
    }
}

/* ---- its life ---- */

bool broker_prepare(const char *program)
{
    if (!server_prepare(&server, program, "soak"))
        return false;
    server.said = said;
    return true;
}

uint64_t broker_started_ms(void)
{
    return started_ms;
}

void broker_start(void)
{
    char why[64];

    durability = chance(2) ? "power" : "crash";
    configure(false);
    awaited = NOTHING;
    announced = false;
    life++;
    started_ms = now_ms();
    operate_ms = started_ms + 1000 + rnd(3000);
    snprintf(why, sizeof why, "life %u, durability %s", life, durability);
    note("broker", "starts: %s", why);
    if (!server_start(&server, why))
        fail_about(NULL, NULL, "the broker can't be started");
    watch_begin();
}

bool broker_listening(void)
{
    return announced;
}

static void ended(int status)
{
    fail_about(NULL, NULL, "the broker ended by itself: %s %d; see its log", WIFSIGNALED(status) ? "signal" : "status",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

static void look_at_tool(void);

void broker_look(void)
{
    int status;

    server_read(&server);
    if (server_died(&server, &status))
        ended(status);
    look_at_tool();
    holder_act();
    if (awaited != NOTHING && now_ms() > awaited_since_ms + ANSWER_LIMIT_MS)
        fail_about(NULL, NULL, "the broker did not answer a SIGHUP within %d s", ANSWER_LIMIT_MS / 1000);
    if (announced)
        return;
    if (server.port != 0) {
        announced = true;
        started_ms = now_ms();
        note("broker", "listens on port %u", server.port);
        willers_started();
    } else if (now_ms() > started_ms + START_LIMIT_MS) {
        fail_about(NULL, NULL, "the broker did not say where it listens within %d s", START_LIMIT_MS / 1000);
    }
}

static void after(bool is_kill, uint64_t told_ms)
{
    read_last_words();
    willers_ending(is_kill, told_ms);
    if (is_kill)
        readers_killed();
    server.port = 0;
    announced = false;
    ghosts_drop();
}

void broker_kill(void)
{
    int status = 0;

    note("broker", "kill -9");
    watch_verdict();
    server_signal(&server, SIGKILL);
    if (!server_wait(&server, STOP_LIMIT_MS, &status))
        fail_about(NULL, NULL, "the broker did not die");
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        ended(status);
    totals.kills++;
    after(true, now_ms());
}

void broker_stop(void)
{
    uint64_t told_ms = now_ms(), until = told_ms + STOP_LIMIT_MS;
    int status = 0;

    note("broker", "SIGTERM");
    watch_verdict();
    server_signal(&server, SIGTERM);
    while (!server_died(&server, &status)) {
        turn(true);
        server_read(&server);
        if (now_ms() > until)
            fail_about(NULL, NULL, "the broker did not end within %d s after SIGTERM", STOP_LIMIT_MS / 1000);
    }
    /* So early that it had not got round to waiting for signals: nothing was open yet. */
    if (!announced && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM)
        note("broker", "ended before it had begun");
    else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_about(NULL, NULL, "after SIGTERM the broker ended with %s %d; see its log",
                   WIFSIGNALED(status) ? "signal" : "status",
                   WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    totals.stops++;
    after(false, told_ms);
}

void broker_end(bool keep)
{
    static const char *const files[] = { "answer", "backup", "control", "history" };
    char path[256];
    int status;

    if (tool.pid > 0) {
        kill(tool.pid, SIGKILL);
        waitpid(tool.pid, &status, 0);
    }
    holder_end();
    if (!keep)
        for (unsigned i = 0; i < sizeof files / sizeof files[0]; i++) {
            server_path(&server, files[i], path, sizeof path);
            unlink(path);
        }
    server_finish(&server, keep);
}

/* ---- tools ---- */

static void run_tool(const char *name, const char *const *words)
{
    const char *argv[8] = { server.program, NULL };
    char out[256];
    unsigned n = 1;
    int fd;

    for (; *words != NULL; words++)
        argv[n++] = *words;
    server_path(&server, "answer", out, sizeof out);
    tool.name = name;
    tool.since_ms = now_ms();
    tool.life = life;
    tool.makes_backup = false;
    tool.pid = fork();
    if (tool.pid < 0)
        fail_about(NULL, NULL, "fork: %s", strerror(errno));
    if (tool.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        fd = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
        execv(server.program, (char *const *)argv);
        _exit(127);
    }
    note("broker", "caddis %s", name);
    totals.tools++;
}

static void read_answer(void)
{
    char path[256];
    FILE *f;
    size_t n;

    server_path(&server, "answer", path, sizeof path);
    f = fopen(path, "re");
    n = f != NULL ? fread(answer, 1, sizeof answer - 1, f) : 0;
    answer[n] = '\0';
    if (f != NULL)
        fclose(f);
}

static void tool_ended(int status)
{
    const char *why;
    char path[256];

    tool.pid = 0;
    read_answer();
    if (tool.life != life || !announced)        /* its broker was taken away under it */
        return;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_about(NULL, NULL, "caddis %s ended with %s %d: %.300s", tool.name,
                   WIFSIGNALED(status) ? "signal" : "status",
                   WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), answer);
    if (!tool.makes_backup)
        return;
    why = store_sound("backup");
    if (why != NULL)
        fail_about(NULL, NULL, "the backup is damaged: %s", why);
    server_path(&server, "backup", path, sizeof path);
    unlink(path);
}

static void look_at_tool(void)
{
    int status;

    if (tool.pid > 0 && waitpid(tool.pid, &status, WNOHANG) == tool.pid)
        tool_ended(status);
    if (tool.pid > 0 && now_ms() > tool.since_ms + ANSWER_LIMIT_MS)
        fail_about(NULL, NULL, "caddis %s took longer than %d s", tool.name, ANSWER_LIMIT_MS / 1000);
}

bool broker_tools_done(void)
{
    return tool.pid == 0 && awaited == NOTHING;
}

void broker_ask_status(void)
{
    char control[256];

    server_path(&server, "control", control, sizeof control);
    run_tool("status", (const char *const[]){ "status", "--json", "--socket", control, NULL });
}

uint64_t broker_figure(const char *object, const char *name)
{
    char key[64];
    const char *at;

    snprintf(key, sizeof key, "\"%s\": {", object);
    at = strstr(answer, key);
    snprintf(key, sizeof key, "\"%s\": ", name);
    at = at != NULL ? strstr(at, key) : NULL;
    if (at == NULL)
        fail_about(NULL, NULL, "caddis status --json says nothing about %s of %s", name, object);
    return strtoull(at + strlen(key), NULL, 10);
}

static void any_tool(void)
{
    static const char *const things[] = { "sessions", "subscriptions", "queue", "inflight", "retained", "dropped",
                                          "runs" };
    char control[256], store[256], backup[256];

    server_path(&server, "control", control, sizeof control);
    server_path(&server, "caddis.db", store, sizeof store);
    server_path(&server, "backup", backup, sizeof backup);
    switch (rnd(4)) {
    case 0:
        unlink(backup);
        run_tool("backup", (const char *const[]){ "backup", backup, "--socket", control, NULL });
        tool.makes_backup = true;
        break;
    case 1:
        run_tool("show", (const char *const[]){ "show", things[rnd(sizeof things / sizeof things[0])], "--store", store,
                                                NULL });
        break;
    case 2:
        run_tool("status", (const char *const[]){ "status", "--socket", control, NULL });
        break;
    default:
        broker_ask_status();
    }
}

static void reload(bool broken)
{
    char control[256];

    note("broker", "reload, %s file", broken ? "broken" : "good");
    totals.reloads++;
    configure(broken);
    awaited = broken ? REFUSED : RELOADED;
    awaited_since_ms = now_ms();
    server_path(&server, "control", control, sizeof control);
    if (broken || tool.pid != 0 || chance(2))
        server_signal(&server, SIGHUP);
    else
        run_tool("reload", (const char *const[]){ "reload", "--socket", control, NULL });
}

void broker_operate(void)
{
    if (!announced || now_ms() < operate_ms || !broker_tools_done())
        return;
    operate_ms = now_ms() + rnd(4000);
    switch (rnd(5)) {
    case 0:
    case 1: any_tool(); break;
    case 2: reload(false); break;
    case 3: reload(true); break;
    default: holder_begin(500 + rnd(8000));
    }
}
