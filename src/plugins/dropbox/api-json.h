/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * api-json — what Dropbox says, from JSON to structs, and what we say. Pure.
 *
 * Everything here comes from outside. A document that is not what the API specification
 * says is -EPROTO; one entry of a page that is not, too, but the others stay good. What a
 * later version of the API may add (fields, `.tag`s) is told apart from what is broken: an
 * unknown `.tag` is API_UNKNOWN and no error.
 */

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plugins/dropbox/content-hash.h"

#define API_BODY_MAX (32u * 1024 * 1024) /* bytes of one answer: 2,000 entries are about 1.5 MB */
#define API_CURSOR_MAX (64u * 1024)
#define API_PATH_MAX 16384u
#define API_ID_MAX 200u
#define API_REV_MAX 64u

/* Unref'd at the end of the scope. */
static inline void api_object_cleanup(json_object **o) {
        json_object_put(*o);
}
#define auto_json __attribute__((cleanup(api_object_cleanup)))

/* One complete JSON document that is an object and valid UTF-8; NULL otherwise. */
json_object *api_parse(const char *text, size_t length);
/* A string member without NUL in it, at most `max` bytes; NULL when there is none such. */
const char *api_string(json_object *o, const char *key, size_t max);

/* `o` as text in which every byte is ASCII and none is a control character: what may stand in
 * an HTTP header (Dropbox-API-Arg). To g_free(). */
char *api_header_text(json_object *o);

enum api_kind {
        API_UNKNOWN, /* a .tag that this version does not know */
        API_FILE,
        API_FOLDER,
        API_DELETED,
};

/* Strings live as long as the page. */
struct api_metadata {
        enum api_kind kind;
        const char *name;
        const char *path_lower;   /* NULL: not mounted */
        const char *path_display; /* or NULL */
        bool read_only;           /* in a shared folder that is */
        /* Files: */
        const char *id, *rev;
        uint64_t size;
        int64_t mtime; /* client_modified, s since the epoch */
        bool has_hash;
        uint8_t hash[CONTENT_HASH_SIZE];
        bool downloadable;
        const char *export_as;   /* NULL: cannot be exported */
        const char *link_target; /* NULL: no symbolic link */
};

/* A Metadata object: 0, or -EPROTO when something that has to be there is not. */
int api_metadata(json_object *o, struct api_metadata *ret);

struct api_page {
        json_object *document; /* owned */
        json_object *entries;
        size_t n;
        const char *cursor;
        bool has_more;
};

/* ListFolderResult: 0, or -EPROTO. */
int api_page_parse(const char *text, size_t length, struct api_page *ret);
int api_page_entry(const struct api_page *page, size_t i, struct api_metadata *ret);
void api_page_clear(struct api_page *page);

/* ListFolderLongpollResult: 0, or -EPROTO. */
int api_longpoll_parse(const char *text, size_t length, bool *ret_changes, uint32_t *ret_backoff_s);

/* An answer of the token endpoint. */
struct api_token {
        char *access_token, *refresh_token, *account_id; /* owned; the last two may be NULL */
        uint32_t expires_in_s;
};
int api_token_parse(const char *text, size_t length, struct api_token *ret);
void api_token_clear(struct api_token *token);

/* ExportResult, from Dropbox-API-Result. */
struct api_export {
        uint64_t size;
        bool has_hash;
        uint8_t hash[CONTENT_HASH_SIZE];
        char rev[API_REV_MAX + 1]; /* of the file that was exported */
};
int api_export_parse(const char *text, size_t length, struct api_export *ret);

/* FullAccount: its root namespace, to g_free(). */
int api_account_root_parse(const char *text, size_t length, char **ret_namespace);

/* "2015-05-12T15:50:38Z" as seconds since the epoch: 0, or -EINVAL. */
int api_timestamp(const char *text, int64_t *ret);
