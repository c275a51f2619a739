/* Will messages.
 * A will of a durable session has a row in the store from CONNECT on: if the broker dies with the client connected, the
 * will is published at the next start [MQTT-3.1.2-8].
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/will.h"

#include "broker/auth.h"
#include "broker/route.h"

static void forget(struct session *s)
{
    timer_disarm(&s->will->timer);
    msg_unref(&s->will->msg);
    mem_free(MEM_SESSION, s->will);
    s->will = NULL;
}

static void publish(struct broker *b, struct session *s)
{
    struct will *w = s->will;
    struct incoming in = incoming_from(w->msg);
    unsigned recipients;
    bool ok;

    if (w->has_expiry) {
        in.expires_ms = b->now_ms + (uint64_t)w->expiry_s * 1000;
        incoming_done(&in);                 /* a message is immutable: a copy with its end */
    }
    in.received_ms = (int64_t)b->now_ms;
    in.origin = s;
    in.moved = s->durable;                  /* the commit that takes the will out of the store holds what came of it */
    if (auth_allowed(b, s, ACCESS_WRITE, in.topic)) {
        log_debug("will published id=%s topic=%s", log_q(s->ident->data, s->ident->id_len),
                  log_q(in.topic.p, in.topic.len));
        route_publish(b, &in, &recipients, &ok);
        if (!ok)
            log_error("out of memory: a will did not reach everybody id=%s", log_q(s->ident->data, s->ident->id_len));
    }
    incoming_done(&in);
}

static void due(struct timer *t, void *arg)
{
    will_trigger(arg, LIST_ENTRY(t, struct will, timer)->s, true);
}

static struct will *will_new(struct session *s, struct msg *m)
{
    struct will *w = m != NULL ? mem_zero(MEM_SESSION, sizeof *w) : NULL;

    if (w == NULL) {
        msg_unref(&m);
        return NULL;
    }
    w->msg = m;
    w->s = s;
    timer_init(&w->timer, due);
    s->will = w;
    return w;
}

bool will_set(struct broker *b, struct session *s, const struct connect *p, struct view topic)
{
    struct incoming in = {
        .topic = topic, .payload = p->will_payload, .qos = p->will_qos, .retain = p->will_retain,
        .received_ms = (int64_t)b->now_ms, .from = s->ident,
    };
    size_t props_len = p->version == MQTT_50 ? props_forward_size(&p->will_props) : 0;
    uint8_t *props = NULL;
    struct will *w;

    will_drop(b, s);
    if (!p->has_will)
        return true;
    if (props_len > 0) {
        struct writer out;

        props = mem_alloc(MEM_OTHER, props_len);
        if (props == NULL)
            return false;
        out = wr_make(props, props_len);
        props_forward(&p->will_props, &out);
        in.props = (struct view){ props, props_len };
    }
    w = will_new(s, msg_new(&in));
    mem_free(MEM_OTHER, props);
    if (w == NULL)
        return false;
    if (p->version == MQTT_50) {
        w->delay_s = props_num(&p->will_props, PROP_WILL_DELAY, 0);
        w->has_expiry = props_has(&p->will_props, PROP_MESSAGE_EXPIRY);
        w->expiry_s = props_num(&p->will_props, PROP_MESSAGE_EXPIRY, 0);
    }
    journal_will_put(b, s, w);
    return true;
}

void will_trigger(struct broker *b, struct session *s, bool session_ends)
{
    struct will *w = s->will;

    if (w == NULL)
        return;
    if (w->delay_s > 0 && !session_ends) {
        timer_arm(&b->wheel, &w->timer, b->now_ms + (uint64_t)w->delay_s * 1000);
        journal_will_put(b, s, w);
        return;
    }
    publish(b, s);
    will_drop(b, s);
}

void will_drop(struct broker *b, struct session *s)
{
    if (s->will == NULL)
        return;
    forget(s);
    journal_will_del(b, s);
}

bool will_restore(struct broker *b, struct session *s, struct msg *m, uint32_t delay_s, uint32_t expiry_s,
                  bool has_expiry, uint64_t due_ms)
{
    struct will *w = will_new(s, m);

    if (w == NULL)
        return false;
    w->delay_s = delay_s;
    w->expiry_s = expiry_s;
    w->has_expiry = has_expiry;
    s->will_row = true;
    timer_arm(&b->wheel, &w->timer, due_ms);
    return true;
}
