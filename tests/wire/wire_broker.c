/* The broker of a conversation: its directory, its configuration, its process and what that says on stderr.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/wire/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TAIL_LINES = 25 };

static struct {
    pid_t pid;              /* 0: not running */
    int fd;                 /* its stderr */
    char dir[64];
    char config[16384];     /* the conversation's own lines */
    char *log;              /* of this process, NUL at the end */
    size_t log_len, log_cap;
    size_t log_at;          /* up to where log statements have looked */
} broker = { .fd = -1 };

/* What a conversation's configuration can replace, key by key. durability: nobody cuts the power here. */
static const struct { const char *section, *key, *value; } defaults[] = {
    { "listener default", "address", "127.0.0.1" },
    { "listener default", "port", "0" },
    { "auth", "allow_anonymous", "true" },
    { "persistence", "path", "$DIR/caddis.db" },
    { "persistence", "durability", "crash" },
    { "broker", "control_socket", "$DIR/caddis.sock" },
    { "log", "timestamp", "none" },
};

static void make_dir(void)
{
    const char *tmp = getenv("TMPDIR");

    if (broker.dir[0] != '\0')
        return;
    if (tmp == NULL || strlen(tmp) > 30)
        tmp = "/tmp"; /* the path of a Unix socket is short */
    snprintf(broker.dir, sizeof broker.dir, "%s/caddis-wire-XXXXXX", tmp);
    if (mkdtemp(broker.dir) == NULL)
        give_up("no directory %s: %s", broker.dir, strerror(errno));
}

static void put_expanded(FILE *f, const char *text)
{
    const char *at;

    for (; (at = strstr(text, "$DIR")) != NULL; text = at + 4)
        fprintf(f, "%.*s%s", (int)(at - text), text, broker.dir);
    fputs(text, f);
}

void broker_file(const char *name, const char *text)
{
    char path[160];
    FILE *f;

    make_dir();
    snprintf(path, sizeof path, "%s/%s", broker.dir, name);
    f = fopen(path, "we");
    if (f == NULL)
        give_up("can't write %s: %s", path, strerror(errno));
    put_expanded(f, text);
    if (fclose(f) != 0)
        give_up("can't write %s: %s", path, strerror(errno));
}

void broker_config(const char *text)
{
    snprintf(broker.config, sizeof broker.config, "%s", text);
}

/* Copies the lines of the conversation's own [section] to out. key: only says whether it stands there. */
static bool own_lines(const char *section, const char *key, FILE *out)
{
    const char *line = broker.config, *end;
    size_t section_len = strlen(section), key_len = key != NULL ? strlen(key) : 0;
    bool inside = false, found = false;

    for (; *line != '\0'; line = *end != '\0' ? end + 1 : end) {
        end = strchrnul(line, '\n');
        line += strspn(line, " \t");
        if (*line == '[')
            inside = strncmp(line + 1, section, section_len) == 0 && line[1 + section_len] == ']';
        else if (inside && out != NULL)
            fprintf(out, "%.*s\n", (int)(end - line), line);
        else if (inside && key != NULL)
            found |= strncmp(line, key, key_len) == 0 && strchr(" \t=", line[key_len]) != NULL;
    }
    return found;
}

static bool default_section(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof defaults / sizeof defaults[0]; i++)
        if (strlen(defaults[i].section) == len && strncmp(defaults[i].section, name, len) == 0)
            return true;
    return false;
}

/* The sections that have no defaults, as they stand in the conversation. */
static void put_other_sections(FILE *out)
{
    const char *line = broker.config, *end;
    bool other = false;

    for (; *line != '\0'; line = *end != '\0' ? end + 1 : end) {
        end = strchrnul(line, '\n');
        line += strspn(line, " \t");
        if (*line == '[')
            other = !default_section(line + 1, strcspn(line + 1, "]"));
        if (other)
            fprintf(out, "%.*s\n", (int)(end - line), line);
    }
}

static void write_config(void)
{
    char *text = NULL;
    size_t len, n = sizeof defaults / sizeof defaults[0];
    FILE *out = open_memstream(&text, &len);

    if (out == NULL)
        give_up("no memory");
    for (size_t i = 0; i < n; i++) {
        const char *section = defaults[i].section;

        if (i == 0 || strcmp(section, defaults[i - 1].section) != 0) {
            fprintf(out, "[%s]\n", section);
            /* An account "caddis" that the machine may have cannot write into our directory. */
            if (strcmp(section, "broker") == 0 && geteuid() == 0 && !own_lines("broker", "user", NULL))
                fputs("user = root\n", out);
        }
        if (!own_lines(section, defaults[i].key, NULL))
            fprintf(out, "%s = %s\n", defaults[i].key, defaults[i].value);
        if (i + 1 == n || strcmp(section, defaults[i + 1].section) != 0)
            own_lines(section, NULL, out);
    }
    put_other_sections(out);
    fclose(out);
    broker_file("caddis.ini", text);
    free(text);
}

/* ---- log ---- */

static void log_drain(void)
{
    ssize_t n;

    do {
        if (broker.log_cap - broker.log_len < 4096) {
            broker.log_cap += 65536;
            broker.log = realloc(broker.log, broker.log_cap);
            if (broker.log == NULL)
                abort();
        }
        n = read(broker.fd, broker.log + broker.log_len, broker.log_cap - broker.log_len - 1);
        if (n > 0)
            broker.log_len += (size_t)n;
        broker.log[broker.log_len] = '\0';
    } while (n > 0);
    if (n == 0) {
        close(broker.fd);
        broker.fd = -1;
    }
}

bool broker_poll(int fd, short events, uint64_t deadline)
{
    for (;;) {
        struct pollfd p[2] = { { .fd = fd, .events = events }, { .fd = broker.fd, .events = POLLIN } };
        uint64_t now = clock_ms();
        int n;

        if (now >= deadline)
            return false;
        n = poll(p, 2, (int)(deadline - now));
        if (n < 0 && errno != EINTR)
            give_up("poll: %s", strerror(errno));
        if (n > 0 && p[1].revents != 0 && broker.fd >= 0)
            log_drain();
        if (n > 0 && (p[0].revents != 0 || (fd < 0 && p[1].revents != 0)))
            return true;
    }
}

const char *broker_log_tail(void)
{
    size_t at = broker.log_len, lines = 0;

    if (broker.log == NULL)
        return "";
    if (broker.fd >= 0)
        log_drain();
    while (at > 0 && (lines += broker.log[at - 1] == '\n') <= TAIL_LINES)
        at--;
    return broker.log + at;
}

static char *log_find(const char *text)
{
    return broker.log != NULL ? strstr(broker.log + broker.log_at, text) : NULL;
}

void broker_log_wait(const char *text)
{
    uint64_t deadline = clock_ms() + WIRE_WAIT_MS;
    char *at;

    while ((at = log_find(text)) == NULL)
        if (broker.fd < 0 || !broker_poll(-1, 0, deadline))
            give_up("the log does not say: %s", text);
    broker.log_at = (size_t)(strchrnul(at, '\n') - broker.log);
}

bool broker_log_has(const char *text)
{
    if (broker.fd >= 0)
        log_drain();
    return broker.log != NULL && strstr(broker.log, text) != NULL;
}

/* ---- process ---- */

bool broker_running(void)
{
    return broker.pid > 0;
}

static void become_broker(int err)
{
    const char *program = getenv("CADDIS");
    char config[96];
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves no process behind */
    if (getppid() == 1)
        _exit(127);
    snprintf(config, sizeof config, "%s/caddis.ini", broker.dir);
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    if (program == NULL)
        program = "./caddis";
    execl(program, program, "-c", config, (char *)NULL);
    dprintf(err, "can't run %s: %s\n", program, strerror(errno));
    _exit(127);
}

void broker_start(void)
{
    int fds[2];

    if (broker.pid > 0)
        return;
    make_dir();
    write_config();
    client_close_all();
    if (broker.fd >= 0)
        close(broker.fd);
    broker.log_len = broker.log_at = 0;
    if (broker.log != NULL)
        broker.log[0] = '\0';
    if (pipe2(fds, O_CLOEXEC) < 0)
        give_up("pipe: %s", strerror(errno));
    broker.pid = fork();
    if (broker.pid == 0)
        become_broker(fds[1]);
    close(fds[1]);
    broker.fd = fds[0];
    fcntl(broker.fd, F_SETFL, O_NONBLOCK);
    if (broker.pid < 0)
        give_up("fork: %s", strerror(errno));
    broker_port("default");
}

uint16_t broker_port(const char *listener)
{
    uint64_t deadline = clock_ms() + WIRE_WAIT_MS;
    char text[96], *at;

    snprintf(text, sizeof text, "listening name=\"%s\" on 127.0.0.1:", listener);
    while (broker.log == NULL || (at = strstr(broker.log, text)) == NULL || strchr(at, '\n') == NULL)
        if (broker.fd < 0 || !broker_poll(-1, 0, deadline))
            give_up("the broker does not listen");
    return (uint16_t)atoi(at + strlen(text));
}

/* Its exit status as waitpid() has it. */
static int reap(void)
{
    uint64_t deadline = clock_ms() + WIRE_WAIT_MS;
    int status = 0;

    /* stderr closes when the process ends: that is how long to wait. */
    while (broker.fd >= 0 && broker_poll(-1, 0, deadline))
        ;
    if (broker.fd >= 0)
        give_up("the broker does not end");
    while (waitpid(broker.pid, &status, 0) < 0 && errno == EINTR)
        ;
    broker.pid = 0;
    return status;
}

static void signal_it(int sig)
{
    if (broker.pid <= 0 || kill(broker.pid, sig) < 0)
        give_up("the broker does not run");
}

void broker_kill(void)
{
    int status;

    signal_it(SIGKILL);
    status = reap();
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        give_up("the broker had ended by itself, status %#x", (unsigned)status);
}

void broker_term(void)
{
    int status;

    signal_it(SIGTERM);
    status = reap();
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        give_up("SIGTERM: the broker ended with status %#x", (unsigned)status);
}

void broker_restart(void)
{
    broker_term();
    broker_start();
}

void broker_reload(void)
{
    write_config();
    signal_it(SIGHUP);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void broker_drop(void)
{
    if (broker.pid > 0)
        kill(broker.pid, SIGKILL);
    broker.pid = 0;
    client_close_all();
    if (broker.dir[0] != '\0')
        nftw(broker.dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    broker.dir[0] = '\0';
}
