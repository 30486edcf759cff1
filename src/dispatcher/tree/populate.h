/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * populate — remote entries become files and directories of the store
 *
 * On pool threads, through the private mount. Nothing is visible before it is what it
 * should be: a placeholder is made without a name (O_TMPFILE), stamped, sized, dated, and then
 * linked; a directory is made in the staging area, stamped UNLISTED, watched, and
 * then renamed into place, so that nobody can read it as empty.
 *
 * A name that is taken (populate-file.c, populate.c):
 *   - by the same file of another version: unmodified, it is reported as changed, and switched
 *     (files_switch()). Changed by a user, it stays, and the remote's version comes
 *     beside it as a conflict copy (conflict-name.h); then the stamp says LOCAL and which version that
 *     was, so that it makes one copy only. Killed in between, the copy is found by its name.
 *   - by another file or a directory of this engine's that the remote had here: that one is gone, or
 *     has moved.
 *   - by a file that has no stamp: a user's. In a refresh it gets one, LOCAL, and what was said of conflicts
 *     holds from then on; the first time, what is later than the file counts as not seen.
 *   - by anything else: that is a user's, left alone and counted.
 *
 * A name that the remote does not have any more (populate-gone.c) goes to the attic (attic.h), or, when
 * its file has a placeholder elsewhere already (moves.h), takes that one's place, content and all.
 * "Had here" is what the stamp says: parent and name. What a user moved is left where it is. A name of which
 * the remote tells no more than that it is there (CS_KIND_UNKNOWN) is left as it is, too.
 *
 * What cannot be done because somebody has a file open is counted (`busy`): the directory is
 * refreshed again.
 */

#include "dispatcher/tree/attic.h"
#include "dispatcher/events/fan-group.h"
#include "dispatcher/store/handle.h"
#include "dispatcher/tree/moves.h"
#include "dispatcher/store/store.h"

#include "cloudsync/engine.h"

#include <glib.h>

/* A directory that has to be listed (again). */
struct populate_directory {
        uint64_t device, inode;
        struct handle handle;
        char *engine, *locator; /* owned */
        bool dirty;             /* it must be listed again, if it is listed */
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
        Attic *attic;
        Moves *moves;
        const char *engine; /* id; must outlive the job */
        int directory;      /* descriptor of the directory, borrowed */
        const char *locator; /* the directory's; NULL: of the prefix's parent, which is nobody's */
        uint64_t parent;    /* stamp_directory() of it; 0 with locator NULL */
        struct handle handle; /* of it */
        bool refresh;       /* expect most names to be there */
        bool recursive;     /* report LISTED subdirectories as well */
        bool record;        /* note new placeholders: they may be of files that were moved */

        GArray *directories; /* of populate_directory */
        GArray *changes;     /* of populate_change */
        GPtrArray *names;    /* refresh: what exists at the remote (populate_name_key()), not owned */
        uint64_t made, skipped;
        uint64_t unknown;    /* CS_KIND_UNKNOWN */
        uint64_t busy;       /* what could not be brought up to date because it is open */
        uint64_t local, conflicts; /* files that users changed; copies made beside them */
        int r;               /* the first lasting error of the store: ENOSPC, EROFS, EIO */
};

void populate_init(struct populate *p);
void populate_clear(struct populate *p);

/* A private copy of one slot's entries. -EBADMSG: the host broke the protocol. */
int populate_entries(struct populate *p, const void *data, size_t length);

/* The listing is complete: sets the directory's mtime and, unless that comes `late`, stamps it
 * LISTED. */
int populate_finish(FanGroup *group, int directory, bool late);

/* Removes what was the remote's and is not any more: listed in this directory, not in `names`, and not
 * changed by a user. */
void populate_remove_gone(struct populate *p, GHashTable *names);

/* Makes or adopts an engine's directory: `prefix` below the root. */
int populate_prefix(struct populate *p, const char *prefix, Failure *failure);

/* All directories of the store that are UNLISTED, watched again, or DIRTY. */
int populate_find_unlisted(FanGroup *group, Store *store, GArray *ret_directories);
void populate_directory_clear(struct populate_directory *d);
