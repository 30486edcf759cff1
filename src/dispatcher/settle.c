/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/settle.h"

#include "dispatcher/handle.h"
#include "dispatcher/journal.h"
#include "dispatcher/stamp.h"
#include "dispatcher/work.h"
#include "shared/fd.h"
#include "shared/log.h"

#include <fcntl.h>
#include <glib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SETTLE_SECONDS 3
#define SETTLE_QUEUE_MAX 65536u

/* The ctime tells whether the file is still the one that was synced: one that was emptied and
 * filled anew after the sync must not be called durable for its predecessor. */
struct item {
        struct handle handle;
        struct timespec ctime;
};

struct Settle {
        FanGroup *group;
        Store *store;
        Journal *journal;
        GArray *queue; /* of struct item */
        guint timer;
        bool running;
};

struct batch {
        Settle *settle;
        GArray *files;
};

static void settle_schedule(Settle *settle);

static bool settle_stamp(int fd, const struct item *item) {
        struct stamp stamp = STAMP_INIT;
        bool whole = false;
        struct stat st;

        if (fstat(fd, &st) < 0)
                return false;
        if (item && (st.st_ctim.tv_sec != item->ctime.tv_sec || st.st_ctim.tv_nsec != item->ctime.tv_nsec))
                return false;
        if (stamp_read(fd, st.st_ino, &stamp) < 0)
                return false;
        if (stamp.state == STAMP_FILLED && stamp.boot == stamp_boot()) {
                stamp.state = STAMP_WHOLE;
                whole = stamp_write(fd, &stamp) == 0;
        } else
                whole = stamp.state == STAMP_WHOLE;
        stamp_clear(&stamp);
        return whole;
}

/*
 * One file, on a pool thread. Silenced first, then leased: while the lease is held no event of
 * it may come, since the kernel opens the file for the event's descriptor, meets
 * the lease, and denies the access. (An open that raised its event earlier is
 * counted by the inode already, and no lease is given.) Where there is no lease, opens are heard again,
 * and a writer that slipped through between the two is looked for: its file is stamped
 * all the same, since the data is on disk.
 */
/* Who slipped in while opens were not heard? Its file is on disk: it may write as soon as that is
 * written down. */
static void settle_undo(FanGroup *group, int fd, const struct item *item) {
        (void)fan_group_unsilence(group, fd);
        if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0)
                (void)fcntl(fd, F_SETLEASE, F_UNLCK);
        else
                (void)settle_stamp(fd, item);
}

static void settle_one(Settle *settle, const struct item *item) {
        autoclose int fd = -1;
        bool whole = false;

        fd = handle_open(store_root(settle->store), &item->handle, O_RDONLY | O_NONBLOCK);
        if (fd < 0)
                return;
        if (settle->journal)
                journal_settling(settle->journal, &item->handle);
        if (fan_group_silence(settle->group, fd, true) == 0) {
                if (fcntl(fd, F_SETLEASE, F_WRLCK) == 0) {
                        whole = settle_stamp(fd, item);
                        (void)fcntl(fd, F_SETLEASE, F_UNLCK);
                }
                if (!whole)
                        settle_undo(settle->group, fd, item);
        }
        if (settle->journal)
                journal_settling(settle->journal, NULL);
}

void settle_recover(FanGroup *group, const Store *store) {
        Journal *journal = fan_group_journal(group);
        autoclose int fd = -1;
        struct handle handle;

        if (!journal || !journal_was_settling(journal, &handle))
                return;
        fd = handle_open(store_root(store), &handle, O_RDONLY | O_NONBLOCK);
        /* The sync that came before it is not known to be of this content any more. */
        if (fd >= 0 && fdatasync(fd) == 0)
                settle_undo(group, fd, NULL);
        else if (fd >= 0)
                (void)fan_group_unsilence(group, fd);
        journal_settling(journal, NULL);
}

static void settle_run(void *data) {
        struct batch *batch = data;
        int r = store_sync(batch->settle->store);

        if (r < 0) {
                log_error("the store cannot be synced: %s", strerror(-r));
                return;
        }
        for (guint i = 0; i < batch->files->len; i++)
                settle_one(batch->settle, &g_array_index(batch->files, struct item, i));
}

static void settle_done(void *data) {
        struct batch *batch = data;

        batch->settle->running = false;
        settle_schedule(batch->settle);
        g_array_unref(batch->files);
        g_free(batch);
}

static gboolean settle_now(gpointer userdata) {
        Settle *settle = userdata;
        struct batch *batch;

        settle->timer = 0;
        batch = g_new(struct batch, 1);
        *batch = (struct batch){.settle = settle, .files = settle->queue};
        settle->queue = g_array_new(FALSE, FALSE, sizeof(struct item));
        settle->running = true;
        work_run(settle_run, settle_done, batch);
        return G_SOURCE_REMOVE;
}

static void settle_schedule(Settle *settle) {
        if (settle->queue->len > 0 && settle->timer == 0 && !settle->running)
                settle->timer = g_timeout_add_seconds(SETTLE_SECONDS, settle_now, settle);
}

void settle_add(Settle *settle, int fd) {
        struct item item;
        struct stat st;

        if (settle->queue->len >= SETTLE_QUEUE_MAX || handle_take(fd, &item.handle) < 0 ||
            fstat(fd, &st) < 0)
                return;
        item.ctime = st.st_ctim;
        g_array_append_val(settle->queue, item);
        settle_schedule(settle);
}

void settle_hurry(Settle *settle) {
        if (settle->timer == 0 || settle->running)
                return;
        g_source_remove(settle->timer);
        settle_now(settle);
}

Settle *settle_new(FanGroup *group, Store *store) {
        Settle *settle = g_new0(Settle, 1);

        settle->group = group;
        settle->store = store;
        settle->journal = fan_group_journal(group);
        settle->queue = g_array_new(FALSE, FALSE, sizeof(struct item));
        return settle;
}

void settle_free(Settle *settle) {
        if (!settle)
                return;
        if (settle->timer)
                g_source_remove(settle->timer);
        g_array_unref(settle->queue);
        g_free(settle);
}
