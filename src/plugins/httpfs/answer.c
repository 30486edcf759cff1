/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plugins/httpfs/answer.h"

#include <errno.h>
#include <glib.h>

static struct answer no(int error, const char *why) {
        return (struct answer){.error = error, .why = why};
}

bool answer_is_identity(const struct http_response *response) {
        const char *encoding = http_response_header(response, "Content-Encoding");

        return encoding == NULL || *encoding == '\0' ||
               g_ascii_strcasecmp(encoding, "identity") == 0;
}

/* Does this 200 or 206 speak of the wanted version? */
static struct answer check_version(const struct answer_wanted *wanted,
                                   const struct http_response *response) {
        const char *etag = http_response_header(response, "ETag");
        const char *modified = http_response_header(response, "Last-Modified");
        int64_t seconds;

        if (!answer_is_identity(response))
                return no(-EPROTO, "the server encoded the content although it was asked not to");
        if (wanted->version != NULL) {
                /* RFC 9110 15.3.7: a 206 has the ETag that a 200 would have. */
                if (etag == NULL)
                        return no(-EPROTO, "the answer has no ETag, and the file had one");
                if (!g_str_equal(etag, wanted->version))
                        return no(-ESTALE, "another ETag");
                return no(0, NULL);
        }
        if (modified != NULL && wanted->mtime_sec != 0 &&
            http_parse_date(modified, &seconds) >= 0 && seconds != wanted->mtime_sec)
                return no(-ESTALE, "another Last-Modified");
        return no(0, NULL);
}

static struct answer check_partial(const struct answer_wanted *wanted,
                                   const struct http_response *response) {
        const char *value = http_response_header(response, "Content-Range");
        struct answer answer = check_version(wanted, response);
        struct http_range range;

        if (answer.error != 0)
                return answer;
        if (value == NULL || http_parse_content_range(value, &range) < 0 || !range.has_range)
                return no(-EPROTO, "206 without a proper Content-Range");
        if (range.total == UINT64_MAX && wanted->version == NULL)
                return no(-EPROTO, "Content-Range does not tell the size, and there is no ETag");
        if (range.total != UINT64_MAX && range.total != wanted->size)
                return wanted->version ? no(-EPROTO, "the same ETag with another size")
                                       : no(-ESTALE, "another size");
        if (range.first != wanted->offset || range.last != wanted->offset + wanted->length - 1)
                return no(-EPROTO, "another range than the one asked for");
        if (response->content_length >= 0 && (uint64_t)response->content_length != wanted->length)
                return no(-EPROTO, "Content-Length and Content-Range differ");
        answer.body = wanted->length;
        return answer;
}

static struct answer check_whole(const struct answer_wanted *wanted,
                                 const struct http_response *response) {
        struct answer answer = check_version(wanted, response);

        if (answer.error != 0)
                return answer;
        if (response->content_length >= 0 && (uint64_t)response->content_length != wanted->size)
                return wanted->version ? no(-EPROTO, "the same ETag with another size")
                                       : no(-ESTALE, "another size");
        answer.whole = true;
        answer.skip = wanted->offset;
        answer.body = wanted->size;
        return answer;
}

static struct answer check_unsatisfiable(const struct answer_wanted *wanted,
                                         const struct http_response *response) {
        const char *value = http_response_header(response, "Content-Range");
        struct http_range range;

        if (value != NULL && http_parse_content_range(value, &range) >= 0 && !range.has_range &&
            range.total != wanted->size)
                return no(-ESTALE, "HTTP 416, and another size");
        return no(-EPROTO, NULL);
}

struct answer answer_check(const struct answer_wanted *wanted,
                           const struct http_response *response) {
        int error;

        switch (response->status) {
        case 200:
                return check_whole(wanted, response);
        case 206:
                return check_partial(wanted, response);
        case 416:
                return check_unsatisfiable(wanted, response);
        default:
                error = http_status_error(response->status);
                return no(error != 0 ? error : -EPROTO, NULL);
        }
}
