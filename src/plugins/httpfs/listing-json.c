/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * listing-json — nginx's "autoindex_format json"
 *
 *     [
 *     { "name":"a", "type":"directory", "mtime":"Wed, 25 Nov 2026 21:57:01 GMT" },
 *     { "name":"b", "type":"file", "mtime":"…", "size":123 }
 *     ]
 *
 * The array is walked here and each element parsed by json-c on its own, so that
 * memory is one element's, whatever the length of the list.
 */

#include <errno.h>
#include <json-c/json.h>
#include <string.h>

#include "plugins/common/http.h"
#include "plugins/httpfs/listing-private.h"

enum state {
        BEFORE_ARRAY,
        BEFORE_FIRST, /* an element or ']' */
        IN_ELEMENT,
        AFTER_ELEMENT,  /* ',' or ']' */
        BEFORE_ELEMENT, /* after a ',' */
        AFTER_ARRAY,
};

struct listing_json {
        struct listing *listing;
        struct json_tokener *tokener;
        enum state state;
        size_t element_bytes;
};

/* A string member without a NUL in it, or NULL. */
static const char *string_member(struct json_object *object, const char *key) {
        struct json_object *value;

        if (!json_object_object_get_ex(object, key, &value) ||
            !json_object_is_type(value, json_type_string) ||
            strlen(json_object_get_string(value)) != (size_t)json_object_get_string_len(value))
                return NULL;
        return json_object_get_string(value);
}

static void element(struct listing_json *json, struct json_object *object) {
        struct listing_entry entry = {.exact = true};
        const char *type = string_member(object, "type");
        const char *mtime = string_member(object, "mtime");
        struct json_object *size;

        entry.name = string_member(object, "name");
        if (entry.name == NULL) {
                skips_count(json->listing->skips, SKIP_MALFORMED, "an element without a name");
                return;
        }
        entry.directory = type != NULL && g_str_equal(type, "directory");
        entry.unknown = type == NULL;
        if (entry.unknown)
                skips_count(json->listing->skips, SKIP_NONSENSE, entry.name);
        else if (!entry.directory && !g_str_equal(type, "file"))
                return; /* "other": a socket, a device */
        if (mtime == NULL || http_parse_date(mtime, &entry.mtime_sec) < 0)
                entry.exact = entry.directory;
        if (!entry.directory && !entry.unknown) {
                if (json_object_object_get_ex(object, "size", &size) &&
                    json_object_is_type(size, json_type_int) && json_object_get_int64(size) >= 0 &&
                    json_object_get_int64(size) < INT64_MAX)
                        entry.size = (uint64_t)json_object_get_int64(size);
                else
                        entry.exact = false;
        }
        listing_emit(json->listing, &entry);
}

/* Gives bytes to json-c until the element ends; how many it took. */
static size_t element_feed(struct listing_json *json, const char *bytes, size_t length) {
        struct json_object *object =
                json_tokener_parse_ex(json->tokener, bytes, (int)MIN(length, LISTING_ELEMENT_MAX));
        enum json_tokener_error error = json_tokener_get_error(json->tokener);
        size_t used = json_tokener_get_parse_end(json->tokener);

        json->element_bytes += used;
        if (error == json_tokener_continue) {
                if (used == 0 || json->element_bytes > LISTING_ELEMENT_MAX)
                        listing_fail(json->listing, -EPROTO);
                return used;
        }
        if (error != json_tokener_success || object == NULL)
                listing_fail(json->listing, -EPROTO);
        else
                element(json, object);
        json_object_put(object);
        json_tokener_reset(json->tokener);
        json->state = AFTER_ELEMENT;
        return used;
}

/* One byte of the array's own; false: it begins an element. */
static bool between(struct listing_json *json, char c) {
        switch (json->state) {
        case BEFORE_ARRAY:
                if (c == '[') {
                        json->state = BEFORE_FIRST;
                        return true;
                }
                break;
        case BEFORE_FIRST:
                if (c == ']') {
                        json->state = AFTER_ARRAY;
                        return true;
                }
                G_GNUC_FALLTHROUGH;
        case BEFORE_ELEMENT:
                if (c == '{') {
                        json->state = IN_ELEMENT;
                        json->element_bytes = 0;
                        return false;
                }
                break;
        case AFTER_ELEMENT:
                if (c == ',' || c == ']') {
                        json->state = c == ',' ? BEFORE_ELEMENT : AFTER_ARRAY;
                        return true;
                }
                break;
        case IN_ELEMENT:
        case AFTER_ARRAY:
                break;
        }
        listing_fail(json->listing, -EPROTO);
        return true;
}

struct listing_json *listing_json_new(struct listing *listing) {
        struct listing_json *json = g_new0(struct listing_json, 1);

        json->listing = listing;
        json->tokener = json_tokener_new_ex(8);
        if (json->tokener == NULL)
                listing_fail(listing, -ENOMEM);
        return json;
}

void listing_json_feed(struct listing_json *json, const char *bytes, size_t length) {
        for (size_t at = 0; at < length && json->listing->error == 0;) {
                if (json->state != IN_ELEMENT) {
                        if (strchr(" \t\r\n", bytes[at]) != NULL && bytes[at] != '\0') {
                                at++;
                                continue;
                        }
                        if (between(json, bytes[at])) {
                                at++;
                                continue;
                        }
                }
                at += element_feed(json, bytes + at, length - at);
        }
}

void listing_json_finish(struct listing_json *json) {
        if (json->state != AFTER_ARRAY)
                listing_fail(json->listing, -EPROTO);
}

void listing_json_free(struct listing_json *json) {
        if (json == NULL)
                return;
        if (json->tokener != NULL)
                json_tokener_free(json->tokener);
        g_free(json);
}
