/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* module-file: what may be loaded, on real files */

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <glib.h>
#include <glib/gstdio.h>

#include "shared/module-file.h"

static void expect(const char *dir, const char *name, int error, const char *word) {
        g_autofree char *path = NULL;
        const char *reason = NULL;
        int r = module_file_check(dir, name, &path, &reason);

        g_assert_cmpint(r, ==, error);
        if (r == 0) {
                g_autofree char *expected = g_strdup_printf("%s/%s.so", dir, name);

                g_assert_cmpstr(path, ==, expected);
                g_assert_null(reason);
                return;
        }
        g_assert_null(path);
        g_assert_nonnull(reason);
        if (!strstr(reason, word))
                g_error("'%s' does not say '%s'", reason, word);
        /* Nobody has to ask for the answers. */
        g_assert_cmpint(module_file_check(dir, name, NULL, NULL), ==, error);
}

static void test_check(void) {
        g_autofree char *dir = g_dir_make_tmp("module-file-XXXXXX", NULL);
        g_autofree char *good = g_build_filename(dir, "good.so", NULL);
        g_autofree char *link = g_build_filename(dir, "link.so", NULL);
        g_autofree char *folder = g_build_filename(dir, "folder.so", NULL);
        g_autofree char *missing = g_build_filename(dir, "missing", NULL);

        g_assert_true(g_file_set_contents(good, "x", 1, NULL));
        g_assert_cmpint(chmod(good, 0644), ==, 0);
        g_assert_cmpint(symlink("good.so", link), ==, 0);
        g_assert_cmpint(mkdir(folder, 0755), ==, 0);

        expect(dir, "good", 0, NULL);
        expect(dir, "nothing", -ENOENT, "no module of this name");
        expect(missing, "good", -ENOENT, "directory");
        expect(dir, "link", -ELOOP, "symbolic link");
        expect(dir, "folder", -EPERM, "regular file");
        expect(dir, "../good", -EINVAL, "name");
        expect(dir, "good.so", -EINVAL, "name");
        expect(dir, "", -EINVAL, "name");
        g_assert_cmpint(chmod(good, 0664), ==, 0);
        expect(dir, "good", -EPERM, "module is writable");
        g_assert_cmpint(chmod(good, 0646), ==, 0);
        expect(dir, "good", -EPERM, "module is writable");
        g_assert_cmpint(chmod(good, 0644), ==, 0);
        g_assert_cmpint(chmod(dir, 0770), ==, 0);
        expect(dir, "good", -EPERM, "directory is writable");
        g_assert_cmpint(chmod(dir, 0700), ==, 0);
        expect(dir, "good", 0, NULL);

        if (geteuid() == 0) {
                g_assert_cmpint(chown(good, 65534, 0), ==, 0);
                expect(dir, "good", -EPERM, "module does not belong");
                /* trusted by a process of that user, not by another's */
                g_assert_cmpint(module_file_check_owner(dir, "good", 65534, NULL, NULL), ==, 0);
                g_assert_cmpint(module_file_check_owner(dir, "good", 1, NULL, NULL), ==, -EPERM);
                g_assert_cmpint(chown(good, 0, 0), ==, 0);
                g_assert_cmpint(chown(dir, 65534, 0), ==, 0);
                expect(dir, "good", -EPERM, "directory does not belong");
        }
        g_unlink(good);
        g_unlink(link);
        g_rmdir(folder);
        g_rmdir(dir);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/module-file/check", test_check);
        return g_test_run();
}
