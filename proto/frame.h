/* Cuts a byte stream into control packets. The size is known, and can be refused, before
 * the body arrives.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_PROTO_FRAME_H
#define CADDIS_PROTO_FRAME_H

#include "proto/tables.h"
#include "proto/writer.h"

enum frame_result {
    FRAME_OK,        /* *f is filled, *in has moved past the packet */
    FRAME_MORE,      /* packet incomplete; f->need is its whole size, 0: header incomplete; *in stays */
    FRAME_MALFORMED, /* remaining length is no valid variable byte integer [MQTT-2.2.3], or type 0 */
    FRAME_TOO_LARGE, /* whole packet (header included) > max; f->head and f->need are set */
};

struct frame {
    uint8_t head;     /* first byte: type << 4 | flags */
    struct view body; /* variable header and payload, in place */
    size_t need;      /* bytes, fixed header included */
};

/* max: largest whole packet in bytes that is taken. Flags are not checked here: the packet
 * decoders do that. */
enum frame_result frame_next(struct view *in, size_t max, struct frame *f);

static inline unsigned frame_type(uint8_t head)
{
    return head >> 4;
}

/* Are the low four bits what this type demands [MQTT311-2.2.2-1], [MQTT5-2.1.3-1]? Always true for PUBLISH, which
 * uses them. 3.1 lets a resent PUBREL, SUBSCRIBE or UNSUBSCRIBE set DUP. */
bool frame_flags_ok(uint8_t head, enum version v);

#define FRAME_MAX_REMAINING 268435455u

/* Bytes of a whole packet whose remaining length is this. */
static inline size_t frame_size(size_t remaining)
{
    return 1 + varint_size((uint32_t)remaining) + remaining;
}

/* Fixed header: type with the flags that go with it, remaining length (beyond the limit: bad). */
void frame_write_head(struct writer *w, enum packet type, size_t remaining);

#endif
