/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * name-set — the names seen in one listing, compactly
 *
 * An open-addressing table of offsets into one text: a name costs its bytes, a NUL,
 * and 4 to 8 bytes of table. Hashed with a key of the process's own, so that a
 * server cannot choose names that collide.
 */

#include <stdint.h>
#include <stddef.h>

struct name_set {
        char *text; /* NUL-terminated names, one after the other */
        size_t text_used, text_capacity;
        uint32_t *table; /* offset + 1 of a name, 0: free */
        size_t n, capacity; /* capacity: a power of two, or 0 */
};

#define NAME_SET_TEXT_MAX (512u * 1024 * 1024)

void name_set_clear(struct name_set *set);

/* 1: added; 0: was there already; -ENOMEM. */
int name_set_add(struct name_set *set, const char *name);
