/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * manifest-load — the manifest in memory, and when to look for a new one
 *
 * One load at a time; who asks meanwhile waits for it. A list of the root asks the
 * server whether the manifest changed (If-None-Match); everything else takes the one
 * that is there. The old one stays until the new one is complete and
 * proper; a load that fails fails those who waited for it.
 */

#include <errno.h>

#include "plugins/common/url.h"
#include "plugins/httpfs/answer.h"
#include "plugins/httpfs/httpfs.h"

static void finish(struct httpfs *fs, int error, const char *detail) {
        GQueue waiters = fs->manifest_waiters;
        struct op *op;

        g_queue_init(&fs->manifest_waiters);
        fs->manifest_is_loading = false;
        g_clear_pointer(&fs->manifest_loading, manifest_free);
        g_clear_pointer(&fs->manifest_loading_etag, g_free);
        while ((op = g_queue_pop_head(&waiters)) != NULL)
                op->manifest_ready(op, error, detail);
}

static int on_response(void *data, const struct http_response *response) {
        struct httpfs *fs = data;

        if (response->status != 200)
                return HTTP_SKIP_BODY;
        if (!answer_is_identity(response))
                return -EPROTO;
        fs->manifest_loading = manifest_new();
        fs->manifest_loading_etag = g_strdup(http_response_header(response, "ETag"));
        return 0;
}

static int on_body(void *data, const void *bytes, size_t length) {
        struct httpfs *fs = data;

        return manifest_feed(fs->manifest_loading, bytes, length);
}

static void on_complete(void *data, const struct http_result *result) {
        struct httpfs *fs = data;
        g_autofree char *detail = NULL;
        int error = op_result_error(result);

        if (error == 0 && result->status == 304 && fs->manifest != NULL) {
                finish(fs, 0, NULL);
                return;
        }
        if (error == 0)
                error = fs->manifest_loading ? manifest_finish(fs->manifest_loading) : -EPROTO;
        if (error != 0) {
                const char *why = error == -EFBIG ? "the manifest is too large"
                                  : error == -EPROTO && result->status == 200
                                          ? "the manifest is malformed"
                                          : NULL;

                detail = op_detail(why, result);
                finish(fs, error, detail);
                return;
        }
        manifest_free(fs->manifest);
        g_free(fs->manifest_etag);
        fs->manifest = g_steal_pointer(&fs->manifest_loading);
        fs->manifest_etag = g_steal_pointer(&fs->manifest_loading_etag);
        finish(fs, 0, NULL);
}

void manifest_wait(struct op *op, bool revalidate) {
        static const struct http_handler handler = {
                .response = on_response, .body = on_body, .complete = on_complete};
        struct httpfs *fs = op->fs;
        struct http_header condition = {"If-None-Match", fs->manifest_etag};
        g_autofree char *url = NULL;
        int r;

        if (fs->manifest != NULL && !revalidate) {
                op->manifest_ready(op, 0, NULL);
                return;
        }
        g_queue_push_tail(&fs->manifest_waiters, op);
        if (fs->manifest_is_loading)
                return;
        fs->manifest_is_loading = true;
        url = url_join(fs->settings.url, fs->settings.manifest, false);
        r = http_submit(fs->client, &(struct http_call){
                                            .method = "GET",
                                            .url = url,
                                            .authorization = fs->settings.authorization,
                                            .headers = &condition,
                                            .n_headers = fs->manifest && fs->manifest_etag ? 1 : 0,
                                            .handler = &handler,
                                            .data = fs,
                                    });
        if (r < 0)
                finish(fs, r, NULL);
}
