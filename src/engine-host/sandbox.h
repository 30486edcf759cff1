/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * sandbox — what the host gives up before it loads somebody's code
 *
 * In this order, each irrevocable:
 *
 *     sandbox_early()       stray descriptors, core dumps, being traced, being spared when memory is short
 *     (the channel is asked for over D-Bus: attach.c)
 *     sandbox_mounts()      root only: the store leaves the mount namespace, the rest
 *                           becomes read-only
 *     sandbox_privileges()  root only: user, groups, all capabilities; for
 *                           everybody: no new privileges, dying with the daemon
 *     sandbox_syscalls()    the system-call filter
 *
 * 0 or -errno, after a log line that says which step failed. A caller that goes on
 * after a failure has no sandbox: exit.
 */

#include <sys/types.h>

struct sandbox {
        const char *user;        /* USER[:GROUP], names or numbers; root only, required there */
        const char *const *hide; /* mount points, NULL-terminated */
        const char *state_dir;   /* stays writable; may be NULL */
        int channel;             /* to be kept open, or -1 */
        pid_t parent;            /* getppid() at the very start */
};

int sandbox_early(const struct sandbox *sandbox);
int sandbox_mounts(const struct sandbox *sandbox);
int sandbox_privileges(const struct sandbox *sandbox);
int sandbox_syscalls(void);
