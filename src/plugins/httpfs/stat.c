/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * stat — one object as it is now
 *
 * It has to answer in the terms of list, or the dispatcher would see a change where
 * there is none: with WebDAV by PROPFIND; with JSON by HEAD, but without the
 * ETag that JSON does not show; with a manifest by HEAD, with the ETag when the
 * manifest has one (or leaves the matter to the server).
 */

#include <errno.h>
#include <string.h>

#include "plugins/common/url.h"
#include "plugins/httpfs/answer.h"
#include "plugins/httpfs/head-ask.h"
#include "plugins/httpfs/httpfs.h"

struct stat_op {
        struct op op;
        char *locator, *url;
        bool no_version;
        struct head_ask ask;
        struct listing *listing; /* of the answer to PROPFIND */
        struct skips skips;
        bool found, exact; /* by PROPFIND */
        bool told;
        int error; /* of entry() */
};

static void stat_free(struct op *op) {
        struct stat_op *stat = (struct stat_op *)op;

        listing_free(stat->listing);
        skips_clear(&stat->skips);
        g_free(stat->locator);
        g_free(stat->url);
        g_free(stat);
}

static void done(struct stat_op *stat, int error, const struct http_result *result) {
        g_autofree char *detail = error && result ? op_detail(NULL, result) : NULL;

        op_done(&stat->op, error, result ? result->retry_after_ms : 0, detail);
}

static int tell(struct stat_op *stat, struct listing_entry entry) {
        const char *slash = strrchr(stat->locator, '/');

        entry.name = slash ? slash + 1 : stat->locator;
        return op_entry(&stat->op, &entry);
}

static void tell_directory(struct stat_op *stat, int64_t mtime_sec) {
        done(stat, tell(stat, (struct listing_entry){.directory = true, .mtime_sec = mtime_sec}),
             NULL);
}

/* HEAD ---------------------------------------------------------------------- */

static void head_ready(struct head_ask *ask, int error, const struct http_result *result) {
        struct stat_op *stat = (struct stat_op *)ask->op;
        struct head *head = &ask->head;

        if (error == -EISDIR) {
                tell_directory(stat, 0);
                return;
        }
        if (error == 0)
                error = tell(stat, (struct listing_entry){
                                           .size = head->size,
                                           .mtime_sec = head->mtime_sec,
                                           .version = head->version[0] && !stat->no_version
                                                              ? head->version
                                                              : NULL,
                                   });
        done(stat, error == -EBADMSG ? -EPROTO : error, result);
}

static void head_start(struct stat_op *stat) {
        int r;

        stat->ask.op = &stat->op;
        stat->ask.url = stat->url;
        stat->ask.ready = head_ready;
        r = head_ask_start(&stat->ask);
        if (r < 0)
                done(stat, r, NULL);
}

/* PROPFIND ------------------------------------------------------------------ */

static int on_entry(void *data, const struct listing_entry *entry) {
        struct stat_op *stat = data;

        stat->found = true;
        stat->exact = entry->exact && !entry->unknown;
        if (entry->exact && !entry->unknown && !stat->told) {
                stat->told = true;
                stat->error = tell(stat, *entry);
        }
        return stat->error;
}

static int propfind_redirect(void *data, const char *url) {
        struct stat_op *stat = data;

        return listing_redirect_is_allowed(stat->op.fs, stat->url, url) ? 0 : -EPROTO;
}

/* The object is listed as the one child of its parent. */
static int propfind_response(void *data, const struct http_response *response) {
        struct stat_op *stat = data;
        g_autofree char *parent = NULL;
        size_t n = strlen(response->url);

        if (response->status != 207)
                return HTTP_SKIP_BODY;
        if (!answer_is_identity(response))
                return -EPROTO;
        if (n > 0 && response->url[n - 1] == '/')
                n--;
        while (n > 0 && response->url[n - 1] != '/')
                n--;
        parent = g_strndup(response->url, n);
        stat->listing = listing_new(LISTING_WEBDAV, parent, &stat->skips, on_entry, stat);
        return stat->listing ? 0 : -EPROTO;
}

static int propfind_body(void *data, const void *bytes, size_t length) {
        struct stat_op *stat = data;

        return listing_feed(stat->listing, bytes, length);
}

static void propfind_complete(void *data, const struct http_result *result) {
        struct stat_op *stat = data;
        int error = op_result_error(result);

        if (error == 0)
                error = stat->listing ? listing_finish(stat->listing) : -EPROTO;
        if (error == 0 && stat->found && !stat->exact) {
                head_start(stat);
                return;
        }
        if (error == 0 && !stat->found)
                error = -EPROTO;
        done(stat, error, result);
}

static void propfind_start(struct stat_op *stat) {
        static const struct http_handler handler = {.redirect = propfind_redirect,
                                                    .response = propfind_response,
                                                    .body = propfind_body,
                                                    .complete = propfind_complete};
        static const struct http_header headers[] = {{"Depth", "0"}};
        int r = op_submit(&stat->op, &(struct http_call){.method = "PROPFIND",
                                                         .url = stat->url,
                                                         .headers = headers,
                                                         .n_headers = 1,
                                                         .handler = &handler,
                                                         .data = stat});

        if (r < 0)
                done(stat, r, NULL);
}

/* Beginning ------------------------------------------------------------------ */

static void on_manifest(struct op *op, int error, const char *detail) {
        struct stat_op *stat = (struct stat_op *)op;
        struct listing_entry entry;

        if (error != 0) {
                op_done(op, error, 0, detail);
        } else if (!manifest_find(op->fs->manifest, stat->locator, &entry)) {
                op_done(op, -ENOENT, 0, "the manifest has no such file");
        } else if (entry.directory) {
                tell_directory(stat, entry.mtime_sec);
        } else {
                stat->no_version = entry.exact && entry.version == NULL;
                head_start(stat);
        }
}

static void stat_begin(struct op *op) {
        struct stat_op *stat = (struct stat_op *)op;

        if (!url_locator_is_valid(stat->locator)) {
                op_done(op, -EINVAL, 0, "the locator is none of ours");
        } else if (*stat->locator == '\0') {
                tell_directory(stat, 0);
        } else if (op->fs->mode == MODE_MANIFEST) {
                manifest_wait(op, false);
        } else if (op->fs->format == LISTING_WEBDAV) {
                propfind_start(stat);
        } else {
                stat->no_version = op->fs->format == LISTING_JSON;
                head_start(stat);
        }
}

void stat_start(struct httpfs *fs, struct cs_request *request, const char *locator) {
        struct stat_op *stat = g_new0(struct stat_op, 1);

        stat->op.begin = stat_begin;
        stat->op.manifest_ready = on_manifest;
        stat->op.free = stat_free;
        stat->locator = g_strdup(locator);
        stat->url = url_join(fs->settings.url, locator, false);
        op_start(&stat->op, fs, request);
}
