/* What the check_proto_*.c programs share: literals as views, copies that AddressSanitizer watches to the byte.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_TESTS_CHECK_PROTO_H
#define CADDIS_TESTS_CHECK_PROTO_H

#include "proto/proto.h"
#include "suite.h"

/* A literal with its length, for table rows: NULs inside count, the one at the end does not. */
#define LIT(s) s, sizeof s - 1

static inline struct view view_of(const char *p, size_t len)
{
    return (struct view){ (const uint8_t *)p, len };
}

static inline struct view str(const char *s)
{
    return view_of(s, strlen(s));
}

static inline bool same(struct view a, struct view b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

/* The bytes in an allocation of exactly their size: reading one more is an error that ASan sees. Free v.p. */
static inline struct view exact(const void *p, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);

    ck_assert_ptr_nonnull(copy);
    if (len > 0)
        memcpy(copy, p, len);
    return (struct view){ copy, len };
}

static inline void drop(struct view v)
{
    free((void *)(uintptr_t)v.p);
}

#endif
