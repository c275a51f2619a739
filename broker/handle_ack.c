/* PUBACK, PUBREC, PUBREL, PUBCOMP.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/handle.h"

/* The client has the message [MQTT-4.3.2-1], [MQTT5-4.3.2-2]; the same for its last word on QoS 2. An identifier that is
 * not in use is nobody's fault after a reconnect. */
static enum reason on_puback(struct broker *b, struct conn *c, uint16_t pid)
{
    struct delivery *d = session_inflight(c->session, pid);

    if (d == NULL || !d->flying)
        return R_OK;
    if (d->qos != 1)
        return R_PROTOCOL_ERROR;
    delivery_done(b, d);
    return R_OK;
}

static enum reason on_pubcomp(struct broker *b, struct conn *c, uint16_t pid)
{
    struct delivery *d = session_inflight(c->session, pid);

    if (d == NULL || !d->flying)
        return R_OK;
    if (d->qos != 2)
        return R_PROTOCOL_ERROR;
    if (d->state == RELEASED)               /* before PUBREC it means nothing */
        delivery_done(b, d);
    return R_OK;
}

/* The id is freed at PUBCOMP, not here: a PUBREL resent after a reconnect would otherwise complete whichever message
 * took the id in between. PUBREL leaves when the released state is stored [MQTT-4.3.3-1], [MQTT5-4.3.3-4]. */
static enum reason on_pubrec(struct broker *b, struct conn *c, const struct ack *a)
{
    struct delivery *d = session_inflight(c->session, a->packet_id);

    /* What was in flight is going to be sent again under its id: PUBREL answers that PUBREC. No PUBLISH may follow a
     * PUBREL. [MQTT311-4.3.3-1], [MQTT5-4.3.3-6] */
    if ((d != NULL && !d->flying) || (d == NULL && c->session->parked > 0))
        return R_OK;
    if (d == NULL) {
        conn_ack(b, c, PKT_PUBREL, a->packet_id, c->version == MQTT_50 ? R_PACKET_ID_NOT_FOUND : R_OK, 0, NULL);
        return R_OK;
    }
    if (d->qos != 2)
        return R_PROTOCOL_ERROR;
    if (a->reason >= R_UNSPECIFIED) {       /* it will not have it [MQTT5-4.3.3-3] */
        delivery_done(b, d);
        return R_OK;
    }
    if (d->state == SENT) {
        d->state = RELEASED;
        journal_delivery_changed(b, d);
        session_promise(b, d->s);
    }
    conn_ack(b, c, PKT_PUBREL, a->packet_id, R_OK, d->s->promise_seq, NULL);
    return R_OK;
}

/* The publisher's PUBREL: from here on the id may carry another message [MQTT-4.3.3-2], [MQTT5-4.3.3-11]. */
static enum reason on_pubrel(struct broker *b, struct conn *c, uint16_t pid)
{
    struct session *s = c->session;
    enum reason reason = R_OK;

    if (idset_remove(&s->flow->inbound, pid)) {
        journal_inbound_del(b, s, pid);
        session_promise(b, s);
    } else if (c->version == MQTT_50) {
        reason = R_PACKET_ID_NOT_FOUND;
    }
    conn_ack(b, c, PKT_PUBCOMP, pid, reason, s->promise_seq, NULL);
    return R_OK;
}

enum reason handle_ack(struct broker *b, struct conn *c, const struct frame *f)
{
    struct ack a;
    enum reason r = ack_decode(f->head, f->body, (enum version)c->version, &a);

    if (r != R_OK)
        return r;
    switch (frame_type(f->head)) {
    case PKT_PUBACK: return on_puback(b, c, a.packet_id);
    case PKT_PUBREC: return on_pubrec(b, c, &a);
    case PKT_PUBREL: return on_pubrel(b, c, a.packet_id);
    default: return on_pubcomp(b, c, a.packet_id);
    }
}
