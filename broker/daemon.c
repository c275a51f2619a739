/* Background, pid file, account, descriptors.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/daemon.h"

#include "broker/log.h"
#include "broker/service.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OWN_DESCRIPTORS = 32 };  /* log, store, its WAL, loop, signals, listeners, control */

static int ready_fd = -1;       /* write end of the pipe that the parent waits at */
static int pid_fd = -1;
static char *pid_path;

/* The shell gets its prompt back when the broker serves, not before, and an exit status that means something. */
static void wait_for_child(pid_t child, int fd)
{
    char byte;
    int status = 0;
    ssize_t n;

    do
        n = read(fd, &byte, 1);
    while (n < 0 && errno == EINTR);
    if (n == 1)
        _exit(0);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

int daemon_fork(void)
{
    int fds[2];
    pid_t child;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return -1;
    child = fork();
    if (child < 0) {
        close(fds[0]);
        close(fds[1]);
        return -1;
    }
    if (child > 0) {
        close(fds[1]);
        wait_for_child(child, fds[0]);
    }
    close(fds[0]);
    ready_fd = fds[1];
    setsid();
    return 0;
}

static void leave_terminal(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null < 0)
        return;
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    if (isatty(STDERR_FILENO))
        dup2(null, STDERR_FILENO);
    if (null > STDERR_FILENO)
        close(null);
}

void daemon_ready(void)
{
    service_ready();
    if (ready_fd < 0)
        return;
    leave_terminal();
    /* A parent that was killed meanwhile is nobody's loss; SIGPIPE is ignored. */
    if (write(ready_fd, "", 1) < 0)
        log_debug("nobody waits for the start");
    close(ready_fd);
    ready_fd = -1;
}

/* Who holds it, for the message; 0 when the file does not say. */
static long pid_in_file(int fd)
{
    char text[32];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);

    if (n <= 0)
        return 0;
    text[n] = '\0';
    return strtol(text, NULL, 10);
}

int daemon_pid_open(const char *path, char **why)
{
    int error;

    *why = NULL;
    if (path == NULL)
        return 0;
    pid_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0644);
    if (pid_fd < 0) {
        if (asprintf(why, "pid file %s: %s", path, strerror(errno)) < 0)
            *why = NULL;
        return -1;
    }
    /* The lock, not the number in the file, says whether somebody runs: numbers are used again after a reboot. */
    if (flock(pid_fd, LOCK_EX | LOCK_NB) < 0) {
        error = errno;
        if (asprintf(why, "pid file %s: %s (pid %ld)", path,
                     error == EWOULDBLOCK ? "another broker runs with it" : strerror(error), pid_in_file(pid_fd)) < 0)
            *why = NULL;
        close(pid_fd);
        pid_fd = -1;
        return -1;
    }
    pid_path = strdup(path);
    /* Readable for everybody whatever the umask: it is there for scripts. */
    if (fchmod(pid_fd, 0644) < 0 || ftruncate(pid_fd, 0) < 0 || dprintf(pid_fd, "%ld\n", (long)getpid()) < 0) {
        if (asprintf(why, "pid file %s: %s", path, strerror(errno)) < 0)
            *why = NULL;
        daemon_pid_close();
        return -1;
    }
    return 0;
}

void daemon_pid_close(void)
{
    if (pid_fd < 0)
        return;
    if ((pid_path == NULL || unlink(pid_path) < 0) && ftruncate(pid_fd, 0) < 0)
        log_warning("the pid file stays behind error=%s", log_qs(strerror(errno)));
    close(pid_fd);
    free(pid_path);
    pid_fd = -1;
    pid_path = NULL;
}

static int no_drop(char **why, const char *user, const char *what)
{
    if (asprintf(why, "can't run as user %s: %s", user, what) < 0)
        *why = NULL;
    return -1;
}

int daemon_drop(const char *user, char **why)
{
    const char *name = user != NULL ? user : "caddis";
    struct passwd *pw;

    *why = NULL;
    if (geteuid() != 0) {
        if (user != NULL && ((pw = getpwuid(geteuid())) == NULL || strcmp(pw->pw_name, user) != 0))
            log_notice("not started as root, so user=%s is not in effect", log_qs(user));
        return 0;
    }
    errno = 0;
    pw = getpwnam(name);
    if (pw == NULL && user == NULL) {
        log_warning("running as root, which is more than a broker needs: there is no account \"caddis\"; create it, "
                    "or name another one as [broker] user");
        return 0;
    }
    if (pw == NULL)
        return no_drop(why, name, errno != 0 ? strerror(errno) : "there is no such account; see [broker] user");
    if (pw->pw_uid == 0) {
        log_notice("running as root, as configured");
        return 0;
    }
    log_chown(pw->pw_uid, pw->pw_gid);
    if (pid_fd >= 0 && fchown(pid_fd, pw->pw_uid, pw->pw_gid) < 0)
        log_warning("can't give the pid file to user=%s error=%s", log_qs(name), log_qs(strerror(errno)));
    if (initgroups(name, pw->pw_gid) < 0 || setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) < 0 ||
        setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) < 0)
        return no_drop(why, name, strerror(errno));
    if (setuid(0) == 0)
        return no_drop(why, name, "the process could become root again");
    log_info("running as user=%s uid=%u gid=%u", log_qs(name), (unsigned)pw->pw_uid, (unsigned)pw->pw_gid);
    return 0;
}

/* Everything but a lack of rights counts as yes: a file that is gone may be there again tomorrow. */
bool daemon_may_read(const char *path)
{
    return access(path, R_OK) == 0 || errno != EACCES;
}

const char *daemon_account(void)
{
    static char number[24];
    const struct passwd *pw = getpwuid(geteuid());

    snprintf(number, sizeof number, "%u", (unsigned)geteuid());
    return pw != NULL ? pw->pw_name : number;
}

void daemon_raise_fds(uint32_t connections)
{
    rlim_t wanted = (rlim_t)connections + OWN_DESCRIPTORS;
    struct rlimit now, more;

    if (getrlimit(RLIMIT_NOFILE, &now) < 0)
        return;
    more = now;
    if (more.rlim_max < wanted)
        more.rlim_max = wanted;     /* root may; others get what the hard limit allows */
    more.rlim_cur = more.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &more) < 0) {
        more = now;
        more.rlim_cur = now.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &more) < 0)
            more = now;
    }
    if (connections > 0 && more.rlim_cur < wanted)
        log_warning("max_connections=%u can't be reached: this process may open %llu descriptors; raise the limit "
                    "(ulimit -n, LimitNOFILE=)", connections, (unsigned long long)more.rlim_cur);
    else
        log_debug("descriptors limit=%llu", (unsigned long long)more.rlim_cur);
}
