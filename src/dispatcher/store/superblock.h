/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * superblock — does the file system of a store live on?
 *
 * /proc shows who has a file of the store open (store-use.c), but not a file that is on its way
 * through a socket, nor one that an io_uring or the kernel itself has: a loop device, another file system
 * above. A file system lives as long as any of them, and inotify tells of its end (IN_UNMOUNT), when the last
 * file is closed. A watch does not keep it alive. So when we have let go of all that we have of it ourselves, the
 * watch is the whole truth.
 *
 * It is a number in the table of descriptors that supervisor and workers share (supervise.h): the supervisor
 * keeps the number free for it, and each worker puts a watch there as soon as it has the store, in one step
 * (dup3), whatever was there before. So it outlives the worker, and is always of the store that was opened last.
 *
 * Nothing is read from it: that events wait is the answer. Two for an end (IN_UNMOUNT, and IN_IGNORED of the watch);
 * one if only the watch is gone, with its directory (a subvolume of btrfs), and then nothing is known.
 */

enum superblock_state {
        SUPERBLOCK_UNKNOWN,
        SUPERBLOCK_LIVES,
        SUPERBLOCK_OVER,
};

/* A number for the watch, that stays the caller's; nothing is watched yet. -errno. */
int superblock_reserve(void);

/* `root`: a directory of the file system that is not removed; O_PATH will do, and it may be closed after that. On
 * failure (-EMFILE: fs.inotify.max_user_instances) the number has what it had. */
int superblock_watch(int number, int root);

/* UNKNOWN too for no number (0). */
enum superblock_state superblock_state(int number);
