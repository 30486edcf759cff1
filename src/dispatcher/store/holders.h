/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * holders — the programs that keep a stop of the service waiting
 *
 * The group is not closed while somebody has a file of the store open: his reads would find zeros. An
 * administrator who stops the service is told who that is, and can wait or end them. A machine that goes down
 * does not wait for ever: the units that programs belong to have had their time to stop by themselves, and
 * what is left then would be killed together with us, at the same moment, and might read on for a last
 * instant without the group. So what is left after ShutdownLimit= is killed here, before the group is closed.
 *
 * Not all shows in /proc. The whole truth is in superblock.h, for who has closed all of his own: the supervisor, at
 * the end (supervise-end.c).
 *
 * Whether the machine goes down the service manager is asked, on its own socket: the system bus may have
 * been stopped already. By a thread, since whoever waits here has accesses to deny.
 */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct Holders Holders;

/* `path` is shown. `say` gets lines for the log. limit_s: after that long in a machine that goes down they
 * are killed, and what no process shows is not waited for any more. `watch`: of the superblock, when the asker has closed
 * all that it had of the store itself; else 0, and who is not shown by /proc is not seen. */
Holders *holders_new(dev_t superblock, dev_t files, uint64_t own_mount, int watch, const char *path, unsigned limit_s,
                     void (*say)(int level, const char *format, ...) G_GNUC_PRINTF(2, 3));
void holders_free(Holders *h);

/* Looks: is nobody left? Names them after a moment and then every half minute, to the service manager as
 * well. Reads all of /proc: to be called some times a second. */
bool holders_gone(Holders *h);
