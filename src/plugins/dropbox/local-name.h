/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * local-name — what an entry is called here. Pure.
 *
 * Almost always what it is called at Dropbox. But a name that cannot exist in the store (longer
 * than 255 bytes: Dropbox counts characters; or with control characters in it) is cut and
 * cleaned, and gets '~' and the first eight digits of the SHA-256 of its lowercased path
 * before its extension: the same at every listing, and no two alike but by chance.
 */

#include <stdbool.h>

/* `suffix`: added as an extension ("docx"), or NULL. To g_free(). *ret_changed: it is another than the
 * remote's (the suffix alone does not count). */
char *local_name(const char *name, const char *path_lower, const char *suffix, bool *ret_changed);
