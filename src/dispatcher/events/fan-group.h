/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * fan-group — the fanotify group: marks, events, answers
 *
 * The only file that includes <sys/fanotify.h> (with what older headers lack).
 * It knows descriptors and numbers, nothing of files, engines or policy.
 *
 * The kernel allows every pending event when the last descriptor of the group
 * closes. So whoever frees a group has made sure before that nobody can be
 * waiting: the store is detached and unmounted, or every event answered.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct FanGroup FanGroup;

enum fan_kind {
        FAN_KIND_OPEN,    /* FAN_OPEN_PERM on a regular file */
        FAN_KIND_ACCESS,  /* FAN_PRE_ACCESS: read, write, truncate(2), mmap, …; has a range */
        FAN_KIND_READDIR, /* FAN_OPEN_PERM or FAN_ACCESS_PERM on a watched directory */
};

struct fan_event {
        enum fan_kind kind;
        int fd;           /* read-only, the accessor's mount; the receiver's until answered */
        pid_t tid;        /* the thread that waits, 0 when it is not in our pid namespace */
        uint64_t offset;  /* ACCESS: bytes, rounded out to pages by the kernel */
        uint64_t count;   /* ACCESS: bytes, may be 0 */
};

/* FAN_CLASS_PRE_CONTENT, non-blocking, unlimited queue and marks, TIDs, read-only
 * event descriptors, FAN_REPORT_FD_ERROR where the kernel has it.
 * -ENOSYS/-EINVAL: the kernel is too old (older than 6.14) or lacks permission events. */
int fan_group_new(FanGroup **ret);
/* The same, as a descriptor; and an object for a group that exists already, whose events go
 * through `journal` (borrowed). The descriptor is borrowed: it outlives the object. */
int fan_group_create(void);
struct Journal;
FanGroup *fan_group_adopt(int fd, struct Journal *journal);
struct Journal *fan_group_journal(const FanGroup *group); /* borrowed, or NULL */
void fan_group_free(FanGroup *group);
int fan_group_fd(const FanGroup *group); /* borrowed; readable = events wait */

/* No event is read in between, on whatever thread that is (fan_group_read() waits): for who holds a
 * lease on a file of the store for a moment. The kernel opens an event's file when
 * the event is read, and denies the access when it meets a lease. */
void fan_group_hold(FanGroup *group);
void fan_group_resume(FanGroup *group);

/* Watches the whole filesystem that `dir_fd` is on: opens of regular files, pre-content
 * access. -EOPNOTSUPP: this filesystem cannot. */
int fan_group_watch_store(FanGroup *group, int dir_fd);
int fan_group_unwatch_store(FanGroup *group, int dir_fd);

/* Whatever happens through the mount of `dir_fd` raises nothing: for the private mount. */
int fan_group_ignore_mount(FanGroup *group, int dir_fd);

/* Silences an inode until it leaves the cache (evictable): accesses, and opens as
 * well if `opens`. Survives modification. */
int fan_group_silence(FanGroup *group, int fd, bool opens);
int fan_group_unsilence(FanGroup *group, int fd);

/* Raises READDIR before a directory is opened (on btrfs, what is made after that is not
 * listed), and before it is read. Not evictable: the kernel keeps the inode until unwatch. */
int fan_group_watch_directory(FanGroup *group, int dir_fd);
int fan_group_unwatch_directory(FanGroup *group, int dir_fd);

/* Reads up to n events (n ≥ 2). Returns how many; 0: none now, wait for the group to be
 * readable; negative: the group is broken. Events that are not ours to decide (an fd error, an overflow) are answered
 * or counted here and not returned: an event whose descriptor could not be opened
 * is denied when the kernel lets us, and `*ret_lost` counts it. */
int fan_group_read(FanGroup *group, struct fan_event *events, size_t n, unsigned *ret_lost);

/* Answers an event: 0 allows; a negative errno denies with it, or with EIO where
 * the kernel does not pass that errno on. Then closes `event->fd` (= -1). An
 * event that is gone already (its thread was killed) is not an error. */
int fan_group_answer(FanGroup *group, struct fan_event *event, int r);

/* Denies (EIO) whatever waits under the numbers [first, end) of a group. For a group of which
 * it is not known what waits: the kernel takes no answer to what does not. */
void fan_group_deny_numbers(int group, int first, int end);

/* Pure: the buffer that read(2) on the group fills, event by event. For tests
 * and the fuzzer. Does not tell an open of a directory from one of a file. Returns 1 and *ret (fd < 0: -errno of the open), 0 at the end, -EBADMSG. */
int fan_buffer_next(const void *buffer, size_t length, size_t *position, struct fan_event *ret);
