/* CONNECT and CONNACK: every flag combination, every rule between fields, both directions.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "check_proto.h"

/* Name and level, so that a row shows what it is about: flags, keep alive, and the rest. */
#define V31  "\0\6MQIsdp\3"
#define V311 "\0\4MQTT\4"
#define V5   "\0\4MQTT\5"
#define KA   "\0\74"

static const struct {
    const char *name;
    uint8_t head;
    const char *body;
    size_t len;
    enum reason want;
    unsigned version; /* what to answer in, 0: not at all */
} rows[] = {
    { "3.1",                          0x10, LIT(V31 "\2" KA "\0\1a"),     R_OK, 3 },
    { "3.1.1",                        0x10, LIT(V311 "\2" KA "\0\1a"),    R_OK, 4 },
    { "5.0",                          0x10, LIT(V5 "\2" KA "\0\0\1a"),    R_OK, 5 },
    { "3.1 bridge",                   0x10, LIT("\0\6MQIsdp\x83\2" KA "\0\1a"), R_OK, 3 },
    { "3.1.1 bridge",                 0x10, LIT("\0\4MQTT\x84\2" KA "\0\1a"), R_OK, 4 },
    { "flags in the fixed header [MQTT311-2.2.2-2] [MQTT5-2.1.3-1]", 0x11, LIT(V311 "\2" KA "\0\1a"), R_MALFORMED, 0 },

    { "wrong name [MQTT-3.1.2-1]",    0x10, LIT("\0\4HTTP\4\2" KA "\0\1a"), R_PROTOCOL_ERROR, 0 },
    { "name in small letters [MQTT-3.1.2-1]", 0x10, LIT("\0\4mqtt\4\2" KA "\0\1a"), R_PROTOCOL_ERROR, 0 },
    { "name too short [MQTT-3.1.2-1]", 0x10, LIT("\0\2MQ\4\2" KA "\0\1a"), R_PROTOCOL_ERROR, 0 },
    { "empty name [MQTT-3.1.2-1]",    0x10, LIT("\0\0\4\2" KA "\0\1a"),   R_PROTOCOL_ERROR, 0 },
    { "nothing",                      0x10, LIT(""),                      R_MALFORMED, 0 },
    { "level 6 [MQTT-3.1.2-2]",       0x10, LIT("\0\4MQTT\6\2" KA "\0\1a"), R_UNSUPPORTED_VERSION, 5 },
    { "level 6 and rubbish behind it [MQTT-3.1.2-2]", 0x10, LIT("\0\4MQTT\6\xFF"), R_UNSUPPORTED_VERSION, 5 },
    { "level 0 [MQTT-3.1.2-2]",       0x10, LIT("\0\4MQTT\0\2" KA "\0\1a"), R_UNSUPPORTED_VERSION, 4 },
    { "MQTT with level 3 [MQTT-3.1.2-2]", 0x10, LIT("\0\4MQTT\3\2" KA "\0\1a"), R_UNSUPPORTED_VERSION, 4 },
    { "MQIsdp with level 4 [MQTT-3.1.2-2]", 0x10, LIT("\0\6MQIsdp\4\2" KA "\0\1a"), R_UNSUPPORTED_VERSION, 4 },
    { "no bridges in 5.0 [MQTT-3.1.2-2]", 0x10, LIT("\0\4MQTT\x85\2" KA "\0\0\1a"), R_UNSUPPORTED_VERSION, 5 },

    { "reserved flag, 3.1.1 [MQTT-3.1.2-3]", 0x10, LIT(V311 "\3" KA "\0\1a"),   R_MALFORMED, 4 },
    { "reserved flag, 5.0 [MQTT-3.1.2-3]",   0x10, LIT(V5 "\3" KA "\0\0\1a"),   R_MALFORMED, 5 },
    { "all flags [MQTT-3.1.2-3]",            0x10, LIT(V5 "\x1F" KA "\0\0\1a"), R_MALFORMED, 5 },
    { "will QoS without will [MQTT311-3.1.2-11] [MQTT311-3.1.2-13]", 0x10, LIT(V311 "\12" KA "\0\1a"), R_MALFORMED, 4 },
    { "will QoS without will [MQTT5-3.1.2-11]",    0x10, LIT(V5 "\22" KA "\0\0\1a"),  R_MALFORMED, 5 },
    { "will retain without will [MQTT311-3.1.2-15]", 0x10, LIT(V311 "\42" KA "\0\1a"), R_MALFORMED, 4 },
    { "will retain without will [MQTT5-3.1.2-13]", 0x10, LIT(V5 "\42" KA "\0\0\1a"),  R_MALFORMED, 5 },
    { "3.1 disregards both",          0x10, LIT(V31 "\52" KA "\0\1a"),    R_OK, 3 },
    { "will QoS 3 [MQTT311-3.1.2-14]", 0x10, LIT(V311 "\36" KA "\0\1a\0\1w\0\1p"), R_MALFORMED, 4 },
    { "will QoS 3 [MQTT5-3.1.2-12]",  0x10, LIT(V5 "\36" KA "\0\0\1a\0\0\1w\0\1p"), R_MALFORMED, 5 },
    { "will QoS 3, 3.1",              0x10, LIT(V31 "\36" KA "\0\1a\0\1w\0\1p"), R_MALFORMED, 3 },
    { "password without user name [MQTT311-3.1.2-22]", 0x10, LIT(V311 "\102" KA "\0\1a\0\1p"), R_MALFORMED, 4 },
    { "password without user name, 3.1", 0x10, LIT(V31 "\102" KA "\0\1a\0\1p"), R_MALFORMED, 3 },
    { "password without user name is fine in 5.0", 0x10, LIT(V5 "\102" KA "\0\0\1a\0\1p"), R_OK, 5 },
    { "user name without password [MQTT311-3.1.2-19] [MQTT5-3.1.2-17]", 0x10, LIT(V311 "\202" KA "\0\1a\0\1u"), R_OK, 4 },
    { "user name announced, not there [MQTT311-3.1.2-19]", 0x10, LIT(V311 "\202" KA "\0\1a"), R_MALFORMED, 4 },
    { "user name not announced, there [MQTT311-3.1.2-18] [MQTT5-3.1.2-16]", 0x10, LIT(V311 "\2" KA "\0\1a\0\1u"), R_MALFORMED, 4 },
    { "password announced, not there [MQTT311-3.1.2-21] [MQTT5-3.1.2-19]", 0x10, LIT(V311 "\302" KA "\0\1a\0\1u"), R_MALFORMED, 4 },
    { "password not announced, there [MQTT311-3.1.2-20] [MQTT5-3.1.2-18]", 0x10, LIT(V311 "\202" KA "\0\1a\0\1u\0\1p"), R_MALFORMED, 4 },
    { "will announced, not there [MQTT311-3.1.2-9] [MQTT5-3.1.2-9]", 0x10, LIT(V311 "\6" KA "\0\1a"), R_MALFORMED, 4 },
    { "3.1 allows a user name that is not there", 0x10, LIT(V31 "\202" KA "\0\1a"), R_OK, 3 },
    { "and a password that is not there", 0x10, LIT(V31 "\302" KA "\0\1a\0\1u"), R_OK, 3 },
    { "but not half of it",           0x10, LIT(V31 "\202" KA "\0\1a\0\1"), R_MALFORMED, 3 },

    { "no client id [MQTT-3.1.3-3]",  0x10, LIT(V311 "\2" KA),            R_MALFORMED, 4 },
    { "client id not UTF-8 [MQTT-3.1.3-4]", 0x10, LIT(V311 "\2" KA "\0\1\xFF"), R_MALFORMED, 4 },
    { "client id with U+0000 [MQTT-3.1.3-4]", 0x10, LIT(V5 "\2" KA "\0\0\1\0"), R_MALFORMED, 5 },
    { "client id longer than the packet", 0x10, LIT(V311 "\2" KA "\0\2a"), R_MALFORMED, 4 },
    { "empty client id, clean [MQTT311-3.1.3-6] [MQTT311-3.1.3-7]", 0x10, LIT(V311 "\2" KA "\0\0"), R_OK, 4 },
    { "empty client id, not clean [MQTT311-3.1.3-8]", 0x10, LIT(V311 "\0" KA "\0\0"), R_CLIENTID_NOT_VALID, 4 },
    { "empty client id, 3.1",         0x10, LIT(V31 "\2" KA "\0\0"),      R_CLIENTID_NOT_VALID, 3 },
    { "empty client id, 5.0 [MQTT5-3.1.3-6]", 0x10, LIT(V5 "\0" KA "\0\0\0"), R_OK, 5 },
    { "client id of 24 in 3.1",       0x10, LIT(V31 "\2" KA "\0\30abcdefghijklmnopqrstuvwx"), R_OK, 3 },

    { "will",                         0x10, LIT(V311 "\66" KA "\0\1a\0\1w\0\0"), R_OK, 4 },
    { "will topic with wildcard",     0x10, LIT(V311 "\6" KA "\0\1a\0\1#\0\1p"), R_TOPIC_INVALID, 4 },
    { "will topic empty [MQTT-4.7.3-1]", 0x10, LIT(V5 "\6" KA "\0\0\1a\0\0\0\0\1p"), R_TOPIC_INVALID, 5 },
    { "will topic not UTF-8 [MQTT311-3.1.3-10] [MQTT5-3.1.3-11]", 0x10, LIT(V311 "\6" KA "\0\1a\0\1\xFF\0\1p"), R_MALFORMED, 4 },
    { "user name not UTF-8 [MQTT311-3.1.3-11] [MQTT5-3.1.3-12]", 0x10, LIT(V311 "\202" KA "\0\1a\0\1\xFF"), R_MALFORMED, 4 },
    { "password is binary",           0x10, LIT(V311 "\302" KA "\0\1a\0\1u\0\2\xFF\0"), R_OK, 4 },
    { "a byte too many",              0x10, LIT(V311 "\2" KA "\0\1a!"),   R_MALFORMED, 4 },

    { "property of another packet",   0x10, LIT(V5 "\2" KA "\3\43\0\1\0\1a"), R_MALFORMED, 5 },
    { "will property among the packet's", 0x10, LIT(V5 "\2" KA "\5\30\0\0\0\1\0\1a"), R_MALFORMED, 5 },
    { "packet's property in the will", 0x10, LIT(V5 "\6" KA "\0\0\1a\3\41\0\1\0\1w\0\0"), R_MALFORMED, 5 },
    { "session expiry twice",         0x10, LIT(V5 "\2" KA "\12\21\0\0\0\0\21\0\0\0\0\0\1a"), R_PROTOCOL_ERROR, 5 },
    { "authentication data without method", 0x10, LIT(V5 "\2" KA "\4\26\0\1d\0\1a"), R_PROTOCOL_ERROR, 5 },
    { "authentication method and data", 0x10, LIT(V5 "\2" KA "\10\25\0\1m\26\0\1d\0\1a"), R_OK, 5 },
    { "will response topic with wildcard [MQTT5-3.3.2-14]", 0x10, LIT(V5 "\6" KA "\0\0\1a\4\10\0\1+\0\1w\0\0"), R_PROTOCOL_ERROR, 5 },
    { "will payload claims UTF-8 and is not", 0x10, LIT(V5 "\6" KA "\0\0\1a\2\1\1\0\1w\0\1\xFF"), R_PAYLOAD_FORMAT_INVALID, 5 },
    { "will payload claims UTF-8 and has U+0000", 0x10, LIT(V5 "\6" KA "\0\0\1a\2\1\1\0\1w\0\1\0"), R_OK, 5 },
    { "will payload claims nothing",  0x10, LIT(V5 "\6" KA "\0\0\1a\2\1\0\0\1w\0\1\xFF"), R_OK, 5 },
};

START_TEST(connect_rows)
{
    struct view body = exact(rows[_i].body, rows[_i].len);
    struct connect c;
    enum reason got = connect_decode(rows[_i].head, body, &c);

    ck_assert_msg(got == rows[_i].want, "%s: got %s", rows[_i].name, reason_text(got));
    ck_assert_msg((unsigned)c.version == rows[_i].version, "%s: version %d", rows[_i].name, (int)c.version);
    drop(body);
}
END_TEST

/* Payload order [MQTT-3.1.3-1], and every field where it belongs. */
START_TEST(connect_fields)
{
    static const char packet[] =
        V5 "\xF4\1\2\5\21\0\0\0\7" "\0\2id" "\7\30\0\0\0\11\1\1" "\0\1w" "\0\3pay" "\0\4user" "\0\2\0\xFF";
    struct connect c;

    ck_assert(connect_decode(0x10, view_of(LIT(packet)), &c) == R_OK);
    ck_assert(c.version == MQTT_50 && !c.clean_start && !c.bridge);
    ck_assert_uint_eq(c.keepalive_s, 0x0102);
    ck_assert_uint_eq(props_num(&c.props, PROP_SESSION_EXPIRY, 0), 7);
    ck_assert(same(c.client_id, str("id")));
    ck_assert(c.has_will && c.will_retain && c.will_qos == 2);
    ck_assert_uint_eq(props_num(&c.will_props, PROP_WILL_DELAY, 0), 9);
    ck_assert(!props_has(&c.props, PROP_WILL_DELAY));
    ck_assert(same(c.will_topic, str("w")) && same(c.will_payload, str("pay")));
    ck_assert(c.has_username && same(c.username, str("user")));
    ck_assert(c.has_password && same(c.password, view_of(LIT("\0\xFF"))));
}
END_TEST

/* A packet without a will leaves nothing of an earlier one in the struct. */
START_TEST(connect_starts_clean)
{
    struct connect c;

    memset(&c, 0xAA, sizeof c);
    ck_assert(connect_decode(0x10, view_of(LIT(V31 "\52" KA "\0\1a")), &c) == R_OK);
    ck_assert(!c.has_will && !c.will_retain && c.will_qos == 0 && c.will_topic.len == 0 && c.will_payload.len == 0);
    ck_assert(!c.has_username && !c.has_password && c.username.len == 0 && c.password.len == 0 && !c.bridge);
    ck_assert(c.props.has == 0 && c.will_props.has == 0 && c.props.raw.len == 0);
}
END_TEST

static const struct {
    const char *name;
    uint8_t head;
    enum version v;
    const char *body;
    size_t len;
    enum reason want, reason;
    bool present;
} acks[] = {
    { "accepted",                        0x20, MQTT_311, LIT("\0\0"),     R_OK, R_OK, false },
    { "session present",                 0x20, MQTT_311, LIT("\1\0"),     R_OK, R_OK, true },
    { "3.1 has a byte without meaning",  0x20, MQTT_31,  LIT("\1\0"),     R_OK, R_OK, false },
    { "refused: version",                0x20, MQTT_311, LIT("\0\1"),     R_OK, R_UNSUPPORTED_VERSION, false },
    { "refused: identifier",             0x20, MQTT_311, LIT("\0\2"),     R_OK, R_CLIENTID_NOT_VALID, false },
    { "refused: unavailable",            0x20, MQTT_311, LIT("\0\3"),     R_OK, R_SERVER_UNAVAILABLE, false },
    { "refused: user name or password",  0x20, MQTT_31,  LIT("\0\4"),     R_OK, R_BAD_CREDENTIALS, false },
    { "refused: not authorized",         0x20, MQTT_31,  LIT("\0\5"),     R_OK, R_NOT_AUTHORIZED, false },
    { "code 6 is reserved",              0x20, MQTT_311, LIT("\0\6"),     R_PROTOCOL_ERROR, R_OK, false },
    { "reserved flags [MQTT5-3.2.2-1]",  0x20, MQTT_50,  LIT("\2\0\0"),   R_MALFORMED, R_OK, false },
    { "present though refused [MQTT311-3.2.2-4]", 0x20, MQTT_311, LIT("\1\5"), R_PROTOCOL_ERROR, R_OK, false },
    { "present though refused [MQTT5-3.2.2-6]", 0x20, MQTT_50, LIT("\1\x87\0"), R_PROTOCOL_ERROR, R_OK, false },
    { "5.0 refused",                     0x20, MQTT_50,  LIT("\0\x87\0"), R_OK, R_NOT_AUTHORIZED, false },
    { "5.0 code of another packet [MQTT5-3.2.2-8]", 0x20, MQTT_50, LIT("\0\x8E\0"), R_PROTOCOL_ERROR, R_OK, false },
    { "5.0 without properties' length",  0x20, MQTT_50,  LIT("\0\0"),     R_MALFORMED, R_OK, false },
    { "a byte too many",                 0x20, MQTT_311, LIT("\0\0\0"),   R_MALFORMED, R_OK, false },
    { "flags in the header [MQTT311-2.2.2-2] [MQTT5-2.1.3-1]", 0x21, MQTT_311, LIT("\0\0"), R_MALFORMED, R_OK, false },
};

START_TEST(connack_rows)
{
    struct view body = exact(acks[_i].body, acks[_i].len);
    struct connack a;
    enum reason got = connack_decode(acks[_i].head, body, acks[_i].v, &a);

    ck_assert_msg(got == acks[_i].want, "%s: got %s", acks[_i].name, reason_text(got));
    if (got == R_OK) {
        ck_assert_msg(a.reason == acks[_i].reason, "%s: %s", acks[_i].name, reason_text(a.reason));
        ck_assert(a.session_present == acks[_i].present);
    }
    drop(body);
}
END_TEST

static const struct {
    const char *name;
    enum version v;
    bool present;
    enum reason reason;
    const char *want;
    size_t len;
} answers[] = {
    { "3.1 knows no session present",           MQTT_31,  true,  R_OK, LIT("\x20\2\0\0") },
    { "3.1.1 session present",                  MQTT_311, true,  R_OK, LIT("\x20\2\1\0") },
    { "not when refused [MQTT311-3.2.2-4]",     MQTT_311, true,  R_NOT_AUTHORIZED, LIT("\x20\2\0\5") },
    { "not when refused [MQTT5-3.2.2-6]",       MQTT_50,  true,  R_NOT_AUTHORIZED, LIT("\x20\3\0\x87\0") },
    { "5.0",                                    MQTT_50,  true,  R_OK, LIT("\x20\3\1\0\0") },
    { "3.1.1 has a word for busy",              MQTT_311, false, R_SERVER_BUSY, LIT("\x20\2\0\3") },
};

START_TEST(connack_encoded)
{
    uint8_t buf[16];
    struct writer w = wr_make(buf, sizeof buf);
    struct view none = { NULL, 0 };

    connack_encode(answers[_i].v, answers[_i].present, answers[_i].reason, none, &w);
    ck_assert(!w.bad);
    ck_assert_uint_eq(connack_size(answers[_i].v, none), answers[_i].len);
    ck_assert_msg(same((struct view){ buf, (size_t)(w.p - buf) }, view_of(answers[_i].want, answers[_i].len)), "%s",
                  answers[_i].name);
}
END_TEST

START_TEST(connack_without_a_word) /* malformed has no code in 3.x: closing is the answer */
{
    uint8_t buf[16];
    struct writer w = wr_make(buf, sizeof buf);

    connack_encode(MQTT_311, false, R_MALFORMED, (struct view){ NULL, 0 }, &w);
    ck_assert(w.bad);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("proto/connect");
    TCase *t = tcase_create("connect");

    tcase_add_loop_test(t, connect_rows, 0, COUNT(rows));
    tcase_add_test(t, connect_fields);
    tcase_add_test(t, connect_starts_clean);
    tcase_add_loop_test(t, connack_rows, 0, COUNT(acks));
    tcase_add_loop_test(t, connack_encoded, 0, COUNT(answers));
    tcase_add_test(t, connack_without_a_word);
    suite_add_tcase(s, t);
    return run_suite(s);
}
