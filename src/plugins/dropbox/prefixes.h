/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * prefixes — how far each block of a version came, on disk
 *
 * A hash under way lives in memory (verify.h) and dies with the process, while what was handed over
 * stays in the store, and the dispatcher goes on where it broke. So that the file can be verified all the
 * same, the hash of every block's beginning is written down every STEP bytes: the next process
 * fetches the beginning of that block once more, compares, and goes on hashing from there.
 *
 *     STATE_DIR/hashes/VERSION:  header (64 bytes: magic, the version's size)
 *                                32 bytes for each STEP bytes of the file: SHA-256 from the start of
 *                                the block of 4 MiB to there; zeros: not known
 *
 * Nothing is synced: it has to outlive the process, not the machine. What a power cut leaves is an old
 * hash or none; an old one is still true of bytes that were handed over. A file that cannot
 * be written only makes less certain.
 *
 * Not thread-safe. NULL stands for "there is none", and everything is allowed on it.
 */

#include <stdbool.h>
#include <stdint.h>

#include "plugins/dropbox/content-hash.h"

#define PREFIX_STEP (128u * 1024) /* as the pieces that are handed over */

struct prefixes;

/* Makes the directory, and removes from it what nobody has continued for a week. */
void prefixes_prepare(const char *directory);
/* `version` is a file's name. NULL when there is none (create: or it cannot be made). */
struct prefixes *prefixes_open(const char *directory, const char *version, uint64_t size, bool create);
/* `keep`: for the next process; otherwise the file goes. */
void prefixes_close(struct prefixes *prefixes, bool keep);

/* `position`: a multiple of PREFIX_STEP, or the size. */
bool prefixes_get(struct prefixes *prefixes, uint64_t position, uint8_t ret[static CONTENT_HASH_SIZE]);
void prefixes_put(struct prefixes *prefixes, uint64_t position, const uint8_t digest[static CONTENT_HASH_SIZE]);
/* The positions after `begin`, up to `end`. */
void prefixes_forget(struct prefixes *prefixes, uint64_t begin, uint64_t end);
