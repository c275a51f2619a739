/* A listener's certificate comes to its end: what the log and $SYS say, day by day.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "lab.h"

#include "broker/listen.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY_MS INT64_C(86400000)

static struct lab lab;
static char dir[] = "/tmp/check_tls_expiry.XXXXXX";
static uint64_t was_ms;
static char said[4096];         /* what the log says about certificates */

static void hear(void *arg, enum log_level level, const char *line, size_t len)
{
    size_t n = strlen(said);

    (void)arg;
    if (level == LEVEL_WARNING && memmem(line, len, "certificate ", 12) != NULL)
        snprintf(said + n, sizeof said - n, "%.*s\n", (int)len, line);
}

static bool make_certificate(void)
{
    char command[512];

    if (mkdtemp(dir) == NULL)
        return false;
    snprintf(command, sizeof command, "cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 "
             "-nodes -days 400 -subj /CN=localhost -keyout k -out c >log 2>&1 && chmod 600 k", dir);
    return system(command) == 0;
}

/* Its clock is so many days before the certificate's end. */
static void start(int days_before)
{
    char settings[512];

    snprintf(settings, sizeof settings, "[broker]\nsys_interval = 1h\n[listener tls]\naddress = 127.0.0.1\nport = 0\n"
             "allow_anonymous = true\ncertfile = %s/c\nkeyfile = %s/k\n", dir, dir);
    was_ms = lab_mono_ms;
    lab_init(&lab, settings);
    ck_assert(lab_start(&lab));
    lab_wall_ms = listen_expires_ms(lab.b) - days_before * DAY_MS;
    lab_stop(&lab);
    log_open(&(struct log_options){ .level = LEVEL_WARNING, .dests = DEST_TOPIC, .topic = hear });
    said[0] = '\0';
    ck_assert(lab_start(&lab));
}

/* Check measures the test by the same clock, and can't count to days. */
static void finish(void)
{
    lab_fini(&lab);
    lab_mono_ms = was_ms;
}

START_TEST(the_log_warns_every_day)
{
    start(23);
    lab_pass(&lab, DAY_MS + 1000, DAY_MS / 4);
    ck_assert_str_eq(said, "");                 /* three weeks before it is early enough */
    for (int days = 20; days > 0; days--) {
        char left[24];

        said[0] = '\0';
        lab_pass(&lab, DAY_MS, DAY_MS / 4);
        snprintf(left, sizeof left, "days=%d\n", days);
        ck_assert_msg(strstr(said, "certificate expires soon listener=\"tls\"") != NULL, "%s", said);
        ck_assert_msg(strstr(said, left) == said + strlen(said) - strlen(left), "%s: %s", left, said);
    }
    said[0] = '\0';
    lab_pass(&lab, 2 * DAY_MS, DAY_MS / 4);
    ck_assert_ptr_nonnull(strstr(said, "certificate has expired listener=\"tls\""));
    finish();
}
END_TEST

START_TEST(it_warns_at_the_start)
{
    start(2);
    ck_assert_ptr_nonnull(strstr(said, "certificate expires soon listener=\"tls\""));
    finish();
}
END_TEST

/* The value of $SYS/broker/certificates/days, which came as the last one of what came. */
static void expect_days(const char *days)
{
    static const char topic[] = "$SYS/broker/certificates/days";
    const struct lab_client *c = &lab.clients[0];
    const uint8_t *at = c->out_len > 0 ? memmem(c->out, c->out_len, topic, strlen(topic)) : NULL;
    size_t n = strlen(days);

    ck_assert_ptr_nonnull(at);
    at += strlen(topic);
    ck_assert_msg((size_t)(c->out + c->out_len - at) >= n && memcmp(at, days, n) == 0, "%.*s", 3, (const char *)at);
    lab_forget(&lab.clients[0]);
}

START_TEST(sys_counts_the_days)
{
    start(5);
    lab_join(&lab, 0, &(struct lab_connect){ .id = "a", .version = MQTT_311, .clean = true });
    lab_settle(&lab, 20);
    lab_forget(&lab.clients[0]);
    lab_subscribe(&lab, 0, "$SYS/broker/certificates/#", 0, 1);
    lab_settle(&lab, 20);
    expect_days("5");
    lab_pass(&lab, 2 * DAY_MS + DAY_MS / 2, DAY_MS / 24);
    expect_days("4");           /* and 3 and 2 behind it */
    lab_pass(&lab, 3 * DAY_MS - DAY_MS / 24, DAY_MS / 24);
    lab_forget(&lab.clients[0]);
    lab_subscribe(&lab, 0, "$SYS/broker/certificates/#", 0, 2);
    lab_settle(&lab, 20);
    expect_days("-1");
    finish();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tls_expiry");
    TCase *t = tcase_create("expiry");

    if (!make_certificate()) {
        fprintf(stderr, "no certificate: is openssl installed?\n");
        return 77;
    }
    tcase_set_timeout(t, 60);
    tcase_add_test(t, the_log_warns_every_day);
    tcase_add_test(t, it_warns_at_the_start);
    tcase_add_test(t, sys_counts_the_days);
    suite_add_tcase(suite, t);
    return run_suite_in(dir, suite);
}
