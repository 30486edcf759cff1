/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Descriptors that close themselves. One may be held for its own sake: no warning where it is. */

#include <errno.h>
#include <unistd.h>

#define autoclose __attribute__((cleanup(fd_cleanup), unused))

/* Closes `fd` when it is one, keeps errno, returns -1: `fd = fd_close(fd)`. */
static inline int fd_close(int fd) {
        if (fd >= 0) {
                int saved = errno;
                (void)close(fd);
                errno = saved;
        }
        return -1;
}

static inline void fd_cleanup(int *fd) {
        *fd = fd_close(*fd);
}

/* Hands the descriptor over and forgets it. */
static inline int fd_steal(int *fd) {
        int r = *fd;
        *fd = -1;
        return r;
}
