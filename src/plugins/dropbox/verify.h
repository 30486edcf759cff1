/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * verify — is the content that was handed over the content that Dropbox hashed?
 *
 * The hash of a file is known only when all its blocks of 4 MiB are, but the dispatcher fetches a
 * large file in several pieces at once, and a piece that broke goes on where it broke. So the
 * digests of blocks are gathered by version, in memory, from whatever fetch brings all of a block,
 * and the fetch that brings the last one finds out. A hash under way is kept when its fetch ends
 * early, for the one that continues at that byte.
 *
 * What a process that is gone had handed over is known from what it wrote down (prefixes.h). A fetch
 * that goes on in the middle of a block whose hash nobody has begins at the block's start then (lead):
 * those bytes are hashed, not handed over, and where the old process had written down a hash, both have
 * to be the same. So what it handed over is what was hashed now.
 *
 * A file of which parts were fetched that do not make up whole blocks (reads by ranges) cannot be
 * verified: then it is not. Nor is one whose process was killed between handing a piece over and
 * writing its hash down, or whose daemon was killed with holes left in the middle of a block. What is refetched is forgotten first, so
 * that nothing is called good by digests of other bytes than those that count.
 *
 * After a mismatch wrong bytes may be in the store until the dispatcher has thrown them away. A
 * fetch that only brings what is missing would then make them whole. So until the version has been
 * found good, a fetch is good for nothing unless it comes from the start, or all before it has
 * been, or is being, fetched anew.
 *
 * From any thread. One verify_run belongs to one thread.
 */

#include <stdbool.h>
#include <stdint.h>

#include "plugins/dropbox/content-hash.h"

struct verify;
struct verify_run; /* one fetch */

/* `directory`: for prefixes.h, made if need be; NULL: nothing outlives the process. */
struct verify *verify_new(const char *directory);
void verify_free(struct verify *verify);

/* A fetch of [offset, offset + length) of a version of `size` bytes begins. */
struct verify_run *verify_begin(struct verify *verify, const char *version, uint64_t size, uint64_t offset,
                                uint64_t length);
/* How many bytes before `offset` have to be given to verify_update() first. */
uint64_t verify_lead(const struct verify_run *run);
/* The hash of all of the version, once it is known. */
void verify_expect(struct verify_run *run, const uint8_t hash[static CONTENT_HASH_SIZE]);
/* The next bytes. 0, or -EBADMSG: they are not the ones that came before (as VERIFY_MISMATCH). */
int verify_update(struct verify_run *run, const void *bytes, uint64_t length);

enum verify_result {
        VERIFY_UNKNOWN,  /* not all blocks are known */
        VERIFY_GOOD,
        VERIFY_MISMATCH, /* what was known of this version is forgotten */
        VERIFY_SUSPECT,  /* not all is known, and what is in the store is not to be trusted */
};

/* All bytes of the fetch were given: frees the run. *ret_mismatches: of this version so far. */
enum verify_result verify_end(struct verify_run *run, unsigned *ret_mismatches);
/* The fetch ended early; what was given to update() was handed over. Frees. NULL is fine. */
void verify_break(struct verify_run *run);
