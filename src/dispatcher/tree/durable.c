/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/tree/durable.h"

#include "dispatcher/work.h"
#include "shared/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <unistd.h>

/* So many are synced one by one: each may cost a flush of the disk's cache. */
#define DURABLE_FEW 8u
#define ALL (DURABLE_FEW + 1)

struct DurableWait {
        GQueue *queue; /* which it is in */
        GList link;
        bool all;
        struct handle directory;
        durable_fn done;
        void *userdata;
};

struct Durable {
        Store *store;
        GQueue waiting, syncing;
        bool running;
};

struct batch {
        Durable *durable;
        struct handle directories[DURABLE_FEW];
        unsigned n; /* ALL: all of the store */
        int r;
};

static int sync_one(Store *store, const struct handle *directory) {
        autoclose int fd = handle_open(store_root(store), directory, O_RDONLY | O_DIRECTORY);

        if (fd < 0)
                return fd == -ESTALE ? 0 : fd;
        return fsync(fd) < 0 ? -errno : 0;
}

static void batch_run(void *data) {
        struct batch *b = data;

        if (b->n == ALL) {
                b->r = store_sync(b->durable->store);
                return;
        }
        for (unsigned i = 0; i < b->n && b->r == 0; i++)
                b->r = sync_one(b->durable->store, &b->directories[i]);
}

static void batch_begin(Durable *durable);

static void batch_done(void *data) {
        struct batch *b = data;
        Durable *durable = b->durable;
        GList *link;

        while ((link = g_queue_pop_head_link(&durable->syncing)) != NULL) {
                struct DurableWait *wait = link->data;
                durable_fn done = wait->done;
                void *userdata = wait->userdata;

                g_free(wait);
                done(userdata, b->r);
        }
        g_free(b);
        durable->running = false;
        batch_begin(durable);
}

static void batch_begin(Durable *durable) {
        struct batch *b;
        GList *link;

        if (durable->running || g_queue_is_empty(&durable->waiting))
                return;
        b = g_new0(struct batch, 1);
        b->durable = durable;
        while ((link = g_queue_pop_head_link(&durable->waiting)) != NULL) {
                struct DurableWait *wait = link->data;

                if (wait->all || b->n >= DURABLE_FEW)
                        b->n = ALL;
                else
                        b->directories[b->n++] = wait->directory;
                wait->queue = &durable->syncing;
                g_queue_push_tail_link(&durable->syncing, link);
        }
        durable->running = true;
        work_run(batch_run, batch_done, b);
}

DurableWait *durable_wait(Durable *durable, const struct handle *directory, durable_fn done, void *userdata) {
        DurableWait *wait = g_new0(DurableWait, 1);

        wait->queue = &durable->waiting;
        wait->link.data = wait;
        if (directory)
                wait->directory = *directory;
        wait->all = directory == NULL;
        wait->done = done;
        wait->userdata = userdata;
        g_queue_push_tail_link(&durable->waiting, &wait->link);
        batch_begin(durable);
        return wait;
}

void durable_cancel(DurableWait *wait) {
        if (!wait)
                return;
        g_queue_unlink(wait->queue, &wait->link);
        g_free(wait);
}

Durable *durable_new(Store *store) {
        Durable *durable = g_new0(Durable, 1);

        durable->store = store;
        return durable;
}

void durable_free(Durable *durable) {
        if (!durable)
                return;
        g_assert(!durable->running && g_queue_is_empty(&durable->waiting));
        g_free(durable);
}
