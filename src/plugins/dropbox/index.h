/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * index — the namespace as Dropbox last told it, kept beside its cursor
 *
 * Dropbox sends a listing once and then only what changes, so the engine has to remember. A
 * page of changes and the cursor that comes after it go into the file in one transaction: a
 * crash at any moment leaves the index of some cursor, and what follows from
 * there is asked for again.
 *
 * Why SQLite: atomic, durable, and of bounded memory for any number of entries, none of
 * which a journal of our own would be for free. synchronous=NORMAL in WAL mode: a power cut may
 * take back the last transactions, but only whole ones with their cursors.
 *
 * An entry's key is its path below the engine's root, lowercased by Dropbox ("" is the root).
 * `local` is its name here. `seen` is the number of the full listing that confirmed it last: at
 * the end of a full listing what was not confirmed is gone. Until then it stays.
 *
 * Beside the entries are the directories that changed and that the host does not know of for certain:
 * written in the transaction that changes them, told with host->changed(), and forgotten when a
 * list() that began after that has been served to its end. What is left after a crash is told
 * again. `n` tells one change of a directory from a later one.
 *
 * All functions may be called from any thread. begin() … commit() belong to one thread: they
 * hold the lock in between.
 */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum index_kind {
        INDEX_FILE = 1,
        INDEX_FOLDER = 2,
};

#define INDEX_READ_ONLY (1u << 0)
#define INDEX_LINK (1u << 1)     /* a symbolic link: `extra` is its target */
#define INDEX_EXPORT (1u << 2)   /* exported: `extra` is the format; size and hash of the export below */
#define INDEX_NOTE (1u << 3)     /* can be neither downloaded nor exported */
#define INDEX_RENAMED (1u << 4)  /* `local` is not the remote's name */
#define INDEX_IMPLIED (1u << 5)  /* a folder known only by what is in it */

struct index_entry {
        char *path, *local;
        enum index_kind kind;
        uint32_t flags;
        char *id, *rev, *extra; /* "" where there is none */
        uint64_t size;
        int64_t mtime;
        /* INDEX_EXPORT: what the last export of `export_rev` was; export_rev "": not known yet. */
        char *export_rev, *export_hash;
        uint64_t export_size;
};

void index_entry_clear(struct index_entry *entry);
#define auto_entry __attribute__((cleanup(index_entry_clear)))

struct index;

/* `file` NULL: in memory. -errno and a sentence in *ret_detail (to g_free()). */
int index_open(const char *file, struct index **ret, char **ret_detail);
void index_free(struct index *index);

/* A named value, NULL when there is none. To g_free(). */
char *index_get(struct index *index, const char *key);
int64_t index_get_number(struct index *index, const char *key);

/* A transaction. After an error within it every call fails, and so does commit, which then
 * has taken all of it back. commit hands out the directories whose entries changed, as a set of
 * paths (to g_hash_table_unref()). */
int index_begin(struct index *index, int64_t listing);
int index_commit(struct index *index, GHashTable **ret_changed);
void index_rollback(struct index *index);

/* Within a transaction. */
void index_set(struct index *index, const char *key, const char *value);
void index_set_number(struct index *index, const char *key, int64_t value);
/* As Dropbox documents list_folder: a file replaces what is there with all that is below; a
 * folder replaces a file and leaves what is below; missing parents are made, named by
 * `display` (the path with its case, or NULL). */
void index_put(struct index *index, const struct index_entry *entry, const char *display);
void index_remove(struct index *index, const char *path); /* and what is below */
/* The end of a full listing: what it did not confirm goes. */
void index_remove_unseen(struct index *index);
void index_clear(struct index *index);
/* These directories have to be told: one, those whose entries this transaction changed so far, all. */
void index_dirty_add(struct index *index, const char *path);
void index_dirty_add_changed(struct index *index);
void index_dirty_add_all(struct index *index);

/* The number of the change that has to be told, 0: there is none; and: it is known now, unless there was
 * another one. Its own transaction. */
int64_t index_dirty_find(struct index *index, const char *path);
void index_dirty_drop(struct index *index, const char *path, int64_t n);
/* Up to `max` paths that have to be told and come after `after` (NULL: from the first), in
 * order. To g_ptr_array_unref(). */
GPtrArray *index_dirty_list(struct index *index, const char *after, unsigned max);

/* 0, -ENOENT, or another error. */
int index_find(struct index *index, const char *path, struct index_entry *ret);
int index_find_id(struct index *index, const char *id, struct index_entry *ret);
/* From the path of local names to the key, and back. To g_free(). */
int index_resolve(struct index *index, const char *local, char **ret_path);
int index_local_path(struct index *index, const char *path, char **ret_local);

/* Up to `max` entries of the directory that come after (`after_local`, `after_path`), ordered
 * by local name and path. Both "" to begin. Two entries may have one local name (a renamed one
 * and a real one): the caller decides. */
int index_list(struct index *index, const char *path, const char *after_local, const char *after_path,
               unsigned max, GArray **ret_entries);
/* The latest mtime of a file right in the directory, 0 when there is none. */
int64_t index_folder_mtime(struct index *index, const char *path);
uint64_t index_count(struct index *index);

/* What an export is, learnt later. Its own transaction. */
int index_set_export(struct index *index, const char *path, const char *rev, uint64_t size,
                     const char *hash);
