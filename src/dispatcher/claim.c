/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/claim.h"

#include <errno.h>
#include <fcntl.h>

int claim_take(FanGroup *group, int fd) {
        int r = fan_group_unsilence(group, fd);

        if (r < 0)
                return r;
        fan_group_hold(group);
        if (fcntl(fd, F_SETLEASE, F_WRLCK) == 0)
                return 0;
        r = errno == EAGAIN ? -EBUSY : -errno;
        fan_group_resume(group);
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
