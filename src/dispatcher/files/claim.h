/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * claim — a file that nobody else has open, for a moment, on any thread
 *
 * A stamp is read, changed and written again only by whoever has the claim: so two who do that
 * (a fill that ends, settle.c, a refresh) cannot undo each other's.
 *
 * A write lease tells, and keeps others out. Three things about it, each of which would make zeros or a
 * denied access:
 *   - open() decides whether it raises an event before it waits for a lease. So the file is heard again
 *     first (unsilenced): whoever opens it from then on raises an event, and one who decided
 *     before counts in the inode already and is seen by the lease.
 *   - The kernel opens an event's file when the group is read, and denies the access when it meets a
 *     lease. So no event is read while a claim is held (fan_group_hold()).
 *   - Therefore a claim is for microseconds: look, write the stamp, rename. Not for fsync.
 */

#include "dispatcher/events/fan-group.h"

/* `fd`: of the private mount, any mode. 0; -EBUSY: somebody has it open; other -errno. Not
 * recursive: one claim for a thread. */
int claim_take(FanGroup *group, int fd);
void claim_drop(FanGroup *group, int fd);
/* One more file, while a claim is held; let go by F_UNLCK, before that. */
int claim_also(FanGroup *group, int fd);
