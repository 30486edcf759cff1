/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * bus-access — a path opened with the rights of the caller
 *
 * The daemon may look everywhere, the one who asks may not. What he may see is the
 * file system's to say, so the question is put to it in his name: the pool thread takes his
 * fsuid, fsgid and groups for the length of the lookup.
 *
 *   - setfsuid(2) away from 0 drops CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH and the other
 *     file system capabilities from the thread's effective set, and back to 0 raises
 *     them again (capabilities(7)). Both are per thread.
 *   - setgroups(2) is per thread as a system call only; the C library's wrapper changes
 *     all threads of the process.
 *   - the lookup yields an O_PATH descriptor, which raises no event and blocks on no
 *     lease or fifo; read permission is asked of that same inode, by faccessat2(2) with
 *     AT_EACCESS (the effective credentials are the thread's own, fsuid included).
 *     Whatever is opened later through it is the file that was checked.
 *
 * The private mount begins at the store's root. That the user can reach the store at all is
 * asked of the public path, of which only the lookup is done, no open.
 */

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "dispatcher/bus/bus.h"
#include "shared/fd.h"
#include "shared/log.h"
#include "shared/names.h"

#ifdef SYS_setgroups32 /* 32-bit architectures: the plain one takes 16-bit ids */
#define SETGROUPS SYS_setgroups32
#define GETGROUPS SYS_getgroups32
#else
#define SETGROUPS SYS_setgroups
#define GETGROUPS SYS_getgroups
#endif

/* --- the path --- */

static int check_components(const char *path, Failure *failure) {
        const char *s = path;

        while (*s) {
                size_t n = (size_t)(strchrnul(s, '/') - s);

                if (n == 0 || (n == 1 && s[0] == '.') || (n == 2 && s[0] == '.' && s[1] == '.') ||
                    (s[n] == '/' && s[n + 1] == '\0'))
                        return failure_set(failure, -EINVAL, "NotInStore",
                                           "The path must not have empty, “.” or “..” components, "
                                           "nor a slash at its end");
                if (n > 255)
                        return failure_set(failure, -ENAMETOOLONG, "NoSuchFile",
                                           "There is no such file: a name on the way is longer "
                                           "than 255 bytes");
                s += n + (s[n] == '/');
        }
        return 0;
}

int bus_path_relative(const char *store_path, const char *path, const char **ret,
                      Failure *failure) {
        const char *rest = path, *below;
        int r;

        if (strnlen(path, BUS_PATH_MAX) >= BUS_PATH_MAX)
                return failure_set(failure, -ENAMETOOLONG, "NoSuchFile",
                                   "There is no such file: the path is longer than %u bytes",
                                   BUS_PATH_MAX - 1);
        if (path[0] == '/' && !name_has_prefix(path, store_path, &rest))
                return failure_set(failure, -EXDEV, "NotInStore",
                                   "The path is not below the store, which is at %s", store_path);
        r = check_components(rest, failure);
        if (r < 0)
                return r;
        if (name_has_prefix(rest, STORE_PRIVATE_DIR, &below))
                return failure_set(failure, -ENOENT, "NoSuchFile",
                                   "There is no such file: %s is the daemon's own",
                                   STORE_PRIVATE_DIR);
        *ret = rest;
        return 0;
}

/* --- the thread's credentials --- */

struct credentials {
        gid_t *groups; /* owned */
        int n_groups;
};

static int thread_set_groups(size_t n, const gid_t *groups) {
        return syscall(SETGROUPS, n, groups) < 0 ? -errno : 0;
}

static int thread_get_groups(struct credentials *ret) {
        long n = syscall(GETGROUPS, 0, NULL);

        if (n < 0)
                return -errno;
        ret->groups = g_new0(gid_t, (size_t)n + 1);
        n = syscall(GETGROUPS, (int)n, ret->groups);
        if (n < 0)
                return -errno;
        ret->n_groups = (int)n;
        return 0;
}

/* setfsuid() does not fail, it only does nothing; a call with -1 tells. */
static int thread_set_ids(uid_t uid, gid_t gid) {
        (void)setfsgid(gid);
        (void)setfsuid(uid);
        if ((gid_t)setfsgid((gid_t)-1) != gid || (uid_t)setfsuid((uid_t)-1) != uid)
                return -EPERM;
        return 0;
}

static void thread_restore(struct credentials *saved) {
        int r = thread_set_ids(geteuid(), getegid());

        if (r >= 0)
                r = thread_set_groups((size_t)saved->n_groups, saved->groups);
        /* Cannot happen to root. If it did, this thread could fail to open files, but
         * neither see nor write more than it should. */
        if (r < 0)
                log_error("cannot take back the credentials of a thread: %s", g_strerror(-r));
        g_clear_pointer(&saved->groups, g_free);
}

static int thread_become(const struct bus_access *access, struct credentials *saved) {
        int r;

        if (access->n_groups == 0) /* the bus tells one at least, or we do not know */
                return -EACCES;
        r = thread_get_groups(saved);
        if (r < 0)
                return r;
        r = thread_set_groups(access->n_groups, access->groups);
        if (r >= 0)
                r = thread_set_ids(access->uid, access->groups[0]);
        if (r < 0)
                thread_restore(saved);
        return r;
}

/* --- the lookup --- */

static int permitted(int fd, const char *path, int mode, int flags) {
        return syscall(SYS_faccessat2, fd, path, mode, flags | AT_EACCESS) < 0 ? -errno : 0;
}

static int find(const struct bus_access *access) {
        struct open_how how = {
                .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
                           RESOLVE_NO_XDEV,
        };
        const char *path = access->relative[0] ? access->relative : ".";
        autoclose int fd = -1;
        int r;

        if (access->public_path) {
                r = permitted(AT_FDCWD, access->public_path, X_OK, 0);
                if (r < 0)
                        return r == -ENOENT ? -EACCES : r; /* not attached: nobody's */
        }
        fd = (int)syscall(SYS_openat2, access->root_fd, path, &how, sizeof(how));
        if (fd < 0)
                return -errno;
        if (access->wants_read) {
                r = permitted(fd, "", R_OK, AT_EMPTY_PATH);
                if (r < 0)
                        return r;
        }
        return fd_steal(&fd);
}

void bus_access_run(struct bus_access *access) {
        struct credentials saved = {NULL, 0};
        int r = 0;

        access->fd = -1;
        if (access->uid != 0)
                r = thread_become(access, &saved);
        if (r >= 0) {
                r = find(access);
                if (access->uid != 0)
                        thread_restore(&saved);
        }
        if (r >= 0)
                access->fd = r;
        access->result = r < 0 ? r : 0;
}
