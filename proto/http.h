/* The request that opens a WebSocket (RFC 6455, section 4.2.1), and nothing else of HTTP.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_PROTO_HTTP_H
#define CADDIS_PROTO_HTTP_H

#include "proto/reader.h"

/* Longer ones are refused. Browsers send the cookies of the whole host along. */
enum { HTTP_HEAD_MAX = 8192 };

/* Parts of the head. */
struct http_upgrade {
    struct view key;            /* Sec-WebSocket-Key: 24 characters of base64 */
    struct view origin;         /* p NULL: none */
    const char *protocol;       /* the first in the client's list that we speak: "mqtt" or "mqttv3.1" */
};

/* Bytes of the head at the beginning of in, its empty line included; 0: its end has not come. `from`: so many were
 * looked at before. */
size_t http_head_len(struct view in, size_t from);
/* head: a whole one. 101: it can be opened; 400, 405 or 426: the status to answer with, and *why in words. */
int http_upgrade(struct view head, struct http_upgrade *u, const char **why);

/* "Bad Request" for 400; of those statuses that a WebSocket listener answers with. */
const char *http_status_text(int status);

#endif
