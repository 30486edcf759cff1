/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * walk — the regular files at and below a path, without opening any of them
 *
 * Opening a placeholder can fetch it; so files are only lstat()'ed. Directories are read,
 * which makes the daemon list those that it has not listed yet. Symbolic links, other
 * kinds of files and other file systems are passed over.
 */

#include <glib.h>
#include <stdint.h>

struct walk_file {
        char *path; /* absolute; any bytes */
        uint64_t size;
};
void walk_file_free(gpointer file);

/* Appends struct walk_file * to `files`, in the order of names. `path` is absolute.
 * 0, or a negative errno after saying why; what could be walked is appended all the same. */
int walk_files(const char *path, GPtrArray *files);
