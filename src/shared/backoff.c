/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * backoff — see backoff.h
 *
 * The wait before try n is limit = first_ms << n, capped at limit_ms; half of it
 * is certain and half is dice, so that a crowd that failed together does not come
 * back together, and nobody comes back at once.
 */

#include "shared/backoff.h"

uint32_t backoff_next(struct backoff *b, uint32_t dice, uint32_t floor_ms) {
        uint64_t whole = b->first_ms, half, wait;

        for (uint32_t i = 0; i < b->tries && whole < b->limit_ms; i++)
                whole *= 2;
        if (whole > b->limit_ms)
                whole = b->limit_ms;
        if (b->tries < UINT32_MAX)
                b->tries++;

        half = whole / 2;
        /* dice / UINT32_MAX of the upper half, both ends included */
        wait = half + (whole - half) * dice / UINT32_MAX;
        return wait < floor_ms ? floor_ms : (uint32_t)wait;
}

void backoff_reset(struct backoff *b) {
        b->tries = 0;
}
