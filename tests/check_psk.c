/* Key files for TLS-PSK, and what holds for all small text files.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/mem.h"
#include "broker/psk.h"
#include "broker/textfile.h"
#include "hear.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY64 "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
static const struct { const char *text, *want; } refused[] = {
    { "a", "k:1: this is not IDENTITY:HEXKEY" },
    { ":00", "k:1: this is not IDENTITY:HEXKEY" },
    { "a:", "k:1: identity \"a\": a key has" },
    { "# x\na:0", "k:2: identity \"a\": a key has" },
    { "a:0g", "a key has 1 to 64 bytes, two hexadecimal digits each" },
    { "a:00 11", "a key has" },
    { "a:" KEY64 KEY64 "00", "a key has" },
    { "a:00\nb:00\na:11", "k:3: identity \"a\" has a line above already" },
    { "a\xC0\xAF:00", "k:1: this is not UTF-8 text" },
};

START_TEST(refused_rows)
{
    ck_assert_ptr_null(psk_load_text("k", view_of(refused[_i].text), hear, NULL));
    ck_assert_msg(strstr(heard, refused[_i].want) != NULL, "heard: %s", heard);
    ck_assert_uint_eq(mem_bytes[MEM_OTHER], 0);
}
END_TEST

START_TEST(found)
{
    struct psk *p = psk_load_text("k", view_of("\xEF\xBB\xBFgate way:00fF\r\n#x\r\nb:" KEY64 KEY64), hear, NULL);
    uint8_t key[PSK_KEY_MAX] = { 1, 1, 1 };

    ck_assert_msg(p != NULL, "%s", heard);
    ck_assert_uint_eq(psk_count(p), 2);
    ck_assert_uint_eq(psk_find(p, view_of("gate way"), key), 2);
    ck_assert_uint_eq(key[0], 0x00);
    ck_assert_uint_eq(key[1], 0xFF);
    ck_assert_uint_eq(key[2], 1);
    ck_assert_uint_eq(psk_find(p, view_of("b"), key), 64);
    ck_assert_uint_eq(key[63], 0xFF);
    ck_assert_uint_eq(key[10], 0xAA);
    ck_assert_uint_eq(psk_find(p, view_of("gate"), key), 0);
    ck_assert_uint_eq(psk_find(p, view_of("B"), key), 0);
    ck_assert_uint_eq(psk_find(p, view_of(""), key), 0);
    psk_free(&p);
    ck_assert_ptr_null(p);
}
END_TEST

START_TEST(no_memory_anywhere)
{
    struct psk *p = NULL;

    for (uint64_t n = 1; p == NULL; n++) {
        mem_fail_at = n;
        p = psk_load_text("k", view_of("a:00\nb:11\n"), hear, NULL);
        if (p == NULL)
            ck_assert_uint_eq(mem_bytes[MEM_OTHER], 0);
        ck_assert_uint_lt(n, 20);
    }
    psk_free(&p);
    ck_assert_uint_eq(mem_bytes[MEM_OTHER], 0);
}
END_TEST

/* ---- files ---- */

static char dir[] = "/tmp/check_psk.XXXXXX";

static const char *in_dir(const char *name)
{
    static char path[128];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

START_TEST(things_that_are_no_files)
{
    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_ptr_null(psk_load(dir, hear, NULL));
    ck_assert_ptr_nonnull(strstr(heard, ": can't be read: it is a directory"));
    ck_assert_ptr_null(psk_load(in_dir("none"), hear, NULL));
    ck_assert_ptr_nonnull(strstr(heard, "/none: can't be read: No such file or directory"));
    ck_assert_int_eq(mkfifo(in_dir("fifo"), 0600), 0);
    ck_assert_ptr_null(psk_load(in_dir("fifo"), hear, NULL));           /* and does not wait for a writer */
    ck_assert_ptr_nonnull(strstr(heard, "/fifo: can't be read: it is not a plain file"));
    unlink(in_dir("fifo"));
    rmdir(dir);
}
END_TEST

START_TEST(from_a_file)
{
    struct psk *p;
    FILE *f;

    ck_assert_ptr_nonnull(mkdtemp(dir));
    f = fopen(in_dir("keys"), "w");
    ck_assert_ptr_nonnull(f);
    for (unsigned i = 0; i < 1000; i++)
        fprintf(f, "id%u:%08x\n", i, i);
    fclose(f);
    p = psk_load(in_dir("keys"), hear, NULL);
    ck_assert_msg(p != NULL, "%s", heard);
    for (unsigned i = 0; i < 1000; i++) {
        uint8_t key[PSK_KEY_MAX];
        char id[16];
        snprintf(id, sizeof id, "id%u", i);
        ck_assert_uint_eq(psk_find(p, view_of(id), key), 4);
        ck_assert_uint_eq((unsigned)key[2] << 8 | key[3], i);
    }
    psk_free(&p);
    unlink(in_dir("keys"));
    rmdir(dir);
}
END_TEST

/* UTF-16, as some editors save. */
START_TEST(other_encodings)
{
    static const uint8_t utf16[] = "\xFF\xFE" "a\0:\0" "0\0" "0\0\n";

    ck_assert_ptr_null(psk_load_text("k", (struct view){ utf16, sizeof utf16 }, hear, NULL));
    ck_assert_ptr_nonnull(strstr(heard, "k:1: this is not UTF-8 text"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("psk");
    TCase *t = tcase_create("psk");

    tcase_add_loop_test(t, refused_rows, 0, COUNT(refused));
    tcase_add_test(t, found);
    tcase_add_test(t, no_memory_anywhere);
    tcase_add_test(t, things_that_are_no_files);
    tcase_add_test(t, from_a_file);
    tcase_add_test(t, other_encodings);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
