/* PINGREQ, PINGRESP, DISCONNECT, AUTH.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "check_proto.h"

static const struct {
    const char *name;
    uint8_t head;
    size_t len;
    enum reason want;
} pings[] = {
    { "PINGREQ",                 0xC0, 0, R_OK },
    { "PINGRESP",                0xD0, 0, R_OK },
    { "PINGREQ with flags [MQTT311-2.2.2-2] [MQTT5-2.1.3-1]",  0xC1, 0, R_MALFORMED },
    { "PINGRESP with flags [MQTT311-2.2.2-2] [MQTT5-2.1.3-1]", 0xD8, 0, R_MALFORMED },
    { "PINGREQ with a body",     0xC0, 1, R_MALFORMED },
    { "another packet",          0xE0, 0, R_MALFORMED },
};

START_TEST(ping_rows)
{
    ck_assert_msg(ping_decode(pings[_i].head, view_of("x", pings[_i].len)) == pings[_i].want, "%s", pings[_i].name);
}
END_TEST

START_TEST(ping_encoded)
{
    uint8_t buf[4];
    struct writer w = wr_make(buf, sizeof buf);

    ping_encode(PKT_PINGREQ, &w);
    ping_encode(PKT_PINGRESP, &w);
    ck_assert(!w.bad && memcmp(buf, "\xC0\0\xD0\0", 4) == 0);
}
END_TEST

enum { SERVER, CLIENT };

static const struct {
    const char *name;
    uint8_t head;
    enum version v;
    int from;
    const char *body;
    size_t len;
    enum reason want, reason;
} byes[] = {
    { "3.1",                               0xE0, MQTT_31,  CLIENT, LIT(""),         R_OK, R_OK },
    { "3.1.1",                             0xE0, MQTT_311, CLIENT, LIT(""),         R_OK, R_OK },
    { "3.1.1 has no body",                 0xE0, MQTT_311, CLIENT, LIT("\0"),       R_MALFORMED, R_OK },
    { "3.1.1 servers just close",          0xE0, MQTT_311, SERVER, LIT(""),         R_PROTOCOL_ERROR, R_OK },
    { "flags [MQTT-3.14.1-1]",             0xE1, MQTT_311, CLIENT, LIT(""),         R_MALFORMED, R_OK },
    { "flags, 5.0 [MQTT-3.14.1-1]",        0xE2, MQTT_50,  CLIENT, LIT(""),         R_MALFORMED, R_OK },
    { "5.0 nothing is normal",             0xE0, MQTT_50,  CLIENT, LIT(""),         R_OK, R_OK },
    { "5.0 reason only",                   0xE0, MQTT_50,  CLIENT, LIT("\4"),       R_OK, R_DISCONNECT_WITH_WILL },
    { "5.0 empty properties",              0xE0, MQTT_50,  SERVER, LIT("\x8E\0"),   R_OK, R_SESSION_TAKEN_OVER },
    { "5.0 a byte too many",               0xE0, MQTT_50,  CLIENT, LIT("\0\0\0"),   R_MALFORMED, R_OK },
    { "5.0 properties cut",                0xE0, MQTT_50,  CLIENT, LIT("\0\5\21\0\0\0"), R_MALFORMED, R_OK },
    { "session expiry",                    0xE0, MQTT_50,  CLIENT, LIT("\0\5\21\0\0\0\1"), R_OK, R_OK },
    { "session expiry from a server [MQTT5-3.14.2-2]", 0xE0, MQTT_50, SERVER, LIT("\0\5\21\0\0\0\1"), R_PROTOCOL_ERROR, R_OK },
    { "server's reason from a client [MQTT5-3.14.2-1]", 0xE0, MQTT_50, CLIENT, LIT("\x8E"), R_PROTOCOL_ERROR, R_OK },
    { "client's reason from a server [MQTT5-3.14.2-1]", 0xE0, MQTT_50, SERVER, LIT("\4"), R_PROTOCOL_ERROR, R_OK },
    { "unknown reason [MQTT5-3.14.2-1]",   0xE0, MQTT_50,  CLIENT, LIT("\1"),       R_PROTOCOL_ERROR, R_OK },
    { "moved, with a reference",           0xE0, MQTT_50,  SERVER, LIT("\x9D\4\34\0\1s"), R_OK, R_SERVER_MOVED },
    { "property of another packet",        0xE0, MQTT_50,  CLIENT, LIT("\0\2\1\1"), R_MALFORMED, R_OK },
};

START_TEST(disconnect_rows)
{
    struct view body = exact(byes[_i].body, byes[_i].len);
    struct disconnect d;
    enum reason got = disconnect_decode(byes[_i].head, body, byes[_i].v, byes[_i].from == CLIENT, &d);

    ck_assert_msg(got == byes[_i].want, "%s: got %s", byes[_i].name, reason_text(got));
    ck_assert_msg(got != R_OK || d.reason == byes[_i].reason, "%s: %s", byes[_i].name, reason_text(d.reason));
    drop(body);
}
END_TEST

static const struct {
    const char *name;
    uint8_t head;
    const char *body;
    size_t len;
    enum reason want, reason;
} auths[] = {
    { "nothing is success",              0xF0, LIT(""),                     R_OK, R_OK },
    { "continue",                        0xF0, LIT("\30\4\25\0\1m"),        R_OK, R_CONTINUE_AUTHENTICATION },
    { "again, with data",                0xF0, LIT("\31\10\25\0\1m\26\0\1d"), R_OK, R_REAUTHENTICATE },
    { "flags [MQTT5-3.15.1-1]",          0xF1, LIT(""),                     R_MALFORMED, R_OK },
    { "reason without properties",       0xF0, LIT("\30"),                  R_MALFORMED, R_OK },
    { "no method (3.15.2.2.2)",          0xF0, LIT("\30\0"),                R_PROTOCOL_ERROR, R_OK },
    { "data without method",             0xF0, LIT("\30\4\26\0\1d"),        R_PROTOCOL_ERROR, R_OK },
    { "other reason [MQTT5-3.15.2-1]",   0xF0, LIT("\x87\4\25\0\1m"),       R_PROTOCOL_ERROR, R_OK },
    { "a byte too many",                 0xF0, LIT("\30\4\25\0\1m!"),       R_MALFORMED, R_OK },
};

START_TEST(auth_rows)
{
    struct view body = exact(auths[_i].body, auths[_i].len);
    struct auth_message a;
    enum reason got = auth_decode(auths[_i].head, body, &a);

    ck_assert_msg(got == auths[_i].want, "%s: got %s", auths[_i].name, reason_text(got));
    ck_assert_msg(got != R_OK || a.reason == auths[_i].reason, "%s: %s", auths[_i].name, reason_text(a.reason));
    drop(body);
}
END_TEST

static const struct {
    const char *name;
    enum packet type;
    enum version v;
    enum reason reason;
    const char *raw;
    size_t raw_len;
    const char *want;
    size_t len;
} out[] = {
    { "DISCONNECT, 3.1.1",            PKT_DISCONNECT, MQTT_311, R_UNSPECIFIED, LIT(""), LIT("\xE0\0") },
    { "DISCONNECT, short",            PKT_DISCONNECT, MQTT_50,  R_OK, LIT(""), LIT("\xE0\0") },
    { "DISCONNECT, reason",           PKT_DISCONNECT, MQTT_50,  R_MALFORMED, LIT(""), LIT("\xE0\1\x81") },
    { "DISCONNECT, normal with text", PKT_DISCONNECT, MQTT_50,  R_OK, LIT("\37\0\1t"), LIT("\xE0\6\0\4\37\0\1t") },
    { "AUTH, short",                  PKT_AUTH,       MQTT_50,  R_OK, LIT(""), LIT("\xF0\0") },
    { "AUTH",                         PKT_AUTH,       MQTT_50,  R_CONTINUE_AUTHENTICATION, LIT("\25\0\1m"),
      LIT("\xF0\6\30\4\25\0\1m") },
};

START_TEST(misc_encoded)
{
    struct view raw = view_of(out[_i].raw, out[_i].raw_len);
    bool auth = out[_i].type == PKT_AUTH;
    size_t size = auth ? auth_size(out[_i].reason, raw) : disconnect_size(out[_i].v, out[_i].reason, raw);
    uint8_t buf[32];
    struct writer w = wr_make(buf, size);

    if (auth)
        auth_encode(out[_i].reason, raw, &w);
    else
        disconnect_encode(out[_i].v, out[_i].reason, raw, &w);
    ck_assert(!w.bad && w.p == w.end);
    ck_assert_msg(same((struct view){ buf, size }, view_of(out[_i].want, out[_i].len)), "%s", out[_i].name);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("proto/misc");
    TCase *t = tcase_create("misc");

    tcase_add_loop_test(t, ping_rows, 0, COUNT(pings));
    tcase_add_test(t, ping_encoded);
    tcase_add_loop_test(t, disconnect_rows, 0, COUNT(byes));
    tcase_add_loop_test(t, auth_rows, 0, COUNT(auths));
    tcase_add_loop_test(t, misc_encoded, 0, COUNT(out));
    suite_add_tcase(s, t);
    return run_suite(s);
}
