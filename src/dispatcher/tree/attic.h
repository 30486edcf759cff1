/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * attic — where files go that are gone from the remote, for a while
 *
 * `.cloudsync/attic`, mode 0700: out of everybody's reach, but not deleted. What lies there is
 *   - taken out again under another name, when it turns out that it was only moved (attic_take),
 *   - deleted after some seconds (attic_sweep),
 *   - or brought back, when a user has changed it after all.
 *
 * That no user's write is lost, step by step. A file is put here only when it is unmodified and
 * nobody has it open. Both are asked, and it is renamed, under one claim (moving.h): until that ends,
 * who opens it waits. After the rename, when no path leads to it any more, it is looked at again: is
 * it that file (a user may have put another in its place), and did somebody come meanwhile? Then it
 * goes back at once, by RENAME_NOREPLACE; where its name was taken it gets one as a
 * conflict copy. What is left is a call that had looked the name up before the rename, and comes
 * after that second look. It is served as any other, from here. It has come
 * long before the file is deleted, ATTIC_LINGER seconds later, and again the file must be unmodified
 * and open nowhere then: a thread would have to be kept from running, inside one system
 * call, for all that time. (What is opened later through a descriptor of O_PATH is a deleted file, as after
 * any unlink.) A user's hard links are names as well: the file lives on by those.
 *
 * Killed between any two lines, everything is either at its place or here, and named so that it can
 * be brought back (attic-name.h): the next daemon treats it as this one would have.
 *
 * All functions but new, free, set_prefix and count are for pool threads, and may be called on several.
 */

#include "dispatcher/events/fan-group.h"
#include "dispatcher/store/stamp.h"
#include "dispatcher/store/store.h"

#include <stdbool.h>

typedef struct Attic Attic;

/* Seconds that a file lies here at least. */
#define ATTIC_LINGER 5
/* Seconds after which it is deleted even when refreshes are still under way. */
#define ATTIC_LINGER_BUSY 600
#define ATTIC_FILES_MAX 65536u

/* Makes the directory, and knows what an earlier daemon left there. 0 or -errno. A store that has none
 * (NULL, read-only) keeps its files: attic_put() says -EROFS, attic_count() 0. */
int attic_new(FanGroup *group, Store *store, Attic **ret);
void attic_free(Attic *attic);
/* Where an engine's files go whose directory is gone. */
void attic_set_prefix(Attic *attic, const char *engine, const char *prefix);
/* How many are here. */
unsigned attic_count(Attic *attic);

/* `name` in `directory`, which is `fd`, stamped `stamp`. `spare`: nobody will want it back. 0; -EBUSY: somebody
 * has it open, or the attic is full; -EEXIST: a user has changed it, or has put another
 * file there; other -errno. In every case but 0 it is where it was. */
int attic_put(Attic *attic, int directory, const char *name, int fd, const struct stamp *stamp, bool spare);
/* Takes out what is of this engine, and of the entry's locator and version, to the entry's name in
 * `directory`, whose stamp_directory() is `parent`. 0; -ENOENT: there is none; -EEXIST: the name is
 * taken. */
struct cs_entry;
int attic_take(Attic *attic, const char *engine, const struct cs_entry *entry, int directory,
               uint64_t parent);
/* Deletes what has lain here long enough, and brings back what is a user's. `busy`: refreshes are
 * under way, which may want some of it. */
void attic_sweep(Attic *attic, bool busy);
