/* The store: every record goes in, comes back after a clean end and after a kill, and goes away again.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "check_persist.h"

#include <sys/wait.h>

/* ---- everything, once ---- */

static unsigned seen;

static int see_session(void *arg, const struct persist_session *s)
{
    (void)arg;
    seen++;
    if (s->id == 7) {
        ck_assert_blob(s->client_id, "sensor-7");
        ck_assert_blob(s->username, "anna");
        ck_assert_int_eq(s->version, 5);
        ck_assert_int_eq(s->expiry_s, 3600);
        ck_assert_int_eq(s->connected_ms, 1000);
        ck_assert_int_eq(s->disconnected_ms, 2000);
        ck_assert_int_eq(s->resend_to, 12);
    } else {
        ck_assert_int_eq(s->id, 8);
        ck_assert_blob(s->client_id, "caf\xC3\xA9");
        ck_assert_ptr_nonnull(s->username.p);
        ck_assert_uint_eq(s->username.len, 0);
        ck_assert_int_eq(s->version, 3);
        ck_assert_int_eq(s->expiry_s, -1);
        ck_assert_int_eq(s->disconnected_ms, 0);
    }
    return 0;
}

static int see_will(void *arg, const struct persist_will *w)
{
    (void)arg;
    seen++;
    ck_assert_int_eq(w->session_id, 7);
    ck_assert_blob(w->topic, "will");
    ck_assert_uint_eq(w->payload.len, 0);
    ck_assert_ptr_nonnull(w->payload.p);
    ck_assert_uint_eq(w->props.len, 2);
    ck_assert(w->qos == 2 && w->retain && w->delay_s == 30 && w->publish_ms == 9000 && w->expiry_s == 60);
    return 0;
}

static int see_subscription(void *arg, const struct persist_subscription *s)
{
    (void)arg;
    seen++;
    if (s->session_id == 7) {
        ck_assert_blob(s->filter, "$share/g/a/#");
        ck_assert(s->qos == 2 && s->no_local && s->retain_as_published && s->retain_handling == 2);
        ck_assert_int_eq(s->subid, 268435455);
    } else {
        ck_assert_blob(s->filter, "007");
        ck_assert(s->qos == 0 && !s->no_local && !s->retain_as_published && s->retain_handling == 0 && s->subid == 0);
    }
    return 0;
}

static int see_inbound(void *arg, int64_t session_id, int packet_id)
{
    (void)arg;
    seen++;
    ck_assert_int_eq(session_id, 7);
    ck_assert_int_eq(packet_id, 65535);
    return 0;
}

static int see_queued(void *arg, const struct persist_queue *q, const struct persist_message *m)
{
    seen++;
    ck_assert_int_eq(q->session_id, *(int64_t *)arg);
    ck_assert_int_eq(q->message_id, 11);
    ck_assert_int_eq(m->id, 11);
    ck_assert(q->shared && q->bytes == 10);
    if (q->session_id == 7) {
        ck_assert(q->position == 12 && q->qos == 2 && q->retain && q->state == PERSIST_SENT && q->packet_id == 65535);
        ck_assert_uint_eq(q->subids.len, 4);
        ck_assert_mem_eq(q->subids.p, binary, 4);
    } else {
        ck_assert(q->position == 13 && q->qos == 0 && !q->retain && q->state == PERSIST_QUEUED && q->packet_id == 0);
        ck_assert_uint_eq(q->subids.len, 0);
    }
    ck_assert_blob(m->topic, "1e3");
    ck_assert_uint_eq(m->payload.len, 4);
    ck_assert_mem_eq(m->payload.p, binary, 4);
    ck_assert_uint_eq(m->props.len, 3);
    ck_assert(m->qos == 2 && m->retain && m->received_ms == 4000 && m->expires_ms == 999000);
    ck_assert_blob(m->publisher, "pub");
    ck_assert_blob(m->publisher_user, "u");
    return 0;
}

static int see_retained(void *arg, const struct persist_retained *r)
{
    bool with_payload = *(bool *)arg;

    seen++;
    ck_assert_int_eq(r->id, 21);
    ck_assert_blob(r->m.topic, "0123");
    ck_assert_uint_eq(r->m.payload.len, 4);
    if (with_payload)
        ck_assert_mem_eq(r->m.payload.p, binary, 4);
    else
        ck_assert_ptr_null(r->m.payload.p);
    ck_assert_ptr_null(r->m.publisher.p);
    ck_assert(r->m.qos == 1 && r->m.retain && r->m.received_ms == 8000 && r->m.expires_ms == 0);
    return 0;
}

static int see_summary(void *arg, const struct persist_queue_summary *s)
{
    (void)arg;
    seen++;
    ck_assert_uint_eq(s->count, 1);
    ck_assert_uint_eq(s->inflight, s->session_id == 7);
    ck_assert_uint_eq(s->bytes, s->session_id == 7 ? 0 : 3 + 4 + 3);      /* what is sent does not wait */
    ck_assert(s->first == s->last && s->first == (s->session_id == 7 ? 12 : 13));
    return 0;
}

static void see_all(struct persist *p)
{
    struct persist_maxima m;
    struct persist_clock clock;
    struct persist_stats st;
    int64_t ids[] = { 7, 8 };
    bool yes = true, no = false;

    seen = 0;
    OK(persist_each_session(p, see_session, NULL));
    ck_assert_uint_eq(seen, 2);
    OK(persist_each_will(p, see_will, NULL));
    ck_assert_uint_eq(seen, 3);
    OK(persist_each_subscription(p, see_subscription, NULL));
    ck_assert_uint_eq(seen, 5);
    OK(persist_each_inbound(p, see_inbound, NULL));
    ck_assert_uint_eq(seen, 6);
    OK(persist_each_queue_summary(p, see_summary, NULL));
    ck_assert_uint_eq(seen, 8);
    OK(persist_queue_page(p, 7, 0, 10, 1000, see_queued, &ids[0]));
    OK(persist_queue_page(p, 8, 12, 10, 1000, see_queued, &ids[1]));
    ck_assert_uint_eq(seen, 10);
    OK(persist_each_retained(p, 4, see_retained, &yes));
    OK(persist_each_retained(p, 3, see_retained, &no));
    OK(persist_retained_get(p, 21, see_retained, &yes));
    OK(persist_retained_get(p, 22, see_retained, &yes));
    ck_assert_uint_eq(seen, 13);
    OK(persist_maxima(p, &m));
    ck_assert(m.session_id == 8 && m.position == 13 && m.retained_id == 21);
    OK(persist_clock(p, &clock));
    ck_assert_int_ge(clock.newest_ms, 8000);
    persist_stats(p, &st);
    ck_assert_uint_eq(st.bad_rows, 0);
}

START_TEST(everything_comes_back)
{
    struct persist *p = open_as(PERSIST_CREATED);

    ck_assert_str_eq(persist_previous_end(p), "first");
    put_all(p);
    see_all(p);
    persist_close(&p);
    ck_assert_ptr_null(p);
    p = open_as(PERSIST_OPENED);
    ck_assert_str_eq(persist_previous_end(p), "clean");
    ck_assert(!test_info.unclean);
    see_all(p);
    persist_close(&p);
    ck_assert_str_eq(side_text("SELECT messages || last_topic || first_at || last_at FROM dropped"), "7b100200");
    ck_assert_str_eq(side_text("PRAGMA integrity_check"), "ok");
}
END_TEST

static void killed_child(void)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        struct persist *p = open_as(PERSIST_CREATED);
        put_all(p);
        OK(persist_begin(p));
        OK(put_session(p, 99, "not committed"));
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

START_TEST(everything_survives_a_kill)
{
    struct persist *p;

    killed_child();
    p = open_as(PERSIST_OPENED);
    ck_assert_str_eq(persist_previous_end(p), "killed");
    ck_assert(test_info.unclean);
    see_all(p);
    persist_close(&p);
    /* Another boot id: not the process, the machine died. */
    side_exec("UPDATE run SET boot_id = 'x', ended_at = NULL, ending = NULL");
    p = open_as(PERSIST_OPENED);
    ck_assert_str_eq(persist_previous_end(p), "power");
    OK(persist_begin(p));
    OK(persist_run_start(p, &(struct persist_run){ .version = "1.3", .started_ms = 600 }));
    OK(persist_commit(p));
    persist_close(&p);
    ck_assert_str_eq(side_text("SELECT ending FROM v_runs WHERE run = 1"), "power cut or reboot");
    ck_assert_str_eq(side_text("SELECT ending || previous_ending FROM run WHERE run_id = 2"), "cleanpower");
}
END_TEST

START_TEST(closing_commits_nothing)
{
    struct persist *p = open_as(PERSIST_CREATED);

    OK(persist_begin(p));
    OK(put_session(p, 1, "c"));
    persist_close(&p);
    ck_assert_int_eq(side_int("SELECT count(*) FROM session"), 0);
}
END_TEST

/* ---- changes ---- */

START_TEST(put_again_updates)
{
    struct persist *p = open_as(PERSIST_CREATED);
    struct persist_session s = { .id = 1, .client_id = text("c"), .version = 4, .expiry_s = 0, .disconnected_ms = 5 };
    struct persist_subscription sub = { .session_id = 1, .filter = text("a"), .qos = 1, .subid = 5 };
    struct persist_retained r = { .id = 1, .m = { .topic = text("t"), .payload = text("one"), .received_ms = 1 } };

    fill(p, 1, 3);
    OK(persist_begin(p));
    OK(persist_session_put(p, &s));
    OK(persist_sub_put(p, &sub));
    sub.qos = 2, sub.subid = 0;
    OK(persist_sub_put(p, &sub));
    OK(persist_retained_put(p, &r));
    r.m.payload = text("two");
    OK(persist_retained_put(p, &r));
    OK(persist_queue_state(p, 1, 1, PERSIST_RELEASED, 9));
    OK(persist_commit(p));
    ck_assert_str_eq(side_text("SELECT protocol_version || expiry_interval || disconnected_at FROM session"), "405");
    ck_assert_str_eq(side_text("SELECT qos || ifnull(subscription_identifier, '-') FROM subscription"), "2-");
    ck_assert_str_eq(side_text("SELECT payload FROM retained"), "two");
    ck_assert_str_eq(side_text("SELECT state || packet_id FROM queue"), "29");
    /* The same topic under another id, in whichever order the broker tells. */
    r.id = 2;
    OK(persist_begin(p));
    OK(persist_retained_put(p, &r));
    OK(persist_retained_del(p, 1));
    OK(persist_sub_del(p, 1, text("a")));
    OK(persist_queue_state(p, 1, 1, PERSIST_QUEUED, 0));
    OK(persist_commit(p));
    ck_assert_str_eq(side_text("SELECT group_concat(retained_id) FROM retained"), "2");
    ck_assert_int_eq(side_int("SELECT count(*) FROM subscription"), 0);
    ck_assert_int_eq(side_int("SELECT packet_id IS NULL FROM queue"), 1);
    persist_close(&p);
}
END_TEST

START_TEST(message_goes_with_its_last_reader)
{
    struct persist *p = open_as(PERSIST_CREATED);

    OK(persist_begin(p));
    for (int64_t i = 1; i <= 3; i++)
        OK(put_session(p, i, (const char *[]){ "a", "b", "c" }[i - 1]));
    OK(put_message(p, 1, "x", 1));
    OK(put_message(p, 1, "other", 5));
    OK(put_message(p, 2, "y", 1));
    OK(put_queue(p, 1, 1, 1, true));
    OK(put_queue(p, 2, 2, 1, true));
    OK(put_queue(p, 3, 3, 2, false));
    OK(persist_queue_del(p, 1, 1, 1, true));
    OK(persist_commit(p));
    ck_assert_str_eq(side_text("SELECT group_concat(message_id || payload) FROM message"), "1x,2y");
    OK(persist_begin(p));
    OK(persist_queue_del(p, 2, 2, 1, true));
    OK(persist_queue_del(p, 2, 2, 1, true));
    OK(persist_commit(p));
    ck_assert_str_eq(side_text("SELECT group_concat(message_id) FROM message"), "2");
    OK(persist_begin(p));
    OK(persist_queue_del(p, 3, 3, 2, false));
    OK(persist_commit(p));
    ck_assert_int_eq(side_int("SELECT count(*) FROM message"), 0);
    persist_close(&p);
}
END_TEST

START_TEST(oldest_is_dropped)
{
    struct persist *p = open_as(PERSIST_CREATED);
    int64_t position = 0;
    uint64_t bytes = 0;
    bool found;

    fill(p, 3, 100);
    OK(persist_begin(p));
    OK(persist_queue_state(p, 1, 1, PERSIST_SENT, 1));
    OK(persist_queue_drop_oldest(p, 1, &found, &position, &bytes));
    ck_assert(found && position == 2 && bytes == 4);
    OK(persist_queue_drop_oldest(p, 1, &found, &position, &bytes));
    ck_assert(found && position == 3);
    OK(persist_queue_drop_oldest(p, 1, &found, &position, &bytes));
    ck_assert(!found);
    OK(persist_commit(p));
    ck_assert_str_eq(side_text("SELECT group_concat(message_id) FROM message"), "1");
    persist_close(&p);
}
END_TEST

static int note_ended(void *arg, int64_t id)
{
    *(int64_t *)arg = *(int64_t *)arg * 100 + id;
    return 0;
}

static int note_summary(void *arg, const struct persist_queue_summary *s)
{
    return note_ended(arg, s->session_id);
}

START_TEST(ended_session_goes_in_slices)
{
    struct persist *p = open_as(PERSIST_CREATED);
    struct persist_subscription sub = { .session_id = 1, .filter = text("a"), .qos = 1 };
    struct persist_will will = { .session_id = 1, .topic = text("w") };
    struct persist_maxima m;
    int64_t ended = 0;
    unsigned calls = 0;
    bool more;

    fill(p, 500, 10);
    OK(persist_begin(p));
    OK(persist_sub_put(p, &sub));
    OK(persist_will_put(p, &will));
    OK(persist_inbound_put(p, 1, 5));
    OK(persist_session_del(p, 1, 100, &more));
    ck_assert(more);
    OK(put_session(p, 2, "c"));
    OK(put_message(p, 501, "x", 1));
    OK(put_queue(p, 2, 501, 501, false));
    OK(persist_commit(p));
    ck_assert_int_eq(side_int("SELECT count(*) FROM queue"), 401);
    ck_assert_int_eq(side_int("SELECT (SELECT count(*) FROM subscription) + (SELECT count(*) FROM will) +"
                              " (SELECT count(*) FROM inbound_qos2)"), 0);
    /* Nothing of it is seen, but it is not forgotten. */
    ck_assert_int_eq(side_int("SELECT count(*) FROM v_queue"), 1);
    persist_close(&p);
    p = open_as(PERSIST_OPENED);
    OK(persist_each_ended(p, note_ended, &ended));
    ck_assert_int_eq(ended, 1);
    ended = 0;
    OK(persist_each_queue_summary(p, note_summary, &ended));
    ck_assert_int_eq(ended, 2);
    ended = 0;
    OK(persist_maxima(p, &m));
    ck_assert_int_eq(m.session_id, 2);
    for (more = true; more; calls++) {
        OK(persist_begin(p));
        OK(persist_session_del(p, 1, 150, &more));
        OK(persist_commit(p));
    }
    ck_assert_uint_eq(calls, 3);
    OK(persist_each_ended(p, note_ended, &ended));
    ck_assert_int_eq(ended, 0);
    ck_assert_str_eq(side_text("SELECT group_concat(message_id) FROM message"), "501");
    persist_close(&p);
}
END_TEST

static int note_filter(void *arg, struct blob filter)
{
    unsigned *n = arg;

    ck_assert(filter.len == 1 && memcmp(filter.p, "a", 1) == 0);
    ++*n;
    return 0;
}

static int never(void *arg, const struct persist_subscription *s)
{
    (void)arg;
    ck_abort_msg("a subscription of session %d", (int)s->session_id);
    return 0;
}

/* What an ended session leaves to others is found again, but is nobody's now; it goes from the first row on. */
START_TEST(ended_session_leaves_something)
{
    struct persist *p = open_as(PERSIST_CREATED);
    struct persist_subscription sub = { .session_id = 1, .filter = text("a"), .qos = 1 };
    struct persist_stats st;
    int64_t ended = 0;
    unsigned filters = 0;
    bool more;

    fill(p, 500, 10);
    OK(persist_begin(p));
    OK(persist_sub_put(p, &sub));
    OK(persist_inbound_put(p, 1, 5));
    OK(persist_session_end(p, 1));
    OK(put_session(p, 2, "c"));
    OK(persist_commit(p));
    persist_close(&p);
    p = open_as(PERSIST_OPENED);
    OK(persist_each_ended(p, note_ended, &ended));
    ck_assert_int_eq(ended, 1);
    OK(persist_each_subscription(p, never, NULL));
    persist_stats(p, &st);
    ck_assert_uint_eq(st.bad_rows, 0);
    OK(persist_each_filter(p, 1, note_filter, &filters));
    OK(persist_each_filter(p, 2, note_filter, &filters));
    ck_assert_uint_eq(filters, 1);
    ck_assert_int_eq(side_int("SELECT count(*) FROM queue"), 500);
    ck_assert_int_eq(side_int("SELECT count(*) FROM inbound_qos2"), 0);
    OK(persist_begin(p));
    OK(persist_queue_upto(p, 1, 300, 100));
    OK(persist_commit(p));
    ck_assert_int_eq(side_int("SELECT min(position) FROM queue"), 101);
    OK(persist_begin(p));
    OK(persist_queue_upto(p, 1, 300, 1000));
    OK(persist_commit(p));
    ck_assert_int_eq(side_int("SELECT min(position) FROM queue"), 301);
    ck_assert_int_eq(side_int("SELECT min(message_id) FROM message"), 301);
    OK(persist_begin(p));
    OK(persist_session_del(p, 1, 1000, &more));
    OK(persist_commit(p));
    ck_assert(!more);
    ck_assert_int_eq(side_int("SELECT (SELECT count(*) FROM subscription) + (SELECT count(*) FROM message) +"
                              " (SELECT count(*) FROM ended_session)"), 0);
    persist_close(&p);
}
END_TEST

START_TEST(client_id_has_one_session)
{
    struct persist *p = open_as(PERSIST_CREATED);
    int64_t ended = 0;

    fill(p, 100, 10);
    OK(persist_begin(p));
    OK(put_session(p, 2, "c"));
    OK(persist_commit(p));
    ck_assert_str_eq(side_text("SELECT group_concat(session_id) FROM session"), "2");
    OK(persist_each_ended(p, note_ended, &ended));
    ck_assert_int_eq(ended, 1);
    /* An id of another client is a mistake of the caller, and changes nothing. */
    OK(persist_begin(p));
    ck_assert_int_eq(put_session(p, 2, "d"), PERSIST_BROKEN);
    ck_assert_int_eq(put_session(p, 3, "e"), PERSIST_BROKEN);
    ck_assert_int_eq(persist_commit(p), PERSIST_BROKEN);
    ck_assert_str_eq(side_text("SELECT group_concat(client_id) FROM session"), "c");
    OK(persist_begin(p));
    OK(put_session(p, 3, "e"));
    OK(persist_commit(p));
    persist_close(&p);
}
END_TEST

START_TEST(failed_change_rolls_back)
{
    struct persist *p = open_as(PERSIST_CREATED);

    OK(persist_begin(p));
    OK(put_session(p, 1, "c"));
    side_exec("SELECT 1");
    /* Text where there must be some. */
    ck_assert_int_eq(persist_sub_put(p, &(struct persist_subscription){ .session_id = 1 }), PERSIST_BROKEN);
    ck_assert_ptr_nonnull(strstr(persist_error(p), test_store));
    ck_assert_ptr_nonnull(strstr(persist_error(p), "topic_filter"));
    ck_assert_int_eq(put_message(p, 1, "x", 1), PERSIST_BROKEN);
    persist_rollback(p);
    persist_rollback(p);
    ck_assert_int_eq(side_int("SELECT count(*) FROM session"), 0);
    OK(persist_begin(p));
    OK(put_session(p, 1, "c"));
    persist_rollback(p);
    ck_assert_int_eq(side_int("SELECT count(*) FROM session"), 0);
    persist_close(&p);
}
END_TEST

/* ---- pages ---- */

struct pages {
    unsigned rows;
    int64_t last;
};

static int note_page(void *arg, const struct persist_queue *q, const struct persist_message *m)
{
    struct pages *g = arg;

    (void)m;
    ck_assert_int_gt(q->position, g->last);
    g->last = q->position;
    g->rows++;
    return 0;
}

static int stop_at_once(void *arg, const struct persist_queue *q, const struct persist_message *m)
{
    (void)q;
    (void)m;
    ++*(unsigned *)arg;
    return 1;
}

START_TEST(pages_are_bounded)
{
    struct persist *p = open_as(PERSIST_CREATED);
    struct pages g = { 0, 0 };
    unsigned n = 0;

    fill(p, 120, 1000);
    OK(persist_queue_page(p, 1, 0, 50, SIZE_MAX, note_page, &g));
    ck_assert(g.rows == 50 && g.last == 50);
    OK(persist_queue_page(p, 1, g.last, 50, 10 * 1003, note_page, &g));
    ck_assert(g.rows == 60 && g.last == 60);
    OK(persist_queue_page(p, 1, g.last, 50, 1, note_page, &g));
    ck_assert(g.rows == 61 && g.last == 61);
    OK(persist_queue_page(p, 1, g.last, 0, 1, note_page, &g));
    ck_assert_uint_eq(g.rows, 61);
    OK(persist_queue_page(p, 1, g.last, 100, SIZE_MAX, note_page, &g));
    ck_assert(g.rows == 120 && g.last == 120);
    OK(persist_queue_page(p, 1, g.last, 100, SIZE_MAX, note_page, &g));
    ck_assert_uint_eq(g.rows, 120);
    OK(persist_queue_page(p, 1, 0, 100, SIZE_MAX, stop_at_once, &n));
    ck_assert_uint_eq(n, 1);
    /* Nothing is left open that would pin the log. */
    OK(persist_begin(p));
    OK(persist_commit(p));
    OK(persist_checkpoint(p, true));
    persist_close(&p);
}
END_TEST

/* ---- a copy ---- */

START_TEST(backup_is_a_store)
{
    struct persist_options o = { .path = test_store };
    struct persist *p = open_as(PERSIST_CREATED);
    char to[160], *why;

    put_all(p);
    snprintf(to, sizeof to, "%s/copy", test_dir);
    ck_assert_int_eq(persist_backup(p, to, &why), PERSIST_OK);
    ck_assert_ptr_null(why);
    ck_assert_int_eq(persist_backup(p, to, &why), PERSIST_IO);
    ck_assert_ptr_nonnull(strstr(why, to));
    free(why);
    persist_close(&p);
    o.path = to;
    p = open_with(&o, PERSIST_OPENED);
    see_all(p);
    persist_close(&p);
}
END_TEST

static int count_retained(void *arg, const struct persist_retained *r)
{
    (void)r;
    ++*(unsigned *)arg;
    return 0;
}

/* However far the clock is set, what was a time stays one: a row with anything else would not be read again. */
START_TEST(moved_times_stay_times)
{
    struct persist *p = open_as(PERSIST_CREATED);
    struct persist_retained r = { .id = 1, .m = { .topic = text("t"), .payload = text("x"), .received_ms = 1000,
                                                  .expires_ms = 2000 } };
    unsigned rows = 0;

    OK(persist_begin(p));
    OK(persist_retained_put(p, &r));
    OK(persist_clock_move(p, 1, _i == 0 ? -5000 : INT64_C(99999999999999)));
    OK(persist_commit(p));
    OK(persist_each_retained(p, SIZE_MAX, count_retained, &rows));
    ck_assert_uint_eq(rows, 1);
    persist_close(&p);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("persist");
    TCase *t = tcase_create("all");

    tcase_add_checked_fixture(t, make_dir, remove_dir);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, everything_comes_back);
    tcase_add_test(t, everything_survives_a_kill);
    tcase_add_test(t, closing_commits_nothing);
    tcase_add_test(t, put_again_updates);
    tcase_add_test(t, message_goes_with_its_last_reader);
    tcase_add_test(t, oldest_is_dropped);
    tcase_add_test(t, ended_session_goes_in_slices);
    tcase_add_test(t, ended_session_leaves_something);
    tcase_add_test(t, client_id_has_one_session);
    tcase_add_test(t, failed_change_rolls_back);
    tcase_add_test(t, pages_are_bounded);
    tcase_add_test(t, backup_is_a_store);
    tcase_add_loop_test(t, moved_times_stay_times, 0, 2);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return run_suite(suite());
}
