/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plugins/httpfs/listing-private.h"

#include <errno.h>
#include <string.h>

#include "shared/names.h"

void listing_fail(struct listing *listing, int error) {
        if (listing->error == 0)
                listing->error = error;
}

void listing_emit(struct listing *listing, const struct listing_entry *entry) {
        int r;

        if (listing->error != 0)
                return;
        if (!name_is_component(entry->name) || !name_is_presentable(entry->name)) {
                skips_count(listing->skips, SKIP_NAME, entry->name);
                return;
        }
        r = name_set_add(&listing->names, entry->name);
        if (r == 0)
                skips_count(listing->skips, SKIP_DUPLICATE, entry->name);
        else if (r > 0)
                r = listing->fn(listing->data, entry);
        if (r < 0)
                listing_fail(listing, r);
}

struct listing *listing_new(enum listing_format format, const char *url, struct skips *skips,
                            listing_fn fn, void *data) {
        struct listing *listing;

        if (!g_str_has_suffix(url, "/") || strstr(url, "://") == NULL || strpbrk(url, "?#") != NULL)
                return NULL;
        listing = g_new0(struct listing, 1);
        listing->format = format;
        listing->url = g_strdup(url);
        listing->skips = skips;
        listing->fn = fn;
        listing->data = data;
        switch (format) {
        case LISTING_HTML:
        case LISTING_HTML_ANY:
                listing->html = listing_html_new(listing, format == LISTING_HTML_ANY);
                break;
        case LISTING_JSON:
                listing->json = listing_json_new(listing);
                break;
        case LISTING_WEBDAV:
                listing->webdav = listing_webdav_new(listing);
                break;
        }
        return listing;
}

void listing_free(struct listing *listing) {
        if (listing == NULL)
                return;
        listing_html_free(listing->html);
        listing_json_free(listing->json);
        listing_webdav_free(listing->webdav);
        name_set_clear(&listing->names);
        g_free(listing->url);
        g_free(listing);
}

void listing_must_end(struct listing *listing) {
        listing->must_end = true;
}

int listing_feed(struct listing *listing, const void *bytes, size_t length) {
        listing->bytes += length;
        if (listing->bytes > LISTING_BYTES_MAX)
                listing_fail(listing, -EFBIG);
        /* libxml2 counts in int, and small pieces keep its buffers small. */
        for (size_t at = 0; at < length && listing->error == 0;) {
                size_t n = MIN(length - at, 32768);
                const char *piece = (const char *)bytes + at;

                if (listing->html != NULL)
                        listing_html_feed(listing->html, piece, n);
                else if (listing->json != NULL)
                        listing_json_feed(listing->json, piece, n);
                else
                        listing_webdav_feed(listing->webdav, piece, n);
                at += n;
        }
        return listing->error;
}

int listing_finish(struct listing *listing) {
        if (listing->error != 0)
                return listing->error;
        if (listing->html != NULL)
                listing_html_finish(listing->html);
        else if (listing->json != NULL)
                listing_json_finish(listing->json);
        else
                listing_webdav_finish(listing->webdav);
        return listing->error;
}
