/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * notify — what the service manager is told
 *
 * sd_notify(3) waits when the manager does not read: while it is busy, stopped, or frozen after
 * a crash of its own. Readers of the store must not wait with it, so a thread tells it, in order.
 * Descriptors for its fd store are not given here (supervise.c): before the first worker nobody waits.
 */

/* As sd_notifyf(3). */
void notify(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A sign of life: of no use later, and left out while something older is not told yet. */
void notify_alive(const char *text);
/* Before exit(3): until all is told, for at most a second. */
void notify_flush(void);
