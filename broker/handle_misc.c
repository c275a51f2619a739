/* PINGREQ and DISCONNECT.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/handle.h"

enum reason handle_pingreq(struct broker *b, struct conn *c, const struct frame *f)
{
    enum reason r = ping_decode(f->head, f->body);
    uint8_t *p = r == R_OK ? conn_room(b, c, 2) : NULL;
    struct writer w;

    if (p == NULL)
        return r;
    w = wr_make(p, 2);
    ping_encode(PKT_PINGRESP, &w);          /* [MQTT-3.12.4-1] */
    METRIC(b, MESSAGES_SENT)++;
    return R_OK;
}

enum reason handle_disconnect(struct broker *b, struct conn *c, const struct frame *f)
{
    struct disconnect p;
    enum reason r = disconnect_decode(f->head, f->body, (enum version)c->version, true, &p);
    struct session *s = c->session;

    if (r != R_OK)
        return r;
    if (s != NULL && c->version == MQTT_50 && props_has(&p.props, PROP_SESSION_EXPIRY)) {
        uint32_t expiry_s = props_num(&p.props, PROP_SESSION_EXPIRY, 0);

        if (s->expiry_s == 0 && expiry_s != 0)      /* [MQTT5-3.14.2-2] */
            return R_PROTOCOL_ERROR;
        s->expiry_s = expiry_s;
    }
    c->disconnect_reason = (uint8_t)p.reason;
    c->clean_end = p.reason == R_OK;                /* [MQTT311-3.14.4-3], [MQTT5-3.14.4-3] */
    conn_close(b, c, CLOSE_DISCONNECT);
    return R_OK;
}
