/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An image file as a block device.
 *
 * Who holds what: image_fd carries the lock against a second daemon on the same
 * image, taken before anything else is looked at, so that of two daemons starting at once
 * one loses here. loop_fd keeps the autoclear device alive until a mount does.
 */

#include "dispatcher/store/store-internal.h"
#include "shared/fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* LOOP_CTL_GET_FREE only names a number; others may be faster to use it. */
#define LOOP_TRIES 64

int store_lock(int fd) {
        for (int tries = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; tries++) {
                if (errno != EWOULDBLOCK || tries == 100)
                        return -errno;
                g_usleep(20000);
        }
        return 0;
}

void store_loop_release(struct store_loop *loop) {
        loop->loop_fd = fd_close(loop->loop_fd);
        loop->image_fd = fd_close(loop->image_fd);
}

static int lock_image(const char *image, int *ret, Failure *failure) {
        autoclose int fd = open(image, O_RDWR | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
                return failure_set(failure, -errno, "StoreUnusable", "Cannot open %s: %s.", image,
                                   g_strerror(errno));
        if (store_lock(fd) < 0)
                return failure_set(failure, -EBUSY, "StoreBusy",
                                   "%s is in use by another cloudsync daemon; stop that one first.",
                                   image);
        *ret = fd_steal(&fd);
        return 0;
}

/* Is the loop device `number` attached to the file with these numbers? */
static bool loop_backs(int number, const struct stat *image, int *ret_fd) {
        char path[32];
        struct loop_info64 info;

        snprintf(path, sizeof path, "/dev/loop%d", number);
        autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || ioctl(fd, LOOP_GET_STATUS64, &info) < 0)
                return false;
        if (info.lo_inode != image->st_ino || info.lo_device != image->st_dev)
                return false;
        *ret_fd = fd_steal(&fd);
        return true;
}

/* A loop device that has the image already. 1, 0 (none), -errno. */
static int find_attached(const char *image, int image_fd, struct store_loop *loop, Failure *failure) {
        struct stat st;
        if (fstat(image_fd, &st) < 0)
                return -errno;
        DIR *dir = opendir("/sys/block");
        if (dir == NULL)
                return 0;

        int found = 0;
        const struct dirent *entry;
        while (found == 0 && (entry = readdir(dir)) != NULL) {
                char attribute[300];
                int number, fd, end = 0;
                if (sscanf(entry->d_name, "loop%d%n", &number, &end) != 1 || entry->d_name[end] != '\0')
                        continue;
                snprintf(attribute, sizeof attribute, "/sys/block/%s/loop/backing_file", entry->d_name);
                if (access(attribute, F_OK) < 0 || !loop_backs(number, &st, &fd))
                        continue;
                loop->loop_fd = fd;
                snprintf(loop->path, sizeof loop->path, "/dev/loop%d", number);
                found = 1;
        }
        closedir(dir);
        if (found == 0)
                return 0;

        struct loop_info64 info;
        if (ioctl(loop->loop_fd, LOOP_GET_STATUS64, &info) == 0 &&
            (info.lo_offset != 0 || info.lo_sizelimit != 0 || (info.lo_flags & LO_FLAGS_READ_ONLY)))
                return failure_set(failure, -EBUSY, "StoreBusy",
                                   "%s is attached to %s read-only or in part; detach it (losetup -d %s).",
                                   image, loop->path, loop->path);
        return 1;
}

static int configure_free(int control, int locked_fd, const char *image, struct store_loop *loop) {
        char again[32];

        /* Not locked_fd itself: the loop device keeps the open file that it is given, and with
         * it the lock, which would outlive a killed daemon for as long as its mount does. */
        snprintf(again, sizeof again, "/proc/self/fd/%d", locked_fd);
        autoclose int image_fd = open(again, O_RDWR | O_CLOEXEC);
        if (image_fd < 0)
                return -errno;
        struct loop_config config = {.fd = (uint32_t)image_fd,
                                     .info = {.lo_flags = LO_FLAGS_AUTOCLEAR}};
        g_strlcpy((char *)config.info.lo_file_name, image, LO_NAME_SIZE);

        for (int i = 0; i < LOOP_TRIES; i++) {
                int number = ioctl(control, LOOP_CTL_GET_FREE);
                if (number < 0)
                        return -errno;
                snprintf(loop->path, sizeof loop->path, "/dev/loop%d", number);
                autoclose int fd = open(loop->path, O_RDWR | O_CLOEXEC);
                if (fd < 0) {
                        /* Taken and gone again, or its node not there yet. */
                        if (errno != ENXIO && errno != ENOENT && errno != EBUSY)
                                return -errno;
                } else if (ioctl(fd, LOOP_CONFIGURE, &config) == 0) {
                        loop->loop_fd = fd_steal(&fd);
                        return 0;
                } else if (errno != EBUSY) {
                        return -errno;
                }
                g_usleep(2000);
        }
        return -EBUSY;
}

int store_loop_attach(const char *image, struct store_loop *ret, Failure *failure) {
        struct store_loop loop = {.image_fd = -1, .loop_fd = -1};

        int r = lock_image(image, &loop.image_fd, failure);
        if (r < 0)
                return r;
        r = find_attached(image, loop.image_fd, &loop, failure);
        if (r == 0) {
                autoclose int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
                r = control < 0 ? -errno : configure_free(control, loop.image_fd, image, &loop);
        }
        if (r < 0) {
                store_loop_release(&loop);
                return failure_set(failure, r, "StoreUnusable", "Cannot attach %s to a loop device: %s.",
                                   image, g_strerror(-r));
        }
        *ret = loop;
        return 0;
}
