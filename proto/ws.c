/* WebSocket frames.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "proto/ws.h"

#include <string.h>

static bool is_control(unsigned opcode)
{
    return opcode >= WS_CLOSE;
}

/* Of the head whose first bytes are here; two tell. */
static unsigned head_size(const struct ws_reader *r)
{
    unsigned len = r->head_len >= 2 ? r->head[1] & 0x7F : 0;

    return r->head_len < 2 ? 2 : 2 + (len == 126 ? 2 : len == 127 ? 8 : 0) + 4;
}

static enum ws_result first_byte(const struct ws_reader *r, const char **why)
{
    unsigned opcode = r->head[0] & 0xF;
    bool fin = (r->head[0] & 0x80) != 0;

    if (r->head[0] & 0x70)
        *why = "a reserved bit is set";
    else if (is_control(opcode) && !fin)
        *why = "a control frame in parts";
    else if (opcode > WS_PONG || (opcode > WS_BINARY && opcode < WS_CLOSE))
        *why = "a reserved opcode";
    else if (opcode == WS_CONTINUATION && !r->message)
        *why = "a continuation of nothing";
    else if (opcode != WS_CONTINUATION && !is_control(opcode) && r->message)
        *why = "a message within another";
    else
        return opcode == WS_TEXT ? WS_NOT_BINARY : WS_PIECE;
    return WS_PROTOCOL_ERROR;
}

static enum ws_result second_byte(const struct ws_reader *r, const char **why)
{
    if ((r->head[1] & 0x80) == 0)
        *why = "a frame without a mask";
    else if (is_control(r->head[0] & 0xF) && (r->head[1] & 0x7F) > WS_CONTROL_MAX)
        *why = "a control frame of more than 125 bytes";
    else
        return WS_PIECE;
    return WS_PROTOCOL_ERROR;
}

static uint64_t big_endian(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}

static enum ws_result begin_payload(struct ws_reader *r, const char **why)
{
    unsigned size = head_size(r), len = r->head[1] & 0x7F;

    r->left = len < 126 ? len : big_endian(r->head + 2, size - 6);
    *why = "a length in more bytes than it needs";
    if ((len == 126 && r->left < 126) || (len == 127 && r->left <= UINT16_MAX))
        return WS_PROTOCOL_ERROR;
    *why = "a length beyond 63 bits";
    if (r->left > INT64_MAX)
        return WS_PROTOCOL_ERROR;
    if (!is_control(r->head[0] & 0xF))
        r->message = (r->head[0] & 0x80) == 0;
    memmove(r->head + 2, r->head + size - 4, 4);    /* the mask */
    r->turn = 0;
    r->payload = true;
    return WS_PIECE;
}

static enum ws_result read_head(struct ws_reader *r, uint8_t **in, size_t *len, const char **why)
{
    while (r->head_len < head_size(r)) {
        enum ws_result rc = WS_PIECE;

        if (*len == 0)
            return WS_MORE;
        r->head[r->head_len++] = *(*in)++;
        --*len;
        if (r->head_len <= 2)
            rc = r->head_len == 1 ? first_byte(r, why) : second_byte(r, why);
        if (rc != WS_PIECE)
            return rc;
    }
    return begin_payload(r, why);
}

static void unmask(struct ws_reader *r, uint8_t *p, size_t n)
{
    uint8_t mask[8];
    uint64_t wide, word;
    size_t i = 0;

    for (unsigned k = 0; k < 8; k++)
        mask[k] = r->head[2 + (r->turn + k) % 4];
    memcpy(&wide, mask, sizeof wide);
    for (; n - i >= 8; i += 8) {
        memcpy(&word, p + i, sizeof word);
        word ^= wide;
        memcpy(p + i, &word, sizeof word);
    }
    for (; i < n; i++)
        p[i] ^= mask[i % 8];
    r->turn = (uint8_t)((r->turn + n) % 4);
}

enum ws_result ws_next(struct ws_reader *r, uint8_t **in, size_t *len, struct ws_piece *piece, const char **why)
{
    bool first = !r->payload;
    unsigned opcode;

    if (first) {
        enum ws_result rc = read_head(r, in, len, why);

        if (rc != WS_PIECE)
            return rc;
    } else if (*len == 0) {
        return WS_MORE;
    }
    opcode = r->head[0] & 0xF;
    piece->opcode = opcode == WS_CONTINUATION ? WS_BINARY : (enum ws_opcode)opcode;
    piece->first = first;
    piece->p = *in;
    piece->len = r->left < *len ? (size_t)r->left : *len;
    unmask(r, piece->p, piece->len);
    *in += piece->len;
    *len -= piece->len;
    r->left -= piece->len;
    piece->last = r->left == 0;
    if (piece->last) {
        r->payload = false;
        r->head_len = 0;
    }
    return WS_PIECE;
}

unsigned ws_write_head(uint8_t out[WS_HEAD_MAX], enum ws_opcode opcode, uint64_t len)
{
    unsigned n = len < 126 ? 0 : len <= UINT16_MAX ? 2 : 8;

    out[0] = (uint8_t)(0x80 | opcode);
    out[1] = (uint8_t)(n == 0 ? len : n == 2 ? 126 : 127);
    for (unsigned i = 0; i < n; i++)
        out[2 + i] = (uint8_t)(len >> 8 * (n - 1 - i));
    return 2 + n;
}

bool ws_close_code_valid(unsigned code)
{
    return (code >= 1000 && code <= 1011 && code != 1004 && code != 1005 && code != 1006) ||
           (code >= 3000 && code <= 4999);
}
