/* Dispatch: which packet, in which state, to which function; and what an error does.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/handle.h"

static enum reason (*const handlers[16])(struct broker *, struct conn *, const struct frame *) = {
    [PKT_CONNECT] = handle_connect,         [PKT_PUBLISH] = handle_publish,
    [PKT_PUBACK] = handle_ack,              [PKT_PUBREC] = handle_ack,
    [PKT_PUBREL] = handle_ack,              [PKT_PUBCOMP] = handle_ack,
    [PKT_SUBSCRIBE] = handle_subscribe,     [PKT_UNSUBSCRIBE] = handle_unsubscribe,
    [PKT_PINGREQ] = handle_pingreq,         [PKT_DISCONNECT] = handle_disconnect,
    [PKT_AUTH] = handle_auth,
};

enum close_reason close_for(enum reason r)
{
    switch (r) {
    case R_MALFORMED: return CLOSE_MALFORMED;
    case R_PACKET_TOO_LARGE: return CLOSE_TOO_LARGE;
    case R_RECEIVE_MAX_EXCEEDED: return CLOSE_RECEIVE_MAX;
    case R_TOPIC_ALIAS_INVALID: return CLOSE_TOPIC_ALIAS;
    case R_TOPIC_INVALID: return CLOSE_TOPIC_INVALID;
    case R_PAYLOAD_FORMAT_INVALID: return CLOSE_PAYLOAD_FORMAT;
    case R_QOS_NOT_SUPPORTED: return CLOSE_QOS;
    case R_RETAIN_NOT_SUPPORTED: return CLOSE_RETAIN;
    case R_NOT_AUTHORIZED: return CLOSE_NOT_AUTHORIZED;
    case R_BAD_AUTH_METHOD: return CLOSE_AUTH_METHOD;
    case R_QUOTA_EXCEEDED: return CLOSE_QUOTA;
    case R_UNSPECIFIED: return CLOSE_NO_MEMORY;
    default: return CLOSE_PROTOCOL_ERROR;
    }
}

/* CONNECT comes first, and once [MQTT-3.1.0-1], [MQTT-3.1.0-2]. */
static bool in_order(const struct conn *c, unsigned type)
{
    switch (c->state) {
    case CONN_NEW: return type == PKT_CONNECT;
    case CONN_AUTHENTICATING: return type == PKT_AUTH || type == PKT_DISCONNECT;
    default: return type != PKT_CONNECT;
    }
}

void handle_packet(struct broker *b, struct conn *c, const struct frame *f)
{
    unsigned type = frame_type(f->head);
    enum reason r;

    c->last_rx_ms = (uint32_t)b->now_ms;
    METRIC(b, MESSAGES_RECEIVED)++;
    log_debug("received packet=%s bytes=%zu id=%s peer=%s", packet_name(type), f->need, conn_name(c), c->peer);
    if (!in_order(c, type)) {
        METRIC(b, PROTOCOL_ERRORS)++;
        conn_close(b, c, c->state == CONN_NEW ? CLOSE_NOT_MQTT : CLOSE_PROTOCOL_ERROR);
        return;
    }
    r = handlers[type] != NULL ? handlers[type](b, c, f) : R_PROTOCOL_ERROR;
    if (r == R_OK || conn_closing(c))
        return;
    METRIC(b, PROTOCOL_ERRORS)++;
    conn_close_text(b, c, close_for(r), packet_name(type));
}
