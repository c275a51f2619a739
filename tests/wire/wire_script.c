/* The statements of a conversation. README.txt has them all.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/wire/wire.h"

#include <inttypes.h>
#include <stdarg.h>

enum { GROUP = 128 };

static struct {
    const struct script *script;
    unsigned line;                      /* the one that runs */
    enum version version;
    uint64_t clock;
    unsigned aliases;
    struct { char name[24]; struct client *client; } alias[8];
} run;

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

/* ---- sending ---- */

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

/* An acknowledgement without a packet id is for the packet that came last. */
static void default_pid(const struct client *c, struct said *p)
{
    char text[8];

    if (p->type < PKT_PUBACK || p->type > PKT_PUBCOMP || packet_field(p, "pid") != NULL)
        return;
    snprintf(text, sizeof text, "%u", c->last_pid);
    packet_add(p, "pid", packet_keep(p, (struct view){ (const uint8_t *)text, strlen(text) }));
}

static void send_statement(struct client *c, bool hold)
{
    bool slowly = word_is(1, "bytewise");
    unsigned at = slowly ? 2 : 1;
    struct said *p = &group[0];
    struct view bytes;
    void *mine = NULL;

    if (word_is(at, "held")) {
        bytes = (struct view){ NULL, 0 };
    } else if (word_is(at, "hex")) {
        bytes = words_hex(at + 1);
    } else {
        words_packet(p, at);
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
    char value[256], name[24];

    for (unsigned i = 0; i < want->count; i++) {
        struct field *w = &want->field[i];
        const struct field *g = packet_field(got, w->key);

        if (w->value.len < 2 || w->value.p[0] != '>' || g == NULL)
            continue;
        if (g->num >= 0)
            snprintf(value, sizeof value, "%" PRId64, g->num);
        else
            snprintf(value, sizeof value, "%.*s", (int)g->value.len, (const char *)g->value.p);
        snprintf(name, sizeof name, "%.*s", (int)w->value.len - 1, (const char *)w->value.p + 1);
        words_set(name, value);
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
        give_up("expected %s\n    but %s got %s\n    as bytes:%s", packet_text(want, expected, sizeof expected),
                c->name, packet_text(&got, came, sizeof came), bytes);
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
    if (word_is(1, "closed")) {
        client_expect_closed(c);
    } else if (word_is(1, "nothing")) {
        expect_nothing(c);
    } else {
        words_packet(&group[0], 1);
        expect_packet(c, &group[0]);
    }
}

/* ---- statements ---- */

static void load_line(unsigned n)
{
    run.line = n;
    words_load(run.script->line[n]);
}

/* The client that a line begins with. what: <, >, >> or !. */
static struct client *addressee(const char **what)
{
    char name[24];
    size_t len = strcspn(word(0), "<>!");

    *what = word(0) + len;
    if (len == 0 || len >= sizeof name || **what == '\0')
        give_up("unknown statement");
    snprintf(name, sizeof name, "%.*s", (int)len, word(0));
    return resolve(name);
}

/* One packet for each line, in whatever order they come. Returns the line behind the group. */
static unsigned run_any(unsigned from, unsigned to)
{
    static struct { struct client *client; unsigned line; bool done; } want[GROUP];
    static struct said got;
    char came[4096];
    unsigned n = 0, at;
    struct view raw;
    const char *what;

    for (at = from + 1; at < to; at++) {
        load_line(at);
        if (word_is(0, "}"))
            break;
        if (words_count() == 0)
            continue;
        if (n == GROUP)
            give_up("the group is too large");
        want[n].client = addressee(&what);
        if (strcmp(what, "<") != 0)
            give_up("a group has lines CLIENT< PACKET");
        want[n].line = at;
        want[n].done = false;
        words_packet(&group[n++], 1);
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
    struct client *set[GROUP];
    unsigned n = 0, hit, at = 1;

    while (at < words_count() && !word_is(at, "is"))
        set[n++] = resolve(word(at++));
    if (n == 0 || words_count() != at + 1 + n)
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
    if (word_is(1, "close"))
        client_close(c, false);
    else if (word_is(1, "reset"))
        client_close(c, true);
    else if (word_is(1, "open"))
        client_send(c, (struct view){ NULL, 0 }, false);
    else if (word_is(1, "via"))
        snprintf(c->listener, sizeof c->listener, "%s", word(2));
    else if (word_is(1, "version"))
        c->version = (enum version)atoi(word(2));
    else
        give_up("a client can close, reset, open, via LISTENER, version N");
}

static void client_statement(void)
{
    const char *what;
    struct client *c = addressee(&what);

    if (strcmp(what, ">") == 0 || strcmp(what, ">>") == 0)
        send_statement(c, what[1] == '>');
    else if (strcmp(what, "<") == 0)
        expect_statement(c);
    else if (strcmp(what, "!") == 0)
        client_action(c);
    else
        give_up("unknown statement");
}

static void log_statement(void)
{
    if (word_is(1, "contains"))
        broker_log_wait(word(2));
    else if (!word_is(1, "lacks"))
        give_up("expected log contains TEXT, or log lacks TEXT");
    else if (broker_log_has(word(2)))
        give_up("the log says it");
}

/* false: it is something else. */
static bool process_statement(void)
{
    static const struct { const char *name; void (*run)(void); } statements[] = {
        { "start", broker_start }, { "kill", broker_kill }, { "term", broker_term }, { "restart", broker_restart },
        { "reload", broker_reload },
    };

    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++)
        if (word_is(0, statements[i].name)) {
            statements[i].run();
            return true;
        }
    return false;
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
        words_set(name, text);
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
    if (words_count() == 0 || word_is(0, "each"))
        return at + 1;
    if (word_is(0, "config")) {
        at = read_block(at, to, block, sizeof block);
        broker_config(block);
        return at;
    }
    if (word_is(0, "file")) {
        snprintf(name, sizeof name, "%s", word(1));
        at = read_block(at, to, block, sizeof block);
        broker_file(name, block);
        return at;
    }
    if (word_is(0, "any"))
        return run_any(at, to);
    if (word_is(0, "for"))
        return run_for(at, to);
    if (word_is(0, "wait"))
        pause_ms(word(1));
    else if (word_is(0, "clock"))
        run.clock = clock_ms();
    else if (word_is(0, "elapsed"))
        check_elapsed(word(1));
    else if (word_is(0, "first"))
        name_first();
    else if (word_is(0, "log"))
        log_statement();
    else if (!process_statement())
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

    run.script = s;
    run.version = ver;
    run.line = from > 0 ? from - 1 : 0;
    snprintf(text, sizeof text, "%d", (int)ver);
    words_set("ver", text);
    broker_config("");
    run_lines(from, to);
    if (broker_running())
        broker_term();
    broker_drop();
}
