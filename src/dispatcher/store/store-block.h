/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * store-block — the block device below a store: does its file system live on?
 *
 * /proc shows who has a file of the store open (store-use.c), but not a file that is on its way
 * through a socket, nor one that an io_uring or the kernel itself has: a loop device, another file system
 * above. The superblock knows them all. It holds its block device as long as it lives, and
 * whoever asks for that device alone (O_EXCL) is refused. So when we have let go of everything of our own, the
 * answer to that question is the whole truth. It is asked for an instant, not kept.
 *
 * A loop device goes with its superblock, and its number may be another image's a moment later: so
 * it is known by the image, too.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct store_block {
        char path[64]; /* "": not known */
        dev_t number;
        uint64_t image_device, image_inode; /* a loop device's file */
};

/* "" if `device` is none that can be opened, or NULL. */
void store_block_find(const char *device, struct store_block *ret);
/* False also when it cannot be told. */
bool store_block_is_used(const struct store_block *block);
