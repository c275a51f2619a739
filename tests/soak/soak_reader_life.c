/* How readers live: they come and go, subscribe and unsubscribe, sleep, are cut off and taken over.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/soak/soak_reader.h"

#include <string.h>

/* Indices + 1 into filters[]. */
enum {
    F_LOAD = 1, F_LOAD1, F_LOAD2, F_LOAD_W0, F_LOAD_W1, F_ANY_1_2, F_KEPT, F_KEPT_W1, F_WILL, F_RARE, F_BULK, F_LOAD0,
    F_FADE, F_FLOOD, F_TEAM_A, F_TEAM_B,
};

enum { SESSION_SLACK_MS = 2500 };

const struct plan reader_plans[READERS] = {
    { .name = "steady", .version = MQTT_311, .filters = { F_LOAD }, .begins_with = 1, .qos_min = 2, .quick = true },
    { .name = "steady5", .version = MQTT_50, .filters = { F_LOAD, F_KEPT, F_LOAD1 }, .begins_with = 2, .quick = true,
      .aliases = 10, .change_ms = 5000 },
    { .name = "eye", .version = MQTT_50, .filters = { F_WILL, F_RARE }, .begins_with = 2, .qos_min = 2, .quick = true,
      .eye = true },
    { .name = "seldom", .version = MQTT_50, .filters = { F_LOAD }, .begins_with = 1, .qos_min = 2, .stay_ms = 200,
      .away_ms = 2500 },
    { .name = "slow", .version = MQTT_311, .filters = { F_LOAD1, F_KEPT_W1 }, .begins_with = 2, .qos_min = 1,
      .stay_ms = 3000, .away_ms = 200, .lag_ms = 60, .sip = 300 },
    { .name = "slow5", .version = MQTT_50, .filters = { F_LOAD2, F_BULK }, .begins_with = 1, .qos_min = 1,
      .stay_ms = 3000, .away_ms = 100, .lag_ms = 60, .receive_max = 5, .sip = 300, .change_ms = 4000 },
    { .name = "old", .version = MQTT_31, .filters = { F_LOAD_W0, F_LOAD_W1 }, .begins_with = 2, .stay_ms = 1000,
      .away_ms = 500, .lag_ms = 4 },
    { .name = "changer", .version = MQTT_311, .filters = { F_LOAD2, F_LOAD_W1, F_LOAD, F_KEPT, F_ANY_1_2 },
      .begins_with = 2, .stay_ms = 2000, .away_ms = 200, .lag_ms = 2, .change_ms = 250 },
    { .name = "changer5", .version = MQTT_50, .filters = { F_LOAD1, F_LOAD_W0, F_LOAD, F_KEPT, F_ANY_1_2, F_KEPT_W1 },
      .begins_with = 3, .stay_ms = 2000, .away_ms = 200, .lag_ms = 2, .receive_max = 10, .aliases = 5,
      .change_ms = 250 },
    { .name = "passing", .version = MQTT_50, .mode = CLEAN, .filters = { F_KEPT, F_KEPT_W1, F_LOAD_W1, F_LOAD },
      .begins_with = 2, .stay_ms = 1500, .away_ms = 500, .change_ms = 200, .quick = true, .aliases = 3 },
    { .name = "passing3", .version = MQTT_311, .mode = CLEAN, .filters = { F_LOAD0, F_KEPT }, .begins_with = 2,
      .stay_ms = 3000, .away_ms = 300, .quick = true },
    { .name = "expiring", .version = MQTT_50, .mode = EXPIRES, .expiry_s = 4, .filters = { F_LOAD_W1, F_FADE },
      .begins_with = 2, .stay_ms = 1000, .away_ms = 4000 },
    { .name = "visitor", .version = MQTT_311, .mode = VISITS, .filters = { F_LOAD_W0 }, .begins_with = 1,
      .stay_ms = 300, .away_ms = 300 },
    { .name = "visitor5", .version = MQTT_50, .mode = VISITS, .filters = { F_LOAD_W1, F_KEPT }, .begins_with = 1,
      .stay_ms = 300, .away_ms = 300 },
    { .name = "sleeper", .version = MQTT_311, .filters = { F_RARE }, .begins_with = 1, .qos_min = 1, .stay_ms = 3000,
      .away_ms = 1000, .sleep_ms = 90000 },
    { .name = "deaf", .version = MQTT_50, .mode = CLEAN, .filters = { F_LOAD0, F_BULK }, .begins_with = 2,
      .stay_ms = 8000, .away_ms = 200, .deaf_ms = 6000 },
    { .name = "bulky", .version = MQTT_311, .filters = { F_BULK, F_FADE }, .begins_with = 2, .qos_min = 1,
      .stay_ms = 1500, .away_ms = 1500 },
    { .name = "fading", .version = MQTT_50, .filters = { F_FADE }, .begins_with = 1, .qos_min = 1, .stay_ms = 1000,
      .away_ms = 2500 },
    { .name = "glutton", .version = MQTT_311, .filters = { F_FLOOD }, .begins_with = 1, .qos_min = 1, .stay_ms = 3000,
      .away_ms = 1000, .deaf_ms = 20000, .sleep_ms = 90000, .limited = true },
    { .name = "team-a1", .version = MQTT_311, .filters = { F_TEAM_A }, .begins_with = 1, .qos_min = 1, .group = 1,
      .stay_ms = 4000, .away_ms = 100 },
    { .name = "team-a2", .version = MQTT_50, .mode = CLEAN, .filters = { F_TEAM_A }, .begins_with = 1, .qos_min = 1,
      .group = 1, .stay_ms = 500, .away_ms = 300, .receive_max = 3, .lag_ms = 10 },
    { .name = "team-b", .version = MQTT_50, .filters = { F_TEAM_B }, .begins_with = 1, .qos_min = 2, .group = 2,
      .stay_ms = 600, .away_ms = 300, .receive_max = 3, .lag_ms = 10 },
};

static unsigned filter_of(const struct subscriber *r, unsigned k)
{
    return r->plan->filters[k] - 1u;
}

/* Every filter is to be asked for again, or was not wanted any more. */
static void states_after_session(struct subscriber *r, enum filter_state unwanted)
{
    for (unsigned k = 0; k < PLAN_FILTERS; k++)
        if (r->state[k] == IN || r->state[k] == JOINING)
            r->state[k] = WANT_IN;
        else if (r->state[k] == WANT_OUT || r->state[k] == LEAVING)
            r->state[k] = unwanted;
}

static void session_over(struct subscriber *r)
{
    bool was_in = r->state[0] == IN;

    subs_left_all(&r->subs);
    states_after_session(r, OUT);
    if (r->plan->group == 0)
        model_void(r->index);
    else if (was_in)
        reader_left_group(r);
    kept_void(r->index, false);
    memset(r->ids, 0, 65536 * sizeof *r->ids);
}

/* ---- requests ---- */

static void subscribe(struct subscriber *r)
{
    struct subscription subs[OP_MAX];
    uint8_t raw[8];
    struct writer props = wr_make(raw, sizeof raw), w;
    uint32_t id = r->l.version == MQTT_50 && chance(2) ? 1 + rnd(1000) : 0;
    struct view block;

    if (id != 0)
        props_write_num(&props, PROP_SUBSCRIPTION_ID, id);
    block = (struct view){ raw, (size_t)(props.p - raw) };
    for (unsigned i = 0; i < r->op_count; i++) {
        const char *text = filters[filter_of(r, r->op[i])];
        struct sub s = { .filter = (uint8_t)filter_of(r, r->op[i]), .id = id };

        s.qos = (uint8_t)(r->plan->qos_min + rnd(3u - r->plan->qos_min));
        if (r->l.version == MQTT_50) {
            s.retain_handling = chance(3) ? (uint8_t)rnd(3) : 0;
            s.retain_as_published = chance(3);
        }
        subs[i] = (struct subscription){
            .filter = { (const uint8_t *)text, strlen(text) }, .qos = s.qos,
            .retain_as_published = s.retain_as_published, .retain_handling = s.retain_handling,
        };
        r->op_qos[i] = s.qos;
        subs_ask(&r->subs, &s);
        r->state[r->op[i]] = JOINING;
        if (s.retain_handling == 0 && r->plan->group == 0)
            kept_owe(r->index, s.filter, s.qos == 0 || !r->l.lasting);
        note(r->l.id, "SUBSCRIBE %s qos=%u rap=%d rh=%u id=%u pid=%u", text, s.qos, s.retain_as_published,
             s.retain_handling, id, r->op_pid);
    }
    w = link_stage(&r->l, subscribe_size(r->l.version, subs, r->op_count, block));
    subscribe_encode(r->l.version, r->op_pid, subs, r->op_count, block, &w);
}

static void unsubscribe(struct subscriber *r)
{
    struct view v[OP_MAX];
    struct writer w;

    for (unsigned i = 0; i < r->op_count; i++) {
        unsigned filter = filter_of(r, r->op[i]);

        v[i] = (struct view){ (const uint8_t *)filters[filter], strlen(filters[filter]) };
        subs_leave(&r->subs, filter);
        r->state[r->op[i]] = LEAVING;
        kept_void_filter(r->index, filter);
        if (r->plan->group == 0)
            model_void_filter(r->index, filter);
        note(r->l.id, "UNSUBSCRIBE %s pid=%u", filters[filter], r->op_pid);
    }
    w = link_stage(&r->l, unsubscribe_size(r->l.version, v, r->op_count));
    unsubscribe_encode(r->l.version, r->op_pid, v, r->op_count, &w);
}

/* One request at a time, for some of what is wanted. */
static void next_request(struct subscriber *r)
{
    enum filter_state want = chance(2) ? WANT_IN : WANT_OUT;

    for (unsigned k = 0; k < PLAN_FILTERS && r->op_count < OP_MAX; k++)
        if (r->state[k] == want)
            r->op[r->op_count++] = k;
    if (r->op_count == 0)
        return;
    r->op_leaves = want == WANT_OUT;
    r->op_pid = (uint16_t)(1 + rnd(65535));
    if (r->op_leaves)
        unsubscribe(r);
    else
        subscribe(r);
}

void reader_suback(struct subscriber *r, struct frame f)
{
    struct suback a;
    const char *what = packet_name(frame_type(f.head));
    enum reason e = suback_decode(f.head, f.body, r->l.version, &a);
    bool in = frame_type(f.head) == PKT_SUBACK;

    note(r->l.id, "%s pid=%u", what, e == R_OK ? a.packet_id : 0);
    if (e != R_OK || r->op_count == 0 || a.packet_id != r->op_pid || in == r->op_leaves ||
        ((in || r->l.version == MQTT_50) && a.codes.len != r->op_count))
        fail_about(r->l.id, NULL, "%s: %s that was not asked for", r->l.id, what);
    for (unsigned i = 0; i < r->op_count; i++) {
        unsigned code = i < a.codes.len ? a.codes.p[i] : R_OK;

        /* The first of two UNSUBSCRIBEs may have been heard without its answer reaching us. */
        if (in ? code != r->op_qos[i] : code != R_OK && code != R_NO_SUBSCRIPTION_EXISTED)
            fail_about(r->l.id, NULL, "%s: %s says 0x%02X", r->l.id, what, code);
        r->state[r->op[i]] = in ? IN : OUT;
        if (in)
            subs_granted(&r->subs, filter_of(r, r->op[i]));
        else
            subs_left(&r->subs, filter_of(r, r->op[i]));
    }
    r->op_count = 0;
    link_promised(&r->l);
}

/* ---- connections ---- */

void reader_up(struct subscriber *r)
{
    note(r->l.id, "CONNACK present=%d", r->l.present);
    totals.connects++;
    r->up_since = model_tick();
    for (unsigned i = 0; i < STREAMS; i++) {
        memset(streams[i].next_dup[r->index], 0, sizeof streams[i].next_dup[0]);
        memset(streams[i].next_here[r->index], 0, sizeof streams[i].next_here[0]);
    }
    if (!r->l.present) {
        session_over(r);
        reader_left_group(r);       /* what came before the broker took the session away could go to it still */
    }
    r->until_ms = now_ms() + 1 + rnd(2 * r->plan->stay_ms);
    r->change_ms = now_ms() + rnd(2 * r->plan->change_ms + 1);
}

void reader_notice(struct subscriber *r)
{
    if (!r->was_up || r->l.fd >= 0)
        return;
    note(r->l.id, "connection gone, session %s", r->l.lasting ? "stays" : "ends");
    r->was_up = false;
    r->gone_ms = now_ms();
    r->held.n = 0;
    r->deaf_ms = 0;
    memset(r->aliases, 0, sizeof r->aliases);
    for (unsigned i = 0; i < r->op_count; i++) {
        kept_void_filter(r->index, filter_of(r, r->op[i]));
        r->state[r->op[i]] = r->op_leaves ? WANT_OUT : WANT_IN;
    }
    r->op_count = 0;
    model_void_fragile(r->index);
    kept_void(r->index, true);
    if (!r->l.lasting)
        session_over(r);
}

/* What must the broker say about a session that ends some time after its connection? */
static void consider_expiry(struct subscriber *r)
{
    uint64_t now = now_ms(), started = broker_started_ms(), after_ms = r->plan->expiry_s * 1000;
    uint64_t latest = (r->gone_ms > started ? r->gone_ms : started) + after_ms + SESSION_SLACK_MS;

    if (r->plan->mode != EXPIRES || r->l.session == SESSION_GONE || r->gone_ms == 0)
        return;
    if (now > latest)
        r->l.session = SESSION_GONE;
    else if (now + SESSION_SLACK_MS / 4 > r->gone_ms + after_ms)
        r->l.session = SESSION_PERHAPS;
}

static void hello(struct subscriber *r, uint16_t port, bool clean, bool lasting)
{
    uint8_t raw[32];
    struct writer props = wr_make(raw, sizeof raw);
    struct connect c = { .clean_start = clean, .keepalive_s = (uint16_t)(chance(2) ? 0 : 60 + rnd(60)) };

    if (r->l.version == MQTT_50) {
        if (lasting)
            props_write_num(&props, PROP_SESSION_EXPIRY, r->plan->mode == EXPIRES ? r->plan->expiry_s : UINT32_MAX);
        if (r->plan->receive_max > 0)
            props_write_num(&props, PROP_RECEIVE_MAXIMUM, r->plan->receive_max);
        if (r->plan->aliases > 0)
            props_write_num(&props, PROP_TOPIC_ALIAS_MAX, r->plan->aliases);
    }
    c.props.raw = (struct view){ raw, (size_t)(props.p - raw) };
    link_hello(&r->l, port, &c, lasting);
    r->was_up = r->l.fd >= 0;
}

static void come(struct subscriber *r, uint16_t port, bool load)
{
    enum mode mode = r->plan->mode;
    bool clean = mode == CLEAN || (mode == VISITS && load && chance(2));
    bool lasting = mode != CLEAN && (!clean || (r->l.version == MQTT_50 && chance(2)));

    r->asleep = false;
    consider_expiry(r);
    if (clean) {
        subs_leave_all(&r->subs);
        states_after_session(r, WANT_OUT);
        model_void(r->index);
        kept_void(r->index, false);
    }
    note(r->l.id, "CONNECT clean=%d lasting=%d", clean, lasting);
    hello(r, port, clean, lasting);
}

void reader_offline(struct subscriber *r, uint16_t port, bool load, bool wake)
{
    bool due = now_ms() >= r->l.next_ms;

    if (port == 0 || (r->asleep && !wake && !(load && due)))
        return;
    /* In a calm those who are away are called back. */
    if (due || (!load && r->l.next_ms > now_ms() + 40))
        come(r, port, load);
}

static void go(struct subscriber *r, uint16_t port)
{
    unsigned how = rnd(6);

    note(r->l.id, "leaves, way %u", how);
    if (how == 0) {
        totals.takeovers++;
        ghost_take(&r->l);
        reader_notice(r);
        come(r, port, true);
        return;
    }
    if (how <= 2) {
        link_leave(&r->l, true);
    } else {
        totals.cuts++;
        link_cut(&r->l, rnd((uint32_t)r->l.out.len + 1), how == 3);
    }
    reader_notice(r);
    r->asleep = r->plan->sleep_ms > 0 && chance(2);
    r->l.next_ms = now_ms() + rnd(r->asleep ? r->plan->sleep_ms : 2 * r->plan->away_ms);
    if (r->asleep)
        note(r->l.id, "sleeps");
}

static void change(struct subscriber *r)
{
    unsigned k = rnd(PLAN_FILTERS);

    r->change_ms = now_ms() + rnd(2 * r->plan->change_ms);
    if (r->plan->filters[k] == 0)
        return;
    if (r->state[k] == OUT)
        r->state[k] = WANT_IN;
    else if (r->state[k] == IN)
        r->state[k] = chance(2) ? WANT_IN : WANT_OUT;
}

void reader_online(struct subscriber *r, uint16_t port, bool load)
{
    if (load && r->plan->change_ms > 0 && now_ms() >= r->change_ms)
        change(r);
    if (r->op_count == 0 && r->subs.n < SUBS_MAX - OP_MAX)
        next_request(r);
    if (load && r->plan->stay_ms > 0 && now_ms() >= r->until_ms && port != 0)
        go(r, port);
}
