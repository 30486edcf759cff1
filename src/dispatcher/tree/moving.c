/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/tree/moving.h"

#include "dispatcher/files/claim.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static int begin_claimed(struct moving *m) {
        struct stat st;
        int r;

        if (fstat(m->fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EEXIST;
        r = stamp_read(m->fd, st.st_ino, &m->stamp);
        if (r < 0)
                return r == -ENODATA ? -EEXIST : r;
        if (!stamp_is_unmodified(&m->stamp, &st))
                return -EEXIST;
        m->whole = m->stamp.state == STAMP_WHOLE && m->stamp.size > 0;
        if (!m->whole)
                return 0;
        m->stamp.state = STAMP_FILLED;
        m->stamp.boot = stamp_boot();
        return stamp_write(m->fd, &m->stamp);
}

int moving_begin(FanGroup *group, int fd, struct moving *ret) {
        int r;

        *ret = (struct moving){.group = group, .fd = fd};
        r = claim_take(group, fd);
        if (r < 0)
                return r;
        r = begin_claimed(ret);
        if (r < 0) {
                claim_drop(group, fd);
                stamp_clear(&ret->stamp);
        }
        return r;
}

/* The lease asked for once more: refused when others have it open, or wait to. */
bool moving_is_alone(const struct moving *m) {
        return fcntl(m->fd, F_SETLEASE, F_WRLCK) == 0;
}

int moving_end(struct moving *m, uint64_t parent, const char *name) {
        int r = 0;

        if (m->whole)
                m->stamp.state = STAMP_WHOLE;
        if (parent) {
                m->stamp.parent = parent;
                m->stamp.name = stamp_name(name);
        }
        if (m->whole || parent)
                r = stamp_write(m->fd, &m->stamp);
        claim_drop(m->group, m->fd);
        stamp_clear(&m->stamp);
        return r;
}
