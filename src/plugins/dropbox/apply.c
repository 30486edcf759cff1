/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* apply — a page of Dropbox's entries, in its order, into the index. */

#include <string.h>

#include "plugins/dropbox/api-json.h"
#include "plugins/dropbox/dropbox.h"
#include "plugins/dropbox/filter.h"
#include "plugins/dropbox/local-name.h"

#define DEPTH_MAX 250u
#define LOCAL_PATH_MAX (CS_LOCATOR_MAX - CS_NAME_MAX)

/* What follows the engine's root, without the slash; NULL: it is not below. */
static const char *below_root(const char *path, const char *root) {
        size_t length = strlen(root);

        if (strncmp(path, root, length) != 0 || (path[length] != '/' && path[length] != '\0'))
                return NULL;
        return path[length] == '/' ? path + length + 1 : path + length;
}

/* The path with its case below the root, or NULL when its components do not answer to those
 * of the lowercased one: Dropbox promises only the last one. */
static const char *display_below_root(const char *display, const char *root) {
        unsigned skip = 0;

        for (const char *p = root; *p; p++)
                skip += *p == '/';
        if (display == NULL || *display != '/')
                return NULL;
        for (display++; skip > 0 && display != NULL; skip--) {
                display = strchr(display, '/');
                display += display != NULL;
        }
        return display;
}

static bool is_too_deep(const char *path) {
        unsigned n = 0;

        if (strlen(path) > LOCAL_PATH_MAX)
                return true;
        for (const char *p = path; *p; p++) {
                if (*p == '/' && (p[1] == '/' || p[1] == '\0'))
                        return true; /* no path of Dropbox's: an empty component */
                n += *p == '/';
        }
        return n > DEPTH_MAX || *path == '/';
}

static void put(struct dropbox *db, const char *root, const struct api_metadata *m, const char *path) {
        struct index_entry entry = {
                .path = (char *)path,
                .kind = m->kind == API_FILE ? INDEX_FILE : INDEX_FOLDER,
                .flags = m->read_only ? INDEX_READ_ONLY : 0,
                .id = (char *)(m->kind == API_FILE ? m->id : ""),
                .rev = (char *)(m->kind == API_FILE ? m->rev : ""),
                .size = m->kind == API_FILE ? m->size : 0,
                .mtime = m->kind == API_FILE ? m->mtime : 0,
        };
        const char *suffix = NULL;
        bool renamed;

        if (m->kind == API_FILE && m->link_target != NULL) {
                entry.flags |= INDEX_LINK;
                entry.extra = (char *)m->link_target;
        } else if (m->kind == API_FILE && !m->downloadable && m->export_as != NULL) {
                entry.flags |= INDEX_EXPORT;
                entry.extra = (char *)m->export_as;
                suffix = strchr(m->export_as, '/') ? NULL : m->export_as;
        } else if (m->kind == API_FILE && !m->downloadable) {
                entry.flags |= INDEX_NOTE;
                suffix = "txt";
        }
        entry.local = local_name(m->name, path, suffix, &renamed);
        if (renamed || suffix != NULL)
                entry.flags |= INDEX_RENAMED;
        index_put(db->index, &entry, display_below_root(m->path_display, root));
        g_free(entry.local);
}

static void apply(struct dropbox *db, const char *root, const struct api_metadata *m,
                  struct apply_counts *counts) {
        const char *path;

        counts->entries++;
        if (m->kind == API_UNKNOWN) {
                counts->unknown++;
                return;
        }
        if (m->path_lower == NULL) {
                counts->unmounted++;
                return;
        }
        path = below_root(m->path_lower, root);
        if (path == NULL) {
                counts->outside++;
                return;
        }
        if (m->kind == API_DELETED) {
                index_remove(db->index, path);
                return;
        }
        if (*path == '\0')
                return; /* the root itself */
        if (is_too_deep(path)) {
                counts->too_deep++;
                return;
        }
        if (!filter_shows(db->settings.filter, path, m->kind == API_FOLDER)) {
                counts->excluded++;
                index_remove(db->index, path); /* what it replaces may have been shown */
                return;
        }
        put(db, root, m, path);
}

void apply_page(struct dropbox *db, const char *root, const struct api_page *page,
                struct apply_counts *counts) {
        for (size_t i = 0; i < page->n; i++) {
                struct api_metadata m;

                if (api_page_entry(page, i, &m) < 0) {
                        counts->entries++;
                        counts->malformed++;
                } else
                        apply(db, root, &m, counts);
        }
}
