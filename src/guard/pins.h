/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * pins — the guard in the kernel: loaded, pinned, replaced, taken away
 *
 *   /sys/fs/bpf/cloudsync/          locked (flock) by who changes it
 *       notes-2, superblocks-2, …   maps, shared by all sets of programs
 *       set-N/                      links, one for each program: a set that works
 *       new-N/                      a set that is being made
 *
 * Replacing leaves no gap: the new set is attached and pinned whole before the old one's pins go, and
 * for a moment both are asked, of one mind through the same notes. Killed in between,
 * both stay, which costs time but lets nothing through; the next load takes away all but its
 * own. The number in the maps' names is that of their layout: a set with another makes
 * its own maps, and files that are open then count as not known, which is closed.
 */

#include <stdbool.h>
#include <stdio.h>

/* Can this kernel have it? 0, or -errno and a line for an administrator in `why`. */
int pins_possible(char *why, size_t size);

/* Loads this program's guard in place of whatever is there. 0 or -errno; what goes wrong is told on
 * stderr, and the guard that was there stays. `*ret_partly`: all but what kills accesses that a
 * dying group let go. */
int pins_load(bool *ret_partly);

/* How many programs are attached by the newest set; 0: not loaded; -errno. */
int pins_count(void);

/* Takes everything away. 0 (also when there was nothing), or -errno. */
int pins_unload(void);
