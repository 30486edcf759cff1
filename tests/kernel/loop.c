/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "loop.h"

#include "dispatcher/store/store-internal.h"
#include "shared/fd.h"

#include <fcntl.h>
#include <glib.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

const char *const loop_filesystems[] = {"ext4", "xfs", "btrfs", NULL};

static G_NORETURN void skip_all(int argc, char **argv, const char *reason) {
        for (int i = 1; i < argc; i++)
                if (g_str_equal(argv[i], "--tap")) { /* for meson, an exit status of 77 is an error here */
                        printf("1..0 # SKIP %s\n", reason);
                        exit(0);
                }
        fprintf(stderr, "skipped: %s\n", reason);
        exit(77);
}

void loop_init(int *argc, char ***argv, unsigned timeout_seconds) {
        FanGroup *group;

        if (geteuid() != 0)
                skip_all(*argc, *argv, "needs root (mounts, fanotify)");
        if (access("/dev/loop-control", R_OK | W_OK) < 0)
                skip_all(*argc, *argv, "needs /dev/loop-control");
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("cloudsync-test", LOOP_DIRECTORY, "tmpfs", MS_NOSUID, "mode=0755") < 0)
                skip_all(*argc, *argv, "cannot make a mount namespace with a tmpfs at " LOOP_DIRECTORY);
        if (fan_group_new(&group) < 0)
                skip_all(*argc, *argv, "the kernel has no fanotify group of class pre-content");
        fan_group_free(group);

        alarm(timeout_seconds);
        g_test_init(argc, argv, NULL);
}

static int G_GNUC_PRINTF(1, 0) run_command(const char *format, va_list args) {
        g_autofree char *command = g_strdup_vprintf(format, args);
        g_autofree char *quiet = g_strdup_printf("{ %s\n} >" LOOP_DIRECTORY "/command.log 2>&1", command);
        int status = system(quiet);
        if (status != 0 && g_test_verbose()) {
                g_autofree char *text = NULL;
                if (g_file_get_contents(LOOP_DIRECTORY "/command.log", &text, NULL, NULL))
                        g_test_message("%s: %s", command, text);
        }
        return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

int loop_try(const char *format, ...) {
        va_list args;
        va_start(args, format);
        int r = run_command(format, args);
        va_end(args);
        return r;
}

void loop_run(const char *format, ...) {
        va_list args;
        va_start(args, format);
        int r = run_command(format, args);
        va_end(args);
        if (r != 0) {
                g_autofree char *text = NULL;
                (void)g_file_get_contents(LOOP_DIRECTORY "/command.log", &text, NULL, NULL);
                g_error("\"%s\" failed with %d: %s", format, r, text != NULL ? text : "");
        }
}

bool loop_make(const char *filesystem, const char *image, const char *options) {
        if (loop_try("command -v mkfs.%s", filesystem) != 0) {
                g_autofree char *reason = g_strdup_printf("there is no mkfs.%s", filesystem);
                g_test_skip(reason);
                return false;
        }
        loop_run("rm -f %s && truncate -s 400M %s && mkfs.%s -q %s %s", image, image, filesystem, options,
                 image);
        return true;
}

static void place_open(struct loop_place *place) {
        Failure failure = FAILURE_INIT;

        loop_run("mkdir -p %s && mount -o loop %s %s", place->path, place->image, place->path);
        int r = store_mount_clone(place->path, MOUNT_ATTR_NOATIME, &place->private, &failure);
        g_assert_cmpint(r, ==, 0);
        place->root = openat(place->private, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        g_assert_cmpint(place->root, >=, 0);
        g_assert_cmpint(fan_group_new(&place->group), ==, 0);
        g_assert_cmpint(fan_group_watch_store(place->group, place->root), ==, 0);
        g_assert_cmpint(fan_group_ignore_mount(place->group, place->root), ==, 0);
}

struct loop_place *loop_place(const char *filesystem) {
        static struct loop_place places[3];

        for (unsigned i = 0; loop_filesystems[i] != NULL; i++) {
                struct loop_place *place = &places[i];
                if (!g_str_equal(loop_filesystems[i], filesystem))
                        continue;
                if (place->group != NULL)
                        return place;
                place->filesystem = loop_filesystems[i];
                snprintf(place->image, sizeof place->image, LOOP_DIRECTORY "/%s.img", filesystem);
                snprintf(place->path, sizeof place->path, LOOP_DIRECTORY "/%s", filesystem);
                if (!loop_make(filesystem, place->image, ""))
                        return NULL;
                place_open(place);
                g_test_message("on %s", filesystem);
                return place;
        }
        g_assert_not_reached();
}

int loop_cold(const struct loop_place *place, const char *name, off_t size) {
        int fd = openat(place->root, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(ftruncate(fd, size), ==, 0);
        return fd;
}

static G_NORETURN void act(FanGroup *group, loop_action action, void *data) {
        /* A child that kept the group alive would wait for itself when the test dies. */
        close(fan_group_fd(group));
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(-action(data));
}

/* What the caller does, once it is asleep. */
static enum caller_call look(pid_t tid) {
        for (int i = 0; i < 200; i++) {
                enum caller_call call = caller_look(tid);
                if (call != CALLER_RUNNING)
                        return call;
                g_usleep(500);
        }
        return CALLER_RUNNING;
}

static void take_events(FanGroup *group, loop_decide decide, void *data, struct loop_story *story) {
        struct fan_event events[8];
        int n;

        while ((n = fan_group_read(group, events, G_N_ELEMENTS(events), &story->lost)) > 0)
                for (int i = 0; i < n; i++) {
                        struct stat st;
                        g_assert_cmpint(fstat(events[i].fd, &st), ==, 0);
                        g_assert_cmpuint(story->n, <, LOOP_SEEN_MAX);
                        story->seen[story->n++] = (struct loop_seen){
                                .kind = events[i].kind,
                                .offset = events[i].offset,
                                .count = events[i].count,
                                .call = look(events[i].tid),
                                .inode = st.st_ino,
                        };
                        int r = decide != NULL ? decide(&events[i], data) : 0;
                        g_assert_cmpint(fan_group_answer(group, &events[i], r), ==, 0);
                        g_assert_cmpint(events[i].fd, ==, -1);
                }
        g_assert_cmpint(n, ==, 0);
}

void loop_observe(FanGroup *group, loop_action action, loop_decide decide, void *data,
                  struct loop_story *ret) {
        int status;

        memset(ret, 0, sizeof *ret);
        pid_t pid = fork();
        g_assert_cmpint(pid, >=, 0);
        if (pid == 0)
                act(group, action, data);
        autoclose int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        g_assert_cmpint(pidfd, >=, 0);

        struct pollfd fds[2] = {{.fd = fan_group_fd(group), .events = POLLIN},
                                {.fd = pidfd, .events = POLLIN}};
        while (!(fds[1].revents & POLLIN)) {
                g_assert_cmpint(poll(fds, 2, 10000), >, 0);
                take_events(group, decide, data, ret);
        }
        g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
        g_assert_true(WIFEXITED(status));
        ret->result = -WEXITSTATUS(status);
}

struct added {
        void (*function)(struct loop_place *place);
        const char *filesystem;
};

static void run_added(gconstpointer data) {
        const struct added *added = data;
        struct loop_place *place = loop_place(added->filesystem);
        if (place != NULL)
                added->function(place);
}

void loop_add(const char *name, void (*function)(struct loop_place *place)) {
        for (unsigned i = 0; loop_filesystems[i] != NULL; i++) {
                g_autofree char *path = g_strdup_printf("/%s/%s", loop_filesystems[i], name);
                struct added *added = g_new0(struct added, 1);
                *added = (struct added){function, loop_filesystems[i]};
                g_test_add_data_func_full(path, added, run_added, g_free);
        }
}
