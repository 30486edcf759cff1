/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * moves — placeholders that refreshes have just made, by what they are of
 *
 * A file that was moved at the remote is new in one directory and gone from another, and either may be
 * refreshed first. Gone first: it waits in the attic (attic.h) for its new place. New
 * first: its placeholder is noted here, and when the old file turns out to be gone, it takes the
 * placeholder's place. What is not found any more (the table is bounded, and in memory) is
 * fetched again when it is read: nothing but that is lost.
 *
 * "Not in the attic: a placeholder is made, and noted" and "not noted: into the attic" must not
 * happen at the same time, or neither finds the other: both between moves_begin() and moves_end().
 *
 * Any thread.
 */

#include "dispatcher/store/handle.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct Moves Moves;

#define MOVES_MAX 32768u
#define MOVES_SECONDS 60u

Moves *moves_new(void);
void moves_free(Moves *moves);
void moves_begin(Moves *moves);
void moves_end(Moves *moves);
/* `key`: attic_key(). A second note of it replaces the first. */
void moves_note(Moves *moves, uint64_t key, const struct handle *directory, const char *name);
/* Takes it out: the name (g_free()), or NULL. */
char *moves_take(Moves *moves, uint64_t key, struct handle *ret_directory);
bool moves_is_empty(Moves *moves);
/* What was noted earlier than `seconds` ago. */
void moves_forget(Moves *moves, unsigned seconds);
