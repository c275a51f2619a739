/* Password files and verification.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/passwd.h"

#include "broker/log.h"
#include "broker/mem.h"
#include "broker/names.h"
#include "broker/textfile.h"

#include <string.h>
#include <sys/stat.h>

/* Hashes stay text, a view into the file: taking them apart costs nothing beside verifying them. */
struct passwd {
    char *text;
    size_t text_len;
    struct names users;         /* value: the hash; it parses */
    uint32_t *scram;            /* numbers of the users with SCRAM keys; NULL: none */
    uint32_t scram_count;
};

struct passwd_try {
    struct passwd_cache *cache;
    struct passwd_mark mark;
    struct crypto_kdf *kdf;     /* NULL: nothing more to derive */
    struct passwd_hash stored;
    uint8_t key[CRYPTO_LEN_MAX];
    bool genuine;               /* the account exists and a password was given */
    bool known;                 /* the cache says so */
    bool failed;
};

/* ---- files ---- */

static void add_line(struct passwd *p, struct textfile *f, struct view line)
{
    struct view stored, user = view_cut(line, ':', &stored);
    struct passwd_hash h;
    const char *why;

    if (stored.p == NULL || user.len == 0) {
        textfile_error(f, "this is not USER:HASH, as `caddis passwd` writes it");
        return;
    }
    why = passwd_hash_parse(&h, stored);
    if (why != NULL)
        textfile_error(f, "user %s: %s", log_q(user.p, user.len), why);
    else if (names_find(&p->users, user) != NAMES_NONE)
        textfile_error(f, "user %s has a line above already; one of the two must go", log_q(user.p, user.len));
    else if (names_add(&p->users, user, stored) == NAMES_NONE)
        textfile_error(f, "no memory");
    else
        p->scram_count += h.kind == PASSWD_SCRAM;
    explicit_bzero(&h, sizeof h);
}

static bool list_scram(struct passwd *p)
{
    struct passwd_hash h;
    uint32_t n = 0;

    if (p->scram_count == 0)
        return true;
    p->scram = mem_alloc(MEM_OTHER, p->scram_count * sizeof *p->scram);
    for (uint32_t i = 0; p->scram != NULL && i < p->users.count; i++)
        if (passwd_hash_parse(&h, p->users.v[i].value) == NULL && h.kind == PASSWD_SCRAM)
            p->scram[n++] = i;
    return p->scram != NULL;
}

/* Closes f. */
static struct passwd *load(struct textfile *f)
{
    struct passwd *p = mem_zero(MEM_OTHER, sizeof *p);
    struct view line;

    if (p == NULL) {
        textfile_error(f, "can't be read: no memory");
        textfile_close(f);
        return NULL;
    }
    names_init(&p->users);
    while (textfile_next(f, &line))
        add_line(p, f, line);
    p->text = textfile_take(f, &p->text_len);
    if (f->errors == 0 && !list_scram(p))
        textfile_error(f, "no memory");
    if (f->errors > 0)
        passwd_free(&p);
    return p;
}

struct passwd *passwd_load(const char *path, void (*say)(void *arg, const char *line), void *arg)
{
    struct textfile f;
    struct stat st;

    if (!textfile_open(&f, path, say, arg))
        return NULL;
    if (stat(path, &st) == 0 && st.st_mode & S_IROTH)
        log_warning("everybody on this machine can read the password file; chmod 640 helps file=%s", log_qs(path));
    return load(&f);
}

struct passwd *passwd_load_text(const char *name, struct view text, void (*say)(void *arg, const char *line), void *arg)
{
    struct textfile f;

    return textfile_set(&f, name, text, say, arg) ? load(&f) : NULL;
}

void passwd_free(struct passwd **pp)
{
    struct passwd *p = *pp;

    if (p == NULL)
        return;
    textfile_wipe(&p->text, p->text_len);
    names_fini(&p->users);
    mem_free(MEM_OTHER, p->scram);
    mem_free(MEM_OTHER, p);
    *pp = NULL;
}

uint32_t passwd_count(const struct passwd *p)
{
    return p->users.count;
}

bool passwd_same(const struct passwd *a, const struct passwd *b, struct view user)
{
    uint32_t i = a != NULL ? names_find(&a->users, user) : NAMES_NONE;
    uint32_t k = b != NULL ? names_find(&b->users, user) : NAMES_NONE;

    return i != NAMES_NONE && k != NAMES_NONE && view_same(a->users.v[i].value, b->users.v[k].value);
}

/* Some account, always the same one for the same name. Only where there is one. */
static uint32_t stand_in(const struct passwd *p, struct view user)
{
    return (uint32_t)(hash_bytes(&p->users.key, 1, user.p, user.len) % p->users.count);
}

/* ---- plain passwords ---- */

static bool begin(struct passwd_try *t, struct view password)
{
    struct view salt = { t->stored.salt, t->stored.salt_len }, parts[2] = { password, salt };

    if (t->stored.kind == PASSWD_SHA512)
        return crypto_hash(CRYPTO_SHA512, parts, 2, t->key);
    t->kdf = crypto_kdf_new(t->stored.kind == PASSWD_SCRAM ? CRYPTO_SHA256 : CRYPTO_SHA512, password, salt,
                            t->stored.iterations);
    return t->kdf != NULL;
}

struct passwd_try *passwd_try_new(const struct passwd *p, struct passwd_cache *cache, struct view user,
                                  struct view password)
{
    struct passwd_try *t = mem_zero(MEM_OTHER, sizeof *t);
    uint32_t i = names_find(&p->users, user);

    if (t == NULL)
        return NULL;
    t->failed = p->users.count == 0;    /* nobody has an account, and there is no secret about that */
    if (t->failed)
        return t;
    t->genuine = i != NAMES_NONE && password.p != NULL;
    if (i == NAMES_NONE)
        i = stand_in(p, user);
    if (cache != NULL && passwd_cache_mark(cache, user, password, p->users.v[i].value, &t->mark)) {
        t->cache = cache;
        t->known = passwd_cache_has(cache, &t->mark) && t->genuine;
    }
    if (t->known)
        return t;
    t->failed = passwd_hash_parse(&t->stored, p->users.v[i].value) != NULL || !begin(t, password);
    return t;
}

static bool matches(struct passwd_try *t)
{
    uint8_t server[SHA256_LEN];

    if (t->stored.kind == PASSWD_SHA512)
        return crypto_same(t->key, t->stored.key, SHA512_LEN);
    if (t->stored.kind == PASSWD_PBKDF2)
        return crypto_same(crypto_kdf_key(t->kdf), t->stored.key, SHA512_LEN);
    return passwd_scram_keys(crypto_kdf_key(t->kdf), t->key, server) && crypto_same(t->key, t->stored.key, SHA256_LEN);
}

enum passwd_verdict passwd_try_step(struct passwd_try *t, uint32_t iterations)
{
    int done;

    if (t->known)
        return PASSWD_RIGHT;
    done = t->kdf != NULL && !t->failed ? crypto_kdf_step(t->kdf, iterations) : 1;
    if (done == 0)
        return PASSWD_PENDING;
    if (done < 0 || t->failed || !matches(t) || !t->genuine)
        return PASSWD_WRONG;
    if (t->cache != NULL)
        passwd_cache_add(t->cache, &t->mark);
    return PASSWD_RIGHT;
}

bool passwd_try_known(const struct passwd_try *t)
{
    return t->known;
}

void passwd_try_free(struct passwd_try **tp)
{
    if (*tp == NULL)
        return;
    crypto_kdf_free(&(*tp)->kdf);
    explicit_bzero(*tp, sizeof **tp);
    mem_free(MEM_OTHER, *tp);
    *tp = NULL;
}

bool passwd_check(const struct passwd *p, struct passwd_cache *cache, struct view user, struct view password)
{
    struct passwd_try *t = passwd_try_new(p, cache, user, password);
    bool right = t != NULL && passwd_try_step(t, UINT32_MAX) == PASSWD_RIGHT;

    passwd_try_free(&t);
    return right;
}

/* ---- SCRAM ---- */

/* Iterations and length of a salt as a SCRAM account of this file has them, picked by the name; without any such, as
 * new ones get. */
static void scram_stand_in(const struct passwd *p, struct view user, struct passwd_hash *h)
{
    uint64_t pick = hash_bytes(&p->users.key, 2, user.p, user.len);

    if (p->scram_count == 0 || passwd_hash_parse(h, p->users.v[p->scram[pick % p->scram_count]].value) != NULL)
        *h = (struct passwd_hash){ .iterations = passwd_kind_iterations(PASSWD_SCRAM), .salt_len = 16 };
    h->kind = PASSWD_SCRAM;
    explicit_bzero(h->salt, sizeof h->salt);
    explicit_bzero(h->key, sizeof h->key);
}

enum passwd_scram passwd_scram_find(const struct passwd *p, struct view user, struct passwd_hash *h)
{
    uint32_t i = names_find(&p->users, user);

    if (i != NAMES_NONE && passwd_hash_parse(h, p->users.v[i].value) == NULL && h->kind == PASSWD_SCRAM)
        return PASSWD_SCRAM_KEYS;
    scram_stand_in(p, user, h);
    return i != NAMES_NONE ? PASSWD_SCRAM_NO_KEYS : PASSWD_SCRAM_NO_USER;
}
