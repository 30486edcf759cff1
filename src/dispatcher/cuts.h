/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * cuts — a file that is FILLED is cut, or stretched, by its path
 *
 * A file that is FILLED is silenced for accesses, because reading it must cost nothing.
 * So truncate(2), which opens nothing, raises no event either. In this boot that does
 * no harm: nothing is filled any more. But after a power cut the stamp would still say
 * FILLED, of an earlier boot, and a hole that a user made (by cutting the file and growing it again)
 * would be taken for content that did not reach the disk. Such a file has to be made WHOLE at once,
 * not when its turn comes to be settled, or when somebody closes it.
 *
 * A second group hears of it: one that holds nobody up (FAN_CLASS_NOTIF), with FAN_MODIFY marks
 * on the FILLED files alone. They are evictable, cost 4 µs for a file, and nothing for its
 * readers. (The first group could not: truncate(2) tells of the change by dentry, without a path, and a
 * group with event descriptors never sees that.)
 *
 * What is left: the moment between the truncation and the stamp, some milliseconds. A program
 * that cuts a file by its path, grows it, and has that forced to disk within it (fsync by a read-only
 * descriptor, or sync) can find the cut filled again if the power goes just then. And with the
 * worker killed, the marks are gone: a file that is cut afterwards waits for its next open.
 */

#include "dispatcher/handle.h"

typedef struct Cuts Cuts;

/* changed(): on the main loop; the file may have been changed long ago, or by us, or be gone. NULL: the
 * kernel cannot. */
Cuts *cuts_new(void (*changed)(void *userdata, const struct handle *handle), void *userdata);
void cuts_free(Cuts *cuts);
/* By any descriptor of the file; any thread. NULL is fine. */
void cuts_watch(Cuts *cuts, int fd);
void cuts_unwatch(Cuts *cuts, int fd);
