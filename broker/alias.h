/* Topic aliases of MQTT 5.0, one table a direction and connection [MQTT5-3.3.2.3.4]. Allocated on first use.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_ALIAS_H
#define CADDIS_BROKER_ALIAS_H

#include "broker/mem.h"
#include "proto/reader.h"

struct alias_in;
struct alias_out;

/* Client to broker. The largest alias there is room for; 0: the client has used none yet. */
uint16_t alias_in_max(const struct alias_in *t);
/* alias <= max or alias_in_max(): a larger one makes room for max of them. false: no memory. */
bool alias_in_set(struct alias_in **t, uint16_t max, uint16_t alias, struct view topic);
/* Empty view: never set. Valid until the alias is set again. */
struct view alias_in_get(const struct alias_in *t, uint16_t alias);
void alias_in_free(struct alias_in **t);

/* Broker to client. Looks the topic up and counts its use. Returns 0: send it in full, without an alias; otherwise the
 * alias, *known telling whether the client has it already (then the topic may be left out). A topic earns an alias by
 * being used more often than the one that holds it. max: the client's Topic Alias Maximum, limited by our own. */
uint16_t alias_out_use(struct alias_out **t, uint16_t max, struct view topic, bool *known);
void alias_out_free(struct alias_out **t);

#endif
