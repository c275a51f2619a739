/* MQTT 5.0 properties [MQTT5-2.2.2].
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_PROTO_PROPS_H
#define CADDIS_PROTO_PROPS_H

#include "proto/tables.h"
#include "proto/writer.h"

/* A decoded property block. Everything in it is checked: known identifiers, in the right
 * packet, at most once unless repeatable, values in range, strings well-formed. For
 * versions before 5.0 decoders leave it empty (has == 0). Views point into the frame. */
struct props {
    uint32_t has;          /* bit 1 << enum prop */
    struct view raw;       /* the block as it came, without its length */
    uint32_t subid_count;  /* Subscription Identifiers in raw */
    uint32_t user_count;   /* User Properties in raw */
    struct {
        uint32_t num;      /* BYTE, U16, U32, VARINT (of a repeatable one: the first) */
        struct view bytes; /* UTF8, BIN */
    } val[PROP_COUNT];
};

static inline bool props_has(const struct props *p, enum prop id)
{
    return (p->has >> id & 1) != 0;
}

static inline uint32_t props_num(const struct props *p, enum prop id, uint32_t absent)
{
    return props_has(p, id) ? p->val[id].num : absent;
}

/* Empty when absent. */
static inline struct view props_bytes(const struct props *p, enum prop id)
{
    return props_has(p, id) ? p->val[id].bytes : (struct view){ NULL, 0 };
}

/* No properties, as in every packet before 5.0. The values are left alone: they are large and `has` guards them. */
static inline void props_clear(struct props *p)
{
    p->has = 0;
    p->raw = (struct view){ NULL, 0 };
    p->subid_count = 0;
    p->user_count = 0;
}

/* Reads length and block from r. where: IN(type) or IN_WILL of tables.h.
 * R_MALFORMED: cut, unknown identifier, misplaced, bad string or length.
 * R_PROTOCOL_ERROR: twice, or a value out of range (2.2.2.2).
 * R_TOPIC_ALIAS_INVALID: Topic Alias 0 [MQTT5-3.3.2-8]. */
enum reason props_decode(struct reader *r, uint32_t where, struct props *out);
/* The same for a block without its length. */
enum reason props_decode_raw(struct view raw, uint32_t where, struct props *out);

/* Iterates a checked raw block; start with r = rd_make(props.raw). False at the end. For a
 * PAIR, *name and *value are set, otherwise num or value as the type has it. */
struct prop_item {
    enum prop id;
    uint32_t num;
    struct view name;  /* PAIR only */
    struct view value; /* UTF8, BIN, PAIR */
};
bool props_next(struct reader *r, struct prop_item *it);

/* A whole block: its length, and the properties in it. */
static inline size_t props_block_size(size_t raw_len)
{
    return varint_size((uint32_t)raw_len) + raw_len;
}

static inline void props_write_block(struct writer *w, struct view raw)
{
    wr_varint(w, (uint32_t)raw.len);
    wr_view(w, raw);
}

/* One property, identifier included. The caller writes the block's length first. */
void props_write_num(struct writer *w, enum prop id, uint32_t v);
void props_write_bytes(struct writer *w, enum prop id, struct view v);
void props_write_pair(struct writer *w, struct view name, struct view value);
size_t props_size_num(enum prop id, uint32_t v);
size_t props_size_bytes(struct view v);
size_t props_size_pair(struct view name, struct view value);

/* What of a PUBLISH's (or will's) properties travels on to subscribers unaltered: Payload Format, Content Type,
 * Response Topic, Correlation Data, User Properties in their order [MQTT5-3.3.2-4, -15, -16, -17, -18, -20].
 * Topic Alias, Subscription Identifiers, Message Expiry and Will Delay are left out: the sender adds its own.
 * This is the form in which messages are kept and stored. */
size_t props_forward_size(const struct props *p);
void props_forward(const struct props *p, struct writer *w);

#endif
