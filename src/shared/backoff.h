/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* backoff — how long to wait before the next try. Pure: takes the dice, keeps no clock. */

#include <stdint.h>

struct backoff {
        uint32_t first_ms, limit_ms; /* the first wait, and the longest */
        uint32_t tries;              /* failures so far */
};

/* Counts a failure and returns the wait before the next try, in ms: doubling from
 * first_ms to limit_ms, of which the upper half is `dice` (0 … UINT32_MAX,
 * random); never below `floor_ms` (Retry-After), never above max(limit_ms, floor_ms). */
uint32_t backoff_next(struct backoff *b, uint32_t dice, uint32_t floor_ms);
void backoff_reset(struct backoff *b);
