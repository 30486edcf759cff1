/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * durable — what was written on a directory is on the disk, told to the many who wait for that
 *
 * One sync at a time, on a pool thread, for all who wait when it begins; who comes meanwhile waits for
 * the next one, since what he wrote may have come too late for this one. So no time is lost for one, and a
 * thousand cost a few syncs.
 *
 * A few directories are synced by fsync(2), each: that writes what is known of the directory, and what the file
 * system had noted before (COMPLETE_FILE among it), but not the gigabyte that a fill has just left in the page
 * cache. Many are, by syncfs(2).
 *
 * All of it on the main loop.
 */

#include "dispatcher/store/handle.h"
#include "dispatcher/store/store.h"

typedef struct Durable Durable;
typedef struct DurableWait DurableWait;

/* 0 or -errno. The wait is gone. */
typedef void (*durable_fn)(void *userdata, int r);

Durable *durable_new(Store *store);
/* Nobody waits any more, and no job runs. */
void durable_free(Durable *durable);
/* `done` is called once, later, when all that was written on the directory until now is on the disk. One that is
 * gone is taken for that, too. NULL: all that was written in the store. */
DurableWait *durable_wait(Durable *durable, const struct handle *directory, durable_fn done, void *userdata);
/* No callback follows. NULL is fine. */
void durable_cancel(DurableWait *wait);
