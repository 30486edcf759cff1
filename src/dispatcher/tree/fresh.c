/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/tree/fresh.h"

#include "dispatcher/tree/directory.h"
#include "dispatcher/work.h"
#include "shared/fd.h"
#include "shared/log.h"

#include <fcntl.h>
#include <glib.h>
#include <string.h>

#define FRESH_SECONDS 2

struct key {
        uint64_t device, inode;
};

struct item {
        struct key key;
        struct handle handle;
};

struct Fresh {
        Store *store;
        void (*stamped)(void *userdata, int r);
        void *userdata;
        GHashTable *items; /* &key → item, owned */
        guint timer;
        bool running, hurry;
};

struct batch {
        Fresh *fresh;
        GArray *items; /* of struct item */
        int r;
};

static void schedule(Fresh *fresh);

static guint key_hash(gconstpointer p) {
        return g_int64_hash(&((const struct key *)p)->inode);
}

static gboolean key_equal(gconstpointer a, gconstpointer b) {
        const struct key *x = a, *y = b;

        return x->inode == y->inode && x->device == y->device;
}

static void batch_run(void *data) {
        struct batch *b = data;

        b->r = store_sync(b->fresh->store);
        for (guint i = 0; i < b->items->len && b->r == 0; i++) {
                autoclose int fd = handle_open(store_root(b->fresh->store),
                                               &g_array_index(b->items, struct item, i).handle,
                                               O_RDONLY | O_DIRECTORY);
                if (fd >= 0)
                        (void)directory_set_listed(fd);
        }
}

static void batch_done(void *data) {
        struct batch *b = data;
        Fresh *fresh = b->fresh;

        fresh->running = false;
        if (b->r < 0)
                log_error("the store cannot be synced: %s; %u directories will be listed again",
                          strerror(-b->r), b->items->len);
        for (guint i = 0; i < b->items->len; i++)
                g_hash_table_remove(fresh->items, &g_array_index(b->items, struct item, i).key);
        fresh->stamped(fresh->userdata, b->r);
        g_array_unref(b->items);
        g_free(b);
        schedule(fresh);
}

static gboolean batch_begin(gpointer userdata) {
        Fresh *fresh = userdata;
        struct batch *b = g_new0(struct batch, 1);
        GHashTableIter iter;
        gpointer value;

        fresh->timer = 0;
        fresh->running = true;
        b->fresh = fresh;
        b->items = g_array_new(FALSE, FALSE, sizeof(struct item));
        g_hash_table_iter_init(&iter, fresh->items);
        while (g_hash_table_iter_next(&iter, NULL, &value))
                g_array_append_vals(b->items, value, 1);
        work_run(batch_run, batch_done, b);
        return G_SOURCE_REMOVE;
}

static void schedule(Fresh *fresh) {
        if (fresh_is_empty(fresh) || fresh->timer || fresh->running)
                return;
        if (fresh->hurry)
                (void)batch_begin(fresh);
        else
                fresh->timer = g_timeout_add_seconds(FRESH_SECONDS, batch_begin, fresh);
}

void fresh_add(Fresh *fresh, uint64_t device, uint64_t inode, const struct handle *handle) {
        struct item *item = g_new(struct item, 1);

        *item = (struct item){.key = {.device = device, .inode = inode}, .handle = *handle};
        g_hash_table_replace(fresh->items, &item->key, item);
        schedule(fresh);
}

bool fresh_has(const Fresh *fresh, uint64_t device, uint64_t inode) {
        return g_hash_table_contains(fresh->items, &(struct key){.device = device, .inode = inode});
}

bool fresh_is_empty(const Fresh *fresh) {
        return g_hash_table_size(fresh->items) == 0;
}

void fresh_hurry(Fresh *fresh) {
        fresh->hurry = true;
        if (fresh->timer) {
                g_source_remove(fresh->timer);
                fresh->timer = 0;
        }
        schedule(fresh);
}

Fresh *fresh_new(Store *store, void (*stamped)(void *userdata, int r), void *userdata) {
        Fresh *fresh = g_new0(Fresh, 1);

        fresh->store = store;
        fresh->stamped = stamped;
        fresh->userdata = userdata;
        fresh->items = g_hash_table_new_full(key_hash, key_equal, NULL, g_free);
        return fresh;
}

void fresh_free(Fresh *fresh) {
        if (!fresh)
                return;
        if (fresh->timer)
                g_source_remove(fresh->timer);
        g_hash_table_unref(fresh->items);
        g_free(fresh);
}
