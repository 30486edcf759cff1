/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * extents — see extents.h
 *
 * Invariant, before and after every function: for all i,
 * items[i].begin < items[i].end and items[i].end < items[i + 1].begin.
 * Every question begins with a binary search for the first item that ends
 * behind some byte; a change replaces a run of items by at most two others.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shared/extents.h"

void extents_clear(struct extents *set) {
        free(set->items);
        *set = (struct extents)EXTENTS_INIT;
}

/* The first item that ends behind `at`, or n. */
static size_t find_ending_after(const struct extents *set, uint64_t at) {
        size_t low = 0, high = set->n;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (set->items[middle].end > at)
                        high = middle;
                else
                        low = middle + 1;
        }
        return low;
}

static int reserve(struct extents *set, size_t n) {
        struct extent *items;
        size_t capacity;

        if (n <= set->capacity)
                return 0;
        capacity = set->capacity ? set->capacity * 2 : 4;
        if (capacity < n)
                capacity = n;
        items = reallocarray(set->items, capacity, sizeof(*items));
        if (!items)
                return -ENOMEM;
        set->items = items;
        set->capacity = capacity;
        return 0;
}

/* Replaces the items [first, last) by the `n` of `with`. */
static int replace(struct extents *set, size_t first, size_t last, const struct extent *with,
                   size_t n) {
        int r = reserve(set, set->n - (last - first) + n);

        if (r < 0)
                return r;
        if (set->n > last)
                memmove(set->items + first + n, set->items + last,
                        (set->n - last) * sizeof(*set->items));
        for (size_t i = 0; i < n; i++)
                set->items[first + i] = with[i];
        set->n = set->n - (last - first) + n;
        return 0;
}

int extents_add(struct extents *set, uint64_t begin, uint64_t end) {
        struct extent merged = {begin, end};
        size_t first, last;

        if (begin >= end)
                return 0;
        /* An item that ends where this one begins is merged as well. */
        first = begin > 0 ? find_ending_after(set, begin - 1) : 0;
        for (last = first; last < set->n && set->items[last].begin <= end; last++) {
                if (set->items[last].begin < merged.begin)
                        merged.begin = set->items[last].begin;
                if (set->items[last].end > merged.end)
                        merged.end = set->items[last].end;
        }
        return replace(set, first, last, &merged, 1);
}

int extents_remove(struct extents *set, uint64_t begin, uint64_t end) {
        struct extent rest[2];
        size_t first, last, n = 0;

        if (begin >= end)
                return 0;
        first = find_ending_after(set, begin);
        for (last = first; last < set->n && set->items[last].begin < end; last++)
                ;
        if (first == last)
                return 0;
        if (set->items[first].begin < begin)
                rest[n++] = (struct extent){set->items[first].begin, begin};
        if (set->items[last - 1].end > end)
                rest[n++] = (struct extent){end, set->items[last - 1].end};
        return replace(set, first, last, rest, n);
}

bool extents_first_gap(const struct extents *set, uint64_t begin, uint64_t end,
                       struct extent *ret) {
        size_t i = find_ending_after(set, begin);

        if (i < set->n && set->items[i].begin <= begin)
                begin = set->items[i++].end;
        if (begin >= end)
                return false;
        if (i < set->n && set->items[i].begin < end)
                end = set->items[i].begin;
        *ret = (struct extent){begin, end};
        return true;
}

bool extents_contain(const struct extents *set, uint64_t begin, uint64_t end) {
        struct extent gap;

        return !extents_first_gap(set, begin, end, &gap);
}

bool extents_overlap(const struct extents *set, uint64_t begin, uint64_t end) {
        size_t i = find_ending_after(set, begin);

        return begin < end && i < set->n && set->items[i].begin < end;
}

uint64_t extents_bytes(const struct extents *set, uint64_t begin, uint64_t end) {
        uint64_t sum = 0;

        for (size_t i = find_ending_after(set, begin);
             i < set->n && set->items[i].begin < end; i++) {
                uint64_t from = set->items[i].begin > begin ? set->items[i].begin : begin;
                uint64_t to = set->items[i].end < end ? set->items[i].end : end;

                sum += to - from;
        }
        return sum;
}
