/* DER, as far as names and dates of certificates need it.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/x509.h"

#include "proto/utf8.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    TAG_BOOLEAN = 0x01, TAG_INTEGER = 0x02, TAG_OCTETS = 0x04, TAG_OID = 0x06, TAG_UTF8 = 0x0C, TAG_NUMERIC = 0x12,
    TAG_PRINTABLE = 0x13, TAG_IA5 = 0x16, TAG_UTC_TIME = 0x17, TAG_TIME = 0x18, TAG_VISIBLE = 0x1A,
    TAG_SEQUENCE = 0x30, TAG_SET = 0x31, TAG_VERSION = 0xA0, TAG_EXTENSIONS = 0xA3,
};

/* ---- DER ---- */

/* Takes one element from the front. */
static bool take(struct view *in, unsigned *tag, struct view *body)
{
    size_t len, head = 2;

    if (in->len < 2 || (in->p[0] & 0x1F) == 0x1F)
        return false;
    *tag = in->p[0];
    len = in->p[1];
    if (len >= 0x80) {
        size_t n = len & 0x7F;
        if (n == 0 || n > 4 || in->len < 2 + n)
            return false;
        len = 0;
        for (size_t i = 0; i < n; i++)
            len = len << 8 | in->p[2 + i];
        head += n;
    }
    if (in->len - head < len)
        return false;
    *body = (struct view){ in->p + head, len };
    *in = (struct view){ in->p + head + len, in->len - head - len };
    return true;
}

static bool take_a(struct view *in, unsigned wanted, struct view *body)
{
    unsigned tag;
    struct view rest = *in;

    if (!take(&rest, &tag, body) || tag != wanted)
        return false;
    *in = rest;
    return true;
}

/* The element with its head: names are compared as they stand. */
static bool take_whole(struct view *in, unsigned wanted, struct view *whole)
{
    struct view body;
    const uint8_t *start = in->p;

    if (!take_a(in, wanted, &body))
        return false;
    *whole = (struct view){ start, (size_t)(in->p - start) };
    return true;
}

static bool digits(const uint8_t *p, int n, int *out)
{
    *out = 0;
    for (int i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        *out = *out * 10 + (p[i] - '0');
    }
    return true;
}

static bool take_time(struct view *in, int64_t *out_s)
{
    struct tm t = { .tm_isdst = 0 };
    struct view v;
    unsigned tag;
    int year;

    if (!take(in, &tag, &v))
        return false;
    if (tag == TAG_UTC_TIME && v.len == 13 && digits(v.p, 2, &year)) {
        year += year < 50 ? 2000 : 1900;
        v.p += 2;
    } else if (tag == TAG_TIME && v.len == 15 && digits(v.p, 4, &year)) {
        v.p += 4;
    } else {
        return false;
    }
    if (!digits(v.p, 2, &t.tm_mon) || !digits(v.p + 2, 2, &t.tm_mday) || !digits(v.p + 4, 2, &t.tm_hour) ||
        !digits(v.p + 6, 2, &t.tm_min) || !digits(v.p + 8, 2, &t.tm_sec) || v.p[10] != 'Z')
        return false;
    t.tm_year = year - 1900;
    t.tm_mon--;
    *out_s = timegm(&t);
    return true;
}

/* Is basicConstraints there, and does it say CA? */
static bool says_ca(struct view extensions)
{
    static const uint8_t basic_constraints[] = { 0x55, 0x1D, 0x13 };
    struct view list, one, oid, value, body, flag;

    if (!take_a(&extensions, TAG_SEQUENCE, &list))
        return false;
    while (take_a(&list, TAG_SEQUENCE, &one)) {
        if (!take_a(&one, TAG_OID, &oid) || oid.len != 3 || memcmp(oid.p, basic_constraints, 3) != 0)
            continue;
        take_a(&one, TAG_BOOLEAN, &flag);       /* critical */
        return take_a(&one, TAG_OCTETS, &value) && take_a(&value, TAG_SEQUENCE, &body) &&
               take_a(&body, TAG_BOOLEAN, &flag) && flag.len == 1 && flag.p[0] != 0;
    }
    return false;
}

bool x509_cert(struct view der, struct x509 *out)
{
    struct view cert, tbs, skip, validity;

    *out = (struct x509){ 0 };
    if (!take_a(&der, TAG_SEQUENCE, &cert) || !take_a(&cert, TAG_SEQUENCE, &tbs))
        return false;
    take_a(&tbs, TAG_VERSION, &skip);
    if (!take_a(&tbs, TAG_INTEGER, &skip) || !take_a(&tbs, TAG_SEQUENCE, &skip) ||
        !take_whole(&tbs, TAG_SEQUENCE, &out->issuer) || !take_a(&tbs, TAG_SEQUENCE, &validity) ||
        !take_time(&validity, &out->from_s) || !take_time(&validity, &out->until_s) ||
        !take_whole(&tbs, TAG_SEQUENCE, &out->subject) || !take_a(&tbs, TAG_SEQUENCE, &skip))
        return false;
    for (unsigned tag; take(&tbs, &tag, &skip); )
        if (tag == TAG_EXTENSIONS)
            out->is_ca = says_ca(skip);
    return true;
}

bool x509_crl(struct view der, struct x509 *out)
{
    struct view crl, tbs, skip;

    *out = (struct x509){ .until_s = INT64_MAX };
    if (!take_a(&der, TAG_SEQUENCE, &crl) || !take_a(&crl, TAG_SEQUENCE, &tbs))
        return false;
    take_a(&tbs, TAG_INTEGER, &skip);
    if (!take_a(&tbs, TAG_SEQUENCE, &skip) || !take_whole(&tbs, TAG_SEQUENCE, &out->issuer) ||
        !take_time(&tbs, &out->from_s))
        return false;
    if (tbs.len > 0 && (tbs.p[0] == TAG_UTC_TIME || tbs.p[0] == TAG_TIME))
        return take_time(&tbs, &out->until_s);
    return true;
}

/* ---- names ---- */

static const struct attribute {
    const char *name;
    uint8_t len, oid[10];
} attributes[] = {
    { "CN", 3, { 0x55, 4, 3 } },            { "SN", 3, { 0x55, 4, 4 } },
    { "serialNumber", 3, { 0x55, 4, 5 } },  { "C", 3, { 0x55, 4, 6 } },
    { "L", 3, { 0x55, 4, 7 } },             { "ST", 3, { 0x55, 4, 8 } },
    { "street", 3, { 0x55, 4, 9 } },        { "O", 3, { 0x55, 4, 10 } },
    { "OU", 3, { 0x55, 4, 11 } },           { "title", 3, { 0x55, 4, 12 } },
    { "description", 3, { 0x55, 4, 13 } },  { "name", 3, { 0x55, 4, 41 } },
    { "GN", 3, { 0x55, 4, 42 } },           { "initials", 3, { 0x55, 4, 43 } },
    { "dnQualifier", 3, { 0x55, 4, 46 } },  { "pseudonym", 3, { 0x55, 4, 65 } },
    { "emailAddress", 9, { 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 9, 1 } },
    { "UID", 10, { 9, 0x92, 0x26, 0x89, 0x93, 0xF2, 0x2C, 0x64, 1, 1 } },
    { "DC", 10, { 9, 0x92, 0x26, 0x89, 0x93, 0xF2, 0x2C, 0x64, 1, 25 } },
};

static const char *attribute_name(struct view oid)
{
    for (size_t i = 0; i < sizeof attributes / sizeof attributes[0]; i++)
        if (oid.len == attributes[i].len && memcmp(oid.p, attributes[i].oid, oid.len) == 0)
            return attributes[i].name;
    return NULL;
}

/* Text that means the same to everybody: UTF-8 without U+0000 (utf8_valid() knows), or an ASCII type that keeps to it. */
static bool is_text(unsigned tag, struct view v)
{
    bool ascii = tag == TAG_PRINTABLE || tag == TAG_IA5 || tag == TAG_NUMERIC || tag == TAG_VISIBLE;

    if (!ascii && tag != TAG_UTF8)
        return false;
    for (size_t i = 0; ascii && i < v.len; i++)
        if (v.p[i] >= 0x80)
            return false;
    return utf8_valid(v);
}

/* One attribute of a relative name: its OID and its value. */
static bool take_pair(struct view *set, struct view *oid, unsigned *tag, struct view *value)
{
    struct view pair;

    return take_a(set, TAG_SEQUENCE, &pair) && take_a(&pair, TAG_OID, oid) && take(&pair, tag, value);
}

const char *x509_name_text(enum x509_name n)
{
    static const char *const texts[] = {
        [X509_NAME_OK] = "is fine",
        [X509_NAME_NONE] = "is missing",
        [X509_NAME_TWO] = "is there twice",
        [X509_NAME_BAD] = "is not plain text (UTF-8 without NUL)",
        [X509_NAME_LONG] = "is too long",
    };
    return texts[n];
}

enum x509_name x509_common_name(struct view name, char *out, size_t cap)
{
    struct view sets, set, oid, value;
    unsigned tag, found = 0;
    bool bad = !take_a(&name, TAG_SEQUENCE, &sets);

    *out = '\0';
    while (!bad && take_a(&sets, TAG_SET, &set))
        while (!bad && set.len > 0) {
            const char *a;
            bad = !take_pair(&set, &oid, &tag, &value);
            a = bad ? NULL : attribute_name(oid);
            if (a == NULL || strcmp(a, "CN") != 0)
                continue;
            found++;
            bad = !is_text(tag, value);
            if (!bad && value.len >= cap)
                return X509_NAME_LONG;
            if (!bad) {
                memcpy(out, value.p, value.len);
                out[value.len] = '\0';
            }
        }
    if (bad || found > 1 || *out == '\0') {
        *out = '\0';
        return bad ? X509_NAME_BAD : found > 1 ? X509_NAME_TWO : X509_NAME_NONE;
    }
    return X509_NAME_OK;
}

/* Text under construction; what does not fit sets `full`. */
struct text {
    char *p;
    size_t len, cap;
    bool full;
};

static void put(struct text *t, const char *s, size_t n)
{
    if (t->cap - t->len <= n) {
        t->full = true;
        return;
    }
    memcpy(t->p + t->len, s, n);
    t->len += n;
    t->p[t->len] = '\0';
}

static void put_hex(struct text *t, const char *before, uint8_t c)
{
    char hex[8];
    int n = snprintf(hex, sizeof hex, "%s%02X", before, c);

    put(t, hex, (size_t)n);
}

static void put_escaped(struct text *t, struct view v)
{
    for (size_t i = 0; i < v.len; i++) {
        char c = (char)v.p[i];
        bool edge = (i == 0 && (c == ' ' || c == '#')) || (i == v.len - 1 && c == ' ');

        if (v.p[i] < 0x20 || v.p[i] >= 0x7F) {
            put_hex(t, "\\", v.p[i]);
            continue;
        }
        if (edge || strchr(",+\"\\<>;", c) != NULL)
            put(t, "\\", 1);
        put(t, &c, 1);
    }
}

static void put_number(struct text *t, const char *before, uint64_t v)
{
    char digit[24];
    int n = snprintf(digit, sizeof digit, "%s%llu", before, (unsigned long long)v);

    put(t, digit, (size_t)n);
}

static void put_oid(struct text *t, struct view oid)
{
    uint64_t n = 0;
    bool first = true;

    for (size_t i = 0; i < oid.len; i++) {
        n = n << 7 | (oid.p[i] & 0x7F);
        if (oid.p[i] & 0x80)
            continue;
        if (first) {                /* the first two numbers share one */
            unsigned top = n < 40 ? 0 : n < 80 ? 1 : 2;
            put_number(t, "", top);
            n -= top * 40;
        }
        put_number(t, ".", n);
        first = false;
        n = 0;
    }
}

/* One relative name, "CN=a" or "CN=a+UID=7". False: not text. */
static bool put_set(struct text *t, struct view set)
{
    struct view oid, value;
    unsigned tag;

    for (bool first = true; set.len > 0; first = false) {
        const char *a;
        const uint8_t *end;
        if (!take_pair(&set, &oid, &tag, &value))
            return false;
        end = value.p + value.len;
        a = attribute_name(oid);
        if (!first)
            put(t, "+", 1);
        if (a != NULL) {
            if (!is_text(tag, value))
                return false;
            put(t, a, strlen(a));
            put(t, "=", 1);
            put_escaped(t, value);
            continue;
        }
        /* An attribute without a name is shown as its DER bytes. */
        put_oid(t, oid);
        put(t, "=#", 2);
        for (const uint8_t *p = oid.p + oid.len; p < end; p++)
            put_hex(t, "", *p);
    }
    return true;
}

enum x509_name x509_full_name(struct view name, char *out, size_t cap)
{
    enum { SETS_MAX = 32 };
    struct view sets, set[SETS_MAX];
    struct text t = { out, 0, cap, false };
    unsigned n = 0;

    *out = '\0';
    if (!take_a(&name, TAG_SEQUENCE, &sets))
        return X509_NAME_BAD;
    while (n < SETS_MAX && take_a(&sets, TAG_SET, &set[n]))
        n++;
    if (sets.len > 0)
        return n == SETS_MAX ? X509_NAME_LONG : X509_NAME_BAD;
    while (n-- > 0) {
        if (!put_set(&t, set[n]))
            goto bad;
        if (n > 0)
            put(&t, ",", 1);
    }
    if (!t.full)
        return t.len > 0 ? X509_NAME_OK : X509_NAME_NONE;
bad:
    *out = '\0';
    return t.full ? X509_NAME_LONG : X509_NAME_BAD;
}

/* ---- PEM ---- */

static const uint8_t *find(struct view in, const char *what)
{
    return in.len > 0 ? memmem(in.p, in.len, what, strlen(what)) : NULL;
}

bool x509_pem_next(struct view *text, const char *label, struct view *block)
{
    char begin[64], end[64];
    const uint8_t *from, *to, *stop = text->p + text->len;

    snprintf(begin, sizeof begin, "-----BEGIN %s-----", label);
    snprintf(end, sizeof end, "-----END %s-----", label);
    from = find(*text, begin);
    if (from == NULL)
        return false;
    to = find((struct view){ from, (size_t)(stop - from) }, end);
    to = to != NULL ? to + strlen(end) : stop;
    *block = (struct view){ from, (size_t)(to - from) };
    *text = (struct view){ to, (size_t)(stop - to) };
    return true;
}

unsigned x509_line(struct view text, const uint8_t *at)
{
    unsigned line = 1;

    for (const uint8_t *p = text.p; p < at; p++)
        line += *p == '\n';
    return line;
}
