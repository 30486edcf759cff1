/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * supervise — a process that does nothing, so that it does not die
 *
 * cloudsyncd is two processes. The supervisor makes the fanotify group and the
 * journal, and then a worker that shares its table of descriptors (CLONE_FILES, no exec).
 * The worker is the daemon. When it is killed, the table lives on: the group, the
 * journal, and the descriptor of every event under its number, so that no pending access is
 * let through and no new event can get an old number. The next worker, some
 * milliseconds later, closes what it does not know, and goes on with what waits.
 *
 * The group and the journal are also in the service manager's fd store, when there is one:
 * if supervisor and worker are killed together, the next start gets them back
 * (LISTEN_FDS). The events' descriptors are lost then, and their numbers are taken again, by
 * the files' handles in the journal, before anything else is opened.
 *
 * SIGHUP replaces the program: the worker is killed, and the supervisor executes its file
 * again, which may be a newer version by now. Group, journal and the descriptors of what waits
 * stay open over that, under their numbers; CLOUDSYNC_HANDOVER says which:
 *
 *     PID:GROUP:JOURNAL:STORED    decimal; STORED is 1 when both are in the fd store
 *
 * SIGTERM under a service manager may be the first half of a restart: a start follows, and gets
 * group and journal from the fd store. Then nothing is stopped: the worker is killed, and
 * the supervisor ends as after a crash, only that it makes sure first that the next one can take
 * over (supervise-probe.c). Whatever cannot be told makes it a full stop.
 *
 * Nothing but a clean end closes the group while accesses may wait in it: the journal says whether
 * that is so (journal_is_serving()). A worker that cannot take over what its predecessor left, or
 * that ends in disorder, is started again, until it can: the readers wait; and when the end is asked
 * for meanwhile, or the worker dies in it, the supervisor brings it about itself (supervise-end.c). And a
 * group of which it cannot be told what waits (a journal of another layout) is denied all that waits.
 *
 * The supervisor opens nothing while a worker lives. It passes on SIGTERM and SIGINT, also
 * those that come between two workers, and ends with the worker's exit status.
 */

#include "dispatcher/events/journal.h"

#include <stdbool.h>

struct supervised {
        int group;    /* the fanotify group; or -errno: it could not be made */
        int journal;
        Journal *map;  /* the supervisor's own mapping of it */
        int watch;     /* of the store's superblock (superblock.h), or -errno */
        bool takeover; /* there was a worker before: events may wait, the store is attached */
        bool stored;   /* both are in the service manager's fd store, as far as can be told */
        bool replaced; /* by SIGHUP: nobody died */
        int died_of;   /* the signal that killed the last worker, or 0 */
};

/* The daemon. Called in the worker, with SIGTERM and SIGINT blocked; returns the exit status. */
typedef int (*supervised_main_fn)(int argc, char **argv, const struct supervised *given);

/* Does not return before the daemon is to end; returns its exit status. */
int supervise(int argc, char **argv, supervised_main_fn worker);

/* In the worker, before it opens or logs anything: closes what an earlier worker left. */
void supervised_clean(const struct supervised *given);
