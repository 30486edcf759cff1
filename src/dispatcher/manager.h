/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * manager — what the service manager is asked
 *
 * systemd's own socket is asked, not the system bus: that may have been stopped already when the machine
 * goes down, and is not there yet early in the boot. Another service manager, or none, is an error like any
 * other. Each call waits, for a second at the most: not for the main loop.
 */

#include <sys/types.h>

/* Does the machine go down? 1, 0, or -errno. */
int manager_goes_down(void);

/* How many descriptors the fd store of that process's unit holds, or -errno. */
int manager_count_stored(pid_t pid);
