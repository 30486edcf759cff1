/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the formats share. */

#include <glib.h>

#include "plugins/httpfs/listing.h"
#include "plugins/httpfs/name-set.h"

struct listing_html;
struct listing_json;
struct listing_webdav;

struct listing {
        enum listing_format format;
        char *url;
        listing_fn fn;
        void *data;
        struct name_set names;
        uint64_t bytes;
        int error; /* 0 while all is well */
        bool must_end;
        struct skips *skips;
        struct listing_html *html;
        struct listing_json *json;
        struct listing_webdav *webdav;
};

/* Checks the name, finds duplicates, calls back. Sets listing->error. */
void listing_emit(struct listing *listing, const struct listing_entry *entry);

/* Ends the listing with the first error. */
void listing_fail(struct listing *listing, int error);

struct listing_html *listing_html_new(struct listing *listing, bool any_page);
void listing_html_feed(struct listing_html *html, const char *bytes, size_t length);
void listing_html_finish(struct listing_html *html);
void listing_html_free(struct listing_html *html);

struct listing_json *listing_json_new(struct listing *listing);
void listing_json_feed(struct listing_json *json, const char *bytes, size_t length);
void listing_json_finish(struct listing_json *json);
void listing_json_free(struct listing_json *json);

struct listing_webdav *listing_webdav_new(struct listing *listing);
void listing_webdav_feed(struct listing_webdav *webdav, const char *bytes, size_t length);
void listing_webdav_finish(struct listing_webdav *webdav);
void listing_webdav_free(struct listing_webdav *webdav);
