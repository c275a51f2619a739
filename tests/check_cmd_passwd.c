/* caddis passwd and caddis explain, as a user sees them: files, messages, exit codes, a terminal.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/cmd.h"
#include "broker/passwd.h"
#include "broker/textfile.h"
#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static char dir[] = "/tmp/check_cmd_passwd.XXXXXX";
static char said[8192];                 /* standard output and error of the last command */

void cmd_say(void *arg, const char *line)
{
    (void)arg;
    fprintf(stderr, "%s\n", line);
}

/* ---- running it ---- */

static void child(int (*command)(int, char **), char **argv, int in, int out)
{
    int argc = 0, code;

    while (argv[argc] != NULL)
        argc++;
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    ck_assert_int_eq(chdir(dir), 0);
    optind = 0;
    code = command(argc, argv);
    fflush(stdout);
    _exit(code);
}

static int wait_for(pid_t pid)
{
    int status = -1;

    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* words: separated by blanks, '' is an empty one. Returns the exit code; what was said is in `said`. */
static int run(int (*command)(int, char **), const char *input, const char *words)
{
    char *copy = strdup(words), *argv[16] = { "command" }, *save = NULL;
    int argc = 1, in[2], out[2];
    size_t n = 0;
    ssize_t got;
    pid_t pid;

    for (char *w = strtok_r(copy, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save))
        argv[argc++] = strcmp(w, "''") == 0 ? "" : w;
    ck_assert_int_eq(pipe2(in, O_CLOEXEC), 0);
    ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
    /* It fits into the pipe, so nobody has to be there to read it yet. */
    ck_assert_int_eq(write(in[1], input, strlen(input)), (ssize_t)strlen(input));
    close(in[1]);
    fflush(NULL);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        child(command, argv, in[0], out[1]);
    close(in[0]);
    close(out[1]);
    while ((got = read(out[0], said + n, sizeof said - 1 - n)) > 0)
        n += (size_t)got;
    said[n] = '\0';
    close(out[0]);
    free(copy);
    return wait_for(pid);
}

static int passwd(const char *input, const char *words)
{
    return run(cmd_passwd, input, words);
}

/* ---- files ---- */

static const char *path(const char *name)
{
    static char text[4][128];
    static unsigned turn;

    turn = (turn + 1) % 4;
    snprintf(text[turn], sizeof text[0], "%s/%s", dir, name);
    return text[turn];
}

static void put(const char *name, const char *text)
{
    FILE *f = fopen(path(name), "w");

    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

static const char *content(const char *name)
{
    static char text[8192];
    FILE *f = fopen(path(name), "r");

    ck_assert_ptr_nonnull(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    return text;
}

static bool comes_in(const char *file, const char *user, const char *password)
{
    struct passwd *p = passwd_load(path(file), cmd_say, NULL);
    bool yes;

    ck_assert_ptr_nonnull(p);
    yes = passwd_check(p, NULL, view_of(user), view_of(password));
    passwd_free(&p);
    return yes;
}

static void setup(void)
{
    umask(077);
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void teardown(void)
{
    char command[64];

    snprintf(command, sizeof command, "rm -r %s", dir);
    ck_assert_int_eq(system(command), 0);
}

/* ---- passwd ---- */

START_TEST(create_change_delete)
{
    struct stat st;

    ck_assert_int_eq(passwd("", "-b pw u one"), EXIT_FAILED);
    ck_assert_ptr_nonnull(strstr(said, "pw: can't be read: No such file or directory"));
    ck_assert_int_eq(passwd("", "-c -b pw u one"), EXIT_OK);
    ck_assert_str_eq(said, "");
    ck_assert_int_eq(stat(path("pw"), &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0600);
    ck_assert(comes_in("pw", "u", "one"));
    ck_assert_int_eq(passwd("", "-b pw v two"), EXIT_OK);
    ck_assert_int_eq(passwd("", "-b pw u three"), EXIT_OK);
    ck_assert(comes_in("pw", "u", "three"));
    ck_assert(!comes_in("pw", "u", "one"));
    ck_assert(comes_in("pw", "v", "two"));
    ck_assert_int_eq(passwd("", "-D pw u"), EXIT_OK);
    ck_assert(!comes_in("pw", "u", "three"));
    ck_assert(comes_in("pw", "v", "two"));
    ck_assert_int_eq(passwd("", "-D pw u"), EXIT_FAILED);
    ck_assert_ptr_nonnull(strstr(said, "there is no user \"u\""));
    ck_assert_int_eq(passwd("", "-c -b pw w four"), EXIT_OK);          /* as mosquitto_passwd: a new file */
    ck_assert(!comes_in("pw", "v", "two"));
    ck_assert(comes_in("pw", "w", "four"));
}
END_TEST

static const struct { const char *options, *begins; } kinds[] = {
    { "", "u:$7$10000$" },
    { "-H sha512-pbkdf2 -I 99", "u:$7$99$" },
    { "-H sha512", "u:$6$" },
    { "-H scram-sha-256", "u:$scram-sha-256$4096$" },
    { "--iterations 5 --hash scram-sha-256", "u:$scram-sha-256$5$" },
};

START_TEST(kind_rows)
{
    char words[128];

    snprintf(words, sizeof words, "-c -b %s pw u secret", kinds[_i].options);
    ck_assert_int_eq(passwd("", words), EXIT_OK);
    ck_assert_int_eq(strncmp(content("pw"), kinds[_i].begins, strlen(kinds[_i].begins)), 0);
    ck_assert(comes_in("pw", "u", "secret"));
    ck_assert(!comes_in("pw", "u", "Secret"));
}
END_TEST

static const struct { const char *words, *want; } refused[] = {
    { "", "something is missing" },
    { "pw", "something is missing" },
    { "-b pw u", "something is missing" },
    { "pw u secret", "a password on the command line needs -b" },
    { "-b pw u secret x", "there is a word too many" },
    { "-U pw u", "there is a word too many" },
    { "-c -D pw u", "do not go together" },
    { "-D -b pw u x", "-b has no meaning" },
    { "-b pw a:b x", "a user name can't have a colon in it" },
    { "-b pw a\tb x", "a user name can't have control characters in it" },
    { "-b pw a\x7F x", "a user name can't have control characters in it" },
    { "-b pw #a x", "a user name can't begin with #" },
    { "-b pw \xFF x", "a user name must be UTF-8" },
    { "-b pw '' x", "a user name can't be empty" },
    { "-b pw u ''", "the password is empty" },
    { "-H md5 pw u", "\"md5\" is not one of sha512-pbkdf2, sha512, scram-sha-256" },
    { "-H argon2id pw u", "argon2id hashes can't be made or verified here" },
    { "-I 0 pw u", "\"0\" is not a number from 1 to 10000000" },
    { "-I 1x pw u", "is not a number" },
    { "-I 10000001 pw u", "is not a number" },
    { "-H sha512 -I 5 pw u", "sha512 has no iterations" },
    { "- u", "needs -c" },
};

START_TEST(refused_rows)
{
    put("pw", "# as it was\n");
    ck_assert_int_eq(passwd("x\n", refused[_i].words), EXIT_USAGE);
    ck_assert_msg(strstr(said, refused[_i].want) != NULL, "%s: %s", refused[_i].words, said);
    ck_assert_str_eq(content("pw"), "# as it was\n");
}
END_TEST

static const struct { const char *input; int code; const char *password, *want; } typed[] = {
    { "secret\n", EXIT_OK, "secret", "" },
    { "secret", EXIT_OK, "secret", "" },
    { "secret\r\n", EXIT_OK, "secret", "" },
    { "two words \n", EXIT_OK, "two words ", "" },
    { "secret\nsecret\n", EXIT_OK, "secret", "" },
    { "secret\nother\n", EXIT_FAILED, NULL, "the two are not the same, nothing changed" },
    { "", EXIT_FAILED, NULL, "no password, nothing changed" },
    { "\n", EXIT_FAILED, NULL, "no password, nothing changed" },
};

START_TEST(typed_rows)
{
    put("pw", "# as it was\n");
    ck_assert_int_eq(passwd(typed[_i].input, "-I 9 pw u"), typed[_i].code);
    ck_assert_ptr_nonnull(strstr(said, typed[_i].want));
    if (typed[_i].password != NULL)
        ck_assert(comes_in("pw", "u", typed[_i].password));
    else
        ck_assert_str_eq(content("pw"), "# as it was\n");
}
END_TEST

/* Comments, order and other lines stay, whatever they are; a second line for the user goes. */
START_TEST(the_rest_stays)
{
    put("pw", "# head\n\nbroken line\na:x\r\n  b: y \nu:old\n#u:comment\na:x\nu:older\nno end");
    ck_assert_int_eq(passwd("", "-b -H sha512 pw u new"), EXIT_OK);
    ck_assert_int_eq(strncmp(content("pw"), "# head\n\nbroken line\na:x\n  b: y \nu:$6$", 36), 0);
    ck_assert_ptr_nonnull(strstr(content("pw"), "\n#u:comment\na:x\nno end\n"));
    ck_assert_ptr_null(strstr(content("pw"), "old"));
    ck_assert_int_eq(passwd("", "-D pw u"), EXIT_OK);
    ck_assert_str_eq(content("pw"), "# head\n\nbroken line\na:x\n  b: y \n#u:comment\na:x\nno end\n");
}
END_TEST

START_TEST(mode_and_links_stay)
{
    struct stat st;
    bool root = geteuid() == 0;

    put("real", "v:x\n");
    ck_assert_int_eq(chmod(path("real"), 0640), 0);
    if (root)
        ck_assert_int_eq(chown(path("real"), 12, 34), 0);
    ck_assert_int_eq(symlink("real", path("pw")), 0);
    ck_assert_int_eq(passwd("", "-b pw u new"), EXIT_OK);
    ck_assert_int_eq(lstat(path("pw"), &st), 0);
    ck_assert(S_ISLNK(st.st_mode));
    ck_assert_int_eq(stat(path("real"), &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0640);
    if (root) {
        ck_assert_uint_eq(st.st_uid, 12);
        ck_assert_uint_eq(st.st_gid, 34);
    }
    ck_assert_ptr_nonnull(strstr(content("real"), "v:x\nu:$7$"));
}
END_TEST

START_TEST(convert)
{
    put("pw", "# plain\nu:one\n\nv:two:and a half \r\nw:three");
    ck_assert_int_eq(passwd("", "-U -I 9 pw"), EXIT_OK);
    ck_assert_int_eq(strncmp(content("pw"), "# plain\nu:$7$9$", 15), 0);
    ck_assert(comes_in("pw", "u", "one"));
    ck_assert(comes_in("pw", "v", "two:and a half "));
    ck_assert(comes_in("pw", "w", "three"));
    ck_assert_int_eq(passwd("", "-U -I 9 pw"), EXIT_OK);               /* what is hashed is not hashed again */
    ck_assert(comes_in("pw", "u", "one"));
}
END_TEST

START_TEST(convert_refuses)
{
    put("pw", "u:one\nv\n");
    ck_assert_int_eq(passwd("", "-U pw"), EXIT_FAILED);
    ck_assert_ptr_nonnull(strstr(said, "pw:2: this is not USER:PASSWORD"));
    ck_assert_str_eq(content("pw"), "u:one\nv\n");
}
END_TEST

START_TEST(to_standard_output)
{
    ck_assert_int_eq(passwd("", "-c -b -I 7 - u secret"), EXIT_OK);
    ck_assert_int_eq(strncmp(said, "u:$7$7$", 7), 0);
    put("pw", said);
    ck_assert(comes_in("pw", "u", "secret"));
}
END_TEST

/* A directory that can't be written to: the old file stays, and nothing is left beside it. */
START_TEST(no_room)
{
    ck_assert_int_eq(passwd("", "-c -b nowhere/pw u x"), EXIT_FAILED);
    ck_assert_ptr_nonnull(strstr(said, "nowhere/pw: can't write a new one beside it: No such file or directory"));
    ck_assert_int_eq(mkdir(path("d"), 0700), 0);
    ck_assert_int_eq(passwd("", "-c -b d u x"), EXIT_FAILED);
    ck_assert_ptr_nonnull(strstr(said, "can't be written"));
    ck_assert_int_eq(rmdir(path("d")), 0);
    ck_assert_int_eq(rmdir(dir), 0);
    ck_assert_int_eq(mkdir(dir, 0700), 0);
}
END_TEST

/* ---- a terminal ---- */

static void read_until(int fd, const char *what)
{
    size_t n = strlen(said);

    while (strstr(said, what) == NULL) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        ssize_t got;
        ck_assert_int_eq(poll(&p, 1, 10000), 1);
        got = read(fd, said + n, sizeof said - 1 - n);
        if (got <= 0)
            break;
        n += (size_t)got;
        said[n] = '\0';
    }
    ck_assert_msg(strstr(said, what) != NULL, "wanted %s, got %s", what, said);
}

static pid_t on_terminal(int *master)
{
    char *argv[] = { "passwd", "-I", "9", "pw", "u", NULL };
    int slave;
    pid_t pid;

    *master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    ck_assert_int_ge(*master, 0);
    ck_assert_int_eq(grantpt(*master), 0);
    ck_assert_int_eq(unlockpt(*master), 0);
    said[0] = '\0';
    fflush(NULL);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        setsid();
        slave = open(ptsname(*master), O_RDWR);         /* becomes the controlling terminal: Ctrl-C works */
        child(cmd_passwd, argv, slave, slave);
    }
    return pid;
}

static void type(int master, const char *text)
{
    ck_assert_int_eq(write(master, text, strlen(text)), (ssize_t)strlen(text));
}

static bool echoes(int master)
{
    struct termios t;

    ck_assert_int_eq(tcgetattr(master, &t), 0);
    return t.c_lflag & ECHO;
}

/* The question is there, and what is typed does not show. */
static void asked(int master, const char *question)
{
    read_until(master, question);
    while (echoes(master))
        usleep(1000);
}

START_TEST(twice_and_silent)
{
    int master;
    pid_t pid;

    put("pw", "");
    pid = on_terminal(&master);
    asked(master, "Password: ");
    type(master, "secret\n");
    asked(master, "Again: ");
    type(master, "secret\n");
    ck_assert_int_eq(wait_for(pid), EXIT_OK);
    read_until(master, "Again: \r\n");
    ck_assert_ptr_null(strstr(said, "secret"));
    ck_assert(echoes(master));
    ck_assert(comes_in("pw", "u", "secret"));
    close(master);
}
END_TEST

START_TEST(interrupted)
{
    int master;
    pid_t pid;

    put("pw", "# as it was\n");
    pid = on_terminal(&master);
    asked(master, "Password: ");
    type(master, "sec\003");
    ck_assert_int_eq(wait_for(pid), -1);
    ck_assert(echoes(master));
    ck_assert_str_eq(content("pw"), "# as it was\n");
    close(master);
}
END_TEST

/* ---- explain ---- */

#define RULES "topic read a/#\nuser u\ntopic deny x/y\ntopic readwrite x/#\npattern write d/%c/#\n"
static const struct { const char *words; int code; const char *want; } questions[] = {
    { "acl u x/y --acl-file rules", EXIT_OK,
      "read      no   rules:3: topic deny x/y\nwrite     no   rules:3: topic deny x/y\n" },
    { "acl u x/z --acl-file rules", EXIT_OK,
      "read      yes  rules:4: topic readwrite x/#\nwrite     yes  rules:4: topic readwrite x/#\n" },
    { "--acl-file rules acl u a", EXIT_OK, "read      no   rules: no line allows it\nwrite     no   rules: no line" },
    { "acl --anonymous a --acl-file rules", EXIT_OK,
      "read      yes  rules:1: topic read a/#\nwrite     no   rules: no line" },
    { "acl v d/7/x --client 7 --acl-file rules", EXIT_OK, "write     yes  rules:5: pattern write d/%c/#\n" },
    { "acl v d/7/x --client 7/x --acl-file rules", EXIT_OK,
      "Patterns give this client nothing: its client id has one of" },
    { "acl --anonymous # --acl-file rules", EXIT_OK, "subscribe yes  rules:1: topic read a/#\nWhat is delivered" },
    { "acl u x/y/# --acl-file rules", EXIT_OK, "subscribe yes  rules:4: topic readwrite x/#\n" },
    { "acl u $share/g/x/y --acl-file rules", EXIT_OK, "subscribe no   rules:3: topic deny x/y\n" },
    { "acl u a --acl-file broken", EXIT_FAILED, "broken:1: a line begins with topic, pattern or user" },
    { "acl u x -c config", EXIT_OK,
      "listener one\nread      yes  rules:4: topic readwrite x/#\nwrite     yes  rules:4: topic readwrite x/#\n\n"
      "listener two\nThere is no ACL file: who may connect may read and write everything.\n" },
    { "acl u x -c wrong", EXIT_CONFIG, "wrong:1: " },
    { "acl u a", EXIT_USAGE, "-c or --acl-file has to say where the rules are" },
    { "acl u a -c x --acl-file y", EXIT_USAGE, "-c and --acl-file do not go together" },
    { "acl u --acl-file rules", EXIT_USAGE, "something is missing" },
    { "acl u a b --acl-file rules", EXIT_USAGE, "there is a word too many" },
    { "acl u a# --acl-file rules", EXIT_USAGE, "this is not a topic or filter" },
    { "client u --acl-file rules", EXIT_USAGE, "what can be explained is acl" },
    { "", EXIT_USAGE, "what can be explained is acl" },
};

START_TEST(question_rows)
{
    put("rules", RULES);
    put("broken", "rule\n");
    put("config", "[listener one]\nport = 1883\nacl_file = rules\n[listener two]\nport = 1884\n");
    put("wrong", "nonsense\n");
    ck_assert_msg(run(cmd_explain, "", questions[_i].words) == questions[_i].code, "%s: %s", questions[_i].words, said);
    ck_assert_msg(strstr(said, questions[_i].want) != NULL, "%s: %s", questions[_i].words, said);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cmd_passwd");
    TCase *t = tcase_create("cmd_passwd");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, create_change_delete);
    tcase_add_loop_test(t, kind_rows, 0, COUNT(kinds));
    tcase_add_loop_test(t, refused_rows, 0, COUNT(refused));
    tcase_add_loop_test(t, typed_rows, 0, COUNT(typed));
    tcase_add_test(t, the_rest_stays);
    tcase_add_test(t, mode_and_links_stay);
    tcase_add_test(t, convert);
    tcase_add_test(t, convert_refuses);
    tcase_add_test(t, to_standard_output);
    tcase_add_test(t, no_room);
    tcase_add_test(t, twice_and_silent);
    tcase_add_test(t, interrupted);
    tcase_add_loop_test(t, question_rows, 0, COUNT(questions));
    tcase_set_timeout(t, 30);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
