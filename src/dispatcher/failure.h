/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * failure — why something was refused, for the person who asked
 *
 * A named error and a sentence that says what to do. `name` is the last part of
 * org.cloudsync1.Error.NAME, static; `text` is owned. Functions that take a
 * Failure * accept NULL, set it at most once, and return a negative errno.
 */

#include <errno.h>
#include <glib.h>

typedef struct Failure {
        const char *name;
        char *text;
} Failure;

#define FAILURE_INIT {NULL, NULL}

static inline void failure_clear(Failure *failure) {
        failure->name = NULL;
        g_clear_pointer(&failure->text, g_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Failure, failure_clear)

/* Sets it and returns r: `return failure_set(failure, -EEXIST, "PrefixInUse", "…");` */
static inline int G_GNUC_PRINTF(4, 5)
        failure_set(Failure *failure, int r, const char *name, const char *format, ...) {
        if (failure != NULL && failure->name == NULL) {
                va_list args;
                va_start(args, format);
                failure->name = name;
                failure->text = g_strdup_vprintf(format, args);
                va_end(args);
        }
        return r;
}
