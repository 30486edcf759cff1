/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * store-internal — what the store's own files say to each other
 *
 *   store.c        the object: open, attach, detach, and the way to its files
 *   store-loop.c   an image file as a block device
 *   store-mount.c  superblocks and mounts, by the new mount API and libmount
 *   store-probe.c  is this a filesystem that cloudsync can stand on?
 *   store-use.c    who else uses it
 */

#include "dispatcher/failure.h"
#include "dispatcher/store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * An image file as a loop device. The image is locked (flock) as long as
 * `image_fd` is open; the loop device frees itself (autoclear) when `loop_fd` and
 * every mount of it are gone. A device that is attached to this image already (a
 * store that outlived its daemon) is taken over: a second one would be a second
 * superblock on the same bytes.
 */
struct store_loop {
        int image_fd, loop_fd; /* owned, or -1 */
        char path[32];         /* of the loop device */
};
int store_loop_attach(const char *image, struct store_loop *ret, Failure *failure);
void store_loop_release(struct store_loop *loop);

/* What a mount table says of a mount. */
struct store_mount_info {
        bool found;
        char *filesystem, *source, *root, *options; /* owned; options of the superblock */
        dev_t device;                               /* of the superblock */
        uint64_t id;
};
void store_mount_info_clear(struct store_mount_info *info);
/* The topmost mount at `path` (exactly there), or the mount with `id` if path is NULL. 0
 * (`found` false when there is none), or -errno. */
int store_mount_info_load(const char *path, uint64_t id, struct store_mount_info *ret);

/* The id of the mount that `fd` is on, the device number of its file, and whether it
 * is the mount's root. */
int store_mount_id(int fd, uint64_t *ret_id);

/* Only these are known to keep what is present apart from what is not. */
bool store_filesystem_is_supported(const char *filesystem);

/* What is on a block device; g_free(). -ENODATA: nothing that libblkid knows. */
int store_device_filesystem(const char *device, char **ret);

/* Two detached mounts of the device's superblock: the one that will be public, and the
 * private one. Owned descriptors. */
int store_mount_device(const char *device, const char *filesystem, const char *hsmid,
                       int *ret_public, int *ret_private, bool *ret_hsmid, Failure *failure);
/* A detached private clone of what is mounted at `path`. */
int store_mount_clone(const char *path, int *ret_private, Failure *failure);

/* Refuses, with a sentence, a filesystem on which absence could not be told or
 * the placeholder's state not be kept. `root` is of the private mount. */
int store_probe(int root, const char *filesystem, const char *name, Failure *failure);

/* Is a mount of `superblock` in some mount table, or a file, a working or a root
 * directory of some other process on one of the two devices? */
bool store_in_use(dev_t superblock, dev_t files);
