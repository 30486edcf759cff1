/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * work — calls that may block, off the main loop
 *
 * run() is called on a pool thread and may block; done() is called on the main loop
 * afterwards, always, in no promised order. What run() touches is its own for
 * that time: the state of the daemon belongs to the main loop alone, so there is
 * no lock around it.
 */

typedef void (*work_fn)(void *data);

void work_start(void);
/* Waits for everything that was queued and runs what is left of done(). */
void work_stop(void);
void work_run(work_fn run, work_fn done, void *data);
unsigned work_pending(void); /* jobs whose done() has not returned */
