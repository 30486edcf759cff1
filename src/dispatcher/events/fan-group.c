/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The fanotify group, and the bytes that it speaks.
 *
 * Flags of the group, and why:
 *   FAN_CLASS_PRE_CONTENT  the only class that may carry FAN_PRE_ACCESS
 *   FAN_UNLIMITED_QUEUE    the kernel's queue is the backpressure: an event that did
 *                          not fit would be allowed, and its reader see a hole
 *   FAN_REPORT_TID         the thread that waits, for /proc/TID/syscall
 *   FAN_REPORT_FD_ERROR    a descriptor that cannot be made is told in its event,
 *                          instead of failing the read of all events behind it
 *
 * Event descriptors are O_RDONLY: O_RDWR fails with EROFS for an access through a
 * read-only mount. They are O_NONBLOCK, because the kernel opens them inside our
 * read(2), and without it anyone who holds a write lease on a file of theirs, and has
 * someone open it, would stop this process until the lease is broken by force (45 s).
 * With it, that open is refused instead.
 *
 * An event whose descriptor could not be made has been denied by the kernel before
 * we see it (fanotify_read: fd < 0 → FAN_DENY, so EPERM); it is only counted here. It cannot
 * be made up for: such an event has no number by which it could be answered later, and whether
 * opens block is said once for a group. (Blocking ones, with threads to wait in them, would be
 * stopped all the same by a user with one lease more than there are threads, for 45 s each time.)
 * What a user meets of it: who opens a file that was fetched a moment ago, or is partly here, while its
 * only opener holds a write lease (Samba's exclusive oplocks are such), gets EPERM once. That
 * same attempt has told the holder to give the lease back, so that the next one goes through;
 * and files that are WHOLE raise no events, so that openers wait for leases as they do elsewhere.
 */

#include "dispatcher/events/fan-group.h"
#include "dispatcher/events/fanotify-compat.h"
#include "dispatcher/events/journal.h"
#include "shared/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STORE_MASK (FAN_PRE_ACCESS | FAN_OPEN_PERM)
/* Not the reading of a directory alone: btrfs notes at open where the directory ends
 * (since 6.5, against endless listings) and shows nothing that came later. */
#define DIRECTORY_MASK (FAN_OPEN_PERM | FAN_ACCESS_PERM | FAN_ONDIR)
/* One read takes at most this many events. */
#define READ_EVENTS_MAX 256u

struct FanGroup {
        int fd;
        bool owned;
        Journal *journal; /* NULL: none (tests, tools) */
        bool broken;      /* the kernel said something that we cannot parse */
        GMutex reading;   /* see fan_group_hold() */
};

int fan_group_create(void) {
        const unsigned flags = FAN_CLASS_PRE_CONTENT | FAN_CLOEXEC | FAN_NONBLOCK | FAN_UNLIMITED_QUEUE |
                               FAN_UNLIMITED_MARKS | FAN_REPORT_TID;
        const unsigned event_flags = O_RDONLY | O_LARGEFILE | O_CLOEXEC | O_NOATIME | O_NONBLOCK;

        autoclose int fd = fanotify_init(flags | FAN_REPORT_FD_ERROR, event_flags);
        if (fd < 0 && errno == EINVAL) /* before 6.13; the mark will say the rest */
                fd = fanotify_init(flags, event_flags);
        return fd < 0 ? -errno : fd_steal(&fd);
}

int fan_group_new(FanGroup **ret) {
        int fd = fan_group_create();
        if (fd < 0)
                return fd;
        *ret = fan_group_adopt(fd, NULL);
        (*ret)->owned = true;
        return 0;
}

FanGroup *fan_group_adopt(int fd, Journal *journal) {
        FanGroup *group = g_new0(FanGroup, 1);
        group->fd = fd;
        group->journal = journal;
        g_mutex_init(&group->reading);
        return group;
}

Journal *fan_group_journal(const FanGroup *group) {
        return group->journal;
}

void fan_group_free(FanGroup *group) {
        if (group == NULL)
                return;
        if (group->owned)
                fd_close(group->fd);
        g_mutex_clear(&group->reading);
        g_free(group);
}

void fan_group_hold(FanGroup *group) {
        g_mutex_lock(&group->reading);
}

void fan_group_resume(FanGroup *group) {
        g_mutex_unlock(&group->reading);
}

int fan_group_fd(const FanGroup *group) {
        return group->fd;
}

/* fanotify_mark() by descriptor. It takes no O_PATH descriptor (EBADF), so those go
 * by their name in /proc. */
static int group_mark(FanGroup *group, unsigned flags, uint64_t mask, int fd) {
        if (fanotify_mark(group->fd, flags, mask, fd, NULL) >= 0)
                return 0;
        if (errno != EBADF || fcntl(fd, F_GETFD) < 0)
                return -errno;

        char path[32];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        return fanotify_mark(group->fd, flags, mask, AT_FDCWD, path) < 0 ? -errno : 0;
}

int fan_group_watch_store(FanGroup *group, int dir_fd) {
        return group_mark(group, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, STORE_MASK, dir_fd);
}

int fan_group_unwatch_store(FanGroup *group, int dir_fd) {
        return group_mark(group, FAN_MARK_REMOVE | FAN_MARK_FILESYSTEM, STORE_MASK, dir_fd);
}

int fan_group_ignore_mount(FanGroup *group, int dir_fd) {
        const unsigned flags = FAN_MARK_ADD | FAN_MARK_MOUNT | FAN_MARK_IGNORE_SURV;

        /* In two steps: FAN_PRE_ACCESS and FAN_ONDIR in one call are EINVAL, and
         * without FAN_ONDIR our own readdir of a watched directory would wait for us. */
        int r = group_mark(group, flags, STORE_MASK, dir_fd);
        if (r < 0)
                return r;
        return group_mark(group, flags, DIRECTORY_MASK, dir_fd);
}

int fan_group_silence(FanGroup *group, int fd, bool opens) {
        return group_mark(group, FAN_MARK_ADD | FAN_MARK_IGNORE_SURV | FAN_MARK_EVICTABLE,
                          opens ? STORE_MASK : FAN_PRE_ACCESS, fd);
}

int fan_group_unsilence(FanGroup *group, int fd) {
        int r = group_mark(group, FAN_MARK_REMOVE | FAN_MARK_IGNORE_SURV, STORE_MASK, fd);
        return r == -ENOENT ? 0 : r; /* evicted, or never there */
}

int fan_group_watch_directory(FanGroup *group, int dir_fd) {
        return group_mark(group, FAN_MARK_ADD | FAN_MARK_ONLYDIR, DIRECTORY_MASK, dir_fd);
}

int fan_group_unwatch_directory(FanGroup *group, int dir_fd) {
        int r = group_mark(group, FAN_MARK_REMOVE | FAN_MARK_ONLYDIR, DIRECTORY_MASK, dir_fd);
        return r == -ENOENT ? 0 : r;
}

/* The records behind an event's metadata: takes the range out of them. */
static int parse_records(const uint8_t *records, size_t length, struct fan_event *event) {
        while (length > 0) {
                struct fanotify_event_info_header header;
                if (length < sizeof header)
                        return -EBADMSG;
                memcpy(&header, records, sizeof header);
                if (header.len < sizeof header || header.len > length)
                        return -EBADMSG;

                if (header.info_type == FAN_EVENT_INFO_TYPE_RANGE) {
                        struct fan_info_range range;
                        if (header.len < sizeof range)
                                return -EBADMSG;
                        memcpy(&range, records, sizeof range);
                        event->offset = range.offset;
                        event->count = range.count;
                }
                records += header.len;
                length -= header.len;
        }
        return 0;
}

int fan_buffer_next(const void *buffer, size_t length, size_t *position, struct fan_event *ret) {
        struct fanotify_event_metadata metadata;
        const uint8_t *p = (const uint8_t *)buffer + *position;
        size_t left = length - *position;

        if (*position > length)
                return -EBADMSG;
        if (left == 0)
                return 0;
        if (left < sizeof metadata)
                return -EBADMSG;
        memcpy(&metadata, p, sizeof metadata);
        if (metadata.vers != FANOTIFY_METADATA_VERSION || metadata.metadata_len < sizeof metadata ||
            metadata.event_len < metadata.metadata_len || metadata.event_len > left)
                return -EBADMSG;

        struct fan_event event = {.fd = metadata.fd, .tid = metadata.pid};
        if (metadata.mask & FAN_PRE_ACCESS) {
                event.kind = FAN_KIND_ACCESS;
                event.count = INT64_MAX; /* no range told: the whole file */
        } else if (metadata.mask & FAN_OPEN_PERM) {
                event.kind = FAN_KIND_OPEN;
        } else if (metadata.mask & FAN_ACCESS_PERM) {
                event.kind = FAN_KIND_READDIR;
        } else if (!(metadata.mask & FAN_Q_OVERFLOW) || metadata.fd >= 0) {
                return -EBADMSG;
        }
        int r = parse_records(p + metadata.metadata_len, metadata.event_len - metadata.metadata_len,
                              &event);
        if (r < 0)
                return r;

        *position += metadata.event_len;
        *ret = event;
        return 1;
}

/* The kernel does not say on what an open is: that of a watched directory looks as that
 * of a file. FIFOs and devices raise none today (6.18); they would not be ours (false). */
static bool event_classify(struct fan_event *event) {
        struct stat st;
        if (event->kind != FAN_KIND_OPEN || fstat(event->fd, &st) < 0)
                return true;
        if (S_ISDIR(st.st_mode))
                event->kind = FAN_KIND_READDIR;
        return S_ISREG(st.st_mode) || S_ISDIR(st.st_mode);
}

int fan_group_read(FanGroup *group, struct fan_event *events, size_t n, unsigned *ret_lost) {
        /* An event takes sizeof(metadata) bytes, with a range twice as many: a buffer for n
         * of the short ones never holds more than n, and holds a long one from n = 2 on. */
        uint8_t own[READ_EVENTS_MAX * FAN_EVENT_METADATA_LEN] __attribute__((aligned(8)));
        uint8_t *buffer = group->journal != NULL ? journal_buffer(group->journal) : own;
        size_t capacity = MIN(n, READ_EVENTS_MAX) * FAN_EVENT_METADATA_LEN;
        ssize_t length;

        if (group->broken)
                return -EBADMSG;
        if (n < 2)
                return -EINVAL;
        fan_group_hold(group);
        do
                length = read(group->fd, buffer, capacity);
        while (length < 0 && errno == EINTR);
        int error = errno;
        fan_group_resume(group);
        if (length < 0)
                return error == EAGAIN ? 0 : -error;

        size_t position = 0, taken = 0;
        struct fan_event event;
        int r;
        while ((r = fan_buffer_next(buffer, (size_t)length, &position, &event)) > 0) {
                if (event.fd < 0)
                        (*ret_lost)++;
                else {
                        /* What is neither file nor directory is handed out as an access, and
                         * allowed as not ours: nothing is answered before the journal knows all. */
                        if (!event_classify(&event))
                                event.kind = FAN_KIND_ACCESS;
                        if (group->journal != NULL)
                                (void)journal_add(group->journal, &event);
                        events[taken++] = event;
                }
        }
        if (group->journal != NULL && length > 0)
                journal_buffer_done(group->journal);
        if (r < 0)
                group->broken = true; /* hand out what was taken first */
        /* 0 may also mean that all of these were not for the caller; whatever is still
         * queued keeps the group readable. */
        return taken > 0 || r == 0 ? (int)taken : r;
}

/* fanotify lets only these through (fanotify_response() in the kernel); any other
 * makes the write fail with EINVAL and leaves the event unanswered. */
static uint32_t response_for(int r) {
        if (r == 0)
                return FAN_ALLOW;
        switch (-r) {
        case EPERM:
        case EIO:
        case EBUSY:
        case ETXTBSY:
        case EAGAIN:
        case ENOSPC:
        case EDQUOT:
                return FAN_DENY_ERRNO(-r);
        default:
                return FAN_DENY_ERRNO(EIO);
        }
}

static int write_response(FanGroup *group, int fd, uint32_t response) {
        struct fanotify_response answer = {.fd = fd, .response = response};
        ssize_t n;
        do
                n = write(group->fd, &answer, sizeof answer);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : 0;
}

void fan_group_deny_numbers(int group, int first, int end) {
        for (int number = first; number < end; number++) {
                struct fanotify_response answer = {.fd = number, .response = response_for(-EIO)};
                ssize_t n;
                do
                        n = write(group, &answer, sizeof answer);
                while (n < 0 && errno == EINTR);
                if (n < 0 && errno == EINVAL) { /* a kernel without reasons: plain EPERM */
                        answer.response = FAN_DENY;
                        n = write(group, &answer, sizeof answer);
                }
        }
}

int fan_group_answer(FanGroup *group, struct fan_event *event, int r) {
        if (event->fd < 0)
                return -EBADF;

        int answered = write_response(group, event->fd, response_for(r));
        if (answered == -EINVAL && r < 0)
                answered = write_response(group, event->fd, FAN_DENY); /* plain EPERM */
        /* The entry ends after the answer, and the descriptor is closed last: its number names
         * the event (see journal.h). */
        if (group->journal != NULL)
                journal_end(group->journal, event->fd);
        event->fd = fd_close(event->fd);
        return answered == -ENOENT ? 0 : answered; /* ENOENT: the thread was killed */
}
