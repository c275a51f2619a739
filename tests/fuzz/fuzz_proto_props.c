/* Fuzz target: property blocks. Input: one byte that chooses the place, then length and block. What decodes is
 * walked, counted and written again, which must give the same bytes; what is forwarded must be a block that stands
 * in a PUBLISH, holds nothing that has to stay behind, and forwards to itself.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "proto/proto.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void write_item(struct writer *w, const struct prop_item *it, size_t *size)
{
    if (it->id == PROP_USER_PROPERTY) {
        props_write_pair(w, it->name, it->value);
        *size += props_size_pair(it->name, it->value);
    } else if (it->value.p != NULL) {
        props_write_bytes(w, it->id, it->value);
        *size += props_size_bytes(it->value);
    } else {
        props_write_num(w, it->id, it->num);
        *size += props_size_num(it->id, it->num);
    }
}

static void walk(const struct props *p)
{
    uint8_t *out = malloc(p->raw.len + 1);
    struct writer w = wr_make(out, p->raw.len);
    struct reader r = rd_make(p->raw);
    uint32_t has = 0, users = 0, subids = 0;
    size_t size = 0;

    require(out != NULL);
    for (;;) {
        struct prop_item it = { 0 };

        if (!props_next(&r, &it))
            break;
        has |= 1u << it.id;
        users += it.id == PROP_USER_PROPERTY;
        subids += it.id == PROP_SUBSCRIPTION_ID;
        require(utf8_valid(it.name));
        write_item(&w, &it, &size);
    }
    require(rd_left(&r) == 0 && !r.bad && !w.bad);
    require(has == p->has && users == p->user_count && subids == p->subid_count);
    require(size == p->raw.len && (size == 0 || memcmp(out, p->raw.p, size) == 0));
    free(out);
}

static void forward(const struct props *p)
{
    size_t size = props_forward_size(p);
    uint8_t *out = malloc(size + 4);
    struct writer w = wr_make(out, size + 4);
    struct reader r;
    struct props again;

    require(out != NULL && size <= p->raw.len);
    wr_varint(&w, (uint32_t)size);
    props_forward(p, &w);
    require(!w.bad);
    r = rd_make((struct view){ out, (size_t)(w.p - out) });
    require(props_decode(&r, IN(PUBLISH), &again) == R_OK && rd_left(&r) == 0);
    require(again.raw.len == size && again.user_count == p->user_count && again.subid_count == 0);
    require(!props_has(&again, PROP_TOPIC_ALIAS) && !props_has(&again, PROP_MESSAGE_EXPIRY));
    require(props_has(&again, PROP_CONTENT_TYPE) == props_has(p, PROP_CONTENT_TYPE));
    require(props_forward_size(&again) == size);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t places[] = {
        IN(CONNECT), IN(CONNACK), IN(PUBLISH), IN_WILL, IN(PUBACK), IN(SUBSCRIBE), IN(SUBACK), IN(UNSUBSCRIBE),
        IN(DISCONNECT), IN(AUTH), 0xFFFFFFFF,
    };
    uint32_t where;
    struct reader r;
    struct props p;

    if (size == 0)
        return 0;
    where = places[data[0] % (sizeof places / sizeof places[0])];
    r = rd_make((struct view){ data + 1, size - 1 });
    if (props_decode(&r, where, &p) != R_OK)
        return 0;
    require((size_t)(r.p - data) == 1 + props_block_size(p.raw.len));
    walk(&p);
    if (where == IN(PUBLISH) || where == IN_WILL)
        forward(&p);
    return 0;
}
