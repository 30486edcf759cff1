/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/files/claim.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>

/* We ourselves open files for a moment (settle.c, ahead-walk.c): asked again before it counts. */
#define TRIES 4u
#define PAUSE_US 1000

/* Heard again before the lease; and once more behind it, if the main loop has just silenced it and closed
 * it: with the lease, nobody has a descriptor to do that by. */
static int take_once(FanGroup *group, int fd) {
        int r = fan_group_unsilence(group, fd);

        if (r < 0)
                return r;
        fan_group_hold(group);
        if (fcntl(fd, F_SETLEASE, F_WRLCK) == 0) {
                (void)fan_group_unsilence(group, fd);
                return 0;
        }
        r = errno == EAGAIN ? -EBUSY : -errno;
        fan_group_resume(group);
        return r;
}

int claim_take(FanGroup *group, int fd) {
        int r;

        for (unsigned i = 0; (r = take_once(group, fd)) == -EBUSY && i + 1 < TRIES; i++)
                g_usleep(PAUSE_US);
        return r;
}

int claim_also(FanGroup *group, int fd) {
        int r = fan_group_unsilence(group, fd);

        if (r == 0 && fcntl(fd, F_SETLEASE, F_WRLCK) < 0)
                r = errno == EAGAIN ? -EBUSY : -errno;
        return r;
}

void claim_drop(FanGroup *group, int fd) {
        (void)fcntl(fd, F_SETLEASE, F_UNLCK);
        fan_group_resume(group);
}
