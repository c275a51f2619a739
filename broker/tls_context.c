/* Contexts: what a configuration says, loaded.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/tls_engine.h"

#include "broker/log.h"
#include "broker/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

enum { WATCHED_MAX = 8 };

struct watched {
    char *path;
    struct timespec mtime;
    ino_t ino;
    off_t size;
};

struct tls_context {
    struct tls_set *set;
    struct watched watched[WATCHED_MAX];
    unsigned watched_count;
};

const bool tls_built = true;

const char *tls_library(void)
{
    static char text[96];

    snprintf(text, sizeof text, "wolfSSL %s (%s)", wolfSSL_lib_version(), TLS_LIB_BUILD);
    return text;
}

void tls_tidy(void)
{
    tls_lib_drop_tables();
}

/* ---- once per process ---- */

static void *lib_malloc(size_t n)
{
    return mem_alloc(MEM_TLS, n);
}

static void lib_free(void *p)
{
    mem_free(MEM_TLS, p);
}

static void *lib_realloc(void *p, size_t n)
{
    return mem_grow(MEM_TLS, p, n);
}

bool tls_start(char **why)
{
    static bool started;
    char byte;

    if (started)
        return true;
    /* The sizes of the library's structures are compiled into us. */
    if (wolfSSL_lib_version_hex() != LIBWOLFSSL_VERSION_HEX)
        return tls_why(why, "this caddis was built for wolfSSL %s and found %s; install that, or build anew",
                       LIBWOLFSSL_VERSION_STRING, wolfSSL_lib_version());
    /* A board that has just started may have no entropy yet; the library would not wait for it. */
    if (getrandom(&byte, 1, 0) != 1)
        return tls_why(why, "no random numbers from the kernel");
    wolfSSL_SetAllocators(lib_malloc, lib_free, lib_realloc);
    tls_time_setup();
    if (wolfSSL_Init() != WOLFSSL_SUCCESS)
        return tls_why(why, "wolfSSL can't be started");
    started = true;
    return true;
}

/* ---- sets ---- */

bool tls_set_start(struct tls_set *s, WOLFSSL_METHOD *method, int lowest, char **why)
{
    s->ctx = method != NULL ? wolfSSL_CTX_new(method) : NULL;
    if (s->ctx == NULL)
        return tls_why(why, "no memory");
    wolfSSL_CTX_SetMinVersion(s->ctx, lowest == 0x0304 ? WOLFSSL_TLSV1_3 : WOLFSSL_TLSV1_2);
    wolfSSL_CTX_set_verify(s->ctx, WOLFSSL_VERIFY_NONE, NULL);
    wolfSSL_CTX_SetMinDhKey_Sz(s->ctx, 2048);
    wolfSSL_CTX_SetMinRsaKey_Sz(s->ctx, 2048);
    tls_lib_no_session_cache(s->ctx);
    tls_engine_setup(s->ctx);
    return true;
}

void tls_set_unref(struct tls_set **sp)
{
    struct tls_set *s = *sp;

    *sp = NULL;
    if (s == NULL || --s->refs > 0)
        return;
    wolfSSL_CTX_free(s->ctx);
    psk_free(&s->psk);
    free(s->ciphers);
    free(s->alpn);
    free(s->psk_identity);
    explicit_bzero(s->psk_key, sizeof s->psk_key);
    free(s);
}

static unsigned on_server_psk(WOLFSSL *ssl, const char *identity, unsigned char *key, unsigned most)
{
    struct tls *t = wolfSSL_get_psk_callback_ctx(ssl);
    struct view who = { (const uint8_t *)identity, strlen(identity) };
    uint8_t found[PSK_KEY_MAX];
    unsigned n = psk_find(t->set->psk, who, found);

    /* Who is not found may yet come in by another of the identities it offers; the last one counts. */
    if (n == 0 || n > most)
        return 0;
    if (t->psk_identity == NULL || strcmp(t->psk_identity, identity) != 0) {
        char *copy = mem_alloc(MEM_TLS, who.len + 1);
        if (copy == NULL)
            return 0;
        memcpy(copy, identity, who.len + 1);
        mem_free(MEM_TLS, t->psk_identity);
        t->psk_identity = copy;
    }
    memcpy(key, found, n);
    explicit_bzero(found, sizeof found);
    return n;
}

/* The first of the file's errors becomes the reason. */
static void first_line(void *arg, const char *line)
{
    char **why = arg;

    if (*why == NULL)
        *why = strdup(line);
}

static bool load_psk(struct tls_set *s, const struct config_listener *l, char **why)
{
    if (l->auth.psk_file == NULL)
        return tls_why(why, "listener %s: psk_hint needs a psk_file", l->name);
    *why = NULL;
    s->psk = psk_load(l->auth.psk_file, first_line, why);
    if (s->psk == NULL)
        return false;
    wolfSSL_CTX_set_psk_server_callback(s->ctx, on_server_psk);
    wolfSSL_CTX_use_psk_identity_hint(s->ctx, l->psk_hint);
    return true;
}

static bool load_clients(struct tls_set *s, const struct config_listener *l, char **why)
{
    if (!l->require_certificate)
        return true;
    if (l->cafile == NULL && l->capath == NULL)
        return tls_why(why, "listener %s: require_certificate needs a cafile or capath", l->name);
    if (l->cafile != NULL && !tls_load_cafile(s->ctx, l->cafile, why))
        return false;
    if (l->capath != NULL && !tls_load_capath(s->ctx, l->capath, why))
        return false;
    if (l->crlfile != NULL && !tls_load_crl(s->ctx, l->crlfile, why))
        return false;
    s->verify = true;
    s->want_name = l->use_identity_as_username;
    s->want_subject = l->use_subject_as_username;
    wolfSSL_CTX_set_verify(s->ctx, WOLFSSL_VERIFY_PEER | WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return true;
}

static bool load_listener(struct tls_set *s, const struct config_listener *l, char **why)
{
    enum tls_kind kind = l->certfile == NULL     ? TLS_KIND_PSK
                         : l->dhparamfile != NULL ? TLS_KIND_CERT_DH
                                                  : TLS_KIND_CERT;
    char *text = NULL;

    if (kind == TLS_KIND_PSK ? !load_psk(s, l, why)
                             : !tls_load_own(s, l->certfile, l->keyfile, why) || !load_clients(s, l, why))
        return false;
    if (l->dhparamfile != NULL && !tls_load_dh(s->ctx, l->dhparamfile, why))
        return false;
    if (!tls_set_ciphers(s, kind, l->tls_version, l->ciphers, l->ciphers_tls13, why))
        return false;
    if (s->verify || s->psk != NULL)
        tls_lib_no_tickets(s->ctx);
    if (kind == TLS_KIND_PSK || tls_selftest(s, 0x0304, &text))
        return true;
    tls_why(why, "%s with %s: %s", l->certfile, l->keyfile, text != NULL ? text : "no memory");
    free(text);
    return false;
}

struct tls_set *tls_set_new(const struct config_listener *l, char **why)
{
    struct tls_set *s;

    *why = NULL;
    if (!tls_start(why))
        return NULL;
    s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->refs = 1;
    s->until_s = INT64_MAX;
    s->alpn = strdup(l->protocol == PROTOCOL_MQTT ? "mqtt" : "http/1.1");
    if (tls_set_start(s, wolfSSLv23_server_method(), l->tls_version, why) && load_listener(s, l, why))
        return s;
    tls_set_unref(&s);
    return NULL;
}

/* ---- contexts ---- */

static void watch(struct tls_context *t, const char *path)
{
    struct watched *w = &t->watched[t->watched_count];
    struct stat st;

    if (path == NULL || t->watched_count == WATCHED_MAX)
        return;
    *w = (struct watched){ .path = strdup(path) };
    if (w->path == NULL)
        return;
    if (stat(path, &st) == 0) {
        w->mtime = st.st_mtim;
        w->ino = st.st_ino;
        w->size = st.st_size;
    }
    t->watched_count++;
}

static void watch_all(struct tls_context *t, const struct config_listener *l)
{
    while (t->watched_count > 0)
        free(t->watched[--t->watched_count].path);
    watch(t, l->certfile);
    watch(t, l->keyfile);
    watch(t, l->cafile);
    watch(t, l->capath);
    watch(t, l->crlfile);
    watch(t, l->dhparamfile);
    if (l->psk_hint != NULL)
        watch(t, l->auth.psk_file);
}

bool tls_context_changed(const struct tls_context *t)
{
    for (unsigned i = 0; i < t->watched_count; i++) {
        const struct watched *w = &t->watched[i];
        struct stat st = { 0 };
        /* Gone for the moment: whoever replaces it is not done yet. */
        if (stat(w->path, &st) == 0 &&
            (st.st_mtim.tv_sec != w->mtime.tv_sec || st.st_mtim.tv_nsec != w->mtime.tv_nsec || st.st_ino != w->ino ||
             st.st_size != w->size))
            return true;
    }
    return false;
}

struct tls_context *tls_context_new(const struct config_listener *l, char **why)
{
    struct tls_context *t = calloc(1, sizeof *t);

    *why = NULL;
    if (t == NULL)
        return NULL;
    /* Before they are read: a change in between is seen as one. */
    watch_all(t, l);
    t->set = tls_set_new(l, why);
    if (t->set == NULL)
        tls_context_free(&t);
    return t;
}

bool tls_context_reload(struct tls_context *t, const struct config_listener *l, char **why)
{
    struct tls_set *fresh;

    watch_all(t, l);
    fresh = tls_set_new(l, why);
    if (fresh == NULL)
        return false;
    tls_set_unref(&t->set);
    t->set = fresh;
    return true;
}

void tls_context_free(struct tls_context **tp)
{
    struct tls_context *t = *tp;

    *tp = NULL;
    if (t == NULL)
        return;
    tls_set_unref(&t->set);
    while (t->watched_count > 0)
        free(t->watched[--t->watched_count].path);
    free(t);
}

struct tls_context *tls_context_of(struct tls_set *s)
{
    struct tls_context *t = calloc(1, sizeof *t);

    if (t != NULL)
        t->set = s;
    return t;
}

struct tls_set *tls_context_set(struct tls_context *t)
{
    return t->set;
}

int64_t tls_expires_ms(const struct tls_context *t)
{
    return t->set->until_s == INT64_MAX ? INT64_MAX : t->set->until_s * 1000;
}
