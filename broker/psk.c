/* Key files for TLS-PSK. Keys stay text, a view into the file.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/psk.h"

#include "broker/log.h"
#include "broker/mem.h"
#include "broker/names.h"
#include "broker/textfile.h"

#include <string.h>
#include <sys/stat.h>

struct psk {
    char *text;
    size_t text_len;
    struct names identities;    /* value: the key in hex */
};

static int nibble(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool is_hex(struct view v)
{
    for (size_t i = 0; i < v.len; i++)
        if (nibble(v.p[i]) < 0)
            return false;
    return true;
}

static void add_line(struct psk *p, struct textfile *f, struct view line)
{
    struct view key, identity = view_cut(line, ':', &key);

    if (key.p == NULL || identity.len == 0)
        textfile_error(f, "this is not IDENTITY:HEXKEY");
    else if (identity.len > PSK_IDENTITY_MAX)
        textfile_error(f, "an identity can have %d bytes, this one has %zu", PSK_IDENTITY_MAX, identity.len);
    else if (key.len == 0 || key.len % 2 != 0 || key.len > 2 * PSK_KEY_MAX || !is_hex(key))
        textfile_error(f, "identity %s: a key has 1 to %d bytes, two hexadecimal digits each, and nothing else",
                       log_q(identity.p, identity.len), PSK_KEY_MAX);
    else if (names_find(&p->identities, identity) != NAMES_NONE)
        textfile_error(f, "identity %s has a line above already; one of the two must go",
                       log_q(identity.p, identity.len));
    else if (names_add(&p->identities, identity, key) == NAMES_NONE)
        textfile_error(f, "no memory");
}

/* Closes f. */
static struct psk *load(struct textfile *f)
{
    struct psk *p = mem_zero(MEM_OTHER, sizeof *p);
    struct view line;

    if (p == NULL) {
        textfile_error(f, "can't be read: no memory");
        textfile_close(f);
        return NULL;
    }
    names_init(&p->identities);
    while (textfile_next(f, &line))
        add_line(p, f, line);
    p->text = textfile_take(f, &p->text_len);
    if (f->errors > 0)
        psk_free(&p);
    return p;
}

struct psk *psk_load(const char *path, void (*say)(void *arg, const char *line), void *arg)
{
    struct textfile f;
    struct stat st;

    if (!textfile_open(&f, path, say, arg))
        return NULL;
    if (stat(path, &st) == 0 && st.st_mode & S_IROTH)
        log_warning("everybody on this machine can read the key file; chmod 640 helps file=%s", log_qs(path));
    return load(&f);
}

struct psk *psk_load_text(const char *name, struct view text, void (*say)(void *arg, const char *line), void *arg)
{
    struct textfile f;

    return textfile_set(&f, name, text, say, arg) ? load(&f) : NULL;
}

void psk_free(struct psk **pp)
{
    struct psk *p = *pp;

    if (p == NULL)
        return;
    textfile_wipe(&p->text, p->text_len);
    names_fini(&p->identities);
    mem_free(MEM_OTHER, p);
    *pp = NULL;
}

uint32_t psk_count(const struct psk *p)
{
    return p->identities.count;
}

unsigned psk_find(const struct psk *p, struct view identity, uint8_t key[PSK_KEY_MAX])
{
    uint32_t i = names_find(&p->identities, identity);
    struct view hex;

    if (i == NAMES_NONE)
        return 0;
    hex = p->identities.v[i].value;
    for (unsigned n = 0; n < hex.len / 2; n++)
        key[n] = (uint8_t)((unsigned)nibble(hex.p[2 * n]) << 4 | (unsigned)nibble(hex.p[2 * n + 1]));
    return (unsigned)hex.len / 2;
}
