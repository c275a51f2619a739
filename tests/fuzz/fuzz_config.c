/* libFuzzer: any text as a configuration. It is taken, or every complaint names the file; what is taken compares equal
 * to itself.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/config.h"
#include "tests/fuzz/complaints.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void differs(void *arg, const char *key)
{
    (void)arg;
    (void)key;
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned lines = 0;
    struct config *c;

    /* It would read the machine's own files. */
    if (memmem(data, size, "include", 7) != NULL || memmem(data, size, "INCLUDE", 7) != NULL)
        return 0;
    c = config_load_text("f", (const char *)data, size, hear, &lines);
    if ((c == NULL) != (lines > 0))
        abort();
    if (c != NULL) {
        if (c->listener_count == 0)
            abort();
        config_keep_fixed(c, c, differs, NULL);
    }
    config_free(c);
    return 0;
}
