/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * host — the process that runs an engine's module
 *
 * Spawned as root, with its end of the channel; it locks itself up (see
 * src/engine-host/sandbox.c) before it loads anything. No bus is needed for that: readers
 * may wait for it. Here: start it, know when it ended, kill it.
 */

#include <sys/types.h>

typedef struct Host Host;

struct host_options {
        const char *path, *bus_address, *id, *module_dir, *state_dir, *user, *store_path;
        int log_level;
        int channel; /* the host's end; borrowed */
};

/* ended() is called once, on the main loop, after the process was reaped; then host_free(). */
typedef void (*host_ended_fn)(void *userdata, int wait_status);

int host_spawn(const struct host_options *options, host_ended_fn ended, void *userdata, Host **ret);
pid_t host_pid(const Host *host);
void host_kill(Host *host);
/* Kills it when it still runs; it is reaped without ended(). */
void host_free(Host *host);
