/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The store: one superblock, two mounts.
 *
 *     Device=                                Path= alone
 *     image ─ loop ─▶ superblock             superblock, mounted at Path by someone
 *                     │       │                │        │
 *                 public    private          Path     private
 *              (attached   (in no tree,   (not ours)  (clone, in no tree,
 *               at Path)    ignored)                   ignored)
 *
 * The order in store_open() is what makes it safe: the private mount first, the lock
 * through it, the mark on the superblock, and only store_attach() makes a path. A store
 * that outlived its daemon (killed, its mount still there) is taken over: same superblock,
 * a new mark, and the mount at Path becomes ours.
 *
 * Descriptors: `public` is the mount itself (O_PATH), so that detaching names the mount and
 * not a path, which may mean another mount by then. `private` keeps the private mount
 * alive. `root` carries the lock (flock on the root directory's inode): it is of the store
 * itself, and so holds between daemons of any state directory.
 */

#include "dispatcher/store/store-internal.h"
#include "dispatcher/store/superblock.h"
#include "shared/fd.h"
#include "shared/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define PUBLIC_ATTRIBUTES (MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID)
#define PRIVATE_ATTRIBUTES (PUBLIC_ATTRIBUTES | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOATIME)

static void store_free(Store *store) {
        fd_close(store->staging);
        fd_close(store->root);
        fd_close(store->private);
        fd_close(store->public);
        store_loop_release(&store->loop);
        g_free(store->path);
        g_free(store->device);
        g_free(store->filesystem);
        g_free(store);
}

static int find_device(Store *store, const struct store_options *options, Failure *failure) {
        struct stat st;

        if (stat(options->device, &st) < 0)
                return failure_set(failure, -errno, "StoreUnusable", "There is no store at %s: %s.",
                                   options->device, g_strerror(errno));
        if (S_ISREG(st.st_mode)) {
                int r = store_loop_attach(options->device, &store->loop, failure);
                if (r < 0)
                        return r;
                store->device = g_strdup(store->loop.path);
        } else if (S_ISBLK(st.st_mode)) {
                g_autofree char *real = realpath(options->device, NULL);
                store->device = g_strdup(real != NULL ? real : options->device);
        } else {
                return failure_set(failure, -ENOTBLK, "StoreUnusable",
                                   "%s is neither an image file nor a block device.", options->device);
        }
        return 0;
}

static int find_filesystem(Store *store, const struct store_options *options, Failure *failure) {
        if (options->filesystem != NULL && options->filesystem[0] != '\0')
                store->filesystem = g_strdup(options->filesystem);
        else if (store_device_filesystem(store->device, &store->filesystem) < 0)
                return failure_set(failure, -ENODATA, "StoreUnusable",
                                   "No filesystem is recognised on %s; make one with \"cloudsyncctl store create\".",
                                   options->device);
        if (!store_filesystem_is_supported(store->filesystem))
                return failure_set(failure, -EOPNOTSUPP, "StoreUnusable",
                                   "%s has %s on it; cloudsync needs ext4, xfs or btrfs.",
                                   options->device, store->filesystem);
        return 0;
}

/* The same superblock at another path would be reachable there while we think that it is
 * not, and a whole system would be stopped if it is the root's. */
static int refuse_mounted_elsewhere(Store *store, const struct store_options *options,
                                    Failure *failure) {
        struct store_mount_info info;
        struct stat st;

        if (stat(store->device, &st) < 0)
                return -errno;
        int r = store_mount_info_find(st.st_rdev, store->device, store->filesystem, store->path, &info);
        if (r < 0)
                return r;
        if (info.found)
                r = failure_set(failure, -EBUSY, "StoreBusy",
                                "%s is mounted at %s already; unmount it there, or use Path=%s without Device=.",
                                options->device, info.target, info.target);
        store_mount_info_clear(&info);
        return r;
}

static int mount_device(Store *store, const struct store_options *options, Failure *failure) {
        bool again;

        int r = store_take_over(store, options->attached, PRIVATE_ATTRIBUTES, failure);
        if (r != 0)
                return r;
        r = find_device(store, options, failure);
        if (r >= 0)
                r = find_filesystem(store, options, failure);
        if (r >= 0)
                r = refuse_mounted_elsewhere(store, options, failure);
        if (r >= 0)
                r = store_mount_device(store->device, options->device, store->filesystem,
                                       PUBLIC_ATTRIBUTES, options->hsmid, &store->public,
                                       &store->hsmid, failure);
        if (r >= 0)
                r = store_mount_device(store->device, options->device, store->filesystem,
                                       PRIVATE_ATTRIBUTES, options->hsmid, &store->private, &again,
                                       failure);
        if (r >= 0)
                r = store_mount_id(store->public, &store->mount_id);
        return r;
}

static int check_mounted(const struct store_mount_info *info, const char *path, Failure *failure) {
        struct store_mount_info root;

        if (!info->found)
                return failure_set(failure, -EINVAL, "StoreUnusable",
                                   "%s is not a mount point; mount a filesystem there, or name one with Device=.",
                                   path);
        int r = store_mount_info_load("/", 0, &root);
        if (r < 0)
                return r;
        bool is_root = g_str_equal(path, "/") || (root.found && root.device == info->device);
        store_mount_info_clear(&root);
        if (is_root)
                return failure_set(failure, -EINVAL, "StoreUnusable",
                                   "%s is on the root filesystem, which cannot be a store: the whole system would wait for it.",
                                   path);
        if (!store_filesystem_is_supported(info->filesystem))
                return failure_set(failure, -EOPNOTSUPP, "StoreUnusable",
                                   "%s is %s; cloudsync needs ext4, xfs or btrfs.", path,
                                   info->filesystem);
        if (g_strcmp0(info->root, "/") != 0)
                return failure_set(failure, -EINVAL, "StoreUnusable",
                                   "%s shows only %s of its filesystem; a store is a whole filesystem.",
                                   path, info->root);
        return 0;
}

bool store_options_have_hsmid(const char *options) {
        g_auto(GStrv) parts = g_strsplit(options != NULL ? options : "", ",", -1);
        for (size_t i = 0; parts[i] != NULL; i++)
                if (g_str_has_prefix(parts[i], "hsmid="))
                        return true;
        return false;
}

static int find_mounted(Store *store, Failure *failure) {
        struct store_mount_info info;

        int r = store_mount_info_load(store->path, 0, &info);
        if (r < 0)
                return failure_set(failure, r, "StoreUnusable", "Cannot read the mount table: %s.",
                                   g_strerror(-r));
        r = check_mounted(&info, store->path, failure);
        if (r >= 0) {
                store->filesystem = g_strdup(info.filesystem);
                store->superblock = info.device;
                store->hsmid = store_options_have_hsmid(info.options);
                r = store_mount_clone(store->path, PRIVATE_ATTRIBUTES, &store->private, failure);
        }
        store_mount_info_clear(&info);
        return r;
}

static int open_root(Store *store, Failure *failure) {
        struct stat st;
        struct statvfs vfs;

        store->root = openat(store->private, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (store->root < 0 || fstat(store->root, &st) < 0 || fstatvfs(store->root, &vfs) < 0)
                return failure_set(failure, -errno, "StoreUnusable", "Cannot open the root of %s: %s.",
                                   store->path, g_strerror(errno));
        if (store_lock(store->root) < 0)
                return failure_set(failure, -EBUSY, "StoreBusy",
                                   "The store at %s is in use by another cloudsync daemon; stop that one first.",
                                   store->path);
        store->files = st.st_dev;
        store->granule = (uint64_t)sysconf(_SC_PAGESIZE);
        while (store->granule < vfs.f_bsize)
                store->granule *= 2;
        return 0;
}

static int mark(Store *store, FanGroup *group, Failure *failure) {
        int r = fan_group_watch_store(group, store->root);
        if (r >= 0) {
                store->marked = true;
                r = fan_group_ignore_mount(group, store->root);
        }
        switch (r) {
        case 0:
                return 0;
        case -EINVAL:
        case -ENOSYS:
                return failure_set(failure, r, "KernelTooOld",
                                   "This kernel has no pre-content events; cloudsync needs Linux 6.14 or newer, with CONFIG_FANOTIFY_ACCESS_PERMISSIONS.");
        case -EOPNOTSUPP:
                return failure_set(failure, r, "StoreUnusable",
                                   "The kernel has no pre-content events on this %s (%s).",
                                   store->filesystem, store->path);
        default:
                return failure_set(failure, r, "StoreUnusable", "Cannot watch the store at %s: %s.",
                                   store->path, g_strerror(-r));
        }
}

static int set_path(Store *store, const struct store_options *options, Failure *failure) {
        struct stat st;

        if (options->path == NULL || options->path[0] != '/')
                return failure_set(failure, -EINVAL, "StoreUnusable", "The store's path must be absolute.");
        store->path = realpath(options->path, NULL);
        if (store->path == NULL || stat(store->path, &st) < 0)
                return failure_set(failure, -errno, "StoreUnusable", "There is no directory %s: %s.",
                                   options->path, g_strerror(errno));
        if (!S_ISDIR(st.st_mode))
                return failure_set(failure, -ENOTDIR, "StoreUnusable", "%s is not a directory.",
                                   options->path);
        if (g_str_equal(store->path, "/"))
                return failure_set(failure, -EINVAL, "StoreUnusable",
                                   "The root directory cannot be a store's path.");
        return 0;
}

static int prepare(Store *store, Failure *failure) {
        int r = store_probe(store->root, store->filesystem, store->path, failure);
        if (r >= 0)
                r = store_make_staging(store, failure);
        if (r < 0)
                return r;
        r = store_declare(store);
        return r < 0 ? failure_set(failure, r, "StoreUnusable", "Cannot mark %s as a store: %s.", store->path,
                                   g_strerror(-r))
                     : 0;
}

/* Of what is on the disk nothing may keep us from the readers that wait. Without staging, directories
 * cannot be made, which is told where they are. */
static void prepare_again(Store *store) {
        g_auto(Failure) failure = FAILURE_INIT;

        (void)store_make_staging(store, &failure);
        (void)store_declare(store);
}

/* The image was replaced, and people have files of the old one open: nobody would serve them. */
static int refuse_other(const Store *store, const struct store_options *options, Failure *failure) {
        if (options->attached == 0 || options->attached == store->files ||
            superblock_state(options->superblock_watch) != SUPERBLOCK_LIVES)
                return 0;
        return failure_set(failure, -EBUSY, "StoreBusy",
                           "%s is not the file system that was served at %s, of which files are open still: put that "
                           "back, or stop the service and start it again.", options->device ? options->device : "This",
                           store->path);
}

int store_open(const struct store_options *options, FanGroup *group, Store **ret, Failure *failure) {
        Store *store = g_new0(Store, 1);
        store->public = store->private = store->root = store->staging = -1;
        store->loop.image_fd = store->loop.loop_fd = -1;

        int r = set_path(store, options, failure);
        if (r >= 0)
                r = options->device != NULL && options->device[0] != '\0'
                            ? mount_device(store, options, failure)
                            : find_mounted(store, failure);
        if (r >= 0)
                r = open_root(store, failure);
        if (r >= 0)
                r = refuse_other(store, options, failure);
        if (r >= 0 && options->superblock_watch > 0)
                (void)superblock_watch(options->superblock_watch, store->root);
        if (r >= 0)
                r = mark(store, group, failure);
        if (r >= 0 && options->attached != 0 && options->attached == store->files)
                prepare_again(store);
        else if (r >= 0)
                r = prepare(store, failure);
        if (r < 0) {
                /* Never from under people who are in there. */
                if (store->marked && options->attached == 0)
                        (void)fan_group_unwatch_store(group, store->root);
                store_free(store);
                return failure_set(failure, r, "StoreUnusable", "Cannot open the store: %s.",
                                   g_strerror(-r));
        }
        *ret = store;
        return 0;
}

/* What is mounted at Path: nothing (0), the store, left by a killed daemon (1), or something
 * else, which is refused. */
static int look_at_path(const Store *store, Failure *failure) {
        struct store_mount_info info;
        int r = store_mount_info_load(store->path, 0, &info);
        if (r < 0 || !info.found)
                return r;
        r = info.device == store->files || (g_strcmp0(info.source, store->device) == 0 &&
                                            g_strcmp0(info.filesystem, store->filesystem) == 0);
        if (r == 0)
                r = failure_set(failure, -EBUSY, "StoreBusy",
                                "Something else is mounted at %s (%s); unmount it, or choose another Path=.",
                                store->path, info.source);
        store_mount_info_clear(&info);
        return r;
}

bool store_was_attached(const Store *store) {
        g_auto(Failure) failure = FAILURE_INIT;

        return store->device == NULL || look_at_path(store, &failure) > 0;
}

/* The mount that is there already becomes ours: whoever is in it, or has mounted something below
 * it, does not notice. */
static int adopt_mount(Store *store) {
        autoclose int fd = open(store->path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        fd_close(store->public);
        store->public = fd_steal(&fd);
        return store_mount_id(store->public, &store->mount_id);
}

int store_attach(Store *store, Failure *failure) {
        struct store_mount_info info;

        if (store->device == NULL || store->attached)
                return 0;
        int r = look_at_path(store, failure);
        if (r > 0)
                r = adopt_mount(store);
        else if (r == 0 && move_mount(store->public, "", AT_FDCWD, store->path, MOVE_MOUNT_F_EMPTY_PATH) < 0)
                r = -errno;
        if (r < 0)
                return failure_set(failure, r, "StoreUnusable", "Cannot attach the store at %s: %s.",
                                   store->path, g_strerror(-r));
        store->attached = true;

        if (store_mount_info_load(NULL, store->mount_id, &info) >= 0) {
                store->superblock = info.found ? info.device : 0;
                store_mount_info_clear(&info);
        }
        return 0;
}

int store_detach(Store *store) {
        char path[32];

        if (store->device == NULL)
                return -EOPNOTSUPP;
        if (!store->attached)
                return 0;
        /* Through our descriptor: this mount and no other, whatever is at Path now.
         * Lazily, so that files that are open stay readable. */
        snprintf(path, sizeof path, "/proc/self/fd/%d", store->public);
        if (umount2(path, MNT_DETACH) < 0 && errno != EINVAL) /* EINVAL: someone else did */
                return -errno;
        store->attached = false;
        store->public = fd_close(store->public);
        return 0;
}

void store_close(Store *store) {
        if (store == NULL)
                return;
        (void)store_detach(store);
        store_free(store);
}

int store_root(const Store *store) {
        return store->root;
}

int store_staging(const Store *store) {
        return store->staging;
}

const char *store_path(const Store *store) {
        return store->path;
}

const char *store_filesystem(const Store *store) {
        return store->filesystem;
}

bool store_has_device(const Store *store) {
        return store->device != NULL;
}

bool store_has_hsmid(const Store *store) {
        return store->hsmid;
}

dev_t store_device_number(const Store *store) {
        return store->files;
}

dev_t store_superblock(const Store *store) {
        return store->superblock;
}

uint64_t store_granule(const Store *store) {
        return store->granule;
}

Holders *store_holders(const Store *store, unsigned limit_s) {
        return holders_new(store->superblock, store->files, store->mount_id, 0, store->path, limit_s, log_line);
}

int store_sync(const Store *store) {
        autoclose int own = openat(store->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return own < 0 || syncfs(own) < 0 ? -errno : 0;
}

int store_sync_and_tell(const Store *store) {
        return syncfs(store->root) < 0 ? -errno : 0;
}
