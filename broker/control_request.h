/* Requests at the control socket: one line of words, divided by blanks. A word with blanks, quotes or control
 * characters in it stands in quotes; there \" and \\ are the character itself and \xHH is any byte.
 *
 *     drop-session "living room \"2\""
 *
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_CONTROL_REQUEST_H
#define CADDIS_BROKER_CONTROL_REQUEST_H

#include "proto/reader.h"

enum {
    REQUEST_WORDS = 4,
    REQUEST_MAX = 1 << 18,      /* bytes of a line: the longest client id fits, even with every byte escaped */
};

struct control_request {
    struct view words[REQUEST_WORDS];
    unsigned count;             /* >= 1 */
};

/* Cuts a line (without its end) into words, in place: they are views into it. false: *why says what is wrong. */
bool request_parse(char *line, size_t len, struct control_request *r, const char **why);
/* Writes one word as request_parse() reads it, at most 4 * word.len + 2 bytes. Bytes written. */
size_t request_quote(struct view word, char *out);

#endif
