/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plugins/dropbox/api-json.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

#define DEPTH_MAX 32

json_object *api_parse(const char *text, size_t length) {
        struct json_tokener *tokener;
        json_object *o = NULL;

        while (length > 0 && g_ascii_isspace(text[length - 1]))
                length--;
        if (length == 0 || length > API_BODY_MAX || !g_utf8_validate_len(text, length, NULL))
                return NULL;
        tokener = json_tokener_new_ex(DEPTH_MAX);
        if (tokener == NULL)
                return NULL;
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
        o = json_tokener_parse_ex(tokener, text, (int)length);
        if (json_tokener_get_error(tokener) != json_tokener_success ||
            json_tokener_get_parse_end(tokener) != length ||
            !json_object_is_type(o, json_type_object)) {
                json_object_put(o);
                o = NULL;
        }
        json_tokener_free(tokener);
        return o;
}

static json_object *member(json_object *o, const char *key, enum json_type type) {
        json_object *value;

        if (!json_object_is_type(o, json_type_object) || !json_object_object_get_ex(o, key, &value) ||
            !json_object_is_type(value, type))
                return NULL;
        return value;
}

const char *api_string(json_object *o, const char *key, size_t max) {
        json_object *value = member(o, key, json_type_string);
        size_t length;

        if (value == NULL)
                return NULL;
        length = (size_t)json_object_get_string_len(value);
        if (length > max || strlen(json_object_get_string(value)) != length)
                return NULL;
        return json_object_get_string(value);
}

static bool boolean(json_object *o, const char *key, bool fallback) {
        json_object *value = member(o, key, json_type_boolean);

        return value ? json_object_get_boolean(value) : fallback;
}

static int number(json_object *o, const char *key, uint64_t *ret) {
        json_object *value = member(o, key, json_type_int);

        if (value == NULL || json_object_get_int64(value) < 0)
                return -EPROTO;
        /* json-c saturates: a number beyond 63 bits would pass for the largest one. */
        if (json_object_get_int64(value) == INT64_MAX)
                return -EPROTO;
        *ret = (uint64_t)json_object_get_int64(value);
        return 0;
}

static void append_escaped(GString *s, gunichar c) {
        if (c < 0x10000) {
                g_string_append_printf(s, "\\u%04x", c);
                return;
        }
        c -= 0x10000;
        g_string_append_printf(s, "\\u%04x\\u%04x", 0xd800 + (c >> 10), 0xdc00 + (c & 0x3ff));
}

char *api_header_text(json_object *o) {
        const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
                                                                     JSON_C_TO_STRING_NOSLASHESCAPE);
        GString *s = g_string_new(NULL);

        /* Outside of strings everything is ASCII, and json-c escapes what is below 0x20. */
        while (*text) {
                gunichar c = g_utf8_get_char_validated(text, -1);

                if (c == (gunichar)-1 || c == (gunichar)-2) {
                        g_string_append(s, "\\ufffd");
                        text++;
                        continue;
                }
                if (c < 0x7f)
                        g_string_append_c(s, (char)c);
                else
                        append_escaped(s, c);
                text = g_utf8_next_char(text);
        }
        return g_string_free(s, FALSE);
}

static int digits(const char *s, int n, int low, int high) {
        int value = 0;

        for (int i = 0; i < n; i++) {
                if (!g_ascii_isdigit(s[i]))
                        return -1;
                value = value * 10 + (s[i] - '0');
        }
        return value < low || value > high ? -1 : value;
}

int api_timestamp(const char *text, int64_t *ret) {
        int year, month, day, hour, minute, second;
        g_autoptr(GDateTime) time = NULL;

        if (strlen(text) != 20 || text[4] != '-' || text[7] != '-' || text[10] != 'T' ||
            text[13] != ':' || text[16] != ':' || text[19] != 'Z')
                return -EINVAL;
        year = digits(text, 4, 1, 9999);
        month = digits(text + 5, 2, 1, 12);
        day = digits(text + 8, 2, 1, 31);
        hour = digits(text + 11, 2, 0, 23);
        minute = digits(text + 14, 2, 0, 59);
        second = digits(text + 17, 2, 0, 60);
        if (year < 0 || month < 0 || day < 0 || hour < 0 || minute < 0 || second < 0)
                return -EINVAL;
        time = g_date_time_new_utc(year, month, day, hour, minute, MIN(second, 59));
        if (time == NULL)
                return -EINVAL;
        *ret = g_date_time_to_unix(time);
        return 0;
}

static bool is_rev(const char *s) {
        return strlen(s) >= 9 && s[strspn(s, "0123456789abcdef")] == '\0';
}

/* An id is a locator, and goes back into requests: printable ASCII. */
static bool is_id(const char *s) {
        if (!g_str_has_prefix(s, "id:") || s[3] == '\0')
                return false;
        for (; *s; s++)
                if (!g_ascii_isgraph(*s) || *s == '/')
                        return false;
        return true;
}

static int file_metadata(json_object *o, struct api_metadata *ret) {
        const char *modified = api_string(o, "client_modified", 32);
        const char *hash = api_string(o, "content_hash", 2 * CONTENT_HASH_SIZE);
        json_object *export = member(o, "export_info", json_type_object);
        json_object *link = member(o, "symlink_info", json_type_object);

        ret->id = api_string(o, "id", API_ID_MAX);
        ret->rev = api_string(o, "rev", API_REV_MAX);
        if (ret->id == NULL || !is_id(ret->id) || ret->rev == NULL || !is_rev(ret->rev) ||
            number(o, "size", &ret->size) < 0 || modified == NULL ||
            api_timestamp(modified, &ret->mtime) < 0)
                return -EPROTO;
        ret->has_hash = hash != NULL && content_hash_parse(hash, ret->hash) == 0;
        ret->downloadable = boolean(o, "is_downloadable", true);
        ret->export_as = export ? api_string(export, "export_as", 64) : NULL;
        ret->link_target = link ? api_string(link, "target", API_PATH_MAX) : NULL;
        if (link != NULL && ret->link_target == NULL)
                ret->link_target = "?";
        return 0;
}

int api_metadata(json_object *o, struct api_metadata *ret) {
        const char *tag = api_string(o, ".tag", 64);
        json_object *sharing = member(o, "sharing_info", json_type_object);

        *ret = (struct api_metadata){0};
        if (tag == NULL)
                return -EPROTO;
        if (g_str_equal(tag, "file"))
                ret->kind = API_FILE;
        else if (g_str_equal(tag, "folder"))
                ret->kind = API_FOLDER;
        else if (g_str_equal(tag, "deleted"))
                ret->kind = API_DELETED;
        else
                return 0;
        ret->name = api_string(o, "name", API_PATH_MAX);
        ret->path_lower = api_string(o, "path_lower", API_PATH_MAX);
        ret->path_display = api_string(o, "path_display", API_PATH_MAX);
        ret->read_only = sharing && boolean(sharing, "read_only", false);
        if (ret->name == NULL || *ret->name == '\0' || strchr(ret->name, '/') != NULL ||
            (ret->path_lower != NULL && *ret->path_lower != '/'))
                return -EPROTO;
        return ret->kind == API_FILE ? file_metadata(o, ret) : 0;
}

int api_page_parse(const char *text, size_t length, struct api_page *ret) {
        json_object *more;

        *ret = (struct api_page){.document = api_parse(text, length)};
        ret->entries = member(ret->document, "entries", json_type_array);
        ret->cursor = api_string(ret->document, "cursor", API_CURSOR_MAX);
        more = member(ret->document, "has_more", json_type_boolean);
        if (ret->entries == NULL || ret->cursor == NULL || *ret->cursor == '\0' || more == NULL) {
                api_page_clear(ret);
                return -EPROTO;
        }
        ret->n = json_object_array_length(ret->entries);
        ret->has_more = json_object_get_boolean(more);
        return 0;
}

int api_page_entry(const struct api_page *page, size_t i, struct api_metadata *ret) {
        return api_metadata(json_object_array_get_idx(page->entries, i), ret);
}

void api_page_clear(struct api_page *page) {
        json_object_put(page->document);
        *page = (struct api_page){0};
}

int api_longpoll_parse(const char *text, size_t length, bool *ret_changes, uint32_t *ret_backoff_s) {
        json_object auto_json *o = api_parse(text, length);
        json_object *changes = member(o, "changes", json_type_boolean);
        uint64_t backoff;

        if (changes == NULL)
                return -EPROTO;
        *ret_changes = json_object_get_boolean(changes);
        *ret_backoff_s = number(o, "backoff", &backoff) == 0 ? (uint32_t)MIN(backoff, 3600) : 0;
        return 0;
}

/* Tokens go into headers. */
static char *token_copy(json_object *o, const char *key) {
        const char *s = api_string(o, key, 8192);

        if (s == NULL || *s == '\0')
                return NULL;
        for (const char *p = s; *p; p++)
                if (!g_ascii_isgraph(*p))
                        return NULL;
        return g_strdup(s);
}

int api_token_parse(const char *text, size_t length, struct api_token *ret) {
        json_object auto_json *o = api_parse(text, length);
        const char *type = api_string(o, "token_type", 32);
        uint64_t expires;

        *ret = (struct api_token){0};
        if (type == NULL || g_ascii_strcasecmp(type, "bearer") != 0)
                return -EPROTO;
        ret->access_token = token_copy(o, "access_token");
        ret->refresh_token = token_copy(o, "refresh_token");
        ret->account_id = token_copy(o, "account_id");
        /* 14,400 s it is today; without expires_in it is a token of the old kind. */
        ret->expires_in_s = number(o, "expires_in", &expires) == 0 ? (uint32_t)MIN(expires, 86400) : 14400;
        if (ret->access_token != NULL)
                return 0;
        api_token_clear(ret);
        return -EPROTO;
}

static void erase(char *secret) {
        if (secret != NULL)
                explicit_bzero(secret, strlen(secret));
        g_free(secret);
}

void api_token_clear(struct api_token *token) {
        erase(token->access_token);
        erase(token->refresh_token);
        g_free(token->account_id);
        *token = (struct api_token){0};
}

int api_export_parse(const char *text, size_t length, struct api_export *ret) {
        json_object auto_json *o = api_parse(text, length);
        json_object *export = member(o, "export_metadata", json_type_object);
        json_object *file = member(o, "file_metadata", json_type_object);
        const char *rev = api_string(file, "rev", API_REV_MAX);
        const char *hash = api_string(export, "export_hash", 2 * CONTENT_HASH_SIZE);

        *ret = (struct api_export){0};
        if (number(export, "size", &ret->size) < 0 || rev == NULL || !is_rev(rev))
                return -EPROTO;
        g_strlcpy(ret->rev, rev, sizeof ret->rev);
        ret->has_hash = hash != NULL && content_hash_parse(hash, ret->hash) == 0;
        return 0;
}

int api_account_root_parse(const char *text, size_t length, char **ret_namespace) {
        json_object auto_json *o = api_parse(text, length);
        json_object *root = member(o, "root_info", json_type_object);
        const char *id = api_string(root, "root_namespace_id", 128);

        if (id == NULL || *id == '\0')
                return -EPROTO;
        *ret_namespace = g_strdup(id);
        return 0;
}
