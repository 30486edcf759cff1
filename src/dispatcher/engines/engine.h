/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * engine — a registered engine and its live provider
 *
 * States:
 *   STARTING  a host was spawned (or will be, after a backoff) and is not READY yet;
 *             requests wait in the queue
 *   SERVING   the provider answers. While it says that a login is needed, requests are
 *             answered -EACCES at once and none is sent; a login makes it serve again
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

#include "cloudsync/engine.h"
#include "dispatcher/failure.h"
#include "dispatcher/engines/registration.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct Engine Engine;
typedef struct EngineRequest EngineRequest;

enum engine_state { ENGINE_STARTING, ENGINE_SERVING, ENGINE_FAILED, ENGINE_STOPPED };

struct engine_info { /* for the bus */
        const Registration *registration;
        enum engine_state state;
        const char *state_name; /* "starting" "needs-login" "listing" "ready" "failed" "stopped" */
        const char *detail;     /* never NULL */
        pid_t pid;              /* or 0 */
        uint64_t directories_listed, directories_pending, entries_skipped, local_files, conflicts;
        uint64_t bytes_fetched, fetch_errors, checksum_errors, host_restarts;
        uint32_t transfers_active;
};
void engine_info(const Engine *engine, struct engine_info *ret);
const char *engine_id(const Engine *engine);

/*
 * For the rest of the dispatcher.
 */
#include "dispatcher/engines/provider.h"

struct Bus;

struct engine_options {
        const char *host_path, *module_dir, *bus_address, *state_dir, *user, *store_path;
        unsigned max_fetches;   /* at once */
        unsigned deadline_s;    /* without any progress, then the request fails */
        uint64_t granule;       /* fetches begin and resume at multiples of it */
        bool supervised;        /* spawn hosts; false: whoever attaches (tests, no bus) */
};

/* Everything an engine reports; all on the main loop. */
struct engine_callbacks {
        void (*changed)(void *userdata, Engine *engine);                      /* state, detail, pid */
        void (*remote_changed)(void *userdata, Engine *engine, const char *locator);
        /* Somebody logged in: what failed for want of it may be asked for again. */
        void (*logged_in)(void *userdata, Engine *engine);
};

/* `options` and `callbacks` are borrowed for the engine's life. Takes `registration`. */
Engine *engine_new(Registration *registration, const struct engine_options *options,
                   const struct engine_callbacks *callbacks, void *userdata);
/* Ends all requests (-ESHUTDOWN) and the host. */
void engine_free(Engine *engine);
void engine_start(Engine *engine);
/* The same as soon as somebody asks it for something, or else in a moment: hosts that nobody waits for do not
 * slow down those that somebody does. */
void engine_start_when_needed(Engine *engine);
const Registration *engine_registration(const Engine *engine);
enum engine_state engine_state_of(const Engine *engine);
bool engine_has_ranges(const Engine *engine);
/* Its provider says so: whatever fails meanwhile needs no line of its own in the log. */
bool engine_needs_login(const Engine *engine);
int engine_attach(Engine *engine, uid_t uid, pid_t pid, int *ret_channel, Failure *failure);
/* For status: the namespace's share, kept by the lister. */
void engine_count_directories(Engine *engine, int64_t listed, int64_t pending);
void engine_count_skipped(Engine *engine, uint64_t skipped);
void engine_count_local(Engine *engine, uint64_t files, uint64_t conflicts);

/* Bytes at data's offset. Returns how many of them were taken for good: all, or fewer
 * when the tail does not fill a granule (then the rest of this attempt is
 * void, and the next one begins there). `data` is the callee's to release. */
typedef size_t (*engine_data_fn)(void *userdata, ProviderData *data);
/* Entries of a listing (see channel_entry_next), or the one of a stat. The callee's. */
typedef void (*engine_entries_fn)(void *userdata, ProviderData *data);
/* The end: 0 or -errno. `detail` is a sentence or "". The request is gone. */
typedef void (*engine_end_fn)(void *userdata, int r, const char *detail);

EngineRequest *engine_list(Engine *engine, const char *locator, engine_entries_fn entries,
                           engine_end_fn end, void *userdata);
EngineRequest *engine_stat(Engine *engine, const char *locator, engine_entries_fn entries,
                           engine_end_fn end, void *userdata);
struct stamp;
EngineRequest *engine_fetch(Engine *engine, const struct stamp *stamp, uint64_t offset,
                            uint64_t length, engine_data_fn data, engine_end_fn end, void *userdata);
/* One step of a login. The end's `detail` is the reply when r is 0. Never sent twice: a host that
 * ends meanwhile ends it, too. NULL: one is under way already. */
EngineRequest *engine_login(Engine *engine, enum cs_login_step step, const char *text,
                            engine_end_fn end, void *userdata);
/* Nobody wants it any more: no callback follows. */
void engine_cancel(EngineRequest *request);
/* In front of all that waits (a reader waits for a directory). */
void engine_hurry(EngineRequest *request);
