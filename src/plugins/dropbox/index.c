/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plugins/dropbox/index.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "plugins/dropbox/index-private.h"

/* Another layout: the file is made anew, and the namespace listed anew. */
#define LAYOUT 2

#define COLUMNS "path, local, kind, flags, id, rev, extra, size, mtime, export_rev, export_hash, export_size"
/* What is below a path: '0' is the byte after '/'. */
#define BELOW "path > ?1 || '/' AND path < ?1 || '0'"

static const char schema[] =
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
        "CREATE TABLE entry (path TEXT PRIMARY KEY, parent TEXT NOT NULL, local TEXT NOT NULL,"
        " kind INTEGER NOT NULL, flags INTEGER NOT NULL, id TEXT NOT NULL, rev TEXT NOT NULL,"
        " extra TEXT NOT NULL, size INTEGER NOT NULL, mtime INTEGER NOT NULL,"
        " export_rev TEXT NOT NULL DEFAULT '', export_hash TEXT NOT NULL DEFAULT '',"
        " export_size INTEGER NOT NULL DEFAULT 0, seen INTEGER NOT NULL) WITHOUT ROWID;"
        "CREATE INDEX entry_parent ON entry (parent, local);"
        "CREATE INDEX entry_id ON entry (id) WHERE id <> '';"
        "CREATE INDEX entry_seen ON entry (seen);"
        "CREATE TABLE dirty (path TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;";

static const char *const texts[INDEX_STATEMENTS] = {
        [INDEX_BEGIN] = "BEGIN IMMEDIATE",
        [INDEX_COMMIT] = "COMMIT",
        [INDEX_ROLLBACK] = "ROLLBACK",
        [INDEX_GET] = "SELECT value FROM meta WHERE key = ?1",
        [INDEX_SET] = "INSERT OR REPLACE INTO meta VALUES (?1, ?2)",
        [INDEX_FIND] = "SELECT " COLUMNS " FROM entry WHERE path = ?1",
        [INDEX_FIND_ID] = "SELECT " COLUMNS " FROM entry WHERE id = ?1 AND id <> '' ORDER BY seen DESC LIMIT 1",
        [INDEX_FIND_LOCAL] = "SELECT path FROM entry WHERE parent = ?1 AND local = ?2 AND kind = 2"
                             " ORDER BY flags & 16, path LIMIT 1",
        [INDEX_PUT] = "INSERT INTO entry VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, '', '', 0, ?11)"
                      " ON CONFLICT (path) DO UPDATE SET local = ?3, kind = ?4, flags = ?5, id = ?6,"
                      " rev = ?7, extra = ?8, size = ?9, mtime = ?10, seen = max(seen, ?11)",
        [INDEX_CONFIRM] = "UPDATE entry SET seen = ?2 WHERE path = ?1 AND seen < ?2",
        [INDEX_DELETE] = "DELETE FROM entry WHERE path = ?1",
        [INDEX_DELETE_BELOW] = "DELETE FROM entry WHERE " BELOW,
        [INDEX_PARENTS_BELOW] = "SELECT DISTINCT parent FROM entry WHERE " BELOW,
        [INDEX_READ_ONLY_BELOW] = "UPDATE entry SET flags = flags & ~1 | ?2 WHERE " BELOW,
        [INDEX_UNSEEN_PARENTS] = "SELECT DISTINCT parent FROM entry WHERE seen < ?1",
        [INDEX_DELETE_UNSEEN] = "DELETE FROM entry WHERE seen < ?1",
        [INDEX_DELETE_ALL] = "DELETE FROM entry",
        [INDEX_LIST] = "SELECT " COLUMNS " FROM entry WHERE parent = ?1 AND path <> ''"
                       " AND (local, path) > (?2, ?3) ORDER BY local, path LIMIT ?4",
        [INDEX_MTIME] = "SELECT max(mtime) FROM entry WHERE parent = ?1 AND kind = 1",
        [INDEX_COUNT] = "SELECT count(*) FROM entry",
        [INDEX_PUT_EXPORT] = "UPDATE entry SET export_rev = ?2, export_size = ?3, export_hash = ?4"
                             " WHERE path = ?1",
        [INDEX_DIRTY_ADD] = "INSERT OR REPLACE INTO dirty VALUES (?1, ?2)",
        [INDEX_DIRTY_ADD_ALL] = "INSERT OR REPLACE INTO dirty SELECT path, ?1 FROM entry WHERE kind = 2",
        [INDEX_DIRTY_FIND] = "SELECT n FROM dirty WHERE path = ?1",
        [INDEX_DIRTY_LIST] = "SELECT path FROM dirty WHERE ?1 IS NULL OR path > ?1 ORDER BY path LIMIT ?2",
        [INDEX_DIRTY_DROP] = "DELETE FROM dirty WHERE path = ?1 AND n = ?2",
};

static int sqlite_error(int code) {
        switch (code & 0xff) {
        case SQLITE_OK:
        case SQLITE_DONE:
        case SQLITE_ROW:
                return 0;
        case SQLITE_FULL:
                return -ENOSPC;
        case SQLITE_NOMEM:
                return -ENOMEM;
        case SQLITE_READONLY:
        case SQLITE_PERM:
        case SQLITE_CANTOPEN:
                return -EPERM;
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
                return -EUCLEAN;
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
                return -EBUSY;
        default:
                return -EIO;
        }
}

sqlite3_stmt *index_statement(struct index *index, enum index_statement which) {
        sqlite3_reset(index->statements[which]);
        return index->statements[which];
}

int index_step(sqlite3_stmt *s) {
        int code = sqlite3_step(s), r;

        if (code == SQLITE_ROW)
                return 1;
        r = sqlite_error(code);
        sqlite3_reset(s);
        return r;
}

void index_bind(sqlite3_stmt *s, int at, const char *text) {
        sqlite3_bind_text(s, at, text ? text : "", -1, SQLITE_TRANSIENT);
}

/* ── the file ───────────────────────────────────────────────────────────── */

static int database_open(struct index *index, const char *file) {
        int code = sqlite3_open_v2(file ? file : ":memory:", &index->db,
                                   SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);

        if (code != SQLITE_OK)
                return sqlite_error(code);
        if (file != NULL)
                (void)chmod(file, 0600);
        code = sqlite3_exec(index->db,
                            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-4096;"
                            "PRAGMA journal_size_limit=16777216; PRAGMA locking_mode=EXCLUSIVE;"
                            "PRAGMA temp_store=MEMORY;",
                            NULL, NULL, NULL);
        return sqlite_error(code);
}

static int64_t layout_of(struct index *index) {
        sqlite3_stmt *s = NULL;
        int64_t layout = -1;

        if (sqlite3_prepare_v2(index->db, "PRAGMA user_version", -1, &s, NULL) == SQLITE_OK &&
            sqlite3_step(s) == SQLITE_ROW)
                layout = sqlite3_column_int64(s, 0);
        sqlite3_finalize(s);
        return layout;
}

static int64_t last_change(struct index *index) {
        sqlite3_stmt *s = NULL;
        int64_t n = 0;

        if (sqlite3_prepare_v2(index->db, "SELECT max(n) FROM dirty", -1, &s, NULL) == SQLITE_OK &&
            sqlite3_step(s) == SQLITE_ROW)
                n = sqlite3_column_int64(s, 0);
        sqlite3_finalize(s);
        return n;
}

static int database_prepare(struct index *index) {
        int64_t layout = layout_of(index);
        int code = SQLITE_OK;

        if (layout == 0) {
                g_autofree char *text = g_strdup_printf("BEGIN; %s PRAGMA user_version=%d; COMMIT;", schema,
                                                        LAYOUT);
                code = sqlite3_exec(index->db, text, NULL, NULL, NULL);
        } else if (layout != LAYOUT)
                return -EUCLEAN;
        for (int i = 0; i < INDEX_STATEMENTS && code == SQLITE_OK; i++)
                code = sqlite3_prepare_v3(index->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT,
                                          &index->statements[i], NULL);
        if (code == SQLITE_OK)
                index->n = last_change(index);
        return sqlite_error(code);
}

static void database_close(struct index *index) {
        for (int i = 0; i < INDEX_STATEMENTS; i++) {
                sqlite3_finalize(index->statements[i]);
                index->statements[i] = NULL;
        }
        sqlite3_close(index->db);
        index->db = NULL;
}

static void remove_files(const char *file) {
        static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};

        for (size_t i = 0; i < G_N_ELEMENTS(suffixes); i++) {
                g_autofree char *path = g_strconcat(file, suffixes[i], NULL);
                (void)unlink(path);
        }
}

int index_open(const char *file, struct index **ret, char **ret_detail) {
        struct index *index = g_new0(struct index, 1);
        pthread_mutexattr_t attr;
        int r;

        pthread_mutexattr_init(&attr);
        pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
        pthread_mutex_init(&index->lock, &attr);
        pthread_mutexattr_destroy(&attr);
        r = database_open(index, file);
        if (r == 0)
                r = database_prepare(index);
        if (r == -EUCLEAN && file != NULL) {
                /* Damaged, or of another version: it is a cache, Dropbox has the original. */
                database_close(index);
                remove_files(file);
                r = database_open(index, file);
                if (r == 0)
                        r = database_prepare(index);
        }
        if (r < 0) {
                *ret_detail = g_strdup_printf("the index %s cannot be opened: %s", file ? file : "in memory",
                                              index->db ? sqlite3_errmsg(index->db) : g_strerror(-r));
                index_free(index);
                return r;
        }
        *ret = index;
        return 0;
}

void index_free(struct index *index) {
        if (index == NULL)
                return;
        database_close(index);
        if (index->changed)
                g_hash_table_unref(index->changed);
        g_free(index->last_parent);
        pthread_mutex_destroy(&index->lock);
        g_free(index);
}

/* ── transactions ───────────────────────────────────────────────────────── */

static bool failed(struct index *index, int r) {
        if (r < 0 && index->error == 0)
                index->error = r;
        return index->error != 0;
}

/* A statement that gives no rows. */
static void run(struct index *index, sqlite3_stmt *s) {
        if (index->error == 0)
                failed(index, index_step(s));
        sqlite3_reset(s);
}

int index_begin(struct index *index, int64_t listing) {
        int r;

        pthread_mutex_lock(&index->lock);
        r = index_step(index_statement(index, INDEX_BEGIN));
        if (r < 0) {
                pthread_mutex_unlock(&index->lock);
                return r;
        }
        index->listing = listing;
        index->n++;
        index->error = 0;
        index->changed = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        g_clear_pointer(&index->last_parent, g_free);
        return 0;
}

void index_rollback(struct index *index) {
        (void)index_step(index_statement(index, INDEX_ROLLBACK));
        g_clear_pointer(&index->changed, g_hash_table_unref);
        pthread_mutex_unlock(&index->lock);
}

int index_commit(struct index *index, GHashTable **ret_changed) {
        int r = index->error;

        if (r == 0)
                r = index_step(index_statement(index, INDEX_COMMIT));
        if (r < 0) {
                index_rollback(index);
                return r;
        }
        if (ret_changed)
                *ret_changed = g_steal_pointer(&index->changed);
        g_clear_pointer(&index->changed, g_hash_table_unref);
        pthread_mutex_unlock(&index->lock);
        return 0;
}

void index_set(struct index *index, const char *key, const char *value) {
        sqlite3_stmt *s = index_statement(index, INDEX_SET);

        index_bind(s, 1, key);
        index_bind(s, 2, value);
        run(index, s);
}

void index_set_number(struct index *index, const char *key, int64_t value) {
        g_autofree char *text = g_strdup_printf("%" G_GINT64_FORMAT, value);

        index_set(index, key, text);
}

/* ── changes ────────────────────────────────────────────────────────────── */

static char *parent_of(const char *path) {
        const char *slash = strrchr(path, '/');

        return slash ? g_strndup(path, (gsize)(slash - path)) : g_strdup("");
}

static void mark_changed(struct index *index, const char *directory) {
        g_hash_table_add(index->changed, g_strdup(directory));
}

static void mark_changed_rows(struct index *index, sqlite3_stmt *s) {
        int r = 0;

        while (index->error == 0 && (r = index_step(s)) > 0)
                mark_changed(index, (const char *)sqlite3_column_text(s, 0));
        failed(index, r);
        sqlite3_reset(s);
}

static void run_path(struct index *index, enum index_statement which, const char *path) {
        sqlite3_stmt *s = index_statement(index, which);

        index_bind(s, 1, path);
        run(index, s);
}

static void run_listing(struct index *index, enum index_statement which) {
        sqlite3_stmt *s = index_statement(index, which);

        sqlite3_bind_int64(s, 1, index->listing);
        run(index, s);
}

static void store(struct index *index, const struct index_entry *entry, const char *parent) {
        sqlite3_stmt *s = index_statement(index, INDEX_PUT);

        index_bind(s, 1, entry->path);
        index_bind(s, 2, parent);
        index_bind(s, 3, entry->local);
        sqlite3_bind_int(s, 4, entry->kind);
        sqlite3_bind_int64(s, 5, entry->flags);
        index_bind(s, 6, entry->id);
        index_bind(s, 7, entry->rev);
        index_bind(s, 8, entry->extra);
        sqlite3_bind_int64(s, 9, (sqlite3_int64)entry->size);
        sqlite3_bind_int64(s, 10, entry->mtime);
        sqlite3_bind_int64(s, 11, index->listing);
        run(index, s);
        mark_changed(index, parent);
}

static void confirm(struct index *index, const char *path) {
        sqlite3_stmt *s = index_statement(index, INDEX_CONFIRM);

        index_bind(s, 1, path);
        sqlite3_bind_int64(s, 2, index->listing);
        run(index, s);
}

/* The first `components` of a path with its case; NULL when it has not so many. */
static char *display_prefix(const char *display, unsigned components) {
        const char *p = display;

        for (unsigned i = 0; i < components; i++) {
                if (p == NULL || *p == '\0')
                        return NULL;
                p = strchr(p + (i > 0), '/');
                if (p == NULL)
                        return i + 1 == components ? g_strdup(display) : NULL;
        }
        return g_strndup(display, (gsize)(p - display));
}

static unsigned components_of(const char *path) {
        unsigned n = *path != '\0';

        for (; *path; path++)
                n += *path == '/';
        return n;
}

/* Makes `path` a folder that is there, and what is above it. */
static void need_folder(struct index *index, const char *path, const char *display) {
        struct index_entry auto_entry known = {0};
        g_autofree char *parent = NULL, *shown = NULL;
        const char *name;
        int r;

        if (*path == '\0' || index->error != 0)
                return;
        r = index_find(index, path, &known);
        if (r < 0 && r != -ENOENT) {
                failed(index, r);
                return;
        }
        parent = parent_of(path);
        need_folder(index, parent, display);
        if (r == 0 && known.kind == INDEX_FOLDER) {
                confirm(index, path);
                return;
        }
        shown = display ? display_prefix(display, components_of(path)) : NULL;
        if (shown == NULL || components_of(display) < components_of(path))
                shown = (g_free(shown), g_strdup(path));
        name = strrchr(shown, '/') ? strrchr(shown, '/') + 1 : shown;
        store(index,
              &(struct index_entry){.path = (char *)path, .local = (char *)name, .kind = INDEX_FOLDER,
                                    .flags = INDEX_IMPLIED},
              parent);
        mark_changed(index, path);
}

static bool differs(const struct index_entry *a, const struct index_entry *b) {
        return a->kind != b->kind || a->flags != b->flags || a->size != b->size || a->mtime != b->mtime ||
               g_strcmp0(a->local, b->local) != 0 || g_strcmp0(a->id, b->id ? b->id : "") != 0 ||
               g_strcmp0(a->rev, b->rev ? b->rev : "") != 0 || g_strcmp0(a->extra, b->extra ? b->extra : "") != 0;
}

/* A folder's read-only flag is that of all below it (Dropbox: list_folder). */
static void spread_read_only(struct index *index, const struct index_entry *entry) {
        sqlite3_stmt *s = index_statement(index, INDEX_READ_ONLY_BELOW);

        index_bind(s, 1, entry->path);
        sqlite3_bind_int64(s, 2, entry->flags & INDEX_READ_ONLY);
        run(index, s);
        s = index_statement(index, INDEX_PARENTS_BELOW);
        index_bind(s, 1, entry->path);
        mark_changed_rows(index, s);
}

void index_put(struct index *index, const struct index_entry *entry, const char *display) {
        struct index_entry auto_entry known = {0};
        g_autofree char *parent = parent_of(entry->path);
        int r;

        if (index->error != 0 || *entry->path == '\0')
                return;
        if (g_strcmp0(index->last_parent, parent) != 0) {
                need_folder(index, parent, display);
                g_free(index->last_parent);
                index->last_parent = g_strdup(parent);
        }
        r = index_find(index, entry->path, &known);
        if (r == 0 && !differs(&known, entry)) {
                confirm(index, entry->path);
                return;
        }
        if (failed(index, r == -ENOENT ? 0 : r))
                return;
        if (r == 0 && known.kind == INDEX_FOLDER && entry->kind == INDEX_FILE) {
                run_path(index, INDEX_DELETE_BELOW, entry->path);
                g_clear_pointer(&index->last_parent, g_free);
        }
        store(index, entry, parent);
        /* There may have been one of that name before, with other content. */
        if (entry->kind == INDEX_FOLDER && (r == -ENOENT || known.kind != INDEX_FOLDER))
                mark_changed(index, entry->path);
        if (r == 0 && known.kind == INDEX_FOLDER && entry->kind == INDEX_FOLDER &&
            !(known.flags & INDEX_IMPLIED) && ((known.flags ^ entry->flags) & INDEX_READ_ONLY))
                spread_read_only(index, entry);
}

void index_remove(struct index *index, const char *path) {
        struct index_entry auto_entry known = {0};
        g_autofree char *parent = parent_of(path);
        int r;

        if (index->error != 0)
                return;
        g_clear_pointer(&index->last_parent, g_free);
        if (*path == '\0') { /* the engine's root itself */
                index_clear(index);
                return;
        }
        r = index_find(index, path, &known);
        if (r == -ENOENT || failed(index, r))
                return;
        if (known.kind == INDEX_FOLDER)
                run_path(index, INDEX_DELETE_BELOW, path);
        run_path(index, INDEX_DELETE, path);
        mark_changed(index, parent);
}

void index_remove_unseen(struct index *index) {
        sqlite3_stmt *s = index_statement(index, INDEX_UNSEEN_PARENTS);

        sqlite3_bind_int64(s, 1, index->listing);
        mark_changed_rows(index, s);
        run_listing(index, INDEX_DELETE_UNSEEN);
        g_clear_pointer(&index->last_parent, g_free);
}

void index_clear(struct index *index) {
        run(index, index_statement(index, INDEX_DELETE_ALL));
        mark_changed(index, "");
        g_clear_pointer(&index->last_parent, g_free);
}

/* ── what has to be told ────────────────────────────────────────────────── */

void index_dirty_add(struct index *index, const char *path) {
        sqlite3_stmt *s = index_statement(index, INDEX_DIRTY_ADD);

        index_bind(s, 1, path);
        sqlite3_bind_int64(s, 2, index->n);
        run(index, s);
}

void index_dirty_add_changed(struct index *index) {
        GHashTableIter iter;
        gpointer path;

        g_hash_table_iter_init(&iter, index->changed);
        while (g_hash_table_iter_next(&iter, &path, NULL))
                index_dirty_add(index, path);
}

void index_dirty_add_all(struct index *index) {
        sqlite3_stmt *s = index_statement(index, INDEX_DIRTY_ADD_ALL);

        sqlite3_bind_int64(s, 1, index->n);
        run(index, s);
        index_dirty_add(index, "");
}

void index_dirty_drop(struct index *index, const char *path, int64_t n) {
        sqlite3_stmt *s;

        pthread_mutex_lock(&index->lock);
        s = index_statement(index, INDEX_DIRTY_DROP);
        index_bind(s, 1, path);
        sqlite3_bind_int64(s, 2, n);
        (void)index_step(s); /* what stays is told once more */
        sqlite3_reset(s);
        pthread_mutex_unlock(&index->lock);
}

int index_set_export(struct index *index, const char *path, const char *rev, uint64_t size,
                     const char *hash) {
        sqlite3_stmt *s;
        int r;

        pthread_mutex_lock(&index->lock);
        s = index_statement(index, INDEX_PUT_EXPORT);
        index_bind(s, 1, path);
        index_bind(s, 2, rev);
        sqlite3_bind_int64(s, 3, (sqlite3_int64)size);
        index_bind(s, 4, hash);
        r = index_step(s);
        pthread_mutex_unlock(&index->lock);
        return r;
}
