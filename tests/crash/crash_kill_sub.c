/* Subscribers: persistent sessions that are there, away, slow, or change their minds, and one that sometimes asks for
 * none. At QoS 2 a packet id is held from its PUBLISH to its PUBREL, across reconnects, so a resend is known as one.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/crash/crash_kill.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILTERS_MAX = 2 };

enum sub_state { SUB_OUT, SUB_JOINING, SUB_IN, SUB_LEAVING };

struct plan {
    const char *name;
    enum version version;
    const char *filters[FILTERS_MAX];
    uint8_t qos;
    uint16_t receive_max;
    unsigned online_ms, offline_ms;     /* about how long it stays, and stays away */
    unsigned slow_ms;                   /* acknowledges after up to this; 0: at once */
    bool changer;                       /* unsubscribes now and then */
    bool visitor;                       /* wants no session now and then */
};

static const struct plan plans[SUBSCRIBERS] = {
    { "sub-steady",    MQTT_311, { "load/#" },               2, 0,  2000, 10,  0,  false, false },
    { "sub-seldom",    MQTT_50,  { "load/#" },               2, 0,  40,   600, 0,  false, false },
    { "sub-slow",      MQTT_311, { "load/+/1" },             1, 0,  300,  50,  30, false, false },
    { "sub-slow2",     MQTT_50,  { "load/+/2" },             2, 5,  300,  50,  30, false, false },
    { "sub-31",        MQTT_31,  { "load/0/#", "load/1/+" }, 1, 0,  100,  100, 4,  false, false },
    { "sub-changer",   MQTT_311, { "load/+/2" },             2, 0,  200,  50,  2,  true,  false },
    { "sub-changer5",  MQTT_50,  { "load/+/1" },             1, 10, 200,  50,  2,  true,  false },
    { "sub-visitor",   MQTT_311, { "nothing/here" },         2, 0,  30,   30,  0,  false, true },
    { "sub-visitor5",  MQTT_50,  { "nothing/here" },         2, 0,  30,   30,  0,  false, true },
};

struct held_id {
    bool used;
    unsigned stream;
    uint32_t number;
};

struct subscriber {
    struct link l;                      /* first: a link is its subscriber */
    const struct plan *plan;
    unsigned index;
    enum sub_state state;
    uint16_t pid;                       /* of the SUBSCRIBE or UNSUBSCRIBE under way */
    uint64_t until_ms;                  /* stays online */
    uint64_t change_ms;
    struct held_id *ids;                /* 65536: inbound QoS 2 */
    struct held held;                   /* acknowledgements not sent yet */
    uint64_t release_ms;
};

static struct subscriber subscribers[SUBSCRIBERS];

struct link *subscriber_link(unsigned i)
{
    return &subscribers[i].l;
}

/* ---- acknowledgements ---- */

static void acknowledge(struct subscriber *s, enum packet type, uint16_t pid)
{
    link_hold(&s->l, &s->held, type, pid);
    if (s->plan->slow_ms == 0)
        link_release(&s->l, &s->held, s->held.n);
}

/* ---- in ---- */

/* true: this is news. */
static bool hold_id(struct subscriber *s, const struct publish *p, unsigned stream, uint32_t number)
{
    struct held_id *h = &s->ids[p->packet_id];

    if (!h->used) {
        *h = (struct held_id){ true, stream, number };
        return true;
    }
    if (h->stream != stream || h->number != number)
        model_fail("%s: packet id %u came with message %s %u, but still belongs to %s %u", s->l.id, p->packet_id,
                   streams[stream].topic, number, streams[h->stream].topic, h->number);
    else if (!p->dup)
        model_fail("%s: message %s %u was resent without DUP", s->l.id, streams[stream].topic, number);
    return false;
}

static void on_publish(struct subscriber *s, struct frame f)
{
    struct publish p;
    unsigned stream;
    uint32_t number;
    enum reason r = publish_decode(f.head, f.body, s->l.version, &p);

    if (r != R_OK) {
        model_fail("%s: PUBLISH from the broker: %s", s->l.id, reason_text(r));
        return;
    }
    if (!model_identify(&s->l, &p, &stream, &number))
        return;
    if (p.retain)
        model_fail("%s: message %s %u came with RETAIN set", s->l.id, streams[stream].topic, number);
    if (p.qos != (streams[stream].qos < s->plan->qos ? streams[stream].qos : s->plan->qos))
        model_fail("%s: message %s %u came with QoS %u", s->l.id, streams[stream].topic, number, p.qos);
    if (p.qos < 2 || hold_id(s, &p, stream, number))
        model_got(s->index, &s->l, s->plan->qos, stream, number, p.dup);
    if (p.qos > 0)
        acknowledge(s, p.qos == 1 ? PKT_PUBACK : PKT_PUBREC, p.packet_id);
}

static void on_pubrel(struct subscriber *s, struct frame f)
{
    struct ack a;
    enum reason r = ack_decode(f.head, f.body, s->l.version, &a);

    if (r != R_OK) {
        model_fail("%s: PUBREL from the broker: %s", s->l.id, reason_text(r));
        return;
    }
    s->ids[a.packet_id].used = false;
    acknowledge(s, PKT_PUBCOMP, a.packet_id);
}

static void on_suback(struct subscriber *s, struct frame f)
{
    struct suback a;
    enum reason r = suback_decode(f.head, f.body, s->l.version, &a);
    bool in = frame_type(f.head) == PKT_SUBACK;

    if (r != R_OK || a.packet_id != s->pid || s->state != (in ? SUB_JOINING : SUB_LEAVING)) {
        model_fail("%s: %s that was not asked for", s->l.id, packet_name(frame_type(f.head)));
        return;
    }
    /* The first of two UNSUBSCRIBEs may have been heard without an answer reaching us. */
    for (size_t i = 0; i < a.codes.len; i++)
        if (in ? a.codes.p[i] != s->plan->qos : a.codes.p[i] != R_OK && a.codes.p[i] != R_NO_SUBSCRIPTION_EXISTED)
            model_fail("%s: %s says 0x%02X", s->l.id, packet_name(frame_type(f.head)), a.codes.p[i]);
    s->state = in ? SUB_IN : SUB_OUT;
    link_promised(&s->l);
}

static void subscribe(struct subscriber *s)
{
    struct subscription subs[FILTERS_MAX];
    struct view none = { NULL, 0 };
    struct writer w;
    unsigned n = 0;

    for (; n < FILTERS_MAX && s->plan->filters[n] != NULL; n++) {
        const char *filter = s->plan->filters[n];
        subs[n] = (struct subscription){ .filter = { (const uint8_t *)filter, strlen(filter) }, .qos = s->plan->qos };
        model_joining(s->index, filter);
    }
    s->state = SUB_JOINING;
    s->pid = (uint16_t)(1 + rnd(65535));
    w = link_stage(&s->l, subscribe_size(s->l.version, subs, n, none));
    subscribe_encode(s->l.version, s->pid, subs, n, none, &w);
}

static void unsubscribe(struct subscriber *s)
{
    const char *filter = s->plan->filters[0];
    struct view v = { (const uint8_t *)filter, strlen(filter) };
    struct writer w;

    model_leaving(s->index, filter);
    s->state = SUB_LEAVING;
    s->pid = (uint16_t)(1 + rnd(65535));
    w = link_stage(&s->l, unsubscribe_size(s->l.version, &v, 1));
    unsubscribe_encode(s->l.version, s->pid, &v, 1, &w);
}

static void on_connack(struct subscriber *s)
{
    model_connected(s->index);
    s->held.n = 0;
    if (!s->l.present) {
        memset(s->ids, 0, 65536 * sizeof *s->ids);
        if (!s->plan->changer || s->state != SUB_OUT)
            subscribe(s);
    } else if (s->state == SUB_JOINING || (s->state == SUB_OUT && !s->plan->changer)) {
        subscribe(s);
    } else if (s->state == SUB_LEAVING) {
        unsubscribe(s);
    }
    s->until_ms = now_ms() + 1 + rnd(2 * s->plan->online_ms);
    s->change_ms = now_ms() + rnd(400);
    link_write(&s->l);
}

static void on_packet(struct link *l, struct frame f)
{
    struct subscriber *s = (struct subscriber *)l;

    switch (frame_type(f.head)) {
    case PKT_CONNACK:
        on_connack(s);
        break;
    case PKT_PUBLISH:
        on_publish(s, f);
        break;
    case PKT_PUBREL:
        on_pubrel(s, f);
        break;
    case PKT_SUBACK:
    case PKT_UNSUBACK:
        on_suback(s, f);
        break;
    case PKT_DISCONNECT: /* 5.0: the broker is told to stop */
        break;
    default:
        model_fail("%s: a subscriber got %s", l->id, packet_name(frame_type(f.head)));
    }
}

/* ---- life ---- */

void subscribers_init(void)
{
    for (unsigned i = 0; i < SUBSCRIBERS; i++) {
        struct subscriber *s = &subscribers[i];
        s->plan = &plans[i];
        s->index = i;
        link_init(&s->l, plans[i].version, on_packet, "%s", plans[i].name);
        s->l.receive_max = plans[i].receive_max;
        s->ids = calloc(65536, sizeof *s->ids);
        if (s->ids == NULL)
            abort();
    }
}

void subscribers_free(void)
{
    for (unsigned i = 0; i < SUBSCRIBERS; i++)
        free(subscribers[i].ids);
}

void subscribers_want(unsigned stream, uint8_t want[SUBSCRIBERS])
{
    static const uint8_t due[] = {
        [SUB_OUT] = WANT_NOT, [SUB_JOINING] = WANT_MAY, [SUB_IN] = WANT_MUST, [SUB_LEAVING] = WANT_MAY,
    };

    for (unsigned i = 0; i < SUBSCRIBERS; i++) {
        want[i] = WANT_NOT;
        for (unsigned k = 0; k < FILTERS_MAX && plans[i].filters[k] != NULL; k++)
            if (model_matches(plans[i].filters[k], stream))
                want[i] = due[subscribers[i].state];
    }
}

static void come(struct subscriber *s, uint16_t port, bool load)
{
    bool clean = s->plan->visitor && load && chance(2);
    bool lasting = !clean || (s->l.version == MQTT_50 && chance(2));

    s->held.n = 0;
    link_connect(&s->l, port, clean, lasting);
}

static void stay(struct subscriber *s, bool load)
{
    if (s->held.n > 0 && now_ms() >= s->release_ms) {
        link_release(&s->l, &s->held, load ? 1 + rnd(s->held.n) : s->held.n);
        s->release_ms = now_ms() + rnd(s->plan->slow_ms + 1);
    }
    if (load && s->plan->changer && now_ms() >= s->change_ms && (s->state == SUB_IN || s->state == SUB_OUT)) {
        if (s->state == SUB_IN)
            unsubscribe(s);
        else
            subscribe(s);
        s->change_ms = now_ms() + rnd(400);
    }
    link_write(&s->l);
    if (load && now_ms() >= s->until_ms) {
        link_leave(&s->l, chance(2));
        s->l.next_ms = now_ms() + rnd(2 * s->plan->offline_ms);
    }
}

void subscribers_act(uint16_t port, bool load)
{
    for (unsigned i = 0; i < SUBSCRIBERS; i++) {
        struct subscriber *s = &subscribers[i];
        if (s->l.fd < 0 && (now_ms() >= s->l.next_ms || (!load && s->l.next_ms > now_ms() + 40)))
            come(s, port, load);
        else if (s->l.up)
            stay(s, load);
    }
}

bool subscribers_ready(void)
{
    for (unsigned i = 0; i < SUBSCRIBERS; i++) {
        const struct subscriber *s = &subscribers[i];
        if (!s->l.up || s->held.n > 0 || s->state == SUB_JOINING || s->state == SUB_LEAVING)
            return false;
    }
    return true;
}
