/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Mounts, by the new mount API, and what the mount table says of them.
 *
 * A device is mounted by fsopen/fsmount into a mount that hangs in no tree: it can be
 * marked before anyone can reach it. Asked again for the same device, the kernel
 * gives another mount of the same superblock; that is how the private mount of
 * Device= is made (cloning a detached mount by open_tree() works from Linux 6.15 only).
 */

#include "dispatcher/store/store-internal.h"
#include "shared/fd.h"

#include <fcntl.h>
#include <libmount/libmount.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

bool store_filesystem_is_supported(const char *filesystem) {
        return g_str_equal(filesystem, "ext4") || g_str_equal(filesystem, "xfs") ||
               g_str_equal(filesystem, "btrfs");
}

int store_device_filesystem(const char *device, char **ret) {
        int ambivalent = 0;
        char *type = mnt_get_fstype(device, &ambivalent, NULL);
        if (type == NULL || ambivalent) {
                free(type);
                return -ENODATA;
        }
        *ret = g_strdup(type);
        free(type);
        return 0;
}

int store_mount_id(int fd, uint64_t *ret) {
        struct statx stx;
        if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx) < 0)
                return -errno;
        if (!(stx.stx_mask & STATX_MNT_ID))
                return -EOPNOTSUPP;
        *ret = stx.stx_mnt_id;
        return 0;
}

void store_mount_info_clear(struct store_mount_info *info) {
        g_free(info->target);
        g_free(info->filesystem);
        g_free(info->source);
        g_free(info->root);
        g_free(info->options);
        memset(info, 0, sizeof *info);
}

static void info_fill(struct store_mount_info *info, struct libmnt_fs *fs) {
        info->found = true;
        info->target = g_strdup(mnt_fs_get_target(fs));
        info->filesystem = g_strdup(mnt_fs_get_fstype(fs));
        info->source = g_strdup(mnt_fs_get_source(fs));
        info->root = g_strdup(mnt_fs_get_root(fs));
        info->options = g_strdup(mnt_fs_get_fs_options(fs));
        info->device = mnt_fs_get_devno(fs);
        info->id = (uint64_t)mnt_fs_get_id(fs);
}

static int load_table(struct libmnt_table **ret) {
        struct libmnt_table *table = mnt_new_table();
        if (table == NULL)
                return -ENOMEM;
        int r = mnt_table_parse_file(table, "/proc/self/mountinfo");
        if (r != 0) {
                mnt_unref_table(table);
                return r < 0 ? r : -EIO;
        }
        *ret = table;
        return 0;
}

int store_mount_info_load(const char *path, uint64_t id, struct store_mount_info *ret) {
        struct libmnt_table *table;
        int r = load_table(&table);
        if (r < 0)
                return r;

        memset(ret, 0, sizeof *ret);
        struct libmnt_iter *iterator = mnt_new_iter(MNT_ITER_BACKWARD); /* topmost first */
        struct libmnt_fs *fs;
        while (!ret->found && iterator != NULL && mnt_table_next_fs(table, iterator, &fs) == 0)
                if (path != NULL ? g_strcmp0(mnt_fs_get_target(fs), path) == 0
                                 : (uint64_t)mnt_fs_get_id(fs) == id)
                        info_fill(ret, fs);
        mnt_free_iter(iterator);
        mnt_unref_table(table);
        return 0;
}

int store_mount_info_find(dev_t device, const char *source, const char *filesystem,
                          const char *except, struct store_mount_info *ret) {
        struct libmnt_table *table;
        int r = load_table(&table);
        if (r < 0)
                return r;

        memset(ret, 0, sizeof *ret);
        struct libmnt_iter *iterator = mnt_new_iter(MNT_ITER_FORWARD);
        struct libmnt_fs *fs;
        while (!ret->found && iterator != NULL && mnt_table_next_fs(table, iterator, &fs) == 0) {
                bool same = mnt_fs_get_devno(fs) == device ||
                            (g_strcmp0(mnt_fs_get_source(fs), source) == 0 &&
                             g_strcmp0(mnt_fs_get_fstype(fs), filesystem) == 0);
                if (same && g_strcmp0(mnt_fs_get_target(fs), except) != 0)
                        info_fill(ret, fs);
        }
        mnt_free_iter(iterator);
        mnt_unref_table(table);
        return 0;
}

/* The filesystem's own words, from its context: lines "e text", one per read(2). Returns
 * the last error, or NULL; empties the log. */
static char *context_message(int context) {
        char line[1024];
        char *message = NULL;
        ssize_t n;

        for (int i = 0; i < 64 && (n = read(context, line, sizeof line - 1)) > 0; i++) {
                line[n] = '\0';
                g_strchomp(line);
                if (line[0] == 'e' && line[1] == ' ') {
                        g_free(message);
                        message = g_strdup(line + 2);
                }
        }
        return message;
}

static int mount_failed(int r, int context, const char *name, const char *filesystem,
                        Failure *failure) {
        g_autofree char *message = context_message(context);
        if (r == -EBUSY)
                return failure_set(failure, r, "StoreBusy",
                                   "Cannot mount %s: it is in use (mounted read-only, or part of an array or volume).",
                                   name);
        return failure_set(failure, r, "StoreUnusable", "Cannot mount %s as %s: %s%s%s.", name,
                           filesystem, g_strerror(-r), message != NULL ? ": " : "",
                           message != NULL ? message : "");
}

int store_mount_device(const char *device, const char *name, const char *filesystem,
                       uint64_t attributes, const char *hsmid, int *ret, bool *ret_hsmid,
                       Failure *failure) {
        autoclose int context = fsopen(filesystem, FSOPEN_CLOEXEC);
        if (context < 0)
                return failure_set(failure, -errno, "StoreUnusable",
                                   "This kernel cannot mount %s: %s.", filesystem, g_strerror(errno));

        bool with_hsmid = hsmid != NULL && hsmid[0] != '\0' &&
                          fsconfig(context, FSCONFIG_SET_STRING, "hsmid", hsmid, 0) == 0;
        g_free(context_message(context)); /* "unknown parameter" is no news */

        if (fsconfig(context, FSCONFIG_SET_STRING, "source", device, 0) < 0 ||
            fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return mount_failed(-errno, context, name, filesystem, failure);
        int fd = fsmount(context, FSMOUNT_CLOEXEC, (unsigned)attributes);
        if (fd < 0)
                return mount_failed(-errno, context, name, filesystem, failure);
        *ret = fd;
        *ret_hsmid = with_hsmid;
        return 0;
}

int store_mount_clone(const char *path, uint64_t attributes, int *ret, Failure *failure) {
        autoclose int fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        if (fd < 0)
                return failure_set(failure, -errno, "StoreUnusable",
                                   "Cannot make a private mount of %s: %s.", path, g_strerror(errno));

        struct mount_attr attr = {.attr_set = attributes,
                                  .attr_clr = MOUNT_ATTR__ATIME | MOUNT_ATTR_RDONLY};
        if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0)
                return failure_set(failure, -errno, "StoreUnusable",
                                   "Cannot make a writable private mount of %s: %s.", path,
                                   g_strerror(errno));
        *ret = fd_steal(&fd);
        return 0;
}
