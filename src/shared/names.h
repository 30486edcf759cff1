/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * names — the strings that come from outside and what they may be. Pure.
 */

#include <stdbool.h>
#include <stddef.h>

#define NAME_ID_MAX 32u
#define NAME_SETTING_KEY_MAX 64u
#define NAME_SETTING_VALUE_MAX 8192u
#define NAME_PREFIX_MAX 1024u
#define NAME_SETTINGS_MAX 64u

/* An engine's or a module's id: 1 to 32 of a-z 0-9 '-' '_', a letter first. */
bool name_is_id(const char *s);

/* A prefix: relative, at most NAME_PREFIX_MAX bytes, components of 1 to 255 bytes, none
 * of them "." or "..", no double or trailing slash, no control characters,
 * valid UTF-8 (it travels over D-Bus), and not ".cloudsync" as the first component. */
bool name_is_prefix(const char *s);

/* One entry of a directory: not empty, no '/', not "." or "..", ≤ 255 bytes. */
bool name_is_component(const char *s);

/* A component that may be shown to people and made here: as above, and no control
 * characters (0x01-0x1f, 0x7f). */
bool name_is_presentable(const char *s);

/* Is `path` equal to `prefix` or below it, by component? Both relative. "" is
 * above everything. On true, *rest is what follows, without a leading slash. */
bool name_has_prefix(const char *path, const char *prefix, const char **rest);

/* A copy with control and non-UTF-8 bytes as \xNN, at most `max` bytes, for logs.
 * Returned in `buffer`. */
const char *name_printable(const char *s, char *buffer, size_t max);

/* A setting's key: 1 to NAME_SETTING_KEY_MAX of A-Z a-z 0-9 . _ - */
bool name_is_setting_key(const char *s);
