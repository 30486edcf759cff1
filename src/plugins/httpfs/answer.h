/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * answer — is what the server answers the range of the version that was asked for?
 *
 * The rule above all others depends on this file. Pure.
 */

#include <stdbool.h>
#include <stdint.h>

#include "plugins/common/http.h"

struct answer_wanted {
        const char *version; /* strong ETag, or NULL: size and mtime stand for it */
        uint64_t size;       /* of the whole file */
        int64_t mtime_sec;   /* 0: not known */
        uint64_t offset, length; /* offset + length <= size, length ≥ 1 */
};

struct answer {
        int error;       /* 0: take the body */
        const char *why; /* of error, static; NULL: the status says it */
        bool whole;      /* the server ignored the range and sends all of the file */
        uint64_t skip;   /* bytes of the body before the wanted ones */
        uint64_t body;   /* bytes that the body has to have */
};

/*
 *      status  version     length, range        result
 *      206     the wanted  exactly the asked    0
 *      206     the wanted  another              -EPROTO
 *      200     the wanted  the file's           0, whole
 *      20x     another     any                  -ESTALE
 *      206,200 cannot be told: no ETag sent
 *              although one was known           -EPROTO
 *      416     another size                     -ESTALE, else -EPROTO
 *      other                                    http_status_error(), never 0
 *
 * Any Content-Encoding but identity: -EPROTO.
 */
struct answer answer_check(const struct answer_wanted *wanted, const struct http_response *response);

/* No Content-Encoding, or "identity". */
bool answer_is_identity(const struct http_response *response);
