/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * content-hash — Dropbox's hash of a file. Pure.
 *
 * SHA-256 of the concatenated SHA-256s of the file's blocks of 4 MiB, the last of which
 * may be shorter; an empty file has no block. (Dropbox, "Content hash".)
 */

#include <stddef.h>
#include <stdint.h>

#define CONTENT_HASH_BLOCK (4u * 1024 * 1024) /* bytes */
#define CONTENT_HASH_SIZE 32u                 /* bytes of a digest */

/* Blocks of a file of `size` bytes. */
uint64_t content_hash_blocks(uint64_t size);

/* The hash of the file whose `n` blocks have these digests, one after the other. */
void content_hash_combine(const uint8_t *digests, size_t n, uint8_t ret[static CONTENT_HASH_SIZE]);

/* 64 hexadecimal digits: 0, or -EINVAL. */
int content_hash_parse(const char *hex, uint8_t ret[static CONTENT_HASH_SIZE]);
