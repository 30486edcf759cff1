/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * presence on real filesystems: what is there after writes, holes, space without data,
 * and the page cache playing tricks.
 */

#include "loop.h"

#include "dispatcher/files/presence.h"
#include "shared/fd.h"

#include <fcntl.h>
#include <glib.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define G 4096u

static void put(int fd, uint64_t begin, uint64_t end) {
        g_autofree char *data = g_malloc(end - begin);
        memset(data, 'x', end - begin);
        g_assert_cmpint(pwrite(fd, data, end - begin, (off_t)begin), ==, (ssize_t)(end - begin));
}

/* Compares with pairs of begin and end that close with 0, 0. */
static void is_present(int fd, uint64_t size, uint64_t granule, const uint64_t *expected) {
        struct extents set = EXTENTS_INIT;
        size_t n = 0;

        g_assert_cmpint(presence_load(fd, size, granule, &set), ==, 0);
        for (; expected[2 * n + 1] != 0; n++) {
                g_assert_cmpuint(n, <, set.n);
                g_assert_cmpuint(set.items[n].begin, ==, expected[2 * n]);
                g_assert_cmpuint(set.items[n].end, ==, expected[2 * n + 1]);
        }
        g_assert_cmpuint(set.n, ==, n);
        extents_clear(&set);
}
#define IS_PRESENT(fd, size, granule, ...)                                                         \
        is_present(fd, size, granule, (const uint64_t[]){__VA_ARGS__ __VA_OPT__(, ) 0, 0})

static void test_empty(struct loop_place *place) {
        autoclose int fd = loop_cold(place, "empty", 100 * G);
        g_assert_cmpint(presence_is_empty(fd), ==, 1);
        g_assert_cmpint(presence_has_no_hole(fd, 100 * G), ==, 0);
        IS_PRESENT(fd, 100 * G, G);

        autoclose int none = loop_cold(place, "none", 0);
        g_assert_cmpint(presence_is_empty(none), ==, 1);
        g_assert_cmpint(presence_has_no_hole(none, 0), ==, 1);
        g_assert_cmpint(presence_has_no_hole(none, 1), ==, 0); /* shorter than it should be */
        IS_PRESENT(none, 0, G);
}

static void test_dirty(struct loop_place *place) {
        autoclose int fd = loop_cold(place, "dirty", 100 * G);
        put(fd, 3 * G, 5 * G);
        put(fd, 50 * G, 51 * G);
        g_assert_cmpint(presence_is_empty(fd), ==, 0);
        IS_PRESENT(fd, 100 * G, G, 3 * G, 5 * G, 50 * G, 51 * G);
        put(fd, 0, 100 * G);
        g_assert_cmpint(presence_has_no_hole(fd, 100 * G), ==, 1);
        IS_PRESENT(fd, 100 * G, G, 0, 100 * G);
}

/* The last granule counts up to the size, and only when all of it is there. */
static void test_tail(struct loop_place *place) {
        const uint64_t size = 10 * G + 100;
        autoclose int fd = loop_cold(place, "tail", (off_t)size);
        put(fd, 9 * G, size);
        IS_PRESENT(fd, size, G, 9 * G, size);
        g_assert_cmpint(presence_has_no_hole(fd, size), ==, 0);
        put(fd, 0, 9 * G);
        IS_PRESENT(fd, size, G, 0, size);
        g_assert_cmpint(presence_has_no_hole(fd, size), ==, 1);
}

/* Granules of which only a part is there are absent. */
static void test_granule(struct loop_place *place) {
        const uint64_t big = 4 * G;
        autoclose int fd = loop_cold(place, "granule", (off_t)(10 * big));
        put(fd, big + G, 3 * big);           /* one part, one whole */
        put(fd, 5 * big, 5 * big + 3 * G);   /* a part */
        put(fd, 9 * big + 3 * G, 10 * big);  /* a part, at the end */
        IS_PRESENT(fd, 10 * big, big, 2 * big, 3 * big);
        IS_PRESENT(fd, 10 * big, G, big + G, 3 * big, 5 * big, 5 * big + 3 * G, 9 * big + 3 * G,
                   10 * big);
}

/* Space without data is absent, also when readahead has put pages of zeros there, which make
 * SEEK_DATA call it data: the state that a power cut leaves of a fill. */
static void test_unwritten(struct loop_place *place) {
        const uint64_t size = 64 * G;
        autoclose int fd = loop_cold(place, "unwritten", (off_t)size);
        g_assert_cmpint(fallocate(fd, 0, 0, (off_t)size), ==, 0);
        g_assert_cmpint(fsync(fd), ==, 0);
        IS_PRESENT(fd, size, G);

        /* Pages in the cache, by the private mount, which raises nothing. */
        char *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
        g_assert_true(map != MAP_FAILED);
        unsigned sum = 0;
        for (uint64_t i = 0; i < size; i += G)
                sum += (unsigned char)map[i];
        g_assert_cmpuint(sum, ==, 0);
        munmap(map, size);
        if (presence_is_empty(fd) == 0)
                g_test_message("SEEK_DATA takes cached zeros for data here");
        IS_PRESENT(fd, size, G);

        put(fd, 8 * G, 9 * G);
        IS_PRESENT(fd, size, G, 8 * G, 9 * G);
}

/* More extents than one FIEMAP call returns. */
static void test_many(struct loop_place *place) {
        const uint64_t n = 500, size = 2 * n * G;
        struct extents set = EXTENTS_INIT;
        autoclose int fd = loop_cold(place, "many", (off_t)size);
        for (uint64_t i = 0; i < n; i++)
                put(fd, 2 * i * G, (2 * i + 1) * G);
        g_assert_cmpint(presence_load(fd, size, G, &set), ==, 0);
        g_assert_cmpuint(set.n, ==, n);
        for (uint64_t i = 0; i < n; i++) {
                g_assert_cmpuint(set.items[i].begin, ==, 2 * i * G);
                g_assert_cmpuint(set.items[i].end, ==, (2 * i + 1) * G);
        }
        extents_clear(&set);
}

/* What was punched out is absent again. */
static void test_punched(struct loop_place *place) {
        autoclose int fd = loop_cold(place, "punched", 20 * G);
        put(fd, 0, 20 * G);
        g_assert_cmpint(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5 * G, 5 * G), ==, 0);
        IS_PRESENT(fd, 20 * G, G, 0, 5 * G, 10 * G, 20 * G);
        g_assert_cmpint(presence_has_no_hole(fd, 20 * G), ==, 0);
}

/* A small whole file, which btrfs keeps inline in its tree, at no block address. */
static void test_small(struct loop_place *place) {
        autoclose int fd = loop_cold(place, "small", 0);
        put(fd, 0, 100);
        IS_PRESENT(fd, 100, G, 0, 100);
        g_assert_cmpint(presence_has_no_hole(fd, 100), ==, 1);
        g_assert_cmpint(presence_is_empty(fd), ==, 0);
}

/* The size recorded may differ from the size now: only what is within counts. */
static void test_sizes(struct loop_place *place) {
        autoclose int fd = loop_cold(place, "sizes", 10 * G);
        put(fd, 0, 10 * G);
        IS_PRESENT(fd, 4 * G, G, 0, 4 * G);
        IS_PRESENT(fd, 4 * G + 1, G, 0, 4 * G + 1);
        IS_PRESENT(fd, 20 * G, G, 0, 10 * G);
}

/* On btrfs a file that is extended from an unaligned end gets zeros, as data, in the block of
 * its old end. So a placeholder whose size changes goes by way of 0, which never does. */
static void test_extended(struct loop_place *place) {
        autoclose int fd = loop_cold(place, "extended", G + 100);
        g_assert_cmpint(ftruncate(fd, 0), ==, 0);
        g_assert_cmpint(ftruncate(fd, 16 * G + 100), ==, 0);
        g_assert_cmpint(presence_is_empty(fd), ==, 1);
        IS_PRESENT(fd, 16 * G + 100, G);

        g_assert_cmpint(ftruncate(fd, 20 * G), ==, 0);
        int empty = presence_is_empty(fd);
        g_test_message("extending from an unaligned end %s", empty ? "leaves a hole" : "makes data");
        g_assert_cmpint(empty, ==, !g_str_equal(place->filesystem, "btrfs"));
}

int main(int argc, char **argv) {
        loop_init(&argc, &argv, 120);
        loop_add("empty", test_empty);
        loop_add("dirty", test_dirty);
        loop_add("tail", test_tail);
        loop_add("granule", test_granule);
        loop_add("unwritten", test_unwritten);
        loop_add("many", test_many);
        loop_add("punched", test_punched);
        loop_add("small", test_small);
        loop_add("sizes", test_sizes);
        loop_add("extended", test_extended);
        return g_test_run();
}
