/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/files/settle.h"

#include "dispatcher/store/handle.h"
#include "dispatcher/files/presence.h"
#include "dispatcher/events/journal.h"
#include "dispatcher/store/stamp.h"
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

/* A file that somebody has open is tried again after as many seconds each time: this often, and for as
 * long as it is open unless there are very many. (Until it is WHOLE nobody notices that it is cut.) */
#define HELD_TRIES 6u
#define HELD_SECONDS 10u
#define HELD_MAX 1024u

struct item {
        struct handle handle;
        unsigned tries;
};

struct Settle {
        FanGroup *group;
        Store *store;
        Journal *journal;
        GArray *queue; /* of struct item: not synced yet */
        GArray *held;  /* of struct item: synced, but open when their turn came */
        guint timer, held_timer;
        bool running;
        bool hurry; /* the daemon stops: whatever is open, now */
        bool failed; /* a sync failed */
};

struct batch {
        Settle *settle;
        GArray *files;
        bool sync, force, failed;
        GArray *open; /* of struct item: to be tried again */
};

enum settled { SETTLED, HELD };

static void settle_schedule(Settle *settle);

static int settle_stamp(int fd, struct stamp *stamp, enum stamp_state state) {
        stamp->state = state;
        if (state == STAMP_PLACEHOLDER)
                stamp->flags |= STAMP_EXPOSED;
        return stamp_write(fd, stamp);
}

/* Is every byte on the disk? Not after a write-back that failed: then the pages are gone from
 * the cache sooner or later, and the holes are there again. */
static bool is_on_disk(int fd, uint64_t size, uint64_t granule, bool synced) {
        struct extents present = EXTENTS_INIT;
        bool all = (synced || fdatasync(fd) == 0) && presence_load(fd, size, granule, &present) == 0 &&
                   extents_contain(&present, 0, size);

        extents_clear(&present);
        return all;
}

/*
 * Stamps it while nobody at all has it open, so that no reader sees ctime move. The write lease
 * that tells is not to be met by an event: the kernel opens the file for the event's descriptor,
 * and denies the access when it meets a lease. So the file is silenced first. Where others
 * read it, it is heard again, and stays as it is; unless a writer came unheard
 * meanwhile and waits for the read lease to go: then it is stamped all the same.
 */
static enum settled settle_quietly(FanGroup *group, int fd, struct stamp *stamp) {
        if (fan_group_silence(group, fd, true) < 0)
                return HELD;
        if (fcntl(fd, F_SETLEASE, F_WRLCK) == 0) {
                /* A refresh that wanted a claim may have had it heard again just before. */
                (void)fan_group_silence(group, fd, true);
                if (settle_stamp(fd, stamp, STAMP_WHOLE) == 0)
                        return SETTLED;
                (void)fcntl(fd, F_SETLEASE, F_RDLCK);
                (void)fan_group_unsilence(group, fd);
                return HELD;
        }
        (void)fan_group_unsilence(group, fd);
        if (fcntl(fd, F_GETLEASE) != F_RDLCK) {
                (void)settle_stamp(fd, stamp, STAMP_WHOLE);
                return SETTLED;
        }
        (void)fan_group_silence(group, fd, false);
        return HELD;
}

/*
 * One file, under a read lease: nobody has it open for writing, and who wants to, or to
 * truncate it, waits until the lease goes. (Refused: a writer is there, and was seen to by
 * files_begin_durable().)
 */
static enum settled settle_leased(Settle *settle, int fd, const struct batch *batch) {
        struct stamp stamp = STAMP_INIT;
        enum settled settled = SETTLED;
        struct stat st;

        if (fstat(fd, &st) < 0 || stamp_read(fd, st.st_ino, &stamp) < 0)
                return SETTLED;
        if (stamp.state == STAMP_WHOLE)
                (void)fan_group_silence(settle->group, fd, true);
        else if (stamp.state == STAMP_FILLED && stamp.boot == stamp_boot()) {
                if (!stamp_has_size_and_date(&stamp, &st)) {
                        /* By truncate(2) or a date: what is a hole now is the user's. It may be on the
                         * disk already, and so must the stamp. */
                        if (fdatasync(fd) == 0 && settle_stamp(fd, &stamp, STAMP_WHOLE) == 0)
                                (void)fsync(fd);
                } else if (!is_on_disk(fd, stamp.size, store_granule(settle->store), batch->sync)) {
                        log_about(LOG_WARNING, stamp.engine, stamp.locator,
                                  "its content did not reach the disk; it is fetched again when it is read");
                        /* Not on a file system that turned read-only: then each access looks. */
                        (void)settle_stamp(fd, &stamp, STAMP_PLACEHOLDER);
                        (void)fan_group_unsilence(settle->group, fd);
                } else if (batch->force)
                        (void)settle_stamp(fd, &stamp, STAMP_WHOLE);
                else
                        settled = settle_quietly(settle->group, fd, &stamp);
        }
        stamp_clear(&stamp);
        return settled;
}

static enum settled settle_one(Settle *settle, const struct handle *handle, const struct batch *batch) {
        autoclose int fd = -1;
        enum settled settled;

        fd = handle_open(store_root(settle->store), handle, O_RDONLY | O_NONBLOCK);
        if (fd < 0 || fcntl(fd, F_SETLEASE, F_RDLCK) < 0)
                return SETTLED;
        if (settle->journal)
                journal_settling(settle->journal, handle);
        settled = settle_leased(settle, fd, batch);
        (void)fcntl(fd, F_SETLEASE, F_UNLCK);
        if (settle->journal)
                journal_settling(settle->journal, NULL);
        return settled;
}

/* Killed in between: heard again, and WHOLE if it can be, since a writer may have come unheard. */
void settle_recover(FanGroup *group, const Store *store) {
        Journal *journal = fan_group_journal(group);
        struct stamp stamp = STAMP_INIT;
        autoclose int fd = -1;
        struct handle handle;
        struct stat st;

        if (!journal || !journal_was_settling(journal, &handle))
                return;
        fd = handle_open(store_root(store), &handle, O_RDONLY | O_NONBLOCK);
        if (fd >= 0) {
                (void)fan_group_unsilence(group, fd);
                if (fstat(fd, &st) == 0 && stamp_read(fd, st.st_ino, &stamp) == 0 &&
                    stamp.state == STAMP_FILLED && stamp.boot == stamp_boot() &&
                    is_on_disk(fd, MIN((uint64_t)st.st_size, stamp.size), store_granule(store), false))
                        (void)settle_stamp(fd, &stamp, STAMP_WHOLE);
                stamp_clear(&stamp);
        }
        journal_settling(journal, NULL);
}

static void settle_run(void *data) {
        struct batch *batch = data;
        Settle *settle = batch->settle;
        int r = batch->sync ? store_sync_and_tell(settle->store) : 0;

        /* Each file is looked at all the same: what did not reach the disk is to be told. */
        if (r < 0) {
                log_error("the store cannot be synced: %s; until the service is restarted, files that are "
                          "fetched are synced before they are read", strerror(-r));
                batch->sync = false;
                batch->failed = true;
        }
        for (guint i = 0; i < batch->files->len; i++) {
                struct item *item = &g_array_index(batch->files, struct item, i);

                if (settle_one(settle, &item->handle, batch) == HELD &&
                    (++item->tries < HELD_TRIES || batch->open->len < HELD_MAX))
                        g_array_append_vals(batch->open, item, 1);
        }
}

static void settle_done(void *data) {
        struct batch *batch = data;
        Settle *settle = batch->settle;

        settle->running = false;
        if (batch->failed)
                settle->failed = true;
        g_array_append_vals(settle->held, batch->open->data, batch->open->len);
        settle_schedule(settle);
        g_array_unref(batch->files);
        g_array_unref(batch->open);
        g_free(batch);
}

/* Takes the files of a list, and leaves it empty. */
static void settle_begin(Settle *settle, GArray **list, bool sync) {
        struct batch *batch = g_new(struct batch, 1);

        *batch = (struct batch){.settle = settle, .files = *list, .sync = sync, .force = settle->hurry};
        batch->open = g_array_new(FALSE, FALSE, sizeof(struct item));
        *list = g_array_new(FALSE, FALSE, sizeof(struct item));
        settle->running = true;
        work_run(settle_run, settle_done, batch);
}

static gboolean settle_now(gpointer userdata) {
        Settle *settle = userdata;

        settle->timer = 0;
        if (!settle->running)
                settle_begin(settle, &settle->queue, true);
        return G_SOURCE_REMOVE;
}

static gboolean settle_held(gpointer userdata) {
        Settle *settle = userdata;

        settle->held_timer = 0;
        if (!settle->running)
                settle_begin(settle, &settle->held, false); /* synced, the first time */
        return G_SOURCE_REMOVE;
}

static void settle_schedule(Settle *settle) {
        if (settle->running)
                return;
        if (settle->hurry) {
                g_array_append_vals(settle->queue, settle->held->data, settle->held->len);
                g_array_set_size(settle->held, 0);
                if (settle->queue->len > 0)
                        settle_begin(settle, &settle->queue, true);
                return;
        }
        if (settle->queue->len > 0 && settle->timer == 0)
                settle->timer = g_timeout_add_seconds(SETTLE_SECONDS, settle_now, settle);
        if (settle->held->len > 0 && settle->held_timer == 0)
                settle->held_timer = g_timeout_add_seconds(HELD_SECONDS, settle_held, settle);
}

bool settle_disk_fails(const Settle *settle) {
        return settle->failed;
}

void settle_add(Settle *settle, int fd) {
        struct item item = {.tries = 0};

        if (settle->queue->len >= SETTLE_QUEUE_MAX || handle_take(fd, &item.handle) < 0)
                return;
        g_array_append_val(settle->queue, item);
        settle_schedule(settle);
}

void settle_hurry(Settle *settle) {
        settle->hurry = true;
        settle_schedule(settle);
}

Settle *settle_new(FanGroup *group, Store *store) {
        Settle *settle = g_new0(Settle, 1);

        settle->group = group;
        settle->store = store;
        settle->journal = fan_group_journal(group);
        settle->queue = g_array_new(FALSE, FALSE, sizeof(struct item));
        settle->held = g_array_new(FALSE, FALSE, sizeof(struct item));
        return settle;
}

void settle_free(Settle *settle) {
        if (!settle)
                return;
        if (settle->timer)
                g_source_remove(settle->timer);
        if (settle->held_timer)
                g_source_remove(settle->held_timer);
        g_array_unref(settle->queue);
        g_array_unref(settle->held);
        g_free(settle);
}
