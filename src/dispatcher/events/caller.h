/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * caller — what the thread that waits for an answer is doing
 *
 * The event does not say whether an access is a read, a write or a truncate(2), nor with
 * which flags a file is being opened. The thread does: it is blocked in its system
 * call, and /proc/TID/syscall shows the call's number and its register arguments,
 * which nobody but a tracer can change while it is blocked. Only what is
 * positively recognised counts; all else (io_uring workers, kernel threads, another pid
 * namespace, a thread not asleep yet, another architecture's numbers) is
 * CALLER_UNKNOWN, and the caller of this function takes the safe path.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum caller_call {
        CALLER_UNKNOWN,
        CALLER_RUNNING,     /* not asleep yet: look again in a moment */
        CALLER_READS,       /* read, pread64, readv, preadv(2), sendfile, splice, copy_file_range:
                               by a descriptor, and not truncate(2). Not mmap: a mapping may be
                               stretched (mremap, remap_file_pages) without another event */
        CALLER_OPENS_READ,  /* open, openat with O_RDONLY and without O_TRUNC, O_PATH */
        CALLER_OTHER,       /* recognised, and none of the above (truncate, openat for writing, execve, write…) */
};

/* Does not block. tid 0 is unknown. */
enum caller_call caller_look(pid_t tid);

/* Pure: one line of /proc/TID/syscall to what it means. */
enum caller_call caller_parse(const char *line);

/* The program's name as the kernel has it (comm of the thread group), into
 * `buffer`; false when it cannot be told. */
bool caller_program(pid_t tid, char buffer[static 16]);

/* Is the mount that `fd` (an event's) is on among the mounts that the thread sees? It is not when a
 * file system of the kernel's opened the file for it (overlayfs has a mount of its own),
 * which may then map it without an event. */
bool caller_has_mount(pid_t tid, int fd);

/* Real or effective uid of the thread, (uid_t)-1 when it cannot be told. */
uid_t caller_uid(pid_t tid);
