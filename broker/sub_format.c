/* Formats of `caddis sub -F`.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/sub_format.h"

#include <ctype.h>
#include <string.h>
#include <time.h>

static const char letters[] = "tpxlqrmIUCRDEFSP%";
static const char escapes[] = "\\ntr0ae";
static const char escaped[] = { '\\', '\n', '\t', '\r', '\0', '\a', '\033' };

bool format_valid(const char *format, char why[CLIENT_WHY_MAX])
{
    for (const char *f = format; *f != '\0'; f++) {
        if ((*f == '%' && (f[1] == '\0' || strchr(letters, f[1]) == NULL)) ||
            (*f == '\\' && (f[1] == '\0' || strchr(escapes, f[1]) == NULL))) {
            snprintf(why, CLIENT_WHY_MAX, "%c%c means nothing; there are %%[%s] and \\[%s]", *f,
                     isprint((unsigned char)f[1]) ? f[1] : ' ', letters, escapes);
            return false;
        }
        f += *f == '%' || *f == '\\';
    }
    return true;
}

static void put_view(FILE *out, struct view v, bool tame)
{
    if (!tame) {
        fwrite(v.p != NULL ? v.p : (const uint8_t *)"", 1, v.len, out);
        return;
    }
    for (size_t i = 0; i < v.len; i++) {
        bool c1 = v.p[i] == 0xC2 && i + 1 < v.len && v.p[i + 1] < 0xA0;   /* U+0080 to U+009F */
        if ((v.p[i] < ' ' && v.p[i] != '\n' && v.p[i] != '\t') || v.p[i] == 0x7F)
            fprintf(out, "\\x%02x", v.p[i]);
        else if (c1)
            fprintf(out, "\\x%02x", v.p[++i]);
        else
            fputc(v.p[i], out);
    }
}

static void put_hex(FILE *out, struct view v)
{
    for (size_t i = 0; i < v.len; i++)
        fprintf(out, "%02x", v.p[i]);
}

static void put_time(FILE *out, char letter)
{
    struct timespec now;
    struct tm tm;
    char text[40];

    clock_gettime(CLOCK_REALTIME, &now);
    if (letter == 'U') {
        fprintf(out, "%lld.%09ld", (long long)now.tv_sec, now.tv_nsec);
        return;
    }
    if (gmtime_r(&now.tv_sec, &tm) != NULL && strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm) > 0)
        fputs(text, out);
}

/* %S: numbers with commas between; %P: name:value with blanks between. */
static void put_repeated(FILE *out, const struct publish *p, enum prop id, bool tame)
{
    struct reader r = rd_make(p->props.raw);
    struct prop_item it;
    bool first = true;

    while (props_next(&r, &it)) {
        if (it.id != id)
            continue;
        if (!first)
            fputc(id == PROP_USER_PROPERTY ? ' ' : ',', out);
        first = false;
        if (id == PROP_USER_PROPERTY) {
            put_view(out, it.name, tame);
            fputc(':', out);
            put_view(out, it.value, tame);
        } else {
            fprintf(out, "%u", it.num);
        }
    }
}

static void put_number(FILE *out, const struct publish *p, enum prop id)
{
    if (props_has(&p->props, id))
        fprintf(out, "%u", props_num(&p->props, id, 0));
}

static void put_field(FILE *out, char letter, const struct publish *p, bool tame)
{
    switch (letter) {
    case 't': put_view(out, p->topic, tame); break;
    case 'p': put_view(out, p->payload, tame); break;
    case 'x': put_hex(out, p->payload); break;
    case 'l': fprintf(out, "%zu", p->payload.len); break;
    case 'q': fprintf(out, "%u", p->qos); break;
    case 'r': fprintf(out, "%d", p->retain); break;
    case 'm': fprintf(out, "%u", p->packet_id); break;
    case 'I':
    case 'U': put_time(out, letter); break;
    case 'C': put_view(out, props_bytes(&p->props, PROP_CONTENT_TYPE), tame); break;
    case 'R': put_view(out, props_bytes(&p->props, PROP_RESPONSE_TOPIC), tame); break;
    case 'D': put_view(out, props_bytes(&p->props, PROP_CORRELATION_DATA), tame); break;
    case 'E': put_number(out, p, PROP_MESSAGE_EXPIRY); break;
    case 'F': put_number(out, p, PROP_PAYLOAD_FORMAT); break;
    case 'S': put_repeated(out, p, PROP_SUBSCRIPTION_ID, tame); break;
    case 'P': put_repeated(out, p, PROP_USER_PROPERTY, tame); break;
    default: fputc('%', out); break;
    }
}

void format_print(FILE *out, const char *format, const struct publish *p, bool tame)
{
    for (const char *f = format; *f != '\0'; f++) {
        if (*f == '%')
            put_field(out, *++f, p, tame);
        else if (*f == '\\')
            fputc(escaped[strchr(escapes, *++f) - escapes], out);
        else
            fputc(*f, out);
    }
}
