/* The control socket of a real broker process: what every request does, what nonsense it stands, who may ask.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/check_control.h"

#include "broker/control_request.h"
#include "persist/persist.h"
#include "suite.h"

#include <errno.h>
#include <grp.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void started_setup(void)
{
    place_setup();
    place_start();
}

static void stopped_teardown(void)
{
    ck_assert_int_eq(place_stop(), 0);
    place_teardown();
}

/* ---- what requests do ---- */

START_TEST(status_counts)
{
    int a = mqtt_connect("a", 5, 100), b;
    const char *end;

    mqtt_subscribe(a, 5, "t/#");
    close(a);
    b = mqtt_connect("b", 4, 0);
    mqtt_publish(b, 4, "t/1", "hello", true);
    ask("status");
    ck_heard("caddis         ");
    ck_heard("clients        1 online, 1 offline, at most 2 sessions\n");
    ck_heard("subscriptions  1,");
    ck_heard("retained       1 messages, 8 B; of these 1 in memory, ");
    ck_heard("queued         1 messages for 1 clients, 8 B;");
    ck_heard("messages       1 in, 0 out, 0 dropped\n");
    ck_heard("durability = power\n");
    ck_heard(" 0 failed; ");
    ck_heard("too short a time");
    ck_heard("\nok\n");
    ask("status json");
    end = json_end(heard);
    ck_assert_msg(end != NULL, "no JSON: %s", heard);
    ck_assert_str_eq(end, "\nok\n");
    ck_heard("\"name\": \"odd\\\"name\"");
    ck_heard("\"clients\": {\"online\": 1, \"offline\": 1, \"peak\": 2}");
    ck_heard("\"queued\": {\"messages\": 1, \"bytes\": 8, \"sessions\": 1, \"inflight\": 0}");
    ck_heard("\"failing\": null");
    close(b);
}
END_TEST

/* The socket of a broker without a store. */
START_TEST(status_without_a_store)
{
    put_config("[persistence]\nenabled = false\n");
    place_start();
    ask("status");
    ck_heard("store          none");
    ck_assert_str_eq(json_end(ask("status json")), "\nok\n");
    ck_heard("\"store\": null");
    ck_assert_str_eq(ask("commit"), "error: this broker has no store\n");
    ck_assert_str_eq(ask("retained-rm #"), "retained messages removed: 0\nok\n");
}
END_TEST

/* Nothing wakes the broker when a commit is durable by being made. */
START_TEST(commit_without_waiting_for_the_disk)
{
    time_t from;

    put_config("[persistence]\ndurability = crash\n");
    place_start();
    from = time(NULL);
    for (int i = 0; i < 20; i++) {
        ask("commit");
        ck_heard("\nok\n");
    }
    ck_assert_int_le(time(NULL) - from, 3);
}
END_TEST

START_TEST(kick_disconnects)
{
    int five = mqtt_connect("living room", 5, 100), three = mqtt_connect("three", 4, 0);

    ck_assert_str_eq(ask("kick \"living room\""), "ok\n");
    mqtt_expect(five, "\xE0", 1);
    ck_assert_int_gt(recv(five, heard, 64, 0), 1);
    ck_assert_int_eq((unsigned char)heard[1], 0x98);
    mqtt_expect_end(five);
    ck_assert_str_eq(ask("kick three"), "ok\n");
    mqtt_expect_end(three);
    ck_assert_str_eq(ask("kick three"), "error: no client \"three\" is connected\n");
    ck_assert_str_eq(ask("kick nobody"), "error: no client \"nobody\" is connected\n");
    ask("status");
    ck_heard("0 online, 1 offline");
    close(mqtt_connect("living room", 5, 100));
}
END_TEST

START_TEST(drop_session_online)
{
    int watcher = mqtt_connect("watcher", 4, 0), s;

    mqtt_subscribe(watcher, 4, "will");
    s = mqtt_connect_will("s", 5, 100, "will");
    mqtt_subscribe(s, 5, "t");
    ck_assert_int_eq(stored("c.db", "SELECT count(*) FROM session"), 1);
    ck_assert_str_eq(ask("drop-session s"), "dropped \"s\"; messages that waited for it: 0\nok\n");
    /* [MQTT5-3.1.2-8]: the session ends, so the will is due. */
    mqtt_expect(watcher, "\x30\x0A\x00\x04willgone", 12);
    mqtt_expect(s, "\xE0", 1);
    ck_assert_int_eq(stored("c.db", "SELECT count(*) FROM session"), 0);
    ck_assert_int_eq(stored("c.db", "SELECT count(*) FROM subscription"), 0);
    close(s);
    /* One that would not have outlived its connection. */
    ck_assert_str_eq(ask("drop-session watcher"), "dropped \"watcher\"; messages that waited for it: 0\nok\n");
    mqtt_expect_end(watcher);
    ck_assert_str_eq(ask("drop-session watcher"), "error: there is no session \"watcher\"\n");
    ask("status");
    ck_heard("0 online, 0 offline");
}
END_TEST

START_TEST(drop_session_offline)
{
    int s = mqtt_connect("s", 5, 100), p = mqtt_connect("p", 4, 0);

    mqtt_subscribe(s, 5, "t");
    close(s);
    for (int i = 0; i < 5; i++)
        mqtt_publish(p, 4, "t", "hello", false);
    ck_assert_int_eq(stored("c.db", "SELECT count(*) FROM queue"), 5);
    ck_assert_str_eq(ask("drop-session s"), "dropped \"s\"; messages that waited for it: 5\nok\n");
    ck_assert_int_eq(stored("c.db", "SELECT count(*) FROM session"), 0);
    ck_assert_int_eq(stored("c.db", "SELECT count(*) FROM queue"), 0);
    ck_assert_int_eq(stored("c.db", "SELECT count(*) FROM message"), 0);
    close(p);
}
END_TEST

START_TEST(retained_are_removed)
{
    int p = mqtt_connect("p", 4, 0);

    mqtt_publish(p, 4, "a/1", "x", true);
    mqtt_publish(p, 4, "a/2", "x", true);
    mqtt_publish(p, 4, "b", "x", true);
    ck_assert_int_eq(stored("c.db", "SELECT count(*) FROM retained"), 3);
    ck_assert_str_eq(ask("retained-rm a/+"), "retained messages removed: 2\nok\n");
    ck_assert_int_eq(stored("c.db", "SELECT count(*) FROM retained"), 1);
    ck_assert_str_eq(ask("retained-rm none"), "retained messages removed: 0\nok\n");
    ck_assert_str_eq(ask("retained-rm a/#/b"), "error: \"a/#/b\" is no topic filter\n");
    ck_assert_str_eq(ask("retained-rm $share/g/b"), "error: \"$share/g/b\" is no topic filter\n");
    ck_assert_str_eq(ask("retained-rm \"\\xff\""), "error: \"\\xff\" is no topic filter\n");
    ck_assert_str_eq(ask("retained-rm #"), "retained messages removed: 1\nok\n");
    close(p);
}
END_TEST

START_TEST(commit_names_the_store)
{
    char want[256];

    snprintf(want, sizeof want, "store: %s\nok\n", in_place("c.db"));
    ck_assert_str_eq(ask("commit"), want);
}
END_TEST

START_TEST(reload_says_what_came_of_it)
{
    ck_assert_str_eq(ask("reload"), "ok\n");
    put_config("[limits]\nmax_inflight_messages = 5\n[persistence]\ndurability = crash\n");
    ask("reload");
    ck_heard("durability changes with the next start, not with a reload\nok\n");
    put_config("[limits]\nmax_inflight_mesages = 5\n");
    ask("reload");
    ck_heard("did you mean max_inflight_messages?\n"
             "error: not reloaded, the old configuration stays in use\n");
    put_file("c.ini", "[listener other]\nport = 0\n");
    ask("reload");
    ck_heard("not reloaded: [listener odd\"name] is gone");
    ck_heard("\nerror: not reloaded");
    put_config("");
    ck_assert_int_eq(stored("c.db", "SELECT count(*) FROM session"), 0);
    close(mqtt_connect("still served", 4, 0));
}
END_TEST

START_TEST(log_level_until_reload)
{
    ck_assert_str_eq(ask("log-level error"), "ok\n");
    log_forget();
    close(mqtt_connect("quiet", 4, 0));
    ask("status");
    ck_assert(!log_says("quiet"));
    ck_assert_str_eq(ask("reload"), "ok\n");
    close(mqtt_connect("heard", 4, 0));
    log_has("heard");
    ck_assert_str_eq(ask("log-level loud"),
                     "error: there is no level \"loud\"; there are error, warning, notice, info and debug\n");
}
END_TEST

/* ---- what it stands ---- */

#define BYTES(s) s, sizeof s - 1
static const struct { const char *bytes; size_t len; const char *want; } odd[] = {
    { BYTES("\n"), "error: an empty request\n" },
    { BYTES("   \n"), "error: an empty request\n" },
    { BYTES(""), "" },
    { BYTES("status"), "" },                        /* half a line is no request */
    { BYTES("nonsense\n"), "error: there is no request \"nonsense\"\n" },
    { BYTES("STATUS\n"), "error: there is no request \"STATUS\"\n" },
    { BYTES("\"\"\n"), "error: there is no request \"\"\n" },
    { BYTES("kick\n"), "error: it is kick ID\n" },
    { BYTES("kick a b\n"), "error: it is kick ID\n" },
    { BYTES("reload now\n"), "error: it is reload\n" },
    { BYTES("status xml\n"), "error: status \"xml\": there is only json\n" },
    { BYTES("a b c d e\n"), "error: too many words\n" },
    { BYTES("kick \"a\n"), "error: a quote is not closed\n" },
    { BYTES("kick \"a\"b\n"), "error: words are divided by blanks\n" },
    { BYTES("kick a\"b\"\n"), "error: words are divided by blanks\n" },
    { BYTES("kick \"\\x4\"\n"), "error: after a backslash comes \", \\ or xHH\n" },
    { BYTES("kick \\x41\n"), "error: a backslash stands only in quotes\n" },
    { BYTES("kick a\0b\n"), "error: control characters are written \\xHH, in quotes\n" },
    { BYTES("kick a\tb\n"), "error: control characters are written \\xHH, in quotes\n" },
    { BYTES("kick \"a\\x00\\\"b\"\r\n"), "error: no client \"a\\x00\\\"b\" is connected\n" },
    { BYTES("kick \xFF\xFE\n"), "error: no client \"\\xff\\xfe\" is connected\n" },
    { BYTES("kick a\nlog-level info\nkick b\n"),
      "error: no client \"a\" is connected\nok\nerror: no client \"b\" is connected\n" },
};

START_TEST(odd_requests)
{
    int fd = control_connect();

    control_send(fd, odd[_i].bytes, odd[_i].len);
    shutdown(fd, SHUT_WR);
    control_hear_all(fd);
    ck_assert_str_eq(heard, odd[_i].want);
    close(fd);
    ask("status");
}
END_TEST

START_TEST(a_byte_at_a_time)
{
    static const char line[] = "log-level \"inf\\x6f\"\n";
    int fd = control_connect();

    for (size_t i = 0; i < sizeof line - 1; i++) {
        control_send(fd, line + i, 1);
        usleep(1000);
    }
    control_hear(fd);
    ck_assert_str_eq(heard, "ok\n");
    close(fd);
}
END_TEST

/* As long as it may be, and longer. */
START_TEST(long_requests)
{
    char *line = malloc(REQUEST_MAX * 2);
    int fd = control_connect();

    ck_assert_ptr_nonnull(line);
    memset(line, 'x', REQUEST_MAX * 2);
    memcpy(line, "kick ", 5);
    line[REQUEST_MAX - 1] = '\n';
    control_send(fd, line, REQUEST_MAX);
    control_hear(fd);
    ck_heard("error: no client \"xxx");
    line[REQUEST_MAX - 1] = 'x';
    for (size_t at = 0; at < REQUEST_MAX * 2;) {
        ssize_t n = send(fd, line + at, REQUEST_MAX * 2 - at, MSG_NOSIGNAL);

        if (n < 0)
            break;                  /* it has stopped listening */
        at += (size_t)n;
    }
    control_hear(fd);
    ck_assert_str_eq(heard, "error: the request is too long\n");
    ck_assert_int_le(recv(fd, heard, 1, 0), 0);
    close(fd);
    free(line);
}
END_TEST

START_TEST(many_requests_in_one_piece)
{
    static char lines[1000 * 10 + 1];
    int fd = control_connect();

    for (int i = 0; i < 1000; i++)
        strcat(lines + i * 7, "kick x\n");
    control_send(fd, lines, strlen(lines));
    shutdown(fd, SHUT_WR);
    control_hear_all(fd);
    ck_assert_uint_eq(strlen(heard), 1000 * strlen("error: no client \"x\" is connected\n"));
    close(fd);
}
END_TEST

START_TEST(fifty_connections)
{
    int fds[50];

    for (int i = 0; i < 50; i++)
        fds[i] = control_connect();
    for (int i = 0; i < 50; i++)
        control_send(fds[i], "status\n", 7);
    for (int i = 0; i < 50; i++) {
        control_hear(fds[i]);
        ck_heard("caddis  ");
        close(fds[i]);
    }
    /* They may also go without waiting for an answer, or without a word. */
    for (int i = 0; i < 50; i++) {
        fds[i] = control_connect();
        if (i % 2 == 0)
            control_send(fds[i], "status\nstatus\n", 14);
    }
    for (int i = 0; i < 50; i++)
        close(fds[i]);
    ck_assert_str_eq(ask("kick x"), "error: no client \"x\" is connected\n");
}
END_TEST

/* Whoever does not read, says nothing or waits for a store that can't be written holds up nobody, and not for ever. */
START_TEST(the_slow_ones)
{
    int deaf = control_connect(), mute = control_connect(), waiting = control_connect(), s = mqtt_connect("s", 5, 100);
    char *flood = malloc(70000);
    sqlite3 *db;

    ck_assert_ptr_nonnull(flood);
    for (int i = 0; i < 10000; i++)
        memcpy(flood + i * 7, "status\n", 7);
    control_send(deaf, flood, 70000);
    ck_assert_int_eq(sqlite3_open(in_place("c.db"), &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    control_send(waiting, "drop-session s\n", 15);
    mqtt_expect(s, "\xE0", 1);
    for (int i = 0; i < 20; i++) {
        ask("status");
        usleep(100000);
    }
    ck_heard("CAN'T BE WRITTEN for ");
    ask("status json");
    ck_heard("\"failing\": {\"since_s\": ");
    mqtt_subscribe(mqtt_connect("clean", 4, 0), 4, "x");
    control_hear(waiting);
    ck_heard("error: done, but not stored yet: ");
    mqtt_expect_end(mute);
    sleep(1);                       /* it was the first, but its last answer came a little later */
    /* What the deaf one has in its socket is all that it gets. */
    control_hear_all(deaf);
    ck_assert_uint_lt(strlen(heard), sizeof heard - 1);
    ck_assert_int_eq(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    ask("commit");
    ck_heard("\nok\n");
    ck_assert_int_eq(stored("c.db", "SELECT count(*) FROM session"), 0);
    free(flood);
}
END_TEST

/* ---- who may ask ---- */

/* What somebody else sees, in a process of his own: 'c' can't connect, 'r' is refused, 'a' gets an answer. */
static int seen_by(uid_t uid, gid_t gid, gid_t other_group)
{
    int status, fds[2];
    pid_t pid;
    char c = '?';

    ck_assert_int_eq(pipe(fds), 0);
    pid = fork();
    if (pid == 0) {
        struct sockaddr_storage sa = { .ss_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        ssize_t n;

        snprintf((char *)&sa + 2, 100, "%s", in_place("c.sock"));
        if (setgroups(other_group != 0, &other_group) < 0 || setgid(gid) < 0 || setuid(uid) < 0)
            _exit(1);
        if (connect(fd, (struct sockaddr *)&sa, 110) < 0) {
            c = errno == EACCES ? 'c' : '!';
        } else {
            send(fd, "kick x\n", 7, MSG_NOSIGNAL);
            n = recv(fd, heard, 100, 0);
            heard[n > 0 ? n : 0] = '\0';
            c = strncmp(heard, "error: only root", 16) == 0   ? 'r'
                : strncmp(heard, "error: no client", 16) == 0 ? 'a'
                                                              : '!';
        }
        _exit(write(fds[1], &c, 1) != 1);
    }
    close(fds[1]);
    ck_assert_int_eq(read(fds[0], &c, 1), 1);
    close(fds[0]);
    waitpid(pid, &status, 0);
    return c;
}

START_TEST(only_those_who_may)
{
    struct stat st;

    if (geteuid() != 0)
        return;                     /* takes root to be somebody else */
    ck_assert_int_eq(chmod(in_place("."), 0755), 0);
    ck_assert_int_eq(stat(in_place("c.sock"), &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0660);
    ck_assert_int_eq(seen_by(65534, 65534, 0), 'c');
    ck_assert_int_eq(chmod(in_place("c.sock"), 0666), 0);
    ck_assert_int_eq(seen_by(65534, 65534, 0), 'r');
    log_has("control: refused uid=65534");
    ck_assert_int_eq(seen_by(65534, getegid(), 0), 'a');
}
END_TEST

/* Another account: the socket is its own and its group's, whatever umask says. */
START_TEST(for_the_account)
{
    struct stat st;

    if (geteuid() != 0)
        return;
    put_config("[broker]\nuser = nobody\n");
    ck_assert_int_eq(chmod(in_place("."), 0777), 0);
    umask(0);
    place_start();
    umask(077);
    ck_assert_int_eq(stat(in_place("c.sock"), &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0660);
    ck_assert_uint_eq(st.st_uid, 65534);
    ck_assert_uint_eq(st.st_gid, 65534);
    ck_assert_int_eq(seen_by(65534, 1, 0), 'a');
    ck_assert_int_eq(seen_by(1, 65534, 0), 'a');
    ck_assert_int_eq(seen_by(1, 1, 65534), 'a');
    ck_assert_int_eq(seen_by(1, 1, 0), 'c');
    ck_assert_int_eq(seen_by(0, 0, 0), 'a');
    ck_assert_int_eq(place_stop(), 0);
    ck_assert_int_lt(stat(in_place("c.sock"), &st), 0);
}
END_TEST

/* ---- the socket's file ---- */

START_TEST(left_by_the_dead)
{
    struct stat st;

    place_start();
    place_kill();
    ck_assert_int_eq(stat(in_place("c.sock"), &st), 0);
    place_start();
    ask("status");
    ck_assert_int_eq(place_stop(), 0);
    ck_assert_int_lt(stat(in_place("c.sock"), &st), 0);
}
END_TEST

/* Somebody lives there: the second one does without, and leaves it alone. */
START_TEST(the_living_stay)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_storage sa = { .ss_family = AF_UNIX };
    struct stat st;

    snprintf((char *)&sa + 2, 100, "%s", in_place("c.sock"));
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, 110), 0);
    ck_assert_int_eq(listen(fd, 5), 0);
    place_start();
    log_has("no control socket, so the tools can't reach this broker");
    log_has("another broker answers there");
    close(mqtt_connect("served", 4, 0));
    ck_assert_int_eq(place_stop(), 0);
    ck_assert_int_eq(stat(in_place("c.sock"), &st), 0);
    close(fd);
}
END_TEST

START_TEST(no_socket_at_all)
{
    struct stat st;

    put_file("c.sock", "a file");
    place_start();
    log_has("something else has that name");
    ck_assert_int_eq(place_stop(), 0);
    ck_assert_int_eq(stat(in_place("c.sock"), &st), 0);
    ck_assert_int_eq(st.st_size, 6);
    unlink(in_place("c.sock"));
    put_config("[broker]\nenable_control = no\n");
    place_start();
    ck_assert_int_lt(stat(in_place("c.sock"), &st), 0);
    ck_assert_int_eq(place_stop(), 0);
}
END_TEST

/* What took its place meanwhile is not removed at the end. */
START_TEST(somebody_elses_by_then)
{
    place_start();
    ck_assert_int_eq(rename(in_place("c.sock"), in_place("away.sock")), 0);
    put_file("c.sock", "a file");
    ck_assert_int_eq(place_stop(), 0);
    ck_assert_int_eq(access(in_place("c.sock"), F_OK), 0);
}
END_TEST

START_TEST(its_directory_is_made)
{
    char more[256];

    snprintf(more, sizeof more, "[broker]\ncontrol_socket = %s\n", in_place("run/c.sock"));
    put_config(more);
    place_start();
    ck_assert_int_eq(access(in_place("run/c.sock"), F_OK), 0);
    ck_assert_int_eq(place_stop(), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("control");
    TCase *served = tcase_create("served"), *alone = tcase_create("alone");

    tcase_add_checked_fixture(served, started_setup, stopped_teardown);
    tcase_set_timeout(served, 60);
    tcase_add_test(served, status_counts);
    tcase_add_test(served, kick_disconnects);
    tcase_add_test(served, drop_session_online);
    tcase_add_test(served, drop_session_offline);
    tcase_add_test(served, retained_are_removed);
    tcase_add_test(served, commit_names_the_store);
    tcase_add_test(served, reload_says_what_came_of_it);
    tcase_add_test(served, log_level_until_reload);
    tcase_add_loop_test(served, odd_requests, 0, COUNT(odd));
    tcase_add_test(served, a_byte_at_a_time);
    tcase_add_test(served, long_requests);
    tcase_add_test(served, many_requests_in_one_piece);
    tcase_add_test(served, fifty_connections);
    tcase_add_test(served, the_slow_ones);
    tcase_add_test(served, only_those_who_may);
    suite_add_tcase(suite, served);
    tcase_add_checked_fixture(alone, place_setup, place_teardown);
    tcase_set_timeout(alone, 60);
    tcase_add_test(alone, status_without_a_store);
    tcase_add_test(alone, commit_without_waiting_for_the_disk);
    tcase_add_test(alone, for_the_account);
    tcase_add_test(alone, left_by_the_dead);
    tcase_add_test(alone, the_living_stay);
    tcase_add_test(alone, no_socket_at_all);
    tcase_add_test(alone, somebody_elses_by_then);
    tcase_add_test(alone, its_directory_is_made);
    suite_add_tcase(suite, alone);
    return run_suite(suite);
}
