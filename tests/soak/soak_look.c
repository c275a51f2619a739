/* The inspector: in a calm, when nobody publishes, it asks for everything retained and compares with the model.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/soak/soak.h"

#include <inttypes.h>
#include <string.h>

static struct link inspector;
static uint32_t seen[STREAMS];          /* number + 1 */
static bool pinged;                     /* PINGRESP: what came with the SUBACK is behind us */

struct link *inspector_link(void)
{
    return &inspector;
}

static void on_publish(struct link *l, struct frame f)
{
    struct publish p;
    unsigned stream;
    uint32_t number;
    enum reason r = publish_decode(f.head, f.body, l->version, &p);

    if (r != R_OK)
        fail_about(l->id, NULL, "%s: PUBLISH from the broker: %s", l->id, reason_text(r));
    if (p.qos > 0)
        link_ack(l, p.qos == 1 ? PKT_PUBACK : PKT_PUBREC, p.packet_id);
    if (p.payload.len == 0)
        fail_about(l->id, NULL, "inspector: an empty message is retained for %.*s", (int)p.topic.len,
                   (const char *)p.topic.p);
    model_identify(l->id, 0, l->version, p.topic, &p, &stream, &number);
    if (!p.retain || !streams[stream].kind->kept || seen[stream] > 0)
        fail_about(l->id, streams[stream].writer, "%s: message %s %" PRIu32 " came %s", l->id, streams[stream].topic,
                   number, p.retain ? "a second time" : "without RETAIN");
    seen[stream] = number + 1;
}

static void ask(struct link *l)
{
    struct subscription all = { .filter = { (const uint8_t *)"#", 1 }, .qos = 2 };
    struct view none = { NULL, 0 };
    struct writer w = link_stage(l, subscribe_size(l->version, &all, 1, none));

    subscribe_encode(l->version, 1, &all, 1, none, &w);
    w = link_stage(l, 2);
    ping_encode(PKT_PINGREQ, &w);
}

static void on_packet(struct link *l, struct frame f)
{
    struct ack a;

    switch (frame_type(f.head)) {
    case PKT_CONNACK:
        ask(l);
        break;
    case PKT_PUBLISH:
        on_publish(l, f);
        break;
    case PKT_PUBREL:
        if (ack_decode(f.head, f.body, l->version, &a) == R_OK)
            link_ack(l, PKT_PUBCOMP, a.packet_id);
        break;
    case PKT_PINGRESP:
        pinged = true;
        break;
    default:
        break;
    }
}

void inspector_init(void)
{
    inspector.fd = -1;
    inspector.packet = on_packet;
    snprintf(inspector.id, sizeof inspector.id, "inspector");
}

void inspector_reset(void)
{
    memset(seen, 0, sizeof seen);
    pinged = false;
    inspector.version = chance(2) ? MQTT_50 : MQTT_311;
}

static bool complete(void)
{
    for (unsigned i = 0; i < STREAMS; i++)
        if (streams[i].kind->kept && seen[i] == 0 && !model_may_be_empty(&streams[i]))
            return false;
    return pinged;
}

static void judge(void)
{
    for (unsigned i = 0; i < STREAMS; i++) {
        const struct stream *s = &streams[i];

        if (seen[i] > 0 && !model_may_be_last(s, seen[i] - 1))
            fail_about("inspector", s->writer, "LOST: retained for %s is message %" PRIu32 ", but %" PRIu32
                       " was acknowledged later", s->topic, seen[i] - 1, s->newest_acked - 1);
        if (s->kind->kept && seen[i] == 0 && !model_may_be_empty(s))
            fail_about("inspector", s->writer, "LOST: nothing is retained for %s, but message %" PRIu32
                       " was acknowledged", s->topic, s->newest_acked - 1);
    }
}

bool inspector_act(uint16_t port)
{
    static uint64_t since_ms;

    if (inspector.fd < 0 && now_ms() >= inspector.next_ms) {
        link_connect(&inspector, port, true, false);
        since_ms = now_ms();
    }
    link_write(&inspector);
    if (!complete() && now_ms() < since_ms + 10000)
        return false;
    judge();
    link_leave(&inspector, true);
    return true;
}
