/* Values of the configuration file by type. Messages say what would be right.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/config_value.h"

#include "proto/utf8.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit size_units[] = { { "", 1 }, { "K", 1024 }, { "M", 1048576 }, { "G", 1073741824 } };
static const struct unit ms_units[] = { { "", 1000 }, { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 },
                                        { "d", 86400000 }, { "w", 604800000 } };
static const struct unit s_units[] = { { "", 1 }, { "s", 1 }, { "m", 60 }, { "h", 3600 }, { "d", 86400 },
                                       { "w", 604800 } };
static const struct unit no_units[] = { { "", 1 } };

static const struct {
    const struct unit *units;
    unsigned count;
    const char *like;          /* completes "is not ..." */
} numbers[] = {
#define UNITS(list) list, sizeof list / sizeof list[0]
    [VALUE_NUMBER] = { UNITS(no_units), "a number" },
    [VALUE_SIZE] = { UNITS(size_units), "a size: write bytes, or a number with K, M or G, as in 64K" },
    [VALUE_MS] = { UNITS(ms_units), "a duration: write a number with ms, s, m, h, d or w, as in 500ms" },
    [VALUE_S] = { UNITS(s_units), "a duration in whole seconds: write a number with s, m, h, d or w, as in 2h" },
#undef UNITS
};

/* Quoted for a message, short, and harmless on a terminal. */
static const char *shown(const char *text)
{
    return log_q(text, strnlen(text, 60));
}

static void number_put(void *place, size_t size, uint64_t v)
{
    switch (size) {
    case 1: *(uint8_t *)place = (uint8_t)v; break;
    case 2: *(uint16_t *)place = (uint16_t)v; break;
    case 4: *(uint32_t *)place = (uint32_t)v; break;
    default: *(uint64_t *)place = v; break;
    }
}

/* The number as the file would have it: in the largest unit that divides it. */
static const char *number_text(enum value_type type, uint64_t v, char out[32])
{
    const struct unit *best = &numbers[type].units[0];

    for (unsigned i = 1; i < numbers[type].count; i++) {
        const struct unit *u = &numbers[type].units[i];
        if (v != 0 && v % u->factor == 0 && (best->name[0] == '\0' || u->factor > best->factor))
            best = u;
    }
    snprintf(out, 32, "%llu%s", (unsigned long long)(v / best->factor), best->name);
    return out;
}

static bool out_of_range(const struct directive *d, const char *text, char why[WHY_MAX])
{
    char least[32], most[32];

    if (d->most >= UINT32_MAX && d->least == 0)
        snprintf(why, WHY_MAX, "%s is too large", shown(text));
    else
        snprintf(why, WHY_MAX, "%s is out of range: %s to %s%s%s", shown(text), number_text(d->type, d->least, least),
                 number_text(d->type, d->most, most), d->flags & ZERO_MAX && d->least > 0 ? ", or 0 for the most" : "",
                 d->flags & NEVER ? ", or never" : "");
    return false;
}

static bool number_set(const struct directive *d, void *place, const char *text, char why[WHY_MAX])
{
    const char *p = text;
    uint64_t v = 0;
    bool huge = false;

    if (d->flags & NEVER && strcasecmp(text, "never") == 0) {
        number_put(place, d->size, UINT64_MAX);     /* -1 in a signed field */
        return true;
    }
    for (; isdigit((unsigned char)*p); p++)
        huge |= __builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v);
    if (p == text)
        goto bad;
    while (*p == ' ')
        p++;
    for (unsigned i = 0; i < numbers[d->type].count; i++) {
        const struct unit *u = &numbers[d->type].units[i];
        if (strcasecmp(p, u->name) != 0)
            continue;
        huge |= __builtin_mul_overflow(v, u->factor, &v);
        if (!huge && v == 0 && d->flags & ZERO_MAX)
            v = d->most;
        if (huge || v < d->least || v > d->most)
            return out_of_range(d, text, why);
        number_put(place, d->size, v);
        return true;
    }
bad:
    snprintf(why, WHY_MAX, "%s is not %s%s", shown(text), numbers[d->type].like, d->flags & NEVER ? ", or never" : "");
    return false;
}

static bool bool_set(bool *place, const char *text, char why[WHY_MAX])
{
    static const char *const words[] = { "false", "true", "no", "yes", "off", "on", "0", "1" };

    for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcasecmp(text, words[i]) == 0) {
            *place = i % 2 != 0;
            return true;
        }
    snprintf(why, WHY_MAX, "%s is neither true nor false", shown(text));
    return false;
}

static const char *choice_name(void *arg, unsigned i)
{
    const struct choice *choices = arg;

    return choices[i].name;
}

static bool choice_set(const struct directive *d, int *place, const char *text, char why[WHY_MAX])
{
    unsigned count = 0;
    const char *near;
    size_t n;

    for (; d->choices[count].name != NULL; count++)
        if (strcasecmp(text, d->choices[count].name) == 0) {
            *place = d->choices[count].value;
            return true;
        }
    near = nearest_name(text, count, choice_name, (void *)(uintptr_t)d->choices);
    n = (size_t)snprintf(why, WHY_MAX, "%s is not one of", shown(text));
    for (unsigned i = 0; i < count && n < WHY_MAX - 40; i++)
        n += (size_t)snprintf(why + n, WHY_MAX - n, "%s %s", i > 0 ? "," : "", d->choices[i].name);
    if (near != NULL)
        snprintf(why + n, WHY_MAX - n, "; did you mean %s?", near);
    return false;
}

static bool text_ok(const char *text, bool utf8, char why[WHY_MAX])
{
    if (utf8 && !utf8_valid((struct view){ (const uint8_t *)text, strlen(text) })) {
        snprintf(why, WHY_MAX, "%s is not UTF-8; save the file as UTF-8", shown(text));
        return false;
    }
    if (text[0] == '"') {
        snprintf(why, WHY_MAX, "%s: values are written without quotes", shown(text));
        return false;
    }
    return true;
}

static bool string_set(char **place, const char *text, bool utf8, char why[WHY_MAX])
{
    char *copy;

    if (!text_ok(text, utf8, why))
        return false;
    copy = strdup(text);
    if (copy == NULL) {
        snprintf(why, WHY_MAX, "no memory");
        return false;
    }
    free(*place);
    *place = copy;
    return true;
}

static void list_free(char **list)
{
    for (unsigned i = 0; list != NULL && list[i] != NULL; i++)
        free(list[i]);
    free(list);
}

/* Calls word() for each one; commas and blanks separate. Stops when it returns false. */
static bool each_word(const char *text, bool (*word)(void *arg, const char *p, size_t len, char why[WHY_MAX]), void *arg,
                      char why[WHY_MAX])
{
    while (*(text += strspn(text, ", \t")) != '\0') {
        size_t len = strcspn(text, ", \t");
        if (!word(arg, text, len, why))
            return false;
        text += len;
    }
    return true;
}

struct words {
    char **list;
    unsigned count;
};

static bool list_word(void *arg, const char *p, size_t len, char why[WHY_MAX])
{
    struct words *w = arg;
    char **bigger = realloc(w->list, (w->count + 2) * sizeof *bigger);

    if (bigger != NULL) {
        w->list = bigger;
        bigger[w->count + 1] = NULL;
        bigger[w->count] = strndup(p, len);
    }
    if (bigger == NULL || bigger[w->count] == NULL) {
        snprintf(why, WHY_MAX, "no memory");
        return false;
    }
    w->count++;
    return true;
}

/* What was there before is replaced, or stays in front (`add`). */
static bool list_set(char ***place, const char *text, bool add, char why[WHY_MAX])
{
    struct words w = { NULL, 0 };

    for (unsigned i = 0; add && *place != NULL && (*place)[i] != NULL; i++)
        if (!list_word(&w, (*place)[i], strlen((*place)[i]), why)) {
            list_free(w.list);
            return false;
        }
    if (!text_ok(text, true, why) || !each_word(text, list_word, &w, why)) {
        list_free(w.list);
        return false;
    }
    if (w.list == NULL) {
        snprintf(why, WHY_MAX, "%s holds no word", shown(text));
        return false;
    }
    list_free(*place);
    *place = w.list;
    return true;
}

static bool version_word(void *arg, const char *p, size_t len, char why[WHY_MAX])
{
    unsigned *bits = arg;

    if (len == 1 && *p >= '3' && *p <= '5') {
        *bits |= 1u << (*p - '0');
        return true;
    }
    snprintf(why, WHY_MAX, "%s is not a version: 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.0", log_q(p, len < 60 ? len : 60));
    return false;
}

static bool versions_set(unsigned *place, const char *text, char why[WHY_MAX])
{
    unsigned bits = 0;

    if (!each_word(text, version_word, &bits, why))
        return false;
    if (bits == 0)
        return version_word(&bits, text, strlen(text), why);
    *place = bits;
    return true;
}

/* Destinations add up: the directive may stand several times. */
static bool dest_set(struct config *c, const char *text, char why[WHY_MAX])
{
    static const struct choice words[] = { { "stderr", DEST_STDERR }, { "stdout", DEST_STDOUT },
                                           { "syslog", DEST_SYSLOG }, { "topic", DEST_TOPIC }, { "none", DEST_NONE } };
    unsigned count = sizeof words / sizeof words[0];
    const char *near;

    if (strncasecmp(text, "file", 4) == 0 && (text[4] == ' ' || text[4] == '\t')) {
        if (c->log_dests & DEST_FILE) {
            snprintf(why, WHY_MAX, "there is a log file already, %s; one is all there can be", shown(c->log_file));
            return false;
        }
        c->log_dests |= DEST_FILE;
        return string_set(&c->log_file, text + 5 + strspn(text + 5, " \t"), false, why);
    }
    for (unsigned i = 0; i < count; i++)
        if (strcasecmp(text, words[i].name) == 0) {
            c->log_dests |= (unsigned)words[i].value;
            return true;
        }
    near = nearest_name(text, count, choice_name, (void *)(uintptr_t)words);
    snprintf(why, WHY_MAX, "%s is not one of stderr, stdout, syslog, file PATH, topic, none%s%s%s", shown(text),
             near != NULL ? "; did you mean " : "", near != NULL ? near : "", near != NULL ? "?" : "");
    return false;
}

bool value_set(const struct directive *d, void *base, const char *text, char why[WHY_MAX])
{
    void *place = (char *)base + d->offset;

    if (text[0] == '\0') {
        snprintf(why, WHY_MAX, "has no value; leave the line out to get the default");
        return false;
    }
    switch (d->type) {
    case VALUE_BOOL: return bool_set(place, text, why);
    case VALUE_NUMBER:
    case VALUE_SIZE:
    case VALUE_MS:
    case VALUE_S: return number_set(d, place, text, why);
    case VALUE_CHOICE: return choice_set(d, place, text, why);
    case VALUE_STRING: return string_set(place, text, true, why);
    case VALUE_PATH: return string_set(place, text, false, why);
    case VALUE_LIST: return list_set(place, text, (d->flags & MANY) != 0, why);
    case VALUE_VERSIONS: return versions_set(place, text, why);
    case VALUE_DEST: return dest_set(base, text, why);
    case VALUE_INCLUDE: break;
    }
    assert(d->type != VALUE_INCLUDE);
    return false;
}

void value_preset(const struct directive *d, void *base)
{
    char why[WHY_MAX];
    bool ok;

    if (d->flags & EXAMPLE)
        return;
    ok = value_set(d, base, d->preset, why);
    assert(ok);
}

static bool owns_memory(const struct directive *d)
{
    return d->type == VALUE_STRING || d->type == VALUE_PATH;
}

void value_free(const struct directive *d, void *base)
{
    void *place = (char *)base + d->offset;

    if (owns_memory(d)) {
        free(*(char **)place);
        *(char **)place = NULL;
    } else if (d->type == VALUE_LIST) {
        list_free(*(char ***)place);
        *(char ***)place = NULL;
    }
}

static char **list_copy(char *const *list)
{
    struct words w = { NULL, 0 };
    char why[WHY_MAX];

    for (unsigned i = 0; list != NULL && list[i] != NULL; i++)
        list_word(&w, list[i], strlen(list[i]), why);
    return w.list;
}

void value_copy(const struct directive *to, void *dst, const struct directive *from, const void *src)
{
    void *place = (char *)dst + to->offset;
    const void *origin = (const char *)src + from->offset;

    value_free(to, dst);
    if (to->type == VALUE_LIST)
        *(char ***)place = list_copy(*(char *const *const *)origin);
    else if (!owns_memory(to))
        memcpy(place, origin, to->size);
    else if (*(char *const *)origin != NULL)
        *(char **)place = strdup(*(char *const *)origin);
}

static bool string_same(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

bool value_same(const struct directive *d, const void *a, const void *b)
{
    const char *pa = (const char *)a + d->offset, *pb = (const char *)b + d->offset;

    if (owns_memory(d))
        return string_same(*(char *const *)pa, *(char *const *)pb);
    if (d->type == VALUE_LIST) {
        char *const *la = *(char *const *const *)pa, *const *lb = *(char *const *const *)pb;
        if (la == NULL || lb == NULL)
            return la == lb;
        while (*la != NULL && string_same(*la, *lb))
            la++, lb++;
        return *la == *lb;
    }
    return memcmp(pa, pb, d->size) == 0;
}

/* Letters to add, drop, change or swap to make a into b. Case does not count. */
static unsigned distance(const char *a, const char *b)
{
    enum { MAX = 40 };
    unsigned row[3][MAX + 1], la = (unsigned)strlen(a), lb = (unsigned)strlen(b);

    if (la > MAX || lb > MAX)
        return MAX;
    for (unsigned i = 0; i <= la; i++)
        for (unsigned j = 0; j <= lb; j++) {
            unsigned *now = row[i % 3], *up = row[(i + 2) % 3], *up2 = row[(i + 1) % 3], best;

            if (i == 0 || j == 0) {
                now[j] = i + j;
                continue;
            }
            best = up[j - 1] + (tolower((unsigned char)a[i - 1]) != tolower((unsigned char)b[j - 1]));
            best = up[j] + 1 < best ? up[j] + 1 : best;
            best = now[j - 1] + 1 < best ? now[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && up2[j - 2] + 1 < best)
                best = up2[j - 2] + 1;
            now[j] = best;
        }
    return row[la % 3][lb];
}

const char *nearest_name(const char *wrong, unsigned count, const char *(*get)(void *arg, unsigned i), void *arg)
{
    /* A third of the letters may be wrong: "keepalive" is not near "pid_file". */
    unsigned limit = (unsigned)strnlen(wrong, 40) / 3 + 1;
    const char *best = NULL;

    for (unsigned i = 0; i < count; i++) {
        const char *name = get(arg, i);
        unsigned d = name != NULL ? distance(wrong, name) : limit;
        if (d < limit) {
            best = name;
            limit = d;
        }
    }
    return best;
}
