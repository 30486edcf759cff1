/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * extents — a set of half-open byte ranges [begin, end)
 *
 * Sorted, disjoint, never adjacent (touching ranges are merged). Pure: no I/O,
 * no clock. Sizes are bounded by INT64_MAX by the callers. O(log n) to look,
 * O(n) to insert in the middle (a memmove of 16-byte items).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct extent {
        uint64_t begin, end;
};

struct extents {
        struct extent *items; /* owned */
        size_t n, capacity;
};

#define EXTENTS_INIT {NULL, 0, 0}

void extents_clear(struct extents *set); /* empty, and free the memory */

/* 0 or -ENOMEM (the set is unchanged). Empty ranges do nothing. */
int extents_add(struct extents *set, uint64_t begin, uint64_t end);
int extents_remove(struct extents *set, uint64_t begin, uint64_t end);

/* Is all of [begin, end) in the set? True for an empty range. */
bool extents_contain(const struct extents *set, uint64_t begin, uint64_t end);
/* Is any byte of [begin, end) in it? */
bool extents_overlap(const struct extents *set, uint64_t begin, uint64_t end);
/* The first range of [begin, end) that is *not* in the set; false when there is none. */
bool extents_first_gap(const struct extents *set, uint64_t begin, uint64_t end, struct extent *ret);
/* The bytes of [begin, end) that are in the set. */
uint64_t extents_bytes(const struct extents *set, uint64_t begin, uint64_t end);
