/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * conflict-name — what the remote's version is called beside a file that a user changed. Pure.
 *
 *     report.txt  →  report (HOST's conflicted copy 2026-11-26).txt
 *                    report (HOST's conflicted copy 2026-11-26) (1).txt      when that is taken
 *
 * as Dropbox names them. The date is that of the remote's version (or of today, if it has none): so
 * the name is the same however often a daemon that is killed begins again, and whatever day it is
 * then, and one version makes one copy.
 */

#include <stdbool.h>
#include <stdint.h>

/* `host`: as gethostname() says; shown up to its first dot. `seconds`: since the epoch; 0: `now`.
 * `n`: 0, or the number in parentheses. At most 255 bytes: the stem is cut for that, at a
 * character's border when it is UTF-8. g_free(). */
char *conflict_name(const char *name, const char *host, int64_t seconds, int64_t now, unsigned n);
/* May it be such a name, of whatever file, host and date? */
bool conflict_name_is_one(const char *name);
/* The same with this machine's name and clock. */
char *conflict_name_here(const char *name, int64_t seconds, unsigned n);
