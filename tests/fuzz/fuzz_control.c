/* Fuzz target: any line as a request at the control socket. What is taken apart is quoted, put together and taken apart
 * again, which must give the same words; what is refused says why.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/control_request.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

/* Every word quoted, in an allocation that has no room for more than was promised. */
static char *write_again(const struct control_request *r, size_t *len)
{
    size_t room = 0;
    char *line, *at;

    for (unsigned i = 0; i < r->count; i++)
        room += r->words[i].len * 4 + 3;
    line = at = malloc(room);
    require(line != NULL);
    for (unsigned i = 0; i < r->count; i++) {
        size_t n = request_quote(r->words[i], at);

        require(n <= r->words[i].len * 4 + 2);
        at += n;
        *at++ = ' ';
    }
    *len = (size_t)(at - line);
    return line;
}

static void same_words(const struct control_request *a, const struct control_request *b)
{
    require(a->count == b->count);
    for (unsigned i = 0; i < a->count; i++)
        require(a->words[i].len == b->words[i].len &&
                (a->words[i].len == 0 || memcmp(a->words[i].p, b->words[i].p, a->words[i].len) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *line = malloc(size > 0 ? size : 1), *again;
    struct control_request r, second;
    const char *why = NULL;
    size_t len, total = 0;

    require(line != NULL);
    if (size > 0)
        memcpy(line, data, size);
    if (!request_parse(line, size, &r, &why)) {
        require(why != NULL);
        free(line);
        return 0;
    }
    require(r.count > 0 && r.count <= REQUEST_WORDS);
    for (unsigned i = 0; i < r.count; i++) {
        require(r.words[i].p >= (uint8_t *)line && r.words[i].p + r.words[i].len <= (uint8_t *)line + size);
        total += r.words[i].len;
    }
    require(total <= size);
    again = write_again(&r, &len);
    require(request_parse(again, len, &second, &why));
    same_words(&r, &second);
    free(again);
    free(line);
    return 0;
}
