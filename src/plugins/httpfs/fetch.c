/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * fetch — a range of one version
 *
 * Always a range request, with If-Range where there is a strong ETag: a server that
 * has another version then sends all of it with 200, is recognised by its ETag,
 * and cut off. What answer_check() accepted is passed on byte by byte in order; a
 * transfer that breaks has delivered what it delivered, and the host asks for the rest.
 */

#include <errno.h>

#include "plugins/common/url.h"
#include "plugins/httpfs/answer.h"
#include "plugins/httpfs/httpfs.h"

struct fetch_op {
        struct op op;
        char *url, *version;
        struct answer_wanted wanted; /* .version: the one above */
        struct answer answer;
        uint64_t position; /* in the body */
        uint64_t delivered;
        const char *why; /* of an error found here, static */
};

static void fetch_free(struct op *op) {
        struct fetch_op *fetch = (struct fetch_op *)op;

        g_free(fetch->url);
        g_free(fetch->version);
        g_free(fetch);
}

static void tell_no_ranges(struct httpfs *fs) {
        if (fs->told_no_ranges)
                return;
        fs->told_no_ranges = true;
        fs->host->log(fs->host, CS_LOG_NOTICE,
                      "the server ignores ranges: a part of a file costs all that is before it");
}

static int on_response(void *data, const struct http_response *response) {
        struct fetch_op *fetch = data;

        fetch->answer = answer_check(&fetch->wanted, response);
        fetch->why = fetch->answer.why;
        if (fetch->answer.error != 0) {
                /* The body of a refusal is short; that of another version is not. */
                if (response->status >= 300)
                        return HTTP_SKIP_BODY;
                return fetch->answer.error;
        }
        if (fetch->answer.whole && fetch->wanted.length < fetch->wanted.size)
                tell_no_ranges(fetch->op.fs);
        return 0;
}

static int on_body(void *data, const void *bytes, size_t length) {
        struct fetch_op *fetch = data;
        const struct cs_host *host = fetch->op.fs->host;
        uint64_t skip = 0, n;
        int r;

        if (length > fetch->answer.body - fetch->position) {
                fetch->why = "more bytes than the server announced";
                return -EPROTO;
        }
        if (fetch->position < fetch->answer.skip)
                skip = MIN(length, fetch->answer.skip - fetch->position);
        fetch->position += length;
        n = MIN(length - skip, fetch->wanted.length - fetch->delivered);
        if (n > 0) {
                r = host->write(host, fetch->op.request, (const char *)bytes + skip, n);
                if (r < 0)
                        return r;
                fetch->delivered += n;
        } else if (op_is_cancelled(&fetch->op)) {
                return -ECANCELED;
        }
        /* The rest of a whole file that nobody asked for. */
        if (fetch->delivered == fetch->wanted.length && fetch->position < fetch->answer.body)
                return HTTP_ENOUGH;
        return 0;
}

static void on_complete(void *data, const struct http_result *result) {
        struct fetch_op *fetch = data;
        g_autofree char *detail = NULL;
        int error = result->error;

        if (error == 0)
                error = fetch->answer.error;
        if (error == 0 && fetch->delivered < fetch->wanted.length) {
                error = -ECONNRESET;
                fetch->why = "the body ended early";
        }
        if (error != 0)
                detail = op_detail(fetch->why, result);
        op_done(&fetch->op, error, error ? result->retry_after_ms : 0, detail);
}

static void fetch_begin(struct op *op) {
        static const struct http_handler handler = {
                .response = on_response, .body = on_body, .complete = on_complete};
        struct fetch_op *fetch = (struct fetch_op *)op;
        struct http_header headers[2];
        struct http_call call = {.method = "GET",
                                 .url = fetch->url,
                                 .headers = headers,
                                 .n_headers = 1,
                                 .handler = &handler,
                                 .data = fetch};
        char range[64];
        int r;

        g_snprintf(range, sizeof range, "bytes=%" G_GUINT64_FORMAT "-%" G_GUINT64_FORMAT,
                   fetch->wanted.offset, fetch->wanted.offset + fetch->wanted.length - 1);
        headers[0] = (struct http_header){"Range", range};
        if (fetch->version != NULL)
                headers[call.n_headers++] = (struct http_header){"If-Range", fetch->version};
        r = op_submit(op, &call);
        if (r < 0)
                op_done(op, r, 0, NULL);
}

static void fetch_refuse(struct op *op) {
        op_done(op, -EINVAL, 0, "the fetch is none that this engine's entries allow");
}

static bool fetch_is_valid(const struct cs_fetch *fetch) {
        if (!url_locator_is_valid(fetch->locator) || *fetch->locator == '\0')
                return false;
        if (fetch->version != NULL && !http_etag_is_strong(fetch->version))
                return false;
        return fetch->length > 0 && fetch->size <= INT64_MAX && fetch->offset < fetch->size &&
               fetch->length <= fetch->size - fetch->offset;
}

void fetch_start(struct httpfs *fs, struct cs_request *request, const struct cs_fetch *asked) {
        struct fetch_op *fetch = g_new0(struct fetch_op, 1);

        fetch->op.begin = fetch_is_valid(asked) ? fetch_begin : fetch_refuse;
        fetch->op.free = fetch_free;
        fetch->op.any_mode = true;
        fetch->url = url_join(fs->settings.url, asked->locator, false);
        fetch->version = g_strdup(asked->version);
        fetch->wanted = (struct answer_wanted){
                .version = fetch->version,
                .size = asked->size,
                .mtime_sec = asked->mtime_sec,
                .offset = asked->offset,
                .length = asked->length,
        };
        op_start(&fetch->op, fs, request);
}
