/* MQTT through WebSockets: the handshake, frames in every shape, and how it ends.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "lab.h"
#include "proto/ws.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>

enum { WEB, OTHER };

static const struct lab_connect web = { .id = "web", .version = MQTT_50 };
static const struct lab_connect old = { .id = "old", .version = MQTT_311, .clean = true };

static struct lab lab;

static void begin(const char *settings)
{
    lab_init(&lab, settings);
    lab.websocket = true;
    ck_assert(lab_start(&lab));
}

static void setup(void)
{
    begin("protocol = websockets\n");
}

static void teardown(void)
{
    lab_fini(&lab);
    ck_assert_uint_eq(mem_total, 0);
}

static struct lab_client *client(unsigned i)
{
    return &lab.clients[i];
}

/* The lab has looked at the answer: the subprotocol is mqtt [MQTT-6.0.0-4]. */
static void come(unsigned i, const struct lab_connect *p)
{
    lab_join(&lab, i, p);
    lab_settle(&lab, 20);
    ck_assert_int_eq(client(i)->status, 101);
    ck_assert_uint_eq(client(i)->got[PKT_CONNACK], 1);
    lab_forget(client(i));
}

/* A connection of which nothing is sent yet. */
static void come_bare(void)
{
    lab_open(&lab, WEB);
    client(WEB)->in_len = 0;
}

/* ---- what it is for ---- */

START_TEST(every_qos)
{
    unsigned published = 0, completed = 0;

    come(WEB, &web);
    come(OTHER, &old);
    lab_subscribe(&lab, WEB, "t/#", 2, 1);
    lab_settle(&lab, 20);
    ck_assert_uint_eq(client(WEB)->got[PKT_SUBACK], 1);
    for (uint16_t qos = 0; qos <= 2; qos++)
        lab_publish(&lab, OTHER, "t/x", 1000, qos, false, qos, 0);
    for (unsigned n = 0; n < 8; n++) {
        lab_settle(&lab, 20);
        published += client(WEB)->got[PKT_PUBLISH];
        completed += client(OTHER)->got[PKT_PUBACK] + client(OTHER)->got[PKT_PUBCOMP];
        if (client(OTHER)->got[PKT_PUBREC] > 0)
            lab_ack(&lab, OTHER, PKT_PUBREL, 2);
        lab_ack_all(&lab, OTHER);
        lab_ack_all(&lab, WEB);
    }
    ck_assert_uint_eq(published, 3);
    ck_assert_uint_eq(completed, 2);
    ck_assert_uint_gt(client(OTHER)->pongs, 0);     /* lab_send() puts pings between */
    lab_disconnect(&lab, OTHER);
    lab_settle(&lab, 20);
    ck_assert_ptr_null(client(OTHER)->c);
    ck_assert_uint_eq(client(OTHER)->close_code, 1000);
}
END_TEST

/* One byte a turn, either way, in messages of one frame and of several: a packet begins and ends anywhere
 * [MQTT-6.0.0-2]. */
START_TEST(byte_by_byte)
{
    uint8_t all[4096];
    size_t n;

    lab_join(&lab, WEB, &web);
    lab_subscribe(&lab, WEB, "t", 0, 1);
    lab_publish(&lab, WEB, "t", 200, 0, false, 0, 0);
    n = client(WEB)->in_len;
    memcpy(all, client(WEB)->in, n);
    client(WEB)->in_len = 0;
    client(WEB)->room = 0;
    for (size_t k = 0; k < n; k++) {
        lab_send_raw(&lab, WEB, all + k, 1);
        client(WEB)->room++;
        lab_settle(&lab, 3);
    }
    for (unsigned k = 0; k < 600 && client(WEB)->got[PKT_PUBLISH] == 0; k++) {
        client(WEB)->room++;
        lab_turn(&lab);
    }
    ck_assert_uint_eq(client(WEB)->got[PKT_CONNACK], 1);
    ck_assert_uint_eq(client(WEB)->got[PKT_SUBACK], 1);
    ck_assert_uint_eq(client(WEB)->got[PKT_PUBLISH], 1);
    ck_assert_uint_eq(client(WEB)->pongs, 4);
}
END_TEST

/* Everything in one read: the request and what would have to wait for its answer. */
START_TEST(glued_to_the_request)
{
    lab_join(&lab, WEB, &web);
    lab_subscribe(&lab, WEB, "t", 0, 1);
    lab_settle(&lab, 20);
    ck_assert_uint_eq(client(WEB)->got[PKT_CONNACK], 1);
    ck_assert_uint_eq(client(WEB)->got[PKT_SUBACK], 1);
}
END_TEST

/* Output larger than what a socket takes at once, of many packets and of one. */
START_TEST(slow_reader)
{
    come(WEB, &web);
    come(OTHER, &old);
    lab_subscribe(&lab, WEB, "t", 0, 1);
    lab_settle(&lab, 20);
    client(WEB)->room = 0;
    for (unsigned n = 0; n < 100; n++)
        lab_publish(&lab, OTHER, "t", n == 50 ? 100000 : 100, 0, false, 0, 0);
    lab_settle(&lab, 50);
    for (unsigned n = 0; n < 5000 && client(WEB)->got[PKT_PUBLISH] < 100; n++) {
        client(WEB)->room = n % 97 + 1;
        if (n % 50 == 3)        /* a pong has its place between two frames */
            lab_send_frame(&lab, WEB, 0x80 | WS_PING, "ping", 4);
        lab_settle(&lab, 2);
    }
    ck_assert_uint_eq(client(WEB)->got[PKT_PUBLISH], 100);
    ck_assert_uint_gt(client(WEB)->pongs, 1);
}
END_TEST

/* ---- requests ---- */

#define REST "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" \
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define MQTT "Sec-WebSocket-Protocol: mqtt\r\n"

static const struct {
    const char *name, *request;
    int status;                 /* 0: closed without a word */
} requests[] = {
    { "good", "GET / HTTP/1.1\r\nHost: x\r\n" REST MQTT "\r\n", 101 },
    { "a page is asked for", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 426 },
    { "another method", "POST / HTTP/1.1\r\nHost: x\r\n" REST MQTT "\r\n", 405 },
    { "another subprotocol", "GET / HTTP/1.1\r\nHost: x\r\n" REST "Sec-WebSocket-Protocol: chat\r\n\r\n", 400 },
    { "not HTTP", "EHLO mail.example\r\n\r\n", 400 },
    { "MQTT without WebSocket", "\x10\x0c", 0 },
    { "TLS", "\x16\3\1", 0 },
    { "zero", "\x80", 0 },
};

START_TEST(request_rows)
{
    come_bare();
    lab_send_raw(&lab, WEB, requests[_i].request, strlen(requests[_i].request));
    lab_settle(&lab, 5);
    ck_assert_msg(client(WEB)->status == requests[_i].status, "%s: %d", requests[_i].name, client(WEB)->status);
    ck_assert_msg((client(WEB)->c != NULL) == (requests[_i].status == 101), "%s", requests[_i].name);
    ck_assert_uint_eq(client(WEB)->close_code, 0);
}
END_TEST

/* The request has no end: 8 KiB are looked at, no more kept. */
START_TEST(endless_request)
{
    size_t before = mem_total;
    char line[200];

    come_bare();
    lab_send_raw(&lab, WEB, "GET / HTTP/1.1\r\n", 16);
    for (unsigned n = 0; n < 200 && client(WEB)->c != NULL; n++) {
        lab_send_raw(&lab, WEB, line, (size_t)snprintf(line, sizeof line, "X-%u: %0100d\r\n", n, 0));
        lab_settle(&lab, 2);
        ck_assert_uint_le(mem_total, before + 16384);
    }
    ck_assert_ptr_null(client(WEB)->c);
    ck_assert_int_eq(client(WEB)->status, 431);
}
END_TEST

/* Of 8,192 bytes it is taken. */
START_TEST(longest_request)
{
    char filler[8192];
    size_t have = strlen(lab_upgrade) - 2;      /* its empty line comes last */

    come_bare();
    lab_send_raw(&lab, WEB, lab_upgrade, have);
    memset(filler, 'x', sizeof filler);
    memcpy(filler, "X: ", 3);
    lab_send_raw(&lab, WEB, filler, 8192 - have - 4);
    lab_send_raw(&lab, WEB, "\r\n\r\n", 4);
    lab_settle(&lab, 20);
    ck_assert_int_eq(client(WEB)->status, 101);
}
END_TEST

/* Neither a request that dribbles nor a WebSocket that says nothing outlives the connect timeout. */
START_TEST(connect_timeout)
{
    come_bare();
    if (_i == 1)
        lab_send_raw(&lab, WEB, lab_upgrade, strlen(lab_upgrade));
    for (unsigned s = 0; s < 9; s++) {
        if (_i == 0)
            lab_send_raw(&lab, WEB, &"GET / HTTP/1.1"[s], 1);
        lab_pass(&lab, 1000, 500);
        ck_assert_ptr_nonnull(client(WEB)->c);
    }
    lab_pass(&lab, 2000, 500);
    ck_assert_ptr_null(client(WEB)->c);
    ck_assert_uint_eq(client(WEB)->close_code, _i == 1 ? 1008 : 0);
}
END_TEST

static const struct { const char *origin; int status; } origins[] = {
    { "https://panel.example", 101 }, { "HTTPS://Panel.Example", 101 }, { "http://localhost:8080", 101 }, { "null", 101 },
    { "https://panel.example.evil", 403 }, { "https://panel", 403 }, { "http://panel.example", 403 }, { "", 403 },
    { NULL, 403 },
};

START_TEST(origin_rows)
{
    char line[100];

    lab_fini(&lab);
    begin("protocol = websockets\nwebsockets_origin = https://panel.example null\n"
          "websockets_origin = http://localhost:8080\n");
    come_bare();
    lab_send_raw(&lab, WEB, lab_upgrade, strlen(lab_upgrade) - 2);
    if (origins[_i].origin != NULL)
        lab_send_raw(&lab, WEB, line, (size_t)snprintf(line, sizeof line, "Origin: %s\r\n", origins[_i].origin));
    lab_send_raw(&lab, WEB, "\r\n", 2);
    lab_settle(&lab, 5);
    ck_assert_msg(client(WEB)->status == origins[_i].status, "%s: %d", origins[_i].origin, client(WEB)->status);
}
END_TEST

/* ---- frames that are none [MQTT-6.0.0-1], and ends ---- */

static const struct {
    const char *name, *bytes;
    size_t len;
    unsigned code;
} ends[] = {
#define ROW(name, bytes, code) { name, bytes, sizeof bytes - 1, code }
    ROW("text",                      "\x81\x81\0\0\0\0a", 1003),
    ROW("no mask",                   "\x82\x01\xC0", 1002),
    ROW("a reserved bit",            "\xC2\x81\0\0\0\0\xC0", 1002),
    ROW("a reserved opcode",         "\x83\x81\0\0\0\0\xC0", 1002),
    ROW("a ping in parts",           "\x09\x81\0\0\0\0a", 1002),
    ROW("a length of 64 bits",       "\x82\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0\0\0", 1002),
    ROW("a close with its code",     "\x88\x82\0\0\0\0\x0F\xA1", 4001),
    ROW("a close with a reason",     "\x88\x85\0\0\0\0\x03\xE9\x62ye", 1001),
    ROW("a close without a code",    "\x88\x80\0\0\0\0", 1000),
    ROW("half a code",               "\x88\x81\0\0\0\0\x03", 1002),
    ROW("a code for nobody to send", "\x88\x82\0\0\0\0\x03\xEE", 1002),
    ROW("a malformed packet",        "\x82\x82\0\0\0\0\x00\x00", 1002),
    ROW("a packet that is too large", "\x82\x85\0\0\0\0\x30\xFF\xFF\xFF\x7F", 1009),
    ROW("nothing new behind a close", "\x88\x80\0\0\0\0\x82\x01\xC0", 1000),
#undef ROW
};

START_TEST(end_rows)
{
    come(WEB, _i % 2 == 0 ? &old : &web);
    lab_send_raw(&lab, WEB, ends[_i].bytes, ends[_i].len);
    lab_settle(&lab, 5);
    ck_assert_msg(client(WEB)->c == NULL, "%s", ends[_i].name);
    ck_assert_msg(client(WEB)->close_code == ends[_i].code, "%s: %u", ends[_i].name, client(WEB)->close_code);
}
END_TEST

/* What comes before a close frame, or before one that is none, in the same read counts. */
START_TEST(end_behind_packets)
{
    come(WEB, &web);
    come(OTHER, &old);
    lab_subscribe(&lab, OTHER, "t", 0, 1);
    lab_settle(&lab, 5);
    lab_publish(&lab, WEB, "t", 5, 0, false, 0, 0);
    lab_send_frame(&lab, WEB, 0x80 | (_i == 0 ? WS_CLOSE : WS_TEXT), "\x03\xE8", 2);
    lab_settle(&lab, 5);
    ck_assert_uint_eq(client(OTHER)->got[PKT_PUBLISH], 1);
    ck_assert_ptr_null(client(WEB)->c);
    ck_assert_uint_eq(client(WEB)->close_code, _i == 0 ? 1000 : 1003);
}
END_TEST

START_TEST(broker_stops)
{
    static const uint8_t close_frame[] = { 0x80 | WS_CLOSE, 2, 1001 >> 8, 1001 & 0xFF };
    const struct lab_client *cl = client(WEB);

    come(WEB, &web);
    broker_stop(lab.b, 0);
    broker_run(lab.b);
    ck_assert_ptr_null(cl->c);
    ck_assert_uint_gt(cl->raw_len, 2 + sizeof close_frame);
    ck_assert_uint_eq(cl->raw[2], PKT_DISCONNECT << 4);
    ck_assert_mem_eq(cl->raw + cl->raw_len - sizeof close_frame, close_frame, sizeof close_frame);
}
END_TEST

/* Pings by the thousand from one who reads none of the answers. */
START_TEST(ping_flood)
{
    size_t before;
    char payload[125] = "x";

    come(WEB, &web);
    before = mem_total;
    client(WEB)->room = 0;
    for (unsigned n = 0; n < 2000; n++) {
        lab_send_frame(&lab, WEB, 0x80 | WS_PING, payload, n % 126);
        lab_settle(&lab, 2);
        ck_assert_uint_le(mem_total, before + 2048);
    }
    for (unsigned n = 0; n < 5000; n++) {       /* or who reads them a byte at a time */
        client(WEB)->room = 1;
        lab_send_frame(&lab, WEB, 0x80 | WS_PING, payload, 20);
        lab_settle(&lab, 2);
        ck_assert_uint_le(mem_total, before + 2048);
    }
    client(WEB)->room = SIZE_MAX;
    lab_settle(&lab, 5);
    ck_assert_uint_ge(client(WEB)->pongs, 1);
    lab_send_frame(&lab, WEB, 0x80 | WS_PING, payload, 5);
    lab_send_frame(&lab, WEB, 0x80 | WS_PONG, payload, 5);       /* nobody asked, nobody minds */
    client(WEB)->pongs = 0;
    lab_settle(&lab, 5);
    ck_assert_uint_eq(client(WEB)->pongs, 1);
    ck_assert_uint_le(mem_total, before);
}
END_TEST

/* Nothing is kept for one who is quiet but the state of its frames. */
START_TEST(idle_memory)
{
    size_t before;

    lab.websocket = false;
    come_bare();
    client(WEB)->in_len = 0;
    lab_turn(&lab);
    lab.websocket = true;
    ck_assert(lab_open(&lab, OTHER));
    before = mem_total;
    client(OTHER)->in_len = 0;
    lab_send_raw(&lab, OTHER, lab_upgrade, strlen(lab_upgrade));
    lab_settle(&lab, 5);
    ck_assert_int_eq(client(OTHER)->status, 101);
    ck_assert_uint_eq(mem_total, before);       /* the request and its answer are gone */
}
END_TEST

int main(void)
{
    Suite *s = suite_create("websocket");
    TCase *t = tcase_create("all");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, every_qos);
    tcase_add_test(t, byte_by_byte);
    tcase_add_test(t, glued_to_the_request);
    tcase_add_test(t, slow_reader);
    tcase_add_loop_test(t, request_rows, 0, (int)(sizeof requests / sizeof requests[0]));
    tcase_add_test(t, endless_request);
    tcase_add_test(t, longest_request);
    tcase_add_loop_test(t, connect_timeout, 0, 2);
    tcase_add_loop_test(t, origin_rows, 0, (int)(sizeof origins / sizeof origins[0]));
    tcase_add_loop_test(t, end_rows, 0, (int)(sizeof ends / sizeof ends[0]));
    tcase_add_loop_test(t, end_behind_packets, 0, 2);
    tcase_add_test(t, broker_stops);
    tcase_add_test(t, ping_flood);
    tcase_add_test(t, idle_memory);
    suite_add_tcase(s, t);
    return run_suite(s);
}
