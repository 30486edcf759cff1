/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * call — one call of the Dropbox API, with its login
 *
 * Adds the bearer (waiting for a refresh when it has to), Dropbox-API-Path-Root, and the
 * argument in the form that the endpoint wants; asks again, once, with another token when
 * Dropbox says that this one has expired; and turns every other answer into an api_fault.
 *
 * Callbacks run on the client's thread; complete() exactly once.
 */

#include <json-c/json.h>
#include <stdbool.h>

#include "plugins/common/http.h"
#include "plugins/dropbox/api-error.h"

struct dropbox;

enum call_style {
        CALL_RPC,      /* JSON in the body, JSON back */
        CALL_DOWNLOAD, /* JSON in a header, bytes back */
        CALL_NOTIFY,   /* as RPC, without a login */
};

struct call_result {
        int error;  /* 0: a 2xx answer, complete */
        struct api_fault fault; /* error ≠ 0; its sentence says what was called */
        const char *body; /* RPC and NOTIFY, error 0; NUL-terminated */
        size_t length;
};

struct call_handler {
        /* DOWNLOAD, for a 2xx answer: as in http_handler. */
        int (*response)(void *data, const struct http_response *response);
        int (*body)(void *data, const void *bytes, size_t length);
        void (*complete)(void *data, const struct call_result *result);
};

struct call_request {
        enum call_style style;
        const char *route;  /* "files/list_folder" */
        json_object *argument; /* NULL: none; the caller's */
        const char *range;  /* the value of Range, or NULL */
        uint32_t flags;     /* HTTP_BACKGROUND */
        uint64_t tag;
        const struct call_handler *handler;
        void *data;
};

/* Never fails but through complete(), which may come before it returns. */
void call_start(struct dropbox *db, const struct call_request *request);

/* An RPC that blocks: not on the client's thread. `*ret_body` (error 0) is to be g_free()d. */
int call_wait(struct dropbox *db, const struct call_request *request, char **ret_body, size_t *ret_length,
              struct api_fault *ret_fault);
