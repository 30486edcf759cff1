/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * channel-io — packets over the socket, and the memory that slots live in; see
 * channel.h
 *
 * The slots' memfd is sealed against every change of size before anyone else
 * has it: neither side can be sent a SIGBUS by the other.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/channel.h"
#include "shared/fd.h"

#define SLOTS_BYTES ((size_t)CHANNEL_SLOTS * CHANNEL_SLOT_SIZE)
#define SLOTS_SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

/* Room for more descriptors than are allowed, so that too many are seen and
 * closed here and do not merely vanish as MSG_CTRUNC. */
#define RECEIVE_FDS_MAX 4

union control {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * RECEIVE_FDS_MAX)];
};

int channel_send(int socket, const void *packet, size_t length, int fd) {
        union control control = {0};
        struct iovec iov = {(void *)(uintptr_t)packet, length};
        struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
        struct cmsghdr *c;
        ssize_t n;

        if (fd >= 0) {
                msg.msg_control = control.bytes;
                msg.msg_controllen = CMSG_SPACE(sizeof(int));
                c = CMSG_FIRSTHDR(&msg);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int));
                memcpy(CMSG_DATA(c), &fd, sizeof(fd));
        }
        do {
                n = sendmsg(socket, &msg, MSG_NOSIGNAL);
        } while (n < 0 && errno == EINTR);
        if (n < 0)
                return errno == EWOULDBLOCK ? -EAGAIN : -errno;
        return (size_t)n == length ? 0 : -EMSGSIZE;
}

/* Takes the first descriptor, closes the others; how many there were. */
static size_t collect_fds(struct msghdr *msg, int *ret_fd) {
        size_t count = 0;

        for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
                size_t n;

                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                for (size_t i = 0; i < n; i++, count++) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
                        if (count == 0)
                                *ret_fd = fd;
                        else
                                (void)fd_close(fd);
                }
        }
        return count;
}

int channel_receive(int socket, void *packet, size_t capacity, int *ret_fd) {
        union control control;
        struct iovec iov = {packet, capacity};
        struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
        autoclose int fd = -1;
        int resets = 0;
        ssize_t n;

        *ret_fd = -1;
        /* A peer that closes with something of ours unread leaves ECONNRESET, told once and before
         * what it had sent: its last words (FAILED) are still in the queue. */
        do {
                n = recvmsg(socket, &msg, MSG_CMSG_CLOEXEC);
        } while (n < 0 && (errno == EINTR || (errno == ECONNRESET && resets++ == 0)));
        if (n < 0)
                return errno == EWOULDBLOCK ? -EAGAIN : -errno;
        if (collect_fds(&msg, &fd) > 1 || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
                return -EBADMSG;
        /* An empty packet looks like the end of file, and is treated as one. */
        if (n > 0)
                *ret_fd = fd_steal(&fd);
        return (int)n;
}

int channel_slots_create(void) {
        autoclose int fd = memfd_create("cloudsync-slots", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        if (fd < 0 || ftruncate(fd, SLOTS_BYTES) < 0 ||
            fcntl(fd, F_ADD_SEALS, SLOTS_SEALS | F_SEAL_SEAL) < 0)
                return -errno;
        return fd_steal(&fd);
}

void *channel_slots_map(int fd, bool writable) {
        struct stat st;
        int seals = fcntl(fd, F_GET_SEALS);
        void *slots;

        if (seals < 0 || fstat(fd, &st) < 0)
                return NULL;
        if ((seals & SLOTS_SEALS) != SLOTS_SEALS || st.st_size != (off_t)SLOTS_BYTES) {
                errno = EBADMSG;
                return NULL;
        }
        slots = mmap(NULL, SLOTS_BYTES, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, 0);
        return slots == MAP_FAILED ? NULL : slots;
}

void channel_slots_unmap(void *slots) {
        if (slots)
                (void)munmap(slots, SLOTS_BYTES);
}
