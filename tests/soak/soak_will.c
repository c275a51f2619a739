/* Clients with a will. Each connection brings a new one: a message whose number is known before anybody sends it. It
 * comes due when the connection ends without DISCONNECT, after its delay; it is cancelled by DISCONNECT, or by a return
 * within the delay. The eye, a reader that is always there, says whether it came in time.
 *
 * ARMED -end-> due -in time-> gone         ARMED -DISCONNECT-> LEAVING -closed by the broker-> forbidden
 *                 -return-> forbidden            -nobody knows-> may come or not
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/soak/soak.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    EARLY_MS = 300,         /* the clocks of two processes, and the grain of a timer */
    LATE_MS = 3000,         /* a machine with other work */
    UNSTORED_MS = 5000,     /* what changed so shortly before a kill may not be in the store */
};

enum state { NONE, ARMED, LEAVING };

enum { DUE_MAX = 4 };

/* A will that comes. */
struct due_will {
    uint32_t number;
    uint32_t delay_s;
    uint64_t due_ms, late_ms;           /* it comes in between; late 0: when the broker is back */
    bool returns;                       /* its client is coming back in time */
};

struct willer {
    struct link l;                      /* first: a link is its willer */
    unsigned stream;
    bool clean;
    enum state state;                   /* of the connection's will */
    uint32_t number, delay_s;
    struct due_will due[DUE_MAX];
    unsigned due_count;
    uint64_t cancelled_ms;              /* the newest that was forbidden */
    uint32_t cancelled;
    uint64_t act_ms;
};

static struct willer willers[WILLERS];
static uint8_t payload[512];

static struct message *will_of(const struct willer *w, uint32_t number)
{
    return model_message(w->stream, number);
}

/* ---- what becomes of it ---- */

static void forbid(struct willer *w, uint32_t number)
{
    will_of(w, number)->forbidden = true;
    w->cancelled = number;
    w->cancelled_ms = now_ms();
    note(w->l.id, "will %" PRIu32 " cancelled", number);
}

static void unsure(struct willer *w)
{
    w->state = NONE;
    note(w->l.id, "will %" PRIu32 " may come or not", w->number);
}

/* The connection's will comes, some time from now on. */
static void fire(struct willer *w, uint64_t delay_ms)
{
    struct message *m = will_of(w, w->number);
    uint64_t at = now_ms() + delay_ms;

    if (w->due_count == DUE_MAX) {
        unsure(w);
        return;
    }
    m->first_sent = m->last_sent = model_tick();
    m->first_ms = m->last_ms = now_ms();
    model_owe(w->stream, w->number);
    w->due[w->due_count++] = (struct due_will){ w->number, w->delay_s, at, at + LATE_MS, false };
    w->state = NONE;
    totals.wills++;
    note(w->l.id, "will %" PRIu32 " due in %" PRIu64 " ms", w->number, delay_ms);
}

static void drop_due(struct willer *w, unsigned i)
{
    w->due[i] = w->due[--w->due_count];
}

/* The session ends with the connection, and its will does not wait for longer than that. */
static uint64_t delay_ms(const struct willer *w)
{
    return w->l.lasting ? w->delay_s * 1000 : 0;
}

void will_seen(unsigned stream, uint32_t number, bool dup)
{
    struct willer *w = &willers[stream - WRITERS * KINDS];

    for (unsigned i = 0; i < w->due_count; i++) {
        const struct due_will *d = &w->due[i];

        if (d->number != number || dup)
            continue;
        if (now_ms() + EARLY_MS < d->due_ms)
            fail_about(w->l.id, "eye", "%s: will %" PRIu32 " came %" PRIu64 " ms too early", w->l.id, number,
                       d->due_ms - now_ms());
        if (d->late_ms != 0 && now_ms() > d->late_ms)
            fail_about(w->l.id, "eye", "%s: will %" PRIu32 " came %" PRIu64 " ms too late", w->l.id, number,
                       now_ms() - d->late_ms);
    }
}

/* The time is over. Whoever was owed it and has not got it misses it at the next calm. */
static void settle(struct willer *w)
{
    for (unsigned i = w->due_count; i-- > 0;)
        if (w->due[i].late_ms != 0 && now_ms() > w->due[i].late_ms) {
            if (!w->due[i].returns)
                model_acked(w->stream, w->due[i].number);
            drop_due(w, i);
        }
}

/* ---- connections ---- */

/* The broker has taken the client in again before the delay was over. */
static void returned(struct willer *w)
{
    for (unsigned i = w->due_count; i-- > 0;)
        if (w->due[i].returns && now_ms() + EARLY_MS < w->due[i].due_ms) {
            forbid(w, w->due[i].number);
            drop_due(w, i);
        }
}

static void on_packet(struct link *l, struct frame f)
{
    struct willer *w = (struct willer *)l;

    switch (frame_type(f.head)) {
    case PKT_CONNACK:
        note(l->id, "CONNACK present=%d", l->present);
        totals.connects++;
        returned(w);
        w->state = ARMED;
        break;
    case PKT_DISCONNECT:
        break;
    default:
        fail_about(l->id, NULL, "%s: a client with a will got %s", l->id, packet_name(frame_type(f.head)));
    }
}

static void hello(struct willer *w, uint16_t port)
{
    uint8_t raw[8], will_raw[8];
    struct writer props = wr_make(raw, sizeof raw), will_props = wr_make(will_raw, sizeof will_raw);
    const struct stream *s = &streams[w->stream];
    bool lasting = !w->clean;
    struct connect c = {
        .clean_start = w->clean, .keepalive_s = 0, .has_will = true, .will_qos = s->kind->qos,
        .will_topic = { (const uint8_t *)s->topic, strlen(s->topic) },
    };

    w->delay_s = w->l.version == MQTT_50 && chance(2) ? 1 + rnd(4) : 0;
    w->number = model_send(w->stream);
    model_payload(w->stream, w->number, payload);
    c.will_payload = (struct view){ payload, will_of(w, w->number)->len };
    if (w->l.version == MQTT_50 && lasting)
        props_write_num(&props, PROP_SESSION_EXPIRY, 60);
    if (w->delay_s > 0)
        props_write_num(&will_props, PROP_WILL_DELAY, w->delay_s);
    c.props.raw = (struct view){ raw, (size_t)(props.p - raw) };
    c.will_props.raw = (struct view){ will_raw, (size_t)(will_props.p - will_raw) };
    w->state = NONE;
    note(w->l.id, "CONNECT will=%" PRIu32 " delay_s=%" PRIu32 " clean=%d", w->number, w->delay_s, w->clean);
    link_hello(&w->l, port, &c, lasting);
    w->act_ms = now_ms() + 200 + rnd(4000);
}

/* Mostly when it is known what became of the will before; or early, so that it is cancelled. */
static void come(struct willer *w, uint16_t port)
{
    for (unsigned i = 0; i < w->due_count; i++)
        if (w->clean || w->due[i].late_ms == 0 || now_ms() + 2 * EARLY_MS > w->due[i].due_ms)
            return;
    for (unsigned i = 0; i < w->due_count; i++) {
        note(w->l.id, "returns before will %" PRIu32, w->due[i].number);
        w->due[i].returns = true;
    }
    hello(w, port);
}

/* A second connection under the same id: the first one's will comes, unless it waits for the return that this is. */
static void taken_over(struct willer *w, uint16_t port)
{
    note(w->l.id, "is taken over");
    totals.takeovers++;
    if (w->delay_s == 0 || w->clean)
        fire(w, 0);
    else
        unsure(w);
    ghost_take(&w->l);
    hello(w, port);
}

static void leave(struct willer *w, uint16_t port)
{
    const struct view none = { NULL, 0 };
    struct writer out;
    unsigned how = rnd(5);

    if (how == 0) {
        taken_over(w, port);
    } else if (how == 1) {          /* the will is forgotten: certain once the broker closes */
        out = link_stage(&w->l, disconnect_size(w->l.version, R_OK, none));
        disconnect_encode(w->l.version, R_OK, none, &out);
        link_write(&w->l);
        w->state = LEAVING;
        note(w->l.id, "DISCONNECT");
    } else if (how == 2 && w->l.version == MQTT_50) {
        out = link_stage(&w->l, disconnect_size(w->l.version, R_DISCONNECT_WITH_WILL, none));
        disconnect_encode(w->l.version, R_DISCONNECT_WITH_WILL, none, &out);
        fire(w, delay_ms(w));
        link_cut(&w->l, SIZE_MAX, false);
    } else {
        totals.cuts++;
        fire(w, delay_ms(w));
        link_cut(&w->l, 0, how == 3);
    }
    w->l.next_ms = now_ms() + rnd(3000);
}

static void cancelled(struct willer *w)
{
    forbid(w, w->number);
    w->state = NONE;
}

static void act(struct willer *w, uint16_t port, bool load)
{
    settle(w);
    link_write(&w->l);
    if (w->l.fd < 0 && w->state == LEAVING)
        cancelled(w);
    if (port == 0)
        return;
    if (w->l.fd < 0) {
        w->l.up = false;
        if (load && now_ms() >= w->l.next_ms)
            come(w, port);
    } else if (w->state == ARMED && (now_ms() >= w->act_ms || !load)) {
        leave(w, port);
    }
}

/* ---- all of them ---- */

void willers_init(void)
{
    for (unsigned i = 0; i < WILLERS; i++) {
        struct willer *w = &willers[i];
        w->stream = WRITERS * KINDS + i;
        link_init(&w->l, i < 4 ? MQTT_50 : MQTT_311, on_packet, "willer-%u", i);
        w->clean = i % 4 == 3;
    }
}

void willers_free(void)
{
    for (unsigned i = 0; i < WILLERS; i++)
        link_fini(&willers[i].l);
}

unsigned willers_links(struct link **out)
{
    for (unsigned i = 0; i < WILLERS; i++)
        out[i] = &willers[i].l;
    return WILLERS;
}

void willers_act(uint16_t port, bool load)
{
    for (unsigned i = 0; i < WILLERS; i++)
        act(&willers[i], port, load);
}

bool willers_done(void)
{
    for (unsigned i = 0; i < WILLERS; i++)
        if (willers[i].l.fd >= 0 || willers[i].state != NONE || willers[i].due_count > 0)
            return false;
    return true;
}

/* A kill: the will of a session in the store is published after the next start, with its delay. One that was cancelled,
 * or published, just before may come (again). */
static void killed(struct willer *w)
{
    uint64_t now = now_ms();

    if (w->cancelled_ms != 0 && now - w->cancelled_ms < UNSTORED_MS && w->cancelled >= streams[w->stream].base)
        will_of(w, w->cancelled)->forbidden = false;
    for (unsigned i = w->due_count; i-- > 0;) {
        will_of(w, w->due[i].number)->again = true;
        w->due[i].late_ms = 0;
        w->due[i].returns = false;
        if (w->l.lasting)
            continue;
        note(w->l.id, "will %" PRIu32 " may come or not", w->due[i].number);
        drop_due(w, i);
    }
    if (w->state == ARMED && w->l.lasting)
        fire(w, 0);
    else if (w->state != NONE)
        unsure(w);
}

/* In order: every connection ends without DISCONNECT, some time after the broker was told. */
static void stopped(struct willer *w, uint64_t told_ms)
{
    unsigned n = w->due_count;

    if (w->state == ARMED)
        fire(w, delay_ms(w));
    if (w->due_count > n)
        w->due[n].due_ms -= now_ms() - told_ms;
    else if (w->state != NONE)
        unsure(w);
}

void willers_ending(bool is_kill, uint64_t told_ms)
{
    for (unsigned i = 0; i < WILLERS; i++) {
        struct willer *w = &willers[i];

        if (is_kill)
            killed(w);
        else
            stopped(w, told_ms);
        for (unsigned k = 0; k < w->due_count; k++)
            w->due[k].late_ms = 0;
    }
}

void willers_started(void)
{
    for (unsigned i = 0; i < WILLERS; i++)
        for (unsigned k = 0; k < willers[i].due_count; k++) {
            struct due_will *d = &willers[i].due[k];
            uint64_t from = d->due_ms > now_ms() ? d->due_ms : now_ms();

            if (d->late_ms == 0)
                d->late_ms = from + d->delay_s * 1000 + 2 * LATE_MS;
        }
}
