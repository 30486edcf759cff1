/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* registration-text — a registration as a key file's text and back. Pure. */

#include "dispatcher/engines/registration.h"

/* The same registration is always the same text. The caller's to wipe and free. */
char *registration_to_text(const Registration *registration, gsize *ret_length);

/* Checked with registration_check(). The failure's text quotes no value. */
int registration_from_text(const char *id, const char *text, size_t length, Registration **ret,
                           Failure *failure);
