/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * moving — a file that is the remote's gets another place, and stays so
 *
 *     moving_begin   claimed (claim.h), unmodified, without its seal
 *       rename …
 *     moving_is_alone   has nobody come meanwhile?
 *     moving_end     stamped with its place, sealed, let go
 *
 * A rename moves ctime, by which a seal (seal.h) tells what a user did. So for that moment a file that is
 * WHOLE is stamped FILLED: size and mtime decide then. No user can write meanwhile: who opens it
 * waits for the claim, and who waits is seen. Killed in between, it is FILLED in this
 * boot, as good for readers, and settled (settle.h) after its next open.
 */

#include "dispatcher/events/fan-group.h"
#include "dispatcher/store/stamp.h"

#include <stdbool.h>

struct moving {
        FanGroup *group;
        int fd; /* borrowed */
        bool whole;
        struct stamp stamp;
};

/* 0; -EBUSY: somebody has it open; -EEXIST: a user has changed it, or it is not ours; other. */
int moving_begin(FanGroup *group, int fd, struct moving *ret);
/* Has nobody opened it since, or is about to? */
bool moving_is_alone(const struct moving *moving);
/* `parent` 0: its place as the remote has it did not change. 0 or -errno; ended in either case. */
int moving_end(struct moving *moving, uint64_t parent, const char *name);
