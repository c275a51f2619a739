/* Fuzz target: the request that opens a WebSocket, and frames. Input: a request, and what comes behind its empty line,
 * or frames alone. Frames must mean the same in one piece and in many, and what they carry is sent and read again.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "proto/http.h"
#include "proto/ws.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

/* What came of some frames: payload with the opcodes and bounds between, and the end. */
struct heard {
    uint8_t *p;
    size_t len;
    enum ws_result end;
    const char *why;
};

static void add(struct heard *h, const void *p, size_t n)
{
    memcpy(h->p + h->len, p, n);
    h->len += n;
}

static void hear(struct heard *h, const uint8_t *data, size_t size, size_t step)
{
    struct ws_reader r = { 0 };
    uint8_t *copy = malloc(size + 1), *p = copy;
    bool within = false;

    h->p = malloc(size * 4 + 16);
    h->len = 0;
    h->end = WS_MORE;
    h->why = NULL;
    require(copy != NULL && h->p != NULL);
    memcpy(copy, data, size);
    for (size_t at = 0; at < size && h->end == WS_MORE;) {
        size_t n = size - at < step ? size - at : step, left = n;
        struct ws_piece piece;

        while ((h->end = ws_next(&r, &p, &left, &piece, &h->why)) == WS_PIECE) {
            require(piece.first != within);
            require(piece.p + piece.len == p && piece.p >= copy);
            require(piece.opcode < WS_CLOSE || r.left <= WS_CONTROL_MAX);
            if (piece.first)
                add(h, &(uint8_t){ (uint8_t)piece.opcode }, 1);
            add(h, piece.p, piece.len);
            within = !piece.last;
            require(within == r.payload);
        }
        require(h->end != WS_MORE || left == 0);
        at += n;
    }
    require((h->end == WS_PROTOCOL_ERROR) == (h->why != NULL) || h->end != WS_PROTOCOL_ERROR);
    free(copy);
}

static void frames(const uint8_t *data, size_t size)
{
    struct heard whole;

    hear(&whole, data, size, size > 0 ? size : 1);
    for (size_t step = 1; step < size && step < 20; step += step < 4 ? 1 : 5) {
        struct heard parts;

        hear(&parts, data, size, step);
        require(parts.end == whole.end && parts.len == whole.len && memcmp(parts.p, whole.p, whole.len) == 0);
        free(parts.p);
    }
    free(whole.p);
}

static void there_and_back(const uint8_t *data, size_t size)
{
    uint8_t *bytes = malloc(size + WS_HEAD_MAX + 4), *p = bytes;
    unsigned n = ws_write_head(bytes, WS_BINARY, size);
    struct ws_reader r = { 0 };
    struct ws_piece piece;
    const char *why;
    size_t left = n + 4 + size;

    require(n <= WS_HEAD_MAX);
    bytes[1] |= 0x80;
    memset(bytes + n, 0, 4);
    memcpy(bytes + n + 4, data, size);
    require(ws_next(&r, &p, &left, &piece, &why) == WS_PIECE);
    require(piece.first && piece.last && piece.len == size && memcmp(piece.p, data, size) == 0 && left == 0);
    free(bytes);
}

static void inside(struct view part, struct view whole)
{
    require(part.p == NULL || (part.p >= whole.p && part.p + part.len <= whole.p + whole.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + 1);       /* of exactly its size for the sanitizer, but for what is empty */
    struct view in = { copy, size };
    size_t len, again;
    struct http_upgrade u;
    const char *why;

    require(copy != NULL);
    memcpy(copy, data, size);
    len = http_head_len(in, 0);
    again = http_head_len(in, size / 2);
    require(len <= size && (len > size / 2 + 3 ? again == len : again == 0 || again >= len));
    if (len > 0) {
        int status = http_upgrade((struct view){ copy, len }, &u, &why);

        require(status == 101 || (status >= 400 && why != NULL));
        require(strlen(http_status_text(status)) > 0);
        inside(u.key, in);
        inside(u.origin, in);
        require(status != 101 || (u.key.len == 24 && u.protocol != NULL));
    }
    frames(data + len, size - len);
    there_and_back(data, size);
    free(copy);
    return 0;
}
