/* libFuzzer: the same bytes from a client in one piece and in many. However the network cuts them, the broker must take
 * the same packets out of them, and come to the same end.
 *
 * An input: a byte (begin with a good CONNECT? of which version?), a byte that says how many sizes of pieces follow,
 * those sizes, and what is sent. The sizes are used in turn.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "lab.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a broker has made of it. */
struct result {
    uint64_t packets, publishes, publish_bytes, errors, retained_bytes;
    uint32_t retained, subs, sessions;
    bool open, got_messages;
};

static const uint8_t *piece_end(const uint8_t *at, struct view all, struct view sizes, unsigned n)
{
    size_t left = (size_t)(all.p + all.len - at), some = sizes.len > 0 ? 1u + sizes.p[n % sizes.len] : left;

    return at + (some < left ? some : left);
}

static struct result run(unsigned how, struct view all, struct view sizes)
{
    const struct lab_connect hello = { .id = "x", .version = (uint8_t)(3 + (how >> 1) % 3), .clean = true };
    struct result r;
    struct lab l;

    lab_mono_ms = 1000000;
    lab_wall_ms = 1700000000000;
    lab_init(&l, "[persistence]\nenabled = false\n[limits]\nmax_packet_size = 3000\n");
    if (!lab_start(&l))
        abort();
    lab_open(&l, 0);
    if (how & 1)
        lab_connect(&l, 0, &hello);
    lab_turn(&l);
    for (const uint8_t *at = all.p, *end; at < all.p + all.len && l.clients[0].c != NULL; at = end) {
        end = piece_end(at, all, sizes, (unsigned)(at - all.p));
        lab_send(&l, 0, at, (size_t)(end - at));
        lab_turn(&l);
    }
    lab_settle(&l, 10);
    r = (struct result){
        .packets = METRIC(l.b, MESSAGES_RECEIVED), .publishes = METRIC(l.b, PUBLISH_RECEIVED),
        .publish_bytes = METRIC(l.b, PUBLISH_BYTES_RECEIVED), .errors = METRIC(l.b, PROTOCOL_ERRORS),
        .retained = l.b->retain.count, .retained_bytes = l.b->retain.bytes, .subs = l.b->subs.count,
        .sessions = l.b->sessions.count, .open = l.clients[0].c != NULL,
        .got_messages = METRIC(l.b, PUBLISH_SENT) > 0,
    };
    lab_fini(&l);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader in = rd_make((struct view){ data, size });
    unsigned how = rd_u8(&in), n = rd_u8(&in) % 16u;
    struct view sizes = rd_bytes(&in, n < rd_left(&in) ? n : rd_left(&in)), all = rd_rest(&in);
    struct result a, b;

    if (all.len == 0)
        return 0;
    a = run(how, all, (struct view){ NULL, 0 });
    b = run(how, all, sizes.len > 0 ? sizes : (struct view){ (const uint8_t *)"", 1 });
    /* Acknowledged before it was sent, a message of its own means nothing; afterwards it may be a mistake. */
    if (a.got_messages || b.got_messages)
        return 0;
    assert(a.packets == b.packets && a.publishes == b.publishes && a.publish_bytes == b.publish_bytes);
    assert(a.errors == b.errors && a.open == b.open);
    assert(a.retained == b.retained && a.retained_bytes == b.retained_bytes);
    assert(a.subs == b.subs && a.sessions == b.sessions);
    return 0;
}
