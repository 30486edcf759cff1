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
#include <stdbool.h>

enum hydration {
        HYDRATION_AUTO,   /* ranges for large files and known readers */
        HYDRATION_WHOLE,  /* always whole at open */
        HYDRATION_RANGES, /* ranges above FullBelow for everyone but hole-seekers, writers, exec */
};

/* Engines at most, on disk and live; more are refused (TooManyEngines) or, when loading,
 * logged and left out. */
#define REGISTRATION_MAX 256u

/* "auto" "whole" "ranges", and back: 0 or -EINVAL. */
const char *hydration_name(enum hydration hydration);
int hydration_parse(const char *s, enum hydration *ret);

/* Seconds of `Refresh=`: 0 (never), or from REGISTRATION_REFRESH_MIN to _MAX. 0 or -EINVAL. */
#define REGISTRATION_REFRESH_MIN 10u
#define REGISTRATION_REFRESH_MAX (30u * 24 * 3600)
int refresh_parse(const char *s, unsigned *ret);

/* Over the bus `Hydration=` and `Refresh=` travel among the settings under these keys, which are never
 * among `settings`. */
#define REGISTRATION_HYDRATION_KEY "hydration"
#define REGISTRATION_REFRESH_KEY "refresh"

/* What the service manager gives the service (credential.h) reaches an engine like a setting, and
 * cannot be one. */
#define REGISTRATION_CREDENTIAL_PREFIX "credential."

typedef struct Registration {
        char *id, *module, *prefix;
        enum hydration hydration;
        unsigned refresh_s; /* 0, or how often the whole tree is listed again */
        GHashTable *settings; /* char * → char *, owned; never NULL */
} Registration;

/* All strings are copied. */
Registration *registration_new(const char *id, const char *module, const char *prefix);
void registration_free(Registration *registration);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Registration, registration_free)

/* Checks id, module, prefix, setting keys and values against shared/names.h: the
 * named errors of the D-Bus interface. */
int registration_check(const Registration *registration, Failure *failure);

/* May this setting's value be logged? No when its key contains password, token,
 * secret, bearer or key. */
bool registration_key_is_secret(const char *key);

/* All of a directory, in the order of their ids; bad ones are logged and skipped: what does
 * not parse or check, what others may write to, what belongs to neither root nor us. A
 * directory that does not exist is empty. What an interrupted save left is removed. */
int registration_load_all(const char *directory, GPtrArray **ret);
/* Makes the directory (0700) when it is missing. Blocks on the disk. On failure
 * (SaveFailed) the registration is not there after a restart either. */
int registration_save(const char *directory, const Registration *registration, Failure *failure);
int registration_remove(const char *directory, const char *id); /* -ENOENT is not an error */
