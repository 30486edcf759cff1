/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * ahead — small files that a program is about to open, fetched before it does
 *
 * A program that walks a tree (tar, grep -r, a compiler, cp -r) opens one file after the
 * other, and each costs it at least one round trip to the remote. The order is
 * nearly always that of the directories on disk, depth first. So when a thread
 * opened two files in that order that were not here, those that follow are fetched too, as many
 * at once as the engine takes, while some remain for its other readers.
 *
 * A guess must not cost much when it is wrong:
 *   - it begins with the second file, and only if that one follows the first on disk; a
 *     thread that opens files by any other order never sets it off;
 *   - only files of the same engine, up to AHEAD_FILE_MAX bytes, AHEAD_FILES ahead, and never
 *     out of the engine's prefix;
 *   - a fetch that fails ends it, and so does a store that is nearly full.
 *
 * A file fetched ahead is served by the same code as one that somebody waits for
 * (files_hydrate): nothing here touches a file's content or stamp.
 */

#include "dispatcher/files/files.h"

typedef struct Ahead Ahead;

Ahead *ahead_new(Files *files, const struct files_options *options);
/* No request of its own may be under way any more. */
void ahead_free(Ahead *ahead);

/* A thread opens a file that is not here (`fd`: of the private mount) … */
void ahead_missed(Ahead *ahead, pid_t tid, int fd, const struct stamp *stamp);
/* … or any other. Was it fetched ahead? Then the next ones follow. */
bool ahead_opened(Ahead *ahead, ino_t inode);
/* No more. */
void ahead_stop(Ahead *ahead);
