/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * module-file — may this module be loaded? What can be told without loading it.
 *
 * A module is code that will run with somebody's credentials: only the owner of
 * the program (root, or the user who runs it unprivileged) may decide what is in
 * the module directory.
 */

#include <sys/types.h>

/*
 * Looks for the module `name` (a name, not a path) in `dir` and nowhere else, and
 * checks that directory and file belong to root, or to the caller's effective user
 * when that is not root, and that nobody else may write to them.
 * 0 and *ret_path, the caller's to free(), or
 *   -EINVAL          not a module name
 *   -ENOENT          no such module, or no such directory
 *   -EPERM           wrong owner, or writable by others
 *   -ELOOP           a symbolic link
 *   -EACCES, -ENOMEM, … what the system said
 * with *ret_reason, a static sentence without a full stop. Both may be NULL.
 *
 * What was checked may be loaded by its path afterwards without a race: only
 * those who were allowed to put the file there can exchange it in between.
 */
int module_file_check(const char *dir, const char *name, char **ret_path,
                      const char **ret_reason);

/* The same for a process that gave up its user since: `owner` is whom it trusts
 * besides root. */
int module_file_check_owner(const char *dir, const char *name, uid_t owner, char **ret_path,
                            const char **ret_reason);
