/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * populate — remote entries become files and directories of the store
 *
 * On pool threads, through the private mount. Nothing is visible before it is what it
 * should be: a placeholder is made without a name (O_TMPFILE), stamped, sized, dated, and then
 * linked; a directory is made in the staging area, stamped UNLISTED, watched, and
 * then renamed into place, so that nobody can read it as empty. A name that is taken
 * stays what it is: a placeholder of another version is reported as changed,
 * a user's own file is left alone and counted.
 */

#include "dispatcher/fan-group.h"
#include "dispatcher/handle.h"
#include "dispatcher/store.h"

#include "cloudsync/engine.h"

#include <glib.h>

/* A directory that has to be listed (again). */
struct populate_directory {
        uint64_t device, inode;
        struct handle handle;
        char *engine, *locator; /* owned */
};

/* A file whose version differs from the remote's. */
struct populate_change {
        struct handle handle; /* not a descriptor: one more would keep it from being leased */
        struct cs_entry entry;
        char *version; /* owned; entry.version points here, or is NULL */
};

struct populate {
        FanGroup *group;
        Store *store;
        const char *engine; /* id; must outlive the job */
        int directory;      /* descriptor of the directory, borrowed */
        const char *locator; /* the directory's; NULL: of the prefix's parent, which is nobody's */
        uint64_t parent;    /* stamp_directory() of it; 0 with locator NULL */
        bool refresh;       /* expect most names to be there */
        bool recursive;     /* report LISTED subdirectories as well */

        GArray *directories; /* of populate_directory */
        GArray *changes;     /* of populate_change */
        GPtrArray *names;    /* refresh: the names that exist at the remote */
        uint64_t made, skipped;
        int r;               /* the first lasting error of the store: ENOSPC, EROFS, EIO */
};

void populate_init(struct populate *p);
void populate_clear(struct populate *p);

/* A private copy of one slot's entries. -EBADMSG: the host broke the protocol. */
int populate_entries(struct populate *p, const void *data, size_t length);

/* The listing is complete: sets the directory's mtime and, unless that comes `late`, stamps it
 * LISTED. */
int populate_finish(FanGroup *group, int directory, bool late);
int populate_stamp_listed(int directory);

/* Removes what was the remote's and is not any more: stamped by this engine, listed in this
 * directory (whatever its locator looks like), not in `names`, and not changed by a user or open. */
void populate_remove_gone(struct populate *p, GHashTable *names);

/* Makes or adopts an engine's directory: `prefix` below the root. */
int populate_prefix(struct populate *p, const char *prefix, Failure *failure);

/* All UNLISTED directories of the store, watched again. */
int populate_find_unlisted(FanGroup *group, Store *store, GArray *ret_directories);
void populate_directory_clear(struct populate_directory *d);
