/* PUBLISH: header flags, topic, packet id, properties, and what a subscriber is sent.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "check_proto.h"

static const struct {
    const char *name;
    uint8_t head;
    enum version v;
    const char *body;
    size_t len;
    enum reason want;
} rows[] = {
    { "qos 0",                               0x30, MQTT_311, LIT("\0\1ax"),            R_OK },
    { "qos 0, 3.1",                          0x30, MQTT_31,  LIT("\0\1ax"),            R_OK },
    { "qos 0, 5.0",                          0x30, MQTT_50,  LIT("\0\1a\0x"),          R_OK },
    { "qos 1, packet id 7",                  0x32, MQTT_311, LIT("\0\1a\0\7x"),        R_OK },
    { "qos 2, retained, again, no payload",  0x3D, MQTT_311, LIT("\0\1a\0\7"),         R_OK },
    { "no payload at all",                   0x30, MQTT_311, LIT("\0\1a"),             R_OK },
    { "qos 3 [MQTT-3.3.1-4]",                0x36, MQTT_311, LIT("\0\1a\0\1"),         R_MALFORMED },
    { "qos 3, 5.0 [MQTT-3.3.1-4]",           0x36, MQTT_50,  LIT("\0\1a\0\1\0"),       R_MALFORMED },
    { "dup at qos 0 [MQTT-3.3.1-2]",         0x38, MQTT_311, LIT("\0\1a"),             R_MALFORMED },
    { "dup at qos 0, 5.0 [MQTT-3.3.1-2]",    0x38, MQTT_50,  LIT("\0\1a\0"),           R_MALFORMED },
    { "not a PUBLISH",                       0x40, MQTT_311, LIT("\0\1a"),             R_MALFORMED },
    { "nothing",                             0x30, MQTT_311, LIT(""),                  R_MALFORMED },
    { "topic longer than the packet",        0x30, MQTT_311, LIT("\0\5ab"),            R_MALFORMED },
    { "packet id cut",                       0x32, MQTT_311, LIT("\0\1a\0"),           R_MALFORMED },
    { "packet id missing",                   0x32, MQTT_311, LIT("\0\1a"),             R_MALFORMED },
    { "packet id 0 [MQTT311-2.3.1-1]",       0x32, MQTT_311, LIT("\0\1a\0\0x"),        R_PROTOCOL_ERROR },
    { "packet id 0 [MQTT5-2.2.1-3]",         0x34, MQTT_50,  LIT("\0\1a\0\0\0x"),      R_PROTOCOL_ERROR },
    { "qos 0 has no packet id [MQTT311-2.3.1-5] [MQTT5-2.2.1-2]", 0x30, MQTT_311, LIT("\0\1a\0\0"), R_OK },
    { "topic not UTF-8 [MQTT-3.3.2-1]",      0x30, MQTT_311, LIT("\0\1\xFF"),          R_MALFORMED },
    { "topic with U+0000 [MQTT-4.7.3-2]",    0x30, MQTT_311, LIT("\0\1\0"),            R_MALFORMED },
    { "topic with U+0000 in a long one [MQTT-4.7.3-2]", 0x30, MQTT_311, LIT("\0\12abcdefghi\0"), R_MALFORMED },
    { "topic with surrogate [MQTT-3.3.2-1]", 0x30, MQTT_311, LIT("\0\3\xED\xA0\x80"),  R_MALFORMED },
    { "topic with + [MQTT-3.3.2-2]",         0x30, MQTT_311, LIT("\0\3a/+"),           R_TOPIC_INVALID },
    { "topic with # [MQTT-3.3.2-2]",         0x30, MQTT_50,  LIT("\0\3a/#\0"),         R_TOPIC_INVALID },
    { "topic empty [MQTT-4.7.3-1]",          0x30, MQTT_311, LIT("\0\0x"),             R_TOPIC_INVALID },
    { "topic empty, no alias",               0x30, MQTT_50,  LIT("\0\0\0x"),           R_PROTOCOL_ERROR },
    { "topic empty, alias",                  0x30, MQTT_50,  LIT("\0\0\3\43\0\1x"),    R_OK },
    { "alias 0 [MQTT5-3.3.2-8]",             0x30, MQTT_50,  LIT("\0\1a\3\43\0\0x"),   R_TOPIC_ALIAS_INVALID },
    { "alias twice",                         0x30, MQTT_50,  LIT("\0\1a\6\43\0\1\43\0\1"), R_PROTOCOL_ERROR },
    { "no property length",                  0x30, MQTT_50,  LIT("\0\1a"),             R_MALFORMED },
    { "properties longer than the packet",   0x30, MQTT_50,  LIT("\0\1a\3\43\0"),      R_MALFORMED },
    { "property of CONNECT",                 0x30, MQTT_50,  LIT("\0\1a\3\41\0\1"),    R_MALFORMED },
    { "response topic with wildcard [MQTT5-3.3.2-14]", 0x30, MQTT_50, LIT("\0\1a\6\10\0\3r/#"), R_PROTOCOL_ERROR },
    { "response topic empty [MQTT-4.7.3-1]", 0x30, MQTT_50,  LIT("\0\1a\3\10\0\0"),    R_PROTOCOL_ERROR },
    { "payload is UTF-8 as it says",         0x30, MQTT_50,  LIT("\0\1a\2\1\1\xC3\xA4"), R_OK },
    { "payload is not what it says",         0x30, MQTT_50,  LIT("\0\1a\2\1\1\xC3"),   R_PAYLOAD_FORMAT_INVALID },
    { "payload text may hold U+0000",        0x30, MQTT_50,  LIT("\0\1a\2\1\1a\0b"),   R_OK },
    { "payload says nothing",                0x30, MQTT_50,  LIT("\0\1a\2\1\0\xC3"),   R_OK },
    { "subscription ids come from servers",  0x30, MQTT_50,  LIT("\0\1a\4\13\1\13\2"), R_OK },
};

START_TEST(publish_rows)
{
    struct view body = exact(rows[_i].body, rows[_i].len);
    struct publish p;
    enum reason got = publish_decode(rows[_i].head, body, rows[_i].v, &p);

    ck_assert_msg(got == rows[_i].want, "%s: got %s", rows[_i].name, reason_text(got));
    drop(body);
}
END_TEST

START_TEST(publish_fields)
{
    struct publish p;

    ck_assert(publish_decode(0x3D, view_of(LIT("\0\3a/b\1\2\7\2\0\0\0\5\1\1pay")), MQTT_50, &p) == R_OK);
    ck_assert(p.dup && p.retain && p.qos == 2 && p.packet_id == 0x0102);
    ck_assert(same(p.topic, str("a/b")) && same(p.payload, str("pay")));
    ck_assert_uint_eq(props_num(&p.props, PROP_MESSAGE_EXPIRY, 0), 5);

    memset(&p, 0xAA, sizeof p);
    ck_assert(publish_decode(0x30, view_of(LIT("\0\1b\0\1")), MQTT_311, &p) == R_OK);
    ck_assert(!p.dup && !p.retain && p.qos == 0 && p.packet_id == 0 && p.payload.len == 2);
    ck_assert(p.props.has == 0 && p.props.raw.len == 0 && p.props.subid_count == 0 && p.props.user_count == 0);
}
END_TEST

/* The broker answers a wrong payload format with PUBACK 0x99, so it needs the packet's fields. */
START_TEST(payload_format_is_decoded_whole)
{
    struct publish p;

    ck_assert(publish_decode(0x32, view_of(LIT("\0\1a\0\7\2\1\1\xFF")), MQTT_50, &p) == R_PAYLOAD_FORMAT_INVALID);
    ck_assert(p.qos == 1 && p.packet_id == 7 && p.payload.len == 1);
}
END_TEST

static const struct {
    const char *name;
    struct publish_out out;
    const char *want;
    size_t len;
} heads[] = {
    { "3.1.1, qos 0", { .version = MQTT_311, .payload_len = 2 }, LIT("\x30\5\0\1t") },
    { "3.1.1, qos 1, dup, retain", { .version = MQTT_311, .dup = true, .retain = true, .qos = 1, .packet_id = 258,
      .payload_len = 0 }, LIT("\x3B\5\0\1t\1\2") },
    { "3.1 leaves properties out", { .version = MQTT_31, .props = { (const uint8_t *)"\1\1", 2 } }, LIT("\x30\3\0\1t") },
    { "5.0, qos 2, both halves", { .version = MQTT_50, .qos = 2, .packet_id = 1, .payload_len = 200,
      .props = { (const uint8_t *)"\1\1", 2 }, .props2 = { (const uint8_t *)"\43\0\1", 3 } },
      LIT("\x34\xD3\1\0\1t\0\1\5\1\1\43\0\1") },
    { "5.0 without properties", { .version = MQTT_50 }, LIT("\x30\4\0\1t\0") },
};

START_TEST(publish_heads)
{
    struct publish_out out = heads[_i].out;
    size_t size;
    uint8_t buf[32];
    struct writer w;

    out.topic = str("t");
    size = publish_head_size(&out);
    ck_assert_msg(size == heads[_i].len, "%s: %zu", heads[_i].name, size);
    ck_assert_uint_eq(publish_size(&out), size + out.payload_len);
    w = wr_make(buf, size);
    publish_head_encode(&out, &w);
    ck_assert(!w.bad && w.p == w.end);
    ck_assert_msg(memcmp(buf, heads[_i].want, size) == 0, "%s", heads[_i].name);
}
END_TEST

START_TEST(publish_too_large)
{
    struct publish_out out = { .version = MQTT_311, .topic = str("t"), .payload_len = FRAME_MAX_REMAINING - 3 };
    uint8_t buf[16];
    struct writer w = wr_make(buf, sizeof buf);

    ck_assert_uint_eq(publish_size(&out), FRAME_MAX_REMAINING + (size_t)5);
    publish_head_encode(&out, &w);
    ck_assert(!w.bad);
    out.payload_len++;
    ck_assert_uint_eq(publish_size(&out), 0);
    w = wr_make(buf, sizeof buf);
    publish_head_encode(&out, &w);
    ck_assert(w.bad);
    out.payload_len = SIZE_MAX;
    ck_assert_uint_eq(publish_size(&out), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("proto/publish");
    TCase *t = tcase_create("publish");

    tcase_add_loop_test(t, publish_rows, 0, COUNT(rows));
    tcase_add_test(t, publish_fields);
    tcase_add_test(t, payload_format_is_decoded_whole);
    tcase_add_loop_test(t, publish_heads, 0, COUNT(heads));
    tcase_add_test(t, publish_too_large);
    suite_add_tcase(s, t);
    return run_suite(s);
}
