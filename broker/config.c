/* Reads the configuration: directives by the table, then what depends on several of them.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/config.h"

#include "broker/config_check.h"
#include "broker/config_read.h"
#include "broker/config_value.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct include {
    char *dir;
    const char *file;
    int line;
};

struct load {
    struct config *c;
    void (*say)(void *arg, const char *line);
    void *arg;
    unsigned errors;
    const char *file;          /* being read; belongs to c->files */
    bool included;
    bool in_section, skip;     /* skip: the heading was wrong, and saying so once is enough */
    enum config_section section;
    int listener;              /* index, -1: another section */
    struct include *includes;
    unsigned include_count;
};

__attribute__((format(printf, 3, 4)))
static void fail(struct load *l, int line, const char *fmt, ...)
{
    char text[1024];
    size_t n;
    va_list ap;

    n = line > 0 ? (size_t)snprintf(text, sizeof text - 400, "%s:%d: ", l->file, line)
                 : (size_t)snprintf(text, sizeof text - 400, "%s: ", l->file);
    if (n >= sizeof text - 400)
        n = sizeof text - 401;
    va_start(ap, fmt);
    vsnprintf(text + n, sizeof text - n, fmt, ap);
    va_end(ap);
    l->errors++;
    l->say(l->arg, text);
}

/* One element more. A configuration that does not fit into memory can't be run; nothing sensible can follow. */
static void *grown(void *list, size_t count, size_t size)
{
    void *bigger = reallocarray(list, count, size);

    if (bigger == NULL)
        abort();
    return bigger;
}

static const char *remember_file(struct config *c, const char *name)
{
    unsigned n = 0;

    while (c->files != NULL && c->files[n] != NULL)
        n++;
    c->files = grown(c->files, n + 2, sizeof *c->files);
    c->files[n] = strdup(name);
    c->files[n + 1] = NULL;
    if (c->files[n] == NULL)
        abort();
    return c->files[n];
}

static struct config_mark *find_mark(const struct config *c, unsigned directive, int listener)
{
    for (unsigned i = 0; i < c->mark_count; i++)
        if (c->marks[i].directive == directive && c->marks[i].listener == listener)
            return &c->marks[i];
    return NULL;
}

static void *base_of(struct config *c, const struct directive *d, int listener)
{
    return d->section == SECTION_listener ? (void *)&c->listeners[listener] : (void *)c;
}

static const struct directive *find_directive(enum config_section section, const char *key)
{
    for (unsigned i = 0; i < config_directive_count; i++)
        if (config_directives[i].section == section && strcasecmp(config_directives[i].key, key) == 0)
            return &config_directives[i];
    return NULL;
}

/* ---- sections ---- */

static void preset_all(bool listener, void *base)
{
    for (unsigned i = 0; i < config_directive_count; i++)
        if ((config_directives[i].section == SECTION_listener) == listener && config_directives[i].size > 0)
            value_preset(&config_directives[i], base);
}

static int add_listener(struct config *c, const char *name, const char *file, int line)
{
    struct config_listener *l;

    c->listeners = grown(c->listeners, c->listener_count + 1, sizeof *c->listeners);
    l = &c->listeners[c->listener_count];
    *l = (struct config_listener){ .file = file, .line = line };
    l->name = strdup(name);
    if (l->name == NULL)
        abort();
    preset_all(true, l);
    return (int)c->listener_count++;
}

/* A file that is read later may go on with a listener of an earlier one; twice in one file is a mistake. */
static void open_listener(struct load *l, int line, const char *name)
{
    struct config *c = l->c;

    if (c->listener_count >= 1000) {
        fail(l, line, "more than 1000 listeners");
        return;
    }
    for (unsigned i = 0; i < c->listener_count; i++) {
        if (strcmp(c->listeners[i].name, name) != 0)
            continue;
        if (c->listeners[i].file == l->file) {
            fail(l, line, "listener %s is on line %d already; give this one another name", log_qs(name),
                 c->listeners[i].line);
            return;
        }
        l->listener = (int)i;
        l->skip = false;
        return;
    }
    l->listener = add_listener(c, name, l->file, line);
    l->skip = false;
}

static const char *section_name(void *arg, unsigned i)
{
    (void)arg;
    return config_sections[i].name;
}

static void on_section(void *arg, int line, char *text)
{
    struct load *l = arg;
    char *word, *name, *end;
    const char *near;

    l->in_section = l->skip = true;
    l->listener = -1;
    if (text == NULL)
        return;
    word = text + strspn(text, " \t");
    name = word + strcspn(word, " \t");
    if (*name != '\0')
        *name++ = '\0';
    name += strspn(name, " \t");
    for (end = name + strlen(name); end > name && (end[-1] == ' ' || end[-1] == '\t'); )
        *--end = '\0';
    for (unsigned s = 0; s < SECTION_COUNT; s++) {
        if (strcasecmp(word, config_sections[s].name) != 0)
            continue;
        l->section = (enum config_section)s;
        if (!config_sections[s].named && *name != '\0')
            fail(l, line, "[%s] takes no name; write [%s]", config_sections[s].name, config_sections[s].name);
        else if (config_sections[s].named && *name == '\0')
            fail(l, line, "a %s needs a name: [%s NAME]", config_sections[s].name, config_sections[s].name);
        else if (config_sections[s].named)
            open_listener(l, line, name);
        else
            l->skip = false;
        return;
    }
    near = nearest_name(word, SECTION_COUNT, section_name, NULL);
    if (near != NULL)
        fail(l, line, "unknown section %s; did you mean [%s]?", log_qs(word), near);
    else
        fail(l, line, "unknown section %s; there are broker, log, persistence, limits, auth and listener NAME",
             log_qs(word));
}

/* ---- keys ---- */

static const char *key_name(void *arg, unsigned i)
{
    const struct load *l = arg;

    return config_directives[i].section == l->section ? config_directives[i].key : NULL;
}

static void unknown_key(struct load *l, int line, const char *key)
{
    const char *near = nearest_name(key, config_directive_count, key_name, l);
    const char *here = config_sections[l->section].name;

    for (unsigned i = 0; i < config_directive_count; i++)
        if (strcasecmp(config_directives[i].key, key) == 0) {
            const struct section *s = &config_sections[config_directives[i].section];
            fail(l, line, "%s belongs into [%s%s], not into [%s]", config_directives[i].key, s->name,
                 s->named ? " NAME" : "", here);
            return;
        }
    fail(l, line, "unknown key %s in [%s]%s%s%s", log_qs(key), here, near != NULL ? "; did you mean " : "",
         near != NULL ? near : "", near != NULL ? "?" : "");
}

static void on_include(struct load *l, int line, const char *dir)
{
    struct include *in;

    if (l->included) {
        fail(l, line, "include_dir is for the main file; an included file can't include others");
        return;
    }
    l->includes = grown(l->includes, l->include_count + 1, sizeof *l->includes);
    in = &l->includes[l->include_count++];
    *in = (struct include){ strdup(dir), l->file, line };
    if (in->dir == NULL)
        abort();
}

/* False: it stands in this file already. */
static bool mark(struct load *l, const struct directive *d, int line)
{
    struct config *c = l->c;
    unsigned index = (unsigned)(d - config_directives);
    struct config_mark *m = find_mark(c, index, l->listener);

    if (m != NULL && !(d->flags & MANY)) {
        if (m->file == l->file) {
            fail(l, line, "%s is on line %d already", d->key, m->line);
            return false;
        }
        m->file = l->file;
        m->line = line;
        return true;
    }
    c->marks = grown(c->marks, c->mark_count + 1, sizeof *c->marks);
    c->marks[c->mark_count++] = (struct config_mark){ (uint16_t)index, (int16_t)l->listener, line, l->file };
    if (m == NULL && d->type == VALUE_DEST)
        c->log_dests = 0;      /* the first one replaces the default, the others add to it */
    return true;
}

static void on_pair(void *arg, int line, const char *key, char *value)
{
    struct load *l = arg;
    const struct directive *d;
    char why[WHY_MAX];

    if (!l->in_section) {
        fail(l, line, "%s stands before any section; write [broker] (or another one) above it", log_qs(key));
        return;
    }
    if (l->skip)
        return;
    d = find_directive(l->section, key);
    if (d == NULL) {
        unknown_key(l, line, key);
        return;
    }
    if (!mark(l, d, line))
        return;
    if (d->type == VALUE_INCLUDE)
        on_include(l, line, value);
    else if (!value_set(d, base_of(l->c, d, l->listener), value, why))
        fail(l, line, "%s: %s", d->key, why);
}

static void on_problem(void *arg, int line, const char *text)
{
    struct load *l = arg;

    fail(l, line, "%s", text);
}

/* ---- files ---- */

static void read_text(struct load *l, const char *name, const char *text, size_t len)
{
    struct config_events ev = { l, on_section, on_pair, on_problem };

    l->file = remember_file(l->c, name);
    l->in_section = l->skip = false;
    l->listener = -1;
    config_read_text(text, len, &ev);
}

static void read_file(struct load *l, const char *path)
{
    const char *why;
    size_t len;
    char *text = config_read_file(path, &len, &why);

    if (text == NULL) {
        l->file = remember_file(l->c, path);
        fail(l, 0, "%s", why);
        return;
    }
    read_text(l, path, text, len);
    free(text);
}

static int is_ini(const struct dirent *e)
{
    size_t len = strlen(e->d_name);

    return len > 4 && e->d_name[0] != '.' && strcmp(e->d_name + len - 4, ".ini") == 0;
}

static void read_includes(struct load *l)
{
    l->included = true;
    for (unsigned i = 0; i < l->include_count; i++) {
        const struct include *in = &l->includes[i];
        struct dirent **found;
        int n = scandir(in->dir, &found, is_ini, alphasort);

        if (n < 0) {
            l->file = in->file;
            fail(l, in->line, "include_dir: %s: %s", log_qs(in->dir), strerror(errno));
        }
        for (int j = 0; j < n; j++) {
            char path[4096];
            snprintf(path, sizeof path, "%s/%s", in->dir, found[j]->d_name);
            read_file(l, path);
            free(found[j]);
        }
        if (n >= 0)
            free(found);
        free(in->dir);
    }
    free(l->includes);
}

/* ---- what depends on several keys ---- */

static void inherit(struct config *c, int listener)
{
    struct config_listener *l = &c->listeners[listener];

    for (unsigned i = 0; i < config_directive_count; i++) {
        const struct directive *d = &config_directives[i];
        if (d->flags & INHERITED && find_mark(c, i, listener) == NULL)
            value_copy(d, l, find_directive(SECTION_auth, d->key), c);
        else if (d->flags & INHERITED && strcmp(d->key, "allow_anonymous") == 0)
            l->auth.allow_anonymous_set = true;
    }
    l->auth.allow_anonymous_set |= c->auth.allow_anonymous_set;
    l->auth.allow_zero_length_clientid = c->auth.allow_zero_length_clientid;
    l->auth.bind_sessions = c->auth.bind_sessions;
}

static void finish(struct load *l)
{
    struct config *c = l->c;
    const struct directive *anonymous = find_directive(SECTION_auth, "allow_anonymous");
    const struct directive *port = find_directive(SECTION_listener, "port");
    bool open = c->listener_count == 0 && c->auth.password_file == NULL;

    if (find_mark(c, (unsigned)(anonymous - config_directives), -1) != NULL)
        c->auth.allow_anonymous_set = true;
    else
        c->auth.allow_anonymous = open;
    if (c->listener_count == 0) {
        int i = add_listener(c, "default", NULL, 0);
        c->listeners[i].address = strdup("localhost");
    }
    for (unsigned i = 0; i < c->listener_count; i++) {
        struct config_listener *li = &c->listeners[i];
        inherit(c, (int)i);
        if (listener_is_unix(li) && find_mark(c, (unsigned)(port - config_directives), (int)i) == NULL)
            li->port = 0;
    }
    l->errors += config_check_clashes(c, l->errors == 0, l->say, l->arg);
    c->log_dests &= ~(unsigned)DEST_NONE;
}

static struct config *load(const char *path, const char *text, size_t len, void (*say)(void *arg, const char *line),
                           void *arg)
{
    struct load l = { .c = calloc(1, sizeof *l.c), .say = say, .arg = arg, .file = path, .listener = -1 };

    if (l.c == NULL)
        abort();
    preset_all(false, l.c);
    if (path != NULL) {
        l.c->path = strdup(path);
        if (text != NULL)
            read_text(&l, path, text, len);
        else
            read_file(&l, path);
        read_includes(&l);
    }
    finish(&l);
    if (l.errors == 0)
        return l.c;
    config_free(l.c);
    return NULL;
}

struct config *config_load(const char *path, void (*say)(void *arg, const char *line), void *arg)
{
    return load(path, NULL, 0, say, arg);
}

struct config *config_load_text(const char *name, const char *text, size_t len,
                                void (*say)(void *arg, const char *line), void *arg)
{
    return load(name, text, len, say, arg);
}

struct config_listener *config_listener_named(const struct config *c, const char *name)
{
    for (unsigned i = 0; i < c->listener_count; i++)
        if (strcmp(c->listeners[i].name, name) == 0)
            return &c->listeners[i];
    return NULL;
}

void config_free(struct config *c)
{
    if (c == NULL)
        return;
    for (unsigned i = 0; i < config_directive_count; i++) {
        const struct directive *d = &config_directives[i];
        if (d->section != SECTION_listener)
            value_free(d, c);
        else
            for (unsigned j = 0; j < c->listener_count; j++)
                value_free(d, &c->listeners[j]);
    }
    for (unsigned j = 0; j < c->listener_count; j++)
        free(c->listeners[j].name);
    for (unsigned i = 0; c->files != NULL && c->files[i] != NULL; i++)
        free(c->files[i]);
    free(c->log_file);
    free(c->listeners);
    free(c->marks);
    free(c->files);
    free(c->path);
    free(c);
}

/* ---- comparing, and where things stand ---- */

const char *config_where(const struct config *c, const char *section, const char *key, int listener,
                         char *out, size_t cap)
{
    for (unsigned i = 0; i < c->mark_count; i++) {
        const struct config_mark *m = &c->marks[i];
        const struct directive *d = &config_directives[m->directive];
        if (m->listener == listener && strcmp(d->key, key) == 0 &&
            strcmp(config_sections[d->section].name, section) == 0) {
            snprintf(out, cap, "%s:%d", m->file, m->line);
            return out;
        }
    }
    if (listener >= 0 && c->listeners[listener].file != NULL)
        snprintf(out, cap, "%s:%d", c->listeners[listener].file, c->listeners[listener].line);
    else
        snprintf(out, cap, "%s: [%s]", c->path != NULL ? c->path : "(defaults)", section);
    return out;
}

static void keep_listener(const struct config_listener *was, struct config_listener *now,
                          void (*say)(void *arg, const char *key), void *arg)
{
    char text[256];

    for (unsigned i = 0; i < config_directive_count; i++) {
        const struct directive *d = &config_directives[i];
        if (d->section != SECTION_listener || !(d->flags & FIXED) || value_same(d, was, now))
            continue;
        value_copy(d, now, d, was);
        snprintf(text, sizeof text, "[listener %.100s] %s", now->name, d->key);
        say(arg, text);
    }
}

void config_keep_fixed(const struct config *was, struct config *now,
                       void (*say)(void *arg, const char *key), void *arg)
{
    char text[256];

    for (unsigned i = 0; i < config_directive_count; i++) {
        const struct directive *d = &config_directives[i];
        if (d->section == SECTION_listener || !(d->flags & FIXED) || value_same(d, was, now))
            continue;
        value_copy(d, now, d, was);
        snprintf(text, sizeof text, "[%s] %s", config_sections[d->section].name, d->key);
        say(arg, text);
    }
    for (unsigned i = 0; i < now->listener_count; i++) {
        const struct config_listener *old = config_listener_named(was, now->listeners[i].name);
        if (old != NULL) {
            keep_listener(old, &now->listeners[i], say, arg);
            continue;
        }
        snprintf(text, sizeof text, "[listener %.100s] (new)", now->listeners[i].name);
        say(arg, text);
    }
    for (unsigned i = 0; i < was->listener_count; i++)
        if (config_listener_named(now, was->listeners[i].name) == NULL) {
            snprintf(text, sizeof text, "[listener %.100s] (gone)", was->listeners[i].name);
            say(arg, text);
        }
}
