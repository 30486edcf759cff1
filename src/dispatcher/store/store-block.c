/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/store/store-block.h"

#include "shared/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <linux/loop.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define FLAGS (O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY)

/* Of an open block device. */
static bool describe(int fd, struct store_block *block) {
        struct loop_info64 info;
        struct stat st;

        if (fstat(fd, &st) < 0 || !S_ISBLK(st.st_mode))
                return false;
        block->number = st.st_rdev;
        if (ioctl(fd, LOOP_GET_STATUS64, &info) == 0) {
                block->image_device = info.lo_device;
                block->image_inode = info.lo_inode;
        }
        return true;
}

void store_block_find(const char *device, struct store_block *ret) {
        autoclose int fd = -1;

        g_autofree char *real = device ? realpath(device, NULL) : NULL; /* /dev/mapper/… is long */

        *ret = (struct store_block){.number = 0};
        if (real == NULL || strlen(real) >= sizeof ret->path)
                return;
        fd = open(real, FLAGS);
        if (fd >= 0 && describe(fd, ret))
                (void)strcpy(ret->path, real);
}

bool store_block_is_used(const struct store_block *block) {
        struct store_block now = {.number = 0};
        autoclose int fd = -1;

        if (block->path[0] == '\0')
                return false;
        fd = open(block->path, FLAGS | O_EXCL);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM))
                return true; /* not known now: asked again */
        if (fd >= 0 || errno != EBUSY)
                return false;
        fd = open(block->path, FLAGS);
        return fd >= 0 && describe(fd, &now) && now.number == block->number &&
               now.image_device == block->image_device && now.image_inode == block->image_inode;
}
