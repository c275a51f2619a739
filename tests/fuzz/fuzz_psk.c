/* libFuzzer: any text as a key file, and what comes before its first colon as an identity.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/psk.h"
#include "broker/textfile.h"
#include "tests/fuzz/complaints.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct view all = { data, size }, rest, identity = view_cut(all, ':', &rest);
    unsigned lines = 0, n;
    struct psk *p = psk_load_text("f", all, hear, &lines);
    uint8_t key[PSK_KEY_MAX + 1];

    if ((p == NULL) != (lines > 0))
        abort();
    if (p == NULL)
        return 0;
    key[PSK_KEY_MAX] = 0x5A;
    n = psk_find(p, identity, key);
    if (n > PSK_KEY_MAX || key[PSK_KEY_MAX] != 0x5A || (n > 0 && psk_count(p) == 0))
        abort();
    psk_free(&p);
    return 0;
}
