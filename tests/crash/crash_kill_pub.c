/* Publishers: they send while their window allows, keep what is not acknowledged, and send it again after a reconnect,
 * in order, as [MQTT-4.4.0-1] has it. Packet ids are few, so that they come round again soon.
 *
 * QoS 1: PUBLISHED -PUBACK-> free    QoS 2: PUBLISHED -PUBREC-> RELEASED -PUBCOMP-> free
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/crash/crash_kill.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { WINDOW_MAX = 30, IDS = 50, PER_ROUND = 150 };

struct flight {
    bool released;
    uint16_t pid;
    unsigned stream;
    uint32_t number;
};

struct publisher {
    struct link l;                      /* first: a link is its publisher */
    unsigned window;
    unsigned budget;                    /* messages it may still send in this round */
    struct flight flights[WINDOW_MAX];  /* oldest first */
    unsigned count;
    uint16_t last_pid;
};

static struct publisher publishers[PUBLISHERS];

struct link *publisher_link(unsigned i)
{
    return &publishers[i].l;
}

/* ---- out ---- */

static void put_publish(struct link *l, unsigned stream, uint32_t number, uint16_t pid, bool dup)
{
    const struct stream *s = &streams[stream];
    char payload[32768];
    struct publish_out p = {
        .version = l->version, .dup = dup, .retain = s->kept, .qos = s->qos, .packet_id = pid,
        .topic = { (const uint8_t *)s->topic, strlen(s->topic) },
    };
    struct writer w;

    p.payload_len = model_payload(stream, number, payload, sizeof payload);
    w = link_stage(l, publish_size(&p));
    publish_head_encode(&p, &w);
    wr_bytes(&w, payload, p.payload_len);
}

static bool pid_taken(const struct publisher *p, uint16_t pid)
{
    for (unsigned i = 0; i < p->count; i++)
        if (p->flights[i].pid == pid)
            return true;
    return false;
}

static void publish_new(struct publisher *p, unsigned index)
{
    unsigned stream = index * (LOAD_STREAMS + KEPT_STREAMS) + rnd(LOAD_STREAMS + KEPT_STREAMS);
    uint8_t want[SUBSCRIBERS];
    struct flight f = { .stream = stream };

    subscribers_want(stream, want);
    f.number = model_send(stream, want);
    if (streams[stream].qos > 0) {
        do
            p->last_pid = (uint16_t)(p->last_pid % IDS + 1);
        while (pid_taken(p, p->last_pid));
        f.pid = p->last_pid;
        p->flights[p->count++] = f;
    }
    put_publish(&p->l, stream, f.number, f.pid, false);
    p->budget--;
}

static void resend(struct publisher *p)
{
    for (unsigned i = 0; i < p->count; i++) {
        const struct flight *f = &p->flights[i];
        if (f->released) {
            link_ack(&p->l, PKT_PUBREL, f->pid);
        } else {
            model_resend(f->stream, f->number);
            put_publish(&p->l, f->stream, f->number, f->pid, true);
        }
    }
    link_write(&p->l);
}

/* ---- in ---- */

static void on_ack(struct publisher *p, struct frame f)
{
    struct ack a;
    enum reason r = ack_decode(f.head, f.body, p->l.version, &a);
    struct flight *t = NULL;
    unsigned type = frame_type(f.head);

    for (unsigned i = 0; r == R_OK && i < p->count; i++)
        if (p->flights[i].pid == a.packet_id)
            t = &p->flights[i];
    if (t == NULL || streams[t->stream].qos != (type == PKT_PUBACK ? 1 : 2) || (type == PKT_PUBCOMP && !t->released)) {
        model_fail("%s: %s for packet id %u, which does not wait for one", p->l.id, packet_name(type),
                   r == R_OK ? a.packet_id : 0);
        return;
    }
    /* A PUBREL that is sent again may find its work done [MQTT5-3.6.2.1]. */
    if (a.reason >= 0x80 && !(type == PKT_PUBCOMP && a.reason == R_PACKET_ID_NOT_FOUND))
        model_fail("%s: message %s %u was refused: %s", p->l.id, streams[t->stream].topic, t->number,
                   reason_text(a.reason));
    if (type == PKT_PUBREC) {
        link_promised(&p->l);
        link_ack(&p->l, PKT_PUBREL, t->pid);
    }
    if (!t->released)
        model_acked(t->stream, t->number);
    t->released = true;
    if (type == PKT_PUBREC)
        return;
    p->count--;
    memmove(t, t + 1, (size_t)(&p->flights[p->count] - t) * sizeof *t);
}

static void on_packet(struct link *l, struct frame f)
{
    struct publisher *p = (struct publisher *)l;

    switch (frame_type(f.head)) {
    case PKT_CONNACK:
        resend(p);
        break;
    case PKT_PUBACK:
    case PKT_PUBREC:
    case PKT_PUBCOMP:
        on_ack(p, f);
        break;
    case PKT_DISCONNECT: /* 5.0: the broker is told to stop */
        break;
    default:
        model_fail("%s: a publisher got %s", l->id, packet_name(frame_type(f.head)));
    }
}

/* ---- life ---- */

void publishers_init(void)
{
    static const enum version versions[PUBLISHERS] = { MQTT_311, MQTT_50, MQTT_311, MQTT_31 };

    for (unsigned i = 0; i < PUBLISHERS; i++)
        link_init(&publishers[i].l, versions[i], on_packet, "publisher-%u", i);
}

void publishers_new_round(void)
{
    for (unsigned i = 0; i < PUBLISHERS; i++) {
        publishers[i].budget = PER_ROUND;
        publishers[i].window = 1 + rnd(WINDOW_MAX);
    }
}

static void act(struct publisher *p, unsigned index)
{
    unsigned window = p->window < p->l.server_max ? p->window : p->l.server_max;

    if (p->budget > 0 && chance(300)) {
        link_leave(&p->l, chance(2));
        return;
    }
    for (unsigned burst = 1 + rnd(6); burst > 0 && p->budget > 0 && p->count < window; burst--)
        publish_new(p, index);
    link_write(&p->l);
    p->l.next_ms = now_ms() + rnd(8);
}

void publishers_act(uint16_t port, bool load)
{
    for (unsigned i = 0; i < PUBLISHERS; i++) {
        struct publisher *p = &publishers[i];
        if (now_ms() < p->l.next_ms)
            continue;
        if (p->l.fd < 0)
            link_connect(&p->l, port, false, true);
        else if (p->l.up && load)
            act(p, i);
        else
            link_write(&p->l);
    }
}

bool publishers_done(void)
{
    for (unsigned i = 0; i < PUBLISHERS; i++)
        if (!publishers[i].l.up || publishers[i].count > 0)
            return false;
    return true;
}
