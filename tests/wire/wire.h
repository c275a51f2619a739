/* Conversations with a real broker process, written as text. README.txt in this folder explains the language.
 *
 *     wire.c           files to conversations, conversations to Check tests
 *     wire_script.c    statements
 *     wire_words.c     lines to words
 *     wire_packet.c    words to packets and back, and their comparison
 *     wire_client.c    connections
 *     wire_broker.c    the process, its configuration, its log
 *
 * A test runs in a process of its own, so there is one broker and one set of clients: globals, freed by exit.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_TESTS_WIRE_H
#define CADDIS_TESTS_WIRE_H

#include "proto/proto.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long anything may take; a conversation has WIRE_TEST_S in all. */
enum { WIRE_WAIT_MS = 10000, WIRE_TEST_S = 60 };

/* More topic aliases than a conversation needs. */
enum { ALIASES = 64 };

/* ---- packets as words ---- */

enum { MAX_FIELDS = 96 };

struct field {
    char key[24];
    struct view value;      /* text or bytes; of a number: NULL, 0 in what was received */
    int64_t num;            /* received number; -1: not one */
};

/* A control packet as a list of fields, in order. Views point into the frame it came from, or into store. */
struct said {
    unsigned type;          /* enum packet */
    unsigned count;
    struct field field[MAX_FIELDS];
    size_t used;
    char store[16384];      /* texts that had to be made */
};

/* The first field with this key, or NULL. */
const struct field *packet_field(const struct said *p, const char *key);
void packet_add(struct said *p, const char *key, struct view value);
void packet_add_number(struct said *p, const char *key, int64_t n);
/* A copy of the value that lives as long as the packet. */
struct view packet_keep(struct said *p, struct view value);
/* Replaces the value of a field that is there. */
void packet_set(struct said *p, const char *key, struct view value);
/* The number a word stands for (decimal or 0x); fails the test if it is none. */
int64_t word_number(const struct field *f);
/* "publish" to PKT_PUBLISH; 0: no packet has this name. */
unsigned packet_type(const char *word);

/* Encodes what a client sends. The buffer is malloc'ed. Fails the test if a field is not known. */
struct view packet_encode(const struct said *p, enum version v);
/* Decodes what a server sent. R_OK, or what is wrong with it. */
enum reason packet_decode(const struct frame *f, enum version v, struct said *out);
/* Is `got` what `want` asks for? A field that is not asked for is free, except those whose default says otherwise. */
bool packet_matches(const struct said *want, const struct said *got);
/* In words, for messages. buf is returned. */
const char *packet_text(const struct said *p, char *buf, size_t cap);

/* ---- clients ---- */

struct client {
    char name[24];
    char listener[24];      /* where it connects to */
    int fd;                 /* -1: not connected */
    bool greeted;           /* CONNACK has come */
    enum version version;
    uint16_t last_pid;      /* of the last packet that came and had one */
    uint32_t max_packet;    /* what its CONNECT asked for */
    uint32_t alias_max;
    char *alias[ALIASES];   /* topics that the broker gave aliases to */
    uint8_t *in;            /* received, not yet used: in_len bytes from in_at */
    size_t in_at, in_len, in_cap;
    uint8_t *out;           /* held back by >> */
    size_t out_len;
};

/* The client of this name, made at its first mention. NULL: there can be no more. */
struct client *client_get(const char *name);
/* Sends a packet, after what was held back; or holds it back. Connects first if need be. */
void client_send(struct client *c, struct view bytes, bool hold);
/* Byte by byte, and the broker has read each one before the next is sent. */
void client_send_slowly(struct client *c, struct view bytes);
/* Notes what the answers depend on: version, limits. */
void client_note(struct client *c, const struct said *sent);
/* The next packet, as long as the buffer is not read again. false: closed. Fails the test when nothing comes. */
bool client_receive(struct client *c, struct said *out, struct view *raw);
void client_expect_closed(struct client *c);
/* Drops the connection. reset: with RST. */
void client_close(struct client *c, bool reset);
void client_close_all(void);
/* Waits until one of n clients has something to read; its index. */
unsigned client_first(struct client **set, unsigned n);

/* ---- the broker ---- */

/* Replaces the conversation's own lines of the configuration. */
void broker_config(const char *text);
/* A file in the broker's directory, which is $DIR in the configuration. */
void broker_file(const char *name, const char *text);
/* Starts it, with the store as it was left, unless it runs. */
void broker_start(void);
bool broker_running(void);
void broker_kill(void);
/* SIGTERM; it must exit with 0. */
void broker_term(void);
void broker_restart(void);
/* Writes the configuration again, then SIGHUP. */
void broker_reload(void);
/* Port of a listener, from the log. */
uint16_t broker_port(const char *listener);
/* Waits for a line with this text, behind the line that was found last. */
void broker_log_wait(const char *text);
/* The same without waiting: is it nowhere in the log of this process? */
bool broker_log_has(const char *text);
/* Waits for a file descriptor (-1: none), reading the log meanwhile. false: too late. deadline: clock_ms(). */
bool broker_poll(int fd, short events, uint64_t deadline);
/* The last lines of the log, for messages. */
const char *broker_log_tail(void);
/* Kills it if it still runs, and removes its directory. */
void broker_drop(void);

uint64_t clock_ms(void);

/* ---- the script ---- */

/* Splits a line into words, variables replaced. They stay until the next line is loaded. */
void words_load(const char *line);
unsigned words_count(void);
/* "" beyond the last one. */
const char *word(unsigned i);
bool word_is(unsigned i, const char *text);
void words_set(const char *variable, const char *value);
/* The packet that the words from `at` on describe; it keeps what it needs of them. */
void words_packet(struct said *p, unsigned at);
/* The bytes they describe: pairs of digits and quoted texts; :: is the remaining length of all that follows. */
struct view words_hex(unsigned at);

struct script {
    const char *path;
    char **line;            /* line[0] is the first */
    unsigned count;
};

/* Runs lines from..to, not including `to`, and ends the broker. ver: what CONNECT says where it does not say it. */
void script_run(const struct script *s, unsigned from, unsigned to, enum version ver);

/* Ends the test: FILE:LINE, the statement, the message, the end of the broker's log. */
void give_up(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
