/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * daemon-internal — what the daemon's own files say to each other
 *
 *   daemon.c          the parts, and the order in which they come
 *   daemon-stop.c     the order in which they go
 *   daemon-engines.c  the engines that are registered
 *   daemon-ask.c      what people and programs ask
 */

#include "dispatcher/daemon-main.h"
#include "dispatcher/files/files.h"
#include "dispatcher/events/journal.h"
#include "dispatcher/tree/lister.h"
#include "dispatcher/store/mount-watch.h"

enum daemon_phase { DAEMON_STARTING, DAEMON_RUNNING, DAEMON_STOPPING };

struct Daemon {
        Config *config;
        GMainLoop *loop;
        enum daemon_phase phase;
        int status;
        FanGroup *group;
        Journal *journal;
        bool takeover, replaced, stored;
        int superblock; /* the watch of the store's (superblock.h) */
        dev_t served;   /* st_dev of the store of the worker before, if it was reachable; or 0 */
        Store *store;
        Files *files;
        Lister *lister;
        Bus *bus;
        GHashTable *engines; /* id → Engine, owned */
        struct engine_options engine_options;
        struct files_options files_options;
        struct lister_options lister_options;
        MountWatch *mount_watch;
        guint events, resume_timer, watchdog, stop_timer, ready_timer;
        unsigned ready_polls;
        unsigned stop_polls;
        Holders *holders; /* while it stops */
        unsigned max_pending;
        bool attached;
};

/* ── daemon-engines.c ── */

Engine *daemon_engine_by_id(void *userdata, const char *id);
/* From engines.d; then, with the lister there, each gets its directory; and then its host. (At a take-over
 * the hosts come first.) */
void daemon_load_engines(Daemon *daemon);
void daemon_adopt_engines(Daemon *daemon);
void daemon_start_engines(Daemon *daemon);
void daemon_start_engines_when_needed(Daemon *daemon);
void daemon_end_engines(Daemon *daemon);

/* ── daemon-stop.c ── */

/* STATE-DIR/attached (attached.h); g_free(). */
char *daemon_attached_file(const Daemon *daemon);
