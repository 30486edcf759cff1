/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* head — what an answer to HEAD (or to GET of one byte) says about an object. Pure. */

#include <cloudsync/engine.h>
#include <stdbool.h>
#include <stdint.h>

#include "plugins/common/http.h"

struct head {
        bool has_size;
        bool encoded;      /* it would come with a Content-Encoding */
        uint64_t size;
        int64_t mtime_sec; /* 0: not told */
        char version[CS_VERSION_MAX + 1]; /* strong ETag, or "" */
};

/* Of a 200. */
void head_take(struct head *head, const struct http_response *response);

/* Of the answer to "Range: bytes=0-0": 206, or 200 where there are no ranges or no
 * bytes, or 416 where there are no bytes. */
void head_take_partial(struct head *head, const struct http_response *response);

/* Does this redirect only add a slash, as servers do for directories? */
bool head_redirect_is_directory(const char *from, const char *to);
