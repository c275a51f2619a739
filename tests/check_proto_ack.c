/* PUBACK, PUBREC, PUBREL, PUBCOMP.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "check_proto.h"

static const struct {
    const char *name;
    uint8_t head;
    enum version v;
    const char *body;
    size_t len;
    enum reason want, reason;
} rows[] = {
    { "PUBACK",                              0x40, MQTT_311, LIT("\0\7"),          R_OK, R_OK },
    { "PUBREC",                              0x50, MQTT_311, LIT("\0\7"),          R_OK, R_OK },
    { "PUBREL [MQTT-3.6.1-1]",               0x62, MQTT_311, LIT("\0\7"),          R_OK, R_OK },
    { "PUBCOMP",                             0x70, MQTT_31,  LIT("\0\7"),          R_OK, R_OK },
    { "PUBREL flags 0 [MQTT-3.6.1-1]",       0x60, MQTT_311, LIT("\0\7"),          R_MALFORMED, R_OK },
    { "PUBREL flags 3 [MQTT-3.6.1-1]",       0x63, MQTT_50,  LIT("\0\7"),          R_MALFORMED, R_OK },
    { "PUBREL resent [MQTT-3.6.1-1]",        0x6A, MQTT_311, LIT("\0\7"),          R_MALFORMED, R_OK },
    { "PUBREL resent, 3.1 does that",        0x6A, MQTT_31,  LIT("\0\7"),          R_OK, R_OK },
    { "PUBACK flags [MQTT311-2.2.2-2] [MQTT5-2.1.3-1]", 0x42, MQTT_311, LIT("\0\7"), R_MALFORMED, R_OK },
    { "PUBREC flags [MQTT5-2.1.3-1]",        0x51, MQTT_50,  LIT("\0\7"),          R_MALFORMED, R_OK },
    { "PUBCOMP flags [MQTT5-2.1.3-1]",       0x78, MQTT_50,  LIT("\0\7"),          R_MALFORMED, R_OK },
    { "another packet",                      0x90, MQTT_311, LIT("\0\7"),          R_MALFORMED, R_OK },
    { "nothing",                             0x40, MQTT_311, LIT(""),              R_MALFORMED, R_OK },
    { "half an id",                          0x40, MQTT_311, LIT("\0"),            R_MALFORMED, R_OK },
    { "half an id, 5.0",                     0x40, MQTT_50,  LIT("\0"),            R_MALFORMED, R_OK },
    { "3.1.1 knows no reason",               0x40, MQTT_311, LIT("\0\7\0"),        R_MALFORMED, R_OK },
    { "packet id 0 [MQTT311-2.3.1-1]",       0x40, MQTT_311, LIT("\0\0"),          R_PROTOCOL_ERROR, R_OK },
    { "packet id 0 [MQTT5-2.2.1-3]",         0x62, MQTT_50,  LIT("\0\0"),          R_PROTOCOL_ERROR, R_OK },
    { "5.0 id only",                         0x40, MQTT_50,  LIT("\0\7"),          R_OK, R_OK },
    { "5.0 id and reason",                   0x40, MQTT_50,  LIT("\0\7\x87"),      R_OK, R_NOT_AUTHORIZED },
    { "5.0 empty properties",                0x40, MQTT_50,  LIT("\0\7\20\0"),     R_OK, R_NO_MATCHING_SUBSCRIBERS },
    { "5.0 reason string",                   0x50, MQTT_50,  LIT("\0\7\x97\6\37\0\3why"), R_OK, R_QUOTA_EXCEEDED },
    { "5.0 a byte too many",                 0x40, MQTT_50,  LIT("\0\7\0\0\0"),    R_MALFORMED, R_OK },
    { "5.0 properties cut",                  0x40, MQTT_50,  LIT("\0\7\0\6\37\0\3wh"), R_MALFORMED, R_OK },
    { "5.0 property of another packet",      0x40, MQTT_50,  LIT("\0\7\0\3\43\0\1"), R_MALFORMED, R_OK },
    { "reason string twice",                 0x40, MQTT_50,  LIT("\0\7\0\6\37\0\0\37\0\0"), R_PROTOCOL_ERROR, R_OK },
    { "PUBACK with PUBCOMP's reason [MQTT5-3.4.2-1]", 0x40, MQTT_50, LIT("\0\7\x92"), R_PROTOCOL_ERROR, R_OK },
    { "PUBREC with an unknown reason [MQTT5-3.5.2-1]", 0x50, MQTT_50, LIT("\0\7\3"), R_PROTOCOL_ERROR, R_OK },
    { "PUBREL, id not found [MQTT5-3.6.2-1]", 0x62, MQTT_50, LIT("\0\7\x92"),      R_OK, R_PACKET_ID_NOT_FOUND },
    { "PUBREL with PUBREC's reason [MQTT5-3.6.2-1]", 0x62, MQTT_50, LIT("\0\7\x97"), R_PROTOCOL_ERROR, R_OK },
    { "PUBCOMP with PUBREC's reason [MQTT5-3.7.2-1]", 0x70, MQTT_50, LIT("\0\7\20"), R_PROTOCOL_ERROR, R_OK },
};

START_TEST(ack_rows)
{
    struct view body = exact(rows[_i].body, rows[_i].len);
    struct ack a;
    enum reason got = ack_decode(rows[_i].head, body, rows[_i].v, &a);

    ck_assert_msg(got == rows[_i].want, "%s: got %s", rows[_i].name, reason_text(got));
    if (got == R_OK) {
        ck_assert_uint_eq(a.packet_id, 7);
        ck_assert_msg(a.reason == rows[_i].reason, "%s: %s", rows[_i].name, reason_text(a.reason));
    }
    drop(body);
}
END_TEST

static const struct {
    const char *name;
    enum packet type;
    enum version v;
    enum reason reason;
    const char *why, *want;
    size_t len;
} out[] = {
    { "3.1.1 PUBACK",               PKT_PUBACK,  MQTT_311, R_OK, "", LIT("\x40\2\1\2") },
    { "3.1.1 leaves the reason out", PKT_PUBACK, MQTT_311, R_NOT_AUTHORIZED, "why", LIT("\x40\2\1\2") },
    { "PUBREL flags [MQTT-3.6.1-1]", PKT_PUBREL, MQTT_31,  R_OK, "", LIT("\x62\2\1\2") },
    { "5.0 short",                  PKT_PUBCOMP, MQTT_50,  R_OK, "", LIT("\x70\2\1\2") },
    { "5.0 reason",                 PKT_PUBREC,  MQTT_50,  R_NOT_AUTHORIZED, "", LIT("\x50\3\1\2\x87") },
    { "5.0 reason and text",        PKT_PUBREC,  MQTT_50,  R_NOT_AUTHORIZED, "why",
      LIT("\x50\12\1\2\x87\6\37\0\3why") },
    { "5.0 text for OK",            PKT_PUBACK,  MQTT_50,  R_OK, "w", LIT("\x40\10\1\2\0\4\37\0\1w") },
};

START_TEST(ack_encoded)
{
    uint8_t buf[32];
    size_t size = ack_size(out[_i].v, out[_i].reason, str(out[_i].why));
    struct writer w = wr_make(buf, size);

    ack_encode(out[_i].type, 0x0102, out[_i].v, out[_i].reason, str(out[_i].why), &w);
    ck_assert(!w.bad && w.p == w.end);
    ck_assert_msg(same((struct view){ buf, size }, view_of(out[_i].want, out[_i].len)), "%s", out[_i].name);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("proto/ack");
    TCase *t = tcase_create("ack");

    tcase_add_loop_test(t, ack_rows, 0, COUNT(rows));
    tcase_add_loop_test(t, ack_encoded, 0, COUNT(out));
    suite_add_tcase(s, t);
    return run_suite(s);
}
