/* libFuzzer: an ACL file, and behind a NUL each a client id, a user name, a filter and a topic. Who may read a topic
 * that a filter matches may subscribe to the filter.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/acl.h"
#include "broker/textfile.h"
#include "proto/topic.h"
#include "proto/utf8.h"
#include "tests/fuzz/complaints.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct acl *a, const struct acl_who *w, struct view filter, struct view topic)
{
    const struct acl_rule *rule, *again;
    struct view group, inner = filter;
    bool may, may_subscribe;

    if (!utf8_valid(topic) || !topic_name_valid(topic) || !utf8_valid(filter) || !topic_filter_valid(filter))
        return;
    may = acl_may(a, w, ACL_READ, topic, &rule);
    may_subscribe = acl_may_subscribe(a, w, filter, &again);
    if (may && (rule == NULL || !(rule->access & ACL_READ)))
        abort();
    if (may_subscribe && (again == NULL || !(again->access & ACL_READ)))
        abort();
    topic_split_share(filter, &group, &inner);
    if (may && topic_matches(inner, topic) && !may_subscribe)
        abort();
    if (!topic_split_share(topic, &group, &inner) && acl_may_subscribe(a, w, topic, NULL) != may)
        abort();                /* a name as a filter means itself */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct view rest = { data, size }, file, id, user, filter;
    unsigned lines = 0;
    struct acl_who w;
    struct acl *a;

    file = view_cut(rest, '\0', &rest);
    id = view_cut(rest, '\0', &rest);
    user = view_cut(rest, '\0', &rest);
    filter = view_cut(rest, '\0', &rest);
    a = acl_load_text("f", file, hear, &lines);
    if ((a == NULL) != (lines > 0))
        abort();
    if (a == NULL)
        return 0;
    w = acl_who(a, id, user);
    check(a, &w, filter, rest);
    w = acl_who(a, id, (struct view){ NULL, 0 });
    check(a, &w, filter, rest);
    acl_free(&a);
    return 0;
}
