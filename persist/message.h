/* Columns that queued and retained messages have in common.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_PERSIST_MESSAGE_H
#define CADDIS_PERSIST_MESSAGE_H

#include "persist/stmt.h"

/* Reads the eight columns of MESSAGE_COLUMNS (or RETAINED_COLUMNS), the first of the row. Neither payload nor id. */
void message_read(struct row *r, struct persist_message *m);

#endif
