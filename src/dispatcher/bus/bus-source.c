/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * bus-source — sd-bus as a source of the GLib main loop
 *
 * sd-bus says by itself what it waits for: a descriptor, poll events, and a moment
 * in time (absolute, CLOCK_MONOTONIC, which is g_source_get_time()'s clock too). prepare
 * asks for all three each time the loop goes to sleep, dispatch lets it work: at most
 * DISPATCH_MAX messages in one turn, so that a client that floods the bus cannot keep
 * the loop from the accesses that wait for an answer.
 *
 * A connection that breaks is sd_bus_process() returning an error, after sd-bus has
 * answered what waited for a reply. lost() is called then, outside of sd-bus, so it
 * may free the connection; the source is over.
 */

#include "dispatcher/bus/bus.h"

#define DISPATCH_MAX 32

struct bus_source {
        GSource source;
        sd_bus *connection; /* a reference */
        gpointer tag;       /* of the descriptor */
        int events;         /* what it is polled for */
        bus_lost_fn lost;
        void *userdata;
};

static gboolean source_prepare(GSource *source, int *timeout) {
        struct bus_source *s = (struct bus_source *)source;
        uint64_t until;
        gint64 now, wait;
        int events;

        *timeout = -1;
        events = sd_bus_get_events(s->connection);
        if (events < 0) /* closing: dispatch finds out why */
                return TRUE;
        if (events != s->events) { /* it wakes the loop, each time: a busy loop otherwise */
                s->events = events;
                g_source_modify_unix_fd(source, s->tag, (GIOCondition)events);
        }
        if (sd_bus_get_timeout(s->connection, &until) < 0)
                return TRUE;
        if (until == UINT64_MAX)
                return FALSE;
        now = g_source_get_time(source);
        if (until <= (uint64_t)now)
                return TRUE;
        wait = (gint64)(until - (uint64_t)now + 999) / 1000;
        *timeout = (int)MIN(wait, G_MAXINT);
        return FALSE;
}

static gboolean source_check(GSource *source) {
        struct bus_source *s = (struct bus_source *)source;
        uint64_t until;

        if (g_source_query_unix_fd(source, s->tag) != 0)
                return TRUE;
        if (sd_bus_get_timeout(s->connection, &until) < 0)
                return TRUE;
        return until <= (uint64_t)g_source_get_time(source);
}

static gboolean source_dispatch(GSource *source, GSourceFunc callback, void *userdata) {
        struct bus_source *s = (struct bus_source *)source;
        int r;

        for (int i = 0; i < DISPATCH_MAX; i++) {
                r = sd_bus_process(s->connection, NULL);
                if (g_source_is_destroyed(source)) /* a handler closed the bus */
                        return G_SOURCE_REMOVE;
                if (r < 0) {
                        s->lost(s->userdata, r);
                        return G_SOURCE_REMOVE;
                }
                if (r == 0)
                        break;
        }
        return G_SOURCE_CONTINUE;
}

static void source_finalize(GSource *source) {
        struct bus_source *s = (struct bus_source *)source;

        s->connection = sd_bus_unref(s->connection);
}

static GSourceFuncs source_funcs = {
        .prepare = source_prepare,
        .check = source_check,
        .dispatch = source_dispatch,
        .finalize = source_finalize,
};

GSource *bus_source_new(sd_bus *connection, bus_lost_fn lost, void *userdata) {
        struct bus_source *s;
        GSource *source;
        int fd;

        fd = sd_bus_get_fd(connection);
        if (fd < 0)
                return NULL;
        source = g_source_new(&source_funcs, sizeof(struct bus_source));
        s = (struct bus_source *)source;
        s->connection = sd_bus_ref(connection);
        s->tag = g_source_add_unix_fd(source, fd, 0);
        s->lost = lost;
        s->userdata = userdata;
        g_source_set_name(source, "bus");
        g_source_set_can_recurse(source, TRUE); /* see loop.h */
        g_source_attach(source, NULL);
        return source;
}
