/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* bus-fake — a daemon, a store and engines just real enough for the bus in front of them:
 * a plain directory is the store, and hydrating ends when the test says so. */

#include "dispatcher/daemon.h"

struct fake {
        Daemon *daemon;
        Bus *bus; /* told of engines that come and go */
        char *store_path;
        int root_fd;
        GPtrArray *engines; /* of Engine *, by id */
        GQueue waiting;     /* hydrations that the test has not ended */
        unsigned hydrations, refreshes;
        uid_t hydrate_uid;
        bool recursive;
        enum cs_login_step login_step; /* of the last one */
        char *login_text;
        bool hold; /* hydrations wait for fake_release() */
        uid_t attach_uid;
        pid_t attach_pid;
};
extern struct fake fake;

void fake_start(const char *store_path);
void fake_stop(void);
/* Ends everything that waits with r and, if name is not NULL, this failure. */
void fake_release(int r, const char *name);
void fake_set_state(const char *id, enum engine_state state, const char *detail);
