/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The first byte chooses format and piece size, the rest is what a server answers: every
 * entry is one that may stand in this directory, none comes twice, and pieces of another
 * size give the same. */

#include <glib.h>
#include <string.h>

#include "cloudsync/engine.h"
#include "fuzz.h"
#include "plugins/httpfs/listing.h"

struct seen {
        GHashTable *names; /* NULL: only count */
        GString *text;
};

static int on_entry(void *data, const struct listing_entry *e) {
        struct seen *seen = data;

        FUZZ_CHECK(*e->name && strlen(e->name) <= CS_NAME_MAX && !strchr(e->name, '/'));
        FUZZ_CHECK(strcmp(e->name, ".") != 0 && strcmp(e->name, "..") != 0);
        for (const char *p = e->name; *p; p++)
                FUZZ_CHECK((unsigned char)*p >= 0x20 && *p != 0x7f);
        FUZZ_CHECK(e->size <= INT64_MAX && e->mtime_nsec < 1000000000);
        FUZZ_CHECK(!e->version || (*e->version && strlen(e->version) <= CS_VERSION_MAX));
        FUZZ_CHECK(!e->directory || (e->size == 0 && !e->version && e->exact));
        FUZZ_CHECK(g_hash_table_add(seen->names, g_strdup(e->name)));
        g_string_append_printf(seen->text, "%s %d %d %lu\n", e->name, e->directory, e->exact,
                               (unsigned long)e->size);
        return 0;
}

static int parse(enum listing_format format, const uint8_t *data, size_t size, size_t piece,
                 struct seen *seen) {
        struct skips skips = {0};
        struct listing *listing =
                listing_new(format, "http://h/base%20dir/", &skips, on_entry, seen);
        g_autofree char *summary = NULL;
        int r;

        for (size_t at = 0; at < size; at += piece)
                if (listing_feed(listing, data + at, MIN(piece, size - at)) < 0)
                        break;
        r = listing_finish(listing);
        FUZZ_CHECK(r <= 0 && listing_finish(listing) <= 0);
        listing_free(listing);
        summary = skips_summary(&skips);
        skips_clear(&skips);
        return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const enum listing_format formats[] = {LISTING_HTML_ANY, LISTING_JSON, LISTING_WEBDAV,
                                                      LISTING_HTML};
        enum listing_format format;
        struct seen a, b;
        int r, s;

        if (size < 1)
                return 0;
        format = formats[data[0] & 3];
        a = (struct seen){g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL), g_string_new(NULL)};
        b = (struct seen){g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL), g_string_new(NULL)};
        r = parse(format, data + 1, size - 1, 1 + (data[0] >> 2), &a);
        s = parse(format, data + 1, size - 1, size, &b);
        FUZZ_CHECK((r == 0) == (s == 0));
        FUZZ_CHECK(r != 0 || strcmp(a.text->str, b.text->str) == 0);
        g_hash_table_destroy(a.names);
        g_hash_table_destroy(b.names);
        g_string_free(a.text, TRUE);
        g_string_free(b.text, TRUE);
        return 0;
}
