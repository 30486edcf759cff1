/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/attached.h"

#include "shared/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define STACK_MAX 64 /* mounts over each other */

int attached_write(const char *file, const struct attached *attached) {
        char temporary[PATH_MAX + 8], text[PATH_MAX + 64];
        int length;

        if (snprintf(temporary, sizeof temporary, "%s.new", file) >= (int)sizeof temporary)
                return -ENAMETOOLONG;
        length = snprintf(text, sizeof text, "%u %u:%u\n%s", attached->failures, major(attached->files),
                          minor(attached->files), attached->path);
        /* A power cut ends the mount as well: nothing has to be synced. */
        autoclose int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        if (write(fd, text, (size_t)length) != length || rename(temporary, file) < 0)
                return -EIO;
        return 0;
}

int attached_read(const char *file, struct attached *ret) {
        char text[PATH_MAX + 64];
        unsigned maj, min;
        int at = 0;

        autoclose int fd = open(file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        ssize_t n = read(fd, text, sizeof text - 1);
        if (n < 0)
                return -errno;
        text[n] = '\0';
        if (sscanf(text, "%u %u:%u%n", &ret->failures, &maj, &min, &at) != 3 || text[at] != '\n' ||
            text[at + 1] != '/' || strlen(text + at + 1) >= sizeof ret->path)
                return -EBADMSG;
        ret->files = makedev(maj, min);
        (void)strcpy(ret->path, text + at + 1);
        return 0;
}

int attached_forget(const char *file) {
        return unlink(file) < 0 && errno != ENOENT ? -errno : 0;
}

/* Looks at the directory itself, which raises no event. */
static bool is_there(const struct attached *a) {
        struct statx st;

        return statx(AT_FDCWD, a->path, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, &st) == 0 &&
               (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) &&
               makedev(st.stx_dev_major, st.stx_dev_minor) == a->files;
}

int attached_detach(const struct attached *a) {
        int n = 0;

        while (n < STACK_MAX && is_there(a)) {
                if (umount2(a->path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
                        return -errno;
                n++;
        }
        return n;
}
