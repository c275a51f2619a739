/* Listening sockets: binding, waiting for addresses that are not there yet, accepting.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/listen.h"

#include "broker/config_check.h"
#include "broker/shed.h"
#include "broker/tls.h"
#include "broker/ws.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

/* Connections taken from one socket in one turn. */
#define ACCEPT_BATCH 64
#define BACKLOG      1024
/* An address that is not there yet (network coming up) is tried again this often. */
#define RETRY_MS     2000
/* Certificates that were replaced are noticed by the first client after this long. */
#define TLS_LOOK_MS  10000
#define DAY_MS       86400000
/* A certificate that ends sooner than this is warned of. */
#define TLS_WARN_MS  (21 * (int64_t)DAY_MS)

void listen_address_text(const struct sockaddr_storage *sa, char *out, size_t cap)
{
    char ip[INET6_ADDRSTRLEN] = "?";

    if (sa->ss_family == AF_INET) {
        const struct sockaddr_in *a = (const void *)sa;

        inet_ntop(AF_INET, &a->sin_addr, ip, sizeof ip);
        snprintf(out, cap, "%s:%u", ip, ntohs(a->sin_port));
    } else if (sa->ss_family == AF_INET6) {
        const struct sockaddr_in6 *a = (const void *)sa;

        if (IN6_IS_ADDR_V4MAPPED(&a->sin6_addr)) {
            inet_ntop(AF_INET, a->sin6_addr.s6_addr + 12, ip, sizeof ip);
            snprintf(out, cap, "%s:%u", ip, ntohs(a->sin6_port));
        } else {
            inet_ntop(AF_INET6, &a->sin6_addr, ip, sizeof ip);
            snprintf(out, cap, "[%s]:%u", ip, ntohs(a->sin6_port));
        }
    } else {
        const char *path = ((const struct sockaddr_un *)sa)->sun_path;

        snprintf(out, cap, "%s", sa->ss_family == AF_UNIX ? path : "?");
    }
}

/* ---- accepting ---- */

static void warn_expiry(const struct broker *b, const struct listener *l)
{
    int64_t left = tls_expires_ms(l->tls) - b->wall_ms;

    if (left < TLS_WARN_MS)         /* never where there is none */
        log_warning("certificate %s listener=%s file=%s days=%lld", left < 0 ? "has expired" : "expires soon",
                    log_qs(l->cfg->name), log_qs(l->cfg->certfile), (long long)(left / DAY_MS));
}

static void another_day(struct timer *t, void *arg)
{
    struct listener *l = LIST_ENTRY(t, struct listener, expiry);
    struct broker *b = arg;

    warn_expiry(b, l);
    timer_arm(&b->wheel, t, b->now_ms + DAY_MS);
}

int64_t listen_expires_ms(const struct broker *b)
{
    int64_t first = INT64_MAX;

    for (unsigned i = 0; i < b->listener_count; i++)
        if (b->listeners[i].tls != NULL && tls_expires_ms(b->listeners[i].tls) < first)
            first = tls_expires_ms(b->listeners[i].tls);
    return first;
}

/* A renewed certificate is taken without a signal. */
static void look_at_tls_files(struct broker *b, struct listener *l)
{
    char *why = NULL;

    if (b->now_ms - l->tls_seen_ms < TLS_LOOK_MS)
        return;
    l->tls_seen_ms = b->now_ms;
    if (!tls_context_changed(l->tls))
        return;
    if (tls_context_reload(l->tls, l->cfg, &why)) {
        log_notice("certificates reloaded listener=%s", log_qs(l->cfg->name));
        warn_expiry(b, l);
    } else if (log_allow(&b->limit_peer, 5, b->now_ms)) {
        log_error("certificates changed and can't be used, the old ones stay listener=%s error=%s", log_qs(l->cfg->name),
                  log_qs(why));
    }
    free(why);
}

void listener_accept(struct broker *b, struct listener *l, int fd, const char *peer)
{
    struct conn *c;

    if (l->tls != NULL)
        look_at_tls_files(b, l);
    c = conn_new(b, l, fd, peer);
    if (c != NULL && ((l->tls != NULL && !tls_accept(l->tls, c, fd)) ||
                      (l->cfg->protocol == PROTOCOL_WEBSOCKETS && !ws_accept(c))))
        conn_close(b, c, CLOSE_NO_MEMORY);
}

bool listen_load_tls(struct broker *b, const struct config *cfg)
{
    bool ok = true;

    for (unsigned i = 0; i < b->listener_count; i++) {
        struct listener *l = &b->listeners[i];
        const struct config_listener *now = config_listener_named(cfg, l->cfg->name);
        char *why = NULL, line[1024];

        if (!tls_wanted(now))
            continue;
        l->tls_next = tls_context_new(now, &why);
        if (l->tls_next == NULL) {
            snprintf(line, sizeof line, "TLS is not possible listener=%s error=%s", log_qs(now->name), log_qs(why));
            broker_error(b, line);
            ok = false;
        }
        free(why);
    }
    if (!ok)
        listen_take_tls(b, false);
    return ok;
}

/* It has begun to accept: what follows is a reload. */
static bool serving(const struct listener *l)
{
    return l->socket_count > 0 && l->sockets[0].source.fd >= 0;
}

void listen_take_tls(struct broker *b, bool take)
{
    for (unsigned i = 0; i < b->listener_count; i++) {
        struct listener *l = &b->listeners[i];
        struct tls_context *old = take ? l->tls : l->tls_next;

        if (take && (l->tls != NULL) != (l->tls_next != NULL) && serving(l))
            log_warning("listener=%s: from now on new connections %s", log_qs(l->cfg->name),
                        l->tls_next != NULL ? "must speak TLS" : "speak plain MQTT, without TLS");
        if (take)
            l->tls = l->tls_next;
        l->tls_next = NULL;
        tls_context_free(&old);
        l->tls_seen_ms = b->now_ms;
        timer_disarm(&l->expiry);
        if (l->tls == NULL)
            continue;
        if (take)
            warn_expiry(b, l);
        timer_arm(&b->wheel, &l->expiry, b->now_ms + DAY_MS);
    }
}

static void accept_or_not(struct broker *b, struct listener *l)
{
    for (unsigned k = 0; k < l->socket_count; k++)
        loop_want(&b->loop, &l->sockets[k].source, l->paused || l->held ? 0 : LOOP_READ);
}

static void pause_accepting(struct broker *b, bool pause)
{
    for (unsigned i = 0; i < b->listener_count; i++) {
        b->listeners[i].paused = pause;
        accept_or_not(b, &b->listeners[i]);
    }
}

/* How long the next connection has to wait for its turn. The allowance is kept as the time when it is full again. */
static uint64_t rate_wait_ms(uint64_t full_us, uint32_t per_second, uint64_t now_ms)
{
    uint64_t next_us = per_second > 0 ? full_us + 1000000 / per_second : 0, now_us = now_ms * 1000 + 1000000;

    return next_us > now_us ? (next_us - now_us + 999) / 1000 : 0;
}

static void rate_spend(uint64_t *full_us, uint32_t per_second, uint64_t now_ms)
{
    if (per_second > 0)
        *full_us = (*full_us > now_ms * 1000 ? *full_us : now_ms * 1000) + 1000000 / per_second;
}

static void held_long_enough(struct timer *t, void *arg)
{
    struct listener *l = LIST_ENTRY(t, struct listener, hold);

    l->held = false;
    accept_or_not(arg, l);
}

static uint64_t must_wait_ms(const struct broker *b, const struct listener *l)
{
    uint64_t all_ms = rate_wait_ms(b->rate_us, b->cfg->max_connection_rate, b->now_ms);
    uint64_t own_ms = rate_wait_ms(l->rate_us, l->cfg->max_connection_rate, b->now_ms);

    return all_ms > own_ms ? all_ms : own_ms;
}

/* true: who is at the door must wait, which he does in the kernel's queue; nobody else waits for him. */
static bool too_fast(struct broker *b, struct listener *l)
{
    uint64_t wait_ms = must_wait_ms(b, l);

    if (wait_ms == 0)
        return false;
    l->held = true;
    accept_or_not(b, l);
    timer_arm(&b->wheel, &l->hold, b->now_ms + wait_ms);
    if (log_allow(&b->limit_rate, 1, b->now_ms))
        log_warning("new connections must wait listener=%s reason=\"max_connection_rate\" open=%u",
                    log_qs(l->cfg->name), b->conn_count);
    return true;
}

void listen_resume(struct broker *b)
{
    if (b->listener_count > 0 && b->listeners[0].paused && !b->stopping)
        pause_accepting(b, false);
}

/* Without descriptors a level-triggered listener would wake us for ever: stop listening until one is given back. */
static void out_of_descriptors(struct broker *b, int err)
{
    if (log_allow(&b->limit_peer, 5, b->now_ms))
        log_warning("connections must wait error=%s open=%u; raise the limit of open files, or set max_connections",
                    log_qs(strerror(err)), b->conn_count);
    pause_accepting(b, true);
    timer_arm(&b->wheel, &b->listeners[0].retry, b->now_ms + 1000);
}

static bool room_for_one(struct broker *b, const struct listener *l)
{
    return (b->cfg->max_connections == 0 || b->conn_count < b->cfg->max_connections) &&
           (l->cfg->max_connections == 0 || l->conn_count < l->cfg->max_connections);
}

static void accept_ready(struct loop_source *s, unsigned events, void *arg)
{
    struct broker *b = arg;
    struct listen_socket *socket = LIST_ENTRY(s, struct listen_socket, source);
    struct listener *l = socket->l;

    (void)events;
    if (too_fast(b, l))
        return;
    for (int i = 0; i < ACCEPT_BATCH && must_wait_ms(b, l) == 0; i++) {
        struct sockaddr_storage sa = { 0 };
        socklen_t len = sizeof sa;
        int fd = accept4(s->fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        char peer[64];

        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                out_of_descriptors(b, errno);
            return;                 /* EAGAIN, or a client that has gone already */
        }
        rate_spend(&b->rate_us, b->cfg->max_connection_rate, b->now_ms);
        rate_spend(&l->rate_us, l->cfg->max_connection_rate, b->now_ms);
        if (sa.ss_family == AF_UNIX)        /* a name, if it has one, is of its own choice */
            snprintf(peer, sizeof peer, "unix");
        else
            listen_address_text(&sa, peer, sizeof peer);
        if (!room_for_one(b, l)) {
            METRIC(b, CLIENTS_REFUSED)++;
            if (log_allow(&b->limit_peer, 5, b->now_ms))
                log_warning("connection refused peer=%s reason=\"max_connections\" open=%u", peer, b->conn_count);
            close(fd);
            continue;
        }
        if (shed(b, SHED_MESSAGES)) {
            METRIC(b, CLIENTS_REFUSED)++;
            close(fd);
            continue;
        }
        listener_accept(b, l, fd, peer);
    }
}

/* ---- opening ---- */

static bool bind_interface(const struct listener *l, int fd)
{
    const char *name = l->cfg->interface;

    return name == NULL || setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, (socklen_t)strlen(name)) == 0;
}

static int set_options(const struct listener *l, int fd, int family)
{
    int on = 1;

    if (family == AF_UNIX)
        return 0;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
        return -1;
    /* Inherited by what is accepted: a peer without keep alive that vanished is found by the kernel, some day. */
    if (setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) < 0)
        return -1;
    if (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) < 0)
        return -1;
    return bind_interface(l, fd) ? 0 : -1;
}

bool listener_add_socket(struct listener *l, int fd)
{
    struct listen_socket *s = &l->sockets[l->socket_count];
    struct sockaddr_storage at = { 0 };
    socklen_t len = sizeof at - 1;      /* a path may fill it without a NUL */

    errno = EMFILE;
    if (l->socket_count == LISTEN_SOCKETS || getsockname(fd, (struct sockaddr *)&at, &len) < 0)
        return false;
    if (l->passed && at.ss_family != AF_UNIX && !bind_interface(l, fd))
        return false;
    listen_address_text(&at, s->name, sizeof s->name);
    s->source = (struct loop_source){ .fd = -1, .ready = accept_ready };
    s->l = l;
    s->pending_fd = fd;
    l->socket_count++;
    return true;
}

/* -1: errno. */
static int open_one(struct listener *l, const struct sockaddr *sa, socklen_t len)
{
    int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int err;

    if (fd < 0)
        return -1;
    if (set_options(l, fd, sa->sa_family) == 0 && bind(fd, sa, len) == 0 && listen(fd, BACKLOG) == 0 &&
        listener_add_socket(l, fd))
        return 0;
    err = errno;
    close(fd);
    errno = err;
    return -1;
}

static int open_unix(struct listener *l)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    struct stat st;
    mode_t mask;
    int rc;

    if (strlen(l->cfg->address) >= sizeof sa.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(sa.sun_path, l->cfg->address, strlen(l->cfg->address) + 1);
    if (lstat(sa.sun_path, &st) == 0 && S_ISSOCK(st.st_mode)) {
        /* Left behind by a broker that was killed, or one that still serves? */
        int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool alive = probe >= 0 && connect(probe, (struct sockaddr *)&sa, sizeof sa) == 0;

        if (probe >= 0)
            close(probe);
        if (alive) {
            errno = EADDRINUSE;
            return -1;
        }
        unlink(sa.sun_path);
    }
    mask = umask(0007);
    rc = open_one(l, (struct sockaddr *)&sa, sizeof sa);
    umask(mask);
    return rc;
}

static bool is_open(const struct listener *l, const struct addrinfo *a)
{
    struct sockaddr_storage sa = { 0 };
    char name[sizeof l->sockets[0].name];

    memcpy(&sa, a->ai_addr, a->ai_addrlen);
    listen_address_text(&sa, name, sizeof name);
    for (unsigned i = 0; i < l->socket_count; i++)
        if (strcmp(l->sockets[i].name, name) == 0)
            return true;
    return false;
}

/* Opens what is not open yet and can be opened; l->open_error: why another could not. */
static void open_listener(struct listener *l)
{
    static const int families[] = { [DOMAIN_BOTH] = AF_UNSPEC, [DOMAIN_IPV4] = AF_INET, [DOMAIN_IPV6] = AF_INET6 };
    struct addrinfo hints = { .ai_family = families[l->cfg->socket_domain], .ai_socktype = SOCK_STREAM,
                              .ai_flags = AI_PASSIVE }, *all, *a;
    char port[8];
    int rc;

    l->open_error = NULL;
    if (listener_is_unix(l->cfg)) {
        if (open_unix(l) < 0)
            l->open_error = strerror(errno);
        return;
    }
    snprintf(port, sizeof port, "%u", l->cfg->port);
    rc = getaddrinfo(l->cfg->address, port, &hints, &all);
    if (rc != 0) {
        l->open_error = gai_strerror(rc);
        return;
    }
    for (a = all; a != NULL && l->socket_count < LISTEN_SOCKETS; a = a->ai_next) {
        /* With a port that the kernel picks, the second family must get the same one. */
        if (l->cfg->port == 0 && l->socket_count > 0)
            break;
        if (!is_open(l, a) && open_one(l, a->ai_addr, a->ai_addrlen) < 0 && l->open_error == NULL &&
            !(errno == EAFNOSUPPORT && a->ai_family == AF_INET6))
            l->open_error = strerror(errno);
    }
    freeaddrinfo(all);
}

static void say_not_open(const struct listener *l)
{
    log_warning("can't listen name=%s address=%s port=%u error=%s; it is tried again", log_qs(l->cfg->name),
                l->cfg->address != NULL ? log_qs(l->cfg->address) : "all", l->cfg->port, log_qs(l->open_error));
}

static void say_who(const struct listener *l)
{
    char who[256];
    bool anybody = listener_who(l->cfg, who, sizeof who);

    log_at(anybody ? LEVEL_NOTICE : LEVEL_WARNING, "access listener=%s: %s", log_qs(l->cfg->name), who);
}

static void start_listener(struct broker *b, struct listener *l)
{
    for (unsigned i = 0; i < l->socket_count; i++) {
        struct listen_socket *s = &l->sockets[i];

        if (s->source.fd >= 0)
            continue;
        if (loop_add(&b->loop, &s->source, s->pending_fd, LOOP_READ) < 0) {
            log_error("can't listen name=%s error=%s", log_qs(l->cfg->name), log_qs(strerror(errno)));
            continue;
        }
        log_notice("listening name=%s on %s protocol=%s%s%s", log_qs(l->cfg->name), s->name, listener_protocol(l->cfg),
                   l->tls != NULL ? " tls=yes" : "", l->passed ? " opened_by=service-manager" : "");
    }
    if (l->socket_count > 0)
        say_who(l);
}

static void retry(struct timer *t, void *arg)
{
    struct broker *b = arg;
    struct listener *l = LIST_ENTRY(t, struct listener, retry);
    const char *was = l->open_error;
    unsigned open = l->socket_count;

    listen_resume(b);
    if (was == NULL)
        return;
    open_listener(l);
    if (l->socket_count > open)
        start_listener(b, l);
    if (l->open_error == NULL)
        return;
    if (strcmp(l->open_error, was) != 0)
        say_not_open(l);
    timer_arm(&b->wheel, t, b->now_ms + RETRY_MS);
}

/* Whoever is in the broker's group may talk to it, not whoever is in root's. */
static void give_socket(const struct listener *l, const struct passwd *account)
{
    if (account != NULL && !l->passed && listener_is_unix(l->cfg) && l->socket_count > 0 &&
        lchown(l->cfg->address, account->pw_uid, account->pw_gid) < 0)
        log_warning("can't give the socket to user=%s path=%s error=%s", log_qs(account->pw_name),
                    log_qs(l->cfg->address), log_qs(strerror(errno)));
}

bool listen_open(struct broker *b, const struct passwd *account, char **why)
{
    unsigned open = 0;
    const char *last = "";

    b->listeners = mem_zero(MEM_OTHER, b->cfg->listener_count * sizeof *b->listeners);
    if (b->listeners == NULL)
        return false;
    b->listener_count = b->cfg->listener_count;
    for (unsigned i = 0; i < b->listener_count; i++) {
        struct listener *l = &b->listeners[i];

        l->cfg = &b->cfg->listeners[i];
        l->b = b;
        list_init(&l->conns);
        l->mount_len = l->cfg->mount_point != NULL ? (uint16_t)strlen(l->cfg->mount_point) : 0;
        timer_init(&l->retry, retry);
        timer_init(&l->hold, held_long_enough);
        timer_init(&l->expiry, another_day);
    }
    if (!listen_take_passed(b, why))
        return false;
    for (unsigned i = 0; i < b->listener_count; i++) {
        struct listener *l = &b->listeners[i];

        if (l->passed) {
            open += l->socket_count;
            continue;
        }
        open_listener(l);
        open += l->socket_count;
        give_socket(l, account);
        if (l->open_error == NULL)
            continue;
        last = l->open_error;
        say_not_open(l);
        timer_arm(&b->wheel, &l->retry, b->now_ms + RETRY_MS);
    }
    if (open > 0)
        return true;
    if (asprintf(why, "not one listener could be opened: %s%s (see [listener] address and port)", last,
                 strcmp(last, strerror(EADDRINUSE)) == 0 ? "; is another broker running?"
                 : strcmp(last, strerror(EACCES)) == 0   ? "; ports below 1024 take root, or CAP_NET_BIND_SERVICE"
                                                         : "") < 0)
        *why = NULL;
    return false;
}

void listen_start(struct broker *b)
{
    for (unsigned i = 0; i < b->listener_count; i++)
        start_listener(b, &b->listeners[i]);
}

void listen_stop(struct broker *b)
{
    pause_accepting(b, true);
}

void listen_close(struct broker *b)
{
    for (unsigned i = 0; i < b->listener_count; i++) {
        struct listener *l = &b->listeners[i];

        timer_disarm(&l->retry);
        timer_disarm(&l->hold);
        timer_disarm(&l->expiry);
        for (unsigned k = 0; k < l->socket_count; k++) {
            loop_del(&b->loop, &l->sockets[k].source);
            close(l->sockets[k].pending_fd);
        }
        if (l->socket_count > 0 && !l->passed && listener_is_unix(l->cfg))
            unlink(l->cfg->address);
        tls_context_free(&l->tls);
        assert(list_empty(&l->conns));
    }
    mem_free(MEM_OTHER, b->listeners);
    b->listeners = NULL;
    b->listener_count = 0;
}
