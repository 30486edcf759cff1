/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* head — what an answer to HEAD says about an object. Pure. */

#include <cloudsync/engine.h>
#include <stdbool.h>
#include <stdint.h>

#include "plugins/common/http.h"

struct head {
        int status;
        bool has_size; /* false as well where the content would come encoded */
        uint64_t size;
        int64_t mtime_sec; /* 0: not told */
        char version[CS_VERSION_MAX + 1]; /* strong ETag, or "" */
};

void head_take(struct head *head, const struct http_response *response);

/* Does this redirect only add a slash, as servers do for directories? */
bool head_redirect_is_directory(const char *from, const char *to);
