/* Reason codes and packet names, generated from tables.h.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "proto/reason.h"

const char *reason_text(enum reason r)
{
    switch (r) {
#define X(name, code, v3, text) case R_##name: return text;
    REASONS(X)
#undef X
    }
    return "unknown reason";
}

const char *packet_name(unsigned type)
{
    switch (type) {
#define X(name, number, flags, who) case number: return #name;
    PACKETS(X)
#undef X
    }
    return "reserved";
}

int reason_connack_v3(enum reason r)
{
    switch (r) {
#define X(name, code, v3, text) case R_##name: return v3;
    REASONS(X)
#undef X
    }
    return -1;
}

bool reason_fits(uint32_t where, unsigned code)
{
    static const uint16_t places[] = {
#define X(name, where) [R_##name] = (uint16_t)(where),
        REASON_PLACES(X)
#undef X
    };

    return code < sizeof places / sizeof places[0] && (places[code] & where) != 0;
}
