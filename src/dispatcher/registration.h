/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * registration — an engine as it is written down: engines.d/ID.conf
 *
 * Files are written whole beside their name, synced, renamed, and the directory
 * synced: a crash leaves the old one or the new one. They are 0600: settings
 * may be secrets. One that does not parse is reported and left alone; the others load.
 */

#include "dispatcher/failure.h"

#include <glib.h>

enum hydration {
        HYDRATION_AUTO,   /* ranges for large files and known readers */
        HYDRATION_WHOLE,  /* always whole at open */
        HYDRATION_RANGES, /* ranges above FullBelow for everyone but hole-seekers, writers, exec */
};

typedef struct Registration {
        char *id, *module, *prefix;
        enum hydration hydration;
        GHashTable *settings; /* char * → char *, owned; never NULL */
} Registration;

/* All strings are copied. */
Registration *registration_new(const char *id, const char *module, const char *prefix);
void registration_free(Registration *registration);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Registration, registration_free)

/* Checks id, module, prefix, setting keys and values against shared/names.h: the
 * named errors of the D-Bus interface. */
int registration_check(const Registration *registration, Failure *failure);

/* All of a directory, in the order of their ids; bad ones are logged and skipped. A
 * directory that does not exist is empty. */
int registration_load_all(const char *directory, GPtrArray **ret);
int registration_save(const char *directory, const Registration *registration, Failure *failure);
int registration_remove(const char *directory, const char *id); /* -ENOENT is not an error */
