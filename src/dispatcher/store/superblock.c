/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/store/superblock.h"

#include "shared/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>

int superblock_reserve(void) {
        int fd = open("/dev/null", O_PATH | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

int superblock_watch(int number, int root) {
        autoclose int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        char path[32];

        if (fd < 0)
                return -errno;
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", root);
        if (inotify_add_watch(fd, path, IN_UNMOUNT | IN_ONLYDIR) < 0 || dup3(fd, number, O_CLOEXEC) < 0)
                return -errno;
        return 0;
}

enum superblock_state superblock_state(int number) {
        int bytes;

        if (number <= 0 || ioctl(number, FIONREAD, &bytes) < 0)
                return SUPERBLOCK_UNKNOWN;
        if (bytes == 0)
                return SUPERBLOCK_LIVES;
        return (size_t)bytes >= 2 * sizeof(struct inotify_event) ? SUPERBLOCK_OVER : SUPERBLOCK_UNKNOWN;
}
