/* Intrusive doubly linked lists: a ring through a head. Linking can't fail; a link that is in no list points at
 * itself, so unlinking twice is harmless.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_LIST_H
#define CADDIS_BROKER_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct link {
    struct link *prev, *next;
};

#define LIST_ENTRY(l, type, member) ((type *)(void *)((char *)(l) - offsetof(type, member)))

/* The body may unlink or free the current element. */
#define LIST_EACH(l, head) \
    for (struct link *l = (head)->next, *l##_next = l->next; l != (head); l = l##_next, l##_next = l->next)

static inline void list_init(struct link *l)
{
    l->prev = l->next = l;
}

static inline bool list_empty(const struct link *l)
{
    return l->next == l;
}

/* For an element: is it in a list? */
static inline bool link_used(const struct link *l)
{
    return l->next != l;
}

static inline void list_insert_before(struct link *at, struct link *l)
{
    l->prev = at->prev;
    l->next = at;
    at->prev->next = l;
    at->prev = l;
}

static inline void list_push(struct link *head, struct link *l)
{
    list_insert_before(head, l);
}

static inline void list_unlink(struct link *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    list_init(l);
}

/* Moves everything in `from` to the end of `to`. */
static inline void list_splice(struct link *to, struct link *from)
{
    if (list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

/* Where heads multiply: a ring without one, known by a pointer to its first element, NULL while it is empty. */
static inline void ring_push(struct link **first, struct link *l)
{
    if (*first == NULL) {
        list_init(l);
        *first = l;
    } else {
        list_push(*first, l);
    }
}

static inline void ring_unlink(struct link **first, struct link *l)
{
    if (*first == l)
        *first = l->next != l ? l->next : NULL;
    list_unlink(l);
}

/* The body must leave the ring alone. */
#define RING_EACH(l, first) \
    for (struct link *l = (first); l != NULL; l = l->next != (first) ? l->next : NULL)

#endif
