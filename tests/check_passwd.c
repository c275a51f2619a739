/* Password files, verification, the cache of verified credentials, pacing.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/mem.h"
#include "broker/pace.h"
#include "broker/passwd.h"
#include "broker/textfile.h"
#include "hear.h"
#include "suite.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* alice to carol: by mosquitto_passwd 2.0. dave: 64 bytes of salt, as mosquitto 2.1 has them. erin: RFC 7677's user. */
#define ALICE "alice:$7$101$wu1W9JYvU29XdmyC$ikrjljQ/tAhEIW9sPPtLYNGHjGam3DA98zjJYw/MRd8xG78CApaQFMfrZK5/1UXO" \
    "gaCbMmr6wcpNStuW5A0C8w==\n"
#define BOB "bob:$6$qHC3iOq9w6WrqNco$ckBx3x3tGzMgaKGt2vH9s7s2wqi/65hfZuCWQtK45WDjUrO7f9BrBpy7yBQF0+7ZqBetNseM" \
    "1TGSJZlbkenrhQ==\n"
#define DAVE "dave:$7$1000$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==" \
    "$wtsyGZWozG5hei0/H1SRpWPB219vmo9LgqDMKj18LATgyWE2lqt6R9AbxpALpFJO4xyQqNRiOJrGElIfS9YKew==\n"
#define SCRAM_KEYS "$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=$wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
#define ERIN "erin:$scram-sha-256$4096$W22ZaJ0SNY7soEsUEjb6gQ==" SCRAM_KEYS "\n"

static struct passwd *load(const char *text)
{
    struct passwd *p = passwd_load_text("pw", view_of(text), hear, NULL);

    ck_assert_msg(p != NULL, "%s", heard);
    return p;
}

/* ---- files ---- */

#define HASH64 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="
static const struct { const char *text, *want; } refused[] = {
    { "alice", "pw:1: this is not USER:HASH" },
    { ":$6$AAAA$" HASH64, "pw:1: this is not USER:HASH" },
    { "alice:", "pw:1: user \"alice\": there is no password" },
    { "# ok\n\nalice:secret", "pw:3: user \"alice\": this is not a hashed password; `caddis passwd -U FILE`" },
    { "alice:$argon2id$v=19$m=47104,t=1,p=1$c2FsdA==$aGFzaA==",
      "argon2 hash can't be verified here; set the password anew with `caddis passwd FILE USER`" },
    { "alice:$5$AAAA$AAAA", "this kind of hash is unknown" },
    { "alice:$6$", "the salt is missing" },
    { "alice:$6$AAAA", "the hash is missing" },
    { "alice:$6$AAAA$AAAA", "the hash is missing or damaged (64 bytes" },
    { "alice:$6$AAAA$" HASH64 "$", "the hash is missing or damaged" },
    { "alice:$6$AA A$" HASH64, "the salt is missing or damaged" },
    { "alice:$7$AAAA$" HASH64, "the number of iterations" },
    { "alice:$7$0$AAAA$" HASH64, "the number of iterations" },
    { "alice:$7$-5$AAAA$" HASH64, "the number of iterations" },
    { "alice:$7$10000001$AAAA$" HASH64, "the number of iterations" },
    { "alice:$7$99999999999999$AAAA$" HASH64, "the number of iterations" },
    { "alice:$7$101$$" HASH64, "the salt is missing" },
    { "alice:$7$101$" HASH64 HASH64 "$" HASH64, "the salt is missing or damaged" },
    { "alice:$scram-sha-256$4096$AAAA", "a SCRAM key is missing" },
    { "alice:$scram-sha-256$4096$AAAA" SCRAM_KEYS "AAAA", "a SCRAM key is missing or damaged" },
    { "alice:$scram-sha-256$4096$AAAA$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=", "a SCRAM key is missing" },
    { ALICE BOB ALICE, "pw:3: user \"alice\" has a line above already" },
    { ALICE "\xFF:$6$AAAA$" HASH64, "pw:2: this is not UTF-8 text" },
    { "a\033[2Jb:x", "pw:1: user \"a\\x1b[2Jb\": this is not a hashed" },
};

START_TEST(refused_rows)
{
    struct passwd *p = passwd_load_text("pw", view_of(refused[_i].text), hear, NULL);

    ck_assert_ptr_null(p);
    ck_assert_msg(strstr(heard, refused[_i].want) != NULL, "heard: %s", heard);
}
END_TEST

START_TEST(all_errors_in_one_run)
{
    ck_assert_ptr_null(passwd_load_text("pw", view_of("x\n" ALICE "y:z\n"), hear, NULL));
    ck_assert_ptr_nonnull(strstr(heard, "pw:1: "));
    ck_assert_ptr_nonnull(strstr(heard, "pw:3: "));
    ck_assert_ptr_null(strstr(heard, "pw:2: "));
    ck_assert_ptr_null(passwd_load_text("pw", view_of("x\n"), NULL, NULL));
}
END_TEST

START_TEST(accepted_forms)
{
    struct passwd *p = load("\xEF\xBB\xBF# comment\r\n\r\n" ALICE BOB "  \t\n#x\n" DAVE);

    ck_assert_uint_eq(passwd_count(p), 3);
    ck_assert(passwd_check(p, NULL, view_of("alice"), view_of("correct horse")));
    passwd_free(&p);
    ck_assert_ptr_null(p);
    p = load("");
    ck_assert_uint_eq(passwd_count(p), 0);
    ck_assert(!passwd_check(p, NULL, view_of("alice"), view_of("correct horse")));
    passwd_free(&p);
}
END_TEST

START_TEST(no_memory_anywhere)
{
    struct passwd *p;
    bool right = false;

    for (uint64_t n = 1; !right; n++) {
        mem_fail_at = n;
        p = passwd_load_text("pw", view_of(ALICE BOB ERIN), hear, NULL);
        if (p == NULL)
            ck_assert_ptr_nonnull(strstr(heard, "no memory"));
        else
            right = passwd_check(p, NULL, view_of("alice"), view_of("correct horse"));
        passwd_free(&p);
        ck_assert_uint_eq(mem_bytes[MEM_OTHER], 0);
        ck_assert_uint_lt(n, 50);
    }
}
END_TEST

/* ---- verification ---- */

static const struct { const char *user, *password; bool right; } logins[] = {
    { "alice", "correct horse", true },
    { "alice", "correct hors", false },
    { "alice", "correct horse ", false },
    { "alice", "", false },
    { "Alice", "correct horse", false },
    { "bob", "p\xC3\xA4ssword", true },
    { "bob", "password", false },
    { "bob", "", false },
    { "dave", "dave pw", true },
    { "dave", "dave", false },
    { "erin", "pencil", true },         /* keys for SCRAM verify a plain password too */
    { "erin", "pen", false },
    { "frank", "pencil", false },
    { "", "", false },
};

START_TEST(login_rows)
{
    struct passwd_cache *cache = passwd_cache_new(16);
    struct passwd *p = load(ALICE BOB DAVE ERIN);

    for (unsigned round = 0; round < 2; round++) {
        struct view user = view_of(logins[_i].user), password = view_of(logins[_i].password);
        ck_assert_int_eq(passwd_check(p, NULL, user, password), logins[_i].right);
        ck_assert_int_eq(passwd_check(p, cache, user, password), logins[_i].right);
    }
    passwd_free(&p);
    passwd_cache_free(&cache);
}
END_TEST

/* Passwords are binary in MQTT: bytes behind a NUL count. */
START_TEST(binary_password)
{
    static const uint8_t password[] = "a\0b";
    struct passwd_hash h;
    char text[8 + PASSWD_TEXT_MAX] = "u:";
    struct passwd *p;

    ck_assert(passwd_hash_make(&h, PASSWD_PBKDF2, 10, (struct view){ password, 3 }));
    passwd_hash_format(&h, text + 2);
    p = load(text);
    ck_assert(passwd_check(p, NULL, view_of("u"), (struct view){ password, 3 }));
    ck_assert(!passwd_check(p, NULL, view_of("u"), (struct view){ password, 1 }));
    ck_assert(!passwd_check(p, NULL, view_of("u"), (struct view){ password, 2 }));
    passwd_free(&p);
}
END_TEST

/* CONNECT with a user name and no password at all. */
START_TEST(missing_password)
{
    struct passwd_hash h;
    char text[8 + PASSWD_TEXT_MAX] = "u:";
    struct passwd *p;

    ck_assert(passwd_hash_make(&h, PASSWD_SHA512, 0, view_of("")));
    passwd_hash_format(&h, text + 2);
    p = load(text);
    ck_assert(passwd_check(p, NULL, view_of("u"), view_of("")));
    ck_assert(!passwd_check(p, NULL, view_of("u"), (struct view){ NULL, 0 }));
    passwd_free(&p);
}
END_TEST

START_TEST(made_hashes)                 /* loop over kinds */
{
    enum passwd_kind kind = (enum passwd_kind)_i;
    uint32_t iterations = passwd_kind_iterations(kind) > 0 ? 33 : 0;
    struct passwd_hash a, b, back;
    char text[PASSWD_TEXT_MAX], line[PASSWD_TEXT_MAX + 8];
    struct passwd *p;

    ck_assert_int_eq(passwd_kind_find(passwd_kind_name(kind)), kind);
    ck_assert_int_eq(passwd_kind_find("md5"), PASSWD_KIND_COUNT);
    ck_assert(passwd_hash_make(&a, kind, iterations, view_of("pw")));
    ck_assert(passwd_hash_make(&b, kind, iterations, view_of("pw")));
    ck_assert_int_ne(memcmp(a.salt, b.salt, a.salt_len), 0);
    ck_assert_int_ne(memcmp(a.key, b.key, SHA512_LEN), 0);
    ck_assert_uint_eq(passwd_hash_format(&a, text), strlen(text));
    ck_assert_ptr_null(passwd_hash_parse(&back, view_of(text)));
    ck_assert_int_eq(memcmp(&a, &back, sizeof a), 0);
    snprintf(line, sizeof line, "u:%s", text);
    p = load(line);
    ck_assert(passwd_check(p, NULL, view_of("u"), view_of("pw")));
    ck_assert(!passwd_check(p, NULL, view_of("u"), view_of("pW")));
    passwd_free(&p);
}
END_TEST

static unsigned steps(const struct passwd *p, const char *user, const char *password, enum passwd_verdict *verdict)
{
    struct passwd_try *t = passwd_try_new(p, NULL, view_of(user), view_of(password));
    unsigned n = 1;

    while ((*verdict = passwd_try_step(t, 100)) == PASSWD_PENDING)
        n++;
    ck_assert_int_eq(passwd_try_step(t, 100), *verdict);
    passwd_try_free(&t);
    return n;
}

START_TEST(in_slices)
{
    struct passwd *p = load(DAVE);
    enum passwd_verdict verdict;

    ck_assert_uint_eq(steps(p, "dave", "dave pw", &verdict), 10);
    ck_assert_int_eq(verdict, PASSWD_RIGHT);
    ck_assert_uint_eq(steps(p, "dave", "x", &verdict), 10);
    ck_assert_int_eq(verdict, PASSWD_WRONG);
    passwd_free(&p);
}
END_TEST

/* A name without an account costs what one with an account costs, wrong password or no password. */
START_TEST(unknown_users_cost_the_same)
{
    struct passwd *p = load(DAVE);
    struct passwd_try *t = passwd_try_new(p, NULL, view_of("dave"), (struct view){ NULL, 0 });
    enum passwd_verdict verdict;

    ck_assert_uint_eq(steps(p, "nobody", "dave pw", &verdict), 10);
    ck_assert_int_eq(verdict, PASSWD_WRONG);
    ck_assert_uint_eq(steps(p, "", "", &verdict), 10);
    ck_assert_int_eq(passwd_try_step(t, 100), PASSWD_PENDING);
    passwd_try_free(&t);
    passwd_free(&p);
}
END_TEST

START_TEST(same_stand_in_for_the_same_name)
{
    struct passwd *p = load(ALICE DAVE);
    enum passwd_verdict verdict;
    unsigned cheap = 0, dear = 0;

    for (unsigned i = 0; i < 64; i++) {
        char name[8];
        unsigned n;
        snprintf(name, sizeof name, "n%u", i);
        n = steps(p, name, "x", &verdict);
        ck_assert_uint_eq(steps(p, name, "y", &verdict), n);
        cheap += n == 1;
        dear += n == 10;
    }
    ck_assert_uint_eq(cheap + dear, 64);
    ck_assert_uint_gt(cheap, 5);
    ck_assert_uint_gt(dear, 5);
    passwd_free(&p);
}
END_TEST

START_TEST(reload_under_way)
{
    struct passwd *p = load(DAVE);
    struct passwd_try *t = passwd_try_new(p, NULL, view_of("dave"), view_of("dave pw"));

    ck_assert_int_eq(passwd_try_step(t, 1), PASSWD_PENDING);
    passwd_free(&p);
    ck_assert_int_eq(passwd_try_step(t, UINT32_MAX), PASSWD_RIGHT);
    passwd_try_free(&t);
}
END_TEST

/* ---- the cache ---- */

static bool known(const struct passwd *p, struct passwd_cache *c, const char *user, const char *password)
{
    struct passwd_try *t = passwd_try_new(p, c, view_of(user), view_of(password));
    bool k = passwd_try_known(t);

    if (k)
        ck_assert_int_eq(passwd_try_step(t, 0), PASSWD_RIGHT);
    passwd_try_free(&t);
    return k;
}

START_TEST(cache_remembers_successes_only)
{
    struct passwd_cache *c = passwd_cache_new(64);
    struct passwd *p = load(ALICE DAVE);

    ck_assert(!known(p, c, "dave", "dave pw"));
    ck_assert(passwd_check(p, c, view_of("dave"), view_of("dave pw")));
    ck_assert(!passwd_check(p, c, view_of("dave"), view_of("wrong")));
    ck_assert(!passwd_check(p, c, view_of("nobody"), view_of("dave pw")));
    ck_assert(known(p, c, "dave", "dave pw"));
    ck_assert(!known(p, c, "dave", "wrong"));
    ck_assert(!known(p, c, "nobody", "dave pw"));
    ck_assert(!known(p, c, "davedave", " pw"));
    ck_assert(!known(p, c, "alice", "dave pw"));
    passwd_free(&p);
    passwd_cache_free(&c);
}
END_TEST

/* After a reload with another hash, or without the user, what the cache knew is worth nothing. */
START_TEST(cache_and_a_changed_file)
{
    struct passwd_cache *c = passwd_cache_new(64);
    struct passwd *p = load(DAVE);
    char changed[] = DAVE;

    ck_assert(passwd_check(p, c, view_of("dave"), view_of("dave pw")));
    passwd_free(&p);
    p = load(DAVE);
    ck_assert(known(p, c, "dave", "dave pw"));
    passwd_free(&p);
    strchr(changed, 'w')[0] = 'x';                      /* in the hash */
    p = load(changed);
    ck_assert(!known(p, c, "dave", "dave pw"));
    ck_assert(!passwd_check(p, c, view_of("dave"), view_of("dave pw")));
    passwd_free(&p);
    p = load(ALICE);
    ck_assert(!known(p, c, "dave", "dave pw"));
    ck_assert(!passwd_check(p, c, view_of("dave"), view_of("dave pw")));
    passwd_free(&p);
    passwd_cache_free(&c);
}
END_TEST

START_TEST(cache_is_bounded)
{
    struct passwd_cache *c = passwd_cache_new(64);
    struct passwd_mark first, m;
    unsigned kept = 0;
    size_t bytes;
    char name[16];

    ck_assert(passwd_cache_mark(c, view_of("first"), view_of("x"), view_of("y"), &first));
    passwd_cache_add(c, &first);
    bytes = mem_bytes[MEM_OTHER];
    for (unsigned i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "%u", i);
        ck_assert(passwd_cache_mark(c, view_of(name), view_of("x"), view_of("y"), &m));
        passwd_cache_add(c, &m);
        ck_assert(passwd_cache_has(c, &m));
        ck_assert(passwd_cache_has(c, &first));         /* in use all the time: it stays */
    }
    ck_assert_uint_eq(mem_bytes[MEM_OTHER], bytes);
    for (unsigned i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "%u", i);
        ck_assert(passwd_cache_mark(c, view_of(name), view_of("x"), view_of("y"), &m));
        kept += passwd_cache_has(c, &m);
    }
    ck_assert_uint_eq(kept, 63);
    passwd_cache_free(&c);
    ck_assert_uint_eq(mem_bytes[MEM_OTHER], 0);
}
END_TEST

/* ---- SCRAM keys ---- */

START_TEST(scram_keys)
{
    struct passwd *p = load(ALICE ERIN);
    struct passwd_hash h;

    ck_assert_int_eq(passwd_scram_find(p, view_of("erin"), &h), PASSWD_SCRAM_KEYS);
    ck_assert_uint_eq(h.iterations, 4096);
    ck_assert_uint_eq(h.salt_len, 16);
    ck_assert_int_eq(passwd_scram_find(p, view_of("alice"), &h), PASSWD_SCRAM_NO_KEYS);
    ck_assert_uint_eq(h.iterations, 4096);
    ck_assert_uint_eq(h.salt_len, 16);
    ck_assert_int_eq(passwd_scram_find(p, view_of("nobody"), &h), PASSWD_SCRAM_NO_USER);
    ck_assert_int_eq(h.kind, PASSWD_SCRAM);
    for (unsigned i = 0; i < sizeof h.key; i++)
        ck_assert_uint_eq(h.key[i], 0);                 /* somebody else's stay where they are */
    passwd_free(&p);
    p = load(ALICE);
    ck_assert_int_eq(passwd_scram_find(p, view_of("nobody"), &h), PASSWD_SCRAM_NO_USER);
    ck_assert_uint_eq(h.iterations, passwd_kind_iterations(PASSWD_SCRAM));
    passwd_free(&p);
}
END_TEST

/* ---- pacing ---- */

static const struct { const char *a, *b; bool same; } peers[] = {
    { "192.0.2.7:1", "192.0.2.7:60000", true },
    { "192.0.2.7:1", "192.0.2.8:1", false },
    { "[2001:db8::1]:1", "[2001:db8::ffff:1:2:3]:2", true },            /* the same /64 */
    { "[2001:db8:0:1::1]:1", "[2001:db8:0:2::1]:1", false },
    { "[::ffff:192.0.2.7]:1", "[::ffff:192.0.2.7]:2", true },
    { "[::ffff:192.0.2.7]:1", "[::ffff:192.0.2.8]:1", false },
    { "[fe80::1%eth0]:1", "[fe80::2%eth0]:1", true },
    { "unix", "unix", true },
    { "unix", "192.0.2.7:1", false },
};

START_TEST(peer_rows)
{
    struct pace *p = pace_new();

    for (unsigned i = 0; i < PACE_BURST; i++)
        pace_failed(p, peers[_i].a, 1000);
    ck_assert(!pace_may_try(p, peers[_i].a, 1000));
    ck_assert_int_eq(pace_may_try(p, peers[_i].b, 1000), !peers[_i].same);
    pace_free(&p);
}
END_TEST

START_TEST(bucket_fills_up_again)
{
    struct pace *p = pace_new();
    const char *peer = "192.0.2.7:1";
    uint64_t now = 5000000;

    for (unsigned i = 0; i < PACE_BURST; i++) {
        ck_assert(pace_may_try(p, peer, now));
        pace_failed(p, peer, now);
    }
    ck_assert_uint_eq(pace_wait_ms(p, peer, now), PACE_REFILL_MS);
    ck_assert(!pace_may_try(p, peer, now + PACE_REFILL_MS - 1));
    now += PACE_REFILL_MS;
    ck_assert(pace_may_try(p, peer, now));
    pace_failed(p, peer, now);
    ck_assert(!pace_may_try(p, peer, now));
    for (unsigned i = 0; i < 1000; i++)
        pace_failed(p, peer, now);                      /* debts do not grow */
    ck_assert_uint_eq(pace_wait_ms(p, peer, now), PACE_REFILL_MS);
    now += (uint64_t)PACE_REFILL_MS * PACE_BURST * 5;
    for (unsigned i = 0; i < PACE_BURST; i++) {
        ck_assert(pace_may_try(p, peer, now));          /* nor do credits */
        pace_failed(p, peer, now);
    }
    ck_assert(!pace_may_try(p, peer, now));
    pace_free(&p);
}
END_TEST

START_TEST(pace_is_bounded)
{
    struct pace *p = pace_new();
    size_t bytes = mem_bytes[MEM_OTHER];
    char peer[32];

    for (unsigned i = 0; i < 100000; i++) {
        snprintf(peer, sizeof peer, "10.%u.%u.%u:1", i >> 16, i >> 8 & 255, i & 255);
        pace_failed(p, peer, i);
        ck_assert(pace_may_try(p, peer, i));
    }
    ck_assert_uint_eq(mem_bytes[MEM_OTHER], bytes);
    pace_free(&p);
    ck_assert_uint_eq(mem_bytes[MEM_OTHER], 0);
}
END_TEST

/* ---- with mosquitto's own tool ---- */

static char path[] = "/tmp/check_passwd.XXXXXX";

static int run(char *const argv[])
{
    pid_t pid = fork();
    int status = -1, null;

    if (pid == 0) {
        null = open("/dev/null", O_WRONLY);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        execvp(argv[0], argv);
        _exit(127);
    }
    ck_assert_int_gt(pid, 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Files written by the mosquitto_passwd of this machine, where there is one. */
START_TEST(written_by_mosquitto)
{
    static const char *const passwords[] = { "x", "correct horse battery staple", "\xC3\xA4\xC3\xB6\xC3\xBC", "a:b$c" };
    static char *const algs[] = { "sha512-pbkdf2", "sha512" };
    int fd = mkstemp(path);
    struct passwd *p;
    char user[16];

    ck_assert_int_ge(fd, 0);
    close(fd);
    for (unsigned i = 0; i < 8; i++) {
        char password[64];
        snprintf(user, sizeof user, "u%u", i);
        snprintf(password, sizeof password, "%s", passwords[i / 2]);
        char *argv[] = { "mosquitto_passwd", "-H", algs[i % 2], "-b", path, user, password, NULL };
        int code = run(argv);
        if (code == 127) {
            fprintf(stderr, "mosquitto_passwd is not installed: nothing to compare with\n");
            unlink(path);
            return;
        }
        ck_assert_int_eq(code, 0);
    }
    p = passwd_load(path, hear, NULL);
    ck_assert_msg(p != NULL, "%s", heard);
    ck_assert_uint_eq(passwd_count(p), 8);
    for (unsigned i = 0; i < 8; i++) {
        snprintf(user, sizeof user, "u%u", i);
        for (unsigned k = 0; k < 4; k++)
            ck_assert_int_eq(passwd_check(p, NULL, view_of(user), view_of(passwords[k])), k == i / 2);
    }
    passwd_free(&p);
    unlink(path);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("passwd");
    TCase *t = tcase_create("passwd");

    tcase_add_loop_test(t, refused_rows, 0, COUNT(refused));
    tcase_add_test(t, all_errors_in_one_run);
    tcase_add_test(t, accepted_forms);
    tcase_add_test(t, no_memory_anywhere);
    tcase_add_loop_test(t, login_rows, 0, COUNT(logins));
    tcase_add_test(t, binary_password);
    tcase_add_test(t, missing_password);
    tcase_add_loop_test(t, made_hashes, 0, PASSWD_KIND_COUNT);
    tcase_add_test(t, in_slices);
    tcase_add_test(t, unknown_users_cost_the_same);
    tcase_add_test(t, same_stand_in_for_the_same_name);
    tcase_add_test(t, reload_under_way);
    tcase_add_test(t, cache_remembers_successes_only);
    tcase_add_test(t, cache_and_a_changed_file);
    tcase_add_test(t, cache_is_bounded);
    tcase_add_test(t, scram_keys);
    tcase_add_loop_test(t, peer_rows, 0, COUNT(peers));
    tcase_add_test(t, bucket_fills_up_again);
    tcase_add_test(t, pace_is_bounded);
    tcase_add_test(t, written_by_mosquitto);
    tcase_set_timeout(t, 30);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
