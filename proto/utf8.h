/* UTF-8 as MQTT wants it: well-formed (no surrogates, no overlong forms, nothing above
 * U+10FFFF) [MQTT311-1.5.3-1], [MQTT5-1.5.4-1] and without U+0000 [MQTT311-1.5.3-2], [MQTT5-1.5.4-2].
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_PROTO_UTF8_H
#define CADDIS_PROTO_UTF8_H

#include "proto/reader.h"

bool utf8_valid(struct view v);
/* The same for payloads with Payload Format 1: any Unicode text, U+0000 too [MQTT5-3.3.2.3.2]. */
bool utf8_wellformed(struct view v);

#endif
