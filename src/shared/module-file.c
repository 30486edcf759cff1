/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* module-file — see module-file.h */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/fd.h"
#include "shared/module-file.h"
#include "shared/names.h"

static int refuse(const char **ret_reason, int error, const char *reason) {
        if (ret_reason)
                *ret_reason = reason;
        return error;
}

static bool owner_is_trusted(const struct stat *st, uid_t owner) {
        return st->st_uid == 0 || st->st_uid == owner;
}

static int check_dir(int fd, uid_t owner, const char **ret_reason) {
        struct stat st;

        if (fstat(fd, &st) < 0)
                return refuse(ret_reason, -errno, "the module directory cannot be examined");
        if (!owner_is_trusted(&st, owner))
                return refuse(ret_reason, -EPERM, "the module directory does not belong to root");
        if (st.st_mode & (S_IWGRP | S_IWOTH))
                return refuse(ret_reason, -EPERM,
                              "the module directory is writable by group or others");
        return 0;
}

static int check_file(int dir_fd, const char *file, uid_t owner, const char **ret_reason) {
        struct stat st;

        if (fstatat(dir_fd, file, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT
                               ? refuse(ret_reason, -ENOENT,
                                        "there is no module of this name in the module directory")
                               : refuse(ret_reason, -errno, "the module cannot be examined");
        if (S_ISLNK(st.st_mode))
                return refuse(ret_reason, -ELOOP, "the module is a symbolic link");
        if (!S_ISREG(st.st_mode))
                return refuse(ret_reason, -EPERM, "the module is not a regular file");
        if (!owner_is_trusted(&st, owner))
                return refuse(ret_reason, -EPERM, "the module does not belong to root");
        if (st.st_mode & (S_IWGRP | S_IWOTH))
                return refuse(ret_reason, -EPERM, "the module is writable by group or others");
        return 0;
}

int module_file_check_owner(const char *dir, const char *name, uid_t owner, char **ret_path,
                            const char **ret_reason) {
        autoclose int dir_fd = -1;
        char file[NAME_ID_MAX + sizeof(".so")];
        int r;

        if (!name_is_id(name))
                return refuse(ret_reason, -EINVAL,
                              "a module's name is 1 to 32 of a-z 0-9 - _ and begins with a letter");
        (void)snprintf(file, sizeof(file), "%s.so", name);

        dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (dir_fd < 0)
                return refuse(ret_reason, -errno, "the module directory cannot be opened");
        r = check_dir(dir_fd, owner, ret_reason);
        if (r == 0)
                r = check_file(dir_fd, file, owner, ret_reason);
        if (r == 0 && ret_path && asprintf(ret_path, "%s/%s", dir, file) < 0)
                return refuse(ret_reason, -ENOMEM, "out of memory");
        return r;
}

int module_file_check(const char *dir, const char *name, char **ret_path,
                      const char **ret_reason) {
        return module_file_check_owner(dir, name, geteuid(), ret_path, ret_reason);
}
