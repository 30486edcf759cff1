/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * mount-watch — is the store still where programs look for it?
 *
 * An administrator may unmount it under the daemon. That is no harm: what is open is served, and
 * nobody gets in by path. But nobody would know why, so it is said, once. It is not
 * mounted again: perhaps it was meant.
 *
 * The kernel tells that some mount of the machine changed; the table is read then, at most once a
 * second.
 */

#include "dispatcher/store/store.h"

typedef struct MountWatch MountWatch;

/* `store` is borrowed, and attached. NULL when the table cannot be watched. */
MountWatch *mount_watch_new(const Store *store);
void mount_watch_free(MountWatch *watch);
