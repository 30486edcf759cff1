/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Any bytes as a manifest: walking it from the root reaches only proper names, each once, and
 * finds what it listed. */

#include <glib.h>
#include <string.h>

#include "cloudsync/engine.h"
#include "fuzz.h"
#include "plugins/common/url.h"
#include "plugins/httpfs/manifest.h"

struct walk {
        const struct manifest *manifest;
        const char *parent;
        GPtrArray *directories;
        GHashTable *names;
};

static int on_entry(void *data, const struct listing_entry *e) {
        struct walk *walk = data;
        g_autofree char *locator =
                *walk->parent ? g_strconcat(walk->parent, "/", e->name, NULL) : g_strdup(e->name);
        struct listing_entry found;

        FUZZ_CHECK(*e->name && strlen(e->name) <= CS_NAME_MAX && !strchr(e->name, '/'));
        FUZZ_CHECK(url_locator_is_valid(locator) && strlen(locator) <= CS_LOCATOR_MAX);
        FUZZ_CHECK(e->size <= INT64_MAX && e->mtime_nsec < 1000000000);
        FUZZ_CHECK(g_hash_table_add(walk->names, g_strdup(e->name)));
        FUZZ_CHECK(manifest_find(walk->manifest, locator, &found));
        FUZZ_CHECK(found.directory == e->directory && found.size == e->size);
        if (e->directory)
                g_ptr_array_add(walk->directories, g_steal_pointer(&locator));
        return 0;
}

static void walk_directory(const struct manifest *manifest, const char *locator, unsigned depth) {
        struct walk walk = {manifest, locator, g_ptr_array_new_with_free_func(g_free),
                            g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL)};
        struct skips skips = {0};

        FUZZ_CHECK(manifest_list(manifest, locator, &skips, on_entry, &walk) == 0);
        skips_clear(&skips);
        for (guint i = 0; i < walk.directories->len && depth < 50; i++)
                walk_directory(manifest, walk.directories->pdata[i], depth + 1);
        g_ptr_array_free(walk.directories, TRUE);
        g_hash_table_destroy(walk.names);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct manifest *manifest = manifest_new();
        size_t piece = size ? 1 + data[0] % 64 : 1;
        int r = 0;

        for (size_t at = 0; at < size && r == 0; at += piece)
                r = manifest_feed(manifest, (const char *)data + at, MIN(piece, size - at));
        if (r == 0)
                r = manifest_finish(manifest);
        FUZZ_CHECK(r <= 0);
        if (r == 0)
                walk_directory(manifest, "", 0);
        manifest_free(manifest);
        return 0;
}
