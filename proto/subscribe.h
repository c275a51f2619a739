/* SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK [MQTT-3.8..3.11].
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_PROTO_SUBSCRIBE_H
#define CADDIS_PROTO_SUBSCRIBE_H

#include "proto/props.h"

struct subscribe {
    uint16_t packet_id;
    unsigned count;        /* filters, >= 1 [MQTT311-3.8.3-3], [MQTT5-3.8.3-2] */
    struct view filters;   /* checked payload: iterate with subscribe_next() / unsubscribe_next() */
    struct props props;
};

struct subscription {
    struct view filter;
    bool filter_ok;        /* false: answer R_FILTER_INVALID (0x80 in 3.1.1) for this one */
    uint8_t qos;           /* 0..2 */
    bool no_local, retain_as_published;
    uint8_t retain_handling; /* 0..2 */
};

/* R_MALFORMED: cut, string not UTF-8, reserved option bits [MQTT5-3.8.3-5], QoS 3 in 3.x [MQTT311-3.8.3-4],
 *   wrong flags, an empty filter.
 * R_PROTOCOL_ERROR: no filter at all, packet id 0, QoS 3 or retain handling 3 in 5.0, two Subscription Identifiers,
 *   No Local on a $share filter [MQTT5-3.8.3-4].
 * A filter with wrong wildcards is not an error of the packet: filter_ok is false for it. */
enum reason subscribe_decode(uint8_t head, struct view body, enum version v, struct subscribe *out);
/* Start with *r = rd_make(s.filters). v as in decode. False at the end. */
bool subscribe_next(struct reader *r, enum version v, struct subscription *out);

enum reason unsubscribe_decode(uint8_t head, struct view body, enum version v, struct subscribe *out);
bool unsubscribe_next(struct reader *r, struct view *filter);

/* Client role. raw: property bytes without length. */
size_t subscribe_size(enum version v, const struct subscription *subs, unsigned count, struct view raw);
void subscribe_encode(enum version v, uint16_t packet_id, const struct subscription *subs, unsigned count,
                      struct view raw, struct writer *w);
size_t unsubscribe_size(enum version v, const struct view *filters, unsigned count);
void unsubscribe_encode(enum version v, uint16_t packet_id, const struct view *filters, unsigned count,
                        struct writer *w);

/* codes: count bytes, 5.0 reason codes; mapped for 3.x (0..2, 0x80). UNSUBACK has none before 5.0. */
size_t suback_size(enum version v, unsigned count, struct view why);
void suback_encode(enum version v, uint16_t packet_id, const uint8_t *codes, unsigned count, struct view why,
                   struct writer *w);
size_t unsuback_size(enum version v, unsigned count, struct view why);
void unsuback_encode(enum version v, uint16_t packet_id, const uint8_t *codes, unsigned count, struct view why,
                     struct writer *w);

struct suback {
    uint16_t packet_id;
    struct view codes;     /* one byte per filter; empty for a 3.x UNSUBACK */
    struct props props;
};
/* Both SUBACK and UNSUBACK (the type is in head). */
enum reason suback_decode(uint8_t head, struct view body, enum version v, struct suback *out);

#endif
