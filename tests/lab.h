/* A broker inside the test: its clients are memory, its clocks are variables, and a turn never waits. The same input
 * gives the same run, so a fuzzer can drive it, and a failing allocation can be found again by its number.
 *
 * Link with -Wl,--wrap=clock_gettime,--wrap=__clock_gettime64,--wrap=adjtimex,--wrap=syscall: all of the process reads
 * lab_mono_ms and lab_wall_ms then, and a sync of the store ends when the lab says so.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_TESTS_LAB_H
#define CADDIS_TESTS_LAB_H

#include "broker/broker.h"

#include <sqlite3.h>

enum { LAB_CLIENTS = 8 };

struct lab_client {
    struct conn *c;             /* NULL: not connected, or the broker has closed it */
    uint8_t *in, *out;          /* to the broker, not read yet; from the broker since lab_forget() */
    size_t in_len, in_cap, out_len, out_cap;
    size_t room;                /* bytes that it still takes; SIZE_MAX: all */
    size_t checked;             /* of out: whole packets that have been looked at */
    bool ended, reset;          /* it closed its side; so that the broker gets an error */
    uint8_t version;            /* of its last CONNECT, for reading what comes back */
    uint32_t got[16];           /* packets by type */
    /* With lab.websocket: what has come in frames goes to `out`. */
    uint8_t *raw;               /* not unframed yet */
    size_t raw_len, raw_cap;
    int status;                 /* of the answer to its request; 0: none yet */
    unsigned pongs;
    unsigned close_code;        /* of the broker's close frame; 0: none yet */
};

struct lab {
    struct broker *b;
    char dir[64];               /* of the store; emptied by lab_init() */
    char *settings;             /* added to the configuration */
    struct lab_client clients[LAB_CLIENTS];
    bool hold_sync;             /* a sync under way does not end by itself */
    char why[512];              /* it did not start */
    bool strict;                /* abort at a packet from the broker that no server may send */
    bool websocket;             /* clients come in a WebSocket: lab_send() wraps, what comes back is unwrapped */
};

extern const char lab_upgrade[];        /* the request of a WebSocket */
extern uint64_t lab_mono_ms;
extern int64_t lab_wall_ms;
extern bool lab_synchronized;   /* a time server looks after the wall clock */

/* settings: sections and keys, copied. Nothing runs yet. */
void lab_init(struct lab *l, const char *settings);
/* false: the broker did not start (no memory); the lab is as before. */
bool lab_start(struct lab *l);
/* As SIGTERM would; or as SIGKILL: what is not committed is gone. */
void lab_stop(struct lab *l);
void lab_kill(struct lab *l);
void lab_fini(struct lab *l);

/* A new connection for client i, in place of one that may be there; through a WebSocket the request is sent, too. */
bool lab_open(struct lab *l, unsigned i);
void lab_send(struct lab *l, unsigned i, const void *bytes, size_t n);
/* Past the WebSocket. */
void lab_send_raw(struct lab *l, unsigned i, const void *bytes, size_t n);
/* A frame, masked; first: its first byte (0x82: a whole binary message). */
void lab_send_frame(struct lab *l, unsigned i, uint8_t first, const void *bytes, size_t n);
/* Forgets what has come back. */
void lab_forget(struct lab_client *c);
/* Events, then what is due; broker_check() at the end. */
void lab_turn(struct lab *l);
/* Both clocks go on, timers fire in between; a turn at each step of at most step_ms. */
void lab_pass(struct lab *l, uint64_t ms, uint64_t step_ms);
/* Lets time pass until everything is written, then broker_check_store(). */
void lab_check_store(struct lab *l, bool ours);
/* Turns until nobody has anything to read or write, at most n. */
void lab_settle(struct lab *l, unsigned n);

/* ---- the store from the side ---- */

/* As another program has it, that has said this to it ("": nothing); the caller closes it. */
sqlite3 *lab_side(const struct lab *l, const char *sql);
/* The same, and it is closed. */
void lab_sql(const struct lab *l, const char *sql);

/* ---- packets, straight into a client's input ---- */

struct lab_connect {
    const char *id, *will_topic;
    uint8_t version, will_qos;
    bool clean, will_retain;
    uint16_t keepalive_s;
    uint32_t expiry_s, will_delay_s;    /* 5.0 */
};
void lab_connect(struct lab *l, unsigned i, const struct lab_connect *p);
/* lab_open() and lab_connect(). */
void lab_join(struct lab *l, unsigned i, const struct lab_connect *p);
void lab_publish(struct lab *l, unsigned i, const char *topic, size_t payload_len, unsigned qos, bool retain,
                 uint16_t pid, uint32_t expiry_s);
void lab_subscribe(struct lab *l, unsigned i, const char *filter, unsigned options, uint16_t pid);
void lab_unsubscribe(struct lab *l, unsigned i, const char *filter, uint16_t pid);
void lab_ack(struct lab *l, unsigned i, unsigned type, uint16_t pid);
void lab_disconnect(struct lab *l, unsigned i);
/* Acknowledges every PUBLISH and PUBREL that came since lab_forget(). */
void lab_ack_all(struct lab *l, unsigned i);

#endif
