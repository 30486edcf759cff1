/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plugins/httpfs/head.h"

#include <glib.h>
#include <string.h>

#include "plugins/httpfs/answer.h"

static void take_validators(struct head *head, const struct http_response *response) {
        const char *modified = http_response_header(response, "Last-Modified");
        const char *etag = http_response_header(response, "ETag");

        if (modified == NULL || http_parse_date(modified, &head->mtime_sec) < 0)
                head->mtime_sec = 0;
        /* A weak ETag may stay the same when bytes change: it pins nothing. */
        if (etag != NULL && http_etag_is_strong(etag) && strlen(etag) <= CS_VERSION_MAX)
                g_strlcpy(head->version, etag, sizeof head->version);
        head->encoded = !answer_is_identity(response);
}

void head_take(struct head *head, const struct http_response *response) {
        *head = (struct head){0};
        if (response->status != 200)
                return;
        take_validators(head, response);
        head->has_size = response->content_length >= 0 && !head->encoded;
        if (head->has_size)
                head->size = (uint64_t)response->content_length;
}

void head_take_partial(struct head *head, const struct http_response *response) {
        const char *value = http_response_header(response, "Content-Range");
        struct http_range range;

        if (response->status != 206 && response->status != 416) {
                head_take(head, response);
                return;
        }
        *head = (struct head){0};
        take_validators(head, response);
        if (head->encoded || value == NULL || http_parse_content_range(value, &range) < 0)
                return;
        if (response->status == 206 ? range.has_range && range.total != UINT64_MAX
                                    : !range.has_range && range.total == 0) {
                head->has_size = true;
                head->size = range.total;
        }
}

bool head_redirect_is_directory(const char *from, const char *to) {
        size_t n = strlen(from);

        return strncmp(from, to, n) == 0 && g_str_equal(to + n, "/");
}
