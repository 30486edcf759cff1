/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plugins/dropbox/api-error.h"

#include <errno.h>
#include <glib.h>
#include <stdio.h>
#include <string.h>

#include "plugins/common/http.h"
#include "plugins/dropbox/api-json.h"
#include "shared/names.h"

#define TAGS_DEPTH 4

/* The first line whose status and tags fit counts. Tags fit when they are equal, or begin with
 * these and a '/': what a later API adds behind them changes nothing. */
static const struct row {
        int status;
        const char *tags; /* "": any */
        int error;
        enum api_action action;
        const char *advice;
} rows[] = {
        {400, "", -EINVAL, 0, "Dropbox does not understand the request"},
        {401, "expired_access_token", -EAGAIN, API_ACTION_REFRESH, "the access token has expired"},
        {401, "invalid_access_token", -EACCES, API_ACTION_REFRESH, "the access token is not valid any more"},
        {401, "missing_scope", -EACCES, API_ACTION_LOGIN,
         "the app lacks a permission: in the App Console, tick account_info.read, files.metadata.read "
         "and files.content.read, and log in again"},
        {401, "user_suspended", -EACCES, 0, "the account is suspended"},
        {401, "", -EACCES, API_ACTION_REFRESH, "Dropbox does not accept the login"},
        {403, "", -EACCES, 0, "this account or team may not do that: its administrator decides"},
        {409, "path/not_found", -ENOENT, 0, "it is not there any more"},
        {409, "path/not_file", -ENOENT, 0, "it is not a file any more"},
        {409, "path/not_folder", -ENOTDIR, 0, "it is not a folder"},
        {409, "path/malformed_path", -EINVAL, 0, "Dropbox cannot read the path: check the root setting"},
        {409, "path/restricted_content", -EPERM, 0,
         "Dropbox restricts this content, for legal reasons for instance: see it at dropbox.com"},
        {409, "path/unsupported_content_type", -EOPNOTSUPP, 0, "Dropbox cannot give out this kind of content"},
        {409, "path/locked", -EAGAIN, 0, "it is locked"},
        {409, "unsupported_file", -EOPNOTSUPP, 0,
         "this kind of file cannot be downloaded: open it at dropbox.com"},
        {409, "non_exportable", -EOPNOTSUPP, 0, "this kind of file cannot be exported"},
        {409, "invalid_export_format", -EOPNOTSUPP, 0, "this file cannot be exported to that format"},
        {409, "retry_error", -EAGAIN, 0, "the export is not ready yet"},
        {409, "reset", -ESTALE, API_ACTION_RESET, "the cursor is not valid any more: listing anew"},
        {409, "", -EIO, 0, "Dropbox refuses it"},
        {422, "invalid_root", -ESTALE, API_ACTION_ROOT, "the account's root namespace is another one now"},
        {422, "", -EACCES, 0, "the path_root setting names a namespace that this account may not use"},
        {429, "", -EAGAIN, 0, "too many requests"},
};

static bool fits(const char *tags, const char *row) {
        size_t length = strlen(row);

        return strncmp(tags, row, length) == 0 &&
               (length == 0 || tags[length] == '\0' || tags[length] == '/');
}

/* {".tag": "path", "path": {".tag": "not_found"}} or a bare "reset": "path/not_found", "reset". */
static void tags_of(json_object *error, char *buffer, size_t size) {
        buffer[0] = '\0';
        for (unsigned i = 0; i < TAGS_DEPTH && error != NULL; i++) {
                const char *tag = json_object_is_type(error, json_type_string)
                                          ? json_object_get_string(error)
                                          : api_string(error, ".tag", 48);
                json_object *inner = NULL;

                if (tag == NULL || tag[strspn(tag, "abcdefghijklmnopqrstuvwxyz0123456789_")] != '\0')
                        return;
                if (i > 0)
                        g_strlcat(buffer, "/", size);
                g_strlcat(buffer, tag, size);
                if (json_object_is_type(error, json_type_object))
                        json_object_object_get_ex(error, tag, &inner);
                error = json_object_is_type(inner, json_type_object) ? inner : NULL;
        }
}

/* Text of the remote's for a sentence: the first 200 bytes of its first line. */
static void quote(const char *body, size_t length, char *buffer, size_t size) {
        g_autofree char *copy = g_strndup(body, MIN(length, 200));

        copy[strcspn(copy, "\r\n")] = '\0';
        (void)name_printable(copy, buffer, size);
}

static uint32_t body_retry_ms(json_object *error) {
        json_object *value;

        if (!json_object_is_type(error, json_type_object) ||
            !json_object_object_get_ex(error, "retry_after", &value) ||
            !json_object_is_type(value, json_type_int) || json_object_get_int64(value) <= 0)
                return 0;
        return (uint32_t)MIN(json_object_get_int64(value), (int64_t)HTTP_RETRY_AFTER_MAX_MS / 1000) * 1000;
}

static const struct row *row_for(int status, const char *tags) {
        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
                if (rows[i].status == status && fits(tags, rows[i].tags))
                        return &rows[i];
        return NULL;
}

static int error_of_status(int status) {
        int r = http_status_error(status);

        return r == 0 ? -EPROTO : r;
}

void api_fault_judge(int status, const char *body, size_t length, uint32_t retry_after_ms,
                     struct api_fault *ret) {
        json_object auto_json *o = body ? api_parse(body, length) : NULL;
        json_object *error = NULL;
        const struct row *row;
        char text[256] = "";

        *ret = (struct api_fault){.retry_after_ms = retry_after_ms};
        if (o != NULL)
                json_object_object_get_ex(o, "error", &error);
        tags_of(error, ret->tags, sizeof ret->tags);
        if (ret->retry_after_ms == 0 && (status == 429 || status == 503))
                ret->retry_after_ms = body_retry_ms(error);
        row = row_for(status, ret->tags);
        ret->error = row ? row->error : error_of_status(status);
        ret->action = row ? row->action : API_ACTION_NONE;
        if (o == NULL && body != NULL && status == 400)
                quote(body, length, text, sizeof text);
        (void)snprintf(ret->sentence, sizeof ret->sentence, "%s (HTTP %d%s%s%s%s)",
                       row ? row->advice : "Dropbox cannot answer now", status,
                       *ret->tags ? ", " : "", ret->tags, *text ? ": " : "", text);
}

void api_fault_judge_token(int status, const char *body, size_t length, uint32_t retry_after_ms,
                           struct api_fault *ret) {
        json_object auto_json *o = body ? api_parse(body, length) : NULL;
        const char *error = api_string(o, "error", 48);

        *ret = (struct api_fault){.retry_after_ms = retry_after_ms, .error = error_of_status(status)};
        if (status == 429 || status >= 500) {
                (void)snprintf(ret->sentence, sizeof ret->sentence,
                               "Dropbox gives out no access token now (HTTP %d)", status);
                return;
        }
        ret->error = -EACCES;
        ret->action = API_ACTION_LOGIN;
        if (error != NULL && error[strspn(error, "abcdefghijklmnopqrstuvwxyz_")] == '\0')
                g_strlcpy(ret->tags, error, sizeof ret->tags);
        (void)snprintf(ret->sentence, sizeof ret->sentence, "%s (HTTP %d%s%s)",
                       g_str_equal(ret->tags, "invalid_grant") ? "the login was revoked or has expired"
                       : g_str_has_prefix(ret->tags, "invalid_client")
                               ? "Dropbox does not know the app: check app_key"
                               : "Dropbox refuses the login",
                       status, *ret->tags ? ", " : "", ret->tags);
}
