/* Accounted memory.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/mem.h"

#include <malloc.h>
#include <stdlib.h>

#ifdef __GLIBC__
#define KEEP_AT_MOST(bytes) mallopt(M_TRIM_THRESHOLD, (bytes))
#define MAP_FROM(bytes)     mallopt(M_MMAP_THRESHOLD, (bytes))
#else                           /* musl gives back by itself */
#define KEEP_AT_MOST(bytes) ((void)0)
#define MAP_FROM(bytes)     ((void)0)
#define malloc_trim(pad)    ((void)0)
#endif

#define LARGE 16384

size_t mem_bytes[MEM_CLASS_COUNT];
size_t mem_total, mem_peak;
uint64_t mem_large_freed;
uint64_t mem_fail_at, mem_fail_for;

const char *mem_class_name(enum mem_class c)
{
    static const char *const names[] = {
#define X(name, text) text,
        MEM_CLASSES(X)
#undef X
    };
    return names[c];
}

void mem_tune(void)
{
    KEEP_AT_MOST(8 << 20);
    MAP_FROM(2 << 20);
}

void mem_trim(void)
{
    malloc_trim(0);
}

static bool mem_must_fail(void)
{
    if (mem_fail_at > 0 && --mem_fail_at == 0)
        return true;
    return mem_fail_at == 0 && mem_fail_for > 0 && mem_fail_for-- > 0;
}

static void *mem_count(enum mem_class c, void *p)
{
    size_t n;

    if (p == NULL)
        return NULL;
    n = malloc_usable_size(p);
    mem_bytes[c] += n;
    mem_total += n;
    if (mem_total > mem_peak)
        mem_peak = mem_total;
    return p;
}

void *mem_alloc(enum mem_class c, size_t n)
{
    return mem_must_fail() ? NULL : mem_count(c, malloc(n > 0 ? n : 1));
}

void *mem_zero(enum mem_class c, size_t n)
{
    return mem_must_fail() ? NULL : mem_count(c, calloc(1, n > 0 ? n : 1));
}

void *mem_grow(enum mem_class c, void *p, size_t n)
{
    size_t was = p != NULL ? malloc_usable_size(p) : 0;
    void *q = mem_must_fail() ? NULL : realloc(p, n > 0 ? n : 1);

    if (q == NULL)
        return NULL;
    mem_bytes[c] -= was;
    mem_total -= was;
    return mem_count(c, q);
}

void mem_free(enum mem_class c, void *p)
{
    size_t n;

    if (p == NULL)
        return;
    n = malloc_usable_size(p);
    mem_bytes[c] -= n;
    mem_total -= n;
    mem_large_freed += n >= LARGE;
    free(p);
}
