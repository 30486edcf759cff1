/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * told — changes that an engine told and that cannot be looked at now
 *
 * To note a change the directory has to be opened, and that may fail for a reason that says nothing of the
 * directory: no descriptor or no memory is left, the disk has an error. The engine does not tell it again
 * before its next open(). So it is kept here, by engine and locator, and tried again, with pauses that grow from
 * TOLD_FIRST_S to TOLD_LIMIT_S. It need not outlive the daemon: who has not been asked for a directory
 * yet tells it again.
 *
 * There is room for TOLD_MAX locators. An engine that tells more has everything listed again instead.
 */

#include <stdbool.h>

#define TOLD_MAX 1024u
#define TOLD_FIRST_S 1u
#define TOLD_LIMIT_S 60u

typedef struct Told Told;

/* Tries it again. `locator` NULL: everything of that engine's. False: it stays here. Must not call told_keep(). */
typedef bool (*told_fn)(void *userdata, const char *engine, const char *locator);

Told *told_new(told_fn again, void *userdata);
void told_free(Told *told);
/* Says whether it is the first that is kept: the one to log. */
bool told_keep(Told *told, const char *engine, const char *locator);
