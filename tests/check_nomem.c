/* No memory: the n-th allocation of a conversation fails, for every n. Whoever needed it is refused or loses its
 * connection; the others go on, what was acknowledged is kept, and nothing is left behind. Where a change can't be noted
 * for the store the broker ends, and starts again from what is stored.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "lab.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char plain[] =
    "[persistence]\ndurability = crash\ncommit_interval = 0\n[broker]\nqueue_qos0_messages = true\n";
static const char passwords[] =
    "anna:$7$101$PEXb6CypBJTHg/oF$lRfV4s4LNfoHuIpXNwoeX7OT27nhWushzNkeSgC4jdwo3fAu/PKsQ5aO5i6YdbAGEqd7ws4myvlqP39vumP+8g==\n";
static char settings[512], password_file[] = "/tmp/check_nomem.XXXXXX";

enum { SUB = 0, PUB = 1, OTHER = 2, WATCHER = 3, NAMED = 4 };

static void setup(void)
{
    int fd = mkstemp(password_file);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, passwords, sizeof passwords - 1), sizeof passwords - 1);
    close(fd);
    snprintf(settings, sizeof settings, "%s[auth]\nallow_anonymous = true\npassword_file = %s\n", plain, password_file);
}

static void teardown(void)
{
    unlink(password_file);
}

static void come(struct lab *l, unsigned i, const struct lab_connect *p)
{
    if (l->b->stopping || !lab_open(l, i))
        return;
    lab_connect(l, i, p);
    lab_settle(l, 10);
}

/* What is acknowledged here must be there in the end. */
struct promised {
    uint32_t messages;          /* for the session "sub" while it is away */
    bool retained;
    bool subscribed;
    bool named;
};

static void queue_some(struct lab *l, struct promised *p)
{
    struct lab_client *cl = &l->clients[PUB];

    for (uint16_t pid = 1; pid <= 4 && !l->b->stopping; pid++) {
        uint32_t acked = cl->got[PKT_PUBACK] + cl->got[PKT_PUBREC];

        lab_publish(l, PUB, "t/1", 2000, pid % 2 + 1, false, pid, 0);
        lab_settle(l, 10);
        if (!l->b->stopping)
            lab_pass(l, 200, 50);       /* QoS 1: "other" does not acknowledge */
        p->messages += cl->got[PKT_PUBACK] + cl->got[PKT_PUBREC] - acked;
    }
}

#define SEND(l, i, bytes) lab_send(l, i, bytes, sizeof bytes - 1)

/* A client with a password, that uses aliases and takes them; what it subscribes to goes again. */
static void named(struct lab *l, struct promised *p)
{
    static const char connect[] = "\x10\x1F\0\4MQTT\5\xC2\0\x3C\3\x22\0\5\0\1n\0\4anna\0\6secret";

    if (l->b->stopping || !lab_open(l, NAMED))
        return;
    l->clients[NAMED].version = MQTT_50;
    SEND(l, NAMED, connect);
    lab_settle(l, 50);
    lab_subscribe(l, NAMED, "z/#", 0, 1);
    SEND(l, NAMED, "\x30\x0A\0\3z/1\3\x23\0\1x");
    SEND(l, NAMED, "\x30\7\0\0\3\x23\0\1x");
    lab_settle(l, 10);
    lab_unsubscribe(l, NAMED, "z/#", 2);
    lab_settle(l, 10);
    p->named = l->clients[NAMED].got[PKT_PUBLISH] == 2 && l->clients[NAMED].got[PKT_UNSUBACK] == 1;
    if (!l->b->stopping)
        lab_disconnect(l, NAMED);
    lab_settle(l, 10);
}

/* Everything that allocates: passwords, sessions, wills, plain and shared subscriptions, retained messages, queues, packets cut in
 * two, aliases both ways, $SYS, expiry, take-over. */
static void talk(struct lab *l, struct promised *p)
{
    static const struct lab_connect sub = { .id = "sub", .version = MQTT_50, .expiry_s = UINT32_MAX, .will_topic = "w",
                                            .will_qos = 1, .will_delay_s = 5, .keepalive_s = 60 };
    static const struct lab_connect pub = { .id = "pub", .version = MQTT_311, .clean = true };
    static const struct lab_connect other = { .id = "other", .version = MQTT_311 };
    uint32_t before;

    come(l, SUB, &sub);
    lab_subscribe(l, SUB, "t/#", 2, 1);
    lab_settle(l, 10);
    p->subscribed = l->clients[SUB].got[PKT_SUBACK] > 0 && l->clients[SUB].out[l->clients[SUB].out_len - 1] < 0x80;
    named(l, p);
    come(l, OTHER, &other);
    lab_subscribe(l, OTHER, "$share/g/t/+", 1, 1);
    lab_subscribe(l, OTHER, "$SYS/broker/uptime", 0, 2);
    lab_settle(l, 10);
    come(l, PUB, &pub);
    before = l->clients[PUB].got[PKT_PUBACK];
    lab_publish(l, PUB, "t/r", 10, 1, true, 9, 0);
    lab_settle(l, 10);
    lab_ack_all(l, SUB);
    lab_ack_all(l, OTHER);
    lab_settle(l, 10);
    p->retained = l->clients[PUB].got[PKT_PUBACK] > before;
    lab_publish(l, PUB, "t/2", 3, 2, false, 10, 0);
    lab_send(l, PUB, "\x30\x09\0\1t", 5);
    lab_settle(l, 10);
    lab_send(l, PUB, "xxxxxx", 6);
    lab_settle(l, 10);
    lab_ack_all(l, PUB);
    lab_ack_all(l, SUB);
    lab_settle(l, 10);
    lab_ack_all(l, SUB);
    lab_settle(l, 10);
    l->clients[SUB].ended = l->clients[SUB].reset = true;
    if (!l->b->stopping)
        lab_turn(l);
    lab_forget(&l->clients[PUB]);
    if (p->subscribed)
        queue_some(l, p);
    if (!l->b->stopping)
        lab_pass(l, 7000, 500);
    come(l, WATCHER, &other);
    lab_subscribe(l, WATCHER, "#", 1, 1);
    lab_settle(l, 20);
}

/* Deliveries that came to the client, acknowledged until no more do. */
static uint32_t fetch(struct lab *l, unsigned i)
{
    uint32_t all = 0;

    for (;;) {
        uint32_t n;

        lab_settle(l, 50);
        n = l->clients[i].got[PKT_PUBLISH];
        all += n;
        if (n == 0 && l->clients[i].got[PKT_PUBREL] == 0)
            return all;
        lab_ack_all(l, i);
    }
}

/* With memory again: the same sessions, and a new exchange. */
static void judge(struct lab *l, const struct promised *p, uint64_t nth)
{
    static const struct lab_connect sub = { .id = "sub", .version = MQTT_50, .expiry_s = UINT32_MAX };
    static const struct lab_connect fresh = { .id = "fresh", .version = MQTT_311, .clean = true };
    uint32_t n;

    lab_join(l, SUB, &sub);
    n = fetch(l, SUB);
    ck_assert_msg(n >= p->messages, "allocation %llu: %u messages acknowledged, %u delivered", (unsigned long long)nth,
                  p->messages, n);
    lab_join(l, WATCHER, &fresh);
    lab_subscribe(l, WATCHER, "t/#", 1, 1);
    n = fetch(l, WATCHER);
    ck_assert_msg(n >= p->retained, "allocation %llu: the retained message has gone", (unsigned long long)nth);
    lab_publish(l, WATCHER, "t/9", 1, 1, false, 1, 0);
    n = fetch(l, WATCHER);
    ck_assert_msg(n == 1 && (!p->subscribed || fetch(l, SUB) == 1), "allocation %llu: no more deliveries",
                  (unsigned long long)nth);
}

/* false: the conversation has fewer allocations than that. */
static bool try(uint64_t nth, bool at_start, bool websocket)
{
    struct promised p = { 0 };
    struct lab l;
    size_t before = mem_total;
    bool failed;

    lab_init(&l, settings);
    l.websocket = websocket;
    mem_fail_at = at_start ? nth : 0;
    if (lab_start(&l)) {
        if (!at_start)
            mem_fail_at = nth;
        talk(&l, &p);
    }
    failed = mem_fail_at == 0;
    if (!failed)                        /* the conversation promises what it is about */
        ck_assert(p.messages == 4 && p.retained && p.subscribed && p.named);
    mem_fail_at = 0;
    if (l.b != NULL && l.b->stopping)
        lab_kill(&l);
    if (l.b == NULL)
        ck_assert(lab_start(&l));
    judge(&l, &p, nth);
    lab_check_store(&l, true);
    lab_kill(&l);
    ck_assert(lab_start(&l));
    lab_fini(&l);
    ck_assert_uint_eq(mem_total, before);
    return failed;
}

START_TEST(every_allocation_fails_once)
{
    uint64_t nth = 1;

    while (try(nth, false, _i == 1))
        nth++;
    ck_assert_uint_gt(nth, 100);
}
END_TEST

START_TEST(start_without_memory)
{
    uint64_t nth = 1;

    for (; nth < 200 && try(nth, true, false); nth++)
        ;
    ck_assert_uint_gt(nth, 20);
}
END_TEST

/* A store with sessions, subscriptions, queues, a will and retained messages. */
START_TEST(restart_without_memory)
{
    bool failed = true;

    for (uint64_t nth = 1; failed; nth++) {
        struct promised p = { 0 };
        struct lab l;

        lab_init(&l, settings);
        ck_assert(lab_start(&l));
        talk(&l, &p);
        ck_assert(p.messages == 4 && p.retained && p.subscribed);
        lab_kill(&l);
        mem_fail_at = nth;
        if (lab_start(&l) && l.b->stopping)
            lab_kill(&l);
        failed = mem_fail_at == 0;
        mem_fail_at = 0;
        if (l.b == NULL)
            ck_assert(lab_start(&l));
        judge(&l, &p, nth);
        lab_fini(&l);
        ck_assert_uint_lt(nth, 400);
    }
}
END_TEST

/* From one allocation on none succeeds, for a while. */
START_TEST(a_drought)
{
    for (uint64_t nth = 1; nth < 400; nth += 7) {
        struct promised p = { 0 };
        struct lab l;

        lab_init(&l, settings);
        ck_assert(lab_start(&l));
        mem_fail_at = nth;
        mem_fail_for = 40;
        talk(&l, &p);
        mem_fail_at = mem_fail_for = 0;
        if (l.b->stopping) {
            lab_kill(&l);
            ck_assert(lab_start(&l));
        }
        judge(&l, &p, nth);
        lab_fini(&l);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("nomem");
    TCase *t = tcase_create("nomem");

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, every_allocation_fails_once, 0, 2);      /* through a WebSocket, too */
    tcase_add_test(t, start_without_memory);
    tcase_add_test(t, restart_without_memory);
    tcase_add_test(t, a_drought);
    return run_suite(s);
}
