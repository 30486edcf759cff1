/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * files — placeholders that somebody waits for, from the first event to whole
 *
 * Only these are in memory. A file that nobody waits for is described by its stamp and
 * its holes alone (see stamp.h, presence.h). The model on which all of it stands:
 *
 *   1. A file that is not whole is never open for writing, and no truncate(2) of it is
 *      let through. Whoever opens for writing, truncates, executes, seeks for
 *      holes or cannot be told apart waits until the file is whole. So while a file is
 *      being filled, nobody but the daemon changes its content, and a fill can
 *      neither overwrite a user's byte nor stretch a file that was cut.
 *   2. Only holes are filled, in whole granules, by one write through the page
 *      cache from pinned pages (fill.c says why not pwrite): a granule is either all
 *      there or not at all, also after SIGKILL and power cuts. A failed write is
 *      punched out again.
 *   3. What is filled belongs to the version in the stamp, which every fetch names. The
 *      remote moved on: a file of which no reader has seen a byte is emptied and
 *      begun again with the new version; of any other the read fails (EIO).
 *   4. After the last byte: mtime, then the stamp FILLED, then the answer. From then on
 *      the file is never filled again in this boot. A writer is let in only after
 *      the data was synced and the stamp says WHOLE: what the user then punches,
 *      truncates or writes can never be taken for something missing.
 *      Readers are let in at once; settle.c makes FILLED into WHOLE behind them.
 *
 * By ranges is a file read only where that cannot mislead (file_admit() in file.c).
 */

#include "dispatcher/config.h"
#include "dispatcher/daemon.h"
#include "dispatcher/engines/engine.h"
#include "dispatcher/events/request.h"
#include "dispatcher/store/stamp.h"
#include "dispatcher/store/store.h"

#include <sys/stat.h>

typedef struct Files Files;
struct handle;

struct files_options {
        FanGroup *group;
        Store *store;
        const Config *config;
        Engine *(*engine)(void *userdata, const char *id); /* NULL: not registered */
        void (*transfer_started)(void *userdata, uint64_t id, const char *engine, uint64_t total);
        void (*transfer_progress)(void *userdata, uint64_t id, uint64_t done, uint64_t total);
        void (*transfer_finished)(void *userdata, uint64_t id, uint64_t done, const char *error);
        void *userdata;
};

/* `options` is borrowed for the object's life. */
Files *files_new(const struct files_options *options);
/* Ends all with -EIO; the engines must be gone. */
void files_free(Files *files);

/* An open of, or an access to, a regular file. Takes the request. */
void files_event(Files *files, Request *request);
/* The same for a caller who wants all of a file; `fd` is of the private mount. */
void files_hydrate(Files *files, Request *request, int fd);

/* The remote has another version of this file: switch to it if nobody has it open and the
 * user has not changed it. `entry` is copied. done: 0, -EBUSY (open, or being
 * fetched: the caller's to try again), -EEXIST (the user's own now), other. May be NULL. */
void files_switch(Files *files, const struct handle *handle, const struct cs_entry *entry,
                  void (*done)(void *userdata, int r), void *userdata);

/* From now on every request is denied with -EIO (the daemon stops). */
void files_deny_all(Files *files);
unsigned files_busy(const Files *files);

void files_transfers(Files *files, daemon_transfer_fn each, void *userdata);
uint64_t files_hydrated(const Files *files);
uint64_t files_bytes(const Files *files);
