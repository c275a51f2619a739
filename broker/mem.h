/* Accounted memory. Every allocation of the broker belongs to a class, so that `caddis status` can say what the heap
 * is for and memory_limit has something to compare with. Sizes are what malloc really handed out.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_MEM_H
#define CADDIS_BROKER_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEM_CLASSES(X)         \
    X(CONN, "connections")     \
    X(SESSION, "sessions")     \
    X(MSG, "messages")         \
    X(TREE, "subscriptions")   \
    X(RETAIN, "retained")      \
    X(BUFFER, "buffers")       \
    X(JOURNAL, "journal")      \
    X(TLS, "tls")              \
    X(OTHER, "other")

enum mem_class {
#define X(name, text) MEM_##name,
    MEM_CLASSES(X)
#undef X
    MEM_CLASS_COUNT
};

/* bytes: in use now. The counters are process-wide. */
extern size_t mem_bytes[MEM_CLASS_COUNT];
extern size_t mem_total, mem_peak;

const char *mem_class_name(enum mem_class c);

/* NULL when there is none. mem_zero() gives zeroed bytes. mem_grow() is realloc: on NULL the old block stays. */
void *mem_alloc(enum mem_class c, size_t n);
void *mem_zero(enum mem_class c, size_t n);
void *mem_grow(enum mem_class c, void *p, size_t n);
void mem_free(enum mem_class c, void *p);

/* Once, at start: the C library is to keep what large messages free, or each of them would cost the system a run of
 * pages to clear and to take away again. In return somebody has to call mem_trim() when it is quiet. */
void mem_tune(void);
/* Gives what is free back to the system, where the C library can. */
void mem_trim(void);
/* Blocks of 16 KiB and more that were freed since start. */
extern uint64_t mem_large_freed;

/* Tests: the n-th allocation from now fails (0: none does), and then so many more. */
extern uint64_t mem_fail_at, mem_fail_for;

#endif
