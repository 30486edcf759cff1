/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * store-internal — what the store's own files say to each other
 *
 *   store.c        the object: open, attach, detach, close
 *   store-file.c   its files: by handle, by name, the staging directory
 *   store-guard.c  what the guard in the kernel knows of it
 *   store-loop.c   an image file as a block device
 *   store-mount.c  superblocks and mounts, by the new mount API and libmount
 *   store-takeover.c  what a killed worker left
 *   store-probe.c  is this a filesystem that cloudsync can stand on?
 *   store-use.c    who else uses it
 */

#include "dispatcher/failure.h"
#include "dispatcher/store/store.h"

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

/* Locks an open file against a second daemon (flock). Waits a moment: a daemon that was just
 * killed holds its lock until its last thread is gone. -EWOULDBLOCK: another has it. */
int store_lock(int fd);

struct Store {
        char *path;       /* canonical */
        char *device;     /* block device, or NULL: Path= alone */
        char *filesystem;
        struct store_loop loop;
        int public, private, root, staging;
        bool attached, marked, hsmid;
        dev_t superblock; /* 0: not known yet (before attach) */
        dev_t files;      /* st_dev */
        uint64_t mount_id; /* of `public` */
        uint64_t granule;
};

/* Makes .cloudsync/staging, or empties it. */
int store_make_staging(Store *store, Failure *failure);

/* Device=, after the death of a worker whose store's root had `files` as its st_dev: 1 when that is
 * mounted at the path still (device, filesystem and private mount are set then), 0, or -errno. */
int store_take_over(Store *store, dev_t files, uint64_t attributes, Failure *failure);
/* Is "hsmid=…" among the superblock's options? */
bool store_options_have_hsmid(const char *options);

/* Marks the root directory, durably, as a store's, for the guard. */
int store_declare(Store *store);

/* What the mount table says of a mount. */
struct store_mount_info {
        bool found;
        char *target, *filesystem, *source, *root, *options; /* owned; options of the superblock */
        dev_t device;                                        /* of the superblock */
        uint64_t id;
};
void store_mount_info_clear(struct store_mount_info *info);

/* The topmost mount at `path` (exactly there, canonical), or the mount with `id` if path is
 * NULL. 0 (`found` false when there is none), or -errno. */
int store_mount_info_load(const char *path, uint64_t id, struct store_mount_info *ret);

/* A mount of the superblock that has `device` as its number, or `source` and
 * `filesystem` as its origin (btrfs shows files under other numbers than its superblock's),
 * at any path but `except`. */
int store_mount_info_find(dev_t device, const char *source, const char *filesystem,
                          const char *except, struct store_mount_info *ret);

/* The id of the mount that `fd` is on. */
int store_mount_id(int fd, uint64_t *ret);

/* Only on these is told apart what is present and what is not. */
bool store_filesystem_is_supported(const char *filesystem);

/* What is on a block device; g_free(). -ENODATA: nothing that libblkid knows. */
int store_device_filesystem(const char *device, char **ret);

/* A new detached mount of the device's superblock, which is made if it is not mounted yet.
 * `name` is shown. `attributes`: MOUNT_ATTR_*. `hsmid` is tried, NULL: not. An owned
 * descriptor. */
int store_mount_device(const char *device, const char *name, const char *filesystem,
                       uint64_t attributes, const char *hsmid, int *ret, bool *ret_hsmid,
                       Failure *failure);
/* A detached clone of what is mounted at `path`, writable, with these attributes. */
int store_mount_clone(const char *path, uint64_t attributes, int *ret, Failure *failure);

/* Refuses, with a sentence, a filesystem on which absence could not be told or the
 * placeholder's state not be kept. `root` is of the private mount; `name` is shown. */
int store_probe(int root, const char *filesystem, const char *name, Failure *failure);

/* Called for each process that has a file, its working or its root directory on the filesystem whose
 * files show `files` as their device, or, in another mount namespace than ours, a mount of `superblock`; and
 * with pid 0 when our own namespace has a mount of it other than `own_mount`. False: no more of
 * them. Reads all of /proc: some milliseconds. */
typedef bool (*store_user_fn)(void *userdata, pid_t pid, const char *how);
void store_each_user(dev_t superblock, dev_t files, uint64_t own_mount, store_user_fn fn, void *userdata);
bool store_user_is(pid_t pid, dev_t superblock, dev_t files);
