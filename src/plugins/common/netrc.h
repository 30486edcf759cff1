/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * netrc — the credentials for one host out of a .netrc file. Pure.
 *
 * Takes the text itself: the file is read once, when the engine starts. Words are
 * separated by white space; a word in double quotes may contain it, with \" and
 * \\ inside. `macdef` bodies are skipped up to an empty line.
 */

#include <stddef.h>

/* The entry of `host` (compared without case), else `default`. 0 and copies (to g_free();
 * NULL when the entry has none), -ENOENT: no entry, -EINVAL: malformed. */
int netrc_find(const char *text, size_t length, const char *host, char **ret_login,
               char **ret_password);
