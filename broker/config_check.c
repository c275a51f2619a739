/* Clashes between keys, and the files that a configuration names.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/config_check.h"

#include "broker/acl.h"
#include "broker/config_value.h"
#include "broker/control.h"
#include "broker/passwd.h"
#include "broker/psk.h"
#include "broker/tls.h"
#include "proto/topic.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <net/if.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct check {
    const struct config *c;
    void (*say)(void *arg, const char *line);
    void *arg;
    unsigned errors;
};

bool listener_is_unix(const struct config_listener *l)
{
    return l->address != NULL && strchr(l->address, '/') != NULL;
}

__attribute__((format(printf, 5, 6)))
static void fail(struct check *k, const char *section, const char *key, int listener, const char *fmt, ...)
{
    char where[512], text[1024];
    size_t n;
    va_list ap;

    config_where(k->c, section, key, listener, where, sizeof where);
    n = (size_t)snprintf(text, sizeof text, "%s: ", where);
    va_start(ap, fmt);
    vsnprintf(text + n, sizeof text - n, fmt, ap);
    va_end(ap);
    k->errors++;
    k->say(k->arg, text);
}

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* What it listens on: 1 IPv4, 2 IPv6, 3 both. Of a host name that is not known here. */
static unsigned families(const struct config_listener *l)
{
    unsigned f = l->socket_domain == DOMAIN_IPV4 ? 1 : l->socket_domain == DOMAIN_IPV6 ? 2 : 3;
    struct in6_addr a;

    if (l->address != NULL && inet_pton(AF_INET, l->address, &a) == 1)
        f &= 1;
    if (l->address != NULL && inet_pton(AF_INET6, l->address, &a) == 1)
        f &= 2;
    return f;
}

/* Could the second of the two listeners not be opened because the first one is? All addresses hold each of them. */
static bool same_place(const struct config_listener *a, const struct config_listener *b)
{
    if (listener_is_unix(a) || listener_is_unix(b))
        return same_text(a->address, b->address);
    return a->port == b->port && a->port != 0 &&
           (a->address == NULL || b->address == NULL || same_text(a->address, b->address)) &&
           same_text(a->interface, b->interface) && (families(a) & families(b)) != 0;
}

static void check_unix(struct check *k, int i)
{
    const struct config_listener *l = &k->c->listeners[i];

    if (l->port != 0)
        fail(k, "listener", "port", i, "port: a Unix socket (address = %s) has none; leave port out",
             log_qs(l->address));
    if (l->interface != NULL)
        fail(k, "listener", "interface", i, "interface: a Unix socket has none; leave it out");
    if (l->socket_domain != DOMAIN_BOTH)
        fail(k, "listener", "socket_domain", i, "socket_domain: a Unix socket has none; leave it out");
    if (l->address[0] != '/')
        fail(k, "listener", "address", i, "address: %s: the path of a Unix socket starts with /", log_qs(l->address));
    if (strlen(l->address) >= sizeof ((struct sockaddr_un *)0)->sun_path)
        fail(k, "listener", "address", i, "address: the path of a Unix socket can have %zu bytes, this one has %zu",
             sizeof ((struct sockaddr_un *)0)->sun_path - 1, strlen(l->address));
}

/* ---- TLS ---- */

bool config_written(const struct config *c, const char *key, int listener)
{
    for (unsigned m = 0; m < c->mark_count; m++)
        if (c->marks[m].listener == listener && strcmp(config_directives[c->marks[m].directive].key, key) == 0)
            return true;
    return false;
}

/* What is of no use without TLS, and would give a false feeling of safety. */
static void check_no_tls(struct check *k, int i)
{
    const struct config_listener *l = &k->c->listeners[i];
    const struct { const char *key; bool on; } keys[] = {
        { "certfile", l->certfile != NULL },
        { "keyfile", l->keyfile != NULL },
        { "cafile", l->cafile != NULL },
        { "capath", l->capath != NULL },
        { "crlfile", l->crlfile != NULL },
        { "require_certificate", l->require_certificate },
        { "use_identity_as_username", l->use_identity_as_username },
        { "use_subject_as_username", l->use_subject_as_username },
        { "tls_version", config_written(k->c, "tls_version", i) },
        { "ciphers", l->ciphers != NULL },
        { "ciphers_tls1.3", l->ciphers_tls13 != NULL },
        { "dhparamfile", l->dhparamfile != NULL },
        { "psk_hint", l->psk_hint != NULL },
    };

    for (size_t j = 0; j < sizeof keys / sizeof keys[0]; j++)
        if (keys[j].on && !tls_built)
            fail(k, "listener", keys[j].key, i, "%s: this caddis was built without TLS", keys[j].key);
        else if (keys[j].on)
            fail(k, "listener", keys[j].key, i, "%s: this listener has no TLS; set certfile and keyfile, or psk_hint",
                 keys[j].key);
}

static void check_certificates(struct check *k, int i)
{
    const struct config_listener *l = &k->c->listeners[i];

    if (l->keyfile == NULL)
        fail(k, "listener", "certfile", i, "certfile: needs a keyfile");
    if (l->psk_hint != NULL)
        fail(k, "listener", "psk_hint", i, "psk_hint: a listener has either keys (psk_hint) or certificates (certfile)");
    if (l->require_certificate && l->cafile == NULL && l->capath == NULL)
        fail(k, "listener", "require_certificate", i, "require_certificate: needs a cafile or capath");
    if (l->crlfile != NULL && l->cafile == NULL && l->capath == NULL)
        fail(k, "listener", "crlfile", i, "crlfile: needs a cafile or capath");
    if (l->use_identity_as_username && !l->require_certificate)
        fail(k, "listener", "use_identity_as_username", i, "use_identity_as_username: needs require_certificate = true");
    if (l->use_subject_as_username && !l->require_certificate)
        fail(k, "listener", "use_subject_as_username", i, "use_subject_as_username: needs require_certificate = true");
    if (l->use_subject_as_username && l->use_identity_as_username)
        fail(k, "listener", "use_subject_as_username", i,
             "use_subject_as_username: can't stand together with use_identity_as_username");
}

static void check_psk(struct check *k, int i)
{
    const struct config_listener *l = &k->c->listeners[i];
    const struct { const char *key; bool on; } keys[] = {
        { "keyfile", l->keyfile != NULL },
        { "cafile", l->cafile != NULL },
        { "capath", l->capath != NULL },
        { "crlfile", l->crlfile != NULL },
        { "require_certificate", l->require_certificate },
        { "use_subject_as_username", l->use_subject_as_username },
    };

    if (l->auth.psk_file == NULL)
        fail(k, "listener", "psk_hint", i, "psk_hint: needs a psk_file, here or in [auth]");
    for (size_t j = 0; j < sizeof keys / sizeof keys[0]; j++)
        if (keys[j].on)
            fail(k, "listener", keys[j].key, i, "%s: a listener with psk_hint knows no certificates", keys[j].key);
}

static void check_tls(struct check *k, int i)
{
    const struct config_listener *l = &k->c->listeners[i];
    char why[256];

    if (!tls_built || !tls_wanted(l)) {
        check_no_tls(k, i);
        return;
    }
    if (l->certfile != NULL)
        check_certificates(k, i);
    else
        check_psk(k, i);
    if (l->ciphers != NULL && !tls_ciphers_check(l->ciphers, false, why, sizeof why))
        fail(k, "listener", "ciphers", i, "ciphers: %s", why);
    if (l->ciphers_tls13 != NULL && !tls_ciphers_check(l->ciphers_tls13, true, why, sizeof why))
        fail(k, "listener", "ciphers_tls1.3", i, "ciphers_tls1.3: %s", why);
    if (l->ciphers != NULL && l->tls_version == 0x0304)
        fail(k, "listener", "ciphers", i, "ciphers: are for TLS 1.2, which tls_version excludes; see ciphers_tls1.3");
}

/* ---- listeners ---- */

/* A scheme, ://, a host and perhaps a port; "null" is a page from a file. */
static bool is_origin(const char *text)
{
    const char *host = strstr(text, "://");

    return strcmp(text, "null") == 0 || (host != NULL && host > text && host[3] != '\0' && strchr(host + 3, '/') == NULL);
}

static void check_origins(struct check *k, int i)
{
    const struct config_listener *l = &k->c->listeners[i];

    if (l->websockets_origin == NULL)
        return;
    if (l->protocol != PROTOCOL_WEBSOCKETS)
        fail(k, "listener", "websockets_origin", i, "websockets_origin: needs protocol = websockets");
    for (char **o = l->websockets_origin; *o != NULL; o++)
        if (!is_origin(*o))
            fail(k, "listener", "websockets_origin", i,
                 "websockets_origin: %s: write it as a browser does: https://HOST or http://HOST:PORT", log_qs(*o));
}

static void check_listener(struct check *k, int i)
{
    const struct config_listener *l = &k->c->listeners[i];

    if (listener_is_unix(l))
        check_unix(k, i);
    else if (l->address != NULL && strpbrk(l->address, " \t") != NULL)
        fail(k, "listener", "address", i, "address: %s: an address has no blank in it; a comment at the end of a line "
             "starts with ;", log_qs(l->address));
    if (l->mount_point != NULL && topic_has_wildcard((struct view){ (const uint8_t *)l->mount_point,
                                                                    strlen(l->mount_point) }))
        fail(k, "listener", "mount_point", i, "mount_point: %s: + and # can't stand in a topic", log_qs(l->mount_point));
    if (l->auth.auto_id_prefix != NULL && strlen(l->auth.auto_id_prefix) > AUTO_ID_PREFIX_MAX)
        fail(k, "listener", "auto_id_prefix", i, "auto_id_prefix: longer than %d bytes", AUTO_ID_PREFIX_MAX);
    check_origins(k, i);
    check_tls(k, i);
}

static void check_place(struct check *k, int i)
{
    const struct config_listener *l = &k->c->listeners[i];

    for (int j = 0; j < i; j++)
        if (same_place(&k->c->listeners[j], l)) {
            fail(k, "listener", "port", i, "listener %s wants the same address and port as listener %s (%s:%d)",
                 log_qs(l->name), log_qs(k->c->listeners[j].name), k->c->listeners[j].file, k->c->listeners[j].line);
            return;
        }
}

unsigned config_check_clashes(const struct config *c, bool sound,
                              void (*say)(void *arg, const char *line), void *arg)
{
    struct check k = { .c = c, .say = say, .arg = arg };

    if (c->log_dests & DEST_NONE && c->log_dests != DEST_NONE)
        fail(&k, "log", "dest", -1, "dest: none can't stand together with other destinations");
    if (!control_built && c->enable_control && config_written(c, "enable_control", -1))
        fail(&k, "broker", "enable_control", -1, "enable_control: this caddis was built without the control socket");
    if (strlen(c->control_socket) >= sizeof ((struct sockaddr_un *)0)->sun_path)
        fail(&k, "broker", "control_socket", -1, "control_socket: a path can have %zu bytes here, this one has %zu",
             sizeof ((struct sockaddr_un *)0)->sun_path - 1, strlen(c->control_socket));
    for (unsigned i = 0; i < c->listener_count; i++)
        check_listener(&k, (int)i);
    for (unsigned i = 1; sound && i < c->listener_count; i++)
        check_place(&k, (int)i);
    return k.errors;
}

static bool is_loopback(const struct config_listener *l)
{
    return l->address != NULL && (strcmp(l->address, "localhost") == 0 || strcmp(l->address, "::1") == 0 ||
                                  strncmp(l->address, "127.", 4) == 0);
}

bool listener_who(const struct config_listener *l, char *out, size_t cap)
{
    const struct config_auth *a = &l->auth;
    bool identity = l->use_identity_as_username || l->use_subject_as_username;
    const char *from = listener_is_unix(l) ? "on this machine who may open the socket"
                       : is_loopback(l)    ? "on this machine"
                                           : "who can reach it";
    const char *tls = l->require_certificate ? "a certificate that cafile or capath knows"
                      : l->psk_hint != NULL  ? "a key that psk_file has"
                                             : "";
    /* A browser lets any page connect to any host, and tells the page's origin. */
    const char *pages = l->protocol == PROTOCOL_WEBSOCKETS && l->websockets_origin == NULL
                            ? ", and any web page in a browser there (see websockets_origin)" : "";

    if (a->allow_anonymous)
        snprintf(out, cap, "everybody %s%s%s, without a password%s", from, *tls != '\0' ? " with " : "", tls, pages);
    else if (a->password_file != NULL || identity)
        snprintf(out, cap, "everybody %s with %s%s%s%s%s", from, identity ? tls : "",
                 identity && a->password_file != NULL ? ", or " : "",
                 a->password_file != NULL ? "an account in password_file" : "",
                 !identity && *tls != '\0' ? " and " : "", identity ? "" : tls);
    else
        snprintf(out, cap, "nobody: set [auth] password_file (caddis passwd -c FILE USER makes one), or "
                           "allow_anonymous = true");
    return a->allow_anonymous || a->password_file != NULL || identity;
}

/* ---- files ---- */

/* Of its store and its control socket the broker makes the directory, if only the last part is missing. */
static bool made_at_start(const char *path)
{
    char *copy = strdup(path), *dir = copy != NULL ? dirname(copy) : NULL;
    bool yes = dir != NULL && access(dir, F_OK) < 0 && errno == ENOENT && access(dirname(dir), W_OK | X_OK) == 0;

    free(copy);
    return yes;
}

/* The directory must be there and writable; the file itself, where it exists, must be a writable regular file. */
static void check_writable(struct check *k, const char *section, const char *key, int listener, const char *path,
                           mode_t kind)
{
    char *copy = strdup(path);
    const char *dir = copy != NULL ? dirname(copy) : "/";
    struct stat st;

    if (stat(dir, &st) < 0)
        fail(k, section, key, listener, "%s: the directory %s: %s", key, log_qs(dir), strerror(errno));
    else if (!S_ISDIR(st.st_mode))
        fail(k, section, key, listener, "%s: %s is not a directory", key, log_qs(dir));
    else if (access(dir, W_OK | X_OK) < 0)
        fail(k, section, key, listener, "%s: the directory %s can't be written by this user: %s", key, log_qs(dir),
             strerror(errno));
    else if (stat(path, &st) == 0 && (st.st_mode & S_IFMT) != kind)
        fail(k, section, key, listener, "%s: %s is there and is something else", key, log_qs(path));
    else if (stat(path, &st) == 0 && access(path, W_OK) < 0)
        fail(k, section, key, listener, "%s: %s can't be written: %s", key, log_qs(path), strerror(errno));
    free(copy);
}

static void counted(void *arg, const char *line)
{
    struct check *k = arg;

    k->errors++;
    k->say(k->arg, line);
}

enum auth_file { FILE_PASSWORD, FILE_ACL, FILE_PSK, AUTH_FILES };

static const char *auth_file(const struct config_listener *l, enum auth_file which)
{
    return which == FILE_PASSWORD ? l->auth.password_file : which == FILE_ACL ? l->auth.acl_file : l->auth.psk_file;
}

static bool loads(enum auth_file which, const char *path, void (*say)(void *arg, const char *line), void *arg)
{
    struct passwd *p = which == FILE_PASSWORD ? passwd_load(path, say, arg) : NULL;
    struct acl *a = which == FILE_ACL ? acl_load(path, say, arg) : NULL;
    struct psk *s = which == FILE_PSK ? psk_load(path, say, arg) : NULL;
    bool ok = p != NULL || a != NULL || s != NULL;

    passwd_free(&p);
    acl_free(&a);
    psk_free(&s);
    return ok;
}

/* The listener, or -1: it has the key from [auth], if anybody has written it. */
static int whose(const struct check *k, const char *key, int i)
{
    return config_written(k->c, key, i) ? i : -1;
}

static const char *section_of(int whose)
{
    return whose >= 0 ? "listener" : "auth";
}

/* Each file once, however many listeners name it. */
static void check_auth_files(struct check *k)
{
    static const char *const keys[AUTH_FILES] = { [FILE_PASSWORD] = "password_file", [FILE_ACL] = "acl_file",
                                                  [FILE_PSK] = "psk_file" };

    for (unsigned which = 0; which < AUTH_FILES; which++)
        for (unsigned i = 0; i < k->c->listener_count; i++) {
            const char *path = auth_file(&k->c->listeners[i], which);
            bool known = path == NULL;
            int at;

            for (unsigned j = 0; j < i && !known; j++)
                known = same_text(path, auth_file(&k->c->listeners[j], which));
            if (known || loads(which, path, counted, k))
                continue;
            at = whose(k, keys[which], (int)i);
            fail(k, section_of(at), keys[which], at, "%s: %s can't be used, see above", keys[which], log_qs(path));
        }
}

static void check_there(struct check *k, int i)
{
    const struct config_listener *l = &k->c->listeners[i];
    const struct { const char *key, *path; } files[] = {
        { "password_file", l->auth.password_file }, { "acl_file", l->auth.acl_file }, { "psk_file", l->auth.psk_file },
        { "certfile", l->certfile }, { "keyfile", l->keyfile }, { "cafile", l->cafile }, { "capath", l->capath },
        { "crlfile", l->crlfile }, { "dhparamfile", l->dhparamfile },
    };

    for (size_t j = 0; j < sizeof files / sizeof files[0]; j++) {
        const char *key = files[j].key;
        int at = whose(k, key, i);
        bool told = false;

        if (files[j].path == NULL || access(files[j].path, R_OK) == 0)
            continue;
        for (int before = 0; before < i && at < 0 && !told; before++)
            told = whose(k, key, before) < 0;       /* it has it from [auth], too */
        if (!told)
            fail(k, section_of(at), key, at, "%s: %s: %s", key, log_qs(files[j].path), strerror(errno));
    }
}

static void check_account(struct check *k)
{
    if (k->c->user != NULL && getpwnam(k->c->user) == NULL)
        fail(k, "broker", "user", -1, "user: there is no account %s on this machine", log_qs(k->c->user));
}

unsigned config_check_missing(const struct config *c, void (*say)(void *arg, const char *line), void *arg)
{
    struct check k = { .c = c, .say = say, .arg = arg };

    check_account(&k);
    for (unsigned i = 0; i < c->listener_count; i++)
        check_there(&k, (int)i);
    return k.errors;
}

static void silent(void *arg, const char *line)
{
    (void)arg, (void)line;
}

/* A file of keys that can't be loaded has been told of with all its lines. */
static bool known_broken(const struct config_listener *l)
{
    return l->psk_hint != NULL && l->auth.psk_file != NULL && !loads(FILE_PSK, l->auth.psk_file, silent, NULL);
}

struct tls_saying {
    struct check *k;
    int listener;
};

static void tls_says(void *arg, const char *key, bool error, const char *text)
{
    struct tls_saying *s = arg;

    fail(s->k, "listener", key, s->listener, "%s: %s", key, text);
    if (!error)
        s->k->errors--;         /* advice */
}

unsigned config_check_files(const struct config *c, void (*say)(void *arg, const char *line), void *arg)
{
    struct check k = { .c = c, .say = say, .arg = arg };

    check_account(&k);
    if (c->pid_file != NULL)
        check_writable(&k, "broker", "pid_file", -1, c->pid_file, S_IFREG);
    if (control_built && c->enable_control && !made_at_start(c->control_socket))
        check_writable(&k, "broker", "control_socket", -1, c->control_socket, S_IFSOCK);
    if (c->log_dests & DEST_FILE)
        check_writable(&k, "log", "dest", -1, c->log_file, S_IFREG);
    if (c->persistence && !made_at_start(c->store_path))
        check_writable(&k, "persistence", "path", -1, c->store_path, S_IFREG);
    check_auth_files(&k);
    for (unsigned i = 0; i < c->listener_count; i++) {
        const struct config_listener *l = &c->listeners[i];
        if (listener_is_unix(l))
            check_writable(&k, "listener", "address", (int)i, l->address, S_IFSOCK);
        if (l->interface != NULL && if_nametoindex(l->interface) == 0)
            fail(&k, "listener", "interface", (int)i, "interface: there is no %s on this machine",
                 log_qs(l->interface));
        if (!known_broken(l))
            tls_check(l, tls_says, &(struct tls_saying){ &k, (int)i });
    }
    return k.errors;
}
