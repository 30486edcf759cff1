/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fan-group against the real kernel: marks by every kind of descriptor, answers, and what
 * strangers do to stop it. */

#include "loop.h"

#include "shared/fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <glib.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE 65536

struct deed {
        char path[256];
        int flags;
};

static struct deed deed_on(const struct loop_place *place, const char *name) {
        struct deed deed = {.flags = O_RDONLY};
        snprintf(deed.path, sizeof deed.path, "%s/%s", place->path, name);
        return deed;
}

static int do_read(void *data) {
        const struct deed *d = data;
        char buffer[10];
        autoclose int fd = open(d->path, d->flags);
        return fd < 0 || pread(fd, buffer, 10, 0) < 0 ? -errno : 0;
}

static unsigned events_of(struct loop_place *place, struct deed *deed) {
        struct loop_story story;
        loop_observe(place->group, do_read, NULL, deed, &story);
        g_assert_cmpint(story.result, ==, 0);
        g_assert_cmpuint(story.lost, ==, 0);
        return story.n;
}

static void test_silence(struct loop_place *place) {
        struct deed d = deed_on(place, "silence");
        autoclose int fd = loop_cold(place, "silence", SIZE);
        autoclose int path = openat(place->root, "silence", O_PATH);

        g_assert_cmpuint(events_of(place, &d), ==, 2);
        g_assert_cmpint(fan_group_silence(place->group, fd, false), ==, 0);
        g_assert_cmpuint(events_of(place, &d), ==, 1); /* the open is still told */
        g_assert_cmpint(fan_group_silence(place->group, fd, true), ==, 0);
        g_assert_cmpuint(events_of(place, &d), ==, 0);
        g_assert_cmpint(pwrite(fd, "x", 1, 0), ==, 1); /* it outlives modification */
        g_assert_cmpuint(events_of(place, &d), ==, 0);
        g_assert_cmpint(fan_group_unsilence(place->group, fd), ==, 0);
        g_assert_cmpuint(events_of(place, &d), ==, 2);
        g_assert_cmpint(fan_group_unsilence(place->group, fd), ==, 0); /* again */

        g_assert_cmpint(fan_group_silence(place->group, path, true), ==, 0);
        g_assert_cmpuint(events_of(place, &d), ==, 0);
        g_assert_cmpint(fan_group_unsilence(place->group, path), ==, 0);
        g_assert_cmpuint(events_of(place, &d), ==, 2);
        g_assert_cmpint(fan_group_silence(place->group, -1, true), ==, -EBADF);
}

static void test_watch(struct loop_place *place) {
        struct deed d = deed_on(place, "watch");
        autoclose int fd = loop_cold(place, "watch", SIZE);

        g_assert_cmpint(fan_group_unwatch_store(place->group, place->root), ==, 0);
        g_assert_cmpuint(events_of(place, &d), ==, 0);
        g_assert_cmpint(fan_group_watch_store(place->group, place->root), ==, 0);
        g_assert_cmpuint(events_of(place, &d), ==, 2);
        g_assert_cmpint(fan_group_watch_directory(place->group, fd), ==, -ENOTDIR);
}

static int do_open_directory(void *data) {
        const struct deed *d = data;
        autoclose int fd = open(d->path, O_RDONLY | O_DIRECTORY);
        return fd < 0 ? -errno : 0;
}

static void test_directory(struct loop_place *place) {
        struct deed d = deed_on(place, "directory");
        struct loop_story story;
        (void)mkdirat(place->root, "directory", 0755);
        autoclose int path = openat(place->root, "directory", O_PATH | O_DIRECTORY);

        g_assert_cmpint(fan_group_watch_directory(place->group, path), ==, 0);
        loop_observe(place->group, do_open_directory, NULL, &d, &story);
        g_assert_cmpuint(story.n, ==, 1);
        g_assert_cmpint(story.seen[0].kind, ==, FAN_KIND_READDIR);
        g_assert_cmpint(fan_group_unwatch_directory(place->group, path), ==, 0);
        g_assert_cmpint(fan_group_unwatch_directory(place->group, path), ==, 0); /* again */
        loop_observe(place->group, do_open_directory, NULL, &d, &story);
        g_assert_cmpuint(story.n, ==, 0);
}

/* More readers than fit in one read; a read takes what it can hold and no more. */
static void test_many(struct loop_place *place) {
        enum { READERS = 40 };
        struct deed d = deed_on(place, "many");
        struct fan_event events[2];
        unsigned lost = 0, opens = 0, accesses = 0, alive = READERS;
        pid_t pids[READERS];
        autoclose int fd = loop_cold(place, "many", SIZE);

        for (unsigned i = 0; i < READERS; i++)
                if ((pids[i] = fork()) == 0) {
                        close(fan_group_fd(place->group));
                        prctl(PR_SET_PDEATHSIG, SIGKILL);
                        _exit(-do_read(&d));
                }
        g_assert_cmpint(fan_group_read(place->group, events, 1, &lost), ==, -EINVAL);
        while (alive > 0) {
                struct pollfd p = {.fd = fan_group_fd(place->group), .events = POLLIN};
                (void)poll(&p, 1, 20);
                int n = fan_group_read(place->group, events, 2, &lost);
                g_assert_cmpint(n, >=, 0);
                g_assert_cmpint(n, <=, 2);
                for (int i = 0; i < n; i++) {
                        opens += events[i].kind == FAN_KIND_OPEN;
                        accesses += events[i].kind == FAN_KIND_ACCESS;
                        g_assert_cmpint(fan_group_answer(place->group, &events[i], 0), ==, 0);
                }
                int status;
                while (alive > 0 && waitpid(-1, &status, WNOHANG) > 0) {
                        g_assert_cmpint(status, ==, 0);
                        alive--;
                }
        }
        g_assert_cmpuint(opens, ==, READERS);
        g_assert_cmpuint(accesses, ==, READERS);
        g_assert_cmpuint(lost, ==, 0);
}

/* The answer to someone who is dead is no error. */
static void test_killed(struct loop_place *place) {
        struct deed d = deed_on(place, "killed");
        struct fan_event event[2];
        unsigned lost = 0;
        autoclose int fd = loop_cold(place, "killed", SIZE);

        pid_t pid = fork();
        if (pid == 0) {
                close(fan_group_fd(place->group));
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                _exit(-do_read(&d));
        }
        struct pollfd p = {.fd = fan_group_fd(place->group), .events = POLLIN};
        g_assert_cmpint(poll(&p, 1, 5000), ==, 1);
        g_assert_cmpint(fan_group_read(place->group, event, 2, &lost), ==, 1);
        g_assert_cmpint(event[0].tid, ==, pid);
        int flags = fcntl(event[0].fd, F_GETFL);
        g_assert_cmpint(flags & O_ACCMODE, ==, O_RDONLY);
        g_assert_cmpint(fcntl(event[0].fd, F_GETFD) & FD_CLOEXEC, ==, FD_CLOEXEC);
        kill(pid, SIGKILL);
        g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
        g_assert_cmpint(fan_group_answer(place->group, &event[0], 0), ==, 0);
        g_assert_cmpint(event[0].fd, ==, -1);
        g_assert_cmpint(fan_group_answer(place->group, &event[0], 0), ==, -EBADF);
        g_assert_cmpint(fan_group_read(place->group, event, 2, &lost), ==, 0);
}

/* Out of descriptors: the reader is refused and counted, and the group goes on. */
static void test_no_descriptors(struct loop_place *place) {
        struct deed d = deed_on(place, "no-descriptors");
        struct fan_event event[2];
        struct rlimit old, none = {0};
        unsigned lost = 0;
        int status;
        autoclose int fd = loop_cold(place, "no-descriptors", SIZE);

        pid_t pid = fork();
        if (pid == 0) {
                close(fan_group_fd(place->group));
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                _exit(-do_read(&d));
        }
        struct pollfd p = {.fd = fan_group_fd(place->group), .events = POLLIN};
        g_assert_cmpint(poll(&p, 1, 5000), ==, 1);
        g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &old), ==, 0);
        none.rlim_max = old.rlim_max;
        g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &none), ==, 0);
        int n = fan_group_read(place->group, event, 2, &lost);
        g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &old), ==, 0);
        g_assert_cmpint(n, ==, 0);
        g_assert_cmpuint(lost, ==, 1);
        g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
        g_assert_true(WIFEXITED(status));
        g_assert_cmpint(WEXITSTATUS(status), ==, EPERM);
        g_assert_cmpuint(events_of(place, &d), ==, 2);
}

static int do_fifo(void *data) {
        const struct deed *d = data;
        autoclose int fd = open(d->path, O_RDWR); /* a FIFO's own open does not wait so */
        return fd < 0 ? -errno : 0;
}

/* Opening a FIFO must not stop us: it raises nothing. */
static void test_fifo(struct loop_place *place) {
        struct deed d = deed_on(place, "fifo");
        struct loop_story story;
        g_assert_cmpint(mknodat(place->root, "fifo", S_IFIFO | 0666, 0), ==, 0);
        loop_observe(place->group, do_fifo, NULL, &d, &story);
        g_assert_cmpint(story.result, ==, 0);
        g_assert_cmpuint(story.n, ==, 0);
        g_assert_cmpuint(story.lost, ==, 0);
}

/* A write lease of someone's does not stop us either: whoever opens that file is refused, but the
 * group answers others meanwhile. */
static void test_foreign_lease(struct loop_place *place) {
        struct deed d = deed_on(place, "lease");
        struct loop_story story;
        close(loop_cold(place, "lease", SIZE));

        int ready[2];
        char byte;
        g_assert_cmpint(pipe(ready), ==, 0);
        pid_t pid = fork();
        if (pid == 0) {
                close(fan_group_fd(place->group));
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                signal(SIGIO, SIG_IGN); /* told to give it up, and does not */
                int fd = openat(place->root, "lease", O_RDWR);
                _exit(fd < 0 || fcntl(fd, F_SETLEASE, F_WRLCK) < 0 || write(ready[1], "x", 1) != 1 ||
                      pause());
        }
        g_assert_cmpint(read(ready[0], &byte, 1), ==, 1);
        gint64 begin = g_get_monotonic_time();
        loop_observe(place->group, do_read, NULL, &d, &story);
        g_assert_cmpint(g_get_monotonic_time() - begin, <, 5 * G_USEC_PER_SEC);
        g_assert_cmpint(story.result, ==, -EPERM);
        g_assert_cmpuint(story.lost, ==, 1);
        kill(pid, SIGKILL);
        g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
        close(ready[0]);
        close(ready[1]);
        g_assert_cmpuint(events_of(place, &d), ==, 2);
}

static void test_unsupported(void) {
        FanGroup *group;
        autoclose int fd = open(LOOP_DIRECTORY, O_RDONLY | O_DIRECTORY); /* tmpfs */
        g_assert_cmpint(fan_group_new(&group), ==, 0);
        g_assert_cmpint(fan_group_watch_store(group, fd), ==, -EOPNOTSUPP);
        fan_group_free(group);
        fan_group_free(NULL);
}

int main(int argc, char **argv) {
        loop_init(&argc, &argv, 120);
        loop_add("silence", test_silence);
        loop_add("watch", test_watch);
        loop_add("directory", test_directory);
        loop_add("many", test_many);
        loop_add("killed", test_killed);
        loop_add("no-descriptors", test_no_descriptors);
        loop_add("fifo", test_fifo);
        loop_add("foreign-lease", test_foreign_lease);
        g_test_add_func("/unsupported", test_unsupported);
        return g_test_run();
}
