/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* attached: the record of a store's mount, and what is not a record of one. */

#include "dispatcher/store/attached.h"

#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static char *directory, *file;

static void test_round_trip(void) {
        struct attached a = {.path = "/srv/a name\nwith a line", .files = makedev(7, 12), .failures = 19}, b;

        g_assert_cmpint(attached_write(file, &a), ==, 0);
        g_assert_cmpint(attached_read(file, &b), ==, 0);
        g_assert_cmpstr(a.path, ==, b.path);
        g_assert_true(a.files == b.files);
        g_assert_cmpuint(b.failures, ==, 19);
        g_assert_cmpint(attached_forget(file), ==, 0);
        g_assert_cmpint(attached_read(file, &b), ==, -ENOENT);
        g_assert_cmpint(attached_forget(file), ==, 0);
}

static void test_nonsense(void) {
        static const char *const all[] = {"", "0", "0 7:1", "0 7:1\n", "0 7:1\nsrv", "0 7\n/srv", "x 7:1\n/srv",
                                          "0 7:1 \n/srv"};
        g_autofree char *text = g_strdup_printf("0 7:1\n/%*s", PATH_MAX, "x");
        struct attached b;

        for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
                g_assert_true(g_file_set_contents(file, all[i], -1, NULL));
                g_assert_cmpint(attached_read(file, &b), ==, -EBADMSG);
        }
        g_assert_true(g_file_set_contents(file, text, -1, NULL));
        g_assert_cmpint(attached_read(file, &b), ==, -EBADMSG);
}

/* A directory that is no mount, another file system's root, nothing at all: left alone. */
static void test_not_ours(void) {
        struct attached a = {.files = makedev(4095, 77)};
        struct stat st;

        g_strlcpy(a.path, "/proc", sizeof a.path);
        g_assert_cmpint(attached_detach(&a), ==, 0);
        g_strlcpy(a.path, directory, sizeof a.path);
        g_assert_cmpint(g_stat(directory, &st), ==, 0);
        a.files = st.st_dev;
        g_assert_cmpint(attached_detach(&a), ==, 0);
        g_strlcpy(a.path, "/nowhere/at/all", sizeof a.path);
        g_assert_cmpint(attached_detach(&a), ==, 0);
}

int main(int argc, char **argv) {
        int r;

        g_test_init(&argc, &argv, NULL);
        directory = g_dir_make_tmp("attached-XXXXXX", NULL);
        file = g_build_filename(directory, "attached", NULL);
        g_test_add_func("/attached/round-trip", test_round_trip);
        g_test_add_func("/attached/nonsense", test_nonsense);
        g_test_add_func("/attached/not-ours", test_not_ours);
        r = g_test_run();
        (void)g_unlink(file);
        (void)g_rmdir(directory);
        return r;
}
