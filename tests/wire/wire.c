/* Runs conversations with a broker: wire FILE... [-n NAME]. A file holds several, each behind a line "== NAME"; each
 * is a Check test, in a process and with a broker of its own. The broker is the program that CADDIS names, ./caddis if
 * it names none. -n: only conversations whose name has this text in it.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/wire/wire.h"

#include "suite.h"

#include <signal.h>
#include <unistd.h>

static struct conversation {
    const struct script *script;
    const char *name;
    unsigned from, to;          /* lines */
    enum version version;
} *conversations;
static unsigned count;

static void *more(void *p, size_t n)
{
    p = realloc(p, n);
    if (p == NULL)
        abort();
    return p;
}

static struct script *script_load(const char *path)
{
    struct script *s = more(NULL, sizeof *s);
    FILE *f = fopen(path, "re");
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;

    if (f == NULL) {
        perror(path);
        exit(2);
    }
    *s = (struct script){ .path = path };
    while ((len = getline(&line, &cap, f)) >= 0) {
        while (len > 0 && strchr("\r\n \t", line[len - 1]) != NULL)
            line[--len] = '\0';
        s->line = more(s->line, (s->count + 1) * sizeof *s->line);
        s->line[s->count] = more(NULL, (size_t)len + 1);
        memcpy(s->line[s->count++], line, (size_t)len + 1);
    }
    free(line);
    fclose(f);
    return s;
}

static void add(const struct script *s, unsigned from, unsigned to, enum version version)
{
    conversations = more(conversations, (count + 1) * sizeof *conversations);
    conversations[count++] = (struct conversation){ s, s->line[from] + 3, from + 1, to, version };
}

/* "each ver 3 4 5" in a conversation makes three of it. */
static void add_each(const struct script *s, unsigned from, unsigned to)
{
    for (unsigned i = from + 1; i < to; i++)
        if (strncmp(s->line[i], "each ver ", 9) == 0) {
            for (const char *p = s->line[i] + 9; *p != '\0'; p++)
                if (*p >= '3' && *p <= '5')
                    add(s, from, to, (enum version)(*p - '0'));
            return;
        }
    add(s, from, to, MQTT_311);
}

static void collect(const struct script *s, const char *only)
{
    unsigned from = s->count;

    for (unsigned i = 0; i <= s->count; i++) {
        if (i < s->count && strncmp(s->line[i], "== ", 3) != 0)
            continue;
        if (from < i && (only == NULL || strstr(s->line[from], only) != NULL))
            add_each(s, from, i);
        from = i;
    }
}

START_TEST(conversation)
{
    const struct conversation *c = &conversations[_i];

    signal(SIGPIPE, SIG_IGN);
    script_run(c->script, c->from, c->to, c->version);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("wire");
    const char *only = NULL;
    int option;

    while ((option = getopt(argc, argv, "n:")) != -1) {
        if (option != 'n')
            return 2;
        only = optarg;
    }
    for (; optind < argc; optind++) {
        unsigned first = count;
        TCase *t = tcase_create(argv[optind]);

        collect(script_load(argv[optind]), only);
        tcase_set_timeout(t, WIRE_TEST_S);
        tcase_add_loop_test(t, conversation, (int)first, (int)count);
        suite_add_tcase(suite, t);
    }
    if (count == 0) {
        fprintf(stderr, "usage: wire [-n NAME] FILE...; there is no conversation in these files\n");
        return 2;
    }
    return run_suite(suite);
}
