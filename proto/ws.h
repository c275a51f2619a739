/* WebSocket frames (RFC 6455, section 5), as a server sees them. A frame's size is no limit to anything: payload is
 * handed on as it comes.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_PROTO_WS_H
#define CADDIS_PROTO_WS_H

#include "proto/reader.h"

enum ws_opcode { WS_CONTINUATION = 0, WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };

/* Bytes of a control frame's payload; of a head that we send. */
enum { WS_CONTROL_MAX = 125, WS_HEAD_MAX = 10 };

/* Zeroed at first. */
struct ws_reader {
    uint64_t left;              /* of the payload under way */
    uint8_t head[14], head_len; /* of the frame, as far as it has come */
    uint8_t turn;               /* which byte of the mask is next */
    bool payload;               /* the head is complete */
    bool message;               /* a message in several frames goes on */
};

enum ws_result {
    WS_MORE,                    /* all bytes are used */
    WS_PIECE,                   /* *piece is there */
    WS_PROTOCOL_ERROR,          /* *why says which rule; nothing more can be read */
    WS_NOT_BINARY,              /* a text frame, which MQTT does not travel in [MQTT-6.0.0-1]; the same */
};

/* A part of a frame's payload, unmasked in place. */
struct ws_piece {
    enum ws_opcode opcode;      /* WS_BINARY for its continuations, too */
    bool first, last;           /* of its frame; an empty frame is one empty piece */
    uint8_t *p;
    size_t len;
};

/* Takes bytes from *in, of which *len are left. */
enum ws_result ws_next(struct ws_reader *r, uint8_t **in, size_t *len, struct ws_piece *piece, const char **why);

/* The head of a whole, unmasked frame with len bytes of payload; returns its size, at most WS_HEAD_MAX. */
unsigned ws_write_head(uint8_t out[WS_HEAD_MAX], enum ws_opcode opcode, uint64_t len);

/* May a close frame carry this code (section 7.4)? */
bool ws_close_code_valid(unsigned code);

#endif
