/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The way to the store's files: by handle, by name, and the daemon's own directory.
 *
 * All of it goes through the private mount. A descriptor that comes from elsewhere (an
 * event's, a client's) is only asked for its handle.
 */

#include "dispatcher/store/handle.h"
#include "dispatcher/store/store-internal.h"
#include "shared/fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* What a fill leaves free: the part of the filesystem, at most so much. */
#define RESERVE_PART 64u
#define RESERVE_MAX (64u << 20)
#define STAGING_DEPTH_MAX 64u

/* Removes everything below `dir`. */
static int empty_directory(int dir, unsigned depth) {
        if (depth == 0)
                return -ELOOP;
        int copy = fcntl(dir, F_DUPFD_CLOEXEC, 3);
        DIR *stream = copy < 0 ? NULL : fdopendir(copy);
        if (stream == NULL) {
                int r = -errno;
                fd_close(copy);
                return r;
        }
        rewinddir(stream);

        int r = 0;
        const struct dirent *entry;
        while (r >= 0 && (entry = readdir(stream)) != NULL) {
                if (g_str_equal(entry->d_name, ".") || g_str_equal(entry->d_name, ".."))
                        continue;
                if (unlinkat(dir, entry->d_name, 0) == 0)
                        continue;
                if (errno != EISDIR && errno != EPERM) {
                        r = -errno;
                        break;
                }
                autoclose int child = openat(dir, entry->d_name,
                                             O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                r = child < 0 ? -errno : empty_directory(child, depth - 1);
                if (r >= 0 && unlinkat(dir, entry->d_name, AT_REMOVEDIR) < 0)
                        r = -errno;
        }
        closedir(stream);
        return r;
}

/* A directory of root's own below `at`; an owned descriptor, or -errno. */
static int own_directory(int at, const char *name) {
        struct stat st;

        if (mkdirat(at, name, 0700) < 0 && errno != EEXIST && errno != EROFS)
                return -errno;
        autoclose int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (st.st_uid != geteuid())
                return -EPERM; /* someone's who may write to the store's root */
        if ((st.st_mode & 07777) != 0700 && fchmod(fd, 0700) < 0)
                return -errno;
        return fd_steal(&fd);
}

int store_make_staging(Store *store, Failure *failure) {
        autoclose int private_dir = own_directory(store->root, STORE_PRIVATE_DIR);
        int r = private_dir;
        if (r >= 0)
                r = store->staging = own_directory(private_dir, "staging");
        if (r >= 0)
                r = empty_directory(store->staging, STAGING_DEPTH_MAX);
        if (r < 0)
                return failure_set(failure, r, "StoreUnusable",
                                   "Cannot set up %s in the store at %s: %s.", STORE_STAGING_DIR,
                                   store->path, g_strerror(-r));
        return 0;
}

uint64_t store_free_bytes(const Store *store) {
        struct statvfs vfs;
        if (fstatvfs(store->root, &vfs) < 0)
                return 0;
        uint64_t total = (uint64_t)vfs.f_blocks * vfs.f_frsize;
        uint64_t available = (uint64_t)vfs.f_bavail * vfs.f_frsize;
        uint64_t reserve = MIN(total / RESERVE_PART, RESERVE_MAX);
        return available > reserve ? available - reserve : 0;
}

int store_reopen(const Store *store, int fd, int flags) {
        struct stat before, after;
        struct handle handle;
        autoclose int again = -1;
        int r = handle_take(fd, &handle);

        if (r < 0)
                return r;
        again = handle_open(store->root, &handle, flags);
        for (unsigned i = 0; again == -EWOULDBLOCK && i < 3; i++) { /* a claim of ours (claim.h), for microseconds */
                g_usleep(200);
                again = handle_open(store->root, &handle, flags);
        }
        if (again < 0)
                return again;
        /* A handle means something on its own filesystem only. */
        if (fstat(fd, &before) < 0 || fstat(again, &after) < 0)
                return -errno;
        if (before.st_dev != after.st_dev || before.st_ino != after.st_ino)
                return -EXDEV;
        return fd_steal(&again);
}

/* Is a path that ends in " (deleted)" the file's real name? */
static bool name_is_real(const Store *store, const struct stat *st, const char *path) {
        struct stat named;
        return st->st_nlink > 0 && fstatat(store->root, path, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
               named.st_dev == st->st_dev && named.st_ino == st->st_ino;
}

int store_relative_path(const Store *store, int fd, char **ret) {
        static const char deleted[] = " (deleted)";
        char link[32], path[PATH_MAX + 1];
        struct stat st;

        /* The private mount hangs in no tree: paths on it begin at its own root. */
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, path, sizeof path - 1);
        if (n < 0)
                return -errno; /* ENAMETOOLONG: deeper than PATH_MAX */
        if (path[0] != '/' || fstat(fd, &st) < 0)
                return -EXDEV;
        path[n] = '\0';

        char *relative = path + 1;
        if (g_str_has_suffix(relative, deleted) && !name_is_real(store, &st, relative))
                relative[strlen(relative) - strlen(deleted)] = '\0';
        *ret = g_strdup(relative);
        return 0;
}
