/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * store — the managed filesystem: mounted, marked, attached, detached
 *
 *   open     mount out of sight (Device=) or find what is mounted (Path= alone);
 *            set the mark; make the private mount; probe what the filesystem can do
 *   attach   make it reachable at its public path (Device= only)
 *   detach   take it away again, so that no new access begins
 *   close    free all; with Device= the superblock goes when nobody uses it any more
 *
 * Two mounts of one superblock: the public one, on which everyone's accesses
 * raise events, and the private one, detached from every tree, on which none does.
 * All of the daemon's own I/O goes through the private one. Never touch a file by its
 * public path or by an event's descriptor, except to look at it.
 *
 * Store-wide private data lives in `.cloudsync/` (0700 root) at the store's root:
 * `staging/` for directories not yet in place. It is emptied at open.
 */

#include "dispatcher/failure.h"
#include "dispatcher/events/fan-group.h"
#include "dispatcher/store/holders.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct Store Store;

struct store_options {
        const char *path;       /* public path, absolute */
        const char *device;     /* block device or image file, or NULL: mounted already */
        const char *filesystem; /* or NULL: probed */
        const char *hsmid;      /* tried; NULL: not */
        const char *lock_dir;   /* where the lock against a second daemon is kept */
        dev_t attached;         /* not 0: a former worker was killed with this store (st_dev) attached, and
                                 * the group marks it; as little as possible is asked of the disk */
        int superblock_watch;   /* a number for it (superblock.h), or 0. That it cannot be watched is no failure */
};

#define STORE_PRIVATE_DIR ".cloudsync"
#define STORE_STAGING_DIR ".cloudsync/staging"

/* Nothing is left mounted, locked or looped on failure, but for what was so before (`attached`); the
 * failure's text is one line for an administrator. */
int store_open(const struct store_options *options, FanGroup *group, Store **ret, Failure *failure);
int store_attach(Store *store, Failure *failure);
/* Is it reachable at its public path already, left so by a daemon that was killed (or
 * because it is not ours to attach)? */
bool store_was_attached(const Store *store);
/* Does its path lead to it now? An administrator may have unmounted it. */
bool store_is_at_path(const Store *store);
/* Lazily detaches the public mount (Device=) so that no new access begins by path.
 * Path= alone: nothing to do, -EOPNOTSUPP. */
int store_detach(Store *store);
void store_close(Store *store);

int store_root(const Store *store);    /* root directory of the private mount; borrowed */
int store_staging(const Store *store); /* .cloudsync/staging; borrowed */
const char *store_path(const Store *store);
const char *store_filesystem(const Store *store);
bool store_has_device(const Store *store);
bool store_has_hsmid(const Store *store);

/* Does the BPF guard (guard/guard.h) answer for this store? Asked anew each time. */
enum store_guard {
        STORE_GUARD_NONE,
        STORE_GUARD_ACTIVE,
        STORE_GUARD_BLIND, /* it is there, and does not see our mark: it refuses what is not here */
};
enum store_guard store_guard(const Store *store);

dev_t store_device_number(const Store *store); /* st_dev of the root */
dev_t store_superblock(const Store *store);    /* as in mountinfo; 0: not known before it is attached */

/* What is filled is filled in whole granules: max(page, block), a power of two. */
uint64_t store_granule(const Store *store);
/* Bytes free for a fill now (statvfs, less a reserve that keeps the filesystem out
 * of its out-of-space paths). */
uint64_t store_free_bytes(const Store *store);

/* The same file through the private mount: O_RDONLY, O_RDWR, O_PATH…; a new
 * descriptor, or -errno (-ESTALE: gone). `fd` may be an event's, or an O_PATH one. */
int store_reopen(const Store *store, int fd, int flags);

/* Its path relative to the store's root ("" = the root; a deleted file has
 * " (deleted)" cut off). `fd` must be of the private mount. g_free(). */
int store_relative_path(const Store *store, int fd, char **ret);

/* Those who still use it, for a stop. */
Holders *store_holders(const Store *store, unsigned limit_s);
/* All dirty data and metadata of the store to disk; blocks: pool threads only. */
int store_sync(const Store *store);
/* The same, and an error if any write-back failed since the last call: the kernel says that once to each open file.
 * For settle.c alone, which must hear of every one. */
int store_sync_and_tell(const Store *store);
