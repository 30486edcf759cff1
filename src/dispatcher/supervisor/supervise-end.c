/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * supervise-end — the end of the group
 *
 * Two ways lead here. A worker has stopped in order (daemon-stop.c): it has seen nobody who uses the store,
 * and closed all that it had of it. Or it was killed while it did so, or none can be started: then the store is
 * detached here, so that nobody comes to it by path, and what waits is denied.
 *
 * Either way the group is not closed before the superblock is gone (superblock.h). What reads
 * meanwhile, through a file that no process showed, is denied unless it is all here. Needs no
 * configuration, no engine, no bus: only what the journal says.
 *
 * Killed in between: the supervisor is gone, and with it all but the fd store; the journal says that
 * the store is being served, so that the next start goes on from there. The service
 * manager's cloudsync-detach does the detaching, if it was not done.
 */

#include "dispatcher/supervisor/supervise-internal.h"

#include "dispatcher/store/attached.h"
#include "dispatcher/events/fan-group.h"
#include "dispatcher/store/holders.h"
#include "dispatcher/events/journal.h"
#include "dispatcher/notify.h"
#include "dispatcher/store/stamp.h"
#include "dispatcher/store/store-internal.h"
#include "dispatcher/store/superblock.h"
#include "shared/fd.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#define EVENTS 32
#define LOOK_MS 250 /* for who still uses the store: that reads all of /proc */
#define LOOK_SOON_MS 5
#define LOOKS_SOON 40u
#define LOOKS_PER_EXTENSION 20

static void find_superblock(struct journal_store *store) {
        struct store_mount_info info;

        if (store->superblock == 0 && store_mount_info_load(store->path, 0, &info) >= 0) {
                if (info.found)
                        store->superblock = info.device;
                store_mount_info_clear(&info);
        }
}

/* No worker came so far as to watch it. While there is a path to it. */
static void watch(const struct supervised *s, const struct journal_store *store) {
        autoclose int root = -1;
        struct stat st;

        if (superblock_state(s->watch) != SUPERBLOCK_UNKNOWN)
                return;
        root = open(store->path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (root >= 0 && fstat(root, &st) == 0 && st.st_dev == store->files)
                (void)superblock_watch(s->watch, root);
}

static void detach(const struct supervised *s, struct journal_store *store) {
        struct attached attached = {.files = store->files};
        int r;

        watch(s, store);
        find_superblock(store);
        (void)strcpy(attached.path, store->path);
        r = attached_detach(&attached);
        if (r < 0)
                supervise_say(LOG_ERR, "%s cannot be unmounted: %s", store->path, strerror(-r));
        else if (r > 0)
                supervise_say(LOG_WARNING, "there is no worker: unmounted %s", store->path);
}

/* A whole file, or one that was never ours. */
static bool is_here(int fd) {
        struct stamp stamp = STAMP_INIT;
        int r = stamp_read_foreign(fd, &stamp);
        bool here = r == -ENODATA || (r == 0 && stamp.state == STAMP_WHOLE);

        stamp_clear(&stamp);
        return here;
}

static void deny(FanGroup *group) {
        struct fan_event events[EVENTS];
        unsigned lost = 0;
        int n;

        while ((n = fan_group_read(group, events, EVENTS, &lost)) > 0)
                for (int i = 0; i < n; i++)
                        (void)fan_group_answer(group, &events[i],
                                               events[i].kind != FAN_KIND_READDIR && is_here(events[i].fd) ? 0 : -EIO);
}

/* Until the superblock is gone. Nothing of ours may be left that keeps it. */
static void wait_unused(const struct supervised *s, const struct journal_store *store) {
        FanGroup *group = fan_group_adopt(s->group, NULL);
        Holders *holders = holders_new(store->superblock, store->files, 0, s->watch, store->path, store->limit_s,
                                       supervise_say);

        (void)chdir("/"); /* whoever started us may have been in the store */
        if (superblock_state(s->watch) == SUPERBLOCK_UNKNOWN)
                supervise_say(LOG_WARNING, "it is not known when the last file of %s is closed: one that no process shows "
                                           "is not waited for", store->path);
        for (unsigned looks = 0;; looks++) {
                struct pollfd poll_group = {.fd = s->group, .events = POLLIN};

                deny(group);
                if (holders_gone(holders))
                        break;
                if (looks % LOOKS_PER_EXTENSION == 0)
                        notify_alive("EXTEND_TIMEOUT_USEC=30000000");
                (void)poll(&poll_group, 1, looks < LOOKS_SOON ? LOOK_SOON_MS : LOOK_MS);
        }
        holders_free(holders);
        fan_group_free(group);
}

bool supervise_end(const struct supervised *s) {
        struct journal_store store;

        fan_group_deny_numbers(s->group, 0, (int)JOURNAL_ENTRIES);
        if (!s->map || !journal_store(s->map, &store)) {
                supervise_say(LOG_ERR, "ended without a clean stop: the store may still be mounted");
                return false;
        }
        detach(s, &store);
        if (store.superblock == 0) /* detached already; right for all but btrfs, whose files say otherwise */
                store.superblock = store.files;
        /* What the dead workers left has been denied: those numbers are free for new events. */
        supervise_close_unknown(s, NULL);
        wait_unused(s, &store);
        journal_set_serving(s->map, false);
        supervise_say(LOG_WARNING, "ended without a worker: what waited was denied");
        return true;
}

void supervise_outwait(const struct supervised *s) {
        struct journal_store store;

        if (s->group < 0)
                return;
        supervise_close_unknown(s, NULL);
        if (journal_store(s->map, &store) && superblock_state(s->watch) != SUPERBLOCK_OVER) {
                journal_set_serving(s->map, true);
                find_superblock(&store);
                wait_unused(s, &store);
                journal_set_serving(s->map, false);
        }
}
