/* Fixed header, remaining length, variable byte integers, the reader's and the writer's ends.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "check_proto.h"

static const struct {
    const char *name, *bytes;
    size_t len, max;
    enum frame_result want;
    size_t need, left;
} cuts[] = {
    { "nothing",                                LIT(""),                     99, FRAME_MORE,      0, 0 },
    { "first byte only",                        LIT("\x30"),                 99, FRAME_MORE,      0, 1 },
    { "length not complete",                    LIT("\x30\x80"),             99, FRAME_MORE,      0, 2 },
    { "body not complete",                      LIT("\x30\3ab"),             99, FRAME_MORE,      5, 4 },
    { "whole packet",                           LIT("\x30\3abc"),            99, FRAME_OK,        5, 0 },
    { "and the next one behind it",             LIT("\xC0\0\xD0\0"),         99, FRAME_OK,        2, 2 },
    { "reserved type 0 [MQTT-2.2.1]",           LIT("\0\0"),                 99, FRAME_MALFORMED, 0, 2 },
    { "reserved type 0, seen at the first byte", LIT("\xF"),                 99, FRAME_MALFORMED, 0, 1 },
    { "length 0 in two bytes [MQTT5-1.5.5-1]",  LIT("\x30\x80\0"),           99, FRAME_MALFORMED, 0, 3 },
    { "length 127 in two bytes is too long a form [MQTT5-1.5.5-1]", LIT("\x30\xFF\0"), 99, FRAME_MALFORMED, 0, 3 },
    { "length 1 in four bytes [MQTT5-1.5.5-1]", LIT("\x30\x81\x80\x80\0"),   99, FRAME_MALFORMED, 0, 5 },
    { "five bytes of length",                   LIT("\x30\x80\x80\x80\x80\1"), 99, FRAME_MALFORMED, 0, 6 },
    { "fifth byte need not come",               LIT("\x30\xFF\xFF\xFF\xFF"), 99, FRAME_MALFORMED, 0, 5 },
    { "largest length, nothing behind it",      LIT("\x30\xFF\xFF\xFF\x7F"), 268435460, FRAME_MORE, 268435460, 5 },
    { "refused before the body comes",          LIT("\x30\xFF\xFF\xFF\x7F"), 1000, FRAME_TOO_LARGE, 268435460, 5 },
    { "exactly the maximum",                    LIT("\x30\3abc"),             5, FRAME_OK,        5, 0 },
    { "one byte over the maximum",              LIT("\x30\3abc"),             4, FRAME_TOO_LARGE, 5, 5 },
};

START_TEST(frame_rows)
{
    struct view buf = exact(cuts[_i].bytes, cuts[_i].len), in = buf;
    struct frame f = { 0 };
    enum frame_result got = frame_next(&in, cuts[_i].max, &f);

    ck_assert_msg(got == cuts[_i].want, "%s: got %d", cuts[_i].name, (int)got);
    ck_assert_msg(f.need == cuts[_i].need, "%s: need %zu", cuts[_i].name, f.need);
    ck_assert_msg(in.len == cuts[_i].left, "%s: %zu left", cuts[_i].name, in.len);
    if (got == FRAME_OK) {
        ck_assert_uint_eq(f.head, buf.p[0]);
        ck_assert_ptr_eq(f.body.p, buf.p + 2);
        ck_assert_ptr_eq(in.p, buf.p + f.need);
    } else {
        ck_assert_ptr_eq(in.p, buf.p);
    }
    drop(buf);
}
END_TEST

/* [MQTT-2.2.3]: the edges of each length of the length. */
static const struct {
    uint32_t value;
    unsigned bytes;
} varints[] = {
    { 0, 1 }, { 127, 1 }, { 128, 2 }, { 16383, 2 }, { 16384, 3 }, { 2097151, 3 }, { 2097152, 4 }, { 268435455, 4 },
};

START_TEST(varint_rows)
{
    uint8_t buf[5];
    struct writer w = wr_make(buf, sizeof buf);
    struct reader r;

    wr_varint(&w, varints[_i].value);
    ck_assert(!w.bad);
    ck_assert_uint_eq((size_t)(w.p - buf), varints[_i].bytes);
    ck_assert_uint_eq(varint_size(varints[_i].value), varints[_i].bytes);
    r = rd_make((struct view){ buf, varints[_i].bytes });
    ck_assert_uint_eq(rd_varint(&r), varints[_i].value);
    ck_assert(!r.bad && rd_left(&r) == 0);
    for (size_t n = 0; n < varints[_i].bytes; n++) {
        struct view cut = exact(buf, n);

        r = rd_make(cut);
        ck_assert_uint_eq(rd_varint(&r), 0);
        ck_assert(r.bad);
        drop(cut);
    }
}
END_TEST

static const struct {
    const char *name, *bytes;
    size_t len;
} bad_varints[] = {
    { "0 in two bytes [MQTT5-1.5.5-1]",   LIT("\x80\0") },
    { "1 in three bytes [MQTT5-1.5.5-1]", LIT("\x81\x80\0") },
    { "1 in four bytes [MQTT5-1.5.5-1]",  LIT("\x81\x80\x80\0") },
    { "five bytes",                       LIT("\x80\x80\x80\x80\1") },
};

START_TEST(bad_varint_rows)
{
    struct reader r = rd_make(view_of(bad_varints[_i].bytes, bad_varints[_i].len));

    ck_assert_uint_eq(rd_varint(&r), 0);
    ck_assert_msg(r.bad, "%s", bad_varints[_i].name);
}
END_TEST

START_TEST(frame_head_round_trip)
{
    uint8_t buf[5];
    struct writer w = wr_make(buf, sizeof buf);
    struct view in = { buf, sizeof buf };
    struct frame f;

    frame_write_head(&w, PKT_SUBSCRIBE, varints[_i].value);
    ck_assert(!w.bad);
    ck_assert_uint_eq(frame_size(varints[_i].value), 1 + varints[_i].bytes + varints[_i].value);
    in.len = (size_t)(w.p - buf);
    ck_assert(frame_next(&in, SIZE_MAX, &f) == (varints[_i].value == 0 ? FRAME_OK : FRAME_MORE));
    ck_assert_uint_eq(f.need, frame_size(varints[_i].value));
    ck_assert_uint_eq(f.head, 0x82);
}
END_TEST

/* [MQTT311-2.2.2-1], [MQTT311-2.2.2-2], [MQTT5-2.1.3-1]: every head there is, against Table 2.2 written out again. */
START_TEST(frame_flags)
{
    static const uint8_t want[16] = { [PKT_PUBREL] = 2, [PKT_SUBSCRIBE] = 2, [PKT_UNSUBSCRIBE] = 2 };

    for (unsigned head = 0x10; head <= 0xFF; head++) {
        unsigned type = head >> 4, flags = head & 0xF;
        bool ok = type == PKT_PUBLISH || flags == want[type];
        bool ok31 = ok || (want[type] == 2 && flags == 0xA);

        ck_assert_msg(frame_flags_ok((uint8_t)head, MQTT_311) == ok, "%02X", head);
        ck_assert_msg(frame_flags_ok((uint8_t)head, MQTT_50) == ok, "%02X", head);
        ck_assert_msg(frame_flags_ok((uint8_t)head, MQTT_31) == ok31, "3.1, resent: %02X", head);
    }
}
END_TEST

START_TEST(reader_is_sticky)
{
    struct view buf = exact("\1\2\3", 3);
    struct reader r = rd_make(buf);

    ck_assert_uint_eq(rd_u16(&r), 0x0102);
    ck_assert_uint_eq(rd_u32(&r), 0);
    ck_assert(r.bad);
    ck_assert_uint_eq(rd_left(&r), 1);
    ck_assert_uint_eq(rd_u8(&r), 0);
    ck_assert_uint_eq(rd_rest(&r).len, 0);
    r = rd_make((struct view){ NULL, 0 });
    ck_assert_uint_eq(rd_rest(&r).len, 0);
    ck_assert(!r.bad);
    ck_assert_uint_eq(rd_u8(&r), 0);
    ck_assert(r.bad);
    drop(buf);
}
END_TEST

START_TEST(writer_is_sticky)
{
    uint8_t buf[3] = { 0, 0, 0xEE };
    struct writer w = wr_make(buf, 2);

    wr_u8(&w, 7);
    wr_u16(&w, 0x0102);
    ck_assert(w.bad);
    wr_u8(&w, 9);
    ck_assert_uint_eq(buf[0], 7);
    ck_assert_uint_eq(buf[1], 0);
    ck_assert_uint_eq(buf[2], 0xEE);
    w = wr_make(buf, 2);
    wr_varint(&w, 268435456);
    ck_assert(w.bad);
    w = wr_make(buf, 2);
    frame_write_head(&w, PKT_PUBLISH, FRAME_MAX_REMAINING + (size_t)1);
    ck_assert(w.bad);
}
END_TEST

START_TEST(names)
{
    ck_assert_str_eq(packet_name(0), "reserved");
    ck_assert_str_eq(packet_name(1), "CONNECT");
    ck_assert_str_eq(packet_name(15), "AUTH");
    ck_assert_str_eq(packet_name(16), "reserved");
    ck_assert_str_eq(reason_text(R_NOT_AUTHORIZED), "not authorized");
    ck_assert_str_eq(reason_text((enum reason)0x03), "unknown reason");
    ck_assert_str_eq(reason_text((enum reason)0xFF), "unknown reason");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("proto/frame");
    TCase *t = tcase_create("frame");

    tcase_add_loop_test(t, frame_rows, 0, COUNT(cuts));
    tcase_add_loop_test(t, varint_rows, 0, COUNT(varints));
    tcase_add_loop_test(t, bad_varint_rows, 0, COUNT(bad_varints));
    tcase_add_loop_test(t, frame_head_round_trip, 0, COUNT(varints));
    tcase_add_test(t, frame_flags);
    tcase_add_test(t, reader_is_sticky);
    tcase_add_test(t, writer_is_sticky);
    tcase_add_test(t, names);
    suite_add_tcase(s, t);
    return run_suite(s);
}
