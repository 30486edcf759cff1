/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * progress — bars for the files that hydrate is working on
 *
 * A line for each transfer of ours, and, with several files, a line for all of them. What
 * is done is counted by file sizes: a file that turns out to be here already counts as
 * done at once. The rate is of bytes that arrived.
 */

#include "ctl/ctl.h"

struct progress;
typedef struct progress Progress;

/* NULL after saying why. */
struct progress *progress_new(struct ctl *ctl, unsigned files, uint64_t bytes);
void progress_free(struct progress *progress);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Progress, progress_free)

/* The store's public path: a transfer's path is relative to it. Copied. */
void progress_set_store(struct progress *progress, const char *path);

/* A file (absolute path) is being worked on, or is over. */
void progress_file_begins(struct progress *progress, const char *path);
void progress_file_ends(struct progress *progress, const char *path, uint64_t size);

void progress_draw(struct progress *progress);
/* Before anything else is printed, and at the end. */
void progress_wipe(struct progress *progress);

/* Bytes that arrived for anybody since progress_new(). */
uint64_t progress_bytes(const struct progress *progress);
