/* Properties, driven by one table generated from tables.h: what an identifier is, where it may stand, how often,
 * and which values it takes.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "proto/props.h"

#include "proto/utf8.h"

enum type { TYPE_BYTE, TYPE_U16, TYPE_U32, TYPE_VARINT, TYPE_UTF8, TYPE_BIN, TYPE_PAIR };
enum range { RANGE_ANY, RANGE_BOOL, RANGE_NONZERO };

static const struct rule {
    uint32_t where;
    uint8_t wire_id, type, range, many;
} rules[PROP_COUNT] = {
#define X(name, id, type, range, many, where) [PROP_##name] = { where, id, TYPE_##type, RANGE_##range, many },
    PROPERTIES(X)
#undef X
};

/* From identifier to enum prop + 1; 0: no such property. All identifiers are below 128, so the Variable Byte
 * Integer they are written as is always one byte, and a first byte of 128 or more cannot be one of them. */
static const uint8_t by_wire_id[] = {
#define X(name, id, type, range, many, where) [id] = PROP_##name + 1,
    PROPERTIES(X)
#undef X
};

_Static_assert(PROP_COUNT <= 32, "struct props.has is 32 bits");

/* Reads one property without judging its value. False: unknown, or cut. */
static bool read_item(struct reader *r, struct prop_item *it)
{
    unsigned wire_id = rd_u8(r);

    if (wire_id >= sizeof by_wire_id || by_wire_id[wire_id] == 0)
        return false;
    it->id = by_wire_id[wire_id] - 1u;
    switch ((enum type)rules[it->id].type) {
    case TYPE_BYTE:   it->num = rd_u8(r); break;
    case TYPE_U16:    it->num = rd_u16(r); break;
    case TYPE_U32:    it->num = rd_u32(r); break;
    case TYPE_VARINT: it->num = rd_varint(r); break;
    case TYPE_PAIR:   it->name = rd_bin(r); /* fall through */
    case TYPE_UTF8:
    case TYPE_BIN:    it->value = rd_bin(r); break;
    }
    return !r->bad;
}

static enum reason check_value(const struct prop_item *it)
{
    const struct rule *rule = &rules[it->id];

    if (rule->type == TYPE_PAIR && !utf8_valid(it->name))
        return R_MALFORMED;
    if ((rule->type == TYPE_PAIR || rule->type == TYPE_UTF8) && !utf8_valid(it->value))
        return R_MALFORMED;
    if (rule->range == RANGE_BOOL && it->num > 1)
        return R_PROTOCOL_ERROR;
    if (rule->range == RANGE_NONZERO && it->num == 0) /* [MQTT5-3.3.2-8] */
        return it->id == PROP_TOPIC_ALIAS ? R_TOPIC_ALIAS_INVALID : R_PROTOCOL_ERROR;
    return R_OK;
}

static void keep(struct props *out, const struct prop_item *it)
{
    const struct rule *rule = &rules[it->id];

    if (it->id == PROP_USER_PROPERTY)
        out->user_count++;
    else if (it->id == PROP_SUBSCRIPTION_ID)
        out->subid_count++;
    if (props_has(out, it->id))
        return; /* of a repeatable one, the first */
    out->has |= 1u << it->id;
    if (rule->type <= TYPE_VARINT)
        out->val[it->id].num = it->num;
    else
        out->val[it->id].bytes = it->value;
}

enum reason props_decode_raw(struct view raw, uint32_t where, struct props *out)
{
    struct reader block = rd_make(raw);
    struct prop_item it;
    enum reason why;

    props_clear(out);
    out->raw = raw;
    while (rd_left(&block) > 0) {
        if (!read_item(&block, &it) || (rules[it.id].where & where) == 0) /* (2.2.2.2) */
            return R_MALFORMED;
        if (props_has(out, it.id) && !rules[it.id].many)
            return R_PROTOCOL_ERROR;
        why = check_value(&it);
        if (why != R_OK)
            return why;
        keep(out, &it);
    }
    return R_OK;
}

enum reason props_decode(struct reader *r, uint32_t where, struct props *out)
{
    struct view raw = rd_bytes(r, rd_varint(r));

    if (!r->bad)
        return props_decode_raw(raw, where, out);
    props_clear(out);
    return R_MALFORMED;
}

bool props_next(struct reader *r, struct prop_item *it)
{
    return rd_left(r) > 0 && read_item(r, it);
}

void props_write_num(struct writer *w, enum prop id, uint32_t v)
{
    wr_u8(w, rules[id].wire_id);
    switch ((enum type)rules[id].type) {
    case TYPE_BYTE:   wr_u8(w, v); break;
    case TYPE_U16:    wr_u16(w, v); break;
    case TYPE_U32:    wr_u32(w, v); break;
    case TYPE_VARINT: wr_varint(w, v); break;
    default:          w->bad = true;
    }
}

void props_write_bytes(struct writer *w, enum prop id, struct view v)
{
    wr_u8(w, rules[id].wire_id);
    wr_bin(w, v);
}

void props_write_pair(struct writer *w, struct view name, struct view value)
{
    wr_u8(w, rules[PROP_USER_PROPERTY].wire_id);
    wr_bin(w, name);
    wr_bin(w, value);
}

size_t props_size_num(enum prop id, uint32_t v)
{
    switch ((enum type)rules[id].type) {
    case TYPE_BYTE: return 1 + 1;
    case TYPE_U16:  return 1 + 2;
    case TYPE_U32:  return 1 + 4;
    default:        return 1 + varint_size(v);
    }
}

size_t props_size_bytes(struct view v)
{
    return 1 + 2 + v.len;
}

size_t props_size_pair(struct view name, struct view value)
{
    return 1 + 2 + name.len + 2 + value.len;
}

/* What the sender's publisher meant for the receiver; the rest is between one peer and the broker. */
#define TRAVELS(id) (1u << PROP_##id)
#define TRAVELLERS (TRAVELS(PAYLOAD_FORMAT) | TRAVELS(CONTENT_TYPE) | TRAVELS(RESPONSE_TOPIC) | \
                    TRAVELS(CORRELATION_DATA) | TRAVELS(USER_PROPERTY))

/* The travelling properties' bytes, in their order [MQTT5-3.3.2-18]; w NULL: only counts them. */
static size_t forward(const struct props *p, struct writer *w)
{
    struct reader r;
    struct prop_item it;
    size_t total = 0;

    if ((p->has & ~TRAVELLERS) == 0) { /* the usual case: none, or all of them */
        if (w != NULL)
            wr_view(w, p->raw);
        return p->raw.len;
    }
    r = rd_make(p->raw);
    for (const uint8_t *start = r.p; props_next(&r, &it); start = r.p) {
        if ((TRAVELLERS >> it.id & 1) == 0)
            continue;
        total += (size_t)(r.p - start);
        if (w != NULL)
            wr_bytes(w, start, (size_t)(r.p - start));
    }
    return total;
}

size_t props_forward_size(const struct props *p)
{
    return forward(p, NULL);
}

void props_forward(const struct props *p, struct writer *w)
{
    (void)forward(p, w);
}
