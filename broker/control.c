/* The control socket: who may talk to us, in what pieces, for how long. What requests do is in control_verb.c.
 *
 * ready() only takes bytes in; requests are carried out, answers written and clients freed in control_turn(), when no
 * event of the turn is left that could point to what a request ends.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/control.h"

#include "broker/control_request.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    CLIENTS_MAX = 16,           /* the others wait until one of them goes */
    BACKLOG = 64,
    REQUESTS_A_TURN = 8,        /* of one client */
    REQUEST_MS = 10000,
    RETRY_MS = 1000,
    TEXT_MAX = 1 << 20,
    IN_FIRST = 256,
};

struct control {
    struct loop_source source;
    struct timer retry;         /* no descriptors were left */
    struct link clients;
    unsigned count;
    dev_t dev;                  /* of the socket's file, to remove no other */
    ino_t ino;
    char path[sizeof ((struct sockaddr_un *)0)->sun_path];
};

/* ---- text ---- */

static bool text_room(struct control_text *t, size_t more)
{
    size_t cap = t->cap > 0 ? t->cap : 1024;
    char *p;

    while (cap < t->len + more && cap <= TEXT_MAX)
        cap *= 2;
    if (cap == t->cap)
        return true;
    p = cap <= TEXT_MAX ? mem_grow(MEM_OTHER, t->p, cap) : NULL;
    if (p == NULL)
        return false;
    t->p = p;
    t->cap = cap;
    return true;
}

__attribute__((format(printf, 2, 0)))
static void text_vadd(struct control_text *t, const char *fmt, va_list ap)
{
    va_list again;
    int n;

    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (t->bad || n < 0 || !text_room(t, (size_t)n + 1)) {
        t->bad = true;
        return;
    }
    vsnprintf(t->p + t->len, (size_t)n + 1, fmt, ap);
    t->len += (size_t)n;
}

void text_add(struct control_text *t, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    text_vadd(t, fmt, ap);
    va_end(ap);
}

static void text_clear(struct control_text *t)
{
    mem_free(MEM_OTHER, t->p);
    *t = (struct control_text){ .p = NULL };
}

/* ---- clients ---- */

static struct control_client *of_link(struct link *l)
{
    return LIST_ENTRY(l, struct control_client, link);
}

static void arm(struct broker *b, struct control_client *c)
{
    timer_arm(&b->wheel, &c->timer, b->now_ms + REQUEST_MS);
}

/* The last line of an answer. */
static void finish(struct control_client *c)
{
    c->wait = WAIT_NOTHING;
    if (c->out.bad)
        control_error(c, "no memory for the answer");
    else if (!c->failed)
        text_add(&c->out, "ok\n");
    c->gone |= c->out.bad;
}

void control_error(struct control_client *c, const char *fmt, ...)
{
    va_list ap;

    c->wait = WAIT_NOTHING;
    c->failed = true;
    c->out.len = 0;
    c->out.bad = false;
    text_add(&c->out, "error: ");
    va_start(ap, fmt);
    text_vadd(&c->out, fmt, ap);
    va_end(ap);
    text_add(&c->out, "\n");
    c->gone |= c->out.bad;
}

static void timed_out(struct timer *t, void *arg)
{
    struct broker *b = arg;
    struct control_client *c = LIST_ENTRY(t, struct control_client, timer);

    if (c->wait != WAIT_COMMIT) {
        c->gone = true;
        return;
    }
    control_error(c, "done, but not stored yet: %s", journal_failing(&b->journal) ? persist_error(b->journal.db)
                                                                                  : "the disk is slow");
    arm(b, c);
}

static void client_free(struct broker *b, struct control_client *c)
{
    int fd = c->source.fd;

    timer_disarm(&c->timer);
    loop_del(&b->loop, &c->source);
    close(fd);
    list_unlink(&c->link);
    text_clear(&c->out);
    mem_free(MEM_OTHER, c->in);
    mem_free(MEM_OTHER, c);
    if (b->control->count-- == CLIENTS_MAX)
        loop_want(&b->loop, &b->control->source, LOOP_READ);
}

static bool grow(struct control_client *c)
{
    size_t cap = c->in_cap > 0 ? c->in_cap * 2 : IN_FIRST;
    char *p;

    if (c->in_len < c->in_cap)
        return true;
    p = cap <= REQUEST_MAX ? mem_grow(MEM_OTHER, c->in, cap) : NULL;
    if (p == NULL)
        return false;
    c->in = p;
    c->in_cap = cap;
    return true;
}

static void ready(struct loop_source *s, unsigned events, void *arg)
{
    struct control_client *c = LIST_ENTRY(s, struct control_client, source);
    ssize_t n;

    (void)arg;
    if (!(events & LOOP_READ)) {
        c->gone |= (events & LOOP_HANGUP) != 0;
        return;                     /* writable: control_turn() sees to it */
    }
    if (!grow(c)) {
        control_error(c, "the request is too long");
        c->eof = true;
        c->in_len = 0;
        return;
    }
    n = recv(s->fd, c->in + c->in_len, c->in_cap - c->in_len, 0);
    if (n > 0)
        c->in_len += (size_t)n;
    else if (n == 0)
        c->eof = true;
    else if (errno != EAGAIN && errno != EINTR)
        c->gone = true;
}

/* ---- accepting ---- */

static void accept_again(struct timer *t, void *arg)
{
    struct broker *b = arg;

    (void)t;
    if (b->control->count < CLIENTS_MAX)
        loop_want(&b->loop, &b->control->source, LOOP_READ);
}

/* The socket's mode says the same, but a mode is changed in a moment. */
static bool may_ask(int fd, struct ucred *who)
{
    gid_t groups[256];
    socklen_t len = sizeof *who, groups_len = sizeof groups;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, who, &len) < 0)
        return false;
    if (who->uid == 0 || who->uid == geteuid() || who->gid == getegid())
        return true;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &groups_len) < 0)
        return false;
    for (size_t i = 0; i < groups_len / sizeof groups[0]; i++)
        if (groups[i] == getegid())
            return true;
    return false;
}

static void refuse(struct broker *b, int fd, const struct ucred *who)
{
    static const char text[] = "error: only root, the broker's account and its group may ask\n";

    if (log_allow(&b->limit_deny, 20, b->now_ms))
        log_warning("control: refused uid=%u pid=%d", (unsigned)who->uid, (int)who->pid);
    /* If he does not hear it, he sees the end. */
    if (send(fd, text, sizeof text - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        log_debug("control: nobody hears the refusal");
    close(fd);
}

static void accept_ready(struct loop_source *s, unsigned events, void *arg)
{
    struct broker *b = arg;
    struct ucred who = { .uid = (uid_t)-1 };
    int fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct control_client *c;

    (void)events;
    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
        loop_want(&b->loop, s, 0);  /* or it would wake us for ever */
        timer_arm(&b->wheel, &b->control->retry, b->now_ms + RETRY_MS);
    }
    if (fd < 0)
        return;
    if (!may_ask(fd, &who)) {
        refuse(b, fd, &who);
        return;
    }
    c = mem_zero(MEM_OTHER, sizeof *c);
    if (c == NULL) {
        close(fd);
        return;
    }
    c->source = (struct loop_source){ .fd = -1, .ready = ready };
    c->uid = who.uid;
    c->pid = who.pid;
    timer_init(&c->timer, timed_out);
    if (loop_add(&b->loop, &c->source, fd, LOOP_READ) < 0) {
        mem_free(MEM_OTHER, c);
        close(fd);
        return;
    }
    list_push(&b->control->clients, &c->link);
    arm(b, c);
    if (++b->control->count == CLIENTS_MAX)
        loop_want(&b->loop, s, 0);
}

/* ---- the turn ---- */

/* One request out of the input, if a whole one is there. */
static bool next_request(struct broker *b, struct control_client *c)
{
    char *end = c->in_len > 0 ? memchr(c->in, '\n', c->in_len) : NULL;
    size_t used;

    if (end == NULL)
        return false;
    used = (size_t)(end + 1 - c->in);
    if (end > c->in && end[-1] == '\r')
        end--;
    c->failed = false;
    control_request(b, c, c->in, (size_t)(end - c->in));
    memmove(c->in, c->in + used, c->in_len - used);
    c->in_len -= used;
    if (c->wait == WAIT_NOTHING)
        finish(c);
    return true;
}

/* false: the client has to read first. */
static bool write_out(struct broker *b, struct control_client *c)
{
    while (c->out_at < c->out.len) {
        ssize_t n = send(c->source.fd, c->out.p + c->out_at, c->out.len - c->out_at, MSG_NOSIGNAL);

        if (n < 0) {
            c->gone |= errno != EAGAIN && errno != EINTR;
            return false;
        }
        c->out_at += (size_t)n;
    }
    if (c->out.len > 0)
        arm(b, c);
    text_clear(&c->out);
    c->out_at = 0;
    return true;
}

static bool may_answer(const struct broker *b, const struct control_client *c)
{
    return c->wait == WAIT_NOTHING || (c->wait == WAIT_COMMIT && journal_is_durable(&b->journal, c->seq));
}

static void serve(struct broker *b, struct control_client *c)
{
    for (unsigned i = 0; i < REQUESTS_A_TURN && !c->gone && may_answer(b, c); i++) {
        if (c->wait != WAIT_NOTHING)
            finish(c);
        if (!write_out(b, c) || !next_request(b, c))
            break;
    }
    if (c->gone || (c->eof && c->out.len == 0 && memchr(c->in != NULL ? c->in : "", '\n', c->in_len) == NULL)) {
        client_free(b, c);
        return;
    }
    if (c->wait != WAIT_NOTHING)
        loop_want(&b->loop, &c->source, 0);
    else
        loop_want(&b->loop, &c->source, c->out.len > 0 ? LOOP_WRITE : LOOP_READ);
}

void control_turn(struct broker *b)
{
    if (b->control == NULL)
        return;
    LIST_EACH(l, &b->control->clients)
        serve(b, of_link(l));
}

bool control_due(const struct broker *b)
{
    if (b->control == NULL)
        return false;
    LIST_EACH(l, &b->control->clients) {
        const struct control_client *c = of_link(l);

        if (c->wait == WAIT_COMMIT && may_answer(b, c))
            return true;
    }
    return false;
}

void control_reload_says(struct broker *b, const char *line)
{
    if (b->control == NULL)
        return;
    LIST_EACH(l, &b->control->clients)
        if (of_link(l)->wait == WAIT_RELOAD)
            text_add(&of_link(l)->out, "%s\n", line);
}

void control_reloaded(struct broker *b, bool taken)
{
    if (b->control == NULL)
        return;
    LIST_EACH(l, &b->control->clients) {
        struct control_client *c = of_link(l);

        if (c->wait != WAIT_RELOAD)
            continue;
        c->wait = WAIT_NOTHING;
        if (taken)
            finish(c);
        else
            text_add(&c->out, "error: not reloaded, the old configuration stays in use\n");
        c->gone |= c->out.bad;
    }
}

/* ---- opening and closing ---- */

/* Left behind by a broker that was killed? Only then it may go. */
static bool make_way(const struct sockaddr_un *sa, const char **why)
{
    struct stat st;
    int probe, rc, err;

    if (lstat(sa->sun_path, &st) < 0)
        return true;
    *why = "something else has that name";
    if (!S_ISSOCK(st.st_mode))
        return false;
    probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    rc = probe >= 0 ? connect(probe, (const struct sockaddr *)sa, sizeof *sa) : -1;
    err = errno;
    if (probe >= 0)
        close(probe);
    *why = "another broker answers there";
    if (rc == 0 || err != ECONNREFUSED)
        return false;
    *why = NULL;
    return unlink(sa->sun_path) == 0;
}

/* The listening descriptor; -1: *why, or errno where that is NULL. */
static int bind_socket(struct control *ctl, const struct passwd *account, const char **why)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    struct stat st;
    mode_t mask;
    int fd, rc, err;
    bool bound;

    memcpy(sa.sun_path, ctl->path, sizeof sa.sun_path);
    if (!make_way(&sa, why))
        return -1;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    mask = umask(0117);             /* 0660: whoever is in our group may talk to us */
    rc = bind(fd, (struct sockaddr *)&sa, sizeof sa);
    umask(mask);
    bound = rc == 0;
    if (bound && account != NULL)
        rc = lchown(sa.sun_path, account->pw_uid, account->pw_gid);
    if (rc == 0 && listen(fd, BACKLOG) == 0 && lstat(sa.sun_path, &st) == 0) {
        ctl->dev = st.st_dev;
        ctl->ino = st.st_ino;
        return fd;
    }
    err = errno;
    if (bound)
        unlink(sa.sun_path);
    close(fd);
    errno = err;
    return -1;
}

const bool control_built = true;

void control_open(struct broker *b, const struct passwd *account)
{
    struct control *ctl;
    const char *why = NULL;
    int fd;

    if (!b->cfg->enable_control)
        return;
    ctl = mem_zero(MEM_OTHER, sizeof *ctl);
    if (ctl == NULL)
        return;
    snprintf(ctl->path, sizeof ctl->path, "%s", b->cfg->control_socket);
    ctl->source = (struct loop_source){ .fd = -1, .ready = accept_ready };
    timer_init(&ctl->retry, accept_again);
    list_init(&ctl->clients);
    fd = bind_socket(ctl, account, &why);
    if (fd < 0 && strcmp(ctl->path, CONTROL_DEFAULT) == 0 && getenv("RUNTIME_DIRECTORY") != NULL) {
        snprintf(ctl->path, sizeof ctl->path, "%s", CONTROL_SERVICE);
        why = NULL;
        fd = bind_socket(ctl, account, &why);
    }
    if (fd < 0 || loop_add(&b->loop, &ctl->source, fd, LOOP_READ) < 0) {
        log_warning("no control socket, so the tools can't reach this broker path=%s error=%s", log_qs(ctl->path),
                    log_qs(why != NULL ? why : strerror(errno)));
        if (fd >= 0)
            close(fd);
        mem_free(MEM_OTHER, ctl);
        return;
    }
    b->control = ctl;
}

void control_close(struct broker *b)
{
    struct control *ctl = b->control;
    struct stat st;
    int fd;

    if (ctl == NULL)
        return;
    while (!list_empty(&ctl->clients))
        client_free(b, of_link(ctl->clients.next));
    timer_disarm(&ctl->retry);
    fd = ctl->source.fd;
    loop_del(&b->loop, &ctl->source);
    close(fd);
    /* Without the right to the directory it stays, and the next start takes it away. */
    if (lstat(ctl->path, &st) == 0 && st.st_dev == ctl->dev && st.st_ino == ctl->ino && unlink(ctl->path) < 0)
        log_debug("control: the socket stays behind path=%s", log_qs(ctl->path));
    mem_free(MEM_OTHER, ctl);
    b->control = NULL;
}
