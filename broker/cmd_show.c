/* `caddis show`: the store's views as a table or as JSON.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/cmd.h"
#include "broker/config.h"
#include "broker/config_value.h"
#include "persist/show.h"
#include "proto/utf8.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*    word           view              what the optional ID selects */
#define VIEWS(X)                                        \
    X(sessions,      "v_session",      "client id")     \
    X(subscriptions, "v_subscription", "client id")     \
    X(queue,         "v_queue",        "client id")     \
    X(inflight,      "v_inflight",     "client id")     \
    X(retained,      "v_retained",     "topic")         \
    X(wills,         "v_will",         "client id")     \
    X(dropped,       "v_dropped",      "client id")     \
    X(runs,          "v_runs",         "run")

static const struct {
    const char *word, *view, *id;
} views[] = {
#define X(word, view, id) { #word, view, id },
    VIEWS(X)
#undef X
};
enum { VIEW_COUNT = sizeof views / sizeof views[0] };

/* Widths come from the first rows; what follows is printed as it comes, so that a long queue needs no memory. */
enum { COLUMNS_MAX = 32, SAMPLE_ROWS = 500, CELL_MAX = 80 };

struct table {
    int count;
    char *names[COLUMNS_MAX];
    bool number[COLUMNS_MAX];
    unsigned width[COLUMNS_MAX];
    char **cells;               /* sample_rows * count */
    unsigned sample_rows;
    bool printed;               /* the sample is out */
    bool json;
    unsigned long rows;
};

static void help(void)
{
    puts("Usage: caddis show WHAT [ID] [-c FILE | --store PATH] [--json]\n\n"
         "Reads the store, whether the broker runs or not, and changes nothing. WHAT, and what ID selects:");
    for (unsigned i = 0; i < VIEW_COUNT; i++)
        printf("  %-14s %s\n", views[i].word, views[i].id);
    puts("\n  -c, --config FILE   the broker's configuration, for the path of the store\n"
         "      --store PATH    the store itself\n"
         "      --json          an array of objects, values as they are stored\n"
         "  -h, --help          this text");
}

static void *or_die(void *p)
{
    if (p == NULL) {
        fputs("caddis show: no memory\n", stderr);
        exit(EXIT_FAILED);
    }
    return p;
}

/* ---- table ---- */

/* Terminal columns, near enough: one for each character. */
static unsigned width_of(const char *s)
{
    unsigned n = 0;

    for (; *s != '\0'; s++)
        n += ((unsigned char)*s & 0xC0) != 0x80;
    return n;
}

/* "1234567" -> "1.2M". */
static void readable_size(const char *text, char out[CELL_MAX])
{
    static const char units[] = "BKMGT";
    double v = strtod(text, NULL);
    unsigned u = 0;

    for (; v >= 1024 && units[u + 1] != '\0'; u++)
        v /= 1024;
    if (u == 0)
        snprintf(out, CELL_MAX, "%s", text);
    else
        snprintf(out, CELL_MAX, "%.1f%c", v, units[u]);
}

/* A copy that a terminal does not obey: control characters as \xNN. Cut at about CELL_MAX bytes unless it is an id or a
 * topic, which people copy from here. */
static char *tame(const char *text, bool cut)
{
    size_t len = strlen(text), n = 0;
    char *out = or_die(malloc(len * 4 + 4));

    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        bool c1 = c == 0xC2 && (unsigned char)text[i + 1] < 0xA0;
        if (cut && n >= CELL_MAX && (c & 0xC0) != 0x80) {
            strcpy(out + n, "...");
            return out;
        }
        if (c < ' ' || c == 0x7F || c1)
            n += (size_t)sprintf(out + n, "\\x%02x", c1 ? (unsigned char)text[++i] : c);
        else
            out[n++] = (char)c;
    }
    out[n] = '\0';
    return out;
}

static char *cell_of(const struct show_column *c)
{
    size_t len = strlen(c->name);
    char size[CELL_MAX];

    if (c->text == NULL)
        return or_die(strdup("-"));
    if (c->number && len >= 5 && strcmp(c->name + len - 5, "bytes") == 0) {
        readable_size(c->text, size);
        return or_die(strdup(size));
    }
    return tame(c->text, strcmp(c->name, "payload") == 0);
}

/* The last column is not padded: no blanks at the end of lines. */
static void print_cell(const struct table *t, int i, const char *text)
{
    unsigned width = width_of(text), pad = width < t->width[i] ? t->width[i] - width : 0;

    if (i > 0)
        fputs("  ", stdout);
    if (t->number[i])
        printf("%*s%s", (int)pad, "", text);
    else
        printf("%s%*s", text, i + 1 < t->count ? (int)pad : 0, "");
}

static void print_sample(struct table *t)
{
    for (int i = 0; i < t->count; i++)
        print_cell(t, i, t->names[i]);
    putchar('\n');
    for (unsigned r = 0; r < t->sample_rows; r++) {
        for (int i = 0; i < t->count; i++) {
            char **cell = &t->cells[r * (unsigned)t->count + (unsigned)i];
            print_cell(t, i, *cell);
            free(*cell);
        }
        putchar('\n');
    }
    t->printed = true;
}

static void begin_table(struct table *t, const struct show_column *columns, int count)
{
    t->count = count < COLUMNS_MAX ? count : COLUMNS_MAX;
    t->cells = or_die(calloc((size_t)SAMPLE_ROWS * (size_t)t->count, sizeof *t->cells));
    for (int i = 0; i < t->count; i++) {
        t->names[i] = or_die(strdup(columns[i].name));
        t->width[i] = width_of(columns[i].name);
    }
}

static void table_row(struct table *t, const struct show_column *columns)
{
    char *cell;

    if (t->sample_rows == SAMPLE_ROWS && !t->printed)
        print_sample(t);
    for (int i = 0; i < t->count; i++) {
        cell = cell_of(&columns[i]);
        t->number[i] |= columns[i].number;
        if (t->printed) {
            print_cell(t, i, cell);
            free(cell);
            continue;
        }
        t->cells[t->sample_rows * (unsigned)t->count + (unsigned)i] = cell;
        if (width_of(cell) > t->width[i])
            t->width[i] = width_of(cell);
    }
    if (t->printed)
        putchar('\n');
    else
        t->sample_rows++;
}

static void end_table(struct table *t)
{
    if (t->count > 0 && !t->printed)
        print_sample(t);
    for (int i = 0; i < t->count; i++)
        free(t->names[i]);
    free(t->cells);
    if (t->rows == 0)
        puts("(none)");
}

/* ---- JSON ---- */

static void json_string(const char *s)
{
    bool utf8 = utf8_valid((struct view){ (const uint8_t *)s, strlen(s) });

    putchar('"');
    for (; *s != '\0'; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < ' ' || c == 0x7F || (!utf8 && c >= 0x80))
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}

static void json_row(const struct table *t, const struct show_column *columns, int count)
{
    fputs(t->rows == 0 ? "[\n{" : ",\n{", stdout);
    for (int i = 0; i < count; i++) {
        if (i > 0)
            fputs(", ", stdout);
        json_string(columns[i].name);
        fputs(": ", stdout);
        if (columns[i].text == NULL)
            fputs("null", stdout);
        else if (columns[i].number)
            fputs(columns[i].text, stdout);
        else
            json_string(columns[i].text);
    }
    putchar('}');
}

static int on_row(void *arg, const struct show_column *columns, int count, bool empty)
{
    struct table *t = arg;

    if (!t->json && t->count == 0)
        begin_table(t, columns, count);
    if (empty)
        return 0;
    if (t->json)
        json_row(t, columns, count);
    else
        table_row(t, columns);
    t->rows++;
    return ferror(stdout);
}

/* ---- command ---- */

static const char *view_word(void *arg, unsigned i)
{
    (void)arg;
    return views[i].word;
}

static int find_view(const char *word)
{
    const char *near;

    for (unsigned i = 0; i < VIEW_COUNT; i++)
        if (strcmp(views[i].word, word) == 0)
            return (int)i;
    near = nearest_name(word, VIEW_COUNT, view_word, NULL);
    fprintf(stderr, "caddis show: there is no %s to show%s%s%s\n", log_qs(word), near != NULL ? "; did you mean " : "",
            near != NULL ? near : "", near != NULL ? "?" : "; `caddis show --help` lists what there is");
    return -1;
}

static int show(const char *path, int view, const char *id, bool json)
{
    struct table t = { .json = json };
    char *why;
    int rc = persist_show(path, views[view].view, id, on_row, &t, &why);

    if (rc < 0)
        fprintf(stderr, "caddis show: %s\n", why != NULL ? why : "no memory");
    else if (json)
        puts(t.rows == 0 ? "[]" : "\n]");
    if (!json && (rc == 0 || t.rows > 0))
        end_table(&t);
    free(why);
    return rc < 0 || fflush(stdout) != 0 ? EXIT_FAILED : EXIT_OK;
}

/* The path out of the configuration. */
static int show_configured(const char *config, int view, const char *id, bool json)
{
    struct config *c = config_load(config, cmd_say, NULL);
    int code;

    if (c == NULL)
        return EXIT_CONFIG;
    if (c->persistence) {
        code = show(c->store_path, view, id, json);
    } else {
        fputs("caddis show: this configuration has no store ([persistence] enabled = false)\n", stderr);
        code = EXIT_FAILED;
    }
    config_free(c);
    return code;
}

int cmd_show(int argc, char **argv)
{
    static const struct option longs[] = {
        { "config", required_argument, NULL, 'c' }, { "store", required_argument, NULL, 's' },
        { "json", no_argument, NULL, 'j' },         { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    const char *config = NULL, *store = NULL, *words[2] = { NULL, NULL };
    bool json = false;
    int c, n = 0, view;

    /* "-": words come in their place, as option 1, so that options may stand before and after them. */
    while ((c = getopt_long(argc, argv, "-c:h", longs, NULL)) != -1)
        switch (c) {
        case 'c': config = optarg; break;
        case 's': store = optarg; break;
        case 'j': json = true; break;
        case 'h': help(); return EXIT_OK;
        case 1:
            if (n == 2) {
                fprintf(stderr, "caddis show: %s is one word too many\n", log_qs(optarg));
                return EXIT_USAGE;
            }
            words[n++] = optarg;
            break;
        default: return EXIT_USAGE;
        }
    while (optind < argc && n < 2)      /* after "--": ids that start with a dash */
        words[n++] = argv[optind++];
    if (n == 0) {
        fputs("caddis show: what? `caddis show --help` lists what there is\n", stderr);
        return EXIT_USAGE;
    }
    view = find_view(words[0]);
    if (view < 0)
        return EXIT_USAGE;
    return store != NULL ? show(store, view, words[1], json) : show_configured(config, view, words[1], json);
}
