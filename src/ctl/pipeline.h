/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * pipeline — many D-Bus calls, a bounded number of them in flight
 *
 * The loop of every verb that waits: it makes calls while there is room, hands each
 * reply back with its item, and calls tick() at an interval, so that a terminal can be
 * redrawn. Ctrl-C ends it between two steps: the terminal is left in order by the verb.
 */

#include "ctl/ctl.h"

struct pipeline_ops {
        /* The next call and what it is about. 1; 0: no more; a negative errno ends the run. */
        int (*next)(void *userdata, sd_bus_message **call, void **item);
        /* Its reply, which may be an error (sd_bus_message_get_error). */
        void (*done)(void *userdata, void *item, sd_bus_message *reply);
        /* May be NULL. False ends the run. */
        bool (*tick)(void *userdata);
};

#define PIPELINE_FOREVER UINT64_MAX /* as a time-out: wait as long as it takes */

/* `limit`: calls in flight; 0: none, only tick() and the bus's signals, until tick() says
 * false. `timeout`: of one call in µs, 0 for the bus's default. `interval`: of tick() in µs.
 * 0 when all is done; -EINTR after Ctrl-C; another negative errno when the bus is gone. */
int pipeline_run(struct ctl *ctl, const struct pipeline_ops *ops, void *userdata, unsigned limit,
                 uint64_t timeout, uint64_t interval);

/* From now on Ctrl-C (and SIGTERM) only makes pipeline_run() return -EINTR. */
void pipeline_catch_interrupt(void);
