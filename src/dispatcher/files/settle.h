/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * settle — FILLED becomes WHOLE, in batches, behind the readers' backs
 *
 * Every few seconds, when files were filled: one syncfs of the store for all of them, then
 * each, when its bytes are on the disk, gets its stamp WHOLE and is silenced for opens too. What
 * did not reach the disk (a write-back that failed) is a placeholder again. What a user changed
 * since (truncate(2) raises no event on a FILLED file) is WHOLE at once: its holes
 * are the user's. Changing the stamp moves ctime, which backup programs take for a change under
 * their hands, so an unchanged file is stamped only while nobody has it open: a write lease
 * tells. A file that is open is tried again as long as it is (very many: for a minute); its next
 * open puts it here again. A
 * clean stop takes no such care. The queue is bounded, and lost in a crash:
 * both cost an event at the next open, nothing else.
 */

#include "dispatcher/events/fan-group.h"
#include "dispatcher/store/store.h"

typedef struct Settle Settle;

Settle *settle_new(FanGroup *group, Store *store);
void settle_free(Settle *settle); /* after work_stop() */
/* `fd`: any descriptor of a file that is FILLED. */
void settle_add(Settle *settle, int fd);
/* Did a sync fail? From then on what is filled is synced before anyone reads it, and FILLED is not
 * believed: the page cache loses what cannot be written back, and shows zeros as data. */
bool settle_disk_fails(const Settle *settle);
/* Settles everything now, open or not (a clean stop; work_pending() tells when it is done). */
void settle_hurry(Settle *settle);
/* After a crash, before the first event is read: the file that was being settled then is heard of again,
 * or is stamped WHOLE (its data was synced) when a writer has it open already. */
void settle_recover(FanGroup *group, const Store *store);
