/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/store/seal.h"

#include <errno.h>
#include <glib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#define LEAD_NS (32u * 1000)

static uint64_t nanoseconds(const struct timespec *t) {
        return t->tv_sec < 0 ? 0 : (uint64_t)t->tv_sec * 1000000000u + (uint64_t)t->tv_nsec;
}

static uint64_t now(void) {
        struct timespec t;

        (void)clock_gettime(CLOCK_REALTIME, &t);
        return nanoseconds(&t);
}

uint64_t seal_begin(unsigned attempt) {
        return now() + ((uint64_t)LEAD_NS << attempt);
}

/* A file whose ctime is there to be moved, by any thread: each later ctime that is seen of it tells the
 * same, whoever moved it. Lives as long as the process. */
static int scratch(void) {
        static gsize made; /* the descriptor and 1, or 1 */

        if (g_once_init_enter(&made)) {
                int fd = memfd_create("cloudsync-seal", MFD_CLOEXEC);
                g_once_init_leave(&made, fd < 0 ? 1 : (gsize)fd + 1);
        }
        return made > 1 ? (int)made - 1 : -ENFILE;
}

/* Has the kernel take a ctime from the real clock: later than `seal`, or -EAGAIN. The first
 * change may be given the last tick, and so may any after which a tick passed. */
static int advance(uint64_t seal) {
        int fd = scratch();
        struct stat st;

        if (fd < 0)
                return fd;
        for (unsigned i = 0; i < 4; i++) {
                if (fchmod(fd, 0600) < 0 || fstat(fd, &st) < 0)
                        return -errno;
                if (nanoseconds(&st.st_ctim) > seal)
                        return 0;
        }
        return -EAGAIN;
}

int seal_end(int fd, uint64_t seal) {
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (nanoseconds(&st.st_ctim) > seal)
                return -EAGAIN;
        while (now() <= seal)
                ;
        return advance(seal);
}

bool seal_is_broken(uint64_t seal, const struct stat *st) {
        return seal == 0 || nanoseconds(&st->st_ctim) > seal;
}
