/* Decisions from a seed, and the clock.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_TESTS_DICE_H
#define CADDIS_TESTS_DICE_H

#include <stdbool.h>
#include <stdint.h>

void rnd_seed(uint64_t seed);
uint32_t rnd(uint32_t below);           /* 0 .. below - 1 */
bool chance(uint32_t one_in);
uint64_t now_ms(void);                  /* monotonic */

#endif
