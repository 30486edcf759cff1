/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* bus-access: paths from calls, and what the file system shows to whom. */

#include <fcntl.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <glib/gstdio.h>
#include <linux/capability.h>

#include "dispatcher/bus/bus.h"
#include "shared/log.h"

#define USER 54321
#define GROUP 54322

static char *parent, *directory; /* the store, and what it is in */
static int root_fd;

/* --- the path --- */

static void expect_path(const char *path, const char *want, const char *error) {
        g_auto(Failure) failure = FAILURE_INIT;
        const char *got = NULL;
        int r = bus_path_relative("/srv/store", path, &got, &failure);

        g_assert_cmpstr(failure.name, ==, error);
        g_assert_true((r < 0) == (error != NULL));
        g_assert_cmpstr(got, ==, want);
        if (error)
                g_assert_true(failure.text && strlen(failure.text) < 400);
}

static void test_path(void) {
        g_autofree char *name = g_strnfill(255, 'n');
        g_autofree char *too_long_name = g_strnfill(256, 'n');
        g_autofree char *long_path = g_strnfill(4095, 'x');
        g_autofree char *too_long_path = g_strnfill(1 << 20, '/');

        expect_path("", "", NULL);
        expect_path("/srv/store", "", NULL);
        expect_path("/srv/store/", "", NULL);
        expect_path("/srv/store/a", "a", NULL);
        expect_path("/srv/store/a/b c", "a/b c", NULL);
        expect_path("a/b", "a/b", NULL);
        expect_path(".a/..b/c..", ".a/..b/c..", NULL);
        expect_path("srv/store", "srv/store", NULL);
        expect_path(name, name, NULL);
        expect_path("/", NULL, "NotInStore");
        expect_path("/srv", NULL, "NotInStore");
        expect_path("/srv/stor", NULL, "NotInStore");
        expect_path("/srv/storeroom", NULL, "NotInStore");
        expect_path("/etc/passwd", NULL, "NotInStore");
        expect_path("//srv/store/a", NULL, "NotInStore");
        expect_path("/srv/store//a", NULL, "NotInStore");
        expect_path("/srv/store/../store/a", NULL, "NotInStore");
        expect_path("/srv/store/a/..", NULL, "NotInStore");
        expect_path("..", NULL, "NotInStore");
        expect_path(".", NULL, "NotInStore");
        expect_path("../x", NULL, "NotInStore");
        expect_path("a/./b", NULL, "NotInStore");
        expect_path("a//b", NULL, "NotInStore");
        expect_path("a/", NULL, "NotInStore");
        expect_path(".cloudsync", NULL, "NoSuchFile");
        expect_path("/srv/store/.cloudsync/staging", NULL, "NoSuchFile");
        expect_path(too_long_name, NULL, "NoSuchFile");
        expect_path(long_path, NULL, "NoSuchFile"); /* one name of 4095 bytes */
        expect_path(too_long_path, NULL, "NoSuchFile");
}

/* --- the file system --- */

static void make_file(const char *name, mode_t mode, uid_t uid, gid_t gid) {
        g_autofree char *path = g_build_filename(directory, name, NULL);

        g_assert_true(g_file_set_contents(path, "content", -1, NULL));
        g_assert_cmpint(chown(path, uid, gid), ==, 0);
        g_assert_cmpint(chmod(path, mode), ==, 0);
}

static void make_directory(const char *name, mode_t mode, uid_t uid, gid_t gid) {
        g_autofree char *path = g_build_filename(directory, name, NULL);

        g_assert_cmpint(mkdir(path, 0700), ==, 0);
        g_assert_cmpint(chown(path, uid, gid), ==, 0);
        g_assert_cmpint(chmod(path, mode), ==, 0);
}

/* The thread's effective capabilities and ids: unchanged by a look-up. */
struct self {
        struct __user_cap_data_struct caps[2];
        uid_t fsuid;
        gid_t fsgid;
        int n_groups;
        gid_t groups[64];
};

static void look_at_self(struct self *ret) {
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};

        memset(ret, 0, sizeof(*ret));
        g_assert_cmpint(syscall(SYS_capget, &header, ret->caps), ==, 0);
        ret->fsuid = (uid_t)setfsuid((uid_t)-1);
        ret->fsgid = (gid_t)setfsgid((gid_t)-1);
        ret->n_groups = getgroups(64, ret->groups);
}

static int look(const char *path, uid_t uid, const gid_t *groups, size_t n_groups,
                bool wants_read) {
        struct bus_access access = {
                .relative = path,
                .public_path = directory,
                .root_fd = root_fd,
                .uid = uid,
                .groups = groups,
                .n_groups = n_groups,
                .wants_read = wants_read,
        };
        struct self before, after;

        look_at_self(&before);
        bus_access_run(&access);
        look_at_self(&after);
        g_assert_cmpmem(&before, sizeof(before), &after, sizeof(after));
        g_assert_true((access.result < 0) == (access.fd < 0));
        if (access.fd >= 0) {
                g_assert_true((fcntl(access.fd, F_GETFL) & O_PATH) != 0);
                g_assert_true((fcntl(access.fd, F_GETFD) & FD_CLOEXEC) != 0);
                g_assert_cmpint(close(access.fd), ==, 0);
        }
        return access.result;
}

#define PRIMARY ((const gid_t[]){USER})
#define MEMBER ((const gid_t[]){USER, GROUP})

static void expect(const char *path, int search, int read) {
        g_assert_cmpint(look(path, USER, PRIMARY, 1, false), ==, search);
        g_assert_cmpint(look(path, USER, PRIMARY, 1, true), ==, read);
}

static void test_user(void) {
        expect("", 0, 0);
        expect("public", 0, 0);
        expect("private", 0, -EACCES);
        expect("own", 0, 0);
        expect("own-unreadable", 0, -EACCES);
        expect("group", 0, -EACCES);
        expect("closed/public", -EACCES, -EACCES);
        expect("closed", 0, -EACCES);
        expect("closed/nothing", -EACCES, -EACCES);
        expect("group-dir/public", -EACCES, -EACCES);
        expect("own-dir/private", 0, -EACCES);
        expect("nothing", -ENOENT, -ENOENT);
        expect("public/below", -ENOTDIR, -ENOTDIR);
}

static void test_groups(void) {
        g_assert_cmpint(look("group", USER, MEMBER, 2, true), ==, 0);
        g_assert_cmpint(look("group-dir/public", USER, MEMBER, 2, true), ==, 0);
        g_assert_cmpint(look("closed/public", USER, MEMBER, 2, false), ==, -EACCES);
        /* a file that shuts a group out */
        g_assert_cmpint(look("not-group", USER, PRIMARY, 1, true), ==, 0);
        g_assert_cmpint(look("not-group", USER, MEMBER, 2, true), ==, -EACCES);
        /* the bus did not tell: nothing at all */
        g_assert_cmpint(look("public", USER, NULL, 0, false), ==, -EACCES);
        /* root's groups are not the user's */
        g_assert_cmpint(look("root-group", USER, PRIMARY, 1, true), ==, -EACCES);
}

static void test_root(void) {
        g_assert_cmpint(look("closed/public", 0, NULL, 0, true), ==, 0);
        g_assert_cmpint(look("private", 0, NULL, 0, true), ==, 0);
        g_assert_cmpint(look("nothing", 0, NULL, 0, true), ==, -ENOENT);
}

/* Not followed, not opened, not left. */
static void test_traps(void) {
        for (uid_t uid = 0; uid <= USER; uid += USER) {
                g_assert_cmpint(look("link", uid, PRIMARY, 1, false), ==, 0); /* the link itself */
                g_assert_cmpint(look("link-dir/public", uid, PRIMARY, 1, false), ==, -ELOOP);
                g_assert_cmpint(look("outside/passwd", uid, PRIMARY, 1, false), ==, -ELOOP);
                g_assert_cmpint(look("../x", uid, PRIMARY, 1, false), ==, -EXDEV);
                g_assert_cmpint(look("/etc", uid, PRIMARY, 1, false), ==, -EXDEV);
                g_assert_cmpint(look("fifo", uid, PRIMARY, 1, true), ==, 0); /* does not block */
        }
}

/* A store that a user cannot reach is not shown to him by the back door. */
static void test_unreachable(void) {
        const char *const closed[] = {parent, directory};

        for (size_t i = 0; i < G_N_ELEMENTS(closed); i++) {
                g_assert_cmpint(look("public", USER, PRIMARY, 1, false), ==, 0);
                g_assert_cmpint(chmod(closed[i], 0700), ==, 0);
                g_assert_cmpint(look("public", USER, PRIMARY, 1, false), ==, -EACCES);
                g_assert_cmpint(look("public", 0, NULL, 0, false), ==, 0);
                g_assert_cmpint(chmod(closed[i], 0755), ==, 0);
        }
}

static void *thread_main(void *data) {
        struct self before, after;

        look_at_self(&before);
        for (int i = 0; i < 200; i++) {
                g_assert_cmpint(look("closed/public", USER, PRIMARY, 1, false), ==, -EACCES);
                g_assert_cmpint(look("group", USER, MEMBER, 2, true), ==, 0);
        }
        look_at_self(&after);
        g_assert_cmpmem(&before, sizeof(before), &after, sizeof(after));
        return NULL;
}

/* What one thread takes on does not show in another. */
static void test_threads(void) {
        GThread *threads[4];
        g_autofree char *path = g_build_filename(directory, "closed/public", NULL);

        for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
                threads[i] = g_thread_new("look", thread_main, NULL);
        for (int i = 0; i < 2000; i++)
                g_assert_cmpint(access(path, R_OK), ==, 0);
        for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
                g_thread_join(threads[i]);
}

static void link_to(const char *target, const char *name) {
        g_autofree char *path = g_build_filename(directory, name, NULL);

        g_assert_cmpint(symlink(target, path), ==, 0);
}

static void set_up(void) {
        g_autofree char *fifo = NULL;

        parent = g_dir_make_tmp("bus-access-XXXXXX", NULL);
        g_assert_cmpint(chmod(parent, 0755), ==, 0);
        directory = g_build_filename(parent, "store", NULL);
        g_assert_cmpint(mkdir(directory, 0755), ==, 0);
        root_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
        make_directory("closed", 0700, 0, 0);
        make_directory("group-dir", 0710, 0, GROUP);
        make_directory("own-dir", 0700, USER, USER);
        make_file("public", 0644, 0, 0);
        make_file("private", 0600, 0, 0);
        make_file("own", 0600, USER, USER);
        make_file("own-unreadable", 0044, USER, USER);
        make_file("group", 0640, 0, GROUP);
        make_file("not-group", 0604, 0, GROUP);
        make_file("root-group", 0640, 0, 0);
        make_file("closed/public", 0644, 0, 0);
        make_file("group-dir/public", 0644, 0, 0);
        make_file("own-dir/private", 0600, 0, 0);
        link_to("public", "link");
        link_to("group-dir", "link-dir");
        link_to("/etc", "outside");
        fifo = g_build_filename(directory, "fifo", NULL);
        g_assert_cmpint(mkfifo(fifo, 0666), ==, 0);
        g_assert_cmpint(chmod(fifo, 0666), ==, 0);
}

static void tear_down(void) {
        static const char *const names[] = {"closed/public",
                                            "group-dir/public",
                                            "own-dir/private",
                                            "closed",
                                            "group-dir",
                                            "own-dir",
                                            "public",
                                            "private",
                                            "own",
                                            "own-unreadable",
                                            "group",
                                            "not-group",
                                            "root-group",
                                            "link",
                                            "link-dir",
                                            "outside",
                                            "fifo"};

        for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
                g_autofree char *path = g_build_filename(directory, names[i], NULL);
                (void)g_remove(path);
        }
        (void)g_rmdir(directory);
        (void)g_rmdir(parent);
        (void)close(root_fd);
        g_free(directory);
        g_free(parent);
}

static void test_skip(void) {
        g_test_skip("taking on another user's credentials needs root");
}

int main(int argc, char **argv) {
        int r;

        g_test_init(&argc, &argv, NULL);
        log_open("bus-access-test", LOG_DEBUG);
        g_test_add_func("/bus-access/path", test_path);
        if (geteuid() != 0) {
                g_test_add_func("/bus-access/as-root", test_skip);
                return g_test_run();
        }
        set_up();
        g_test_add_func("/bus-access/user", test_user);
        g_test_add_func("/bus-access/groups", test_groups);
        g_test_add_func("/bus-access/root", test_root);
        g_test_add_func("/bus-access/traps", test_traps);
        g_test_add_func("/bus-access/unreachable", test_unreachable);
        g_test_add_func("/bus-access/threads", test_threads);
        r = g_test_run();
        tear_down();
        return r;
}
