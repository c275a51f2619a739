/* Writers: they send while their window allows, keep what is not acknowledged, and send it again after a reconnect, in
 * order [MQTT-4.4.0-1]. Two of them have no session, and forget what was not acknowledged. Packet ids are few, so that
 * they come round again soon.
 *
 * QoS 1: PUBLISHED -PUBACK-> free    QoS 2: PUBLISHED -PUBREC-> RELEASED -PUBCOMP-> free
 * QoS 0 counts as acknowledged when something that was sent behind it on the same connection is.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/soak/soak.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { IDS = 60, LOOSE_MAX = 64, PAYLOAD_MAX = 1 << 18, ALIASES_MAX = 10 };

struct flight {
    bool released;
    uint16_t pid;
    unsigned stream;
    uint32_t number;
    uint64_t sent;                      /* on this connection: model time */
};

struct writer_client {
    struct link l;                      /* first: a link is its writer */
    unsigned index, window, first_stream;
    bool clean, was_up;
    struct flight flights[WINDOW_MAX];  /* oldest first */
    unsigned count;
    struct flight loose[LOOSE_MAX];     /* QoS 0 on this connection, oldest first */
    unsigned loose_count;
    uint16_t last_pid;
    bool alias_set[ALIASES_MAX + 1];
};

static struct writer_client writers[WRITERS];
static uint8_t payload[PAYLOAD_MAX];
static uint64_t budget_ms;
static double budget;                   /* messages that may be sent now */

/* ---- out ---- */

/* Topic aliases 1.. stand for the kinds of stream; true: the topic can be left out. */
static bool use_alias(struct writer_client *w, const struct flight *f, bool dup, struct writer *props)
{
    unsigned alias = f->stream - w->first_stream + 1;
    bool known;

    if (w->l.version != MQTT_50 || alias > w->l.server_aliases || alias > ALIASES_MAX || dup || chance(3))
        return false;
    known = w->alias_set[alias] && !chance(4);
    w->alias_set[alias] = true;
    props_write_num(props, PROP_TOPIC_ALIAS, alias);
    return known;
}

static void put_publish(struct writer_client *w, struct flight *f, bool dup)
{
    const struct stream *s = &streams[f->stream];
    const struct message *m = model_message(f->stream, f->number);
    uint8_t raw[16];
    struct writer props = wr_make(raw, sizeof raw), out;
    struct publish_out p = {
        .version = w->l.version, .dup = dup, .retain = s->kind->kept, .qos = s->kind->qos, .packet_id = f->pid,
        .topic = { (const uint8_t *)s->topic, strlen(s->topic) }, .payload_len = m->len,
    };

    if (use_alias(w, f, dup, &props))
        p.topic.len = 0;
    if (m->expiry_s > 0)
        props_write_num(&props, PROP_MESSAGE_EXPIRY, m->expiry_s);
    p.props = (struct view){ raw, (size_t)(props.p - raw) };
    model_payload(f->stream, f->number, payload);
    out = link_stage(&w->l, publish_size(&p));
    publish_head_encode(&p, &out);
    wr_bytes(&out, payload, m->len);
    f->sent = model_tick();
    note(w->l.id, "PUBLISH %s %" PRIu32 " pid=%u len=%" PRIu32 "%s%s", s->topic, f->number, f->pid, m->len,
         dup ? " dup" : "", m->removes ? " removes" : "");
}

static bool pid_taken(const struct writer_client *w, uint16_t pid)
{
    for (unsigned i = 0; i < w->count; i++)
        if (w->flights[i].pid == pid)
            return true;
    return false;
}

static unsigned choose_kind(const struct writer_client *w)
{
    unsigned sum = 0, k = 0, at;

    for (unsigned i = 0; i < KINDS; i++)
        sum += streams[w->first_stream + i].kind->weight;
    at = rnd(sum);
    while (at >= streams[w->first_stream + k].kind->weight)
        at -= streams[w->first_stream + k++].kind->weight;
    /* Only 5.0 has an expiry. */
    return streams[w->first_stream + k].kind->fades && w->l.version != MQTT_50 ? 1 : k;
}

static void publish_new(struct writer_client *w)
{
    struct flight f = { .stream = w->first_stream + choose_kind(w) };

    f.number = model_send(f.stream);
    model_owe(f.stream, f.number);
    if (streams[f.stream].kind->qos > 0) {
        do
            w->last_pid = (uint16_t)(w->last_pid % IDS + 1);
        while (pid_taken(w, w->last_pid));
        f.pid = w->last_pid;
    }
    put_publish(w, &f, false);
    if (f.pid != 0)
        w->flights[w->count++] = f;
    else if (w->loose_count < LOOSE_MAX)
        w->loose[w->loose_count++] = f;
}

static void resend(struct writer_client *w)
{
    for (unsigned i = 0; i < w->count; i++) {
        struct flight *f = &w->flights[i];
        if (f->released) {
            note(w->l.id, "PUBREL %s %" PRIu32 " pid=%u again", streams[f->stream].topic, f->number, f->pid);
            link_ack(&w->l, PKT_PUBREL, f->pid);
            f->sent = model_tick();
        } else {
            model_resend(f->stream, f->number);
            put_publish(w, f, true);
        }
    }
    link_write(&w->l);
}

/* ---- in ---- */

static void loose_arrived(struct writer_client *w, uint64_t before)
{
    unsigned n = 0;

    while (n < w->loose_count && w->loose[n].sent < before)
        n++;
    for (unsigned i = 0; i < n; i++)
        model_acked(w->loose[i].stream, w->loose[i].number);
    w->loose_count -= n;
    memmove(w->loose, w->loose + n, w->loose_count * sizeof w->loose[0]);
}

static bool wanted(unsigned stream, uint32_t number)
{
    for (unsigned i = 0; i < PARTIES; i++)
        if (model_message(stream, number)->due[i].must)
            return true;
    return false;
}

static void check_ack(const struct writer_client *w, const struct flight *f, unsigned type, enum reason reason)
{
    /* A PUBREL that is sent again may find its work done [MQTT5-3.6.2.1]. */
    if (reason >= 0x80 && !(type == PKT_PUBCOMP && reason == R_PACKET_ID_NOT_FOUND))
        fail_about(w->l.id, NULL, "%s: message %s %" PRIu32 " was refused: %s", w->l.id, streams[f->stream].topic,
                   f->number, reason_text(reason));
    if (reason == R_NO_MATCHING_SUBSCRIBERS && wanted(f->stream, f->number))
        fail_about(w->l.id, NULL, "%s: message %s %" PRIu32 " was said to match no subscription", w->l.id,
                   streams[f->stream].topic, f->number);
}

static void on_ack(struct writer_client *w, struct frame f)
{
    struct ack a;
    enum reason r = ack_decode(f.head, f.body, w->l.version, &a);
    struct flight *t = NULL;
    unsigned type = frame_type(f.head);

    for (unsigned i = 0; r == R_OK && i < w->count; i++)
        if (w->flights[i].pid == a.packet_id)
            t = &w->flights[i];
    if (t == NULL || streams[t->stream].kind->qos != (type == PKT_PUBACK ? 1 : 2) ||
        (type == PKT_PUBCOMP && !t->released))
        fail_about(w->l.id, NULL, "%s: %s for packet id %u, which waits for none", w->l.id, packet_name(type),
                   r == R_OK ? a.packet_id : 0);
    check_ack(w, t, type, a.reason);
    note(w->l.id, "%s %s %" PRIu32 " pid=%u", packet_name(type), streams[t->stream].topic, t->number, t->pid);
    if (type != PKT_PUBCOMP)
        loose_arrived(w, t->sent);
    if (type == PKT_PUBREC) {
        link_promised(&w->l);
        link_ack(&w->l, PKT_PUBREL, t->pid);
    }
    if (!t->released)
        model_acked(t->stream, t->number);
    t->released = true;
    if (type == PKT_PUBREC)
        return;
    w->count--;
    memmove(t, t + 1, (size_t)(&w->flights[w->count] - t) * sizeof *t);
}

static void on_packet(struct link *l, struct frame f)
{
    struct writer_client *w = (struct writer_client *)l;

    switch (frame_type(f.head)) {
    case PKT_CONNACK:
        note(l->id, "CONNACK present=%d", l->present);
        totals.connects++;
        resend(w);
        break;
    case PKT_PUBACK:
    case PKT_PUBREC:
    case PKT_PUBCOMP:
        on_ack(w, f);
        break;
    case PKT_DISCONNECT: /* 5.0: the broker stops */
        note(l->id, "DISCONNECT from the broker");
        break;
    default:
        fail_about(l->id, NULL, "%s: a writer got %s", l->id, packet_name(frame_type(f.head)));
    }
}

/* ---- life ---- */

void writers_init(void)
{
    static const enum version versions[WRITERS] = { MQTT_311, MQTT_50, MQTT_311, MQTT_31, MQTT_50, MQTT_50, MQTT_311,
                                                    MQTT_50 };

    for (unsigned i = 0; i < WRITERS; i++) {
        struct writer_client *w = &writers[i];
        w->index = i;
        w->first_stream = i * KINDS;
        link_init(&w->l, versions[i], on_packet, "writer-%u", i);
        w->clean = i >= WRITERS - 2;
        w->window = 1 + rnd(WINDOW_MAX);
    }
}

void writers_free(void)
{
    for (unsigned i = 0; i < WRITERS; i++)
        link_fini(&writers[i].l);
}

unsigned writers_links(struct link **out)
{
    for (unsigned i = 0; i < WRITERS; i++)
        out[i] = &writers[i].l;
    return WRITERS;
}

/* The connection may have gone. */
static void notice(struct writer_client *w)
{
    if (!w->was_up || w->l.fd >= 0)
        return;
    note(w->l.id, "connection gone, %u not acknowledged", w->count);
    w->was_up = false;
    w->loose_count = 0;
    memset(w->alias_set, 0, sizeof w->alias_set);
    if (w->clean)
        w->count = 0;
}

static void come(struct writer_client *w, uint16_t port)
{
    link_connect(&w->l, port, w->clean, !w->clean);
    w->was_up = w->l.fd >= 0;
    w->window = 1 + rnd(WINDOW_MAX);
    note(w->l.id, "CONNECT clean=%d", w->clean);
}

/* Some leave in the middle of a packet. */
static void go(struct writer_client *w, uint16_t port)
{
    unsigned how = rnd(5);

    note(w->l.id, "leaves, way %u", how);
    if (how == 0) {
        totals.takeovers++;
        ghost_take(&w->l);
        notice(w);
        come(w, port);
    } else if (how == 1) {
        link_leave(&w->l, true);
    } else {
        totals.cuts++;
        link_cut(&w->l, rnd((uint32_t)w->l.out.len + 1), how == 2);
    }
    notice(w);
}

static void act(struct writer_client *w, uint16_t port)
{
    unsigned window = w->window < w->l.server_max ? w->window : w->l.server_max;

    for (unsigned burst = 1 + rnd(6); burst > 0 && budget >= 1 && w->count < window; burst--) {
        publish_new(w);
        budget--;
    }
    if (chance(300) && port != 0)
        go(w, port);
    link_write(&w->l);
    w->l.next_ms = now_ms() + rnd(30);
}

void writers_act(uint16_t port, bool load, unsigned rate)
{
    uint64_t now = now_ms();

    budget += (double)(now - budget_ms) * rate / 1000;
    if (budget > rate / 4.0 + 1 || budget_ms == 0)
        budget = rate / 4.0 + 1;
    budget_ms = now;
    for (unsigned n = 0, i = rnd(WRITERS); n < WRITERS; n++, i = (i + 1) % WRITERS) {
        struct writer_client *w = &writers[i];

        notice(w);
        link_write(&w->l);
        if (now < w->l.next_ms)
            continue;
        if (w->l.fd < 0 && port != 0)
            come(w, port);
        else if (w->l.up && load && !readers_behind())
            act(w, port);
    }
}

bool writers_done(void)
{
    for (unsigned i = 0; i < WRITERS; i++)
        if (!writers[i].l.up || writers[i].count > 0)
            return false;
    return true;
}
