/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * ahead-walk — which placeholders follow a file, in the order in which programs walk a tree
 *
 * That is the order of readdir(3), each directory's own where its entry stands, as
 * tar, cp, grep and fts(3) do it. Blocks: for a pool thread. Through the private mount.
 */

#include "dispatcher/store/handle.h"

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

#define AHEAD_FILE_MAX (1024u * 1024)

struct ahead_item {
        struct handle handle;
        uint64_t inode;
};

struct ahead_walk {
        int root;       /* borrowed */
        char *from;     /* owned: what follows this path … */
        char *to;       /* owned or NULL: … if this one does so closely: what follows it */
        char *engine;   /* owned: only this one's */
        char *prefix;   /* owned: and only in here */
        unsigned want;  /* at most this many */
        GArray *items;  /* result: struct ahead_item */
        char *last;     /* result: the path of the last item, or of `to` without any, or NULL */
};

void ahead_walk(struct ahead_walk *walk); /* errors: fewer items */
void ahead_walk_clear(struct ahead_walk *walk);
