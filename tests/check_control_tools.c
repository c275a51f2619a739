/* The tools of the control socket, with a running broker and without one: what they say, what they leave in the store,
 * their exit codes.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/check_control.h"

#include "broker/cmd.h"
#include "suite.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* The words, then where: -c c.ini, or --socket c.sock. */
static int tool_at(const char *words, const char *option, const char *file)
{
    char all[512];

    snprintf(all, sizeof all, "%s %s %s", words, option, in_place(file));
    return tool(all);
}

static int tool_c(const char *words)
{
    return tool_at(words, "-c", "c.ini");
}

/* Two sessions with messages that wait for both, three retained messages. */
static void fill(void)
{
    int a = mqtt_connect("sensor-1", 4, 1), b = mqtt_connect("-dash", 4, 1), p = mqtt_connect("p", 4, 0);

    mqtt_subscribe(a, 4, "#");
    mqtt_subscribe(b, 4, "a/+");
    close(a);
    close(b);
    mqtt_publish(p, 4, "a/1", "x", true);
    mqtt_publish(p, 4, "a/2", "x", true);
    mqtt_publish(p, 4, "b", "x", true);
    close(p);
}

static void running_setup(void)
{
    place_setup();
    place_start();
    fill();
}

static void stopped_setup(void)
{
    running_setup();
    ck_assert_int_eq(place_stop(), 0);
}

/* ---- with a broker ---- */

START_TEST(they_ask_the_broker)
{
    int c = mqtt_connect("sensor-2", 4, 0);

    ck_assert_int_eq(tool_c("status"), EXIT_OK);
    ck_heard("clients        1 online, 2 offline");
    ck_assert_int_eq(tool_at("status --json", "--socket", "c.sock"), EXIT_OK);
    ck_assert_int_eq(heard[0], '{');
    ck_assert_ptr_null(strstr(heard, "ok\n"));
    ck_assert_int_eq(tool_c("kick sensor-2"), EXIT_OK);
    ck_assert_str_eq(heard, "");
    mqtt_expect_end(c);
    ck_assert_int_eq(tool_c("kick sensor-2"), EXIT_FAILED);
    ck_assert_str_eq(heard, "caddis kick: no client \"sensor-2\" is connected\n");
    ck_assert_int_eq(tool_at("log-level debug", "--socket", "c.sock"), EXIT_OK);
    ck_assert_int_eq(tool_c("log-level loud"), EXIT_FAILED);
    ck_heard("caddis log-level: there is no level \"loud\"");
}
END_TEST

START_TEST(they_change_what_it_has)
{
    ck_assert_int_eq(tool_at("drop-session sensor-1", "--socket", "c.sock"), EXIT_OK);
    ck_assert_str_eq(heard, "dropped \"sensor-1\"; messages that waited for it: 3\n");
    ck_assert_int_eq(stored("c.db", "SELECT count(*) FROM queue"), 2);
    ck_assert_int_eq(tool_c("drop-session sensor-1"), EXIT_FAILED);
    ck_assert_str_eq(heard, "caddis drop-session: there is no session \"sensor-1\"\n");
    ck_assert_int_eq(tool_c("retained rm a/#"), EXIT_OK);
    ck_assert_str_eq(heard, "retained messages removed: 2\n");
    ck_assert_int_eq(stored("c.db", "SELECT count(*) FROM retained"), 1);
}
END_TEST

START_TEST(dashes_go_behind_dashes)
{
    char words[256];

    snprintf(words, sizeof words, "drop-session -c %s -- -dash", in_place("c.ini"));
    ck_assert_int_eq(tool(words), EXIT_OK);
    ck_assert_str_eq(heard, "dropped \"-dash\"; messages that waited for it: 2\n");
}
END_TEST

START_TEST(reload_with_and_without_errors)
{
    ck_assert_int_eq(tool_c("reload"), EXIT_OK);
    put_config("[limits]\nmax_inflight_messages = many\n");
    ck_assert_int_eq(tool_c("reload"), EXIT_CONFIG);
    ck_heard("max_inflight_messages");
    ck_assert(!log_says("not reloaded"));
    ck_assert_int_eq(tool_at("reload", "--socket", "c.sock"), EXIT_FAILED);
    ck_heard("max_inflight_messages");
    ck_heard("caddis reload: not reloaded, the old configuration stays in use\n");
}
END_TEST

/* Also what the broker had not written yet; and a broker starts with it. */
START_TEST(a_backup_of_a_running_broker)
{
    char words[256], want[512];
    struct stat st;
    int a = mqtt_connect("sensor-1", 4, 1);

    mqtt_expect(a, "\x32", 1);
    close(a);
    snprintf(words, sizeof words, "backup %s", in_place("copy.db"));
    snprintf(want, sizeof want, "%s copied to %s\n", in_place("c.db"), in_place("copy.db"));
    ck_assert_int_eq(tool_at(words, "--socket", "c.sock"), EXIT_OK);
    ck_assert_str_eq(heard, want);
    ck_assert_int_eq(stored("copy.db", "SELECT count(*) FROM session"), 2);
    ck_assert_int_eq(stored("copy.db", "SELECT count(*) FROM queue"), 5);
    ck_assert_int_eq(stat(in_place("copy.db"), &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0640);
    ck_assert_int_eq(tool_c(words), EXIT_FAILED);
    ck_heard("is there already; name a new file\n");
    ck_assert_int_eq(tool_c("backup /nowhere/x.db"), EXIT_FAILED);
    ck_heard("No such file or directory");
    ck_assert_int_eq(place_stop(), 0);
    ck_assert_int_eq(rename(in_place("copy.db"), in_place("c.db")), 0);
    place_start();
    log_has("sessions=2 subscriptions=2 queued=5 retained=3");
}
END_TEST

/* Without a last line it is no answer. */
START_TEST(an_answer_that_breaks_off)
{
    struct sockaddr_storage sa = { .ss_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), c;
    pid_t pid;

    snprintf((char *)&sa + 2, 100, "%s", in_place("other.sock"));
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, 110), 0);
    ck_assert_int_eq(listen(fd, 5), 0);
    pid = fork();
    if (pid == 0) {
        c = accept(fd, NULL, NULL);
        _exit(read(c, heard, 7) != 7 || write(c, "half", 4) != 4);
    }
    ck_assert_int_eq(tool_at("status", "--socket", "other.sock"), EXIT_FAILED);
    ck_heard("gave no answer");
    close(fd);
}
END_TEST

/* ---- without one ---- */

START_TEST(nobody_there)
{
    static const char *const words[] = { "status", "status --json", "kick a", "reload", "log-level info" };
    char want[256];

    for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++) {
        ck_assert_int_eq(tool_c(words[i]), EXIT_FAILED);
        snprintf(want, sizeof want, "no broker runs at %s\n", in_place("c.sock"));
        ck_heard(want);
    }
    ck_assert_int_eq(tool_at("drop-session sensor-1", "--socket", "c.sock"), EXIT_FAILED);
    ck_heard("; with -c FILE its store can be changed without it\n");
    ck_assert_int_eq(tool_at("backup /tmp/never", "--socket", "c.sock"), EXIT_FAILED);
    ck_heard("; with -c FILE its store can be copied without it\n");
}
END_TEST

/* What a killed broker left is no broker. */
START_TEST(the_dead_do_not_answer)
{
    place_start();
    place_kill();
    ck_assert_int_eq(tool_c("status"), EXIT_FAILED);
    ck_heard("no broker runs at ");
    ck_assert_int_eq(tool_c("drop-session sensor-1"), EXIT_OK);
    place_start();
    log_has("previous_end=killed sessions=1 subscriptions=1 queued=2 retained=3");
}
END_TEST

START_TEST(they_change_the_store_itself)
{
    ck_assert_int_eq(tool_c("drop-session sensor-1"), EXIT_OK);
    ck_heard("; changing its store\n");
    ck_assert_int_eq(stored("c.db", "SELECT count(*) FROM session"), 1);
    ck_assert_int_eq(stored("c.db", "SELECT count(*) FROM queue"), 2);
    ck_assert_int_eq(stored("c.db", "SELECT count(*) FROM message"), 2);
    ck_assert_int_eq(tool_c("drop-session sensor-1"), EXIT_FAILED);
    ck_heard("there is no session \"sensor-1\"\n");
    ck_assert_int_eq(tool_c("retained rm a/+"), EXIT_OK);
    ck_heard("retained messages removed: 2\n");
    ck_assert_int_eq(stored("c.db", "SELECT count(*) FROM retained"), 1);
    place_start();
    log_has("previous_end=clean sessions=1 subscriptions=1 queued=2 retained=1");
    ck_assert_int_eq(place_stop(), 0);
}
END_TEST

START_TEST(they_copy_the_store_itself)
{
    char words[256];

    snprintf(words, sizeof words, "backup %s", in_place("copy.db"));
    ck_assert_int_eq(tool_c(words), EXIT_OK);
    ck_heard("copied to");
    ck_assert_int_eq(stored("copy.db", "SELECT count(*) FROM queue"), 5);
}
END_TEST

START_TEST(stores_that_are_not_there)
{
    put_config("[persistence]\nenabled = false\n");
    ck_assert_int_eq(tool_c("drop-session sensor-1"), EXIT_FAILED);
    ck_heard(", and this configuration has no store\n");
    ck_assert_int_eq(tool_c("backup /tmp/never"), EXIT_FAILED);
    ck_heard("this configuration has no store\n");
    put_config("");
    unlink(in_place("c.db"));
    ck_assert_int_eq(tool_c("retained rm #"), EXIT_FAILED);
    ck_heard("No such file or directory\n");
    ck_assert_int_lt(access(in_place("c.db"), F_OK), 0);
    ck_assert_int_eq(tool_c("backup /tmp/never"), EXIT_FAILED);
    ck_assert_int_lt(access("/tmp/never", F_OK), 0);
}
END_TEST

/* A broker with the same store and another socket. */
START_TEST(a_store_in_use)
{
    char more[256];

    snprintf(more, sizeof more, "[broker]\ncontrol_socket = %s\n", in_place("other.sock"));
    place_start();
    put_config(more);
    ck_assert_int_eq(tool_c("drop-session sensor-1"), EXIT_FAILED);
    ck_heard("no broker runs at ");
    ck_heard(": in use by process ");
    ck_assert_int_eq(stored("c.db", "SELECT count(*) FROM session"), 2);
}
END_TEST

/* What root changes stays the broker's. */
START_TEST(as_the_owner)
{
    static const char *const files[] = { ".", "c.db", "c.db.lock" };
    struct stat st;

    if (geteuid() != 0)
        return;
    for (unsigned i = 0; i < sizeof files / sizeof files[0]; i++)
        ck_assert_int_eq(chown(in_place(files[i]), 65534, 65534), 0);
    ck_assert_int_eq(unlink(in_place("c.db.lock")), 0);
    ck_assert_int_eq(tool_c("drop-session sensor-1"), EXIT_OK);
    ck_assert_int_eq(stat(in_place("c.db.lock"), &st), 0);
    ck_assert_uint_eq(st.st_uid, 65534);
    ck_assert_uint_eq(st.st_gid, 65534);
    ck_assert_int_eq(stored("c.db", "SELECT count(*) FROM session"), 1);
}
END_TEST

/* ---- options ---- */

static const struct { const char *words; int code; const char *want; } usage[] = {
    { "status x", EXIT_USAGE, "caddis status: one word too many; `caddis status --help` says more\n" },
    { "status --jso --nonsense", EXIT_USAGE, "nonsense" },
    { "kick", EXIT_USAGE, "caddis kick: a word is missing; `caddis kick --help` says more\n" },
    { "kick --json a", EXIT_USAGE, "json" },
    { "kick a b", EXIT_USAGE, "one word too many" },
    { "kick -- a b", EXIT_USAGE, "one word too many" },
    { "drop-session", EXIT_USAGE, "a word is missing" },
    { "backup", EXIT_USAGE, "a word is missing" },
    { "retained", EXIT_USAGE, "a word is missing" },
    { "retained rm", EXIT_USAGE, "a word is missing" },
    { "retained ls x", EXIT_USAGE, "\"ls\"? There is only rm" },
    { "retained rm a/#/b", EXIT_USAGE, "\"a/#/b\" is no topic filter" },
    { "status -c /nowhere/x.ini", EXIT_CONFIG, "/nowhere/x.ini" },
    { "status --socket /nowhere/" "x", EXIT_FAILED, "caddis status: no broker runs at /nowhere/x\n" },
    { "status --help", EXIT_OK, "Usage: caddis status [--json]" },
};

START_TEST(options)
{
    ck_assert_int_eq(tool(usage[_i].words), usage[_i].code);
    ck_heard(usage[_i].want);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("control tools");
    TCase *running = tcase_create("running"), *stopped = tcase_create("stopped"), *plain = tcase_create("plain");

    tcase_add_checked_fixture(running, running_setup, place_teardown);
    tcase_set_timeout(running, 60);
    tcase_add_test(running, they_ask_the_broker);
    tcase_add_test(running, they_change_what_it_has);
    tcase_add_test(running, dashes_go_behind_dashes);
    tcase_add_test(running, reload_with_and_without_errors);
    tcase_add_test(running, a_backup_of_a_running_broker);
    suite_add_tcase(suite, running);
    tcase_add_checked_fixture(stopped, stopped_setup, place_teardown);
    tcase_set_timeout(stopped, 60);
    tcase_add_test(stopped, an_answer_that_breaks_off);
    tcase_add_test(stopped, nobody_there);
    tcase_add_test(stopped, the_dead_do_not_answer);
    tcase_add_test(stopped, they_change_the_store_itself);
    tcase_add_test(stopped, they_copy_the_store_itself);
    tcase_add_test(stopped, stores_that_are_not_there);
    tcase_add_test(stopped, a_store_in_use);
    tcase_add_test(stopped, as_the_owner);
    suite_add_tcase(suite, stopped);
    tcase_add_loop_test(plain, options, 0, COUNT(usage));
    suite_add_tcase(suite, plain);
    return run_suite(suite);
}
