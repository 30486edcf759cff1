/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is present is what FIEMAP shows as written, after what is dirty was written
 * back (FIEMAP_FLAG_SYNC):
 *
 *   no extent             absent
 *   UNWRITTEN             absent: space without data, what a power cut leaves of a fill
 *   UNKNOWN, DELALLOC     absent: no place on disk although we asked for the write-back
 *   inline, encoded, tail-packed, …  present: data, only not at a block address
 *
 * Extents may touch or be cut at any block; they are collected byte-exact first,
 * then only granules that lie wholly in the set count.
 */

#include "dispatcher/files/presence.h"
#include "shared/fd.h"

#include <errno.h>
#include <glib.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BATCH 128u
#define ABSENT_FLAGS (FIEMAP_EXTENT_UNWRITTEN | FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC)

int presence_is_empty(int fd) {
        if (lseek(fd, 0, SEEK_DATA) >= 0)
                return 0;
        return errno == ENXIO ? 1 : -errno;
}

int presence_has_no_hole(int fd, uint64_t size) {
        if (size == 0)
                return 1;
        off_t hole = lseek(fd, 0, SEEK_HOLE);
        if (hole < 0)
                return errno == ENXIO ? 0 : -errno; /* shorter than that */
        return (uint64_t)hole >= size;
}

/* One FIEMAP call from `begin`. Returns the number of extents in `map`. */
static int map_batch(int fd, struct fiemap *map, uint64_t begin, uint64_t size) {
        memset(map, 0, sizeof *map);
        map->fm_start = begin;
        map->fm_length = size - begin;
        map->fm_extent_count = BATCH;
        /* Only the first call has something to write back; later ones find it clean
         * unless someone writes meanwhile, which is then not in the set. */
        map->fm_flags = FIEMAP_FLAG_SYNC;
        if (ioctl(fd, FS_IOC_FIEMAP, map) < 0)
                return -errno;
        return (int)MIN(map->fm_mapped_extents, BATCH);
}

/* All written bytes of [0, size), byte-exact. */
static int load_written(int fd, uint64_t size, struct extents *written) {
        g_autofree struct fiemap *map = g_try_malloc0(sizeof *map + BATCH * sizeof map->fm_extents[0]);
        if (map == NULL)
                return -ENOMEM;

        for (uint64_t begin = 0; begin < size;) {
                int n = map_batch(fd, map, begin, size);
                if (n < 0)
                        return n;
                if (n == 0)
                        return 0;
                uint64_t next = begin;
                for (int i = 0; i < n; i++) {
                        const struct fiemap_extent *e = &map->fm_extents[i];
                        if (e->fe_length > UINT64_MAX - e->fe_logical)
                                return -EIO;
                        uint64_t end = e->fe_logical + e->fe_length;
                        if (!(e->fe_flags & ABSENT_FLAGS) && e->fe_logical < size) {
                                int r = extents_add(written, e->fe_logical, MIN(end, size));
                                if (r < 0)
                                        return r;
                        }
                        if (e->fe_flags & FIEMAP_EXTENT_LAST)
                                return 0;
                        next = MAX(next, end);
                }
                if (next == begin) /* no progress: never loop */
                        return -EIO;
                begin = next;
        }
        return 0;
}

/* Adds the granules of one written range that lie wholly in it. */
static int add_granules(const struct extent *range, uint64_t size, uint64_t granule,
                        struct extents *ret) {
        uint64_t begin = range->begin % granule == 0 ? range->begin
                                                     : range->begin - range->begin % granule + granule;
        uint64_t end = range->end == size ? size : range->end - range->end % granule;
        return begin < end ? extents_add(ret, begin, end) : 0;
}

int presence_load(int fd, uint64_t size, uint64_t granule, struct extents *ret) {
        struct extents written = EXTENTS_INIT;

        int r = load_written(fd, size, &written);
        for (size_t i = 0; r >= 0 && i < written.n; i++)
                r = add_granules(&written.items[i], size, granule, ret);
        extents_clear(&written);
        return r < 0 ? r : 0;
}
