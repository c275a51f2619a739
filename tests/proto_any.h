/* Any packet, in any version, through its decoder and back through its encoder: the one path that the cut tests and
 * the fuzz target take.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_TESTS_PROTO_ANY_H
#define CADDIS_TESTS_PROTO_ANY_H

#include "proto/proto.h"

#include <stdlib.h>

/* Decodes a packet and, if it is good and w is not NULL, encodes it again. *size is what the x_size() function
 * promised for that; w must have room for it, which is never more than the packet itself had. */
static inline enum reason any_connect(uint8_t head, struct view body, struct writer *w, size_t *size)
{
    struct connect c;
    enum reason why = connect_decode(head, body, &c);

    if (why == R_OK && w != NULL) {
        *size = connect_size(&c);
        connect_encode(&c, w);
    }
    return why;
}

static inline enum reason any_connack(uint8_t head, struct view body, enum version v, struct writer *w,
                                      size_t *size)
{
    struct connack a;
    enum reason why = connack_decode(head, body, v, &a);

    if (why == R_OK && w != NULL) {
        *size = connack_size(v, a.props.raw);
        connack_encode(v, a.session_present, a.reason, a.props.raw, w);
    }
    return why;
}

static inline enum reason any_publish(uint8_t head, struct view body, enum version v, struct writer *w,
                                      size_t *size)
{
    struct publish p;
    enum reason why = publish_decode(head, body, v, &p);

    if (why == R_OK && w != NULL) {
        struct publish_out out = {
            .version = v, .dup = p.dup, .retain = p.retain, .qos = p.qos, .packet_id = p.packet_id,
            .topic = p.topic, .props = p.props.raw, .payload_len = p.payload.len,
        };
        const uint8_t *start = w->p;

        *size = publish_size(&out);
        publish_head_encode(&out, w);
        if ((size_t)(w->p - start) != publish_head_size(&out))
            abort();
        wr_view(w, p.payload);
    }
    return why;
}

static inline enum reason any_ack(uint8_t head, struct view body, enum version v, struct writer *w, size_t *size)
{
    struct ack a;
    enum reason why = ack_decode(head, body, v, &a);

    if (why == R_OK && w != NULL) {
        struct view text = props_bytes(&a.props, PROP_REASON_STRING);

        *size = ack_size(v, a.reason, text);
        ack_encode(frame_type(head), a.packet_id, v, a.reason, text, w);
    }
    return why;
}

static inline enum reason any_subscribe(uint8_t head, struct view body, enum version v, struct writer *w,
                                        size_t *size)
{
    struct subscribe s;
    enum reason why = subscribe_decode(head, body, v, &s);

    if (why == R_OK && w != NULL) {
        struct subscription *subs = calloc(s.count, sizeof *subs);
        struct reader r = rd_make(s.filters);
        unsigned n = 0;

        if (subs == NULL)
            abort();
        while (n < s.count && subscribe_next(&r, v, &subs[n]))
            n++;
        if (n != s.count || rd_left(&r) > 0)
            abort();
        *size = subscribe_size(v, subs, n, s.props.raw);
        subscribe_encode(v, s.packet_id, subs, n, s.props.raw, w);
        free(subs);
    }
    return why;
}

static inline enum reason any_unsubscribe(uint8_t head, struct view body, enum version v, struct writer *w,
                                          size_t *size)
{
    struct subscribe s;
    enum reason why = unsubscribe_decode(head, body, v, &s);

    if (why == R_OK && w != NULL) {
        struct view *filters = calloc(s.count, sizeof *filters);
        struct reader r = rd_make(s.filters);
        unsigned n = 0;

        if (filters == NULL)
            abort();
        while (n < s.count && unsubscribe_next(&r, &filters[n]))
            n++;
        if (n != s.count || rd_left(&r) > 0)
            abort();
        *size = unsubscribe_size(v, filters, n);
        unsubscribe_encode(v, s.packet_id, filters, n, w);
        free(filters);
    }
    return why;
}

static inline enum reason any_suback(uint8_t head, struct view body, enum version v, struct writer *w,
                                     size_t *size)
{
    struct suback s;
    enum reason why = suback_decode(head, body, v, &s);

    if (why == R_OK && w != NULL) {
        struct view text = props_bytes(&s.props, PROP_REASON_STRING);
        unsigned n = (unsigned)s.codes.len;

        if (frame_type(head) == PKT_SUBACK) {
            *size = suback_size(v, n, text);
            suback_encode(v, s.packet_id, s.codes.p, n, text, w);
        } else {
            *size = unsuback_size(v, n, text);
            unsuback_encode(v, s.packet_id, s.codes.p, n, text, w);
        }
    }
    return why;
}

static inline enum reason any_disconnect(uint8_t head, struct view body, enum version v, bool from_client,
                                         struct writer *w, size_t *size)
{
    struct disconnect d;
    enum reason why = disconnect_decode(head, body, v, from_client, &d);

    if (why == R_OK && w != NULL) {
        *size = disconnect_size(v, d.reason, d.props.raw);
        disconnect_encode(v, d.reason, d.props.raw, w);
    }
    return why;
}

static inline enum reason any_auth(uint8_t head, struct view body, struct writer *w, size_t *size)
{
    struct auth_message a;
    enum reason why = auth_decode(head, body, &a);

    if (why == R_OK && w != NULL) {
        *size = auth_size(a.reason, a.props.raw);
        auth_encode(a.reason, a.props.raw, w);
    }
    return why;
}

static inline enum reason any_ping(uint8_t head, struct view body, struct writer *w, size_t *size)
{
    enum reason why = ping_decode(head, body);

    if (why == R_OK && w != NULL) {
        *size = 2;
        ping_encode(frame_type(head), w);
    }
    return why;
}

static inline enum reason any_packet(uint8_t head, struct view body, enum version v, bool from_client,
                                     struct writer *w, size_t *size)
{
    switch (frame_type(head)) {
    case PKT_CONNECT:     return any_connect(head, body, w, size);
    case PKT_CONNACK:     return any_connack(head, body, v, w, size);
    case PKT_PUBLISH:     return any_publish(head, body, v, w, size);
    case PKT_PUBACK:
    case PKT_PUBREC:
    case PKT_PUBREL:
    case PKT_PUBCOMP:     return any_ack(head, body, v, w, size);
    case PKT_SUBSCRIBE:   return any_subscribe(head, body, v, w, size);
    case PKT_UNSUBSCRIBE: return any_unsubscribe(head, body, v, w, size);
    case PKT_SUBACK:
    case PKT_UNSUBACK:    return any_suback(head, body, v, w, size);
    case PKT_PINGREQ:
    case PKT_PINGRESP:    return any_ping(head, body, w, size);
    case PKT_DISCONNECT:  return any_disconnect(head, body, v, from_client, w, size);
    case PKT_AUTH:        return v == MQTT_50 ? any_auth(head, body, w, size) : R_MALFORMED;
    }
    return R_MALFORMED;
}

#endif
