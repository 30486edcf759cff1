/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * supervise-end — a stop without a worker
 *
 * The worker's stop (daemon.c) in its smallest form, for when none can be started: the store is
 * detached, so that nobody comes to it by path; what waits is denied, and what comes from
 * files that are still open; and the group is not closed before nobody has any.
 * Needs no configuration, no engine, no bus: only what the journal says.
 *
 * Killed in between: the supervisor is gone, and with it all but the fd store; the
 * service manager's cloudsync-detach does the detaching then.
 */

#include "dispatcher/supervise-internal.h"

#include "dispatcher/attached.h"
#include "dispatcher/config.h"
#include "dispatcher/fan-group.h"
#include "dispatcher/holders.h"
#include "dispatcher/journal.h"
#include "dispatcher/notify.h"
#include "dispatcher/store-internal.h"

#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>

#define EVENTS 32
#define LOOK_MS 250 /* for who still uses the store: that reads all of /proc */
#define LOOKS_PER_EXTENSION 20

static void find_superblock(struct journal_store *store) {
        struct store_mount_info info;

        if (store->superblock == 0 && store_mount_info_load(store->path, 0, &info) >= 0) {
                if (info.found)
                        store->superblock = info.device;
                store_mount_info_clear(&info);
        }
}

static void detach(struct journal_store *store) {
        struct attached attached = {.files = store->files};
        int r;

        find_superblock(store);
        (void)strcpy(attached.path, store->path);
        r = attached_detach(&attached);
        if (r < 0)
                supervise_say(LOG_ERR, "%s cannot be unmounted: %s", store->path, strerror(-r));
        else if (r > 0)
                supervise_say(LOG_WARNING, "no worker can be started: unmounted %s", store->path);
}

static void deny(FanGroup *group) {
        struct fan_event events[EVENTS];
        unsigned lost = 0;
        int n;

        while ((n = fan_group_read(group, events, EVENTS, &lost)) > 0)
                for (int i = 0; i < n; i++)
                        (void)fan_group_answer(group, &events[i], -EIO);
}

bool supervise_end(const struct supervised *s) {
        struct journal_store store;
        Journal *journal = NULL;
        FanGroup *group;
        Holders *holders;

        fan_group_deny_numbers(s->group, 0, (int)JOURNAL_ENTRIES);
        if (journal_open(s->journal, &journal) < 0 || !journal_store(journal, &store)) {
                journal_close(journal);
                supervise_say(LOG_ERR, "ended without a clean stop: the store may still be mounted");
                return false;
        }
        detach(&store);
        if (store.superblock == 0) /* detached already; right for all but btrfs, whose files say otherwise */
                store.superblock = store.files;
        /* What the dead workers left has been denied: those numbers are free for new events. */
        group = fan_group_adopt(s->group, NULL);
        holders = holders_new(store.superblock, store.files, 0, store.path, CONFIG_SHUTDOWN_LIMIT_S, supervise_say);
        for (unsigned looks = 0;; looks++) {
                struct pollfd poll_group = {.fd = s->group, .events = POLLIN};

                deny(group);
                if (holders_gone(holders))
                        break;
                if (looks % LOOKS_PER_EXTENSION == 0)
                        notify_alive("EXTEND_TIMEOUT_USEC=30000000");
                (void)poll(&poll_group, 1, LOOK_MS);
        }
        holders_free(holders);
        journal_set_serving(journal, false);
        fan_group_free(group);
        journal_close(journal);
        supervise_say(LOG_WARNING, "ended without a worker: what waited was denied");
        return true;
}
