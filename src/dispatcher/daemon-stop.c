/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * daemon-stop — how the daemon ends; the order is told in daemon.c
 */

#include "dispatcher/daemon-internal.h"

#include "dispatcher/store/attached.h"
#include "dispatcher/notify.h"
#include "dispatcher/store/superblock.h"
#include "dispatcher/work.h"
#include "shared/log.h"

#include <sys/mount.h>

/* Still in use: denied from now on, and asked again until nobody is left. */
static gboolean daemon_stop_poll(gpointer userdata) {
        Daemon *d = userdata;
        unsigned polls = d->stop_polls++;

        /* A service manager that lost its patience would kill us, and the group with us. */
        if (polls % 60 == 0)
                notify_alive("EXTEND_TIMEOUT_USEC=30000000");
        if (work_pending() > 0 || files_busy(d->files) > 0)
                return G_SOURCE_CONTINUE;
        /* Asking reads all of /proc: often at first, then four times a second. */
        if (polls > 50 && polls % 12 != 0)
                return G_SOURCE_CONTINUE;
        if (d->holders && !holders_gone(d->holders))
                return G_SOURCE_CONTINUE;
        d->stop_timer = 0;
        g_main_loop_quit(d->loop);
        return G_SOURCE_REMOVE;
}

char *daemon_attached_file(const Daemon *d) {
        return g_build_filename(d->config->state_dir, "attached", NULL);
}

static void daemon_forget_store(Daemon *d) {
        g_autofree char *file = daemon_attached_file(d);

        (void)attached_forget(file);
}

void daemon_stop(Daemon *d) {
        if (d->phase == DAEMON_STOPPING)
                return;
        log_info("stopping");
        d->phase = DAEMON_STOPPING;
        g_clear_pointer(&d->mount_watch, mount_watch_free);
        notify("STOPPING=1\nSTATUS=Stopping");
        if (d->lister)
                lister_deny_all(d->lister);
        if (d->files)
                files_deny_all(d->files);
        daemon_end_engines(d);
        if (journal_is_serving(d->journal))
                journal_set_stopping(d->journal);
        if (d->store && superblock_state(d->superblock) != SUPERBLOCK_LIVES) /* perhaps there is room by now */
                (void)superblock_watch(d->superblock, store_root(d->store));
        if (d->attached) {
                if (store_detach(d->store) == 0)
                        daemon_forget_store(d);
        } else if (d->store && !store_has_device(d->store)) {
                /* Nothing but this daemon keeps its placeholders from reading as zeros. */
                log_notice("unmounting %s: without the service its files cannot be served",
                           store_path(d->store));
                (void)umount2(store_path(d->store), MNT_DETACH | UMOUNT_NOFOLLOW);
                daemon_forget_store(d);
        }
        if (d->store)
                d->holders = store_holders(d->store, d->config->shutdown_limit_s);
        d->stop_timer = g_timeout_add(20, daemon_stop_poll, d);
}

int daemon_free(Daemon *d) {
        int status;

        if (!d)
                return 0;
        bus_close(g_steal_pointer(&d->bus));
        daemon_end_engines(d);
        if (d->lister) {
                lister_deny_all(d->lister);
                files_deny_all(d->files);
        }
        work_stop(); /* what that began is ended, and nothing more is */
        lister_free(d->lister);
        files_free(d->files);
        if (d->events)
                g_source_remove(d->events);
        if (d->resume_timer)
                g_source_remove(d->resume_timer);
        mount_watch_free(d->mount_watch);
        if (d->watchdog)
                g_source_remove(d->watchdog);
        if (d->stop_timer)
                g_source_remove(d->stop_timer);
        if (d->ready_timer)
                g_source_remove(d->ready_timer);
        holders_free(d->holders);
        store_close(d->store);
        fan_group_free(d->group);
        /* Not if it could not be taken over: then accesses may wait for the next worker. */
        if (d->journal && !(d->takeover && d->phase == DAEMON_STARTING))
                journal_set_serving(d->journal, false);
        journal_close(d->journal);
        g_hash_table_unref(d->engines);
        status = d->status;
        g_free(d);
        return status;
}
