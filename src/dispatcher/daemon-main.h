/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* daemon-main — the life of the daemon, for main.c */

#include "dispatcher/daemon.h"
#include "dispatcher/supervisor/supervise.h"

/* Opens the store, starts the engines; READY is told from the loop. `config` is borrowed. On
 * failure *ret is set all the same, for daemon_free(). */
int daemon_new(Config *config, GMainLoop *loop, const struct supervised *given, Daemon **ret,
               Failure *failure);
/* Begins to stop; the loop is quit when nobody can read zeros any more. */
void daemon_stop(Daemon *daemon);
/* Returns the exit status. */
int daemon_free(Daemon *daemon);
