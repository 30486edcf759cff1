/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A change that comes the moment after a file was sealed breaks the seal, also when size and mtime are
 * set back; what changes nothing does not.
 */

#include "loop.h"

#include "dispatcher/store/seal.h"
#include "dispatcher/store/stamp.h"
#include "shared/fd.h"

#include <fcntl.h>
#include <glib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROUNDS 2000u
#define SIZE 10000

static struct stamp example(void) {
        return (struct stamp){.state = STAMP_WHOLE,
                              .flags = STAMP_HAS_VERSION,
                              .size = SIZE,
                              .mtime_sec = 1600000000,
                              .mode = 0644,
                              .engine = (char *)"e",
                              .version = (char *)"1",
                              .locator = (char *)"a"};
}

static void set_mtime(int fd) {
        const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1600000000}};

        g_assert_cmpint(futimens(fd, times), ==, 0);
}

static bool is_unmodified(int fd) {
        struct stamp stamp = STAMP_INIT;
        struct stat st;
        bool is;

        g_assert_cmpint(fstat(fd, &st), ==, 0);
        g_assert_cmpint(stamp_read(fd, st.st_ino, &stamp), ==, 0);
        g_assert_cmpint(st.st_size, ==, SIZE);
        g_assert_cmpint(st.st_mtim.tv_sec, ==, 1600000000);
        is = stamp_is_unmodified(&stamp, &st);
        stamp_clear(&stamp);
        return is;
}

static void test_seal(struct loop_place *place) {
        autoclose int fd = loop_cold(place, "sealed", SIZE);
        unsigned broken = 0, whole = 0;

        for (unsigned i = 0; i < ROUNDS; i++) {
                struct stamp stamp = example();
                char byte;

                set_mtime(fd); /* what a fill does last */
                g_assert_cmpint(stamp_write(fd, &stamp), ==, 0);
                g_assert_cmpuint(stamp.seal, >, 0);
                g_assert_cmpint(pread(fd, &byte, 1, 5), ==, 1);
                whole += is_unmodified(fd);
                if (i % 2) { /* the ctime of the stamp was not asked for since, or was */
                        g_assert_cmpint(stamp_write(fd, &stamp), ==, 0);
                }
                g_assert_cmpint(pwrite(fd, "x", 1, 5), ==, 1);
                set_mtime(fd);
                broken += !is_unmodified(fd);
        }
        g_assert_cmpuint(whole, ==, ROUNDS);
        g_assert_cmpuint(broken, ==, ROUNDS);
}

/* With a seal a millisecond ahead, a tick of the clock often falls before it: a change after the seal must
 * not be given the time of that tick. */
static void test_tick(struct loop_place *place) {
        autoclose int fd = loop_cold(place, "tick", SIZE);
        struct stat st;

        for (unsigned i = 0; i < 300; i++) {
                uint64_t seal = seal_begin(5);

                g_assert_cmpint(fchmod(fd, 0600), ==, 0);
                g_assert_cmpint(seal_end(fd, seal), ==, 0);
                g_assert_cmpint(fstat(fd, &st), ==, 0);
                g_assert_false(seal_is_broken(seal, &st));
                g_assert_cmpint(pwrite(fd, "x", 1, 5), ==, 1);
                g_assert_cmpint(fstat(fd, &st), ==, 0);
                g_assert_true(seal_is_broken(seal, &st));
        }
}

/* Attributes are a user's, too. */
static void test_attributes(struct loop_place *place) {
        autoclose int fd = loop_cold(place, "attributes", SIZE);
        struct stamp stamp = example();

        set_mtime(fd);
        g_assert_cmpint(stamp_write(fd, &stamp), ==, 0);
        g_assert_true(is_unmodified(fd));
        g_assert_cmpint(fsync(fd), ==, 0);
        g_assert_true(is_unmodified(fd));
        g_assert_cmpint(fchmod(fd, 0600), ==, 0);
        g_assert_false(is_unmodified(fd));
}

int main(int argc, char **argv) {
        loop_init(&argc, &argv, 120);
        loop_add("seal", test_seal);
        loop_add("tick", test_tick);
        loop_add("attributes", test_attributes);
        return g_test_run();
}
