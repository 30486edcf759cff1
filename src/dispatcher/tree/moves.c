/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/tree/moves.h"

#include <glib.h>

struct item {
        uint64_t key;
        int64_t noted; /* µs */
        struct handle directory;
        GList age; /* in moves->ages */
        char name[];
};

struct Moves {
        GMutex lock, matching;
        GHashTable *items; /* &key → item */
        GQueue ages;       /* item, oldest first */
};

Moves *moves_new(void) {
        Moves *moves = g_new0(Moves, 1);

        g_mutex_init(&moves->lock);
        g_mutex_init(&moves->matching);
        moves->items = g_hash_table_new(g_int64_hash, g_int64_equal);
        return moves;
}

void moves_begin(Moves *moves) {
        g_mutex_lock(&moves->matching);
}

void moves_end(Moves *moves) {
        g_mutex_unlock(&moves->matching);
}

static void remove_item(Moves *moves, struct item *item) {
        g_hash_table_remove(moves->items, &item->key);
        g_queue_unlink(&moves->ages, &item->age);
}

void moves_note(Moves *moves, uint64_t key, const struct handle *directory, const char *name) {
        size_t length = strlen(name) + 1;
        struct item *item = g_malloc(sizeof *item + length), *old;

        *item = (struct item){.key = key, .noted = g_get_monotonic_time(), .directory = *directory,
                              .age = {.data = item}};
        memcpy(item->name, name, length);
        g_mutex_lock(&moves->lock);
        old = g_hash_table_lookup(moves->items, &key);
        if (!old && g_hash_table_size(moves->items) >= MOVES_MAX)
                old = g_queue_peek_head(&moves->ages);
        if (old)
                remove_item(moves, old);
        g_hash_table_insert(moves->items, &item->key, item);
        g_queue_push_tail_link(&moves->ages, &item->age);
        g_mutex_unlock(&moves->lock);
        g_free(old);
}

char *moves_take(Moves *moves, uint64_t key, struct handle *ret_directory) {
        char *name = NULL;
        struct item *item;

        g_mutex_lock(&moves->lock);
        item = g_hash_table_lookup(moves->items, &key);
        if (item)
                remove_item(moves, item);
        g_mutex_unlock(&moves->lock);
        if (item) {
                *ret_directory = item->directory;
                name = g_strdup(item->name);
                g_free(item);
        }
        return name;
}

bool moves_is_empty(Moves *moves) {
        bool is;

        g_mutex_lock(&moves->lock);
        is = g_queue_is_empty(&moves->ages);
        g_mutex_unlock(&moves->lock);
        return is;
}

void moves_forget(Moves *moves, unsigned seconds) {
        int64_t limit = g_get_monotonic_time() - (int64_t)seconds * G_USEC_PER_SEC;
        struct item *item;

        g_mutex_lock(&moves->lock);
        while ((item = g_queue_peek_head(&moves->ages)) != NULL && item->noted <= limit) {
                remove_item(moves, item);
                g_free(item);
        }
        g_mutex_unlock(&moves->lock);
}

void moves_free(Moves *moves) {
        if (!moves)
                return;
        moves_forget(moves, 0);
        g_hash_table_unref(moves->items);
        g_mutex_clear(&moves->lock);
        g_mutex_clear(&moves->matching);
        g_free(moves);
}
