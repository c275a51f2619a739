/* UTF-8: every code point, every rule, and every position in and across machine words.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "check_proto.h"

static const struct {
    const char *name, *bytes;
    size_t len;
    bool valid, wellformed;
} rows[] = {
    { "empty",                                         LIT(""),                 true, true },
    { "ASCII",                                         LIT("hello"),            true, true },
    { "control characters are allowed",                LIT("a\nb\x7F"),         true, true },
    { "U+0000 [MQTT311-1.5.3-2] [MQTT5-1.5.4-2]",      LIT("a\0b"),             false, true },
    { "U+0000 after a whole word [MQTT5-1.5.4-2]",     LIT("aaaaaaaaaaaaaaa\0"), false, true },
    { "first of two bytes, U+0080",                    LIT("\xC2\x80"),         true, true },
    { "last of two bytes, U+07FF",                     LIT("\xDF\xBF"),         true, true },
    { "first of three bytes, U+0800",                  LIT("\xE0\xA0\x80"),     true, true },
    { "U+FEFF stays what it is [MQTT311-1.5.3-3] [MQTT5-1.5.4-3]", LIT("\xEF\xBB\xBF" "a"), true, true },
    { "non-character U+FFFE is allowed",               LIT("\xEF\xBF\xBE"),     true, true },
    { "last before the surrogates, U+D7FF",            LIT("\xED\x9F\xBF"),     true, true },
    { "first surrogate [MQTT311-1.5.3-1] [MQTT5-1.5.4-1]", LIT("\xED\xA0\x80"), false, false },
    { "last surrogate [MQTT311-1.5.3-1] [MQTT5-1.5.4-1]",  LIT("\xED\xBF\xBF"), false, false },
    { "a pair of them (CESU-8) [MQTT5-1.5.4-1]",       LIT("\xED\xA0\x81\xED\xB0\x80"), false, false },
    { "first after the surrogates, U+E000",            LIT("\xEE\x80\x80"),     true, true },
    { "first of four bytes, U+10000",                  LIT("\xF0\x90\x80\x80"), true, true },
    { "last of all, U+10FFFF",                         LIT("\xF4\x8F\xBF\xBF"), true, true },
    { "U+110000 [MQTT5-1.5.4-1]",                      LIT("\xF4\x90\x80\x80"), false, false },
    { "first byte F5 [MQTT5-1.5.4-1]",                 LIT("\xF5\x80\x80\x80"), false, false },
    { "first byte FF [MQTT5-1.5.4-1]",                 LIT("\xFF"),             false, false },
    { "overlong NUL, C0 80 [MQTT5-1.5.4-1]",           LIT("\xC0\x80"),         false, false },
    { "overlong DEL, C1 BF [MQTT5-1.5.4-1]",           LIT("\xC1\xBF"),         false, false },
    { "overlong U+07FF in three [MQTT5-1.5.4-1]",      LIT("\xE0\x9F\xBF"),     false, false },
    { "overlong U+FFFF in four [MQTT5-1.5.4-1]",       LIT("\xF0\x8F\xBF\xBF"), false, false },
    { "continuation without a beginning",              LIT("\x80"),             false, false },
    { "cut after one of two",                          LIT("a\xC3"),            false, false },
    { "cut after two of three",                        LIT("a\xE2\x82"),        false, false },
    { "cut after three of four",                       LIT("a\xF0\x9F\x98"),    false, false },
    { "third byte is none",                            LIT("\xE2\x82" "a"),     false, false },
    { "fourth byte is none",                           LIT("\xF0\x9F\x98\xC0"), false, false },
};

/* Behind 0 to 17 letters and in front of as many: the word loop must neither skip it nor read past it. */
START_TEST(utf8_rows)
{
    uint8_t buf[64];

    for (size_t before = 0; before <= 17; before++) {
        for (size_t after = 0; after <= 17; after += 17) {
            size_t len = before + rows[_i].len + after;
            struct view v;

            memset(buf, 'x', sizeof buf);
            memcpy(buf + before, rows[_i].bytes, rows[_i].len);
            v = exact(buf, len);
            ck_assert_msg(utf8_valid(v) == rows[_i].valid, "%s, %zu before", rows[_i].name, before);
            ck_assert_msg(utf8_wellformed(v) == rows[_i].wellformed, "%s, %zu before", rows[_i].name, before);
            drop(v);
        }
    }
}
END_TEST

static size_t encode(uint32_t c, uint8_t out[4])
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (uint8_t)(0xC0 | c >> 6);
        out[1] = (uint8_t)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xE0 | c >> 12);
        out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
        out[2] = (uint8_t)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | c >> 18);
    out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3F));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
    out[3] = (uint8_t)(0x80 | (c & 0x3F));
    return 4;
}

/* [MQTT311-1.5.3-1], [MQTT5-1.5.4-1] for each of the 1,114,112 code points and some beyond. */
START_TEST(utf8_code_points)
{
    for (uint32_t c = 0; c < 0x120000; c++) {
        uint8_t buf[4];
        struct view v = { buf, encode(c, buf) };
        bool want = (c < 0xD800 || c > 0xDFFF) && c <= 0x10FFFF;

        if (utf8_wellformed(v) != want || utf8_valid(v) != (want && c != 0))
            ck_abort_msg("U+%04X", (unsigned)c);
    }
}
END_TEST

START_TEST(rd_utf8_refuses)
{
    struct reader r = rd_make(view_of(LIT("\0\2\xED\xA0")));
    struct view v = rd_utf8(&r);

    ck_assert(r.bad && v.len == 0);
    r = rd_make(view_of(LIT("\0\2ab\0")));
    v = rd_utf8(&r);
    ck_assert(!r.bad && same(v, str("ab")));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("proto/utf8");
    TCase *t = tcase_create("utf8");

    tcase_add_loop_test(t, utf8_rows, 0, COUNT(rows));
    tcase_add_test(t, utf8_code_points);
    tcase_add_test(t, rd_utf8_refuses);
    suite_add_tcase(s, t);
    return run_suite(s);
}
