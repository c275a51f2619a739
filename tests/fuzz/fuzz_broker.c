/* libFuzzer: a whole broker with eight clients, its store and its clocks. The input is a list of what happens: packets,
 * rubbish, lost connections, readers that stop, time that passes or jumps, restarts and kills. After every step
 * broker_check() holds and every packet that came from the broker can be decoded; at the end no memory is left.
 *
 * An input: one byte for the settings, then steps: a byte (action in the low four bits, client in the next three),
 * followed by what the action reads. Of some lengths it goes through WebSockets.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "lab.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Inputs with more steps only cost time. */
#define STEPS_MAX 400

enum action {
    RAW, CONNECT, PUBLISH, SUBSCRIBE, UNSUBSCRIBE, ACK, ACK_ALL, DISCONNECT, LOSE, READ, PASS, JUMP, RESTART, SYNC, LARGE,
    MANY
};

static const char *const ids[] = { "a", "b", "c", "" };
static const char *const topics[] = { "t", "t/1", "t/1/2", "u", "$SYS/broker/uptime", "/", "w", "t/2" };
static const char *const filters[] = {
    "t", "#", "t/+", "+/1/#", "$share/g/t/#", "$share/h/#", "$SYS/#", "u", "$share/g/t", "w", "/+", "t/1",
};
#define PICK(list, n) (list)[(n) % (sizeof (list) / sizeof (list)[0])]

static void do_connect(struct lab *l, unsigned i, struct reader *r)
{
    static const uint32_t seconds[] = { 0, 1, 60, UINT32_MAX };
    unsigned how = rd_u8(r), more = rd_u8(r);
    const struct lab_connect p = {
        .id = PICK(ids, how >> 4), .version = (uint8_t)(3 + (how & 3) % 3), .clean = (how & 4) != 0,
        .will_topic = (how & 8) != 0 ? PICK(topics, more) : NULL, .will_qos = (uint8_t)((more >> 3) % 3),
        .will_retain = (more & 128) != 0, .keepalive_s = how >> 6 == 3 ? 10 : 0,
        .expiry_s = PICK(seconds, more >> 5), .will_delay_s = PICK(seconds, more >> 6),
    };

    lab_join(l, i, &p);
}

static void do_publish(struct lab *l, unsigned i, struct reader *r, size_t payload_len)
{
    unsigned how = rd_u8(r), pid = rd_u8(r);

    lab_publish(l, i, PICK(topics, how), payload_len, (how >> 3 & 3) % 3, (how & 32) != 0, (uint16_t)(pid + 1),
                how >> 6);
}

/* Many at once, so that windows close and queues fill. */
static void do_many(struct lab *l, unsigned i, struct reader *r)
{
    unsigned how = rd_u8(r), n = rd_u8(r);

    for (unsigned k = 0; k < n; k++)
        lab_publish(l, i, PICK(topics, how), k % 5, (how >> 3 & 3) % 3, (how & 32) != 0, (uint16_t)(k + 1), 0);
}

static void do_restart(struct lab *l, unsigned kill)
{
    if (kill & 1)
        lab_kill(l);
    else
        lab_stop(l);
    if (kill & 2)
        lab_wall_ms = 0;                /* the board has no battery for its clock */
    if (!lab_start(l))
        abort();
}

static void do_lose(struct lab_client *cl, unsigned how)
{
    cl->ended = true;
    cl->reset = (how & 1) != 0;
}

static void do_step(struct lab *l, struct reader *r)
{
    static const uint32_t spans[] = { 1, 20, 60, 120, 1000, 6000, 16000, 120000 };
    unsigned head = rd_u8(r), i = head >> 4 & 7;
    struct lab_client *cl = &l->clients[i];
    struct view raw;

    switch ((enum action)(head & 15)) {
    case RAW:
        if (cl->c == NULL)
            lab_open(l, i);
        raw.len = rd_u8(r);
        raw = rd_bytes(r, raw.len < rd_left(r) ? raw.len : rd_left(r));
        if (raw.len % 2 == 1)
            lab_send_raw(l, i, raw.p, raw.len);
        else
            lab_send(l, i, raw.p, raw.len);
        break;
    case CONNECT: do_connect(l, i, r); break;
    case PUBLISH: do_publish(l, i, r, rd_u8(r)); break;
    case LARGE: do_publish(l, i, r, rd_u16(r)); break;
    case MANY: do_many(l, i, r); break;
    case SUBSCRIBE: {
        unsigned f = rd_u8(r);

        lab_subscribe(l, i, PICK(filters, f), (f >> 4) % 3 | (rd_u8(r) & 0x3C), (uint16_t)(f + 1));
        break;
    }
    case UNSUBSCRIBE: lab_unsubscribe(l, i, PICK(filters, rd_u8(r)), 7); break;
    case ACK: {
        unsigned how = rd_u8(r);

        lab_ack(l, i, PKT_PUBACK + (how & 3), (uint16_t)((how >> 2) + 1));
        break;
    }
    case ACK_ALL: lab_ack_all(l, i); break;
    case DISCONNECT: lab_disconnect(l, i); break;
    case LOSE: do_lose(cl, rd_u8(r)); break;
    case READ: {
        unsigned n = rd_u8(r);

        cl->room = n == 255 ? SIZE_MAX : n;
        break;
    }
    case PASS:
        lab_pass(l, PICK(spans, rd_u8(r)), 500);
        broker_check_store(l->b, true);
        break;
    case JUMP:
        lab_wall_ms += (int64_t)(int8_t)rd_u8(r) * 86400000;
        lab_wall_ms = lab_wall_ms > 0 ? lab_wall_ms : 0;
        break;
    case RESTART: do_restart(l, rd_u8(r)); break;
    case SYNC: l->hold_sync = (rd_u8(r) & 1) != 0; break;
    }
    if ((head & 128) == 0)              /* otherwise it happens in one turn with the next */
        lab_turn(l);
}

static const char *settings(unsigned how)
{
    static char text[512];

    snprintf(text, sizeof text, "[persistence]\nenabled = %s\ndurability = %s\ngather = %s\ncommit_interval = %s\n"
             "[broker]\nallow_duplicate_messages = %s\nqueue_qos0_messages = %s\n"
             "[limits]\nmax_queued_messages = %s\nqueue_full = %s\nwrite_buffer = 4096\nmax_packet_size = 40000\n",
             (how & 1) != 0 ? "false" : "true", (how & 2) != 0 ? "power" : "crash", (how & 4) != 0 ? "0" : "100ms",
             (how & 8) != 0 ? "0" : "20ms", (how & 16) != 0 ? "true" : "false", (how & 32) != 0 ? "true" : "false",
             (how & 64) != 0 ? "5" : "1000", (how & 128) != 0 ? "drop-oldest" : "drop-newest");
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader r = rd_make((struct view){ data, size });
    struct lab l;
    size_t before = mem_total;

    lab_mono_ms = 1000000;
    lab_wall_ms = 1700000000000;
    lab_init(&l, settings(rd_u8(&r)));
    l.websocket = size % 5 == 4;
    if (!lab_start(&l))
        abort();
    for (unsigned n = 0; n < STEPS_MAX && rd_left(&r) > 0 && !r.bad && !l.b->stopping; n++)
        do_step(&l, &r);
    lab_turn(&l);
    if (size % 2 == 0) {
        lab_stop(&l);
        if (!lab_start(&l))
            abort();
    }
    lab_fini(&l);
    assert(mem_total == before);
    return 0;
}
