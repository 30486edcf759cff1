/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * manifest — a whole tree in one file, for servers without an index
 *
 * JSON lines, one object each:
 *
 *     {"path":"a/b c.txt","size":123,"mtime":1764107821,"etag":"\"5f-62a\""}
 *     {"path":"empty/"}
 *
 * path: relative, not percent-encoded; with a '/' at its end a directory (only
 * needed for empty ones, the others follow from the files). size: bytes. mtime: seconds
 * since the epoch (a fraction is kept), or an HTTP date. etag: as the server sends
 * it; a bare word gets its quotes. Without size or mtime the file is inexact: the server
 * has to be asked. Other members are ignored, and so are empty lines.
 *
 * Held as one text and one sorted array: about 40 bytes and the path for each line. Pure.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plugins/httpfs/listing.h"

struct manifest;

struct manifest *manifest_new(void);
void manifest_free(struct manifest *manifest);

/* 0; -EFBIG beyond LISTING_BYTES_MAX, -EPROTO a line longer than LISTING_ELEMENT_MAX
 * or no JSON, -ENOMEM; then the manifest is of no use. */
int manifest_feed(struct manifest *manifest, const char *bytes, size_t length);
/* Sorts. After that it may be asked. As above. */
int manifest_finish(struct manifest *manifest);

/* What was left out while it was read. */
const struct skips *manifest_skips(const struct manifest *manifest);

/* The children of a directory: 0, -ENOENT (no such directory; the root always is
 * one), or what `fn` returned. `skips`: files that are directories as well. */
int manifest_list(const struct manifest *manifest, const char *locator, struct skips *skips,
                  listing_fn fn, void *data);

/* The object itself: true and *ret (strings belong to the manifest), or false. */
bool manifest_find(const struct manifest *manifest, const char *locator, struct listing_entry *ret);
