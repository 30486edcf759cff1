/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * loop — descriptors of the main loop
 *
 * GLib keeps a source from being dispatched inside of its own callback by taking its
 * descriptors out of the poll set before the callback and putting them back after it,
 * and each time wakes the loop that does so: two writes to an eventfd, one read and
 * often a whole turn more, for every event. Nothing here ever runs the loop inside of
 * a callback, so such sources are declared to be recursive, which they never are.
 */

#include <glib-unix.h>

/* As g_unix_fd_add(): returns the source's id. */
static inline guint loop_watch(int fd, GIOCondition condition, GUnixFDSourceFunc function,
                               gpointer userdata) {
        GSource *source = g_unix_fd_source_new(fd, condition);
        guint id;

        g_source_set_callback(source, G_SOURCE_FUNC(function), userdata, NULL);
        g_source_set_can_recurse(source, TRUE);
        id = g_source_attach(source, NULL);
        g_source_unref(source);
        return id;
}
