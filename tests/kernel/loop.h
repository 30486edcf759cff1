/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * loop — real filesystems for tests of the real kernel, which clean up after themselves
 *
 * The test moves into a mount namespace of its own and puts a tmpfs over
 * LOOP_DIRECTORY there. Images, mounts and loop devices (autoclear) live in that
 * namespace and nowhere else, so the kernel takes all of it away when the last
 * process in it ends, however it ends: nothing has to run for that. A time-out (alarm)
 * kills a test that hangs, and children die with it (PR_SET_PDEATHSIG).
 *
 * The root filesystem is never marked.
 */

#include "dispatcher/events/caller.h"
#include "dispatcher/events/fan-group.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define LOOP_DIRECTORY "/mnt"

/* In place of g_test_init(). Without root, loop devices or a kernel with pre-content events
 * it says why and ends the program: exit status 77, or TAP's skip with --tap. */
void loop_init(int *argc, char ***argv, unsigned timeout_seconds);

/* A command by the shell, printf-checked. `loop_run` fails the test when it fails. */
int loop_try(const char *format, ...) __attribute__((format(printf, 1, 2)));
void loop_run(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The filesystems that a test is repeated on; ends with NULL. */
extern const char *const loop_filesystems[];

/* Makes a sparse image with that filesystem; `options` of mkfs, or "". false: there
 * is no mkfs for it, and the test was marked as skipped. */
bool loop_make(const char *filesystem, const char *image, const char *options);

/* A filesystem mounted at `path`, watched by `group`, with a private mount that is ignored. */
struct loop_place {
        const char *filesystem;
        char image[64], path[64];
        int private, root; /* the private mount, and its root directory */
        FanGroup *group;
};
/* One for each filesystem, made when first asked for and kept; NULL: skipped. */
struct loop_place *loop_place(const char *filesystem);

/* A file of `size` bytes without content, made through the private mount. An
 * open descriptor of it, O_RDWR, the caller's. */
int loop_cold(const struct loop_place *place, const char *name, off_t size);

/* What was seen while a child did something. */
#define LOOP_SEEN_MAX 64u
struct loop_seen {
        enum fan_kind kind;
        uint64_t offset, count;
        enum caller_call call;
        ino_t inode;
};
struct loop_story {
        int result; /* of the action: 0 or -errno */
        unsigned n, lost;
        struct loop_seen seen[LOOP_SEEN_MAX];
};
/* Runs in the child. 0 or -errno (above -200). */
typedef int (*loop_action)(void *data);
/* Runs here before each answer and gives it. NULL: all is allowed. */
typedef int (*loop_decide)(const struct fan_event *event, void *data);
void loop_observe(FanGroup *group, loop_action action, loop_decide decide, void *data,
                  struct loop_story *ret);

/* Adds `function` as /FILESYSTEM/NAME for each filesystem. */
void loop_add(const char *name, void (*function)(struct loop_place *place));
