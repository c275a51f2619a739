/* A client that asks for everything that is retained: see look.h.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/crash/look.h"

#include "tests/crash/dice.h"

#include <string.h>

static void on_publish(struct look *k, struct frame f)
{
    struct publish p;
    enum reason r = publish_decode(f.head, f.body, k->l.version, &p);

    if (r != R_OK) {
        model_fail("%s: PUBLISH from the broker: %s", k->l.id, reason_text(r));
        return;
    }
    if (p.qos > 0)
        link_ack(&k->l, p.qos == 1 ? PKT_PUBACK : PKT_PUBREC, p.packet_id);
    k->saw(&k->l, &p);
}

static void ask(struct look *k)
{
    struct subscription all = { .filter = { (const uint8_t *)k->filter, strlen(k->filter) }, .qos = 2 };
    struct view none = { NULL, 0 };
    struct writer w = link_stage(&k->l, subscribe_size(k->l.version, &all, 1, none));

    subscribe_encode(k->l.version, 1, &all, 1, none, &w);
    w = link_stage(&k->l, 2);
    ping_encode(PKT_PINGREQ, &w);
}

static void on_packet(struct link *l, struct frame f)
{
    struct look *k = (struct look *)l;
    struct ack a;

    switch (frame_type(f.head)) {
    case PKT_CONNACK:
        ask(k);
        break;
    case PKT_PUBLISH:
        on_publish(k, f);
        break;
    case PKT_PUBREL:
        if (ack_decode(f.head, f.body, l->version, &a) == R_OK)
            link_ack(l, PKT_PUBCOMP, a.packet_id);
        break;
    case PKT_PINGRESP:
        k->pinged = true;
        break;
    default:
        break;
    }
}

void look_init(struct look *k, const char *filter, void (*saw)(const struct link *l, const struct publish *p))
{
    link_init(&k->l, MQTT_311, on_packet, "inspector");
    k->filter = filter;
    k->saw = saw;
}

void look_reset(struct look *k)
{
    k->pinged = false;
    k->l.version = chance(2) ? MQTT_50 : MQTT_311;
}
