/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * /proc/TID/syscall of a blocked thread is one line,
 *
 *     NR 0xARG0 … 0xARG5 0xSP 0xPC        in a system call
 *     -1 0xSP 0xPC                        blocked outside one (a page fault)
 *     running                             on a CPU, or about to be
 *
 * NR is of the ABI that the thread called by. A 32-bit call has other numbers than
 * ours and nothing in the line tells them apart, except that its arguments, stack and
 * program counter all fit in 32 bits; no 64-bit program has its stack there
 * (unless it went out of its way to), so such a line is unknown. x32 calls carry
 * bit 30 in NR. What io_uring does for a thread, at submission or in
 * a worker, is not in the line either: io_uring_enter is unknown.
 *
 * A thread can lie about itself only by what it does: flags behind a pointer
 * (openat2) may be changed by another thread after the kernel copied them, so
 * only registers count.
 */

#include "dispatcher/events/caller.h"
#include "shared/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ARGUMENTS 6
#define FIELDS (ARGUMENTS + 2) /* and the stack pointer and program counter */

/* Reads /proc/TID/NAME into `buffer` as a string. Returns its length or -errno. */
static ssize_t read_proc(pid_t tid, const char *name, char *buffer, size_t capacity) {
        char path[64];

        if (tid <= 0)
                return -ESRCH;
        snprintf(path, sizeof path, "/proc/%d/%s", (int)tid, name);
        autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        ssize_t n = read(fd, buffer, capacity - 1);
        if (n < 0)
                return -errno;
        buffer[n] = '\0';
        return n;
}

/* The flags of an open(2): a reader, or someone who may change the file? O_PATH opens
 * raise no event, but are harmless if they ever should. */
static enum caller_call open_flags(uint64_t flags) {
        if (flags & O_PATH)
                return CALLER_OPENS_READ;
        if ((flags & O_ACCMODE) == O_RDONLY && !(flags & O_TRUNC))
                return CALLER_OPENS_READ;
        return CALLER_OTHER;
}

static enum caller_call call_meaning(long number, const uint64_t arguments[static ARGUMENTS]) {
        switch (number) {
#ifdef __NR_open
        case __NR_open:
                return open_flags(arguments[1]);
#endif
#ifdef __NR_openat
        case __NR_openat:
                return open_flags(arguments[2]);
#endif
#ifdef __NR_read
        case __NR_read:
#endif
#ifdef __NR_pread64
        case __NR_pread64:
#endif
#ifdef __NR_readv
        case __NR_readv:
#endif
#ifdef __NR_preadv
        case __NR_preadv:
#endif
#ifdef __NR_preadv2
        case __NR_preadv2:
#endif
#ifdef __NR_sendfile
        case __NR_sendfile:
#endif
#ifdef __NR_sendfile64
        case __NR_sendfile64:
#endif
#ifdef __NR_splice
        case __NR_splice:
#endif
#ifdef __NR_copy_file_range
        case __NR_copy_file_range:
#endif
                return CALLER_READS;
#ifdef __NR_io_uring_enter
        case __NR_io_uring_enter:
                return CALLER_UNKNOWN;
#endif
        case -1:
                return CALLER_UNKNOWN;
        default:
                return CALLER_OTHER;
        }
}

/* A hexadecimal field with its 0x; false when there is none. */
static bool take_field(const char **line, uint64_t *ret) {
        const char *p = *line;
        char *end;

        if (strncmp(p, " 0x", 3) != 0 || !g_ascii_isxdigit(p[3]))
                return false;
        errno = 0;
        *ret = strtoull(p + 3, &end, 16);
        *line = end;
        return errno == 0;
}

static bool is_32bit_call(const uint64_t fields[static FIELDS]) {
        if (sizeof(void *) == 4)
                return false;
        for (unsigned i = 0; i < FIELDS; i++)
                if (fields[i] > UINT32_MAX)
                        return false;
        return true;
}

enum caller_call caller_parse(const char *line) {
        uint64_t fields[FIELDS];
        char *end;

        if (strcmp(line, "running\n") == 0 || strcmp(line, "running") == 0)
                return CALLER_RUNNING;
        if (!g_ascii_isdigit(line[0])) /* "-1 …", or nothing that we know */
                return CALLER_UNKNOWN;
        errno = 0;
        long number = strtol(line, &end, 10);
        if (errno != 0 || end == line)
                return CALLER_UNKNOWN;

        const char *p = end;
        for (unsigned i = 0; i < FIELDS; i++)
                if (!take_field(&p, &fields[i]))
                        return CALLER_UNKNOWN;
        if (strcmp(p, "\n") != 0 && *p != '\0')
                return CALLER_UNKNOWN;
        if (is_32bit_call(fields))
                return CALLER_UNKNOWN;
#ifdef __X32_SYSCALL_BIT
        if (number & __X32_SYSCALL_BIT)
                return CALLER_UNKNOWN;
#endif
        return call_meaning(number, fields);
}

/* A thread that reads by ranges is looked at for each of its reads: its file stays open. It
 * goes with the thread (ESRCH from then on), never to another one of the same number. */
static ssize_t read_syscall(pid_t tid, char *buffer, size_t capacity) {
        static struct {
                pid_t tid;
                int fd;
        } kept[4];
        const unsigned i = (unsigned)tid % G_N_ELEMENTS(kept);

        if (tid <= 0)
                return -ESRCH;
        for (int attempt = 0;; attempt++) {
                if (kept[i].tid != tid) {
                        char path[64];

                        if (kept[i].tid != 0)
                                fd_close(kept[i].fd);
                        kept[i].tid = 0;
                        snprintf(path, sizeof path, "/proc/%d/syscall", (int)tid);
                        kept[i].fd = open(path, O_RDONLY | O_CLOEXEC);
                        if (kept[i].fd < 0)
                                return -errno;
                        kept[i].tid = tid;
                        attempt = 1;
                }
                ssize_t n = pread(kept[i].fd, buffer, capacity - 1, 0);
                if (n >= 0) {
                        buffer[n] = '\0';
                        return n;
                }
                fd_close(kept[i].fd);
                kept[i].tid = 0;
                if (attempt > 0)
                        return -ESRCH;
        }
}

enum caller_call caller_look(pid_t tid) {
        char line[512];
        if (read_syscall(tid, line, sizeof line) <= 0)
                return CALLER_UNKNOWN;
        return caller_parse(line);
}

/* The value of "Key:\t" in /proc/TID/status. The name in its first line is escaped by the
 * kernel, so no program can forge a line of its own. */
static bool status_number(pid_t tid, const char *key, unsigned index, uint64_t *ret) {
        char text[4096];

        if (read_proc(tid, "status", text, sizeof text) <= 0)
                return false;
        const char *p = strstr(text, key);
        if (p == NULL)
                return false;
        p += strlen(key);
        for (unsigned i = 0; i <= index; i++) {
                char *end;
                errno = 0;
                *ret = strtoull(p, &end, 10);
                if (errno != 0 || end == p)
                        return false;
                p = end;
        }
        return true;
}

bool caller_program(pid_t tid, char buffer[static 16]) {
        uint64_t leader;
        char name[32];

        if (!status_number(tid, "\nTgid:", 0, &leader) || leader == 0 || leader > INT32_MAX)
                return false;
        ssize_t n = read_proc((pid_t)leader, "comm", name, sizeof name);
        if (n <= 0)
                return false;
        if (name[n - 1] == '\n')
                name[n - 1] = '\0';
        g_strlcpy(buffer, name, 16);
        return true;
}

uid_t caller_uid(pid_t tid) {
        uint64_t uid;
        /* Real, effective, saved, filesystem: the effective one. */
        if (!status_number(tid, "\nUid:", 1, &uid) || uid > UINT32_MAX)
                return (uid_t)-1;
        return (uid_t)uid;
}

bool caller_has_mount(pid_t tid, int fd) {
        struct statx stx;
        char *line = NULL, path[64];
        size_t capacity = 0;
        bool found = false;

        if (tid <= 0 || statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx) < 0 ||
            !(stx.stx_mask & STATX_MNT_ID))
                return false;
        snprintf(path, sizeof path, "/proc/%d/mountinfo", (int)tid);
        FILE *file = fopen(path, "re");
        if (file == NULL)
                return false;
        while (!found && getline(&line, &capacity, file) >= 0)
                found = strtoull(line, NULL, 10) == stx.stx_mnt_id;
        free(line);
        fclose(file);
        return found;
}
