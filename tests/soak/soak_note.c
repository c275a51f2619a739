/* What happened, and the end when it should not have.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/soak/soak.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { LINES = 131072, WIDTH = 144, SHOWN = 60 };

struct line {
    uint64_t ms;
    char who[16];
    char text[WIDTH];
};

static struct line lines[LINES];
static unsigned long line_count;
static uint64_t began_ms;
static char subject[48];                /* the message it is about, as lines name it; empty: none */

void note(const char *who, const char *fmt, ...)
{
    struct line *l = &lines[line_count++ % LINES];
    va_list ap;

    if (began_ms == 0)
        began_ms = now_ms();
    l->ms = now_ms() - began_ms;
    snprintf(l->who, sizeof l->who, "%s", who);
    va_start(ap, fmt);
    vsnprintf(l->text, sizeof l->text, fmt, ap);
    va_end(ap);
}

void note_subject(unsigned stream, uint32_t number)
{
    snprintf(subject, sizeof subject, " %s %" PRIu32, streams[stream].topic, number);
}

static void print_line(FILE *f, const struct line *l)
{
    fprintf(f, "%6" PRIu64 ".%03" PRIu64 " %-12s %s\n", l->ms / 1000, l->ms % 1000, l->who, l->text);
}

static bool concerns(const struct line *l, const char *who, const char *whose)
{
    return strcmp(l->who, "broker") == 0 || (who != NULL && strcmp(l->who, who) == 0) ||
           (whose != NULL && strcmp(l->who, whose) == 0);
}

/* Names the message, and not another one whose number begins likewise. */
static bool names_subject(const struct line *l)
{
    const char *at = subject[0] != '\0' ? strstr(l->text, subject) : NULL;

    return at != NULL && (at[strlen(subject)] == ' ' || at[strlen(subject)] == '\0');
}

static unsigned long oldest(void)
{
    return line_count > LINES ? line_count - LINES : 0;
}

/* Everything goes to a file beside the log; to the terminal what was said of the message, and the last of those
 * concerned. */
static void tell_history(const char *who, const char *whose)
{
    unsigned long from = line_count;
    unsigned shown = 0;
    char path[256];
    FILE *f;

    server_path(&server, "history", path, sizeof path);
    f = fopen(path, "we");
    for (unsigned long i = oldest(); f != NULL && i < line_count; i++)
        print_line(f, &lines[i % LINES]);
    if (f != NULL)
        fclose(f);
    for (unsigned long i = oldest(); i < line_count; i++)
        if (names_subject(&lines[i % LINES]))
            print_line(stdout, &lines[i % LINES]);
    puts("        ... and the last of those concerned:");
    while (from > oldest() && shown < SHOWN)
        shown += concerns(&lines[--from % LINES], who, whose);
    for (; from < line_count; from++)
        if (concerns(&lines[from % LINES], who, whose))
            print_line(stdout, &lines[from % LINES]);
    printf("soak: seed %" PRIu64 "; the whole history is in %s\n", seed, path);
}

static _Noreturn void violated(const char *who, const char *whose)
{
    tell_history(who, whose);
    broker_end(true);
    fflush(stdout);
    exit(1);
}

__attribute__((format(printf, 1, 0)))
static void say(const char *fmt, va_list ap)
{
    char text[512];

    vsnprintf(text, sizeof text, fmt, ap);
    note("soak", "VIOLATED %s", text);
    printf("soak: VIOLATED: %s\n", text);
}

_Noreturn void fail_about(const char *who, const char *whose, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say(fmt, ap);
    va_end(ap);
    violated(who, whose);
}

/* For link.c: the text begins with the client's name. */
void model_fail(const char *fmt, ...)
{
    char who[16] = "", text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    sscanf(text, "%15[^:]", who);
    fail_about(who, NULL, "%s", text);
}
