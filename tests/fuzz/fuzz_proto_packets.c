/* Fuzz target: the cutter and every decoder. Input: one byte that chooses version and side, then a stream of packets.
 * What decodes is encoded, decoded and encoded again: the sizes promised must be kept, the second round must accept
 * what the first one wrote, and must write the same.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "proto_any.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static uint8_t *copy_of(const uint8_t *p, size_t n)
{
    uint8_t *copy = malloc(n > 0 ? n : 1);

    require(copy != NULL);
    if (n > 0)
        memcpy(copy, p, n);
    return copy;
}

/* Packets whose every byte survives. The others drop an acknowledgement's User Properties, have a long and a short
 * form of the same thing, or (3.1) say things that mean nothing. CONNECT brings its own version. */
static bool lossless(unsigned type, enum version v)
{
    return type == PKT_PUBLISH || (type == PKT_CONNACK && v != MQTT_31);
}

static void round_trip(const struct frame *f, enum version v, bool from_client)
{
    uint8_t *body = copy_of(f->body.p, f->body.len), *first = malloc(f->need + 8), *second = malloc(f->need + 8);
    struct writer w1 = wr_make(first, f->need + 8), w2 = wr_make(second, f->need + 8);
    size_t size1 = 0, size2 = 0, len1;

    require(first != NULL && second != NULL);
    if (any_packet(f->head, (struct view){ body, f->body.len }, v, from_client, &w1, &size1) == R_OK) {
        struct view in = { first, (size_t)(w1.p - first) };
        struct frame again;

        len1 = in.len;
        require(!w1.bad && len1 == size1 && len1 <= f->need);
        require(frame_next(&in, SIZE_MAX, &again) == FRAME_OK && in.len == 0);
        require(any_packet(again.head, again.body, v, from_client, &w2, &size2) == R_OK);
        require(!w2.bad && size2 == size1 && (size_t)(w2.p - second) == size2);
        require(memcmp(first, second, size1) == 0);
        if (lossless(frame_type(f->head), v))
            require(len1 == f->need && memcmp(again.body.p, body, again.body.len) == 0);
    }
    free(body);
    free(first);
    free(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct view in;
    struct frame f;

    if (size == 0)
        return 0;
    in = (struct view){ data + 1, size - 1 };
    for (;;) {
        size_t before = in.len;

        if (frame_next(&in, 1u << 20, &f) != FRAME_OK)
            break;
        require(before - in.len == f.need && f.body.p + f.body.len == in.p);
        round_trip(&f, MQTT_31 + data[0] % 3, (data[0] & 0x80) != 0);
    }
    return 0;
}
