/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * directory — the stamp of a directory, changed in one step
 *
 * Listings, refreshes and what comes late (lister.h) change different parts of it, on different
 * threads: each change reads and writes it under one lock, so that none undoes another. Any
 * thread; `fd` is of the private mount. 0 or -errno (-ENODATA: not ours any more).
 */

#include <stdbool.h>
#include <stdint.h>

/* UNLISTED becomes LISTED; what is DIRTY stays so. */
int directory_set_listed(int fd);
/* The remote has changes that are not here, or they all are. */
int directory_set_dirty(int fd, bool dirty);
bool directory_is_dirty(int fd);
/* It is another one of the remote's now, or has another place: DIRTY when the locator differs. */
int directory_set_origin(int fd, const char *locator, uint64_t parent, uint32_t name);
/* Has a user moved it, or a directory above it, away from where the remote has it? */
bool directory_was_moved(int fd);
/* It is a user's own from now on. */
int directory_give_up(int fd);
