/* Packets for the broker inside the test.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "lab.h"

#include <assert.h>
#include <stdlib.h>

enum { PACKET_MAX = 1024 };

static struct view text(const char *s)
{
    return (struct view){ (const uint8_t *)s, s != NULL ? strlen(s) : 0 };
}

static uint8_t version(const struct lab *l, unsigned i)
{
    const struct conn *c = l->clients[i].c;

    if (c != NULL && c->version != 0)
        return c->version;
    return l->clients[i].version != 0 ? l->clients[i].version : MQTT_311;
}

void lab_connect(struct lab *l, unsigned i, const struct lab_connect *p)
{
    uint8_t buf[PACKET_MAX], props[16], will_props[16];
    struct writer w = wr_make(buf, sizeof buf), wp = wr_make(props, sizeof props), ww = wr_make(will_props, 16);
    struct connect c = {
        .version = p->version, .clean_start = p->clean, .has_will = p->will_topic != NULL,
        .will_retain = p->will_retain, .will_qos = p->will_qos, .keepalive_s = p->keepalive_s,
        .client_id = text(p->id), .will_topic = text(p->will_topic), .will_payload = text("gone"),
    };

    if (p->version == MQTT_50 && p->expiry_s > 0)
        props_write_num(&wp, PROP_SESSION_EXPIRY, p->expiry_s);
    if (p->version == MQTT_50 && p->will_delay_s > 0)
        props_write_num(&ww, PROP_WILL_DELAY, p->will_delay_s);
    c.props.raw = (struct view){ props, (size_t)(wp.p - props) };
    c.will_props.raw = (struct view){ will_props, (size_t)(ww.p - will_props) };
    connect_encode(&c, &w);
    assert(!w.bad);
    l->clients[i].version = p->version;
    lab_send(l, i, buf, (size_t)(w.p - buf));
}

void lab_join(struct lab *l, unsigned i, const struct lab_connect *p)
{
    lab_open(l, i);
    lab_connect(l, i, p);
}

void lab_publish(struct lab *l, unsigned i, const char *topic, size_t payload_len, unsigned qos, bool retain,
                 uint16_t pid, uint32_t expiry_s)
{
    uint8_t head[PACKET_MAX], props[8], *payload = calloc(1, payload_len + 1);
    struct writer w = wr_make(head, sizeof head), wp = wr_make(props, sizeof props);
    struct publish_out o = { .version = version(l, i), .retain = retain, .qos = (uint8_t)qos, .packet_id = pid,
                             .topic = text(topic), .payload_len = payload_len };

    assert(payload != NULL);
    if (o.version == MQTT_50 && expiry_s > 0)
        props_write_num(&wp, PROP_MESSAGE_EXPIRY, expiry_s);
    o.props = (struct view){ props, (size_t)(wp.p - props) };
    publish_head_encode(&o, &w);
    assert(!w.bad);
    lab_send(l, i, head, (size_t)(w.p - head));
    lab_send(l, i, payload, payload_len);
    free(payload);
}

void lab_subscribe(struct lab *l, unsigned i, const char *filter, unsigned options, uint16_t pid)
{
    uint8_t buf[PACKET_MAX];
    struct writer w = wr_make(buf, sizeof buf);
    const struct subscription s = { .filter = text(filter), .qos = options & 3, .no_local = (options & 4) != 0,
                                    .retain_as_published = (options & 8) != 0,
                                    .retain_handling = options >> 4 & 3 };

    subscribe_encode(version(l, i), pid, &s, 1, (struct view){ NULL, 0 }, &w);
    assert(!w.bad);
    lab_send(l, i, buf, (size_t)(w.p - buf));
}

void lab_unsubscribe(struct lab *l, unsigned i, const char *filter, uint16_t pid)
{
    uint8_t buf[PACKET_MAX];
    struct writer w = wr_make(buf, sizeof buf);
    const struct view f = text(filter);

    unsubscribe_encode(version(l, i), pid, &f, 1, &w);
    lab_send(l, i, buf, (size_t)(w.p - buf));
}

void lab_ack(struct lab *l, unsigned i, unsigned type, uint16_t pid)
{
    uint8_t buf[16];
    struct writer w = wr_make(buf, sizeof buf);

    ack_encode(type, pid, version(l, i), R_OK, (struct view){ NULL, 0 }, &w);
    lab_send(l, i, buf, (size_t)(w.p - buf));
}

void lab_disconnect(struct lab *l, unsigned i)
{
    uint8_t buf[8];
    struct writer w = wr_make(buf, sizeof buf);

    disconnect_encode(version(l, i), R_OK, (struct view){ NULL, 0 }, &w);
    lab_send(l, i, buf, (size_t)(w.p - buf));
}

void lab_ack_all(struct lab *l, unsigned i)
{
    struct lab_client *cl = &l->clients[i];
    struct view in = { cl->out, cl->out_len };
    struct frame f;

    while (in.len > 0 && frame_next(&in, FRAME_MAX_REMAINING, &f) == FRAME_OK) {
        struct publish p;
        struct ack a;

        switch (frame_type(f.head)) {
        case PKT_PUBLISH:
            if (publish_decode(f.head, f.body, version(l, i), &p) == R_OK && p.qos > 0)
                lab_ack(l, i, p.qos == 1 ? PKT_PUBACK : PKT_PUBREC, p.packet_id);
            break;
        case PKT_PUBREL:
            if (ack_decode(f.head, f.body, version(l, i), &a) == R_OK)
                lab_ack(l, i, PKT_PUBCOMP, a.packet_id);
            break;
        default:
            break;
        }
    }
    lab_forget(cl);
}
