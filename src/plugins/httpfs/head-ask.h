/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * head-ask — the exact facts of one object, from the server
 *
 * By HEAD; where the answer has no length (Apache leaves "Content-Length: 0" out) or the
 * server knows no HEAD, by GET of one byte. Passing faults are tried again a few times,
 * later when the server says so (Retry-After): a directory of thousands should not
 * begin anew because one answer was "busy".
 */

#include "plugins/httpfs/head.h"
#include "plugins/httpfs/httpfs.h"

struct head_ask {
        struct op *op;   /* set by the caller, as are the next three */
        const char *url; /* lives as long */
        uint32_t flags;  /* HTTP_BACKGROUND */
        /* 0: head has a size. -EISDIR: a directory. -EBADMSG: there is no telling its size.
         * Else what the server or the network said, see `result`. */
        void (*ready)(struct head_ask *ask, int error, const struct http_result *result);

        struct head head;
        bool by_get;
        unsigned tries;
        uint32_t delay_ms; /* before the next try */
};

/* 0 and ready() will be called, or a negative errno and it will not. */
int head_ask_start(struct head_ask *ask);
