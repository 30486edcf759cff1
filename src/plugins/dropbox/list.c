/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * list — list and stat, from the index
 *
 * Lists run on threads of their own: they may block, in host->entry(), for exports, and before the
 * first listing is complete (direct.c).
 *
 * The directory is read in chunks, without a lock in between. A change that comes between two
 * of them is followed by host->changed(), and so by another list.
 */

#include <errno.h>
#include <string.h>

#include "plugins/dropbox/api-error.h"
#include "plugins/dropbox/dropbox.h"

#define CHUNK 256u

static char *note_version(const struct index_entry *entry, uint64_t *ret_size) {
        g_autofree char *text = note_text(entry);
        g_autofree char *digest = g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);

        *ret_size = strlen(text);
        return g_strdup_printf("note+%.32s", digest);
}

int entry_describe(const struct index_entry *entry, struct cs_entry *ret, char **ret_version) {
        uint32_t writable = entry->flags & INDEX_READ_ONLY ? 0 : 0200;

        *ret_version = NULL;
        *ret = (struct cs_entry){
                .kind = entry->kind == INDEX_FILE ? CS_KIND_FILE : CS_KIND_DIRECTORY,
                .name = entry->local,
                .mtime_sec = entry->mtime,
        };
        if (entry->kind == INDEX_FOLDER) {
                ret->mode = 0555 | writable;
                return 0;
        }
        ret->locator = entry->id;
        ret->mode = 0444 | writable;
        ret->size = entry->size;
        if (entry->flags & (INDEX_LINK | INDEX_NOTE)) {
                *ret_version = note_version(entry, &ret->size);
                ret->mode = 0444;
        } else if (entry->flags & INDEX_EXPORT) {
                if (g_strcmp0(entry->export_rev, entry->rev) != 0)
                        return -ENODATA;
                *ret_version = g_strdup_printf("%s+%.32s", entry->rev, entry->export_hash);
                ret->size = entry->export_size;
                ret->mode = 0444;
        } else
                *ret_version = g_strdup(entry->rev);
        ret->version = *ret_version;
        return 0;
}

static bool needs_export(const struct index_entry *entry) {
        return entry->kind == INDEX_FILE && (entry->flags & INDEX_EXPORT) &&
               g_strcmp0(entry->export_rev, entry->rev) != 0;
}

static void resolve_exports(struct dropbox *db, struct cs_request *request, GArray *entries) {
        g_autoptr(GPtrArray) unknown = g_ptr_array_new();

        for (guint i = 0; i < entries->len; i++)
                if (needs_export(&g_array_index(entries, struct index_entry, i)))
                        g_ptr_array_add(unknown, &g_array_index(entries, struct index_entry, i));
        if (unknown->len > 0)
                export_resolve(db, request, (struct index_entry **)unknown->pdata, unknown->len);
}

/* Of two with one name the remote's own stays, and the first of two others. Sorted by name, they
 * stand next to each other, but a chunk may end between them. */
static bool is_shadowed(const GArray *entries, guint i, const char *last_name) {
        const struct index_entry *entry = &g_array_index(entries, struct index_entry, i);
        const struct index_entry *next = i + 1 < entries->len
                                                 ? &g_array_index(entries, struct index_entry, i + 1)
                                                 : NULL;

        if (last_name != NULL && g_str_equal(entry->local, last_name))
                return true;
        return (entry->flags & INDEX_RENAMED) && next && g_str_equal(next->local, entry->local) &&
               !(next->flags & INDEX_RENAMED);
}

static int emit(struct list_op *op, const char *path, const struct index_entry *entry) {
        struct dropbox *db = op->db;
        g_autofree char *version = NULL;
        struct cs_entry told;
        int r = entry_describe(entry, &told, &version);

        if (r < 0)
                return r;
        if (entry->kind == INDEX_FOLDER) {
                told.mtime_sec = index_folder_mtime(db->index, entry->path);
                if (told.mtime_sec == 0)
                        told.mtime_sec = index_get_number(db->index, "created");
        }
        r = db->host->entry(db->host, op->request, &told);
        return r == -ECANCELED ? r : 0;
}

static int emit_chunk(struct list_op *op, const char *path, GArray *entries, char **last_name) {
        resolve_exports(op->db, op->request, entries);
        for (guint i = 0; i < entries->len; i++) {
                const struct index_entry *entry = &g_array_index(entries, struct index_entry, i);
                int r = 0;

                if (is_shadowed(entries, i, *last_name)) {
                        op->db->host->log(op->db->host, CS_LOG_WARNING,
                                          "two entries of a folder would both be called \"%s\" here: one "
                                          "is not shown",
                                          entry->local);
                        continue;
                }
                r = emit(op, path, entry);
                if (r < 0)
                        return r;
                g_free(*last_name);
                *last_name = g_strdup(entry->local);
        }
        return 0;
}

static int list_directory(struct list_op *op, const char *path) {
        g_autofree char *after = g_strdup(""), *after_path = g_strdup(""), *last_name = NULL;
        guint n = CHUNK;
        int r = 0;

        while (n == CHUNK && r == 0) {
                g_autoptr(GArray) entries = NULL;

                r = index_list(op->db->index, path, after, after_path, CHUNK, &entries);
                n = entries->len;
                if (r == 0)
                        r = emit_chunk(op, path, entries, &last_name);
                if (n > 0) {
                        struct index_entry *last = &g_array_index(entries, struct index_entry, n - 1);

                        g_free(after);
                        g_free(after_path);
                        after = g_strdup(last->local);
                        after_path = g_strdup(last->path);
                }
        }
        return r;
}

static void list_free(struct list_op *op) {
        g_free(op->locator);
        g_free(op);
}

static void list_done(struct list_op *op, int error, uint32_t retry_after_ms, const char *detail) {
        const struct cs_host *host = op->db->host;

        host->done(host, op->request, error, retry_after_ms, detail);
        list_free(op);
}

static void list_serve(struct list_op *op) {
        struct dropbox *db = op->db;
        struct api_fault fault = {0};
        g_autofree char *path = NULL;
        int64_t change = 0;
        bool complete;
        int r;

        pthread_mutex_lock(&db->lock);
        complete = db->complete;
        pthread_mutex_unlock(&db->lock);
        r = index_resolve(db->index, op->locator, &path);
        if (r == 0 && !complete)
                r = direct_list(db, op->request, path, &fault);
        if (r == -EALREADY) {
                complete = true;
                r = 0;
        }
        if (r == 0 && complete)
                change = index_dirty_find(db->index, path);
        if (r == 0)
                r = list_directory(op, path);
        if (*fault.sentence == '\0' && r == -ENOENT)
                g_strlcpy(fault.sentence, "Dropbox has no such folder any more", sizeof fault.sentence);
        list_done(op, r, fault.retry_after_ms, *fault.sentence ? fault.sentence : NULL);
        if (r == 0 && change > 0)
                index_dirty_drop(db->index, path, change);
}

/* ── threads ────────────────────────────────────────────────────────────── */

static void *serve(void *data) {
        struct dropbox *db = data;

        pthread_mutex_lock(&db->lock);
        for (;;) {
                struct list_op *op = g_queue_pop_head(&db->lists);

                if (op != NULL) {
                        pthread_mutex_unlock(&db->lock);
                        list_serve(op);
                        pthread_mutex_lock(&db->lock);
                } else if (db->lists_end)
                        break;
                else
                        pthread_cond_wait(&db->lists_wake, &db->lock);
        }
        pthread_mutex_unlock(&db->lock);
        return NULL;
}

int list_threads_start(struct dropbox *db) {
        for (; db->n_list_threads < LIST_THREADS; db->n_list_threads++) {
                int r = pthread_create(&db->list_threads[db->n_list_threads], NULL, serve, db);

                if (r != 0)
                        return -r;
        }
        return 0;
}

void list_threads_stop(struct dropbox *db) {
        pthread_mutex_lock(&db->lock);
        db->lists_end = true;
        pthread_cond_broadcast(&db->lists_wake);
        pthread_mutex_unlock(&db->lock);
        while (db->n_list_threads > 0)
                pthread_join(db->list_threads[--db->n_list_threads], NULL);
}

static void list_push(struct dropbox *db, struct list_op *op) {
        pthread_mutex_lock(&db->lock);
        g_queue_push_tail(&db->lists, op);
        pthread_cond_signal(&db->lists_wake);
        pthread_mutex_unlock(&db->lock);
}

/* ── requests ───────────────────────────────────────────────────────────── */

/* Nobody is logged in: says so and is true. */
static bool refuse_without_login(struct dropbox *db, struct cs_request *request) {
        g_autofree char *why = NULL;

        if (auth_is_logged_in(db->auth))
                return false;
        why = auth_why_not(db->auth);
        db->host->done(db->host, request, -EACCES, 0, why);
        return true;
}

void list_start(struct dropbox *db, struct cs_request *request, const char *locator) {
        struct list_op *op;
        bool prepared;

        if (refuse_without_login(db, request))
                return;
        op = g_new0(struct list_op, 1);
        *op = (struct list_op){.db = db, .request = request, .locator = g_strdup(locator)};
        pthread_mutex_lock(&db->lock);
        prepared = db->prepared || db->complete;
        if (!prepared)
                g_queue_push_tail(&db->waiting, op);
        pthread_mutex_unlock(&db->lock);
        if (prepared)
                list_push(db, op);
}

void list_release(struct dropbox *db, int error, uint32_t retry_after_ms, const char *detail) {
        GQueue waiting;
        struct list_op *op;

        pthread_mutex_lock(&db->lock);
        waiting = db->waiting;
        g_queue_init(&db->waiting);
        pthread_mutex_unlock(&db->lock);
        while ((op = g_queue_pop_head(&waiting)) != NULL)
                if (error == 0)
                        list_push(db, op);
                else
                        list_done(op, error, retry_after_ms, detail);
}

bool list_cancel(struct dropbox *db, struct cs_request *request) {
        struct list_op *found = NULL;

        pthread_mutex_lock(&db->lock);
        for (GList *link = db->waiting.head; link && !found; link = link->next)
                if (((struct list_op *)link->data)->request == request) {
                        found = link->data;
                        g_queue_delete_link(&db->waiting, link);
                }
        pthread_mutex_unlock(&db->lock);
        if (found)
                list_done(found, -ECANCELED, 0, NULL);
        return found != NULL;
}

/* ── stat ───────────────────────────────────────────────────────────────── */

static int find(struct dropbox *db, const char *locator, struct index_entry *ret) {
        g_autofree char *path = NULL;
        int r = -ENOENT;

        if (g_str_has_prefix(locator, "id:"))
                r = index_find_id(db->index, locator, ret);
        if (r != -ENOENT)
                return r;
        r = index_resolve(db->index, locator, &path);
        if (r < 0)
                return r;
        if (*path != '\0')
                return index_find(db->index, path, ret);
        *ret = (struct index_entry){.path = g_strdup(""), .local = g_strdup(""), .kind = INDEX_FOLDER};
        return 0;
}

void stat_start(struct dropbox *db, struct cs_request *request, const char *locator) {
        struct index_entry auto_entry entry = {0};
        struct index_entry *pointer = &entry;
        g_autofree char *version = NULL;
        struct cs_entry told;
        int r;

        if (refuse_without_login(db, request))
                return;
        r = find(db, locator, &entry);
        if (r == 0) {
                if (needs_export(&entry))
                        export_resolve(db, request, &pointer, 1);
                r = entry_describe(&entry, &told, &version);
        }
        if (r == 0) {
                told.name = *entry.local ? entry.local : "-";
                if (entry.kind == INDEX_FOLDER)
                        told.mtime_sec = index_folder_mtime(db->index, entry.path);
                told.locator = entry.kind == INDEX_FOLDER ? NULL : entry.id;
                r = db->host->entry(db->host, request, &told);
        }
        db->host->done(db->host, request, r, 0, r == -ENOENT ? "it is not in the Dropbox any more" : NULL);
}
