/* [limits] memory_limit: what is refused, and in which order, when memory runs short.
 *
 * Counted is what the broker has allocated (mem.h) and what SQLite has. Each kind of new work has its share of the limit
 * (SHEDS); past it that work is refused with "quota exceeded", or dropped where MQTT has no answer. What goes on in any
 * case: work that gives memory back, clients whose session is there already, and messages for sessions in the store,
 * which wait there and not in memory.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_SHED_H
#define CADDIS_BROKER_SHED_H

#include "broker/broker.h"

/*    name           percent of the limit  text for the log */
#define SHEDS(X)                                                                       \
    X(CLIENTS,       90,  "new clients are refused")                                   \
    X(RETAINED,      93,  "new retained messages are refused")                         \
    X(SUBSCRIPTIONS, 96,  "new subscriptions are refused")                             \
    X(MESSAGES,      100, "what would wait in memory is dropped, connections refused")

enum shed {
#define X(name, percent, text) SHED_##name,
    SHEDS(X)
#undef X
};

/* Is this refused now? If so the log says it now and then, with the client that has the largest part. */
bool shed(struct broker *b, enum shed what);

#endif
