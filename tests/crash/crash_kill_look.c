/* The inspector: after a restart, before any publisher is back, it asks for everything retained and compares. Nobody
 * can have changed anything meanwhile, so what it sees is what the store brought back.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/crash/crash_kill.h"

#include <stdio.h>
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

    if (r != R_OK) {
        model_fail("%s: PUBLISH from the broker: %s", l->id, reason_text(r));
        return;
    }
    if (p.qos > 0)
        link_ack(l, p.qos == 1 ? PKT_PUBACK : PKT_PUBREC, p.packet_id);
    if (!model_identify(l, &p, &stream, &number))
        return;
    if (!p.retain || !streams[stream].kept || seen[stream] > 0)
        model_fail("%s: message %s %u came %s", l->id, streams[stream].topic, number,
                   p.retain ? "a second time" : "without RETAIN");
    seen[stream] = number + 1;
}

static void ask(struct link *l)
{
    struct subscription all = { .filter = { (const uint8_t *)"kept/#", 6 }, .qos = 2 };
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
    inspector_reset();
}

void inspector_reset(void)
{
    memset(seen, 0, sizeof seen);
    pinged = false;
    inspector.version = chance(2) ? MQTT_50 : MQTT_311;
}

void inspector_act(uint16_t port)
{
    if (inspector.fd < 0 && now_ms() >= inspector.next_ms)
        link_connect(&inspector, port, true, false);
    link_write(&inspector);
}

bool inspector_done(void)
{
    for (unsigned i = 0; i < STREAMS; i++)
        if (streams[i].kept && seen[i] == 0 && !model_may_be_empty(i))
            return false;
    return pinged;
}

void inspector_judge(void)
{
    for (unsigned i = 0; i < STREAMS; i++)
        if (streams[i].kept)
            model_check_retained(i, seen[i]);
    link_leave(&inspector, true);
}
