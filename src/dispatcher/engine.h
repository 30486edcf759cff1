/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * engine — a registered engine and its live provider
 *
 * States:
 *   STARTING  a host was spawned (or will be, after a backoff) and is not READY yet;
 *             requests wait in the queue
 *   SERVING   the provider answers
 *   FAILED    given up: too many crashes in a row, or the module said FAILED;
 *             requests are answered -EIO at once
 *   STOPPED   unregistered or the daemon stops
 *
 * A request (list, stat, fetch) is queued, sent while fewer than the limit are under
 * way, and ended exactly once by its done callback. When the provider dies, what
 * it had is sent again to the next one — from where it broke: the caller's
 * data callback says what it has. A provider holds no descriptor of the store,
 * so a dead, hanging or late one cannot do harm: its messages go nowhere.
 */

#include "dispatcher/failure.h"
#include "dispatcher/registration.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct Engine Engine;
typedef struct EngineRequest EngineRequest;

enum engine_state { ENGINE_STARTING, ENGINE_SERVING, ENGINE_FAILED, ENGINE_STOPPED };

struct engine_info { /* for the bus */
        const Registration *registration;
        enum engine_state state;
        const char *state_name; /* "starting" "listing" "ready" "failed" "stopped" */
        const char *detail;     /* never NULL */
        pid_t pid;              /* or 0 */
        uint64_t directories_listed, directories_pending, entries_skipped;
        uint64_t bytes_fetched, fetch_errors, host_restarts;
        uint32_t transfers_active;
};
void engine_info(const Engine *engine, struct engine_info *ret);
const char *engine_id(const Engine *engine);
