/* Properties: each one in each packet, twice, out of range, cut; iterating, writing, forwarding; reason codes.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "check_proto.h"

/* Table 2-4 of the 5.0 specification, written out a second time: identifier, a value, the places. */
static const struct {
    const char *name;
    enum prop id;
    const char *bytes;
    size_t len;
    const char *places; /* letters of places[] below */
    bool many;
} props[] = {
    { "Payload Format Indicator",   PROP_PAYLOAD_FORMAT,    LIT("\1\1"),              "PW",           false },
    { "Message Expiry Interval",    PROP_MESSAGE_EXPIRY,    LIT("\2\0\0\0\0"),        "PW",           false },
    { "Content Type",               PROP_CONTENT_TYPE,      LIT("\3\0\1t"),           "PW",           false },
    { "Response Topic",             PROP_RESPONSE_TOPIC,    LIT("\10\0\1t"),          "PW",           false },
    { "Correlation Data",           PROP_CORRELATION_DATA,  LIT("\11\0\2\xFF\0"),     "PW",           false },
    { "Subscription Identifier",    PROP_SUBSCRIPTION_ID,   LIT("\13\x80\1"),         "PS",           true },
    { "Session Expiry Interval",    PROP_SESSION_EXPIRY,    LIT("\21\xFF\xFF\xFF\xFF"), "CAD",        false },
    { "Assigned Client Identifier", PROP_ASSIGNED_CLIENTID, LIT("\22\0\1c"),          "A",            false },
    { "Server Keep Alive",          PROP_SERVER_KEEP_ALIVE, LIT("\23\0\0"),           "A",            false },
    { "Authentication Method",      PROP_AUTH_METHOD,       LIT("\25\0\1m"),          "CAT",          false },
    { "Authentication Data",        PROP_AUTH_DATA,         LIT("\26\0\1\0"),         "CAT",          false },
    { "Request Problem Information", PROP_REQUEST_PROBLEM,  LIT("\27\0"),             "C",            false },
    { "Will Delay Interval",        PROP_WILL_DELAY,        LIT("\30\0\0\0\1"),       "W",            false },
    { "Request Response Information", PROP_REQUEST_RESPONSE, LIT("\31\1"),            "C",            false },
    { "Response Information",       PROP_RESPONSE_INFO,     LIT("\32\0\0"),           "A",            false },
    { "Server Reference",           PROP_SERVER_REFERENCE,  LIT("\34\0\1s"),          "AD",           false },
    { "Reason String",              PROP_REASON_STRING,     LIT("\37\0\1r"),          "ARBNDT",       false },
    { "Receive Maximum",            PROP_RECEIVE_MAXIMUM,   LIT("\41\xFF\xFF"),       "CA",           false },
    { "Topic Alias Maximum",        PROP_TOPIC_ALIAS_MAX,   LIT("\42\0\0"),           "CA",           false },
    { "Topic Alias",                PROP_TOPIC_ALIAS,       LIT("\43\0\1"),           "P",            false },
    { "Maximum QoS",                PROP_MAXIMUM_QOS,       LIT("\44\1"),             "A",            false },
    { "Retain Available",           PROP_RETAIN_AVAILABLE,  LIT("\45\0"),             "A",            false },
    { "User Property",              PROP_USER_PROPERTY,     LIT("\46\0\1k\0\1v"),     "CAPWRSBUNDT",  true },
    { "Maximum Packet Size",        PROP_MAXIMUM_PACKET,    LIT("\47\0\0\0\1"),       "CA",           false },
    { "Wildcard Subscription Available", PROP_WILDCARD_AVAIL, LIT("\50\1"),           "A",            false },
    { "Subscription Identifiers Available", PROP_SUBID_AVAIL, LIT("\51\0"),           "A",            false },
    { "Shared Subscription Available", PROP_SHARED_AVAIL,   LIT("\52\1"),             "A",            false },
};

_Static_assert(sizeof props / sizeof props[0] == PROP_COUNT, "a row for each property");

static const struct {
    char letter;
    uint32_t where;
} places[] = {
    { 'C', IN(CONNECT) }, { 'A', IN(CONNACK) }, { 'P', IN(PUBLISH) }, { 'W', IN_WILL }, { 'R', IN(PUBACK) },
    { 'R', IN(PUBREC) }, { 'R', IN(PUBREL) }, { 'R', IN(PUBCOMP) }, { 'S', IN(SUBSCRIBE) }, { 'B', IN(SUBACK) },
    { 'U', IN(UNSUBSCRIBE) }, { 'N', IN(UNSUBACK) }, { 'D', IN(DISCONNECT) }, { 'T', IN(AUTH) },
};

static enum reason decode(struct view block, uint32_t where, struct props *out)
{
    struct reader r = rd_make(block);
    enum reason why = props_decode(&r, where, out);

    if (why == R_OK)
        ck_assert_uint_eq(rd_left(&r), 0);
    return why;
}

/* The row's property `times` times over, with the block's length in front. */
static struct view block_of(int row, unsigned times)
{
    uint8_t buf[64];
    struct writer w = wr_make(buf, sizeof buf);

    wr_varint(&w, (uint32_t)(times * props[row].len));
    for (unsigned i = 0; i < times; i++)
        wr_bytes(&w, props[row].bytes, props[row].len);
    return exact(buf, (size_t)(w.p - buf));
}

START_TEST(in_each_place) /* 2.2.2.2 */
{
    struct view block = block_of(_i, 1);
    struct props out;

    for (int i = 0; i < COUNT(places); i++) {
        bool fits = strchr(props[_i].places, places[i].letter) != NULL;
        enum reason why = decode(block, places[i].where, &out);

        ck_assert_msg(why == (fits ? R_OK : R_MALFORMED), "%s in %X: %s", props[_i].name, (unsigned)places[i].where,
                      reason_text(why));
        ck_assert(!fits || out.has == 1u << props[_i].id);
        ck_assert(!fits || out.raw.len == props[_i].len);
    }
    drop(block);
}
END_TEST

START_TEST(twice)
{
    struct view block = block_of(_i, 2);
    struct props out;
    enum reason why = decode(block, 0xFFFFFFFF, &out);

    ck_assert_msg(why == (props[_i].many ? R_OK : R_PROTOCOL_ERROR), "%s: %s", props[_i].name, reason_text(why));
    ck_assert_uint_eq(out.subid_count, props[_i].id == PROP_SUBSCRIPTION_ID ? 2 : 0);
    ck_assert_uint_eq(out.user_count, props[_i].id == PROP_USER_PROPERTY ? 2 : 0);
    drop(block);
}
END_TEST

START_TEST(cut_everywhere)
{
    struct props out;

    /* The packet ends inside the block. */
    for (size_t n = 0; n <= props[_i].len; n++) {
        struct view whole = block_of(_i, 1), cut = exact(whole.p, n);

        ck_assert_msg(decode(cut, 0xFFFFFFFF, &out) == R_MALFORMED, "%s at %zu", props[_i].name, n);
        drop(cut);
        drop(whole);
    }
    /* The block ends inside the property, though the packet goes on. */
    for (size_t n = 1; n < props[_i].len; n++) {
        struct view whole = block_of(_i, 1);
        struct reader r = rd_make(whole);

        *(uint8_t *)(uintptr_t)whole.p = (uint8_t)n;
        ck_assert_msg(props_decode(&r, 0xFFFFFFFF, &out) == R_MALFORMED, "%s, %zu", props[_i].name, n);
        drop(whole);
    }
}
END_TEST

/* What the decoder kept, the iterator and the writers agree on. */
START_TEST(written_again)
{
    struct view block = block_of(_i, 1);
    struct props out;
    struct prop_item it = { 0 };
    struct reader r;
    uint8_t buf[32];
    struct writer w = wr_make(buf, sizeof buf);
    size_t size;

    ck_assert(decode(block, 0xFFFFFFFF, &out) == R_OK);
    r = rd_make(out.raw);
    ck_assert(props_next(&r, &it));
    ck_assert_uint_eq(it.id, props[_i].id);
    if (it.id == PROP_USER_PROPERTY) {
        ck_assert(same(it.name, str("k")) && same(it.value, str("v")));
        props_write_pair(&w, it.name, it.value);
        size = props_size_pair(it.name, it.value);
    } else if (it.value.p != NULL) {
        ck_assert(same(it.value, props_bytes(&out, it.id)));
        props_write_bytes(&w, it.id, it.value);
        size = props_size_bytes(it.value);
    } else {
        ck_assert_uint_eq(it.num, props_num(&out, it.id, ~it.num));
        props_write_num(&w, it.id, it.num);
        size = props_size_num(it.id, it.num);
    }
    ck_assert(!w.bad);
    ck_assert_uint_eq((size_t)(w.p - buf), size);
    ck_assert(same((struct view){ buf, size }, out.raw));
    ck_assert(!props_next(&r, &it));
    drop(block);
}
END_TEST

static const struct {
    const char *name, *bytes;
    size_t len;
    enum reason want;
} rows[] = {
    { "empty block",                                     LIT("\0"),                       R_OK },
    { "no length at all",                                LIT(""),                         R_MALFORMED },
    { "length of five bytes",                            LIT("\x80\x80\x80\x80\1"),       R_MALFORMED },
    { "length 0 in two bytes [MQTT5-1.5.5-1]",           LIT("\x80\0"),                   R_MALFORMED },
    { "length 2 in two bytes [MQTT5-1.5.5-1]",           LIT("\x82\0\1\1"),               R_MALFORMED },
    { "identifier 0",                                    LIT("\2\0\0"),                   R_MALFORMED },
    { "identifier 4, in a gap",                          LIT("\2\4\0"),                   R_MALFORMED },
    { "identifier 2B, one above the last",               LIT("\2\53\0"),                  R_MALFORMED },
    { "identifier FF 7F, two bytes",                     LIT("\3\xFF\x7F\0"),             R_MALFORMED },
    { "identifier 1 in two bytes [MQTT5-1.5.5-1]",       LIT("\3\x81\0\1"),               R_MALFORMED },
    { "Payload Format 2",                                LIT("\2\1\2"),                   R_PROTOCOL_ERROR },
    { "Request Problem Information 2",                   LIT("\2\27\2"),                  R_PROTOCOL_ERROR },
    { "Request Response Information 2",                  LIT("\2\31\2"),                  R_PROTOCOL_ERROR },
    { "Maximum QoS 2",                                   LIT("\2\44\2"),                  R_PROTOCOL_ERROR },
    { "Retain Available 255",                            LIT("\2\45\xFF"),                R_PROTOCOL_ERROR },
    { "Wildcard Available 2",                            LIT("\2\50\2"),                  R_PROTOCOL_ERROR },
    { "Subscription Identifiers Available 2",            LIT("\2\51\2"),                  R_PROTOCOL_ERROR },
    { "Shared Available 2",                              LIT("\2\52\2"),                  R_PROTOCOL_ERROR },
    { "Receive Maximum 0",                               LIT("\3\41\0\0"),                R_PROTOCOL_ERROR },
    { "Maximum Packet Size 0",                           LIT("\5\47\0\0\0\0"),            R_PROTOCOL_ERROR },
    { "Topic Alias 0 [MQTT5-3.3.2-8]",                   LIT("\3\43\0\0"),                R_TOPIC_ALIAS_INVALID },
    { "Subscription Identifier 0",                       LIT("\2\13\0"),                  R_PROTOCOL_ERROR },
    { "Subscription Identifier, largest",                LIT("\5\13\xFF\xFF\xFF\x7F"),    R_OK },
    { "Subscription Identifier of five bytes",           LIT("\6\13\x80\x80\x80\x80\1"),  R_MALFORMED },
    { "Subscription Identifier 1 in two bytes [MQTT5-1.5.5-1]", LIT("\3\13\x81\0"),       R_MALFORMED },
    { "Content Type with a surrogate [MQTT5-3.3.2-19]",  LIT("\6\3\0\3\xED\xA0\x80"),     R_MALFORMED },
    { "Response Topic with U+0000 [MQTT5-3.3.2-13]",     LIT("\4\10\0\1\0"),              R_MALFORMED },
    { "Correlation Data may be any bytes",               LIT("\6\11\0\3\xED\xA0\x80"),    R_OK },
    { "User Property, name not UTF-8 [MQTT5-1.5.7-1]",   LIT("\7\46\0\1\xFF\0\1v"),       R_MALFORMED },
    { "User Property, value not UTF-8 [MQTT5-1.5.7-1]",  LIT("\7\46\0\1k\0\1\xFF"),       R_MALFORMED },
    { "User Property, both empty",                       LIT("\5\46\0\0\0\0"),            R_OK },
    { "string longer than the block",                    LIT("\4\3\0\2tt"),               R_MALFORMED },
    { "two good ones",                                   LIT("\4\1\1\27\0"),              R_OK },
    { "a good one and half of another",                  LIT("\3\1\1\27"),                R_MALFORMED },
};

START_TEST(prop_rows)
{
    struct view block = exact(rows[_i].bytes, rows[_i].len);
    struct reader r = rd_make(block);
    struct props out;
    enum reason got = props_decode(&r, 0xFFFFFFFF, &out);

    ck_assert_msg(got == rows[_i].want, "%s: got %s", rows[_i].name, reason_text(got));
    drop(block);
}
END_TEST

START_TEST(absent_values)
{
    struct props out;

    ck_assert(decode(view_of(LIT("\0")), IN(PUBLISH), &out) == R_OK);
    ck_assert_uint_eq(props_num(&out, PROP_RECEIVE_MAXIMUM, 65535), 65535);
    ck_assert_uint_eq(props_bytes(&out, PROP_CONTENT_TYPE).len, 0);
}
END_TEST

/* [MQTT5-3.3.2-4], -15, -16, -17, -18, -20: what travels does so unaltered and in order; the rest stays. */
static const struct {
    const char *name, *in;
    size_t in_len;
    const char *out;
    size_t out_len;
} forwards[] = {
    { "nothing", LIT("\0"), LIT("") },
    { "all of it, in its order [MQTT5-3.3.2-17] [MQTT5-3.3.2-18]",
      LIT("\34\46\0\1b\0\1" "1\3\0\1t\46\0\1a\0\1" "2\10\0\1r\11\0\1c\1\1"),
      LIT("\46\0\1b\0\1" "1\3\0\1t\46\0\1a\0\1" "2\10\0\1r\11\0\1c\1\1") },
    { "alias at the front, subscription id at the end", LIT("\14\43\0\1\46\0\1a\0\1v\13\5"), LIT("\46\0\1a\0\1v") },
    { "expiry between two user properties", LIT("\23\46\0\1a\0\1v\2\0\0\0\1\46\0\1a\0\1v"),
      LIT("\46\0\1a\0\1v\46\0\1a\0\1v") },
    { "only what stays", LIT("\10\43\0\1\2\0\0\0\1"), LIT("") },
    { "will delay", LIT("\7\30\0\0\0\1\1\1"), LIT("\1\1") },
};

START_TEST(forward_rows)
{
    struct props p;
    uint8_t buf[64];
    struct writer w;
    size_t size;

    ck_assert(decode(view_of(forwards[_i].in, forwards[_i].in_len), IN(PUBLISH) | IN_WILL, &p) == R_OK);
    size = props_forward_size(&p);
    ck_assert_msg(size == forwards[_i].out_len, "%s: %zu", forwards[_i].name, size);
    w = wr_make(buf, size);
    props_forward(&p, &w);
    ck_assert(!w.bad);
    ck_assert_uint_eq((size_t)(w.p - buf), size);
    ck_assert_msg(memcmp(buf, forwards[_i].out, size) == 0, "%s", forwards[_i].name);
}
END_TEST

/* Table 2-6 of the 5.0 specification, written out a second time: every code that exists, and who may carry it. */
static const struct {
    unsigned code;
    const char *where; /* letters of carriers[] below; D: DISCONNECT from a server, C: from a client */
} codes[] = {
    { 0x00, "ARLBNDCT" }, { 0x01, "B" }, { 0x02, "B" }, { 0x04, "C" }, { 0x10, "R" }, { 0x11, "N" }, { 0x18, "T" },
    { 0x19, "T" }, { 0x80, "ARBNDC" }, { 0x81, "ADC" }, { 0x82, "ADC" }, { 0x83, "ARBNDC" }, { 0x84, "A" },
    { 0x85, "A" }, { 0x86, "A" }, { 0x87, "ARBND" }, { 0x88, "A" }, { 0x89, "AD" }, { 0x8A, "A" }, { 0x8B, "D" },
    { 0x8C, "AD" }, { 0x8D, "D" }, { 0x8E, "D" }, { 0x8F, "BND" }, { 0x90, "ARDC" }, { 0x91, "RBN" },
    { 0x92, "L" }, { 0x93, "DC" }, { 0x94, "DC" }, { 0x95, "ADC" }, { 0x96, "DC" }, { 0x97, "ARBDC" },
    { 0x98, "DC" }, { 0x99, "ARDC" }, { 0x9A, "AD" }, { 0x9B, "AD" }, { 0x9C, "AD" }, { 0x9D, "AD" },
    { 0x9E, "BD" }, { 0x9F, "AD" }, { 0xA0, "D" }, { 0xA1, "BD" }, { 0xA2, "BD" },
};

static const struct {
    char letter;
    uint32_t where;
} carriers[] = {
    { 'A', IN(CONNACK) }, { 'R', IN(PUBACK) }, { 'R', IN(PUBREC) }, { 'L', IN(PUBREL) }, { 'L', IN(PUBCOMP) },
    { 'B', IN(SUBACK) }, { 'N', IN(UNSUBACK) }, { 'D', IN(DISCONNECT) }, { 'C', IN_CLIENT_BYE }, { 'T', IN(AUTH) },
};

START_TEST(reasons_fit) /* 2.4 and the tables of each packet */
{
    for (unsigned code = 0; code < 300; code++) {
        const char *where = "";

        for (int i = 0; i < COUNT(codes); i++) {
            if (codes[i].code == code)
                where = codes[i].where;
        }
        for (int i = 0; i < COUNT(carriers); i++) {
            bool want = strchr(where, carriers[i].letter) != NULL;

            ck_assert_msg(reason_fits(carriers[i].where, code) == want, "%02X in %c", code, carriers[i].letter);
        }
    }
}
END_TEST

START_TEST(reasons_in_v3)
{
    ck_assert_int_eq(reason_connack_v3(R_OK), 0);
    ck_assert_int_eq(reason_connack_v3(R_UNSUPPORTED_VERSION), 1);
    ck_assert_int_eq(reason_connack_v3(R_CLIENTID_NOT_VALID), 2);
    ck_assert_int_eq(reason_connack_v3(R_SERVER_BUSY), 3);
    ck_assert_int_eq(reason_connack_v3(R_BAD_CREDENTIALS), 4);
    ck_assert_int_eq(reason_connack_v3(R_NOT_AUTHORIZED), 5);
    ck_assert_int_eq(reason_connack_v3(R_MALFORMED), -1);
    ck_assert_int_eq(reason_connack_v3((enum reason)0x7F), -1);
    ck_assert_uint_eq(reason_suback_v3(R_GRANTED_QOS2), 2);
    ck_assert_uint_eq(reason_suback_v3(R_FILTER_INVALID), 0x80);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("proto/props");
    TCase *t = tcase_create("props");

    tcase_add_loop_test(t, in_each_place, 0, COUNT(props));
    tcase_add_loop_test(t, twice, 0, COUNT(props));
    tcase_add_loop_test(t, cut_everywhere, 0, COUNT(props));
    tcase_add_loop_test(t, written_again, 0, COUNT(props));
    tcase_add_loop_test(t, prop_rows, 0, COUNT(rows));
    tcase_add_test(t, absent_values);
    tcase_add_loop_test(t, forward_rows, 0, COUNT(forwards));
    tcase_add_test(t, reasons_fit);
    tcase_add_test(t, reasons_in_v3);
    suite_add_tcase(s, t);
    return run_suite(s);
}
