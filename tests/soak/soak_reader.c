/* Readers: clients that subscribe, each with habits of its own. At QoS 2 a packet id is held from its PUBLISH to its
 * PUBREL, across connections, so that a resend is known as one.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/soak/soak_reader.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { EXPIRY_SLACK_MS = 2500, CALM_SIP = 65536 };

static struct subscriber readers[READERS];

/* ---- who they are ---- */

const char *reader_name(unsigned party)
{
    static const char *const groups[GROUPS] = { "group a", "group b" };

    return party < READERS ? readers[party].l.id : groups[party - READERS];
}

struct subs *reader_subs(unsigned i)
{
    return &readers[i].subs;
}

int reader_group(unsigned i)
{
    return (int)readers[i].plan->group - 1;
}

bool reader_quick(unsigned i)
{
    const struct subscriber *r = &readers[i];

    return r->plan->quick && r->l.up && r->deaf_ms == 0;
}

bool reader_limited(unsigned i)
{
    return readers[i].plan->limited;
}

bool reader_asleep(unsigned i)
{
    return readers[i].asleep;
}

bool readers_any_asleep(void)
{
    for (unsigned i = 0; i < READERS; i++)
        if (readers[i].asleep)
            return true;
    return false;
}

void readers_listen(void)
{
    for (unsigned i = 0; i < READERS; i++)
        readers[i].deaf_ms = 0;
}

bool reader_durable(unsigned i)
{
    return readers[i].plan->mode == STAYS;
}

static unsigned party_of(const struct subscriber *r)
{
    return r->plan->group > 0 ? READERS + r->plan->group - 1u : r->index;
}

/* ---- acknowledgements ---- */

static void acknowledge(struct subscriber *r, enum packet type, uint16_t pid)
{
    link_hold(&r->l, &r->held, type, pid);
    if (r->plan->lag_ms == 0)
        link_release(&r->l, &r->held, r->held.n);
}

/* ---- messages ---- */

static void wrong(const struct subscriber *r, unsigned stream, uint32_t number, const struct publish *p,
                  const char *why)
{
    note_subject(stream, number);
    fail_about(r->l.id, streams[stream].writer, "%s: message %s %" PRIu32 " (QoS %u%s%s) came %s", r->l.id,
               streams[stream].topic, number, p->qos, p->dup ? ", DUP" : "", p->retain ? ", RETAIN" : "", why);
}

/* Empty: not known. */
static struct view resolve(struct subscriber *r, const struct publish *p)
{
    uint32_t alias = props_num(&p->props, PROP_TOPIC_ALIAS, 0);
    struct alias *a = alias <= r->plan->aliases ? &r->aliases[alias] : NULL;

    if (alias == 0)
        return p->topic;
    if (a == NULL || (p->topic.len == 0 && a->len == 0) || p->topic.len > sizeof a->topic)
        fail_about(r->l.id, NULL, "%s: topic alias %" PRIu32 " was never set, or is above the maximum", r->l.id, alias);
    if (p->topic.len > 0) {
        memcpy(a->topic, p->topic.p, p->topic.len);
        a->len = p->topic.len;
    }
    return (struct view){ a->topic, a->len };
}

/* true: this is news. */
static bool hold_id(struct subscriber *r, const struct publish *p, unsigned stream, uint32_t number)
{
    struct held_id *h = &r->ids[p->packet_id];

    if (!h->used) {
        *h = (struct held_id){ true, (uint8_t)stream, number };
        return true;
    }
    if (h->stream != stream || (h->number != number && p->payload.len > 0))
        wrong(r, stream, number, p, "with a packet id that still belongs to another message");
    if (!p->dup)
        wrong(r, stream, number, p, "again without DUP");
    return false;
}

/* M2 for a message that has come before. */
static void check_again(const struct subscriber *r, unsigned stream, uint32_t number, const struct publish *p)
{
    const struct message *m = model_message(stream, number);
    bool sent_again = m->last_sent != m->first_sent || m->again;

    totals.again++;
    if (r->plan->group > 0 && m->due[party_of(r)].at_qos1 && groups_left[r->plan->group - 1] > m->first_sent)
        return;
    if (p->qos == 2 && streams[stream].kind->qos == 2 && !(sent_again && m->due[party_of(r)].loosely))
        wrong(r, stream, number, p, "more than once");
    if (!sent_again && !p->dup)
        wrong(r, stream, number, p, "more than once without DUP, and its writer has sent it once");
}

/* M3. */
static void check_order(const struct subscriber *r, unsigned stream, uint32_t number, const struct publish *p,
                        bool first)
{
    struct stream *s = &streams[stream];
    const struct message *m = model_message(stream, number);
    bool sent_again = m->last_sent != m->first_sent || m->again;
    uint32_t *next = &s->next_new[r->index][p->qos];

    if (r->plan->group > 0)
        return;
    if (first && number < *next && !(sent_again && !m->due[r->index].must))
        wrong(r, stream, number, p, "after a later one");
    if (first && number >= *next)
        *next = number + 1;
    if (!p->dup || sent_again)
        return;
    next = &s->next_dup[r->index][p->qos];
    if (number < *next)
        wrong(r, stream, number, p, "again after a later one was resent");
    *next = number + 1;
}

static void check_expiry(const struct subscriber *r, unsigned stream, uint32_t number, const struct publish *p)
{
    const struct message *m = model_message(stream, number);
    uint64_t age_ms = now_ms() - m->last_ms;
    uint32_t left = props_num(&p->props, PROP_MESSAGE_EXPIRY, 0);
    bool slow = r->plan->sip > 0 || r->plan->deaf_ms > 0;

    if (m->expiry_s == 0 && props_has(&p->props, PROP_MESSAGE_EXPIRY))
        wrong(r, stream, number, p, "with an expiry that nobody gave it");
    if (m->expiry_s == 0)
        return;
    if (!p->dup && !slow && age_ms > m->expiry_s * 1000 + EXPIRY_SLACK_MS)
        wrong(r, stream, number, p, "after it had expired");
    if (r->l.version == MQTT_50 && (!props_has(&p->props, PROP_MESSAGE_EXPIRY) || left > m->expiry_s ||
                                    left + 2 + (now_ms() - m->first_ms) / 1000 < m->expiry_s))
        wrong(r, stream, number, p, "with the wrong time left to its expiry");
}

static void take(struct subscriber *r, unsigned stream, uint32_t number, const struct publish *p)
{
    struct message *m = model_message(stream, number);
    struct due *d = &m->due[party_of(r)];
    bool as_kept;
    const char *why = subs_judge(&r->subs, stream, number, p, r->l.version, d, &as_kept);

    model_tick();
    totals.delivered++;
    note(r->l.id, "got %s %" PRIu32 " qos=%u pid=%u%s%s", streams[stream].topic, number, p->qos, p->packet_id,
         p->dup ? " dup" : "", p->retain ? " retain" : "");
    if (m->forbidden)
        wrong(r, stream, number, p, "though this will was cancelled");
    if (why != NULL)
        wrong(r, stream, number, p, why);
    if (p->dup && !m->removes && m->first_sent > r->up_since)
        wrong(r, stream, number, p, "with DUP set, but was first sent during this connection");
    check_expiry(r, stream, number, p);
    kept_got(r->index, stream, m->removes ? UINT32_MAX : number);
    if (m->removes)
        return;
    if (as_kept && !p->dup && number + 1 < streams[stream].next_here[r->index][p->qos] &&
        m->last_sent == m->first_sent)
        wrong(r, stream, number, p, "because it was retained, behind a later one");
    if (as_kept) {
        /* The first time may have been lost with the connection; DUP is not counted twice. */
        if (d->got_kept < UINT8_MAX && (!p->dup || (d->got == 0 && d->got_kept == 0)))
            d->got_kept++;
        return;
    }
    if (d->got < UINT8_MAX)
        d->got++;
    if (d->got > 1)
        check_again(r, stream, number, p);
    d->at_qos1 |= p->qos == 1;
    d->loosely |= p->qos < 2;
    if (number >= streams[stream].next_here[r->index][p->qos])
        streams[stream].next_here[r->index][p->qos] = number + 1;
    check_order(r, stream, number, p, d->got == 1);
    if (r->plan->eye && stream >= WRITERS * KINDS)
        will_seen(stream, number, p->dup);
}

static void on_publish(struct subscriber *r, struct frame f)
{
    struct publish p;
    unsigned stream;
    uint32_t number;
    enum reason e = publish_decode(f.head, f.body, r->l.version, &p);

    if (e != R_OK)
        fail_about(r->l.id, NULL, "%s: PUBLISH from the broker: %s", r->l.id, reason_text(e));
    model_identify(r->l.id, r->index, r->l.version, resolve(r, &p), &p, &stream, &number);
    if (p.qos < 2 || hold_id(r, &p, stream, number))
        take(r, stream, number, &p);
    if (p.qos > 0)
        acknowledge(r, p.qos == 1 ? PKT_PUBACK : PKT_PUBREC, p.packet_id);
}

static void on_pubrel(struct subscriber *r, struct frame f)
{
    struct ack a;
    enum reason e = ack_decode(f.head, f.body, r->l.version, &a);

    if (e != R_OK)
        fail_about(r->l.id, NULL, "%s: PUBREL from the broker: %s", r->l.id, reason_text(e));
    r->ids[a.packet_id].used = false;
    acknowledge(r, PKT_PUBCOMP, a.packet_id);
}

static void on_packet(struct link *l, struct frame f)
{
    struct subscriber *r = (struct subscriber *)l;

    switch (frame_type(f.head)) {
    case PKT_CONNACK:
        reader_up(r);
        break;
    case PKT_PUBLISH:
        on_publish(r, f);
        break;
    case PKT_PUBREL:
        on_pubrel(r, f);
        break;
    case PKT_SUBACK:
    case PKT_UNSUBACK:
        reader_suback(r, f);
        break;
    case PKT_DISCONNECT: /* 5.0: the broker stops */
        note(l->id, "DISCONNECT from the broker");
        break;
    default:
        fail_about(l->id, NULL, "%s: a reader got %s", l->id, packet_name(frame_type(f.head)));
    }
}

/* ---- all of them ---- */

void readers_init(void)
{
    for (unsigned i = 0; i < READERS; i++) {
        struct subscriber *r = &readers[i];

        r->plan = &reader_plans[i];
        r->index = i;
        link_init(&r->l, r->plan->version, on_packet, "%s", r->plan->name);
        r->l.receive_max = r->plan->receive_max;
        r->ids = calloc(65536, sizeof *r->ids);
        if (r->ids == NULL)
            abort();
        for (unsigned k = 0; k < r->plan->begins_with; k++)
            r->state[k] = WANT_IN;
    }
}

void readers_free(void)
{
    for (unsigned i = 0; i < READERS; i++) {
        link_fini(&readers[i].l);
        free(readers[i].ids);
    }
}

unsigned readers_links(struct link **out)
{
    unsigned n = 0;

    for (unsigned i = 0; i < READERS; i++)
        if (readers[i].deaf_ms == 0)
            out[n++] = &readers[i].l;
    return n;
}

unsigned readers_online(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < READERS; i++)
        n += readers[i].l.fd >= 0;
    return n;
}

static void pace(struct subscriber *r, bool load)
{
    if (r->held.n > 0 && now_ms() >= r->release_ms) {
        link_release(&r->l, &r->held, load ? 1 + rnd(r->held.n) : r->held.n);
        r->release_ms = now_ms() + rnd(r->plan->lag_ms + 1);
    }
    if (r->deaf_ms > 0 && (!load || now_ms() >= r->deaf_ms))
        r->deaf_ms = 0;
    if (load && r->plan->deaf_ms > 0 && r->deaf_ms == 0 && chance(400)) {
        r->deaf_ms = now_ms() + rnd(r->plan->deaf_ms);
        note(r->l.id, "reads nothing for a while");
    }
    r->l.sip = load || r->plan->sip == 0 ? r->plan->sip : CALM_SIP;
}

void readers_act(uint16_t port, bool load, bool wake)
{
    for (unsigned i = 0; i < READERS; i++) {
        struct subscriber *r = &readers[i];

        reader_notice(r);
        if (r->l.fd < 0) {
            reader_offline(r, port, load, wake);
        } else if (r->l.up) {
            pace(r, load);
            reader_online(r, port, load);
        }
        link_write(&r->l);
    }
}

void readers_killed(void)
{
    for (unsigned i = 0; i < READERS; i++) {
        reader_notice(&readers[i]);
        kept_void(i, false);
    }
    /* A member without a lasting session is gone with what it was given. */
    for (unsigned i = 0; i < READERS; i++)
        if (readers[i].plan->group > 0 && readers[i].plan->mode != STAYS)
            model_void(party_of(&readers[i]));
}

bool readers_ready(bool wake)
{
    for (unsigned i = 0; i < READERS; i++) {
        const struct subscriber *r = &readers[i];

        if (r->asleep && !wake)
            continue;
        if (!r->l.up || r->held.n > 0 || r->op_count > 0 || r->deaf_ms > 0)
            return false;
        for (unsigned k = 0; k < PLAN_FILTERS; k++)
            if (r->state[k] != OUT && r->state[k] != IN)
                return false;
    }
    return true;
}

bool readers_behind(void)
{
    static uint64_t look_ms;
    static bool behind;

    if (now_ms() < look_ms)
        return behind;
    look_ms = now_ms() + 100;
    behind = false;
    for (unsigned i = 0; i < PARTIES && !behind; i++)
        behind = !(i < READERS && readers[i].plan->limited) && model_owed(i) > QUEUE_HOLD;
    return behind;
}

/* Its queue overflowed, and the newest went; what fits must have come. */
static void judge_limited(const struct subscriber *r)
{
    unsigned lost, got;

    model_count(r->index, &lost, &got);
    if (lost > 0)
        note(r->l.id, "%u came, %u did not fit into its queue of %u", got, lost, QUEUE_LIMIT);
    if (lost > 0 && got < QUEUE_LIMIT)
        fail_about(r->l.id, NULL, "LOST: %s: %u messages came and %u did not, but its queue holds %u", r->l.id, got,
                   lost, QUEUE_LIMIT);
    totals.dropped += lost;
    model_void(r->index);
}

void readers_judge(bool wake)
{
    for (unsigned i = 0; i < PARTIES; i++) {
        if (i < READERS && readers[i].asleep && !wake)
            continue;
        if (i < READERS && readers[i].plan->limited)
            judge_limited(&readers[i]);
        model_report_missing(i);
        if (i < READERS)
            kept_report(i);
    }
}

unsigned readers_missing(bool wake)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < PARTIES; i++)
        if (i >= READERS || !(readers[i].plan->limited || (readers[i].asleep && !wake)))
            sum += model_missing(i) + (i < READERS ? kept_missing(i) : 0);
    return sum;
}

void readers_prune(uint64_t before)
{
    for (unsigned i = 0; i < READERS; i++)
        if (!readers[i].asleep)
            subs_prune(&readers[i].subs, before);
}

/* ---- groups ---- */

uint64_t groups_left[GROUPS];

void reader_left_group(struct subscriber *r)
{
    bool others = false;
    unsigned group = r->plan->group;

    if (group == 0)
        return;
    groups_left[group - 1] = model_tick();
    for (unsigned i = 0; i < READERS; i++)
        others |= &readers[i] != r && readers[i].plan->group == group && readers[i].state[0] == IN;
    /* At QoS 2 it may have it already, and nobody else gets it [MQTT5-4.8.2-5]. */
    if (others)
        model_void_qos2(READERS + group - 1);
    else
        model_void(READERS + group - 1);
}
