/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plugins/httpfs/head-ask.h"

#include <errno.h>

#define TRIES 3u
#define LONGEST_WAIT_MS 60000u /* a longer wish is the dispatcher's affair */

static int on_redirect(void *data, const char *url) {
        struct head_ask *ask = data;

        return head_redirect_is_directory(ask->url, url) ? -EISDIR : 0;
}

static int on_response(void *data, const struct http_response *response) {
        struct head_ask *ask = data;

        if (ask->by_get)
                head_take_partial(&ask->head, response);
        else
                head_take(&ask->head, response);
        return HTTP_SKIP_BODY;
}

static bool is_worth_another_try(const struct head_ask *ask, const struct http_result *result,
                                 int error) {
        if (ask->tries >= TRIES || result->retry_after_ms > LONGEST_WAIT_MS)
                return false;
        return error == -EAGAIN || error == -ECONNRESET || error == -ETIMEDOUT;
}

static void on_complete(void *data, const struct http_result *result) {
        struct head_ask *ask = data;
        int error = op_result_error(result);

        if (result->error == 0 && ask->head.has_size)
                error = 0; /* a 416 that tells of an empty file, too */
        else if (error == 0)
                error = -EBADMSG;
        if (!ask->by_get && !ask->head.encoded && (error == -EBADMSG || error == -EOPNOTSUPP)) {
                ask->by_get = true;
                ask->tries = ask->delay_ms = 0;
                if (head_ask_start(ask) >= 0)
                        return;
        }
        if (is_worth_another_try(ask, result, error)) {
                ask->delay_ms = MAX(result->retry_after_ms, 100u << ask->tries);
                if (head_ask_start(ask) >= 0)
                        return;
        }
        ask->ready(ask, error, result);
}

int head_ask_start(struct head_ask *ask) {
        static const struct http_handler handler = {
                .redirect = on_redirect, .response = on_response, .complete = on_complete};
        static const struct http_header range = {"Range", "bytes=0-0"};

        ask->tries++;
        ask->head = (struct head){0};
        return op_submit(ask->op, &(struct http_call){
                                          .method = ask->by_get ? "GET" : "HEAD",
                                          .url = ask->url,
                                          .headers = &range,
                                          .n_headers = ask->by_get ? 1 : 0,
                                          .flags = ask->flags,
                                          .delay_ms = ask->delay_ms,
                                          .handler = &handler,
                                          .data = ask,
                                  });
}
