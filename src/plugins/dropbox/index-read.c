/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <string.h>

#include "plugins/dropbox/index-private.h"

static char *column(sqlite3_stmt *s, int i) {
        const char *text = (const char *)sqlite3_column_text(s, i);

        return g_strdup(text ? text : "");
}

void index_row(sqlite3_stmt *s, struct index_entry *ret) {
        *ret = (struct index_entry){
                .path = column(s, 0),
                .local = column(s, 1),
                .kind = (enum index_kind)sqlite3_column_int(s, 2),
                .flags = (uint32_t)sqlite3_column_int64(s, 3),
                .id = column(s, 4),
                .rev = column(s, 5),
                .extra = column(s, 6),
                .size = (uint64_t)sqlite3_column_int64(s, 7),
                .mtime = sqlite3_column_int64(s, 8),
                .export_rev = column(s, 9),
                .export_hash = column(s, 10),
                .export_size = (uint64_t)sqlite3_column_int64(s, 11),
        };
}

void index_entry_clear(struct index_entry *entry) {
        g_free(entry->path);
        g_free(entry->local);
        g_free(entry->id);
        g_free(entry->rev);
        g_free(entry->extra);
        g_free(entry->export_rev);
        g_free(entry->export_hash);
        *entry = (struct index_entry){0};
}

char *index_get(struct index *index, const char *key) {
        sqlite3_stmt *s;
        char *value = NULL;

        pthread_mutex_lock(&index->lock);
        s = index_statement(index, INDEX_GET);
        index_bind(s, 1, key);
        if (index_step(s) > 0)
                value = column(s, 0);
        sqlite3_reset(s);
        pthread_mutex_unlock(&index->lock);
        return value;
}

int64_t index_get_number(struct index *index, const char *key) {
        g_autofree char *text = index_get(index, key);

        return text ? g_ascii_strtoll(text, NULL, 10) : 0;
}

static int find(struct index *index, enum index_statement which, const char *what, struct index_entry *ret) {
        sqlite3_stmt *s;
        int r;

        *ret = (struct index_entry){0};
        pthread_mutex_lock(&index->lock);
        s = index_statement(index, which);
        index_bind(s, 1, what);
        r = index_step(s);
        if (r > 0)
                index_row(s, ret);
        sqlite3_reset(s);
        pthread_mutex_unlock(&index->lock);
        return r > 0 ? 0 : r == 0 ? -ENOENT : r;
}

int index_find(struct index *index, const char *path, struct index_entry *ret) {
        return find(index, INDEX_FIND, path, ret);
}

int index_find_id(struct index *index, const char *id, struct index_entry *ret) {
        return find(index, INDEX_FIND_ID, id, ret);
}

static int resolve_one(struct index *index, const char *parent, const char *name, char **ret) {
        sqlite3_stmt *s;
        int r;

        pthread_mutex_lock(&index->lock);
        s = index_statement(index, INDEX_FIND_LOCAL);
        index_bind(s, 1, parent);
        index_bind(s, 2, name);
        r = index_step(s);
        if (r > 0)
                *ret = column(s, 0);
        sqlite3_reset(s);
        pthread_mutex_unlock(&index->lock);
        return r > 0 ? 0 : r == 0 ? -ENOENT : r;
}

int index_resolve(struct index *index, const char *local, char **ret_path) {
        g_autofree char *path = g_strdup("");
        g_auto(GStrv) names = g_strsplit(local, "/", -1);

        for (guint i = 0; names[i] != NULL && *local != '\0'; i++) {
                char *next = NULL;
                int r = resolve_one(index, path, names[i], &next);

                if (r < 0)
                        return r;
                g_free(path);
                path = next;
        }
        *ret_path = g_steal_pointer(&path);
        return 0;
}

int index_local_path(struct index *index, const char *path, char **ret_local) {
        g_autofree char *local = g_strdup(""), *at = g_strdup(path);

        while (*at != '\0') {
                struct index_entry auto_entry entry = {0};
                char *longer, *slash;
                int r = index_find(index, at, &entry);

                if (r < 0)
                        return r;
                longer = g_strconcat(entry.local, *local ? "/" : "", local, NULL);
                g_free(local);
                local = longer;
                slash = strrchr(at, '/');
                *(slash ? slash : at) = '\0';
        }
        *ret_local = g_steal_pointer(&local);
        return 0;
}

static void clear_entry(void *entry) {
        index_entry_clear(entry);
}

int index_list(struct index *index, const char *path, const char *after_local, const char *after_path,
               unsigned max, GArray **ret_entries) {
        GArray *entries = g_array_new(FALSE, FALSE, sizeof(struct index_entry));
        sqlite3_stmt *s;
        int r;

        g_array_set_clear_func(entries, clear_entry);
        pthread_mutex_lock(&index->lock);
        s = index_statement(index, INDEX_LIST);
        index_bind(s, 1, path);
        index_bind(s, 2, after_local);
        index_bind(s, 3, after_path);
        sqlite3_bind_int64(s, 4, max);
        while ((r = index_step(s)) > 0) {
                struct index_entry entry;

                index_row(s, &entry);
                g_array_append_val(entries, entry);
        }
        sqlite3_reset(s);
        pthread_mutex_unlock(&index->lock);
        *ret_entries = entries;
        return r;
}

static int64_t number(struct index *index, enum index_statement which, const char *path) {
        int64_t value = 0;
        sqlite3_stmt *s;

        pthread_mutex_lock(&index->lock);
        s = index_statement(index, which);
        if (path)
                index_bind(s, 1, path);
        if (index_step(s) > 0)
                value = sqlite3_column_int64(s, 0);
        sqlite3_reset(s);
        pthread_mutex_unlock(&index->lock);
        return value;
}

int64_t index_folder_mtime(struct index *index, const char *path) {
        return number(index, INDEX_MTIME, path);
}

uint64_t index_count(struct index *index) {
        return (uint64_t)number(index, INDEX_COUNT, NULL);
}

int64_t index_dirty_find(struct index *index, const char *path) {
        return number(index, INDEX_DIRTY_FIND, path);
}

GPtrArray *index_dirty_list(struct index *index, const char *after, unsigned max) {
        GPtrArray *paths = g_ptr_array_new_with_free_func(g_free);
        sqlite3_stmt *s;

        pthread_mutex_lock(&index->lock);
        s = index_statement(index, INDEX_DIRTY_LIST);
        if (after)
                index_bind(s, 1, after);
        else
                sqlite3_bind_null(s, 1);
        sqlite3_bind_int64(s, 2, max);
        while (index_step(s) > 0)
                g_ptr_array_add(paths, column(s, 0));
        sqlite3_reset(s);
        pthread_mutex_unlock(&index->lock);
        return paths;
}
