/* Every valid packet, in every version that has it: whole, cut at every byte, with a byte too many, and through the
 * encoder again.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "check_proto.h"
#include "proto_any.h"

enum { V31 = 1, V311 = 2, V5 = 4, V3 = V31 | V311, ALL = V3 | V5 };
enum { SERVER, CLIENT };

static const struct {
    const char *name;
    unsigned versions;
    int from;
    const char *bytes;
    size_t len;
    const char *also; /* body lengths at which the cut rest is a valid packet of its own, one character each */
    size_t also_len;
    bool open;        /* and so it is with a zero byte more */
} packets[] = {
    { "CONNECT 3.1", V31, CLIENT,
      LIT("\x10\44\0\6MQIsdp\3\xF6\0\74\0\2id\0\1w\0\3pay\0\4user\0\4word"), LIT("\30\36"), false },
    { "CONNECT 3.1.1", V311, CLIENT,
      LIT("\x10\42\0\4MQTT\4\xF6\0\74\0\2id\0\1w\0\3pay\0\4user\0\4word"), LIT(""), false },
    { "CONNECT 3.1.1, least", V311, CLIENT, LIT("\x10\14\0\4MQTT\4\2\0\0\0\0"), LIT(""), false },
    { "CONNECT 5.0", V5, CLIENT,
      LIT("\x10\111\0\4MQTT\5\xF4\0\74\22\21\0\0\0\12\41\0\12\47\0\0\1\0\42\0\5\31\1"
          "\0\2id\25\30\0\0\0\1\1\1\3\0\1t\46\0\1k\0\1v\11\0\0\0\1w\0\3pay\0\4user\0\2pw"), LIT(""), false },
    { "CONNECT 5.0, least", V5, CLIENT, LIT("\x10\15\0\4MQTT\5\0\0\0\0\0\0"), LIT(""), false },
    { "CONNACK", V3, SERVER, LIT("\x20\2\0\5"), LIT(""), false },
    { "CONNACK, present", V311, SERVER, LIT("\x20\2\1\0"), LIT(""), false },
    { "CONNACK 5.0", V5, SERVER, LIT("\x20\16\1\0\13\22\0\1c\23\0\74\44\1\52\0"), LIT(""), false },
    { "PUBLISH qos 0", V3, CLIENT, LIT("\x31\6\0\2a/bc"), LIT("\4\5"), true },
    { "PUBLISH qos 2", V3, SERVER, LIT("\x3D\6\0\2a/\1\2"), LIT(""), true },
    { "PUBLISH 5.0 qos 0", V5, CLIENT, LIT("\x30\5\0\1a\0x"), LIT("\4"), true },
    { "PUBLISH 5.0 qos 1", V5, SERVER,
      LIT("\x32\45\0\2a/\1\2\36\2\0\0\0\1\3\0\1t\10\0\1r\11\0\1c\46\0\1k\0\1v\13\x80\1\43\0\1"), LIT(""), true },
    { "PUBACK", V3, SERVER, LIT("\x40\2\1\2"), LIT(""), false },
    { "PUBREC", V3, CLIENT, LIT("\x50\2\1\2"), LIT(""), false },
    { "PUBREL", V3, CLIENT, LIT("\x62\2\1\2"), LIT(""), false },
    { "PUBCOMP", V3, SERVER, LIT("\x70\2\1\2"), LIT(""), false },
    { "PUBACK 5.0, short", V5, SERVER, LIT("\x40\2\1\2"), LIT(""), true },
    { "PUBREL 5.0, short", V5, CLIENT, LIT("\x62\2\1\2"), LIT(""), true },
    { "PUBACK 5.0, reason", V5, SERVER, LIT("\x40\3\1\2\x87"), LIT("\2"), true },
    { "PUBREC 5.0, text", V5, SERVER, LIT("\x50\12\1\2\x87\6\37\0\3why"), LIT("\2\3"), false },
    { "PUBREL 5.0, text", V5, CLIENT, LIT("\x62\12\1\2\x92\6\37\0\3why"), LIT("\2\3"), false },
    { "PUBCOMP 5.0, text", V5, CLIENT, LIT("\x70\12\1\2\x92\6\37\0\3why"), LIT("\2\3"), false },
    { "SUBSCRIBE", V3, CLIENT, LIT("\x82\14\1\2\0\1a\0\0\3b/#\2"), LIT("\6"), false },
    { "SUBSCRIBE 5.0", V5, CLIENT, LIT("\x82\25\1\2\11\13\5\46\0\1k\0\1v\0\1a\56\0\2b+\0"), LIT("\20"), false },
    { "SUBACK", V3, SERVER, LIT("\x90\5\1\2\0\2\x80"), LIT("\3\4"), true },
    { "SUBACK 5.0", V5, SERVER, LIT("\x90\12\1\2\5\37\0\2no\2\x8F"), LIT("\11"), true },
    { "UNSUBSCRIBE", V3, CLIENT, LIT("\xA2\11\1\2\0\1a\0\2b/"), LIT("\5"), false },
    { "UNSUBSCRIBE 5.0", V5, CLIENT, LIT("\xA2\7\1\2\0\0\2a/"), LIT(""), false },
    { "UNSUBACK", V3, SERVER, LIT("\xB0\2\1\2"), LIT(""), false },
    { "UNSUBACK 5.0", V5, SERVER, LIT("\xB0\11\1\2\4\37\0\1n\0\21"), LIT("\10"), true },
    { "PINGREQ", ALL, CLIENT, LIT("\xC0\0"), LIT(""), false },
    { "PINGRESP", ALL, SERVER, LIT("\xD0\0"), LIT(""), false },
    { "DISCONNECT", V3, CLIENT, LIT("\xE0\0"), LIT(""), false },
    { "DISCONNECT 5.0, short", V5, CLIENT, LIT("\xE0\0"), LIT(""), true },
    { "DISCONNECT 5.0, reason", V5, SERVER, LIT("\xE0\1\x8E"), LIT("\0"), true },
    { "DISCONNECT 5.0", V5, CLIENT, LIT("\xE0\7\4\5\21\0\0\0\1"), LIT("\0\1"), false },
    { "AUTH", V5, SERVER, LIT("\xF0\12\30\10\25\0\1m\26\0\1d"), LIT("\0"), false },
};

static enum reason decode(int row, enum version v, uint8_t head, const uint8_t *p, size_t len)
{
    struct view body = exact(p, len);
    enum reason why = any_packet(head, body, v, packets[row].from == CLIENT, NULL, NULL);

    drop(body);
    return why;
}

static void cut_body(int row, enum version v, const struct frame *f)
{
    uint8_t more[256] = { 0 };

    for (size_t n = 0; n < f->body.len; n++) {
        bool good = packets[row].also_len > 0 && memchr(packets[row].also, (int)n, packets[row].also_len) != NULL;
        enum reason why = decode(row, v, f->head, f->body.p, n);

        ck_assert_msg((why == R_OK) == good, "%s, version %d, cut at %zu: %s", packets[row].name, (int)v, n,
                      reason_text(why));
    }
    memcpy(more, f->body.p, f->body.len);
    ck_assert_msg((decode(row, v, f->head, more, f->body.len + 1) == R_OK) == packets[row].open,
                  "%s, version %d, a byte more", packets[row].name, (int)v);
}

static void through_encoder(int row, enum version v, const struct frame *f)
{
    uint8_t buf[256];
    struct writer w = wr_make(buf, sizeof buf);
    struct view whole = view_of(packets[row].bytes, packets[row].len);
    size_t size = 0;
    enum reason why = any_packet(f->head, f->body, v, packets[row].from == CLIENT, &w, &size);

    ck_assert_msg(why == R_OK, "%s, version %d: %s", packets[row].name, (int)v, reason_text(why));
    ck_assert(!w.bad);
    ck_assert_uint_eq(size, whole.len);
    ck_assert_msg(same((struct view){ buf, (size_t)(w.p - buf) }, whole), "%s, version %d", packets[row].name,
                  (int)v);
}

START_TEST(packet_rows)
{
    struct view whole = exact(packets[_i].bytes, packets[_i].len), in = whole;
    struct frame f;

    ck_assert_msg(frame_next(&in, SIZE_MAX, &f) == FRAME_OK && in.len == 0, "%s: length byte", packets[_i].name);
    for (enum version v = MQTT_31; v <= MQTT_50; v++) {
        if ((packets[_i].versions >> (v - MQTT_31) & 1) == 0)
            continue;
        through_encoder(_i, v, &f);
        cut_body(_i, v, &f);
    }
    drop(whole);
}
END_TEST

/* As the stream delivers it: byte by byte, nothing happens before the last one. */
START_TEST(stream_rows)
{
    for (size_t n = 0; n < packets[_i].len; n++) {
        struct view cut = exact(packets[_i].bytes, n), in = cut;
        struct frame f;

        ck_assert_msg(frame_next(&in, SIZE_MAX, &f) == FRAME_MORE, "%s at %zu", packets[_i].name, n);
        ck_assert_uint_eq(f.need, (n < 2 ? 0 : packets[_i].len));
        drop(cut);
    }
}
END_TEST

/* No flipped bit may lead out of the buffer, whatever the packet then means. */
START_TEST(bit_rows)
{
    for (size_t bit = 0; bit < packets[_i].len * 8; bit++) {
        struct view whole = exact(packets[_i].bytes, packets[_i].len), in = whole;
        struct frame f;

        ((uint8_t *)(uintptr_t)whole.p)[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (frame_next(&in, SIZE_MAX, &f) == FRAME_OK) {
            uint8_t buf[512];

            for (enum version v = MQTT_31; v <= MQTT_50; v++) {
                struct writer w = wr_make(buf, sizeof buf);
                size_t size = 0;

                if (any_packet(f.head, f.body, v, packets[_i].from == CLIENT, &w, &size) == R_OK)
                    ck_assert_msg(!w.bad && (size_t)(w.p - buf) == size, "%s, bit %zu", packets[_i].name, bit);
            }
        }
        drop(whole);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("proto/cut");
    TCase *t = tcase_create("cut");

    tcase_add_loop_test(t, packet_rows, 0, COUNT(packets));
    tcase_add_loop_test(t, stream_rows, 0, COUNT(packets));
    tcase_add_loop_test(t, bit_rows, 0, COUNT(packets));
    suite_add_tcase(s, t);
    return run_suite(s);
}
