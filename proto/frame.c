/* The cutter: fixed header in, one packet out.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "proto/frame.h"

static const uint8_t type_flags[16] = {
#define X(name, type, flags, who) [type] = flags,
    PACKETS(X)
#undef X
};

/* Reads the remaining length at p[1]. Returns the size of the fixed header, 0: not all there yet, -1: a form that
 * is too long. The fourth byte decides by itself, so no peer can make us wait for a fifth. */
static int read_length(const uint8_t *p, size_t len, size_t *remaining)
{
    size_t value = 0;

    for (unsigned i = 1; i <= 4; i++) {
        if (i >= len)
            return 0;
        value |= (size_t)(p[i] & 0x7F) << (7 * (i - 1));
        if (p[i] < 0x80) {
            *remaining = value;
            return p[i] == 0 && i > 1 ? -1 : (int)i + 1; /* shortest form only [MQTT5-1.5.5-1] */
        }
    }
    return -1;
}

enum frame_result frame_next(struct view *in, size_t max, struct frame *f)
{
    const uint8_t *p = in->p;
    size_t remaining;
    int header;

    f->need = 0;
    if (in->len > 0 && p[0] < 0x10) /* type 0 is reserved [MQTT-2.2.1] */
        return FRAME_MALFORMED;
    if (in->len < 2)
        return FRAME_MORE;
    if (p[1] < 0x80) {
        remaining = p[1];
        header = 2;
    } else {
        header = read_length(p, in->len, &remaining);
        if (header <= 0)
            return header == 0 ? FRAME_MORE : FRAME_MALFORMED;
    }
    f->head = p[0];
    f->need = (size_t)header + remaining;
    if (f->need > max)
        return FRAME_TOO_LARGE;
    if (f->need > in->len)
        return FRAME_MORE;
    f->body = (struct view){ p + header, remaining };
    in->p += f->need;
    in->len -= f->need;
    return FRAME_OK;
}

bool frame_flags_ok(uint8_t head, enum version v)
{
    unsigned type = frame_type(head), flags = head & 0xF;

    if (type == PKT_PUBLISH)
        return true;
    /* 3.1 repeats these three, which it sends at QoS 1, with DUP set. */
    if (v == MQTT_31 && type_flags[type] == 0x2)
        flags &= 0x7;
    return flags == type_flags[type];
}

void frame_write_head(struct writer *w, enum packet type, size_t remaining)
{
    if (remaining > FRAME_MAX_REMAINING)
        w->bad = true;
    wr_u8(w, (unsigned)type << 4 | type_flags[type]);
    wr_varint(w, (uint32_t)remaining);
}
