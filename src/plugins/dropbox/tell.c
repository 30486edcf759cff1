/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * tell — the host is told of every directory that changed, whatever dies in between
 *
 * A change and the note that it has to be told are one transaction with the cursor (index.h). The note
 * goes when a list() that began after it has been served to its end (list.c): from then on the
 * dispatcher has the answer, or remembers that it asked. So, killed
 *
 *     before the commit      the cursor is the old one: Dropbox tells the change again
 *     after the commit       the next process tells what is noted, when it is ready to list
 *     while a list is served the note is still there
 *
 * Telling twice costs a listing and is otherwise harmless.
 */

#include <fcntl.h>
#include <unistd.h>

#include "plugins/dropbox/dropbox.h"

#define CHUNK 256u

/* False: there is no such directory, and nobody who could ask for it. */
static bool tell_one(struct dropbox *db, const char *path) {
        g_autofree char *local = NULL;

        if (index_local_path(db->index, path, &local) < 0)
                return false;
        db->host->changed(db->host, local);
        return true;
}

void tell_dirty(struct dropbox *db) {
        g_autofree char *after = NULL;
        bool more = true;

        while (more) {
                g_autoptr(GPtrArray) paths = index_dirty_list(db->index, after, CHUNK);

                for (guint i = 0; i < paths->len; i++) {
                        int64_t n = index_dirty_find(db->index, paths->pdata[i]);

                        if (!tell_one(db, paths->pdata[i]))
                                index_dirty_drop(db->index, paths->pdata[i], n);
                }
                more = paths->len == CHUNK;
                if (paths->len > 0) {
                        g_free(after);
                        after = g_strdup(paths->pdata[paths->len - 1]);
                }
        }
}

void tell_changed(struct dropbox *db, GHashTable *changed) {
        GHashTableIter iter;
        gpointer path;

        g_hash_table_iter_init(&iter, changed);
        while (g_hash_table_iter_next(&iter, &path, NULL)) {
                int64_t n = index_dirty_find(db->index, path);

                if (!tell_one(db, path))
                        index_dirty_drop(db->index, path, n);
        }
}

bool tell_was_listed(struct dropbox *db) {
        g_autofree char *file = db->host->state_dir ? g_build_filename(db->host->state_dir, "listed", NULL)
                                                    : NULL;

        return file && access(file, F_OK) == 0;
}

void tell_set_listed(struct dropbox *db) {
        g_autofree char *file = NULL;
        int fd;

        if (db->host->state_dir == NULL)
                return;
        file = g_build_filename(db->host->state_dir, "listed", NULL);
        fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd >= 0)
                close(fd);
}
