/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * presence — which bytes of a placeholder are there, told by the file itself
 *
 * SEEK_DATA alone is not to be believed: over an unwritten extent (what a power cut
 * leaves of data that never reached the disk) it takes up-to-date pages of the page
 * cache for data, and readahead, which raises no event, puts pages of zeros there.
 * So: nothing allocated at all (ENXIO from SEEK_DATA at 0) is "absent", and
 * anything else is asked of FIEMAP after FIEMAP_FLAG_SYNC, where unwritten
 * extents count as absent.
 */

#include "shared/extents.h"

#include <stdbool.h>
#include <stdint.h>

/* Is there no data in the file at all? Cheap, no I/O. 1, 0, -errno. */
int presence_is_empty(int fd);
/* Has [0, size) no hole according to SEEK_HOLE? Only to be trusted for files known
 * to have been filled since this boot. Cheap. 1, 0, -errno. */
int presence_has_no_hole(int fd, uint64_t size);
/* Adds what is present of [0, size) to the set, granules only partly present left
 * out (the last one counts up to `size`). May write back and wait: pool threads only. */
int presence_load(int fd, uint64_t size, uint64_t granule, struct extents *ret);
