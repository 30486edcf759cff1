/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * stores — the mounted stores, as the guard sees them
 *
 * A file system that was mounted before the guard was loaded is looked at by it when something on
 * it is opened; opening its root directory is enough. A store's root directory is never
 * watched, so that this waits for nobody.
 */

enum store_guarded {
        STORE_UNGUARDED, /* the guard does not answer for it */
        STORE_CLOSED,    /* guarded, and nobody serves it: what is not here is refused */
        STORE_SERVED,    /* guarded, and a group holds back what is not here */
};

typedef void (*store_fn)(void *userdata, const char *path, enum store_guarded guarded);

/* Opens the root of every mounted file system that may be a store; `each`, unless NULL, is
 * called for those that are, once for each superblock. */
void stores_visit(store_fn each, void *userdata);
