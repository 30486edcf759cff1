/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * fresh — directories that are listed, and not stamped so yet
 *
 * On btrfs an fsync(2) of one file in a new directory brings the directory's stamp to disk (its
 * log tree), and none of its other children. So there LISTED comes behind a sync, in batches.
 * Until then a directory is here: it counts as listed for this daemon, and is listed again by
 * the next.
 */

#include "dispatcher/store/handle.h"
#include "dispatcher/store/store.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct Fresh Fresh;

/* `stamped` is called after each batch. */
Fresh *fresh_new(Store *store, void (*stamped)(void *userdata, int r), void *userdata);
void fresh_free(Fresh *fresh);
void fresh_add(Fresh *fresh, uint64_t device, uint64_t inode, const struct handle *handle);
bool fresh_has(const Fresh *fresh, uint64_t device, uint64_t inode);
bool fresh_is_empty(const Fresh *fresh);
/* From now on without a pause: the daemon stops. */
void fresh_hurry(Fresh *fresh);
