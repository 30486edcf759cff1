/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/store/attached.h"

#include "shared/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
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

/* mountinfo's \ooo, in place. */
static void unescape(char *s) {
        char *to = s;

        while (*s) {
                if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] && s[3]) {
                        *to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
                        s += 4;
                } else
                        *to++ = *s++;
        }
        *to = '\0';
}

/* By the table of mounts: is the topmost mount at the path the store's? btrfs has other numbers there than
 * its files have. */
static bool is_in_table(const struct attached *a) {
        FILE *table = fopen("/proc/self/mountinfo", "re");
        char *line = NULL;
        size_t size = 0;
        bool found = false;

        while (table && getline(&line, &size, table) > 0) {
                unsigned maj, min;
                int at = 0;
                if (sscanf(line, "%*u %*u %u:%u %*s %n", &maj, &min, &at) != 2 || at == 0)
                        continue;
                line[at + (int)strcspn(line + at, " \n")] = '\0';
                unescape(line + at);
                if (strcmp(line + at, a->path) == 0)
                        found = makedev(maj, min) == a->files;
        }
        free(line);
        if (table)
                (void)fclose(table);
        return found;
}

/* Looks at the directory itself, which raises no event; a dead disk (xfs) does not even let that be done. */
static bool is_there(const struct attached *a) {
        struct statx st;

        if (statx(AT_FDCWD, a->path, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, &st) < 0)
                return errno != ENOENT && is_in_table(a);
        return (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) &&
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
