/* The statements of a conversation. README.txt has them all.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/wire/wire.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <time.h>

enum { WORDS = 256, VARIABLES = 64, GROUP = 128, LINE = 1 << 18, FILL_MAX = 1 << 20 };

struct word {
    struct view v;
    bool quoted;
};

static struct {
    const struct script *script;
    unsigned line;                      /* the one that runs */
    enum version version;
    uint64_t clock;
    unsigned variables;
    struct { char name[24], value[256]; } variable[VARIABLES];
    unsigned aliases;
    struct { char name[24]; struct client *client; } alias[8];
    struct word word[WORDS];            /* of that line */
    unsigned words;
    char text[LINE];                    /* where they are */
} run;

static uint8_t filler[FILL_MAX];        /* x, and a NUL at the end */
static struct said group[GROUP];

void give_up(const char *fmt, ...)
{
    char text[16384];
    va_list ap;
    const struct script *s = run.script;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    broker_log_tail();
    fprintf(stderr, "%s:%u: %s\n    %s\n", s->path, run.line + 1, text, s->line[run.line]);
    fprintf(stderr, "    the broker's log ends:\n%s\n", broker_log_tail());
    broker_drop();
    ck_abort_msg("%s:%u: %s", s->path, run.line + 1, text);
}

/* ---- variables ---- */

static char *variable(const char *name, size_t len)
{
    for (unsigned i = 0; i < run.variables; i++)
        if (strlen(run.variable[i].name) == len && strncmp(run.variable[i].name, name, len) == 0)
            return run.variable[i].value;
    return NULL;
}

static void set_variable(const char *name, const char *value)
{
    char *v = variable(name, strlen(name));

    if (v == NULL) {
        if (run.variables == VARIABLES)
            give_up("too many variables");
        v = run.variable[run.variables].value;
        snprintf(run.variable[run.variables++].name, sizeof run.variable[0].name, "%s", name);
    }
    snprintf(v, sizeof run.variable[0].value, "%s", value);
}

/* {name} becomes its value, {x*N} becomes that many x, {p{i}} becomes {p1}: true if anything was replaced. */
static bool expand(const char *line, char *out, size_t cap)
{
    bool found = false;
    size_t n = 0;
    int many;

    while (*line != '\0') {
        size_t len = *line == '{' ? strcspn(line + 1, "{} ") : 0;

        if (len > 0 && line[1 + len] == '}') {
            const char *value = variable(line + 1, len);

            if (sscanf(line, "{x*%d}", &many) == 1)
                value = (const char *)filler + sizeof filler - 1 - (size_t)many;
            if (value == NULL)
                give_up("nothing is called {%.*s}", (int)len, line + 1);
            n += (size_t)snprintf(out + n, cap - n, "%s", value);
            line += len + 2;
            found = true;
        } else {
            out[n++] = *line++;
        }
        if (n >= cap - 1)
            give_up("the line is too long");
    }
    out[n] = '\0';
    return found;
}

/* ---- words ---- */

static unsigned hex_digit(char c)
{
    if (!isxdigit((unsigned char)c))
        give_up("'%c' is no hexadecimal digit", c);
    return (unsigned)(isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10);
}

/* One character of a word, an escape being one: \n, \xHH, \\, \". */
static uint8_t unescape(const char **p)
{
    const char *s = *p;

    *p += 1;
    if (s[0] != '\\')
        return (uint8_t)s[0];
    *p += 1;
    if (s[1] == 'n')
        return '\n';
    if (s[1] != 'x')
        return (uint8_t)s[1];
    *p += 2;
    return (uint8_t)(hex_digit(s[2]) << 4 | hex_digit(s[3]));
}

/* Splits an expanded line at blanks outside quotes. */
static void split(const char *s)
{
    uint8_t *out = (uint8_t *)run.text;

    run.words = 0;
    for (s += strspn(s, " \t"); *s != '\0' && *s != '#'; s += strspn(s, " \t")) {
        struct word *w = &run.word[run.words++];
        bool inside = false;

        if (run.words == WORDS)
            give_up("too many words");
        *w = (struct word){ .v = { out, 0 } };
        while (*s != '\0' && (inside || (*s != ' ' && *s != '\t'))) {
            if (*s == '"') {
                inside = !inside;
                w->quoted = true;
                s++;
            } else {
                *out++ = unescape(&s);
            }
        }
        w->v.len = (size_t)(out - w->v.p);
        *out++ = '\0';
    }
}

static const char *word(unsigned i)
{
    return i < run.words ? (const char *)run.word[i].v.p : "";
}

static bool is(unsigned i, const char *text)
{
    return strcmp(word(i), text) == 0;
}

/* ---- packets ---- */

/* Moves a value into the packet, which lives longer than the line. */
static struct view keep(struct said *p, struct view v)
{
    uint8_t *at = (uint8_t *)p->store + p->used;

    if (v.len > sizeof p->store - p->used)
        give_up("the packet is too long; use fill=N for large payloads");
    if (v.len > 0)
        memcpy(at, v.p, v.len);
    p->used += v.len;
    return (struct view){ at, v.len };
}

static void add_codes(struct said *p, struct view v)
{
    struct view code;

    v = keep(p, v);
    for (size_t from = 0, to; from <= v.len; from = to + 1) {
        const uint8_t *comma = from < v.len ? memchr(v.p + from, ',', v.len - from) : NULL;

        to = comma != NULL ? (size_t)(comma - v.p) : v.len;
        code = (struct view){ v.p + from, to - from };
        if (code.len > 0)
            packet_add(p, "code", code);
    }
}

static void add_word(struct said *p, struct view v)
{
    const uint8_t *eq = memchr(v.p, '=', v.len);
    char key[24];
    struct view value;

    if (eq == NULL || eq - v.p >= (ptrdiff_t)sizeof key)
        give_up("expected FIELD=VALUE, not %.*s", (int)v.len, (const char *)v.p);
    snprintf(key, sizeof key, "%.*s", (int)(eq - v.p), (const char *)v.p);
    value = (struct view){ eq + 1, v.len - (size_t)(eq + 1 - v.p) };
    if (strcmp(key, "codes") == 0) {
        add_codes(p, value);
    } else if (strcmp(key, "fill") == 0) {
        struct field f = { .key = "fill", .value = value };
        int64_t n = word_number(&f);

        if (n >= FILL_MAX)
            give_up("fill=%" PRId64 " is too much", n);
        packet_add(p, "payload", (struct view){ filler, (size_t)n });
    } else {
        packet_add(p, strcmp(key, "rc") == 0 ? "reason" : key, keep(p, value));
    }
}

/* The packet that the words from `at` on describe. */
static void read_packet(struct said *p, unsigned at)
{
    p->type = packet_type(word(at));
    p->count = 0;
    p->used = 0;
    if (p->type == 0)
        give_up("there is no packet \"%s\"", word(at));
    for (unsigned i = at + 1; i < run.words; i++)
        add_word(p, run.word[i].v);
}

static struct client *resolve(const char *name)
{
    struct client *c;

    for (unsigned i = 0; i < run.aliases; i++)
        if (strcmp(run.alias[i].name, name) == 0)
            return run.alias[i].client;
    c = client_get(name);
    if (c == NULL)
        give_up("too many clients");
    return c;
}

/* ---- sending ---- */

/* Pairs of digits and quoted texts; :: stands for the remaining length of all that follows. */
static struct view read_hex(unsigned at)
{
    static uint8_t out[FILL_MAX];
    size_t n = 0, mark = SIZE_MAX, head;
    struct writer w;
    uint8_t len[4];

    for (unsigned i = at; i < run.words; i++) {
        struct view v = run.word[i].v;

        if (is(i, "::")) {
            mark = n;
        } else if (run.word[i].quoted) {
            memcpy(out + n, v.p, v.len);
            n += v.len;
        } else {
            if (v.len % 2 != 0)
                give_up("%s: an odd number of digits", word(i));
            for (size_t k = 0; k < v.len; k += 2)
                out[n++] = (uint8_t)(hex_digit((char)v.p[k]) << 4 | hex_digit((char)v.p[k + 1]));
        }
    }
    if (mark == SIZE_MAX)
        return (struct view){ out, n };
    w = wr_make(len, sizeof len);
    wr_varint(&w, (uint32_t)(n - mark));
    head = (size_t)(w.p - len);
    memmove(out + mark + head, out + mark, n - mark);
    memcpy(out + mark, len, head);
    return (struct view){ out, n + head };
}

/* An acknowledgement without a packet id is for the packet that came last. */
static void default_pid(const struct client *c, struct said *p)
{
    char text[8];

    if (p->type < PKT_PUBACK || p->type > PKT_PUBCOMP || packet_field(p, "pid") != NULL)
        return;
    snprintf(text, sizeof text, "%u", c->last_pid);
    packet_add(p, "pid", keep(p, (struct view){ (const uint8_t *)text, strlen(text) }));
}

static void send_statement(struct client *c, bool hold)
{
    bool slowly = is(1, "bytewise");
    unsigned at = slowly ? 2 : 1;
    struct said *p = &group[0];
    struct view bytes;
    void *mine = NULL;

    if (is(at, "held")) {
        bytes = (struct view){ NULL, 0 };
    } else if (is(at, "hex")) {
        bytes = read_hex(at + 1);
    } else {
        read_packet(p, at);
        if (p->type == PKT_CONNECT)
            c->version = packet_field(p, "ver") != NULL ? (enum version)word_number(packet_field(p, "ver"))
                                                        : run.version;
        default_pid(c, p);
        bytes = packet_encode(p, c->version);
        mine = (void *)(uintptr_t)bytes.p;
    }
    if (slowly)
        client_send_slowly(c, bytes);
    else
        client_send(c, bytes, hold);
    if (mine != NULL)
        client_note(c, p);
    free(mine);
}

/* ---- expecting ---- */

static void describe_bytes(struct view raw, char *out, size_t cap)
{
    size_t n = 0;

    for (size_t i = 0; i < raw.len && i < 48 && n + 8 < cap; i++)
        n += (size_t)snprintf(out + n, cap - n, " %02x", raw.p[i]);
    snprintf(out + n, cap - n, "%s (%zu bytes)", raw.len > 48 ? " ..." : "", raw.len);
}

/* key=>name: any value, which {name} stands for from now on. */
static void capture(struct said *want, const struct said *got)
{
    char value[256];

    for (unsigned i = 0; i < want->count; i++) {
        struct field *w = &want->field[i];
        const struct field *g = packet_field(got, w->key);

        if (w->value.len < 2 || w->value.p[0] != '>' || g == NULL)
            continue;
        if (g->num >= 0)
            snprintf(value, sizeof value, "%" PRId64, g->num);
        else
            snprintf(value, sizeof value, "%.*s", (int)g->value.len, (const char *)g->value.p);
        snprintf(want->store + sizeof want->store - 32, 32, "%.*s", (int)w->value.len - 1, (const char *)w->value.p + 1);
        set_variable(want->store + sizeof want->store - 32, value);
        w->value = (struct view){ (const uint8_t *)"*", 1 };
    }
}

static bool fits(const struct said *want, const struct said *got)
{
    static struct said loose;

    loose = *want;
    for (unsigned i = 0; i < want->count; i++) {
        struct view *v = &loose.field[i].value;

        if (v->len > 1 && v->p[0] == '>')
            *v = (struct view){ (const uint8_t *)"*", 1 };
    }
    return packet_matches(&loose, got);
}

static void expect_packet(struct client *c, struct said *want)
{
    static struct said got;
    char expected[4096], came[4096], bytes[256];
    struct view raw;

    if (!client_receive(c, &got, &raw))
        give_up("expected %s, but %s was closed", packet_text(want, expected, sizeof expected), c->name);
    if (!fits(want, &got)) {
        describe_bytes(raw, bytes, sizeof bytes);
        give_up("expected %s\n    but %s got %s\n    as bytes:%s", packet_text(want, expected, sizeof expected), c->name,
             packet_text(&got, came, sizeof came), bytes);
    }
    capture(want, &got);
}

/* What was on its way stands before the answer to a ping. */
static void expect_nothing(struct client *c)
{
    static const uint8_t ping[] = { 0xC0, 0x00 };
    static struct said got;
    char came[4096];
    struct view raw;

    client_send(c, (struct view){ ping, sizeof ping }, false);
    if (!client_receive(c, &got, &raw))
        give_up("%s was closed", c->name);
    if (got.type != PKT_PINGRESP)
        give_up("expected nothing, but %s got %s", c->name, packet_text(&got, came, sizeof came));
}

static void expect_statement(struct client *c)
{
    if (is(1, "closed")) {
        client_expect_closed(c);
    } else if (is(1, "nothing")) {
        expect_nothing(c);
    } else {
        read_packet(&group[0], 1);
        expect_packet(c, &group[0]);
    }
}

/* ---- statements ---- */

static void load_line(unsigned n)
{
    static char expanded[2][LINE];
    const char *line = run.script->line[n];
    unsigned i = 0;

    run.line = n;
    if (line[strspn(line, " \t")] == '#')
        line = "";
    while (expand(line, expanded[i], LINE)) {
        line = expanded[i];
        i ^= 1;
    }
    split(expanded[i]);
}

/* One packet for each line, in whatever order they come. Returns the line behind the group. */
static unsigned run_any(unsigned from, unsigned to)
{
    static struct { struct client *client; unsigned line; bool done; } want[GROUP];
    static struct said got;
    char came[4096];
    unsigned n = 0, at;
    struct view raw;

    for (at = from + 1; at < to; at++) {
        load_line(at);
        if (is(0, "}"))
            break;
        if (run.words == 0)
            continue;
        if (n == GROUP || run.word[0].v.len < 2 || word(0)[run.word[0].v.len - 1] != '<')
            give_up("a group has lines CLIENT< PACKET");
        run.text[run.word[0].v.len - 1] = '\0';
        want[n].client = resolve(word(0));
        want[n].line = at;
        want[n].done = false;
        read_packet(&group[n++], 1);
    }
    for (unsigned i = 0; i < n; i++) {
        unsigned k;

        run.line = want[i].line;
        if (!client_receive(want[i].client, &got, &raw))
            give_up("%s was closed", want[i].client->name);
        for (k = 0; k < n; k++)
            if (want[k].client == want[i].client && !want[k].done && fits(&group[k], &got))
                break;
        if (k == n)
            give_up("%s got %s, which no line of the group expects", want[i].client->name,
                 packet_text(&got, came, sizeof came));
        want[k].done = true;
        capture(&group[k], &got);
    }
    return at + 1;
}

/* The indented lines behind a statement. Returns the line behind them. */
static unsigned read_block(unsigned from, unsigned to, char *out, size_t cap)
{
    unsigned at;
    size_t n = 0;

    out[0] = '\0';
    for (at = from + 1; at < to; at++) {
        const char *line = run.script->line[at];

        if (line[0] != ' ' && line[0] != '\t')
            break;
        n += (size_t)snprintf(out + n, cap - n, "%s\n", line + strspn(line, " \t"));
        if (n >= cap)
            give_up("the block is too long");
    }
    return at;
}

static void pause_ms(const char *text)
{
    char *end;
    long ms = strtol(text, &end, 10);
    uint64_t until = clock_ms() + (uint64_t)ms;

    if (ms <= 0 || ms > WIRE_WAIT_MS || strcmp(end, "ms") != 0)
        give_up("expected a time as in 1500ms");
    while (clock_ms() < until)
        broker_poll(-1, 0, until);
}

/* elapsed 1400..3000ms: since `clock`. */
static void check_elapsed(const char *text)
{
    char *end;
    long from = strtol(text, &end, 10), most;
    uint64_t ms = clock_ms() - run.clock;

    if (strncmp(end, "..", 2) != 0)
        give_up("expected FROM..TOms");
    most = strtol(end + 2, &end, 10);
    if (ms < (uint64_t)from || ms > (uint64_t)most)
        give_up("it took %" PRIu64 " ms", ms);
}

/* first B C is X Y: X is the one that has got something, Y the other. */
static void name_first(void)
{
    struct client *set[WORDS];
    unsigned n = 0, hit, at = 1;

    while (at < run.words && !is(at, "is"))
        set[n++] = resolve(word(at++));
    if (n == 0 || run.words != at + 1 + n)
        give_up("expected first A B ... is X Y ...");
    hit = client_first(set, n);
    for (unsigned i = 0, to = 1; i < n; i++) {
        unsigned slot = run.aliases, name = at + 1 + (i == hit ? 0 : to++);

        for (unsigned k = 0; k < run.aliases; k++)
            if (strcmp(run.alias[k].name, word(name)) == 0)
                slot = k;
        if (slot == sizeof run.alias / sizeof run.alias[0])
            give_up("too many names");
        if (slot == run.aliases)
            run.aliases++;
        snprintf(run.alias[slot].name, sizeof run.alias[slot].name, "%s", word(name));
        run.alias[slot].client = set[i];
    }
}

static void client_action(struct client *c)
{
    if (is(1, "close"))
        client_close(c, false);
    else if (is(1, "reset"))
        client_close(c, true);
    else if (is(1, "open"))
        client_send(c, (struct view){ NULL, 0 }, false);
    else if (is(1, "via"))
        snprintf(c->listener, sizeof c->listener, "%s", word(2));
    else if (is(1, "version"))
        c->version = (enum version)atoi(word(2));
    else
        give_up("a client can close, reset, open, via LISTENER, version N");
}

/* NAME> NAME>> NAME< NAME! */
static void client_statement(void)
{
    char name[24];
    size_t len = strcspn(word(0), "<>!");
    const char *what = word(0) + len;

    if (len == 0 || len >= sizeof name || *what == '\0')
        give_up("unknown statement");
    snprintf(name, sizeof name, "%.*s", (int)len, word(0));
    if (strcmp(what, ">") == 0 || strcmp(what, ">>") == 0)
        send_statement(resolve(name), what[1] == '>');
    else if (strcmp(what, "<") == 0)
        expect_statement(resolve(name));
    else if (strcmp(what, "!") == 0)
        client_action(resolve(name));
    else
        give_up("unknown statement");
}

static void log_statement(void)
{
    if (is(1, "contains"))
        broker_log_wait(word(2));
    else if (!is(1, "lacks"))
        give_up("expected log contains TEXT, or log lacks TEXT");
    else if (broker_log_has(word(2)))
        give_up("the log says it");
}

static void process_statement(void)
{
    if (is(0, "start"))
        broker_start();
    else if (is(0, "kill"))
        broker_kill();
    else if (is(0, "term"))
        broker_term();
    else if (is(0, "reload"))
        broker_reload();
    else if (is(0, "restart")) {
        broker_term();
        broker_start();
    }
}

static void run_lines(unsigned from, unsigned to);

/* for NAME FROM TO ... end. Returns the line behind it. */
static unsigned run_for(unsigned from, unsigned to)
{
    unsigned end, depth = 1;
    char name[24], text[16];
    long i = atol(word(2)), last = atol(word(3));

    snprintf(name, sizeof name, "%s", word(1));
    for (end = from + 1; end < to; end++) {
        const char *line = run.script->line[end] + strspn(run.script->line[end], " \t");

        depth += strncmp(line, "for ", 4) == 0;
        depth -= strcmp(line, "end") == 0;
        if (depth == 0)
            break;
    }
    if (depth != 0)
        give_up("no end for this for");
    for (; i <= last; i++) {
        snprintf(text, sizeof text, "%ld", i);
        set_variable(name, text);
        run_lines(from + 1, end);
    }
    return end + 1;
}

/* Runs one statement; returns the line of the next. */
static unsigned run_statement(unsigned at, unsigned to)
{
    static char block[16384];
    char name[64];

    load_line(at);
    if (run.words == 0 || is(0, "each"))
        return at + 1;
    if (is(0, "config")) {
        at = read_block(at, to, block, sizeof block);
        broker_config(block);
        return at;
    }
    if (is(0, "file")) {
        snprintf(name, sizeof name, "%s", word(1));
        at = read_block(at, to, block, sizeof block);
        broker_file(name, block);
        return at;
    }
    if (is(0, "any"))
        return run_any(at, to);
    if (is(0, "for"))
        return run_for(at, to);
    if (is(0, "wait"))
        pause_ms(word(1));
    else if (is(0, "clock"))
        run.clock = clock_ms();
    else if (is(0, "elapsed"))
        check_elapsed(word(1));
    else if (is(0, "first"))
        name_first();
    else if (is(0, "log"))
        log_statement();
    else if (is(0, "start") || is(0, "kill") || is(0, "term") || is(0, "reload") || is(0, "restart"))
        process_statement();
    else
        client_statement();
    return at + 1;
}

static void run_lines(unsigned from, unsigned to)
{
    while (from < to)
        from = run_statement(from, to);
}

void script_run(const struct script *s, unsigned from, unsigned to, enum version ver)
{
    char text[8];

    memset(filler, 'x', sizeof filler - 1);
    run.script = s;
    run.version = ver;
    run.line = from > 0 ? from - 1 : 0;
    snprintf(text, sizeof text, "%d", (int)ver);
    set_variable("ver", text);
    broker_config("");
    run_lines(from, to);
    if (broker_running())
        broker_term();
    broker_drop();
}
