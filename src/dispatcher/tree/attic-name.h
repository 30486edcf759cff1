/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * attic-name — what a file is called in the attic: all that is to be known of it after a crash. Pure.
 *
 *     KEY . SERIAL . TYPE . HANDLE . NAME
 *
 * KEY     16 hex digits, a hash of engine and locator: what it is of
 * SERIAL  8 hex digits, so that two of one KEY can be there
 * TYPE, HANDLE  the directory from which it came, in hex
 * NAME    what it was called there, cut to what fits
 */

#include "dispatcher/store/handle.h"

#include <stdbool.h>
#include <stdint.h>

/* What a file is of, whatever it is called. */
uint64_t attic_key(const char *engine, const char *locator);
/* At most 255 bytes. g_free(). */
char *attic_name_make(uint64_t key, uint32_t serial, const struct handle *directory, const char *name);
/* *ret_name points into `text`. false: no such name. */
bool attic_name_parse(const char *text, uint64_t *ret_key, struct handle *ret_directory,
                      const char **ret_name);
