/* `caddis passwd`: makes and changes password files, with mosquitto_passwd's options.
 *
 * The file is written anew beside the old one, synced and renamed, so that a broker that loads it at any moment, and a
 * power cut, find the old file or the new one.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/cmd.h"
#include "broker/log.h"
#include "broker/passwd_hash.h"
#include "broker/textfile.h"
#include "proto/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

enum { PASSWORD_MAX = 65535 };

struct job {
    bool create, remove, convert, batch;
    enum passwd_kind kind;
    uint32_t iterations;
    const char *path, *user, *password;
    char *typed;                /* what password points to when it was not on the command line */
};

static void help(void)
{
    puts("Usage: caddis passwd [-c | -D] [-H HASH] [-I N] FILE USER\n"
         "       caddis passwd -b [-c] [-H HASH] [-I N] FILE USER PASSWORD\n"
         "       caddis passwd -U [-H HASH] [-I N] FILE\n\n"
         "Sets the password of a user in a password file. It is asked for twice; where the input is no\n"
         "terminal, its first line is the password. A running broker takes the file when it reloads.\n\n"
         "  -c, --create        make a new file; one that is there is replaced. FILE - : print the line\n"
         "  -b, --batch         the password is on the command line, for everybody on this machine to see\n"
         "  -D, --delete        delete the user\n"
         "  -U, --convert       hash the plain passwords in FILE (lines USER:PASSWORD)\n"
         "  -H, --hash HASH     sha512-pbkdf2 (default), sha512 (fast to guess), or scram-sha-256 (for SCRAM\n"
         "                      and plain passwords)\n"
         "  -I, --iterations N  more makes guessing and logging in slower; default 10000, with scram-sha-256\n"
         "                      4096, which clients have to compute too\n"
         "  -h, --help          this text\n\n"
         "Exit status: 0 done, 1 failed, 2 wrong options.");
}

static int failed(const char *path, const char *what)
{
    fprintf(stderr, "caddis passwd: %s: %s: %s\n", path, what, strerror(errno));
    return EXIT_FAILED;
}

/* ---- options ---- */

__attribute__((format(printf, 1, 2)))
static void complain(const char *fmt, ...)
{
    va_list ap;

    fputs("caddis passwd: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputs("; `caddis passwd --help` shows how\n", stderr);
}
#define wrong(...) (complain(__VA_ARGS__), EXIT_USAGE)

static const char *bad_user(const char *user)
{
    size_t n = strlen(user);

    if (n == 0)
        return "a user name can't be empty";
    if (n > 65535)
        return "a user name can't be longer than 65535 bytes";
    if (user[0] == '#')
        return "a user name can't begin with #: the line would be a comment";
    for (size_t i = 0; i < n; i++) {
        if (user[i] == ':')
            return "a user name can't have a colon in it: the hash comes behind it";
        if ((unsigned char)user[i] < ' ' || user[i] == 0x7F)
            return "a user name can't have control characters in it";
    }
    return utf8_valid((struct view){ (const uint8_t *)user, n }) ? NULL : "a user name must be UTF-8";
}

static bool parse_iterations(const char *text, uint32_t *out)
{
    char *end;
    unsigned long n;

    errno = 0;
    n = strtoul(text, &end, 10);
    *out = (uint32_t)n;
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && n >= 1 && n <= PASSWD_ITERATIONS_MAX;
}

static int set_hash(struct job *j, const char *name)
{
    j->kind = passwd_kind_find(name);
    if (j->kind != PASSWD_KIND_COUNT)
        return -1;
    if (strncmp(name, "argon2", 6) == 0)
        return wrong("%s hashes can't be made or verified here", name);
    return wrong("%s is not one of sha512-pbkdf2, sha512, scram-sha-256", log_qs(name));
}

/* -1: go on; otherwise the exit code. */
static int check_words(struct job *j, int argc, char **words)
{
    int wanted = j->convert ? 1 : j->batch ? 3 : 2;
    const char *why;

    if (j->create + j->remove + j->convert > 1)
        return wrong("-c, -D and -U do not go together");
    if (j->batch && (j->remove || j->convert))
        return wrong("-b has no meaning with -D and -U");
    if (argc == 3 && wanted == 2 && !j->remove)
        return wrong("a password on the command line needs -b");
    if (argc != wanted)
        return wrong("%s", argc < wanted ? "something is missing" : "there is a word too many");
    j->path = words[0];
    j->user = wanted > 1 ? words[1] : NULL;
    j->password = wanted > 2 ? words[2] : NULL;
    why = j->user != NULL ? bad_user(j->user) : NULL;
    if (why != NULL)
        return wrong("%s", why);
    if (j->password != NULL && *j->password == '\0')
        return wrong("the password is empty");
    if (strcmp(j->path, "-") == 0 && !j->create)
        return wrong("- stands for standard output and needs -c");
    return -1;
}

static int parse(int argc, char **argv, struct job *j)
{
    static const struct option longs[] = {
        { "create", no_argument, NULL, 'c' },     { "batch", no_argument, NULL, 'b' },
        { "delete", no_argument, NULL, 'D' },     { "convert", no_argument, NULL, 'U' },
        { "hash", required_argument, NULL, 'H' }, { "iterations", required_argument, NULL, 'I' },
        { "help", no_argument, NULL, 'h' },       { NULL, 0, NULL, 0 },
    };
    int c, code;

    while ((c = getopt_long(argc, argv, "+cbDUH:I:h", longs, NULL)) != -1)
        switch (c) {
        case 'c': j->create = true; break;
        case 'b': j->batch = true; break;
        case 'D': j->remove = true; break;
        case 'U': j->convert = true; break;
        case 'H':
            code = set_hash(j, optarg);
            if (code >= 0)
                return code;
            break;
        case 'I':
            if (!parse_iterations(optarg, &j->iterations))
                return wrong("%s is not a number from 1 to %d", log_qs(optarg), PASSWD_ITERATIONS_MAX);
            break;
        case 'h': help(); return EXIT_OK;
        default: return EXIT_USAGE;
        }
    if (j->iterations > 0 && passwd_kind_iterations(j->kind) == 0)
        return wrong("%s has no iterations", passwd_kind_name(j->kind));
    if (j->iterations == 0)
        j->iterations = passwd_kind_iterations(j->kind);
    return check_words(j, argc - optind, argv + optind);
}

/* ---- asking ---- */

/* Only while a password is typed: who is interrupted then should not be left with a silent terminal. */
static struct termios terminal;

static void on_signal(int number)
{
    tcsetattr(STDIN_FILENO, TCSANOW, &terminal);
    signal(number, SIG_DFL);
    raise(number);
}

static void signals(void (*handler)(int))
{
    static const int numbers[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP };

    for (unsigned i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        signal(numbers[i], handler);
}

/* One line without its end, malloc'ed; NULL: there is none. */
static char *read_secret(const char *prompt)
{
    bool silent = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &terminal) == 0;
    struct termios t = terminal;
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;

    if (silent) {
        fputs(prompt, stderr);
        signals(on_signal);
        t.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &t);
    }
    n = getline(&line, &cap, stdin);
    if (silent) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &terminal);
        signals(SIG_DFL);
        fputc('\n', stderr);
    }
    if (n <= 0 || memchr(line, '\0', (size_t)n) != NULL) {
        free(line);
        return NULL;
    }
    line[strcspn(line, "\r\n")] = '\0';
    return line;
}

static void forget(char **secret)
{
    if (*secret != NULL)
        explicit_bzero(*secret, strlen(*secret));
    free(*secret);
    *secret = NULL;
}

/* False: it said why. A second line is wanted from a terminal; from elsewhere it may be there, as mosquitto_passwd
 * wants it, and is the same then. */
static bool ask(struct job *j)
{
    char *again;
    bool same;

    j->password = j->typed = read_secret("Password: ");
    if (j->typed == NULL || *j->typed == '\0' || strlen(j->typed) > PASSWORD_MAX) {
        fputs("caddis passwd: no password, nothing changed\n", stderr);
        return false;
    }
    again = read_secret("Again: ");
    same = again != NULL ? strcmp(j->typed, again) == 0 : !isatty(STDIN_FILENO);
    forget(&again);
    if (!same)
        fputs("caddis passwd: the two are not the same, nothing changed\n", stderr);
    return same;
}

/* ---- writing ---- */

struct output {
    FILE *f;
    char *path, *temporary;     /* not for standard output */
};

/* The directory too: without that the new name may not survive a power cut. */
static void sync_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash != NULL ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    FILE *d = dir != NULL ? fopen(dir, "r") : NULL;

    if (d != NULL) {
        fsync(fileno(d));
        fclose(d);
    }
    free(dir);
}

/* Owner and mode of the file that it replaces; 0600 when there is none. */
static bool dress(int fd, const char *path)
{
    struct stat st, mine;

    if (stat(path, &st) < 0)
        return errno == ENOENT && fchmod(fd, 0600) == 0;
    if (fstat(fd, &mine) < 0)
        return false;
    if ((st.st_uid != mine.st_uid || st.st_gid != mine.st_gid) && fchown(fd, st.st_uid, st.st_gid) < 0)
        return false;
    return fchmod(fd, st.st_mode & 07777) == 0;
}

static void free_output(struct output *o)
{
    free(o->temporary);
    free(o->path);
}

/* NULL: errno. A link stays, what it points to is replaced. */
static FILE *open_beside(struct output *o, const char *path)
{
    FILE *f = NULL;
    int fd, saved;

    o->path = realpath(path, NULL);
    if (o->path == NULL && errno == ENOENT)
        o->path = strdup(path);
    if (o->path == NULL)
        return NULL;
    o->temporary = malloc(strlen(o->path) + sizeof ".XXXXXX");
    if (o->temporary == NULL)
        return NULL;
    sprintf(o->temporary, "%s.XXXXXX", o->path);
    fd = mkostemp(o->temporary, O_CLOEXEC);
    if (fd < 0)
        return NULL;
    if (dress(fd, o->path))
        f = fdopen(fd, "w");
    if (f == NULL) {
        saved = errno;
        unlink(o->temporary);
        close(fd);
        errno = saved;
    }
    return f;
}

static bool begin_output(struct output *o, const char *path)
{
    *o = (struct output){ 0 };
    o->f = strcmp(path, "-") == 0 ? stdout : open_beside(o, path);
    if (o->f != NULL)
        return true;
    failed(path, "can't write a new one beside it");
    free_output(o);
    return false;
}

/* Puts it in the place of the old one, or drops it. The exit code. */
static int end_output(struct output *o, int code)
{
    bool bad = fflush(o->f) != 0 || ferror(o->f);

    if (o->temporary != NULL) {
        bad |= fsync(fileno(o->f)) < 0;
        bad |= fclose(o->f) != 0;
        if (code == EXIT_OK && !bad)
            bad = rename(o->temporary, o->path) < 0;
        if (code == EXIT_OK && !bad)
            sync_directory(o->path);
    }
    if (code == EXIT_OK && bad)
        code = failed(o->path != NULL ? o->path : "standard output", "can't be written");
    if (code != EXIT_OK && o->temporary != NULL)
        unlink(o->temporary);       /* last: it may change errno */
    free_output(o);
    return code;
}

/* ---- doing ---- */

static void copy(FILE *f, struct view line)
{
    fwrite(line.p, 1, line.len, f);
    fputc('\n', f);
}

static bool put_user(const struct job *j, FILE *f, struct view user, struct view password)
{
    struct passwd_hash h;
    char text[PASSWD_TEXT_MAX];
    bool ok = passwd_hash_make(&h, j->kind, j->iterations, password);

    if (ok) {
        passwd_hash_format(&h, text);
        fprintf(f, "%.*s:%s\n", (int)user.len, (const char *)user.p, text);
    } else {
        fputs("caddis passwd: the password can't be hashed: no memory or no random numbers\n", stderr);
    }
    explicit_bzero(&h, sizeof h);
    return ok;
}

/* A line of a file that is to be converted. Lines with a hash stay as they are. */
static bool convert_line(const struct job *j, FILE *f, struct textfile *from, struct view line)
{
    struct view password, user = view_cut(line, ':', &password);
    struct passwd_hash h;

    if (passwd_hash_parse(&h, password) == NULL || (password.len > 9 && memcmp(password.p, "$argon2id$", 10) == 0)) {
        copy(f, line);
        return true;
    }
    if (password.len == 0 || user.len == 0) {
        textfile_error(from, "this is not USER:PASSWORD");
        return false;
    }
    return put_user(j, f, user, password);
}

/* Everything else is copied as it is, comments too. *found: the user had a line. */
static bool copy_line(const struct job *j, FILE *f, struct view line, bool *found)
{
    struct view rest, user = view_cut(line, ':', &rest);
    bool his = rest.p != NULL && user.len == strlen(j->user) && memcmp(user.p, j->user, user.len) == 0 &&
               !(line.len > 0 && line.p[0] == '#');

    if (!his) {
        copy(f, line);
        return true;
    }
    if (*found || j->remove) {
        *found = true;          /* a second line for him goes too */
        return true;
    }
    *found = true;
    return put_user(j, f, user, view_of(j->password));
}

static int rewrite(const struct job *j, struct textfile *from, FILE *f)
{
    struct view line;
    bool found = false, ok = true;

    while (ok && textfile_raw(from, &line))
        if (!j->convert)
            ok = copy_line(j, f, line, &found);
        else if (line.len == 0 || line.p[0] == '#')
            copy(f, line);
        else
            ok = convert_line(j, f, from, line);
    if (ok && j->remove && !found) {
        fprintf(stderr, "caddis passwd: %s: there is no user %s\n", j->path, log_qs(j->user));
        return EXIT_FAILED;
    }
    if (ok && !j->convert && !j->remove && !found)
        ok = put_user(j, f, view_of(j->user), view_of(j->password));
    return ok ? EXIT_OK : EXIT_FAILED;
}

static int run(struct job *j)
{
    struct textfile from = { 0 };
    struct output o;
    int code;

    if (!j->create && !textfile_open(&from, j->path, cmd_say, NULL)) {
        if (!j->convert && !j->remove && access(j->path, F_OK) < 0 && errno == ENOENT)
            fputs("caddis passwd: -c makes a new file\n", stderr);
        return EXIT_FAILED;
    }
    code = EXIT_FAILED;
    if ((j->password != NULL || j->remove || j->convert || ask(j)) && begin_output(&o, j->path))
        code = end_output(&o, rewrite(j, &from, o.f));
    forget(&j->typed);
    textfile_close(&from);
    return code;
}

int cmd_passwd(int argc, char **argv)
{
    struct job j = { 0 };
    const char *why;
    int code = parse(argc, argv, &j);

    if (code >= 0)
        return code;
    if (!crypto_start(&why)) {
        fprintf(stderr, "caddis passwd: %s\n", why);
        return EXIT_FAILED;
    }
    return run(&j);
}
