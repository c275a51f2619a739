/* PUBLISH [MQTT-3.3].
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_PROTO_PUBLISH_H
#define CADDIS_PROTO_PUBLISH_H

#include "proto/props.h"

struct publish {
    bool dup, retain;
    uint8_t qos;           /* 0..2 */
    uint16_t packet_id;    /* 0 when qos is 0 */
    struct view topic;     /* empty only in 5.0 with a topic alias; otherwise a valid topic name */
    struct view payload;
    struct props props;
};

/* R_MALFORMED: QoS 3 [MQTT-3.3.1-4], DUP with QoS 0 [MQTT-3.3.1-2], cut.
 * R_PROTOCOL_ERROR: packet id 0, empty topic without alias.
 * R_TOPIC_INVALID: wildcards [MQTT-3.3.2-2], or an empty topic in 3.x. R_PAYLOAD_FORMAT_INVALID: Payload Format 1 and
 * not UTF-8. R_TOPIC_ALIAS_INVALID: alias 0. Everything is decoded even so if the reason is R_PAYLOAD_FORMAT_INVALID.
 * Response Topic with wildcards: R_PROTOCOL_ERROR [MQTT5-3.3.2-14].
 * Subscription Identifiers pass here (servers send them); the broker refuses them from clients. */
enum reason publish_decode(uint8_t head, struct view body, enum version v, struct publish *out);

/* Could a PUBLISH have brought this, and can one pass it on? For what was kept where somebody may have had a hand in it.
 * props: as props_forward() writes them; subids: Subscription Identifiers as a sender adds them; payload: p NULL: it is
 * not at hand and not looked at. */
bool publish_keepable(struct view topic, struct view props, struct view subids, struct view payload);

/* Encoding: the pieces that go before the payload. props: encoded block without its length (5.0), ignored otherwise.
 * publish_head_size() covers fixed header, topic, packet id, property length and properties; publish_size() is the
 * whole packet with payload_len bytes, 0 if it would be larger than MQTT can express. */
struct publish_out {
    enum version version;
    bool dup, retain;
    uint8_t qos;
    uint16_t packet_id;
    struct view topic;
    struct view props;     /* property bytes that come first (message's own) */
    struct view props2;    /* and more of them (alias, expiry, subscription ids) */
    size_t payload_len;
};
size_t publish_size(const struct publish_out *p);
size_t publish_head_size(const struct publish_out *p);
void publish_head_encode(const struct publish_out *p, struct writer *w);

#endif
