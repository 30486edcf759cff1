/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * filter — the settings `include` and `exclude`. Pure.
 *
 * Patterns are separated by ';'. Within one, '*', '?' and [...] match as in the shell, never a
 * '/', and case does not matter. A pattern without '/' is compared with every name
 * on the way to an entry; one with '/' is a path from the engine's root ("/Photos/20*").
 *
 * An entry is shown when no `exclude` pattern matches it or a folder above it, and, where
 * there are `include` patterns, one of them does. A folder that may still lead to something
 * included is shown as well.
 */

#include <stdbool.h>

struct filter;

/* 0, or -EINVAL: a pattern is empty between two ';', or has an empty component. Either may be
 * NULL. */
int filter_new(const char *include, const char *exclude, struct filter **ret);
void filter_free(struct filter *filter);

/* `path`: relative to the root, without '/' in front. */
bool filter_shows(const struct filter *filter, const char *path, bool folder);
