/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * supervise-internal — what the supervisor's own files say to each other
 *
 *   supervise.c        the two processes, and what is handed over
 *   supervise-probe.c  short-lived children that find something out: does the program at our place
 *                      run, and is this stop the first half of a restart
 *   supervise-end.c    the end of the group
 */

#include "dispatcher/events/journal.h"
#include "dispatcher/supervisor/supervise.h"

/* Not log_line(): the connection to the system's journal would be a descriptor that the
 * next worker closes, while this process still believes in its number. */
void supervise_say(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Would `program`, called with these arguments, take over what is attached now? Not one that is
 * broken, nor with a configuration that is, nor one that means another store. Waits some
 * seconds at most; readers are served meanwhile. */
bool supervise_program_runs(const char *program, int argc, char **argv, const Journal *journal);

/* Does a start of this service follow (systemctl restart), and will it be given group and journal? */
bool supervise_start_follows(void);

/* Closes all but standard input, output and error, group, journal, the superblock's watch, and what waits (NULL: that as well). */
void supervise_close_unknown(const struct supervised *s, const Journal *journal);

/* The worker has stopped in order, and nothing waits. Returns when nobody can read from the store any more:
 * almost always at once. */
void supervise_outwait(const struct supervised *s);

/* No worker is alive. Detaches the store that the journal names, denies all that waits and
 * all that comes, until nobody uses the store any more. False: the journal names none, and the group must
 * stay where it is as long as it can. */
bool supervise_end(const struct supervised *s);
