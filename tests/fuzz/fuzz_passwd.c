/* libFuzzer: any text as a password file. It is taken, or every complaint names the file; every hash that is taken has
 * one spelling; and a login with any password ends, with a mistake unless the hash says otherwise.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/passwd.h"
#include "broker/textfile.h"
#include "tests/fuzz/complaints.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every line again, by itself. */
static void look_at_lines(struct view all)
{
    struct textfile f;
    struct view line, stored;
    struct passwd_hash h;
    char text[PASSWD_TEXT_MAX];

    if (!textfile_set(&f, "f", all, NULL, NULL))
        return;
    while (textfile_next(&f, &line)) {
        view_cut(line, ':', &stored);
        if (passwd_hash_parse(&h, stored) != NULL)
            continue;
        /* Only leading zeros of the iterations can be told apart. */
        if (passwd_hash_format(&h, text) > stored.len || h.salt_len == 0 || h.iterations == 0)
            abort();
    }
    textfile_close(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct view all = { data, size }, rest, user = view_cut(all, ':', &rest);
    unsigned lines = 0;
    struct passwd *p = passwd_load_text("f", all, hear, &lines);
    struct passwd_hash h;
    struct passwd_try *t;

    if ((p == NULL) != (lines > 0))
        abort();
    look_at_lines(all);
    if (p == NULL)
        return 0;
    t = passwd_try_new(p, NULL, user, all);
    if (t != NULL && passwd_try_step(t, 50) == PASSWD_RIGHT)
        abort();                /* not in the life of this universe */
    passwd_try_free(&t);
    passwd_scram_find(p, user, &h);
    if (h.kind != PASSWD_SCRAM || h.salt_len == 0 || h.iterations == 0)
        abort();
    passwd_free(&p);
    return 0;
}
