/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Can cloudsync stand on this filesystem? Asked of the filesystem itself, on a file without
 * a name, through the private mount:
 *
 *   - a hole is seen as a hole
 *   - writing a part of a range that has space but no data yet (what a power cut leaves of
 *     a fill) leaves the rest absent. ext4 with nodioread_nolock or nodelalloc writes
 *     zeros into up to 32 KiB around and calls them data
 *   - the placeholder's state can be kept in its extended attribute
 *   - a file can be opened again by its handle
 *
 * and of ext4 in particular: with data=writeback, or without a journal, a power cut can
 * leave blocks in a file that hold another file's old content, and they would pass
 * for the remote's bytes. With inline_data a small file lies in its inode, without blocks, where
 * the placeholder's attribute is meant to be.
 */

#include "dispatcher/store/handle.h"
#include "dispatcher/files/presence.h"
#include "dispatcher/store/store-internal.h"
#include "shared/fd.h"

#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define PROBE_XATTR "security.bpf.cloudsync"

static int probe_holes(int file, const char *name, Failure *failure) {
        if (ftruncate(file, 100) < 0)
                return failure_set(failure, -errno, "StoreUnusable", "Cannot extend a file on %s: %s.",
                                   name, g_strerror(errno));
        if (lseek(file, 0, SEEK_DATA) >= 0)
                return failure_set(failure, -EOPNOTSUPP, "StoreUnusable",
                                   "%s does not show holes as holes.",
                                   name);
        if (errno != ENXIO)
                return failure_set(failure, -errno, "StoreUnusable", "Cannot look for holes on %s: %s.",
                                   name, g_strerror(errno));
        return 0;
}

static int probe_unwritten(int file, uint64_t granule, const char *name, Failure *failure) {
        const uint64_t size = 16 * granule;
        struct extents present = EXTENTS_INIT;
        g_autofree char *data = g_malloc0(granule);

        /* By way of 0: btrfs makes data of the block that an unaligned old end is in. */
        if (ftruncate(file, 0) < 0 || ftruncate(file, (off_t)size) < 0 || fallocate(file, 0, 0, (off_t)(4 * granule)) < 0 ||
            fsync(file) < 0 || pwrite(file, data, granule, (off_t)granule) != (ssize_t)granule)
                return failure_set(failure, -errno, "StoreUnusable", "Cannot fill a file on %s: %s.",
                                   name, g_strerror(errno));
        int r = presence_load(file, size, granule, &present);
        uint64_t bytes = extents_bytes(&present, 0, size);
        extents_clear(&present);
        if (r < 0)
                return failure_set(failure, r, "StoreUnusable",
                                   "Cannot ask for the extents of a file on %s: %s.", name,
                                   g_strerror(-r));
        if (bytes > granule)
                return failure_set(failure, -EOPNOTSUPP, "StoreUnusable",
                                   "%s takes zeros around what is written for data; mount it without nodioread_nolock and nodelalloc.",
                                   name);
        return 0;
}

static int probe_xattr(int file, const char *name, Failure *failure) {
        char value[256], back[sizeof value];

        memset(value, 0xa5, sizeof value);
        if (fsetxattr(file, PROBE_XATTR, value, sizeof value, 0) < 0)
                return failure_set(failure, -errno, "StoreUnusable",
                                   "Cannot keep extended attributes on %s: %s.", name,
                                   g_strerror(errno));
        ssize_t n = fgetxattr(file, PROBE_XATTR, back, sizeof back);
        if (n != (ssize_t)sizeof value || memcmp(value, back, sizeof value) != 0)
                return failure_set(failure, -EIO, "StoreUnusable",
                                   "%s does not give extended attributes back as they were set.", name);
        return 0;
}

static int probe_handles(int root, int file, const char *name, Failure *failure) {
        struct stat before, after;
        struct handle handle;
        autoclose int again = -1;
        int r = handle_take(file, &handle);

        if (r == 0)
                again = handle_open(root, &handle, O_RDWR);
        if (r < 0 || again < 0)
                return failure_set(failure, r < 0 ? r : again, "StoreUnusable",
                                   "Cannot open files of %s by their handles: %s.", name,
                                   g_strerror(r < 0 ? -r : -again));
        if (fstat(file, &before) < 0 || fstat(again, &after) < 0 || before.st_ino != after.st_ino)
                return failure_set(failure, -EIO, "StoreUnusable", "Handles of %s lead to other files.",
                                   name);
        return 0;
}

/* Does a few bytes' file lie in its inode? A new one, with no attribute there yet. 1, 0, -errno. */
static int has_inline_data(int root) {
        union {
                struct fiemap map;
                uint8_t bytes[sizeof(struct fiemap) + sizeof(struct fiemap_extent)];
        } u = {.map = {.fm_length = 4096, .fm_flags = FIEMAP_FLAG_SYNC, .fm_extent_count = 1}};

        autoclose int file = openat(root, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (file < 0 || pwrite(file, "inline?", 7, 0) < 0 || ioctl(file, FS_IOC_FIEMAP, &u.map) < 0)
                return -errno;
        return u.map.fm_mapped_extents > 0 && (u.map.fm_extents[0].fe_flags & FIEMAP_EXTENT_DATA_INLINE);
}

/* Every option in force, defaults included: one per line in /proc/fs/ext4/NAME/options, where
 * NAME is the block device's. Without a journal there is no data= at all. */
static int probe_ext4(int root, const char *name, Failure *failure) {
        char link[64], target[512], path[300];
        struct stat st;
        g_autofree char *options = NULL;

        int r = has_inline_data(root);
        if (r < 0 || fstat(root, &st) < 0)
                return r < 0 ? r : -errno;
        if (r > 0)
                return failure_set(failure, -EOPNOTSUPP, "StoreUnusable",
                                   "The ext4 on %s has the feature inline_data, which leaves no room for the placeholders' attributes; make the store without it.",
                                   name);
        snprintf(link, sizeof link, "/sys/dev/block/%u:%u", major(st.st_dev), minor(st.st_dev));
        ssize_t n = readlink(link, target, sizeof target - 1);
        if (n >= 0) {
                target[n] = '\0';
                const char *base = strrchr(target, '/');
                snprintf(path, sizeof path, "/proc/fs/ext4/%.200s/options",
                         base != NULL ? base + 1 : target);
                (void)g_file_get_contents(path, &options, NULL, NULL);
        }
        if (options == NULL)
                return failure_set(failure, -EOPNOTSUPP, "StoreUnusable",
                                   "Cannot tell the ext4 options of %s (/proc/fs/ext4 is not there).",
                                   name);

        g_auto(GStrv) lines = g_strsplit(options, "\n", -1);
        if (g_strv_contains((const char *const *)lines, "data=ordered") ||
            g_strv_contains((const char *const *)lines, "data=journal"))
                return 0;
        if (g_strv_contains((const char *const *)lines, "data=writeback"))
                return failure_set(failure, -EOPNOTSUPP, "StoreUnusable",
                                   "%s is mounted with data=writeback, which shows old blocks in files after a power cut; use data=ordered.",
                                   name);
        return failure_set(failure, -EOPNOTSUPP, "StoreUnusable",
                           "The ext4 on %s has no journal, so that files cannot be trusted after a power cut; add one (tune2fs -O has_journal).",
                           name);
}

int store_probe(int root, const char *filesystem, const char *name, Failure *failure) {
        struct statvfs vfs;
        if (fstatvfs(root, &vfs) < 0)
                return failure_set(failure, -errno, "StoreUnusable", "Cannot look at %s: %s.", name,
                                   g_strerror(errno));
        if (vfs.f_flag & ST_RDONLY)
                return failure_set(failure, -EROFS, "StoreUnusable",
                                   "The filesystem on %s is read-only; it has to be writable.", name);

        autoclose int file = openat(root, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (file < 0)
                return failure_set(failure, -errno, "StoreUnusable", "Cannot make a file on %s: %s.",
                                   name, g_strerror(errno));
        int r = probe_holes(file, name, failure);
        if (r >= 0)
                r = probe_unwritten(file, MAX((uint64_t)sysconf(_SC_PAGESIZE), vfs.f_bsize), name,
                                    failure);
        if (r >= 0)
                r = probe_xattr(file, name, failure);
        if (r >= 0)
                r = probe_handles(root, file, name, failure);
        if (r >= 0 && g_str_equal(filesystem, "ext4"))
                r = probe_ext4(root, name, failure);
        return r;
}
