/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plugins/httpfs/head.h"

#include <glib.h>
#include <string.h>

#include "plugins/httpfs/answer.h"

void head_take(struct head *head, const struct http_response *response) {
        const char *modified = http_response_header(response, "Last-Modified");
        const char *etag = http_response_header(response, "ETag");

        *head = (struct head){.status = response->status};
        head->has_size = response->content_length >= 0 && answer_is_identity(response);
        if (head->has_size)
                head->size = (uint64_t)response->content_length;
        if (modified == NULL || http_parse_date(modified, &head->mtime_sec) < 0)
                head->mtime_sec = 0;
        /* A weak ETag may stay the same when bytes change: it pins nothing. */
        if (etag != NULL && http_etag_is_strong(etag) && strlen(etag) <= CS_VERSION_MAX)
                g_strlcpy(head->version, etag, sizeof head->version);
}

bool head_redirect_is_directory(const char *from, const char *to) {
        size_t n = strlen(from);

        return strncmp(from, to, n) == 0 && g_str_equal(to + n, "/");
}
