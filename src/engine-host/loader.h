/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* loader — from a module's name to its table of operations */

#include <stddef.h>
#include <sys/types.h>

#include "cloudsync/engine.h"

/*
 * Loads the module, for good: nothing unloads it. `owner`: whom the module may belong
 * to besides root. 0 and *ret, or a negative errno and a sentence in `reason`:
 * those of module_file_check_owner(), -ENOEXEC (cannot be loaded, or no engine),
 * -EPROTO (another ABI), -EINVAL (the table is wrong).
 */
int loader_open(const char *dir, const char *name, uid_t owner, const struct cs_engine_ops **ret,
                char *reason, size_t reason_size);

/* The part that looks at the table. Pure. */
int loader_check(const struct cs_engine_ops *ops, const char *name, char *reason,
                 size_t reason_size);
