/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * api-error — what an answer that is no 2xx means. Pure; the one table of this module.
 *
 * Dropbox says why in two ways: 400 with a line of text, and otherwise JSON with a union
 * `error`, whose tags from the outside in are written here as "path/not_found".
 */

#include <stddef.h>
#include <stdint.h>

enum api_action {
        API_ACTION_NONE,
        API_ACTION_REFRESH, /* the access token is no good: get another one, once */
        API_ACTION_LOGIN,   /* a person has to log in */
        API_ACTION_RESET,   /* the cursor is no good: list anew */
        API_ACTION_ROOT,    /* the root namespace is another one now */
};

struct api_fault {
        int error; /* negative errno, as in engine.h */
        enum api_action action;
        uint32_t retry_after_ms;
        char tags[96];
        char sentence[512]; /* what it is, and what to do; no credentials */
};

/* `body` may be NULL. `retry_after_ms`: from the header, 0: none. */
void api_fault_judge(int status, const char *body, size_t length, uint32_t retry_after_ms,
                     struct api_fault *ret);

/* An answer of the token endpoint that is no 2xx (RFC 6749 5.2). */
void api_fault_judge_token(int status, const char *body, size_t length, uint32_t retry_after_ms,
                           struct api_fault *ret);
