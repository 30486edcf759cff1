/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The store on real filesystems: opened, attached, used, detached; each refusal with its
 * sentence; and nothing left mounted or looped after any of it.
 */

#include "loop.h"

#include "dispatcher/store/store.h"
#include "dispatcher/store/superblock.h"
#include "shared/fd.h"

#include <fcntl.h>
#include <glib.h>
#include <limits.h>
#include <linux/loop.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define PUBLIC LOOP_DIRECTORY "/store"
#define IMAGE LOOP_DIRECTORY "/store.img"

static bool text_has(const char *path, const char *needle) {
        g_autofree char *text = NULL;
        return g_file_get_contents(path, &text, NULL, NULL) && strstr(text, needle) != NULL;
}

/* Loop devices that are attached to a file on the test's own tmpfs. */
static unsigned loops(void) {
        struct stat st;
        unsigned n = 0;

        g_assert_cmpint(stat(LOOP_DIRECTORY, &st), ==, 0);
        for (int i = 0; i < 256; i++) {
                char path[64];
                struct loop_info64 info;
                snprintf(path, sizeof path, "/sys/block/loop%d/loop/backing_file", i);
                if (access(path, F_OK) < 0)
                        continue;
                snprintf(path, sizeof path, "/dev/loop%d", i);
                autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
                n += fd >= 0 && ioctl(fd, LOOP_GET_STATUS64, &info) == 0 && info.lo_device == st.st_dev;
        }
        return n;
}

/* Loop devices free themselves a moment after their last user. */
static void nothing_left(void) {
        for (int i = 0; i < 200 && loops() > 0; i++)
                g_usleep(10000);
        g_assert_cmpuint(loops(), ==, 0);
        g_assert_false(text_has("/proc/self/mountinfo", PUBLIC));
}

static Store *open_ok(const struct store_options *options, FanGroup *group) {
        g_auto(Failure) failure = FAILURE_INIT;
        Store *store = NULL;
        int r = store_open(options, group, &store, &failure);
        if (r < 0)
                g_error("store_open: %d: %s", r, failure.text);
        g_assert_null(failure.text);
        return store;
}

/* Opening fails with that errno and a sentence that has `part` in it. */
static void is_refused(const struct store_options *options, int expected, const char *part) {
        g_auto(Failure) failure = FAILURE_INIT;
        Store *store = NULL;
        FanGroup *group;

        g_assert_cmpint(fan_group_new(&group), ==, 0);
        int r = store_open(options, group, &store, &failure);
        g_assert_cmpint(r, ==, expected);
        g_assert_null(store);
        g_assert_nonnull(failure.name);
        g_assert_nonnull(failure.text);
        g_test_message("%s", failure.text);
        g_assert_nonnull(strstr(failure.text, part));
        g_assert_null(strchr(failure.text, '\n'));
        fan_group_free(group);
}

static struct store_options with_device(const char *device) {
        (void)mkdir(PUBLIC, 0755);
        return (struct store_options){.path = PUBLIC, .device = device, .hsmid = "cloudsync",
                                      .lock_dir = LOOP_DIRECTORY};
}

/* By somebody else: what keeps a stop waiting. */
static bool is_used(const Store *store) {
        Holders *holders = store_holders(store, 0);
        bool used = !holders_gone(holders);

        holders_free(holders);
        return used;
}

/* ---- the life of a store ---- */

static int do_read(void *data) {
        char buffer[10];
        autoclose int fd = open(data, O_RDONLY);
        return fd < 0 || pread(fd, buffer, 10, 0) < 0 ? -errno : 0;
}

static void life(const char *filesystem) {
        g_auto(Failure) failure = FAILURE_INIT;
        struct store_options options = with_device(IMAGE);
        struct loop_story story;
        FanGroup *group;

        g_assert_cmpint(fan_group_new(&group), ==, 0);
        Store *store = open_ok(&options, group);
        g_assert_cmpstr(store_filesystem(store), ==, filesystem);
        g_assert_cmpstr(store_path(store), ==, PUBLIC);
        g_assert_true(store_has_device(store));
        g_assert_false(text_has("/proc/self/mountinfo", PUBLIC)); /* out of sight */
        g_assert_false(is_used(store));

        uint64_t granule = store_granule(store);
        g_assert_cmpuint(granule, >=, 4096);
        g_assert_cmpuint(granule & (granule - 1), ==, 0);
        struct statvfs vfs;
        g_assert_cmpint(fstatvfs(store_root(store), &vfs), ==, 0);
        g_assert_cmpuint(store_free_bytes(store), >, 0);
        g_assert_cmpuint(store_free_bytes(store), <, (uint64_t)vfs.f_bavail * vfs.f_frsize);

        autoclose int fd = openat(store_root(store), "file", O_RDWR | O_CREAT, 0644);
        g_assert_cmpint(ftruncate(fd, 100000), ==, 0);
        g_assert_cmpint(store_attach(store, &failure), ==, 0);
        g_assert_true(text_has("/proc/self/mountinfo", PUBLIC));
        g_assert_false(is_used(store)); /* its own public mount does not count */

        char path[] = PUBLIC "/file";
        loop_observe(group, do_read, NULL, path, &story);
        g_assert_cmpint(story.result, ==, 0);
        g_assert_cmpuint(story.n, ==, 2);

        struct stat st;
        g_assert_cmpint(fstatat(store_root(store), STORE_PRIVATE_DIR, &st, AT_SYMLINK_NOFOLLOW), ==, 0);
        g_assert_cmpuint(st.st_mode, ==, S_IFDIR | 0700);
        g_assert_cmpint(fstat(store_root(store), &st), ==, 0);
        g_assert_true(st.st_dev == store_device_number(store));
        g_assert_cmpint(store_sync(store), ==, 0);

        g_assert_cmpint(store_detach(store), ==, 0);
        g_assert_false(text_has("/proc/self/mountinfo", PUBLIC));
        g_assert_cmpint(store_detach(store), ==, 0); /* again: nothing to do */
        fd_cleanup(&fd);
        fd = -1;
        store_close(store);
        fan_group_free(group);
        nothing_left();
}

static void test_life(gconstpointer filesystem) {
        if (loop_make(filesystem, IMAGE, ""))
                life(filesystem);
}

/* A filesystem that someone else mounted. */
static void test_path_alone(gconstpointer filesystem) {
        struct loop_story story;
        FanGroup *group;

        if (!loop_make(filesystem, IMAGE, ""))
                return;
        (void)mkdir(PUBLIC, 0755);
        loop_run("mount -o loop " IMAGE " " PUBLIC " && echo 0123456789 >" PUBLIC "/file");
        struct store_options options = {.path = PUBLIC "/../store"};
        g_assert_cmpint(fan_group_new(&group), ==, 0);
        Store *store = open_ok(&options, group);
        g_assert_cmpstr(store_path(store), ==, PUBLIC);
        g_assert_cmpint(store_attach(store, NULL), ==, 0);
        g_assert_cmpint(store_detach(store), ==, -EOPNOTSUPP);
        char path[] = PUBLIC "/file";
        loop_observe(group, do_read, NULL, path, &story);
        g_assert_cmpuint(story.n, ==, 2);
        g_assert_true(is_used(store)); /* the mount is not ours */

        is_refused(&options, -EBUSY, "another cloudsync daemon");
        store_close(store);
        fan_group_free(group);
        loop_run("umount " PUBLIC);
        nothing_left();
}

/* ---- its end ---- */

static int new_file(const Store *store, const char *name) {
        int fd = openat(store_root(store), name, O_RDWR | O_CREAT | O_EXCL, 0644);
        g_assert_cmpint(fd, >=, 0);
        return fd;
}

/* A file is held by nothing but a socket's queue. */
static void send_file(int socket, int fd) {
        char byte = 'x', control[CMSG_SPACE(sizeof fd)] = {0};
        struct iovec vector = {.iov_base = &byte, .iov_len = 1};
        struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control,
                                 .msg_controllen = sizeof control};
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);

        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(header), &fd, sizeof fd);
        g_assert_cmpint(sendmsg(socket, &message, 0), ==, 1);
}

static void is_soon_over(int watch) {
        for (int i = 0; i < 200 && superblock_state(watch) != SUPERBLOCK_OVER; i++)
                g_usleep(10000);
        g_assert_cmpint(superblock_state(watch), ==, SUPERBLOCK_OVER);
}

static void test_end(gconstpointer filesystem) {
        struct store_options options = with_device(IMAGE);
        struct rlimit limit, none;
        FanGroup *group;
        int sockets[2];

        if (!loop_make(filesystem, IMAGE, ""))
                return;
        g_assert_cmpint(superblock_state(0), ==, SUPERBLOCK_UNKNOWN);
        options.superblock_watch = superblock_reserve();
        g_assert_cmpint(options.superblock_watch, >, 0);
        g_assert_cmpint(superblock_state(options.superblock_watch), ==, SUPERBLOCK_UNKNOWN);
        g_assert_cmpint(fan_group_new(&group), ==, 0);
        Store *store = open_ok(&options, group);
        g_assert_cmpint(store_attach(store, NULL), ==, 0);
        autoclose int fd = new_file(store, "file");
        g_assert_cmpint(superblock_state(options.superblock_watch), ==, SUPERBLOCK_LIVES);

        /* Without a descriptor for another watch, there is still this one. */
        g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
        none = (struct rlimit){.rlim_cur = (rlim_t)options.superblock_watch + 1, .rlim_max = limit.rlim_max};
        g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &none), ==, 0);
        g_assert_cmpint(superblock_watch(options.superblock_watch, store_root(store)), ==, -EMFILE);
        g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
        g_assert_cmpint(superblock_state(options.superblock_watch), ==, SUPERBLOCK_LIVES);

        /* What goes on in it is not what is asked. */
        g_assert_cmpint(mkdirat(store_root(store), "d", 0755), ==, 0);
        g_assert_cmpint(unlinkat(store_root(store), "d", AT_REMOVEDIR), ==, 0);
        g_assert_cmpint(fchmod(store_root(store), 0700), ==, 0);
        g_assert_cmpint(superblock_state(options.superblock_watch), ==, SUPERBLOCK_LIVES);

        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), ==, 0);
        send_file(sockets[0], fd);
        fd_cleanup(&fd);
        fd = -1;
        store_close(store);
        g_usleep(100000);
        g_assert_cmpint(superblock_state(options.superblock_watch), ==, SUPERBLOCK_LIVES);
        close(sockets[1]);
        close(sockets[0]);
        is_soon_over(options.superblock_watch);

        /* The next of the same name. */
        store = open_ok(&options, group);
        g_assert_cmpint(superblock_state(options.superblock_watch), ==, SUPERBLOCK_LIVES);
        store_close(store);
        is_soon_over(options.superblock_watch);
        fan_group_free(group);
        close(options.superblock_watch);
        nothing_left();
}

/* A watch that ends with its directory says nothing of the file system. */
static void test_watched_directory_removed(void) {
        int watch = superblock_reserve();

        g_assert_cmpint(mkdir(LOOP_DIRECTORY "/watched", 0755), ==, 0);
        autoclose int directory = open(LOOP_DIRECTORY "/watched", O_PATH | O_DIRECTORY);
        g_assert_cmpint(superblock_watch(watch, directory), ==, 0);
        g_assert_cmpint(superblock_state(watch), ==, SUPERBLOCK_LIVES);
        fd_cleanup(&directory);
        directory = -1;
        g_assert_cmpint(rmdir(LOOP_DIRECTORY "/watched"), ==, 0);
        g_assert_cmpint(superblock_state(watch), ==, SUPERBLOCK_UNKNOWN);
        autoclose int file = open(LOOP_DIRECTORY "/command.log", O_RDONLY | O_CREAT, 0644);
        g_assert_cmpint(superblock_watch(watch, file), ==, -ENOTDIR);
        close(watch);
}

/* ---- files ---- */

static void is_path(const Store *store, int fd, const char *expected) {
        g_autofree char *path = NULL;
        g_assert_cmpint(store_relative_path(store, fd, &path), ==, 0);
        g_assert_cmpstr(path, ==, expected);
}

static void check_paths(Store *store) {
        is_path(store, store_root(store), "");
        is_path(store, store_staging(store), STORE_STAGING_DIR);

        g_assert_cmpint(mkdirat(store_root(store), "a", 0755), ==, 0);
        autoclose int odd = new_file(store, "a/with\nnewline \xff\xfe");
        is_path(store, odd, "a/with\nnewline \xff\xfe");

        /* What only looks deleted, what is, and what is and looks it as well. */
        autoclose int looks = new_file(store, "x (deleted)");
        is_path(store, looks, "x (deleted)");
        autoclose int gone = new_file(store, "y");
        g_assert_cmpint(unlinkat(store_root(store), "y", 0), ==, 0);
        is_path(store, gone, "y");
        g_assert_cmpint(unlinkat(store_root(store), "x (deleted)", 0), ==, 0);
        is_path(store, looks, "x (deleted)");
        /* One of two names taken away. */
        autoclose int linked = new_file(store, "one");
        g_assert_cmpint(linkat(store_root(store), "one", store_root(store), "two", 0), ==, 0);
        g_assert_cmpint(unlinkat(store_root(store), "one", 0), ==, 0);
        is_path(store, linked, "one");

        autoclose int directory = openat(store_root(store), "a", O_PATH | O_DIRECTORY);
        g_assert_cmpint(renameat(store_root(store), "a", store_root(store), "b"), ==, 0);
        is_path(store, directory, "b");
        is_path(store, odd, "b/with\nnewline \xff\xfe");
}

/* Deeper than PATH_MAX: an error, not a cut path. */
static void check_deep(Store *store) {
        char name[201];
        memset(name, 'd', 200);
        name[200] = '\0';
        int fd = dup(store_root(store));
        for (int depth = 1; depth <= 25; depth++) {
                g_assert_cmpint(mkdirat(fd, name, 0755), ==, 0);
                int next = openat(fd, name, O_RDONLY | O_DIRECTORY);
                g_assert_cmpint(next, >=, 0);
                close(fd);
                fd = next;
                g_autofree char *path = NULL;
                int r = store_relative_path(store, fd, &path);
                if (depth * 201 < PATH_MAX - 10) {
                        g_assert_cmpint(r, ==, 0);
                        g_assert_cmpuint(strlen(path), ==, (size_t)depth * 201 - 1);
                } else if (depth * 201 > PATH_MAX) {
                        g_assert_cmpint(r, ==, -ENAMETOOLONG);
                }
        }
        close(fd);
}

static void check_reopen(Store *store) {
        struct stat a, b;
        autoclose int fd = new_file(store, "again");
        autoclose int path = openat(store_root(store), "again", O_PATH);
        autoclose int second = store_reopen(store, path, O_RDWR);
        g_assert_cmpint(second, >=, 0);
        g_assert_cmpint(pwrite(second, "x", 1, 0), ==, 1);
        g_assert_cmpint(fcntl(second, F_GETFD) & FD_CLOEXEC, ==, FD_CLOEXEC);
        g_assert_cmpint(fstat(fd, &a), ==, 0);
        g_assert_cmpint(fstat(second, &b), ==, 0);
        g_assert_true(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
        is_path(store, second, "again");

        g_assert_cmpint(unlinkat(store_root(store), "again", 0), ==, 0);
        autoclose int deleted = store_reopen(store, fd, O_RDONLY);
        g_assert_cmpint(deleted, >=, 0);

        /* Another filesystem's handle means nothing here. */
        autoclose int other = open(LOOP_DIRECTORY "/command.log", O_RDONLY);
        g_assert_cmpint(other, >=, 0);
        g_assert_cmpint(store_reopen(store, other, O_RDONLY), <, 0);
        g_assert_cmpint(store_reopen(store, -1, O_RDONLY), ==, -EBADF);
}

static void test_files(gconstpointer filesystem) {
        FanGroup *group;
        if (!loop_make(filesystem, IMAGE, ""))
                return;
        struct store_options options = with_device(IMAGE);
        g_assert_cmpint(fan_group_new(&group), ==, 0);
        Store *store = open_ok(&options, group);
        check_paths(store);
        check_reopen(store);
        check_deep(store);

        /* What a killed daemon left in staging goes at the next start. */
        g_assert_cmpint(mkdirat(store_staging(store), "half", 0755), ==, 0);
        autoclose int half = openat(store_staging(store), "half", O_RDONLY | O_DIRECTORY);
        g_assert_cmpint(mkdirat(half, "deeper", 0), ==, 0);
        close(openat(half, "deeper/file", O_CREAT | O_WRONLY, 0));
        fd_cleanup(&half);
        half = -1;
        store_close(store);
        store = open_ok(&options, group);
        g_assert_cmpint(faccessat(store_staging(store), "half", F_OK, AT_SYMLINK_NOFOLLOW), ==, -1);
        store_close(store);
        fan_group_free(group);
        nothing_left();
}

/* ---- who else uses it ---- */

static void test_busy(void) {
        FanGroup *group;
        if (!loop_make("ext4", IMAGE, ""))
                return;
        struct store_options options = with_device(IMAGE);
        g_assert_cmpint(fan_group_new(&group), ==, 0);
        Store *store = open_ok(&options, group);
        g_assert_cmpint(store_attach(store, NULL), ==, 0);

        int to_child[2];
        char byte;
        g_assert_cmpint(pipe(to_child), ==, 0);
        pid_t pid = fork();
        if (pid == 0) {
                close(fan_group_fd(group));
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                _exit(chdir(PUBLIC) < 0 || write(to_child[1], "x", 1) != 1 || pause());
        }
        g_assert_cmpint(read(to_child[0], &byte, 1), ==, 1);
        g_assert_true(is_used(store));
        g_assert_cmpint(store_detach(store), ==, 0); /* lazily: the child keeps its directory */
        g_assert_true(is_used(store));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        g_assert_false(is_used(store));
        close(to_child[0]);
        close(to_child[1]);
        store_close(store);
        fan_group_free(group);
        nothing_left();
}

/* What a killed daemon left attached is taken over, by its image. */
static void test_take_over(gconstpointer filesystem) {
        FanGroup *group;
        struct loop_story story;
        if (!loop_make(filesystem, IMAGE, ""))
                return;
        struct store_options options = with_device(IMAGE);

        for (int i = 0; i < 2; i++) {
                pid_t pid = fork();
                if (pid == 0) {
                        g_assert_cmpint(fan_group_new(&group), ==, 0);
                        Store *store = open_ok(&options, group);
                        g_assert_cmpint(store_attach(store, NULL), ==, 0);
                        close(openat(store_root(store), "file", O_CREAT | O_RDWR, 0644));
                        _exit(0); /* without a word */
                }
                int status;
                g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
                g_assert_cmpint(status, ==, 0);
                g_assert_true(text_has("/proc/self/mountinfo", PUBLIC));
        }
        g_assert_cmpint(fan_group_new(&group), ==, 0);
        Store *store = open_ok(&options, group);
        g_assert_cmpint(store_attach(store, NULL), ==, 0);
        g_assert_cmpuint(loops(), ==, 1);
        char path[] = PUBLIC "/file";
        loop_observe(group, do_read, NULL, path, &story);
        g_assert_cmpint(story.result, ==, 0);
        g_assert_cmpuint(story.n, ==, 2);
        store_close(store);
        fan_group_free(group);
        nothing_left();
}

/* ---- refusals ---- */

static void test_second_daemon(void) {
        FanGroup *group;
        if (!loop_make("ext4", IMAGE, ""))
                return;
        struct store_options options = with_device(IMAGE);
        g_assert_cmpint(fan_group_new(&group), ==, 0);
        Store *store = open_ok(&options, group);
        is_refused(&options, -EBUSY, "another cloudsync daemon");
        /* By another name of the image, at another path. */
        loop_run("ln -sf " IMAGE " " LOOP_DIRECTORY "/alias.img; mkdir -p " LOOP_DIRECTORY "/other");
        struct store_options other = {.path = LOOP_DIRECTORY "/other",
                                      .device = LOOP_DIRECTORY "/alias.img"};
        is_refused(&other, -EBUSY, "another cloudsync daemon");
        /* As the mount that it is. */
        g_assert_cmpint(store_attach(store, NULL), ==, 0);
        struct store_options path = {.path = PUBLIC};
        is_refused(&path, -EBUSY, "another cloudsync daemon");
        store_close(store);
        fan_group_free(group);
        nothing_left();
}

static void test_bad_paths(void) {
        struct store_options options = {.path = LOOP_DIRECTORY "/plain"};
        (void)mkdir(LOOP_DIRECTORY "/plain", 0755);
        is_refused(&options, -EINVAL, "not a mount point");
        options.path = "/";
        is_refused(&options, -EINVAL, "root directory");
        options.path = "relative";
        is_refused(&options, -EINVAL, "absolute");
        options.path = LOOP_DIRECTORY;
        is_refused(&options, -EOPNOTSUPP, "is tmpfs");
        options.path = LOOP_DIRECTORY "/missing";
        is_refused(&options, -ENOENT, "no directory");
        options.path = LOOP_DIRECTORY "/command.log";
        loop_run("true");
        is_refused(&options, -ENOTDIR, "not a directory");
        /* A bind of a part of the root filesystem is still the root filesystem. */
        loop_run("mkdir -p " LOOP_DIRECTORY "/part && mount --bind /etc " LOOP_DIRECTORY "/part");
        options.path = LOOP_DIRECTORY "/part";
        is_refused(&options, -EINVAL, "root filesystem");
        loop_run("umount " LOOP_DIRECTORY "/part");
}

static void test_bad_devices(void) {
        struct store_options options = with_device(LOOP_DIRECTORY "/missing.img");
        is_refused(&options, -ENOENT, "no store at");
        options.device = "/dev/null";
        is_refused(&options, -ENOTBLK, "neither an image file nor a block device");
        loop_run("dd if=/dev/urandom of=" IMAGE " bs=1M count=4");
        options.device = IMAGE;
        is_refused(&options, -ENODATA, "No filesystem is recognised");
        options.filesystem = "ext4"; /* insisting does not help */
        is_refused(&options, -EINVAL, "as ext4");
        options.filesystem = "tmpfs";
        is_refused(&options, -EOPNOTSUPP, "needs ext4, xfs or btrfs");
        options.filesystem = NULL;
        loop_run("truncate -s 0 " IMAGE);
        is_refused(&options, -ENODATA, "No filesystem is recognised");
        nothing_left();
        if (loop_try("command -v mkswap") == 0) {
                loop_run("truncate -s 16M " IMAGE " && mkswap " IMAGE);
                is_refused(&options, -EOPNOTSUPP, "has swap on it");
                nothing_left();
        }
        /* A superblock, and rubbish where the rest should be. */
        if (loop_make("ext4", IMAGE, "")) {
                loop_run("dd if=/dev/urandom of=" IMAGE " bs=4k seek=1 count=64 conv=notrunc");
                is_refused(&options, -EUCLEAN, "Cannot mount");
                nothing_left();
        }
}

static void refused_ext4(const char *mkfs_options, const char *part) {
        struct store_options options = with_device(IMAGE);
        if (!loop_make("ext4", IMAGE, mkfs_options))
                return;
        is_refused(&options, -EOPNOTSUPP, part);
        nothing_left();
}

static void refused_mounted(const char *mount_options, const char *part) {
        struct store_options options = {.path = PUBLIC};
        (void)mkdir(PUBLIC, 0755);
        loop_run("mount -o loop,%s " IMAGE " " PUBLIC, mount_options);
        is_refused(&options, -EOPNOTSUPP, part);
        loop_run("umount " PUBLIC);
        nothing_left();
}

static void test_unfit_ext4(void) {
        refused_ext4("-O inline_data", "inline_data");
        refused_ext4("-O ^has_journal", "no journal");
        if (!loop_make("ext4", IMAGE, ""))
                return;
        refused_mounted("data=writeback", "data=writeback");
        refused_mounted("nodioread_nolock", "zeros around");
        refused_mounted("nodelalloc", "zeros around");
}

static void test_read_only(void) {
        struct store_options options = {.path = PUBLIC};
        if (!loop_make("ext4", IMAGE, ""))
                return;
        (void)mkdir(PUBLIC, 0755);
        loop_run("mount -o loop,ro " IMAGE " " PUBLIC);
        is_refused(&options, -EROFS, "read-only");
        loop_run("umount " PUBLIC);
        nothing_left();
}

static void test_elsewhere(void) {
        g_auto(Failure) failure = FAILURE_INIT;
        struct store_options options = with_device(IMAGE);
        FanGroup *group;

        if (!loop_make("ext4", IMAGE, ""))
                return;
        loop_run("mkdir -p " LOOP_DIRECTORY "/elsewhere && mount -o loop " IMAGE " " LOOP_DIRECTORY
                 "/elsewhere");
        is_refused(&options, -EBUSY, "mounted at " LOOP_DIRECTORY "/elsewhere");
        loop_run("umount " LOOP_DIRECTORY "/elsewhere");
        nothing_left();

        /* And something else at our path. */
        g_assert_cmpint(fan_group_new(&group), ==, 0);
        Store *store = open_ok(&options, group);
        loop_run("mount -t tmpfs foreign " PUBLIC);
        g_assert_cmpint(store_attach(store, &failure), ==, -EBUSY);
        g_assert_nonnull(strstr(failure.text, "Something else is mounted"));
        store_close(store);
        fan_group_free(group);
        g_assert_true(text_has("/proc/self/mountinfo", "foreign"));
        loop_run("umount " PUBLIC);
        nothing_left();
}

/* Someone who may write to the store's root cannot lead the daemon astray. */
static void test_foreign_private_directory(void) {
        struct store_options options = with_device(IMAGE);
        if (!loop_make("ext4", IMAGE, ""))
                return;
        loop_run("mount -o loop " IMAGE " " PUBLIC " && ln -s /etc " PUBLIC "/.cloudsync; umount " PUBLIC);
        is_refused(&options, -ENOTDIR, ".cloudsync");
        loop_run("mount -o loop " IMAGE " " PUBLIC " && rm " PUBLIC "/.cloudsync && mkdir " PUBLIC
                 "/.cloudsync && chown 1000 " PUBLIC "/.cloudsync; umount " PUBLIC);
        is_refused(&options, -EPERM, ".cloudsync");
        nothing_left();
}

int main(int argc, char **argv) {
        loop_init(&argc, &argv, 120);
        for (unsigned i = 0; loop_filesystems[i] != NULL; i++) {
                static const struct {
                        const char *name;
                        GTestDataFunc function;
                } each[] = {{"life", test_life},
                            {"path-alone", test_path_alone},
                            {"end", test_end},
                            {"files", test_files},
                            {"take-over", test_take_over}};
                for (unsigned j = 0; j < G_N_ELEMENTS(each); j++) {
                        g_autofree char *path =
                                g_strdup_printf("/%s/%s", loop_filesystems[i], each[j].name);
                        g_test_add_data_func(path, loop_filesystems[i], each[j].function);
                }
        }
        g_test_add_func("/watched-directory-removed", test_watched_directory_removed);
        g_test_add_func("/busy", test_busy);
        g_test_add_func("/refused/second-daemon", test_second_daemon);
        g_test_add_func("/refused/paths", test_bad_paths);
        g_test_add_func("/refused/devices", test_bad_devices);
        g_test_add_func("/refused/unfit-ext4", test_unfit_ext4);
        g_test_add_func("/refused/read-only", test_read_only);
        g_test_add_func("/refused/mounted-elsewhere", test_elsewhere);
        g_test_add_func("/refused/foreign-private-directory", test_foreign_private_directory);
        return g_test_run();
}
