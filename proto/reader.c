/* The two reads that are too long to be inline.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "proto/reader.h"

#include "proto/utf8.h"

uint32_t rd_varint(struct reader *r)
{
    uint32_t value = 0;

    for (unsigned shift = 0; shift <= 21; shift += 7) {
        uint8_t byte = rd_u8(r);

        value |= (uint32_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            if (byte == 0 && shift > 0) /* longer than need be [MQTT5-1.5.5-1] */
                break;
            return value;
        }
    }
    r->bad = true;
    return 0;
}

struct view rd_utf8(struct reader *r)
{
    struct view v = rd_bin(r);

    if (!utf8_valid(v)) {
        r->bad = true;
        return (struct view){ NULL, 0 };
    }
    return v;
}
