/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/tree/directory.h"

#include "dispatcher/store/stamp.h"

#include "shared/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define DEPTH_MAX 256u

static GMutex lock;

/* Returns whether it changed anything. */
typedef bool (*change_fn)(struct stamp *stamp, const void *data);

static int change_locked(int fd, change_fn change, const void *data) {
        struct stamp stamp = STAMP_INIT;
        struct stat st;
        int r;

        if (fstat(fd, &st) < 0)
                return -errno;
        r = stamp_read(fd, st.st_ino, &stamp);
        if (r < 0)
                return r;
        if (stamp.state != STAMP_LISTED && stamp.state != STAMP_UNLISTED)
                r = -ENOTDIR;
        else if (change(&stamp, data))
                r = stamp_write(fd, &stamp);
        stamp_clear(&stamp);
        return r;
}

static int directory_change(int fd, change_fn change, const void *data) {
        int r;

        g_mutex_lock(&lock);
        r = change_locked(fd, change, data);
        g_mutex_unlock(&lock);
        return r;
}

static bool change_listed(struct stamp *stamp, const void *data) {
        bool changed = stamp->state != STAMP_LISTED;

        stamp->state = STAMP_LISTED;
        return changed;
}

int directory_set_listed(int fd) {
        return directory_change(fd, change_listed, NULL);
}

static bool change_dirty(struct stamp *stamp, const void *data) {
        unsigned flags = *(const bool *)data ? stamp->flags | STAMP_DIRTY : stamp->flags & ~STAMP_DIRTY;
        bool changed = flags != stamp->flags;

        stamp->flags = flags;
        return changed;
}

int directory_set_dirty(int fd, bool dirty) {
        return directory_change(fd, change_dirty, &dirty);
}

bool directory_is_dirty(int fd) {
        struct stamp stamp = STAMP_INIT;
        struct stat st;
        bool dirty = fstat(fd, &st) == 0 && stamp_read(fd, st.st_ino, &stamp) == 0 && (stamp.flags & STAMP_DIRTY);

        stamp_clear(&stamp);
        return dirty;
}

struct origin {
        const char *locator;
        uint64_t parent;
        uint32_t name;
};

static bool change_origin(struct stamp *stamp, const void *data) {
        const struct origin *origin = data;
        bool other = strcmp(stamp->locator, origin->locator) != 0;

        if (!other && stamp->parent == origin->parent && stamp->name == origin->name)
                return false;
        stamp->parent = origin->parent;
        stamp->name = origin->name;
        if (other) {
                g_free(stamp->locator);
                stamp->locator = g_strdup(origin->locator);
                stamp->flags |= STAMP_DIRTY;
        }
        return true;
}

int directory_set_origin(int fd, const char *locator, uint64_t parent, uint32_t name) {
        struct origin origin = {.locator = locator, .parent = parent, .name = name};

        return directory_change(fd, change_origin, &origin);
}

static bool is_where_it_was_listed(int fd, int parent, const struct stamp *stamp) {
        char link[32], path[PATH_MAX];
        const char *name;
        uint64_t id;
        ssize_t n;

        (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        n = readlink(link, path, sizeof path - 1);
        if (n < 0 || stamp_directory(parent, &id) < 0)
                return true; /* as far as can be told */
        path[n] = '\0';
        name = strrchr(path, '/');
        return id == stamp->parent && name && stamp_name(name + 1) == stamp->name;
}

bool directory_was_moved(int fd) {
        autoclose int at = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        bool moved = false, end = false;

        for (unsigned depth = 0; at >= 0 && !end && depth < DEPTH_MAX; depth++) {
                int parent = openat(at, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                struct stamp stamp = STAMP_INIT;
                struct stat st;
                int r = parent < 0 || fstat(at, &st) < 0 ? -errno : stamp_read(at, st.st_ino, &stamp);

                /* In a directory of the user's own; or away from where it was. At the prefix nothing was. */
                moved = r == -ENODATA ||
                        (r == 0 && stamp.parent != 0 && !is_where_it_was_listed(at, parent, &stamp));
                end = moved || r < 0 || stamp.parent == 0;
                stamp_clear(&stamp);
                fd_close(at);
                at = parent;
        }
        return moved;
}

int directory_give_up(int fd) {
        int r;

        g_mutex_lock(&lock);
        r = fremovexattr(fd, STAMP_XATTR) < 0 ? -errno : 0;
        g_mutex_unlock(&lock);
        return r;
}
