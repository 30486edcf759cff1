/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The store of a worker that was killed, as it was left: mounted, marked, at its path.
 *
 * Readers wait, so nothing is asked again that the last worker knew, and nothing is needed that a
 * disk in trouble could refuse: no superblock is read, no probe is written, the image is not
 * even looked for. The private mount is a clone of the public one; a filesystem that has
 * become read-only, or full, or answers with EIO, is taken over all the same, and its files that
 * are whole stay readable.
 *
 * The mark is the group's, and is there. Whatever fails here, it must not be taken away:
 * people are in the store.
 */

#include "dispatcher/store/store-internal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static bool path_leads_to(const Store *store, dev_t files) {
        struct statx st;

        return statx(AT_FDCWD, store->path, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, &st) == 0 &&
               (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) &&
               makedev(st.stx_dev_major, st.stx_dev_minor) == files;
}

bool store_is_at_path(const Store *store) {
        return path_leads_to(store, store->files);
}

static int take(Store *store, const struct store_mount_info *info, uint64_t attributes, Failure *failure) {
        int r = store_mount_clone(store->path, attributes, &store->private, failure);
        if (r < 0)
                return r;
        store->device = g_strdup(info->source);
        store->filesystem = g_strdup(info->filesystem);
        store->superblock = info->device;
        store->hsmid = store_options_have_hsmid(info->options);
        return 1;
}

int store_take_over(Store *store, dev_t files, uint64_t attributes, Failure *failure) {
        struct store_mount_info info;

        if (files == 0 || !path_leads_to(store, files))
                return 0;
        int r = store_mount_info_load(store->path, 0, &info);
        if (r < 0)
                return r;
        if (info.found && info.source != NULL && info.filesystem != NULL && g_strcmp0(info.root, "/") == 0)
                r = take(store, &info, attributes, failure);
        store_mount_info_clear(&info);
        return r;
}
