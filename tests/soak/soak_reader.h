/* A reader: what soak_reader.c does with messages, and soak_reader_life.c with connections and subscriptions.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_TESTS_SOAK_READER_H
#define CADDIS_TESTS_SOAK_READER_H

#include "tests/soak/soak.h"

enum { PLAN_FILTERS = 6, ALIASES = 16, OP_MAX = 3 };

enum mode {
    STAYS,              /* the session stays for ever */
    CLEAN,              /* none that outlives the connection */
    EXPIRES,            /* after plan.expiry_s */
    VISITS,             /* now this, now that */
};

struct plan {
    const char *name;
    enum version version;
    enum mode mode;
    const uint8_t filters[PLAN_FILTERS];    /* index + 1, 0: none */
    uint8_t begins_with;                    /* so many of them */
    uint8_t qos_min;                        /* of its subscriptions; up to 2 */
    uint8_t group;                          /* number + 1, 0: none */
    uint8_t aliases;                        /* Topic Alias Maximum */
    uint16_t receive_max;
    uint32_t stay_ms, away_ms;              /* up to twice this; stay 0: for ever */
    uint32_t expiry_s;
    uint32_t lag_ms;                        /* acknowledges after up to this */
    uint32_t sip;                           /* bytes it reads at a time, 0: all */
    uint32_t deaf_ms;                       /* reads nothing at times, up to so long */
    uint32_t change_ms;                     /* changes a subscription about so often */
    uint32_t sleep_ms;                      /* sleeps at times, up to so long, calms included */
    bool quick, limited, eye;
};

enum filter_state { OUT, WANT_IN, JOINING, IN, WANT_OUT, LEAVING };

struct held_id {
    bool used;
    uint8_t stream;
    uint32_t number;
};

struct alias {
    uint8_t topic[32];
    size_t len;
};

struct subscriber {
    struct link l;                          /* first: a link is its reader */
    const struct plan *plan;
    unsigned index;
    bool was_up;                            /* there is a connection whose end has not been noticed */
    bool asleep;
    uint64_t up_since;                      /* model time of its CONNACK */
    enum filter_state state[PLAN_FILTERS];
    struct subs subs;
    bool op_leaves;                         /* the request under way is UNSUBSCRIBE */
    uint16_t op_pid;
    unsigned op_count, op[OP_MAX];          /* its filters, index into the plan's; 0: none under way */
    uint8_t op_qos[OP_MAX];
    struct held_id *ids;                    /* 65536: inbound QoS 2 */
    struct alias aliases[ALIASES + 1];
    struct held held;                       /* acknowledgements not sent yet */
    uint64_t release_ms, deaf_ms;           /* deaf_ms: until then; 0: it reads */
    uint64_t until_ms, change_ms, gone_ms;
};

extern const struct plan reader_plans[READERS];
extern uint64_t groups_left[GROUPS];        /* model time when last a member's session ended */

void reader_up(struct subscriber *r);
void reader_suback(struct subscriber *r, struct frame f);
/* The connection may have gone. */
void reader_notice(struct subscriber *r);
void reader_offline(struct subscriber *r, uint16_t port, bool load, bool wake);
void reader_online(struct subscriber *r, uint16_t port, bool load);
/* Its session is gone; what it was given goes to other members, if there are any. */
void reader_left_group(struct subscriber *r);

#endif
