/* A broker process for the tests of the control socket, and those who talk to it.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/check_control.h"

#include "broker/broker.h"
#include "broker/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

char heard[1 << 20];

static struct {
    char dir[64];
    pid_t pid;              /* 0: not running */
    long log_at;
} place;

void cmd_say(void *arg, const char *line)
{
    (void)arg;
    fprintf(stderr, "%s\n", line);
}

/* ---- the directory ---- */

const char *in_place(const char *name)
{
    static char paths[8][128];
    static unsigned turn;
    char *path = paths[turn++ % 8];

    snprintf(path, sizeof paths[0], "%s/%s", place.dir, name);
    return path;
}

void put_file(const char *name, const char *text)
{
    FILE *f = fopen(in_place(name), "we");

    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    ck_assert_int_eq(fclose(f), 0);
}

void put_config(const char *more)
{
    char text[4096];

    /* An account "caddis" that the machine may have can't write into our directory. */
    snprintf(text, sizeof text,
             "[broker]\n%s%s%s\nsys_interval = 0\n[persistence]\npath = %s\n[listener odd\"name]\naddress = %s\n"
             "[auth]\nallow_anonymous = true\n%s",
             geteuid() == 0 && strstr(more, "user =") == NULL ? "user = root\n" : "",
             strstr(more, "control_socket") == NULL ? "control_socket = " : "; no ", in_place("c.sock"),
             in_place("c.db"), in_place("m.sock"), more);
    put_file("c.ini", text);
}

void place_setup(void)
{
    strcpy(place.dir, "/tmp/check_control.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(place.dir));
    place.pid = 0;
    place.log_at = 0;
    put_config("");
}

void place_teardown(void)
{
    char command[128];

    if (place.pid != 0)
        place_kill();
    snprintf(command, sizeof command, "rm -rf %s", place.dir);
    ck_assert_int_eq(system(command), 0);
}

/* ---- the broker ---- */

static void be_broker(void)
{
    int fd = open(in_place("log"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    struct config *cfg;
    struct broker *b;
    char *why = NULL;
    int code;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(fd, STDERR_FILENO);
    signal(SIGPIPE, SIG_IGN);
    cfg = config_load(in_place("c.ini"), cmd_say, NULL);
    if (cfg == NULL)
        exit(3);
    b = broker_new(cfg, &why);
    if (b == NULL) {
        fprintf(stderr, "not started: %s\n", why);
        exit(1);
    }
    code = broker_run(b);
    broker_free(b);
    exit(code);
}

void place_start(void)
{
    log_forget();
    fflush(NULL);
    place.pid = fork();
    ck_assert_int_ge(place.pid, 0);
    if (place.pid == 0)
        be_broker();
    log_has("listening");
}

int place_stop(void)
{
    int status;

    kill(place.pid, SIGTERM);
    ck_assert_int_eq(waitpid(place.pid, &status, 0), place.pid);
    place.pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

void place_kill(void)
{
    kill(place.pid, SIGKILL);
    waitpid(place.pid, NULL, 0);
    place.pid = 0;
}

bool log_says(const char *text)
{
    FILE *f = fopen(in_place("log"), "re");
    static char log[1 << 20];
    size_t n = 0;

    if (f != NULL) {
        fseek(f, place.log_at, SEEK_SET);
        n = fread(log, 1, sizeof log - 1, f);
        fclose(f);
    }
    log[n] = '\0';
    return strstr(log, text) != NULL;
}

void log_has(const char *text)
{
    for (int i = 0; i < 1000 && !log_says(text); i++)
        usleep(10000);
    ck_assert_msg(log_says(text), "the log never said: %s", text);
}

void log_forget(void)
{
    FILE *f = fopen(in_place("log"), "ae");

    ck_assert_ptr_nonnull(f);
    fseek(f, 0, SEEK_END);
    place.log_at = ftell(f);
    fclose(f);
}

int stored(const char *file, const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *st;
    int n;

    ck_assert_int_eq(sqlite3_open_v2(in_place(file), &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
    n = sqlite3_column_int(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return n;
}

/* ---- sockets ---- */

static int connect_to(const char *path)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    struct timeval limit = { .tv_sec = 20 };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", path);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ck_assert_msg(connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0, "%s: %s", path, strerror(errno));
    return fd;
}

int control_connect(void)
{
    return connect_to(in_place("c.sock"));
}

void control_send(int fd, const void *bytes, size_t len)
{
    ck_assert_int_eq(send(fd, bytes, len, MSG_NOSIGNAL), (ssize_t)len);
}

void control_hear_all(int fd)
{
    size_t len = 0;
    ssize_t n;

    while ((n = recv(fd, heard + len, sizeof heard - 1 - len, 0)) > 0)
        len += (size_t)n;
    heard[len] = '\0';
    /* With requests unread its close is a reset. */
    ck_assert_msg(n == 0 || errno == ECONNRESET, "no end: %s after: %.500s", strerror(errno), heard);
}

static bool complete(size_t len)
{
    size_t at = len;

    if (len == 0 || heard[len - 1] != '\n')
        return false;
    for (at--; at > 0 && heard[at - 1] != '\n'; at--)
        ;
    return strcmp(heard + at, "ok\n") == 0 || strncmp(heard + at, "error: ", 7) == 0;
}

void control_hear(int fd)
{
    size_t len = 0;
    ssize_t n = 1;

    heard[0] = '\0';
    while (!complete(len)) {
        n = recv(fd, heard + len, sizeof heard - 1 - len, 0);
        ck_assert_msg(n > 0, "no whole answer: %.500s", heard);
        len += (size_t)n;
        heard[len] = '\0';
    }
}

const char *ask(const char *request)
{
    int fd = control_connect();

    control_send(fd, request, strlen(request));
    control_send(fd, "\n", 1);
    control_hear(fd);
    close(fd);
    return heard;
}

/* ---- MQTT ---- */

/* A packet being put together; small enough for lengths of one byte. */
struct mqtt_bytes {
    unsigned char p[128];
    size_t len;
};

static void byte(struct mqtt_bytes *k, unsigned v)
{
    k->p[k->len++] = (unsigned char)v;
}

static void two(struct mqtt_bytes *k, unsigned v)
{
    byte(k, v >> 8);
    byte(k, v & 0xFF);
}

static void text(struct mqtt_bytes *k, const char *s)
{
    two(k, (unsigned)strlen(s));
    memcpy(k->p + k->len, s, strlen(s));
    k->len += strlen(s);
}

static void send_packet(int fd, struct mqtt_bytes *k)
{
    k->p[1] = (unsigned char)(k->len - 2);
    control_send(fd, k->p, k->len);
}

void mqtt_expect(int fd, const void *bytes, size_t len)
{
    unsigned char got[128];
    ssize_t n = recv(fd, got, len, MSG_WAITALL);

    ck_assert_int_eq(n, (ssize_t)len);
    ck_assert_mem_eq(got, bytes, len);
}

void mqtt_expect_end(int fd)
{
    char c;

    ck_assert_int_eq(recv(fd, &c, 1, 0), 0);
    close(fd);
}

int mqtt_connect_will(const char *id, int version, unsigned expiry_s, const char *will)
{
    struct mqtt_bytes k = { .p = { 0x10 }, .len = 2 };
    int fd = connect_to(in_place("m.sock"));
    unsigned char head[2], rest[128];

    text(&k, "MQTT");
    byte(&k, (unsigned)version);
    byte(&k, (version == 5 || expiry_s == 0 ? 2 : 0) | (will != NULL ? 4 : 0));
    two(&k, 60);
    if (version == 5) {
        byte(&k, 5);
        byte(&k, 0x11);
        two(&k, expiry_s >> 16);
        two(&k, expiry_s & 0xFFFF);
    }
    text(&k, id);
    if (will != NULL && version == 5) {
        byte(&k, 5);
        byte(&k, 0x18);
        two(&k, 0);
        two(&k, 100);
    }
    if (will != NULL) {
        text(&k, will);
        text(&k, "gone");
    }
    send_packet(fd, &k);
    ck_assert_int_eq(recv(fd, head, 2, MSG_WAITALL), 2);
    ck_assert_int_eq(head[0], 0x20);
    ck_assert_int_eq(recv(fd, rest, head[1], MSG_WAITALL), head[1]);
    ck_assert_int_eq(rest[1], 0);
    return fd;
}

int mqtt_connect(const char *id, int version, unsigned expiry_s)
{
    return mqtt_connect_will(id, version, expiry_s, NULL);
}

void mqtt_subscribe(int fd, int version, const char *filter)
{
    struct mqtt_bytes k = { .p = { 0x82 }, .len = 2 };

    two(&k, 7);
    if (version == 5)
        byte(&k, 0);
    text(&k, filter);
    byte(&k, 1);
    send_packet(fd, &k);
    if (version == 5)
        mqtt_expect(fd, "\x90\x04\x00\x07\x00\x01", 6);
    else
        mqtt_expect(fd, "\x90\x03\x00\x07\x01", 5);
}

void mqtt_publish(int fd, int version, const char *topic, const char *payload, bool retain)
{
    struct mqtt_bytes k = { .p = { (unsigned char)(0x32 | retain) }, .len = 2 };
    unsigned char head[2], rest[128];

    text(&k, topic);
    two(&k, 9);
    if (version == 5)
        byte(&k, 0);
    memcpy(k.p + k.len, payload, strlen(payload));
    k.len += strlen(payload);
    send_packet(fd, &k);
    ck_assert_int_eq(recv(fd, head, 2, MSG_WAITALL), 2);
    ck_assert_int_eq(head[0], 0x40);
    ck_assert_int_eq(recv(fd, rest, head[1], MSG_WAITALL), head[1]);
}

/* ---- JSON ---- */

static const char *json_blank(const char *p)
{
    return p + strspn(p, " \n");
}

static const char *json_string(const char *p)
{
    if (*p++ != '"')
        return NULL;
    for (; *p != '"'; p++) {
        if ((unsigned char)*p < ' ')
            return NULL;
        if (*p == '\\' && *++p == 'u') {
            if (strspn(p + 1, "0123456789abcdef") < 4)
                return NULL;
            p += 4;
        }
    }
    return p + 1;
}

static const char *json_list(const char *p, char end)
{
    bool object = end == '}';

    p = json_blank(p + 1);
    if (*p == end)
        return p + 1;
    for (;;) {
        if (object) {
            p = json_string(json_blank(p));
            if (p == NULL || *(p = json_blank(p)) != ':')
                return NULL;
            p++;
        }
        p = json_end(json_blank(p));
        if (p == NULL)
            return NULL;
        p = json_blank(p);
        if (*p == end)
            return p + 1;
        if (*p++ != ',')
            return NULL;
    }
}

const char *json_end(const char *p)
{
    static const char *const words[] = { "null", "true", "false" };
    char *end;

    if (*p == '{')
        return json_list(p, '}');
    if (*p == '[')
        return json_list(p, ']');
    if (*p == '"')
        return json_string(p);
    for (unsigned i = 0; i < 3; i++)
        if (strncmp(p, words[i], strlen(words[i])) == 0)
            return p + strlen(words[i]);
    strtod(p, &end);
    return end > p ? end : NULL;
}

/* ---- tools ---- */

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} tools[] = {
#define X(function, name, text) { name, cmd_##function },
    COMMANDS(X)
#undef X
};

static void be_tool(int argc, char **argv, int out)
{
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    optind = 0;
    for (unsigned i = 0; i < sizeof tools / sizeof tools[0]; i++)
        if (strcmp(tools[i].name, argv[0]) == 0)
            exit(tools[i].run(argc, argv));
    exit(99);
}

int tool(const char *words)
{
    char *copy = strdup(words), *argv[16] = { NULL }, *save = NULL;
    int argc = 0, out[2], status;
    size_t n = 0;
    ssize_t got;
    pid_t pid;

    for (char *w = strtok_r(copy, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save))
        argv[argc++] = w;
    ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
    fflush(NULL);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        be_tool(argc, argv, out[1]);
    close(out[1]);
    while ((got = read(out[0], heard + n, sizeof heard - 1 - n)) > 0)
        n += (size_t)got;
    heard[n] = '\0';
    close(out[0]);
    free(copy);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}
