/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * track — the transfers under way, kept up to date
 *
 * The signals tell that a transfer began, how far it is and that it ended, but carry no
 * names; ListTransfers tells the names to those who may see them, and is asked again
 * whenever a transfer began whose name is not known yet.
 */

#include "ctl/bus.h"

struct tracked {
        struct bus_transfer t; /* t.path is NULL until it is known, and for another user's */
        bool asked;            /* it was under way when the names were last asked for */
};

enum track_event {
        TRACK_STARTED,
        TRACK_NAMED, /* t.path is known now */
        TRACK_PROGRESS,
        TRACK_FINISHED, /* the last time that this one is seen */
};

struct track;

/* `error` is NULL but for a TRACK_FINISHED that failed. */
typedef void (*track_fn)(void *userdata, enum track_event event, const struct tracked *transfer,
                         const char *error);

/* Subscribes. `event` may be NULL. NULL after saying why. */
struct track *track_new(struct ctl *ctl, track_fn event, void *userdata);
void track_free(struct track *track);
typedef struct track Track;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Track, track_free)

/* To be called at an interval: asks for names where some are wanted. `always`: also where
 * none are, to notice that the daemon has gone. False once it has. */
bool track_tick(struct track *track, bool always);

/* All transfers by id, struct tracked *, valid until the bus is processed again. Free the
 * array with g_ptr_array_unref(). */
GPtrArray *track_list(const struct track *track);

/* Bytes that have arrived since the start, by all transfers. */
uint64_t track_bytes(const struct track *track);
