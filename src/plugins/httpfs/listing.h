/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * listing — the bytes of a server's directory index become entries
 *
 * A listing is fed with the answer's bytes as they come and calls back for each
 * entry as soon as it is known; nothing is held but the names seen (to find
 * duplicates). Pure: no I/O, no clock, no log.
 *
 *     HTML     <a href="…"> of nginx, Apache, lighttpd and their like: names only;
 *              sizes and dates are rounded there, so files are never exact
 *     JSON     nginx's autoindex_format json: exact
 *     WebDAV   207 multistatus, Depth 1 (RFC 4918): exact where the server says all
 *
 * What cannot be an entry of this directory — a link elsewhere, a name with '/', a
 * control character, "..", a duplicate — is skipped and counted. What is shown without
 * being told of (WebDAV: 403 for one member) is unknown. What is not a
 * listing at all ends it with an error.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plugins/httpfs/skips.h"

#define LISTING_BYTES_MAX (256ull * 1024 * 1024)
#define LISTING_ELEMENT_MAX 16384u /* one text, one JSON object */
#define LISTING_DEPTH_MAX 64u      /* of elements in XML and HTML */

enum listing_format {
        LISTING_HTML,     /* only a page that calls itself an index */
        LISTING_HTML_ANY, /* any page with links */
        LISTING_JSON,
        LISTING_WEBDAV,
};

struct listing_entry {
        bool directory;
        bool unknown;        /* the server shows it, and tells or gives no more; counted already */
        bool exact;          /* size, mtime and version are what the server would answer now */
        const char *name;    /* one component, decoded */
        const char *version; /* strong ETag, or NULL */
        uint64_t size;
        int64_t mtime_sec;
        uint32_t mtime_nsec;
};

/* 0, or a negative errno that ends the listing. The entry lives until it returns. */
typedef int (*listing_fn)(void *data, const struct listing_entry *entry);

struct listing;

/* `url`: of the directory, as answered, absolute, ending with '/'; else NULL. `skips` counts
 * what is left out, and outlives the listing. */
struct listing *listing_new(enum listing_format format, const char *url, struct skips *skips,
                            listing_fn fn, void *data);
void listing_free(struct listing *listing);
/* The connection's end is the answer's, which a broken connection is as well: only an end that the page itself
 * has tells that it is all there. JSON and WebDAV have one always. */
void listing_must_end(struct listing *listing);

/* The next bytes: 0, or the error that ended it (again and again): -EPROTO malformed,
 * or cut off, -EFBIG larger than LISTING_BYTES_MAX, -EOPNOTSUPP a page that is no index, or
 * what the callback returned. */
int listing_feed(struct listing *listing, const void *bytes, size_t length);
/* No more bytes. As above. */
int listing_finish(struct listing *listing);

/* Links ------------------------------------------------------------------- */

enum listing_link {
        LINK_CHILD,  /* a file of this directory */
        LINK_CHILD_DIRECTORY,
        LINK_IGNORE, /* this directory, one above it, another order of the same page */
        LINK_OUTSIDE,
        LINK_BAD_NAME,
};

/* What a link of the page at `url` means. *ret_name (to g_free()) for children. */
enum listing_link listing_link(const char *url, const char *href, char **ret_name);

/* The dates of index pages: "25-Nov-2026 21:57", "2026-11-25 21:57",
 * "2026-Nov-25 21:57:01", taken as UTC. False when there is none in `text`. */
bool listing_date(const char *text, int64_t *ret);
