/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The facts about the kernel that cloudsync stands on, each pinned on ext4, xfs and btrfs. A
 * kernel that changes one of them fails here, with its name, and not as a wrong byte
 * in someone's file.
 *
 * A child does the access on the public mount; the test is the group's reader, and
 * what it saw is compared.
 */

#include "loop.h"

#include "dispatcher/events/fanotify-compat.h"
#include "shared/fd.h"

#include <fcntl.h>
#include <glib.h>
#include <dirent.h>
#include <linux/falloc.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define PAGE 4096u
#define SIZE (16 * PAGE)

/* What a child does. */
struct deed {
        struct loop_place *place;
        char path[256];
        int open_flags;
        off_t offset;
        size_t length;
        int fd; /* opened before, or made by the test */
        int answer;
        int found; /* by a decision */
        unsigned calls;
};

static struct deed deed_on(struct loop_place *place, const char *name) {
        struct deed deed = {.place = place, .fd = -1};
        snprintf(deed.path, sizeof deed.path, "%s/%s", place->path, name);
        return deed;
}

static int fail(void) {
        return -errno;
}

static void is_access(const struct loop_seen *seen, uint64_t offset, uint64_t count) {
        g_assert_cmpint(seen->kind, ==, FAN_KIND_ACCESS);
        g_assert_cmpuint(seen->offset, ==, offset);
        g_assert_cmpuint(seen->count, ==, count);
}

/* Runs the action on a new cold file and checks that the first event is its open. */
static struct loop_story after_open(struct loop_place *place, const char *name, loop_action action,
                                    struct deed *deed) {
        struct loop_story story;
        autoclose int fd = loop_cold(place, name, SIZE);

        loop_observe(place->group, action, NULL, deed, &story);
        g_assert_cmpint(story.result, ==, 0);
        g_assert_cmpuint(story.lost, ==, 0);
        g_assert_cmpuint(story.n, >=, 1);
        g_assert_cmpint(story.seen[0].kind, ==, FAN_KIND_OPEN);
        return story;
}

/* ---- which accesses raise what ---- */

static int do_pread(void *data) {
        const struct deed *d = data;
        char buffer[SIZE];
        autoclose int fd = open(d->path, O_RDONLY);
        if (fd < 0)
                return fail();
        return pread(fd, buffer, d->length, d->offset) < 0 ? fail() : 0;
}

static void test_read(struct loop_place *place) {
        struct deed d = deed_on(place, "read");
        d.offset = 5000;
        d.length = 10;
        struct loop_story s = after_open(place, "read", do_pread, &d);
        g_assert_cmpuint(s.n, ==, 2);
        is_access(&s.seen[1], PAGE, PAGE);
        g_assert_cmpint(s.seen[0].call, ==, CALLER_OPENS_READ);
        g_assert_cmpint(s.seen[1].call, ==, CALLER_READS);

        d.offset = 4000;
        d.length = 200; /* over a page's edge */
        s = after_open(place, "read", do_pread, &d);
        is_access(&s.seen[1], 0, 2 * PAGE);

        d.length = 0;
        s = after_open(place, "read", do_pread, &d);
        if (s.n > 1)
                g_assert_cmpuint(s.seen[1].count, <=, PAGE);
}

static int do_write(void *data) {
        const struct deed *d = data;
        autoclose int fd = open(d->path, O_WRONLY | d->open_flags);
        if (fd < 0)
                return fail();
        if (d->open_flags & O_APPEND)
                return write(fd, "0123456789", 10) < 0 ? fail() : 0;
        return pwrite(fd, "0123456789", 10, d->offset) < 0 ? fail() : 0;
}

/* An append does not say where: its offset is 0, not the end of the file. */
static void test_append(struct loop_place *place) {
        struct deed d = deed_on(place, "append");
        d.open_flags = O_APPEND;
        struct loop_story s = after_open(place, "append", do_write, &d);
        g_assert_cmpuint(s.n, ==, 2);
        is_access(&s.seen[1], 0, PAGE);
        g_assert_cmpint(s.seen[0].call, ==, CALLER_OTHER);
        g_assert_cmpint(s.seen[1].call, ==, CALLER_OTHER);
}

static void test_write(struct loop_place *place) {
        struct deed d = deed_on(place, "write");
        d.offset = 3 * PAGE + 1;
        struct loop_story s = after_open(place, "write", do_write, &d);
        g_assert_cmpuint(s.n, ==, 2);
        is_access(&s.seen[1], 3 * PAGE, PAGE);
}

/* O_TRUNC cuts the file without another event than the open. */
static int do_open_trunc(void *data) {
        const struct deed *d = data;
        autoclose int fd = open(d->path, O_RDONLY | O_TRUNC);
        return fd < 0 ? fail() : 0;
}

static void test_open_trunc(struct loop_place *place) {
        struct deed d = deed_on(place, "trunc");
        struct loop_story s = after_open(place, "trunc", do_open_trunc, &d);
        g_assert_cmpuint(s.n, ==, 1);
        g_assert_cmpint(s.seen[0].call, ==, CALLER_OTHER);
}

static int do_truncate(void *data) {
        const struct deed *d = data;
        return truncate(d->path, d->offset) < 0 ? fail() : 0;
}

/* truncate(2) raises no open, and an access of at most one page: that of the new end. */
static void test_truncate(struct loop_place *place) {
        static const off_t ends[] = {5000, 2 * PAGE, 1, 0, 3 * SIZE + 7};
        for (unsigned i = 0; i < G_N_ELEMENTS(ends); i++) {
                struct deed d = deed_on(place, "truncate");
                struct loop_story s;
                autoclose int fd = loop_cold(place, "truncate", SIZE);
                d.offset = ends[i];
                loop_observe(place->group, do_truncate, NULL, &d, &s);
                g_assert_cmpint(s.result, ==, 0);
                g_assert_cmpuint(s.n, ==, 1);
                is_access(&s.seen[0], (uint64_t)(ends[i] / PAGE * PAGE), ends[i] % PAGE ? PAGE : 0);
                g_assert_cmpint(s.seen[0].call, ==, CALLER_OTHER);
        }
}

static int do_mmap(void *data) {
        const struct deed *d = data;
        autoclose int fd = open(d->path, O_RDONLY);
        if (fd < 0)
                return fail();
        char *map = mmap(NULL, d->length, PROT_READ, MAP_SHARED, fd, d->offset);
        return map == MAP_FAILED ? fail() : 0;
}

/* The whole mapping is asked for when it is made, not page by page. */
static void test_mmap(struct loop_place *place) {
        struct deed d = deed_on(place, "mmap");
        d.offset = PAGE;
        d.length = 5 * PAGE;
        struct loop_story s = after_open(place, "mmap", do_mmap, &d);
        g_assert_cmpuint(s.n, ==, 2);
        is_access(&s.seen[1], PAGE, 5 * PAGE);
        g_assert_cmpint(s.seen[1].call, ==, CALLER_OTHER);
}

static int do_punch(void *data) {
        const struct deed *d = data;
        autoclose int fd = open(d->path, O_RDWR);
        if (fd < 0)
                return fail();
        return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * PAGE, 3 * PAGE) < 0 ? fail()
                                                                                                 : 0;
}

static void test_punch(struct loop_place *place) {
        struct deed d = deed_on(place, "punch");
        struct loop_story s = after_open(place, "punch", do_punch, &d);
        g_assert_cmpuint(s.n, ==, 2);
        is_access(&s.seen[1], 2 * PAGE, 3 * PAGE);
        g_assert_cmpint(s.seen[1].call, ==, CALLER_OTHER);
}

/* Neither readahead nor a question for holes raises anything: nothing but the open
 * can help those who ask first. */
static int do_silent(void *data) {
        const struct deed *d = data;
        autoclose int fd = open(d->path, O_RDONLY);
        if (fd < 0)
                return fail();
        if (readahead(fd, 0, SIZE) < 0 || posix_fadvise(fd, 0, SIZE, POSIX_FADV_WILLNEED) != 0)
                return fail();
        if (lseek(fd, 0, SEEK_HOLE) < 0)
                return fail();
        (void)lseek(fd, 0, SEEK_DATA);
        struct stat st;
        return fstat(fd, &st) < 0 ? fail() : 0;
}

static void test_silent(struct loop_place *place) {
        struct deed d = deed_on(place, "silent");
        struct loop_story s = after_open(place, "silent", do_silent, &d);
        g_assert_cmpuint(s.n, ==, 1);
}

/* ---- what raises nothing because it must not ---- */

static int do_private(void *data) {
        const struct deed *d = data;
        int root = d->place->root;
        char buffer[100];

        autoclose int fd = openat(root, "own", O_CREAT | O_RDWR, 0644);
        if (fd < 0 || ftruncate(fd, SIZE) < 0 || pwrite(fd, buffer, 100, 50) < 0 ||
            fsetxattr(fd, "security.bpf.cloudsync", "x", 1, 0) < 0 || pread(fd, buffer, 100, 0) < 0 ||
            linkat(root, "own", root, "own2", 0) < 0 ||
            renameat(root, "own2", root, "own3") < 0 ||
            fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE) < 0)
                return fail();
        autoclose int again = openat(root, "own3", O_RDONLY);
        autoclose int dir = openat(root, "watched", O_RDONLY | O_DIRECTORY);
        DIR *stream = again < 0 || dir < 0 ? NULL : fdopendir(dup(dir));
        if (stream == NULL)
                return fail();
        while (readdir(stream) != NULL)
                ;
        closedir(stream);
        return unlinkat(root, "own", 0) < 0 || unlinkat(root, "own3", 0) < 0 ? fail() : 0;
}

static void test_private(struct loop_place *place) {
        struct deed d = deed_on(place, "own");
        struct loop_story s;

        (void)mkdirat(place->root, "watched", 0755);
        autoclose int dir = openat(place->root, "watched", O_RDONLY | O_DIRECTORY);
        g_assert_cmpint(fan_group_watch_directory(place->group, dir), ==, 0);
        loop_observe(place->group, do_private, NULL, &d, &s);
        g_assert_cmpint(s.result, ==, 0);
        g_assert_cmpuint(s.n, ==, 0);
        g_assert_cmpint(fan_group_unwatch_directory(place->group, dir), ==, 0);
}

/* An evictable ignore mark silences until the inode leaves the cache, and not longer. */
static void test_evictable(struct loop_place *place) {
        struct deed d = deed_on(place, "evictable");
        struct loop_story s;
        d.length = 10;

        int fd = loop_cold(place, "evictable", SIZE);
        g_assert_cmpint(fan_group_silence(place->group, fd, true), ==, 0);
        loop_observe(place->group, do_pread, NULL, &d, &s);
        g_assert_cmpint(s.result, ==, 0);
        g_assert_cmpuint(s.n, ==, 0);

        g_assert_cmpint(syncfs(fd), ==, 0);
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        close(fd);
        for (int i = 0; i < 20 && s.n == 0; i++) { /* the cache is emptied in best effort */
                loop_run("echo 2 >/proc/sys/vm/drop_caches");
                loop_observe(place->group, do_pread, NULL, &d, &s);
        }
        g_assert_cmpuint(s.n, ==, 2);
}

/* Why no directory ever gets a mark for all its children: what is renamed into it is
 * silent at once, present or not. */
static void test_children(struct loop_place *place) {
        struct deed d = deed_on(place, "quiet/in");
        struct loop_story s;
        d.length = 10;

        (void)mkdirat(place->root, "quiet", 0755);
        autoclose int dir = openat(place->root, "quiet", O_RDONLY | O_DIRECTORY);
        autoclose int fd = loop_cold(place, "out", SIZE);
        g_assert_cmpint(fanotify_mark(fan_group_fd(place->group),
                                      FAN_MARK_ADD | FAN_MARK_IGNORE_SURV | FAN_MARK_EVICTABLE,
                                      FAN_PRE_ACCESS | FAN_OPEN_PERM | FAN_EVENT_ON_CHILD, dir, NULL),
                        ==, 0);
        g_assert_cmpint(renameat(place->root, "out", place->root, "quiet/in"), ==, 0);
        loop_observe(place->group, do_pread, NULL, &d, &s);
        g_assert_cmpint(s.result, ==, 0);
        g_assert_cmpuint(s.n, ==, 0);
}

/* ---- answers ---- */

static int decide_fixed(const struct fan_event *event, void *data) {
        const struct deed *d = data;
        return event->kind == FAN_KIND_ACCESS ? d->answer : 0;
}

static void test_answers(struct loop_place *place) {
        static const struct {
                int answer, result;
        } table[] = {
                {-EPERM, -EPERM},   {-EIO, -EIO},       {-EBUSY, -EBUSY},   {-ETXTBSY, -ETXTBSY},
                {-EAGAIN, -EAGAIN}, {-ENOSPC, -ENOSPC}, {-EDQUOT, -EDQUOT}, {-ENOENT, -EIO},
                {-ESTALE, -EIO},    {-ETIMEDOUT, -EIO}, {0, 0},
        };
        struct deed d = deed_on(place, "answers");
        struct loop_story s;
        autoclose int fd = loop_cold(place, "answers", SIZE);
        d.length = 10;

        for (unsigned i = 0; i < G_N_ELEMENTS(table); i++) {
                d.answer = table[i].answer;
                loop_observe(place->group, do_pread, decide_fixed, &d, &s);
                g_assert_cmpint(s.result, ==, table[i].result);
        }
}

/* Answers with an errno as it is, and says whether the kernel takes it. */
static int decide_raw(const struct fan_event *event, void *data) {
        struct deed *d = data;
        struct fanotify_response response = {.fd = event->fd,
                                             .response = FAN_DENY_ERRNO(d->answer)};
        if (event->kind != FAN_KIND_ACCESS)
                return 0;
        d->found = write(fan_group_fd(d->place->group), &response, sizeof response) < 0 ? errno : 0;
        return 0; /* the answer that counts if that one did not */
}

static void test_other_errnos(struct loop_place *place) {
        static const int others[] = {ENOENT, EACCES, ETIMEDOUT, ESTALE, EINTR};
        struct deed d = deed_on(place, "errnos");
        struct loop_story s;
        autoclose int fd = loop_cold(place, "errnos", SIZE);
        d.length = 10;

        for (unsigned i = 0; i < G_N_ELEMENTS(others); i++) {
                d.answer = others[i];
                loop_observe(place->group, do_pread, decide_raw, &d, &s);
                g_assert_cmpint(d.found, ==, EINVAL);
                g_assert_cmpint(s.result, ==, 0);
        }
}

/* ---- directories ---- */

static int do_list(void *data) {
        const struct deed *d = data;
        DIR *stream = opendir(d->path);
        if (stream == NULL)
                return fail();
        int n = 0;
        const struct dirent *entry;
        while ((entry = readdir(stream)) != NULL)
                n += entry->d_name[0] != '.';
        closedir(stream);
        return n == (int)d->length ? 0 : -EBADMSG;
}

static int decide_populate(const struct fan_event *event, void *data) {
        struct deed *d = data;
        if (event->kind == FAN_KIND_READDIR && d->calls++ == 0) {
                autoclose int a = loop_cold(d->place, "listed/a", SIZE);
                autoclose int b = loop_cold(d->place, "listed/b", SIZE);
                return a < 0 || b < 0 ? -EIO : 0;
        }
        return 0;
}

/* The event comes before the first entry is seen: what is made meanwhile is listed. On
 * btrfs only the one at open does; one at the first readdir() would be too late. */
static void test_readdir(struct loop_place *place) {
        struct deed d = deed_on(place, "listed");
        struct loop_story s;

        g_assert_cmpint(mkdirat(place->root, "listed", 0755), ==, 0);
        autoclose int dir = openat(place->root, "listed", O_RDONLY | O_DIRECTORY);
        g_assert_cmpint(fan_group_watch_directory(place->group, dir), ==, 0);
        d.length = 2;
        loop_observe(place->group, do_list, decide_populate, &d, &s);
        g_assert_cmpint(s.result, ==, 0);
        g_assert_cmpuint(s.n, >=, 1);
        for (unsigned i = 0; i < s.n; i++)
                g_assert_cmpint(s.seen[i].kind, ==, FAN_KIND_READDIR);

        g_assert_cmpint(fan_group_unwatch_directory(place->group, dir), ==, 0);
        loop_observe(place->group, do_list, NULL, &d, &s);
        g_assert_cmpint(s.result, ==, 0);
        g_assert_cmpuint(s.n, ==, 0);
}

/* ---- telling writers at open ---- */

static int decide_lease(const struct fan_event *event, void *data) {
        struct deed *d = data;
        if (event->kind != FAN_KIND_OPEN)
                return 0;
        autoclose int fd = openat(d->place->root, "lease", O_RDONLY | O_CLOEXEC);
        g_assert_cmpint(fd, >=, 0);
        d->found = fcntl(fd, F_SETLEASE, F_RDLCK) < 0 ? errno : 0;
        if (d->found == 0)
                g_assert_cmpint(fcntl(fd, F_SETLEASE, F_UNLCK), ==, 0);
        return 0;
}

static int do_open(void *data) {
        const struct deed *d = data;
        autoclose int fd = open(d->path, d->open_flags);
        return fd < 0 ? fail() : 0;
}

static void test_lease(struct loop_place *place) {
        static const struct {
                int flags, found;
        } table[] = {{O_RDONLY, 0}, {O_WRONLY, EAGAIN}, {O_RDWR, EAGAIN}};
        struct loop_story s;
        close(loop_cold(place, "lease", SIZE));

        for (unsigned i = 0; i < G_N_ELEMENTS(table); i++) {
                struct deed d = deed_on(place, "lease");
                d.open_flags = table[i].flags;
                loop_observe(place->group, do_open, decide_lease, &d, &s);
                g_assert_cmpint(s.result, ==, 0);
                g_assert_cmpuint(s.n, ==, 1);
                g_assert_cmpint(d.found, ==, table[i].found);
        }
}

/* ---- other namespaces, binds, deleted files ---- */

/* The file by its handle, through the private mount, whoever's path the event has. */
static int decide_reopen(const struct fan_event *event, void *data) {
        struct deed *d = data;
        union {
                struct file_handle handle;
                char bytes[sizeof(struct file_handle) + MAX_HANDLE_SZ];
        } u = {.handle.handle_bytes = MAX_HANDLE_SZ};
        char link[32], path[256] = "";
        int mount_id;

        g_assert_cmpint(name_to_handle_at(event->fd, "", &u.handle, &mount_id, AT_EMPTY_PATH), ==, 0);
        autoclose int fd = open_by_handle_at(d->place->root, &u.handle, O_RDWR | O_CLOEXEC);
        if (fd < 0)
                return fail();
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        g_assert_cmpint(readlink(link, path, sizeof path - 1), >, 0);
        d->calls += g_str_has_prefix(path, "/dir/bound");
        return pwrite(fd, "remote", 6, 0) == 6 ? 0 : -EIO;
}

static int read_remote(int fd) {
        char buffer[6];
        if (fd < 0 || pread(fd, buffer, 6, 0) != 6)
                return fail();
        return memcmp(buffer, "remote", 6) == 0 ? 0 : -EBADMSG;
}

static int do_elsewhere(void *data) {
        const struct deed *d = data;
        static const char bind[] = LOOP_DIRECTORY "/bind";
        char directory[300];

        snprintf(directory, sizeof directory, "%s/dir", d->place->path);
        if (unshare(CLONE_NEWNS) < 0 || mount(directory, bind, NULL, MS_BIND, NULL) < 0)
                return fail();
        if (d->open_flags && mount(NULL, bind, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) < 0)
                return fail();
        autoclose int fd = open(LOOP_DIRECTORY "/bind/bound", O_RDONLY);
        return read_remote(fd);
}

static void test_elsewhere(struct loop_place *place) {
        (void)mkdir(LOOP_DIRECTORY "/bind", 0755);
        (void)mkdirat(place->root, "dir", 0755);
        for (int read_only = 0; read_only <= 1; read_only++) {
                struct deed d = deed_on(place, "dir");
                struct loop_story s;
                autoclose int fd = loop_cold(place, "dir/bound", SIZE);
                d.open_flags = read_only;
                loop_observe(place->group, do_elsewhere, decide_reopen, &d, &s);
                g_assert_cmpint(s.result, ==, 0);
                g_assert_cmpuint(s.n, ==, 2);
                g_assert_cmpuint(d.calls, ==, 2);
        }
}

static int do_deleted(void *data) {
        const struct deed *d = data;
        autoclose int fd = open(d->path, O_RDONLY);
        if (fd < 0 || unlink(d->path) < 0)
                return fail();
        return read_remote(fd);
}

static void test_deleted(struct loop_place *place) {
        struct deed d = deed_on(place, "deleted");
        struct loop_story s;
        close(loop_cold(place, "deleted", SIZE));
        loop_observe(place->group, do_deleted, decide_reopen, &d, &s);
        g_assert_cmpint(s.result, ==, 0);
        g_assert_cmpuint(s.n, ==, 2);
}

/* ---- the page cache is one ---- */

static int do_mapped(void *data) {
        const struct deed *d = data;
        autoclose int fd = open(d->path, O_RDONLY);
        if (fd < 0)
                return fail();
        if (readahead(fd, 0, SIZE) < 0)
                return fail();
        volatile char *map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
                return fail();
        return map[0] == 'r' && map[5] == 'e' && map[6] == 0 ? 0 : -EBADMSG;
}

static int decide_fill_late(const struct fan_event *event, void *data) {
        struct deed *d = data;
        if (event->kind != FAN_KIND_ACCESS)
                return 0;
        g_usleep(50000); /* let the readahead be over */
        return pwrite(d->fd, "remote", 6, 0) == 6 ? 0 : -EIO;
}

/* A fill is seen by a mapping over pages that readahead had filled with zeros before. */
static void test_page_cache(struct loop_place *place) {
        struct deed d = deed_on(place, "mapped");
        struct loop_story s;
        autoclose int fd = loop_cold(place, "mapped", SIZE);
        d.fd = fd;
        loop_observe(place->group, do_mapped, decide_fill_late, &d, &s);
        g_assert_cmpint(s.result, ==, 0);
        g_assert_cmpuint(s.n, ==, 2);
}

int main(int argc, char **argv) {
        loop_init(&argc, &argv, 120);
        loop_add("read", test_read);
        loop_add("write", test_write);
        loop_add("append", test_append);
        loop_add("open-trunc", test_open_trunc);
        loop_add("truncate", test_truncate);
        loop_add("mmap", test_mmap);
        loop_add("punch", test_punch);
        loop_add("readahead-and-lseek-are-silent", test_silent);
        loop_add("private-mount-is-silent", test_private);
        loop_add("evictable-mark", test_evictable);
        loop_add("mark-on-children-silences-what-is-renamed-in", test_children);
        loop_add("answers", test_answers);
        loop_add("other-errnos-are-refused", test_other_errnos);
        loop_add("readdir", test_readdir);
        loop_add("lease-tells-writers", test_lease);
        loop_add("other-namespace-and-binds", test_elsewhere);
        loop_add("deleted-file-by-handle", test_deleted);
        loop_add("fill-is-seen-through-a-mapping", test_page_cache);
        return g_test_run();
}
