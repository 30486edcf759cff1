/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * probe — how does this server list?
 *
 * With listing=auto, once per instance and before the first list or stat:
 *
 *     PROPFIND, Depth 0, on the root   207 ─▶ WebDAV (exact, no HEADs)
 *     else GET the root                200, application/json ─▶ JSON
 *                                      200, text/html        ─▶ HTML, if it is an index
 *
 * A refusal of PROPFIND means nothing, also not a broken connection (some gateways do
 * that); what GET says is what counts. When GET fails, all who wait fail with its
 * error, and the next request probes again.
 */

#include <errno.h>
#include <string.h>

#include "plugins/common/url.h"
#include "plugins/httpfs/httpfs.h"

bool listing_redirect_is_allowed(const struct httpfs *fs, const char *from, const char *to) {
        size_t n = strlen(from);

        if (g_str_has_prefix(to, fs->settings.url))
                return true;
        return strncmp(from, to, n) == 0 && g_str_equal(to + n, "/");
}

static int on_redirect(void *data, const char *url) {
        struct httpfs *fs = data;

        return listing_redirect_is_allowed(fs, fs->settings.url, url) ? 0 : -EPROTO;
}

static void finish(struct httpfs *fs, int error, uint32_t retry_after_ms, const char *detail) {
        GQueue waiters = fs->probe_waiters;
        struct op *op;

        g_queue_init(&fs->probe_waiters);
        fs->probing = false;
        while ((op = g_queue_pop_head(&waiters)) != NULL)
                if (error != 0)
                        op_done(op, error, retry_after_ms, detail);
                else if (op_is_cancelled(op))
                        op_done(op, -ECANCELED, 0, NULL);
                else
                        op->begin(op);
}

static int submit(struct httpfs *fs, struct http_call *call) {
        call->url = fs->settings.url;
        call->authorization = fs->settings.authorization;
        call->data = fs;
        return http_submit(fs->client, call);
}

/* GET ----------------------------------------------------------------------- */

static int get_response(void *data, const struct http_response *response) {
        struct httpfs *fs = data;
        const char *type = http_response_header(response, "Content-Type");

        if (response->status != 200)
                return HTTP_SKIP_BODY;
        if (type != NULL && g_ascii_strncasecmp(type, "application/json", 16) == 0)
                fs->format = LISTING_JSON;
        else if (type != NULL && (g_ascii_strncasecmp(type, "text/html", 9) == 0 ||
                                  g_ascii_strncasecmp(type, "application/xhtml", 17) == 0))
                fs->format = LISTING_HTML;
        else
                return -EOPNOTSUPP;
        fs->mode = MODE_LISTING;
        return HTTP_SKIP_BODY;
}

static void get_complete(void *data, const struct http_result *result) {
        static const char *const formats[] = {[LISTING_HTML] = "HTML", [LISTING_JSON] = "JSON"};
        struct httpfs *fs = data;
        int error = op_result_error(result);
        g_autofree char *detail = NULL;

        if (fs->mode == MODE_LISTING) {
                fs->host->log(fs->host, CS_LOG_INFO, "the server lists in %s", formats[fs->format]);
                finish(fs, 0, 0, NULL);
                return;
        }
        if (error == 0)
                error = -EOPNOTSUPP;
        detail = op_detail(error == -EOPNOTSUPP ? "the server shows no index of the directory; a "
                                                  "manifest can take its place"
                                                : NULL,
                           result);
        finish(fs, error, result->retry_after_ms, detail);
}

static void get_start(struct httpfs *fs) {
        static const struct http_handler handler = {
                .redirect = on_redirect, .response = get_response, .complete = get_complete};
        int r = submit(fs, &(struct http_call){.method = "GET", .handler = &handler});

        if (r < 0)
                finish(fs, r, 0, NULL);
}

/* PROPFIND ------------------------------------------------------------------ */

static void propfind_complete(void *data, const struct http_result *result) {
        struct httpfs *fs = data;

        if (result->error == -ECANCELED) {
                finish(fs, -ECANCELED, 0, NULL);
                return;
        }
        if (result->error != 0 || result->status != 207) {
                get_start(fs);
                return;
        }
        fs->mode = MODE_LISTING;
        fs->format = LISTING_WEBDAV;
        fs->host->log(fs->host, CS_LOG_INFO, "the server lists by WebDAV");
        finish(fs, 0, 0, NULL);
}

void probe_wait(struct op *op) {
        static const struct http_handler handler = {.redirect = on_redirect,
                                                    .complete = propfind_complete};
        static const struct http_header depth = {"Depth", "0"};
        struct httpfs *fs = op->fs;
        int r;

        g_queue_push_tail(&fs->probe_waiters, op);
        if (fs->probing)
                return;
        fs->probing = true;
        r = submit(fs, &(struct http_call){.method = "PROPFIND",
                                           .headers = &depth,
                                           .n_headers = 1,
                                           .handler = &handler});
        if (r < 0)
                finish(fs, r, 0, NULL);
}
