/* SUBSCRIBE, UNSUBSCRIBE and their answers.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "check_proto.h"

struct row {
    const char *name;
    uint8_t head;
    enum version v;
    const char *body;
    size_t len;
    enum reason want;
    unsigned count;             /* of filters, or of codes */
};

static const struct row subs[] = {
    { "one filter",                          0x82, MQTT_311, LIT("\0\7\0\1a\1"),             R_OK, 1 },
    { "two filters",                         0x82, MQTT_31,  LIT("\0\7\0\1a\1\0\1b\2"),      R_OK, 2 },
    { "5.0, all options",                    0x82, MQTT_50,  LIT("\0\7\0\0\1a\56"),          R_OK, 1 },
    { "a bad filter is not a bad packet",    0x82, MQTT_311, LIT("\0\7\0\2a#\0"),            R_OK, 1 },
    { "flags 0 [MQTT-3.8.1-1]",              0x80, MQTT_311, LIT("\0\7\0\1a\1"),             R_MALFORMED, 0 },
    { "flags 3 [MQTT-3.8.1-1]",              0x83, MQTT_50,  LIT("\0\7\0\0\1a\1"),           R_MALFORMED, 0 },
    { "resent, 3.1 does that",               0x8A, MQTT_31,  LIT("\0\7\0\1a\1"),             R_OK, 1 },
    { "another packet",                      0xA2, MQTT_311, LIT("\0\7\0\1a\1"),             R_MALFORMED, 0 },
    { "nothing",                             0x82, MQTT_311, LIT(""),                        R_MALFORMED, 0 },
    { "no filter [MQTT311-3.8.3-3]",         0x82, MQTT_311, LIT("\0\7"),                    R_PROTOCOL_ERROR, 0 },
    { "no filter [MQTT5-3.8.3-2]",           0x82, MQTT_50,  LIT("\0\7\0"),                  R_PROTOCOL_ERROR, 0 },
    { "packet id 0 [MQTT311-2.3.1-1]",       0x82, MQTT_311, LIT("\0\0\0\1a\1"),             R_PROTOCOL_ERROR, 0 },
    { "packet id 0 [MQTT5-2.2.1-3]",         0x82, MQTT_50,  LIT("\0\0\0\0\1a\1"),           R_PROTOCOL_ERROR, 0 },
    { "no options byte",                     0x82, MQTT_311, LIT("\0\7\0\1a"),               R_MALFORMED, 0 },
    { "no options byte after the second",    0x82, MQTT_50,  LIT("\0\7\0\0\1a\1\0\1b"),      R_MALFORMED, 0 },
    { "filter longer than the packet",       0x82, MQTT_311, LIT("\0\7\0\5a\1"),             R_MALFORMED, 0 },
    { "filter not UTF-8 [MQTT-3.8.3-1]",     0x82, MQTT_311, LIT("\0\7\0\1\xFF\1"),          R_MALFORMED, 0 },
    { "filter with U+0000 [MQTT-4.7.3-2]",   0x82, MQTT_311, LIT("\0\7\0\1\0\1"),            R_MALFORMED, 0 },
    { "empty filter [MQTT-4.7.3-1]",         0x82, MQTT_311, LIT("\0\7\0\0\1"),              R_MALFORMED, 0 },
    { "qos 3 [MQTT311-3.8.3-4]",             0x82, MQTT_311, LIT("\0\7\0\1a\3"),             R_MALFORMED, 0 },
    { "qos 3, 5.0 (3.8.3.1)",                0x82, MQTT_50,  LIT("\0\7\0\0\1a\3"),           R_PROTOCOL_ERROR, 0 },
    { "reserved bit 2 [MQTT311-3.8.3-4]",    0x82, MQTT_311, LIT("\0\7\0\1a\4"),             R_MALFORMED, 0 },
    { "reserved bit 7 [MQTT311-3.8.3-4]",    0x82, MQTT_311, LIT("\0\7\0\1a\x80"),           R_MALFORMED, 0 },
    { "reserved bit 6 [MQTT5-3.8.3-5]",      0x82, MQTT_50,  LIT("\0\7\0\0\1a\100"),         R_MALFORMED, 0 },
    { "reserved bit 7 [MQTT5-3.8.3-5]",      0x82, MQTT_50,  LIT("\0\7\0\0\1a\x80"),         R_MALFORMED, 0 },
    { "retain handling 3 (3.8.3.1)",         0x82, MQTT_50,  LIT("\0\7\0\0\1a\60"),          R_PROTOCOL_ERROR, 0 },
    { "no local on a share [MQTT5-3.8.3-4]", 0x82, MQTT_50,  LIT("\0\7\0\0\12$share/g/a\4"), R_PROTOCOL_ERROR, 0 },
    { "a share without no local",            0x82, MQTT_50,  LIT("\0\7\0\0\12$share/g/a\1"), R_OK, 1 },
    { "subscription id",                     0x82, MQTT_50,  LIT("\0\7\2\13\1\0\1a\1"),      R_OK, 1 },
    { "subscription id 0",                   0x82, MQTT_50,  LIT("\0\7\2\13\0\0\1a\1"),      R_PROTOCOL_ERROR, 0 },
    { "subscription id twice (3.8.2.1.2)",   0x82, MQTT_50,  LIT("\0\7\4\13\1\13\2\0\1a\1"), R_PROTOCOL_ERROR, 0 },
    { "property of another packet",          0x82, MQTT_50,  LIT("\0\7\2\1\1\0\1a\1"),       R_MALFORMED, 0 },
};

START_TEST(subscribe_rows)
{
    struct view body = exact(subs[_i].body, subs[_i].len);
    struct subscribe s;
    enum reason got = subscribe_decode(subs[_i].head, body, subs[_i].v, &s);

    ck_assert_msg(got == subs[_i].want, "%s: got %s", subs[_i].name, reason_text(got));
    if (got == R_OK) {
        ck_assert_uint_eq(s.packet_id, 7);
        ck_assert_uint_eq(s.count, subs[_i].count);
    }
    drop(body);
}
END_TEST

START_TEST(subscribe_fields)
{
    struct subscribe s;
    struct subscription sub;
    struct reader r;

    ck_assert(subscribe_decode(0x82, view_of(LIT("\1\2\2\13\5\0\1a\56\0\2b+\0\0\1c\22")), MQTT_50, &s) == R_OK);
    ck_assert_uint_eq(s.packet_id, 0x0102);
    ck_assert_uint_eq(props_num(&s.props, PROP_SUBSCRIPTION_ID, 0), 5);
    r = rd_make(s.filters);
    ck_assert(subscribe_next(&r, MQTT_50, &sub));
    ck_assert(same(sub.filter, str("a")) && sub.filter_ok && sub.qos == 2);
    ck_assert(sub.no_local && sub.retain_as_published && sub.retain_handling == 2);
    ck_assert(subscribe_next(&r, MQTT_50, &sub));
    ck_assert(same(sub.filter, str("b+")) && !sub.filter_ok && sub.qos == 0);
    ck_assert(!sub.no_local && !sub.retain_as_published && sub.retain_handling == 0);
    ck_assert(subscribe_next(&r, MQTT_50, &sub));
    ck_assert(sub.qos == 2 && sub.retain_handling == 1);
    ck_assert(!subscribe_next(&r, MQTT_50, &sub));
}
END_TEST

static const struct row unsubs[] = {
    { "one filter",                          0xA2, MQTT_311, LIT("\0\7\0\1a"),         R_OK, 1 },
    { "two filters, 5.0",                    0xA2, MQTT_50,  LIT("\0\7\0\0\1a\0\1b"),  R_OK, 2 },
    { "resent, 3.1 does that",               0xAA, MQTT_31,  LIT("\0\7\0\1a"),         R_OK, 1 },
    { "flags 0 [MQTT-3.10.1-1]",             0xA0, MQTT_311, LIT("\0\7\0\1a"),         R_MALFORMED, 0 },
    { "flags 6 [MQTT-3.10.1-1]",             0xA6, MQTT_50,  LIT("\0\7\0\0\1a"),       R_MALFORMED, 0 },
    { "no filter [MQTT-3.10.3-2]",           0xA2, MQTT_311, LIT("\0\7"),              R_PROTOCOL_ERROR, 0 },
    { "no filter, 5.0 [MQTT-3.10.3-2]",      0xA2, MQTT_50,  LIT("\0\7\0"),            R_PROTOCOL_ERROR, 0 },
    { "packet id 0 [MQTT311-2.3.1-1]",       0xA2, MQTT_311, LIT("\0\0\0\1a"),         R_PROTOCOL_ERROR, 0 },
    { "packet id 0 [MQTT5-2.2.1-3]",         0xA2, MQTT_50,  LIT("\0\0\0\0\1a"),       R_PROTOCOL_ERROR, 0 },
    { "filter not UTF-8 [MQTT-3.10.3-1]",    0xA2, MQTT_311, LIT("\0\7\0\1\xC0"),      R_MALFORMED, 0 },
    { "filter cut",                          0xA2, MQTT_311, LIT("\0\7\0\2a"),         R_MALFORMED, 0 },
    { "half a length",                       0xA2, MQTT_311, LIT("\0\7\0\1a\0"),       R_MALFORMED, 0 },
    { "empty filter [MQTT-4.7.3-1]",         0xA2, MQTT_311, LIT("\0\7\0\0"),          R_MALFORMED, 0 },
    { "property of another packet",          0xA2, MQTT_50,  LIT("\0\7\2\13\1\0\1a"),  R_MALFORMED, 0 },
};

START_TEST(unsubscribe_rows)
{
    struct view body = exact(unsubs[_i].body, unsubs[_i].len), filter;
    struct subscribe s;
    enum reason got = unsubscribe_decode(unsubs[_i].head, body, unsubs[_i].v, &s);

    ck_assert_msg(got == unsubs[_i].want, "%s: got %s", unsubs[_i].name, reason_text(got));
    if (got == R_OK) {
        struct reader r = rd_make(s.filters);
        unsigned n = 0;

        while (unsubscribe_next(&r, &filter)) {
            ck_assert(filter.len == 1 && filter.p[0] == 'a' + n);
            n++;
        }
        ck_assert_uint_eq(n, unsubs[_i].count);
        ck_assert_uint_eq(s.count, n);
        ck_assert_uint_eq(s.packet_id, 7);
    }
    drop(body);
}
END_TEST

static const struct row answers[] = {
    { "SUBACK",                             0x90, MQTT_311, LIT("\0\7\0\1\2\x80"),   R_OK, 4 },
    { "SUBACK, 5.0",                        0x90, MQTT_50,  LIT("\0\7\0\0\x8F"),     R_OK, 2 },
    { "SUBACK, reserved code [MQTT311-3.9.3-2]", 0x90, MQTT_311, LIT("\0\7\3"),      R_PROTOCOL_ERROR, 0 },
    { "SUBACK, 5.0 code in 3.1.1 [MQTT311-3.9.3-2]", 0x90, MQTT_311, LIT("\0\7\x87"), R_PROTOCOL_ERROR, 0 },
    { "SUBACK, UNSUBACK's code [MQTT5-3.9.3-2]", 0x90, MQTT_50, LIT("\0\7\0\21"),    R_PROTOCOL_ERROR, 0 },
    { "SUBACK without codes",               0x90, MQTT_311, LIT("\0\7"),             R_PROTOCOL_ERROR, 0 },
    { "SUBACK, packet id 0 [MQTT5-2.2.1-3]", 0x90, MQTT_50, LIT("\0\0\0\0"),         R_PROTOCOL_ERROR, 0 },
    { "SUBACK, flags [MQTT311-2.2.2-2] [MQTT5-2.1.3-1]", 0x92, MQTT_311, LIT("\0\7\0"), R_MALFORMED, 0 },
    { "SUBACK, half an id",                 0x90, MQTT_311, LIT("\0"),               R_MALFORMED, 0 },
    { "another packet",                     0x40, MQTT_311, LIT("\0\7\0"),           R_MALFORMED, 0 },
    { "UNSUBACK",                           0xB0, MQTT_311, LIT("\0\7"),             R_OK, 0 },
    { "UNSUBACK has no codes in 3.1.1",     0xB0, MQTT_311, LIT("\0\7\0"),           R_MALFORMED, 0 },
    { "UNSUBACK, 5.0",                      0xB0, MQTT_50,  LIT("\0\7\0\21\0"),      R_OK, 2 },
    { "UNSUBACK, 5.0 without codes",        0xB0, MQTT_50,  LIT("\0\7\0"),           R_PROTOCOL_ERROR, 0 },
    { "UNSUBACK, SUBACK's code [MQTT5-3.11.3-2]", 0xB0, MQTT_50, LIT("\0\7\0\2"),    R_PROTOCOL_ERROR, 0 },
};

START_TEST(suback_rows)
{
    struct view body = exact(answers[_i].body, answers[_i].len);
    struct suback s;
    enum reason got = suback_decode(answers[_i].head, body, answers[_i].v, &s);

    ck_assert_msg(got == answers[_i].want, "%s: got %s", answers[_i].name, reason_text(got));
    if (got == R_OK) {
        ck_assert_uint_eq(s.packet_id, 7);
        ck_assert_uint_eq(s.codes.len, answers[_i].count);
    }
    drop(body);
}
END_TEST

static const struct {
    const char *name;
    enum packet type;
    enum version v;
    const char *why, *want;
    size_t len;
} out[] = {
    { "SUBACK, failures are 0x80 [MQTT311-3.9.3-2]", PKT_SUBACK, MQTT_311, "no", LIT("\x90\5\1\2\0\2\x80") },
    { "SUBACK, 3.1",             PKT_SUBACK,   MQTT_31,  "",   LIT("\x90\5\1\2\0\2\x80") },
    { "SUBACK, 5.0",             PKT_SUBACK,   MQTT_50,  "",   LIT("\x90\6\1\2\0\0\2\x8F") },
    { "SUBACK, 5.0, with text",  PKT_SUBACK,   MQTT_50,  "no", LIT("\x90\13\1\2\5\37\0\2no\0\2\x8F") },
    { "UNSUBACK, 3.1.1",         PKT_UNSUBACK, MQTT_311, "no", LIT("\xB0\2\1\2") },
    { "UNSUBACK, 5.0",           PKT_UNSUBACK, MQTT_50,  "",   LIT("\xB0\6\1\2\0\0\2\x8F") },
    { "UNSUBACK, 5.0, with text", PKT_UNSUBACK, MQTT_50, "no", LIT("\xB0\13\1\2\5\37\0\2no\0\2\x8F") },
};

START_TEST(answers_encoded)
{
    static const uint8_t codes[] = { R_OK, R_GRANTED_QOS2, R_FILTER_INVALID };
    bool sub = out[_i].type == PKT_SUBACK;
    struct view why = str(out[_i].why);
    size_t size = sub ? suback_size(out[_i].v, 3, why) : unsuback_size(out[_i].v, 3, why);
    uint8_t buf[32];
    struct writer w = wr_make(buf, size);

    if (sub)
        suback_encode(out[_i].v, 0x0102, codes, 3, why, &w);
    else
        unsuback_encode(out[_i].v, 0x0102, codes, 3, why, &w);
    ck_assert(!w.bad && w.p == w.end);
    ck_assert_msg(same((struct view){ buf, size }, view_of(out[_i].want, out[_i].len)), "%s", out[_i].name);
}
END_TEST

/* 5.0 options given to a 3.1.1 server would be reserved bits [MQTT311-3.8.3-4]. */
START_TEST(subscribe_encoded_for_v3)
{
    struct subscription sub = { .filter = str("a"), .qos = 1, .no_local = true, .retain_handling = 2 };
    uint8_t buf[32];
    size_t size = subscribe_size(MQTT_311, &sub, 1, str("ignored"));
    struct writer w = wr_make(buf, size);

    subscribe_encode(MQTT_311, 7, &sub, 1, str("ignored"), &w);
    ck_assert(!w.bad && w.p == w.end);
    ck_assert(same((struct view){ buf, size }, view_of(LIT("\x82\6\0\7\0\1a\1"))));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("proto/subscribe");
    TCase *t = tcase_create("subscribe");

    tcase_add_loop_test(t, subscribe_rows, 0, COUNT(subs));
    tcase_add_test(t, subscribe_fields);
    tcase_add_loop_test(t, unsubscribe_rows, 0, COUNT(unsubs));
    tcase_add_loop_test(t, suback_rows, 0, COUNT(answers));
    tcase_add_loop_test(t, answers_encoded, 0, COUNT(out));
    tcase_add_test(t, subscribe_encoded_for_v3);
    suite_add_tcase(s, t);
    return run_suite(s);
}
