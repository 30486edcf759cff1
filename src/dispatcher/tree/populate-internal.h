/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* populate-internal — what the files of populate share */

#include "dispatcher/tree/populate.h"
#include "dispatcher/store/stamp.h"

#include <sys/stat.h>

/* The stamp of an entry that is listed now; nothing in it is owned. */
void populate_stamp(const struct populate *p, const struct cs_entry *entry, struct stamp *ret);
/* `locator`: NULL: what its stamp says. */
int populate_add_directory(struct populate *p, int fd, const char *engine, const char *locator, bool dirty);
/* A name, or a locator, in the set of what a directory has at the remote: hashes, since there may be millions. Two
 * that collide are taken for one: then what is gone stays. */
gpointer populate_name_key(const char *name);
gpointer populate_locator_key(const char *locator);

/* populate-file.c: brings a file's entry in. */
int populate_put_file(struct populate *p, const struct cs_entry *entry);
/* Writes where the remote has it. 0, -EBUSY. */
int populate_renew_place(struct populate *p, int fd, uint64_t parent, const char *name);

/* populate-gone.c */
/* Is it where the remote had it? */
bool populate_is_in_place(const struct stamp *stamp, uint64_t parent, const char *name);
/* `name` in `parent` is `fd`, and the remote does not have that there any more. 0: the name is free.
 * -EBUSY: later; -EEXIST: it is a user's. */
int populate_gone_file(struct populate *p, int parent, const char *name, int fd, const struct stat *st,
                       const struct stamp *stamp);
/* The same for a directory, with all that is in it. */
int populate_gone_directory(struct populate *p, int parent, const char *name, int fd);
