/* Listening sockets that the service manager opened for us: which listener each of them is for.
 *
 * By name, if the socket unit gives it the name of a [listener NAME]; else by its address and port. A listener that
 * got one opens none itself. What fits nowhere is an error: a port that is open and not served, or served with
 * somebody else's rules, would be worse than no start.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/listen.h"

#include "broker/config_check.h"
#include "broker/service.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static bool is_wildcard(const struct sockaddr_storage *sa)
{
    return sa->ss_family == AF_INET ? ((const struct sockaddr_in *)sa)->sin_addr.s_addr == htonl(INADDR_ANY)
                                    : IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)sa)->sin6_addr);
}

static bool is_loopback(const struct sockaddr_storage *sa)
{
    return sa->ss_family == AF_INET ? ((const struct sockaddr_in *)sa)->sin_addr.s_addr == htonl(INADDR_LOOPBACK)
                                    : IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)sa)->sin6_addr);
}

static bool same_ip(const struct sockaddr *a, const struct sockaddr_storage *b)
{
    if (a->sa_family != b->ss_family)
        return false;
    if (a->sa_family == AF_INET)
        return ((const struct sockaddr_in *)a)->sin_addr.s_addr == ((const struct sockaddr_in *)b)->sin_addr.s_addr;
    return memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr, &((const struct sockaddr_in6 *)b)->sin6_addr, 16) == 0;
}

static uint16_t port_of(const struct sockaddr_storage *sa)
{
    return ntohs(sa->ss_family == AF_INET ? ((const struct sockaddr_in *)sa)->sin_port
                                          : ((const struct sockaddr_in6 *)sa)->sin6_port);
}

/* Does the listener want this address, whatever the port? */
static bool wants_address(const struct config_listener *l, const struct sockaddr_storage *sa)
{
    static const int families[] = { [DOMAIN_BOTH] = AF_UNSPEC, [DOMAIN_IPV4] = AF_INET, [DOMAIN_IPV6] = AF_INET6 };
    struct addrinfo hints = { .ai_family = families[l->socket_domain], .ai_socktype = SOCK_STREAM }, *all;
    bool found = false;

    if (sa->ss_family == AF_UNIX || listener_is_unix(l))
        return sa->ss_family == AF_UNIX && listener_is_unix(l) &&
               strcmp(l->address, ((const struct sockaddr_un *)sa)->sun_path) == 0;
    if (hints.ai_family != AF_UNSPEC && hints.ai_family != sa->ss_family)
        return false;
    if (l->address == NULL)
        return is_wildcard(sa);
    if (strcmp(l->address, "localhost") == 0)   /* both, whichever of them the resolver knows */
        return is_loopback(sa);
    if (getaddrinfo(l->address, NULL, &hints, &all) != 0)
        return false;
    for (const struct addrinfo *a = all; a != NULL && !found; a = a->ai_next)
        found = same_ip(a->ai_addr, sa);
    freeaddrinfo(all);
    return found;
}

static bool wants_port(const struct config_listener *l, const struct sockaddr_storage *sa)
{
    return sa->ss_family == AF_UNIX || port_of(sa) == l->port;
}

/* The built-in listener lets everybody in, because it is on loopback only: a name does not make it another. */
static struct listener *by_name(struct broker *b, const char *name)
{
    for (unsigned i = 0; i < b->listener_count; i++)
        if (b->listeners[i].cfg->file != NULL && strcmp(b->listeners[i].cfg->name, name) == 0)
            return &b->listeners[i];
    return NULL;
}

static struct listener *by_address(struct broker *b, const struct sockaddr_storage *sa)
{
    for (unsigned i = 0; i < b->listener_count; i++)
        if (wants_port(b->listeners[i].cfg, sa) && wants_address(b->listeners[i].cfg, sa))
            return &b->listeners[i];
    return NULL;
}

/* A listener that says where it is must not be found somewhere else: `caddis check` would tell a lie. */
static bool agrees(const struct broker *b, const struct listener *l, const struct sockaddr_storage *sa)
{
    int i = (int)(l - b->listeners);

    return (l->cfg->address == NULL ? !listener_is_unix(l->cfg) : wants_address(l->cfg, sa)) &&
           (!config_written(b->cfg, "port", i) || wants_port(l->cfg, sa));
}

/* "[listener a], [listener b]" */
static void list_names(const struct broker *b, char *out, size_t cap)
{
    size_t n = 0;

    out[0] = '\0';
    for (unsigned i = 0; i < b->listener_count && n < cap; i++)
        if (b->listeners[i].cfg->file != NULL)
            n += (size_t)snprintf(out + n, cap - n, "%s[listener %s]", n > 0 ? ", " : "", b->listeners[i].cfg->name);
}

static bool nobodys(const struct broker *b, const struct service_socket *s, const char *place, char **why)
{
    char names[512];

    list_names(b, names, sizeof names);
    if (asprintf(why, "the service manager passed the socket %s with the name %s, which is for no listener; write "
                      "FileDescriptorName=NAME into its socket unit, with the NAME of a [listener NAME] (%s), or give "
                      "one of them this address and port", place, log_qs(s->name),
                 names[0] != '\0' ? names : "the configuration has none") < 0)
        *why = NULL;
    return false;
}

static bool elsewhere(const struct listener *l, const char *place, char **why)
{
    if (asprintf(why, "the service manager passed the socket %s for [listener %s], which has another address or port "
                      "in the configuration; leave both out there, or change the socket unit", place, l->cfg->name) < 0)
        *why = NULL;
    return false;
}

static bool place_one(struct broker *b, const struct service_socket *s, char **why)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa - 1;
    struct listener *l = by_name(b, s->name);
    char place[128];

    memset(&sa, 0, sizeof sa);
    if (getsockname(s->fd, (struct sockaddr *)&sa, &len) < 0 ||
        (sa.ss_family != AF_INET && sa.ss_family != AF_INET6 && sa.ss_family != AF_UNIX))
        return nobodys(b, s, "of a strange kind", why);
    listen_address_text(&sa, place, sizeof place);
    if (l != NULL && !agrees(b, l, &sa))
        return elsewhere(l, place, why);
    if (l == NULL)
        l = by_address(b, &sa);
    if (l == NULL)
        return nobodys(b, s, place, why);
    l->passed = true;
    if (listener_add_socket(l, s->fd))
        return true;
    if (asprintf(why, "the socket %s can't be used for [listener %s]: %s", place, l->cfg->name, strerror(errno)) < 0)
        *why = NULL;
    return false;
}

bool listen_take_passed(struct broker *b, char **why)
{
    struct service_socket *v;
    int n = service_sockets(&v, why);
    bool ok = n >= 0;

    for (int i = 0; i < n; i++)
        if (!ok || !place_one(b, &v[i], why)) {
            ok = false;
            close(v[i].fd);
        }
    free(v);
    return ok;
}
