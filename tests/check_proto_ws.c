/* The request that opens a WebSocket, and its frames.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "check_proto.h"
#include "proto/http.h"
#include "proto/ws.h"

#define UPGRADE   "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
#define KEY       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define WS_VERSION   "Sec-WebSocket-Version: 13\r\n"
#define PROTOCOL  "Sec-WebSocket-Protocol: mqtt\r\n"
#define GET       "GET /mqtt HTTP/1.1\r\n"
#define HOST      "Host: broker.example\r\n"
#define GOOD      HOST UPGRADE KEY WS_VERSION PROTOCOL

static const struct {
    const char *name, *head;
    int status;
    const char *why;            /* or which subprotocol */
} requests[] = {
    { "as a browser sends it", GET GOOD "Origin: https://panel.example\r\nCookie: a=b\r\n\r\n", 101, "mqtt" },
    { "names and words in other letters",
      GET "hOST:x\r\nUPGRADE:WebSocket\r\nconnection:UPGRADE\r\nsec-websocket-key:\tdGhlIHNhbXBsZSBub25jZQ== \r\n"
      "SEC-WEBSOCKET-VERSION:13\r\nsec-websocket-protocol:mqtt\r\n\r\n", 101, "mqtt" },
    { "HTTP/1.2", "GET / HTTP/1.2\r\n" GOOD "\r\n", 101, "mqtt" },
    { "the first of its list that is ours", GET HOST UPGRADE KEY WS_VERSION
      "Sec-WebSocket-Protocol: chat, mqttv3.1 ,mqtt\r\n\r\n", 101, "mqttv3.1" },
    { "a list in two fields", GET HOST UPGRADE KEY WS_VERSION "Sec-WebSocket-Protocol: chat\r\n" PROTOCOL "\r\n", 101, "mqtt" },
    { "Connection in two fields", GET HOST "Upgrade: h2c\r\nUpgrade: websocket\r\nConnection: keep-alive\r\n"
      "Connection: upgrade\r\n" KEY WS_VERSION PROTOCOL "\r\n", 101, "mqtt" },

    { "another method", "POST / HTTP/1.1\r\n" GOOD "\r\n", 405, "only GET" },
    { "method in small letters", "get / HTTP/1.1\r\n" GOOD "\r\n", 405, "only GET" },
    { "HTTP/1.0", "GET / HTTP/1.0\r\n" GOOD "\r\n", 400, "HTTP/1.1" },
    { "HTTP/2.0", "GET / HTTP/2.0\r\n" GOOD "\r\n", 400, "HTTP/1.1" },
    { "HTTP/1.10", "GET / HTTP/1.10\r\n" GOOD "\r\n", 400, "HTTP/1.1" },
    { "no version", "GET /\r\n" GOOD "\r\n", 400, "HTTP/1.1" },
    { "no target", "GET  HTTP/1.1\r\n" GOOD "\r\n", 400, "HTTP/1.1" },
    { "a blank too many", "GET / x HTTP/1.1\r\n" GOOD "\r\n", 400, "HTTP/1.1" },
    { "nothing", "\r\n\r\n", 400, "HTTP/1.1" },
    { "a field without a colon", GET "Host\r\n" GOOD "\r\n", 400, "HTTP/1.1" },
    { "a field without a name", GET ": x\r\n" GOOD "\r\n", 400, "HTTP/1.1" },
    { "a blank before the colon", GET "Host : x\r\n" GOOD "\r\n", 400, "HTTP/1.1" },
    { "a folded field", GET "Cookie: a\r\n b\r\n" GOOD "\r\n", 400, "HTTP/1.1" },
    { "a lone line feed", GET "Cookie: a\nHost: x\r\n" GOOD "\r\n", 400, "HTTP/1.1" },
    { "a lone carriage return", GET "Cookie: a\rb\r\n" GOOD "\r\n", 400, "HTTP/1.1" },
    { "a page is asked for", GET HOST "\r\n", 426, "Upgrade" },
    { "no Upgrade", GET HOST "Connection: Upgrade\r\n" KEY WS_VERSION PROTOCOL "\r\n", 426, "Upgrade" },
    { "Upgrade to something else", GET HOST "Upgrade: websockets\r\nConnection: Upgrade\r\n" KEY WS_VERSION PROTOCOL "\r\n",
      426, "Upgrade" },
    { "no Connection", GET HOST "Upgrade: websocket\r\n" KEY WS_VERSION PROTOCOL "\r\n", 426, "Upgrade" },
    { "no version of WebSocket", GET HOST UPGRADE KEY PROTOCOL "\r\n", 426, "13" },
    { "an old version", GET HOST UPGRADE KEY "Sec-WebSocket-Version: 8\r\n" PROTOCOL "\r\n", 426, "13" },
    { "no host", GET UPGRADE KEY WS_VERSION PROTOCOL "\r\n", 400, "Host" },
    { "two hosts", GET HOST GOOD "\r\n", 400, "twice" },
    { "two keys", GET GOOD KEY "\r\n", 400, "twice" },
    { "two versions", GET GOOD WS_VERSION "\r\n", 400, "twice" },
    { "two origins", GET GOOD "Origin: a\r\nOrigin: b\r\n\r\n", 400, "twice" },
    { "no key", GET HOST UPGRADE WS_VERSION PROTOCOL "\r\n", 400, "Key" },
    { "a short key", GET HOST UPGRADE "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n" WS_VERSION PROTOCOL "\r\n", 400, "Key" },
    { "a key of other signs", GET HOST UPGRADE "Sec-WebSocket-Key: dGhlIHNhb*BsZSBub25jZQ==\r\n" WS_VERSION PROTOCOL "\r\n",
      400, "Key" },
    { "no subprotocol [MQTT-6.0.0-3]", GET HOST UPGRADE KEY WS_VERSION "\r\n", 400, "name mqtt" },
    { "another subprotocol", GET HOST UPGRADE KEY WS_VERSION "Sec-WebSocket-Protocol: mqttv5, MQTT, m\r\n\r\n", 400,
      "name mqtt" },
    { "an empty list", GET HOST UPGRADE KEY WS_VERSION "Sec-WebSocket-Protocol: ,,\r\n\r\n", 400, "name mqtt" },
};

START_TEST(request_rows)
{
    struct view head = exact(requests[_i].head, strlen(requests[_i].head));
    struct http_upgrade u;
    const char *why = NULL;
    int status = http_upgrade(head, &u, &why);

    ck_assert_msg(status == requests[_i].status, "%s: %d, %s", requests[_i].name, status, why);
    if (status == 101) {
        ck_assert_msg(strcmp(u.protocol, requests[_i].why) == 0, "%s: %s", requests[_i].name, u.protocol);
        ck_assert(same(u.key, str("dGhlIHNhbXBsZSBub25jZQ==")));
    } else {
        ck_assert_msg(strstr(why, requests[_i].why) != NULL, "%s: %s", requests[_i].name, why);
    }
    if (_i == 0)
        ck_assert(same(u.origin, str("https://panel.example")));
    drop(head);
}
END_TEST

/* A request that ends anywhere, and one whose end comes in pieces. */
START_TEST(request_cut)
{
    static const char whole[] = GET GOOD "\r\n";

    for (size_t n = 0; n < sizeof whole; n++) {
        struct view head = exact(whole, n);
        struct http_upgrade u;
        const char *why;

        ck_assert_uint_eq(http_head_len(head, 0), n < sizeof whole - 1 ? 0 : n);
        for (size_t from = 0; from <= n; from++)
            ck_assert_uint_eq(http_head_len(head, from), n < sizeof whole - 1 || from == n ? 0 : n);
        http_upgrade(head, &u, &why);
        drop(head);
    }
    ck_assert_uint_eq(http_head_len(str("a\r\n\r\nb\r\n\r\n"), 0), 5);
}
END_TEST

/* ---- frames ---- */

#define MASK "\1\2\3\4"

static const struct {
    const char *name, *bytes;
    size_t len;
    enum ws_result want;
    const char *out;            /* payload of what is binary, or why it is refused */
} frames[] = {
    { "nothing",                  LIT(""), WS_MORE, "" },
    { "one frame",                LIT("\x82\x83" MASK "``\x60"), WS_MORE, "abc" },
    { "an empty one",             LIT("\x82\x80" MASK), WS_MORE, "" },
    { "two",                      LIT("\x82\x81" MASK "`\x82\x81" MASK "a"), WS_MORE, "a`" },
    { "a message in three parts", LIT("\x02\x81" MASK "`\x00\x80" MASK "\x80\x81" MASK "a"), WS_MORE, "a`" },
    { "a ping between parts",     LIT("\x02\x81" MASK "`\x89\x81" MASK "x\x80\x81" MASK "a"), WS_MORE, "a`" },
    { "126 in its shortest form, not there yet", LIT("\x82\xFE\0\x7E" MASK "`"), WS_MORE, "a" },
    { "65,536 in its shortest form", LIT("\x82\xFF\0\0\0\0\0\1\0\0" MASK "`"), WS_MORE, "a" },
    { "as much as can be said",   LIT("\x82\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF" MASK "`"), WS_MORE, "a" },

    { "text",                     LIT("\x81\x81" MASK "`"), WS_NOT_BINARY, NULL },
    { "text, seen at its first byte", LIT("\x81"), WS_NOT_BINARY, NULL },
    { "no mask",                  LIT("\x82\x01x"), WS_PROTOCOL_ERROR, "mask" },
    { "a ping without a mask",    LIT("\x89\x00"), WS_PROTOCOL_ERROR, "mask" },
    { "reserved bit 1",           LIT("\xC2"), WS_PROTOCOL_ERROR, "bit" },
    { "reserved bit 2",           LIT("\xA2"), WS_PROTOCOL_ERROR, "bit" },
    { "reserved bit 3",           LIT("\x92"), WS_PROTOCOL_ERROR, "bit" },
    { "opcode 3",                 LIT("\x83"), WS_PROTOCOL_ERROR, "opcode" },
    { "opcode 7",                 LIT("\x87"), WS_PROTOCOL_ERROR, "opcode" },
    { "opcode 11",                LIT("\x8B"), WS_PROTOCOL_ERROR, "opcode" },
    { "opcode 15",                LIT("\x8F"), WS_PROTOCOL_ERROR, "opcode" },
    { "a ping in parts",          LIT("\x09"), WS_PROTOCOL_ERROR, "parts" },
    { "a close in parts",         LIT("\x08"), WS_PROTOCOL_ERROR, "parts" },
    { "a ping of 126 bytes",      LIT("\x89\xFE"), WS_PROTOCOL_ERROR, "125" },
    { "a close of 64 bits",       LIT("\x88\xFF"), WS_PROTOCOL_ERROR, "125" },
    { "a continuation of nothing", LIT("\x80"), WS_PROTOCOL_ERROR, "nothing" },
    { "a continuation too many",  LIT("\x02\x80" MASK "\x80\x80" MASK "\x80"), WS_PROTOCOL_ERROR, "nothing" },
    { "a message within one",     LIT("\x02\x80" MASK "\x82"), WS_PROTOCOL_ERROR, "within" },
    { "125 in two bytes",         LIT("\x82\xFE\0\x7D" MASK), WS_PROTOCOL_ERROR, "more bytes" },
    { "65,535 in eight",          LIT("\x82\xFF\0\0\0\0\0\0\xFF\xFF" MASK), WS_PROTOCOL_ERROR, "more bytes" },
    { "64 bits",                  LIT("\x82\xFF\x80\0\0\0\0\0\0\0" MASK), WS_PROTOCOL_ERROR, "63" },
};

/* In pieces of `step` bytes. */
static void read_frames(unsigned row, size_t step)
{
    struct ws_reader r = { 0 };
    char got[16];
    size_t have = 0;
    enum ws_result rc = WS_MORE;
    const char *why = NULL;

    for (size_t at = 0; at < frames[row].len && rc == WS_MORE; at += step) {
        size_t len = frames[row].len - at < step ? frames[row].len - at : step;
        struct view part = exact(frames[row].bytes + at, len);
        uint8_t *p = (uint8_t *)(uintptr_t)part.p;
        struct ws_piece piece;

        while ((rc = ws_next(&r, &p, &len, &piece, &why)) == WS_PIECE)
            if (piece.opcode == WS_BINARY) {
                ck_assert_uint_le(have + piece.len, sizeof got);
                memcpy(got + have, piece.p, piece.len);
                have += piece.len;
            }
        drop(part);
    }
    ck_assert_msg(rc == frames[row].want, "%s: %d, %s", frames[row].name, (int)rc, why);
    if (rc == WS_PROTOCOL_ERROR)
        ck_assert_msg(strstr(why, frames[row].out) != NULL, "%s: %s", frames[row].name, why);
    if (rc == WS_MORE)
        ck_assert_msg(same(view_of(got, have), str(frames[row].out)), "%s: %.*s", frames[row].name, (int)have, got);
}

START_TEST(frame_rows)
{
    for (size_t step = 1; step <= frames[_i].len + 1; step++)
        read_frames((unsigned)_i, step);
}
END_TEST

/* A head says what was meant, at the edges of its forms, and what is sent masked is read. */
START_TEST(there_and_back)
{
    static const uint64_t lengths[] = { 0, 1, 125, 126, 127, 65535, 65536, 70001 };
    uint8_t *bytes = malloc(70100);

    for (unsigned i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        unsigned n = ws_write_head(bytes, WS_BINARY, lengths[i]);
        struct ws_reader r = { 0 };
        struct ws_piece piece;
        uint8_t *p = bytes;
        const char *why;
        size_t len = n + 4 + (size_t)lengths[i], seen = 0;

        ck_assert_uint_eq(n, lengths[i] < 126 ? 2 : lengths[i] < 65536 ? 4 : 10);
        bytes[1] |= 0x80;
        memcpy(bytes + n, "\xA0\xB1\xC2\xD3", 4);
        for (size_t k = 0; k < lengths[i]; k++)
            bytes[n + 4 + k] = (uint8_t)(k * 7) ^ (uint8_t)("\xA0\xB1\xC2\xD3"[k % 4]);
        for (size_t step = 3; len > 0;) {       /* in pieces of 3, 4, 5 ... bytes, so that the mask turns */
            size_t part = len < step ? len : step, left = part;

            while (ws_next(&r, &p, &left, &piece, &why) == WS_PIECE)
                for (size_t k = 0; k < piece.len; k++, seen++)
                    ck_assert_uint_eq(piece.p[k], (uint8_t)(seen * 7));
            ck_assert_uint_eq(left, 0);
            len -= part;
            step++;
        }
        ck_assert_uint_eq(seen, lengths[i]);
        ck_assert(!r.payload && r.head_len == 0);
    }
    free(bytes);
}
END_TEST

START_TEST(close_codes)
{
    static const struct { unsigned code; bool valid; } codes[] = {
        { 0, false }, { 999, false }, { 1000, true }, { 1003, true }, { 1004, false }, { 1005, false }, { 1006, false },
        { 1007, true }, { 1011, true }, { 1012, false }, { 1015, false }, { 2999, false }, { 3000, true }, { 4999, true },
        { 5000, false }, { 65535, false },
    };

    for (unsigned i = 0; i < sizeof codes / sizeof codes[0]; i++)
        ck_assert_msg(ws_close_code_valid(codes[i].code) == codes[i].valid, "%u", codes[i].code);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("proto websocket");
    TCase *t = tcase_create("all");

    tcase_add_loop_test(t, request_rows, 0, (int)(sizeof requests / sizeof requests[0]));
    tcase_add_test(t, request_cut);
    tcase_add_loop_test(t, frame_rows, 0, (int)(sizeof frames / sizeof frames[0]));
    tcase_add_test(t, there_and_back);
    tcase_add_test(t, close_codes);
    suite_add_tcase(s, t);
    return run_suite(s);
}
