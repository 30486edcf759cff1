/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plugins/httpfs/manifest.h"

#include <cloudsync/engine.h>
#include <errno.h>
#include <glib.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/common/http.h"
#include "plugins/common/url.h"
#include "shared/names.h"

struct item {
        uint32_t path;    /* in the text */
        uint32_t version; /* in the text; 0: none */
        bool directory, exact;
        uint32_t mtime_nsec;
        uint64_t size;
        int64_t mtime_sec;
};

struct manifest {
        char *text; /* owned; the first byte is NUL, so that 0 is no offset */
        size_t text_used, text_capacity;
        struct item *items;
        size_t n, capacity;
        GString *line; /* one that is not complete yet */
        struct json_tokener *tokener;
        uint64_t bytes;
        struct skips skips;
};

struct manifest *manifest_new(void) {
        struct manifest *manifest = g_new0(struct manifest, 1);

        manifest->line = g_string_new(NULL);
        manifest->tokener = json_tokener_new_ex(8);
        manifest->text = g_malloc0(4096);
        manifest->text_capacity = 4096;
        manifest->text_used = 1;
        return manifest;
}

void manifest_free(struct manifest *manifest) {
        if (manifest == NULL)
                return;
        g_free(manifest->text);
        g_free(manifest->items);
        g_string_free(manifest->line, TRUE);
        if (manifest->tokener != NULL)
                json_tokener_free(manifest->tokener);
        skips_clear(&manifest->skips);
        g_free(manifest);
}

const struct skips *manifest_skips(const struct manifest *manifest) {
        return &manifest->skips;
}

/* Reading ------------------------------------------------------------------ */

static int text_add(struct manifest *manifest, const char *s, size_t length, uint32_t *ret) {
        if (manifest->text_used + length + 1 > manifest->text_capacity) {
                size_t capacity =
                        MAX(manifest->text_capacity * 2, manifest->text_used + length + 1);
                char *text = g_try_realloc(manifest->text, capacity);

                if (text == NULL)
                        return -ENOMEM;
                manifest->text = text;
                manifest->text_capacity = capacity;
        }
        memcpy(manifest->text + manifest->text_used, s, length);
        manifest->text[manifest->text_used + length] = '\0';
        *ret = (uint32_t)manifest->text_used;
        manifest->text_used += length + 1;
        return 0;
}

static int item_add(struct manifest *manifest, const struct item *item) {
        if (manifest->n == manifest->capacity) {
                size_t capacity = MAX(manifest->capacity * 2, 256);
                struct item *items = g_try_realloc_n(manifest->items, capacity, sizeof *items);

                if (items == NULL)
                        return -ENOMEM;
                manifest->items = items;
                manifest->capacity = capacity;
        }
        manifest->items[manifest->n++] = *item;
        return 0;
}

static struct json_object *member(struct json_object *object, const char *key,
                                  enum json_type type) {
        struct json_object *value;

        if (!json_object_object_get_ex(object, key, &value) || !json_object_is_type(value, type))
                return NULL;
        return value;
}

static const char *text_member(struct json_object *object, const char *key) {
        struct json_object *value = member(object, key, json_type_string);
        const char *text = value ? json_object_get_string(value) : NULL;

        return text && strlen(text) == (size_t)json_object_get_string_len(value) ? text : NULL;
}

static bool path_is_good(const char *path) {
        if (*path == '\0' || strlen(path) > CS_LOCATOR_MAX || !url_locator_is_valid(path))
                return false;
        for (; *path; path++)
                if ((unsigned char)*path < 0x20 || *path == 0x7f)
                        return false;
        return true;
}

static bool mtime_parse(struct json_object *object, struct item *item) {
        struct json_object *value;
        const char *date = text_member(object, "mtime");
        double seconds;

        if (date != NULL)
                return http_parse_date(date, &item->mtime_sec) >= 0;
        value = member(object, "mtime", json_type_int);
        if (value != NULL) {
                item->mtime_sec = json_object_get_int64(value);
                return item->mtime_sec > INT64_MIN / 2 && item->mtime_sec < INT64_MAX / 2;
        }
        value = member(object, "mtime", json_type_double);
        if (value == NULL)
                return false;
        seconds = json_object_get_double(value);
        if (!(seconds > -1e12 && seconds < 1e12))
                return false;
        item->mtime_sec = (int64_t)seconds - (seconds < (double)(int64_t)seconds);
        item->mtime_nsec = (uint32_t)MIN((seconds - (double)item->mtime_sec) * 1e9, 999999999.0);
        return true;
}

static int version_parse(struct manifest *manifest, struct json_object *object, struct item *item) {
        const char *etag = text_member(object, "etag");
        g_autofree char *quoted = NULL;

        if (etag == NULL || *etag == '\0')
                return 0;
        if (etag[0] != '"' && !g_str_has_prefix(etag, "W/"))
                etag = quoted = g_strdup_printf("\"%s\"", etag);
        if (!http_etag_is_strong(etag) || strlen(etag) > CS_VERSION_MAX)
                return 0;
        return text_add(manifest, etag, strlen(etag), &item->version);
}

static int object_take(struct manifest *manifest, struct json_object *object) {
        const char *path = text_member(object, "path");
        struct json_object *size = member(object, "size", json_type_int);
        g_autofree char *directory = NULL;
        struct item item = {0};
        int r;

        if (path == NULL) {
                skips_count(&manifest->skips, SKIP_MALFORMED, "a line without a path");
                return 0;
        }
        if (g_str_has_suffix(path, "/")) {
                path = directory = g_strndup(path, strlen(path) - 1);
                item.directory = item.exact = true;
        }
        if (!path_is_good(path)) {
                skips_count(&manifest->skips, SKIP_NAME, path);
                return 0;
        }
        item.exact = mtime_parse(object, &item) || item.directory;
        if (!item.directory) {
                if (size != NULL && json_object_get_int64(size) >= 0 &&
                    json_object_get_int64(size) < INT64_MAX)
                        item.size = (uint64_t)json_object_get_int64(size);
                else
                        item.exact = false;
                r = version_parse(manifest, object, &item);
                if (r < 0)
                        return r;
        }
        r = text_add(manifest, path, strlen(path), &item.path);
        return r < 0 ? r : item_add(manifest, &item);
}

static int line_take(struct manifest *manifest, const char *line, size_t length) {
        struct json_object *object;
        int r = -EPROTO;

        while (length > 0 && g_ascii_isspace(line[length - 1]))
                length--;
        while (length > 0 && g_ascii_isspace(*line)) {
                line++;
                length--;
        }
        if (length == 0)
                return 0;
        if (manifest->tokener == NULL)
                return -ENOMEM;
        json_tokener_reset(manifest->tokener);
        object = json_tokener_parse_ex(manifest->tokener, line, (int)length);
        if (json_tokener_get_error(manifest->tokener) == json_tokener_success &&
            json_tokener_get_parse_end(manifest->tokener) == length &&
            json_object_is_type(object, json_type_object))
                r = object_take(manifest, object);
        json_object_put(object);
        return r;
}

int manifest_feed(struct manifest *manifest, const char *bytes, size_t length) {
        manifest->bytes += length;
        if (manifest->bytes > LISTING_BYTES_MAX)
                return -EFBIG;
        while (length > 0) {
                const char *newline = memchr(bytes, '\n', length);
                size_t n = newline ? (size_t)(newline - bytes) : length;
                int r = 0;

                if (manifest->line->len + n > LISTING_ELEMENT_MAX)
                        return -EPROTO;
                if (newline == NULL) {
                        g_string_append_len(manifest->line, bytes, (gssize)n);
                        return 0;
                }
                if (manifest->line->len == 0) {
                        r = line_take(manifest, bytes, n);
                } else {
                        g_string_append_len(manifest->line, bytes, (gssize)n);
                        r = line_take(manifest, manifest->line->str, manifest->line->len);
                        g_string_truncate(manifest->line, 0);
                }
                if (r < 0)
                        return r;
                bytes += n + 1;
                length -= n + 1;
        }
        return 0;
}

static int compare(const void *a, const void *b, void *data) {
        const struct item *x = a, *y = b;
        const char *text = data;
        int r = strcmp(text + x->path, text + y->path);

        /* Of two of one name the first line counts. */
        return r ? r : x->path < y->path ? -1 : 1;
}

int manifest_finish(struct manifest *manifest) {
        size_t n = 0;
        int r = line_take(manifest, manifest->line->str, manifest->line->len);

        if (r < 0)
                return r;
        if (manifest->n > 0)
                qsort_r(manifest->items, manifest->n, sizeof *manifest->items, compare,
                        manifest->text);
        for (size_t i = 0; i < manifest->n; i++) {
                const char *path = manifest->text + manifest->items[i].path;

                if (n > 0 && g_str_equal(manifest->text + manifest->items[n - 1].path, path))
                        skips_count(&manifest->skips, SKIP_DUPLICATE, path);
                else
                        manifest->items[n++] = manifest->items[i];
        }
        manifest->n = n;
        return 0;
}

/* Asking ------------------------------------------------------------------- */

static const char *path_at(const struct manifest *manifest, size_t i) {
        return manifest->text + manifest->items[i].path;
}

/* The first item that is not below `path` in byte order. */
static size_t lower_bound(const struct manifest *manifest, const char *path) {
        size_t low = 0, high = manifest->n;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (strcmp(path_at(manifest, middle), path) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

/* Is anything below the directory `path`? */
static bool has_children(const struct manifest *manifest, const char *path) {
        g_autofree char *inside = g_strconcat(path, "/", NULL);
        size_t i = lower_bound(manifest, inside);

        return i < manifest->n && g_str_has_prefix(path_at(manifest, i), inside);
}

static const struct item *exact_item(const struct manifest *manifest, const char *path) {
        size_t i = lower_bound(manifest, path);

        if (i == manifest->n || !g_str_equal(path_at(manifest, i), path))
                return NULL;
        return &manifest->items[i];
}

static struct listing_entry entry_of(const struct manifest *manifest, const struct item *item,
                                     const char *name) {
        return (struct listing_entry){
                .directory = item->directory,
                .exact = item->exact,
                .name = name,
                .version = item->version ? manifest->text + item->version : NULL,
                .size = item->size,
                .mtime_sec = item->mtime_sec,
                .mtime_nsec = item->mtime_nsec,
        };
}

bool manifest_find(const struct manifest *manifest, const char *locator,
                   struct listing_entry *ret) {
        const struct item *item = exact_item(manifest, locator);

        if (*locator == '\0' || has_children(manifest, locator)) {
                *ret = (struct listing_entry){.directory = true, .exact = true, .name = ""};
                if (item != NULL && item->directory)
                        ret->mtime_sec = item->mtime_sec;
                return true;
        }
        if (item == NULL)
                return false;
        *ret = entry_of(manifest, item, "");
        return true;
}

int manifest_list(const struct manifest *manifest, const char *locator, struct skips *skips,
                  listing_fn fn, void *data) {
        g_autofree char *inside = *locator ? g_strconcat(locator, "/", NULL) : g_strdup("");
        size_t inside_length = strlen(inside), i;
        struct listing_entry self;
        int r = 0;

        if (!manifest_find(manifest, locator, &self) || !self.directory)
                return -ENOENT;
        i = lower_bound(manifest, inside);
        while (r == 0 && i < manifest->n && g_str_has_prefix(path_at(manifest, i), inside)) {
                const char *path = path_at(manifest, i), *name = path + inside_length;
                size_t n = strcspn(name, "/");
                struct listing_entry entry;

                if (name[n] == '\0') {
                        const struct item *item = &manifest->items[i++];

                        entry = entry_of(manifest, item, name);
                        if (!item->directory && has_children(manifest, path)) {
                                skips_count(skips, SKIP_DUPLICATE, path);
                                continue;
                        }
                        r = fn(data, &entry);
                } else {
                        /* A directory by what is in it; then past all of that. */
                        g_autofree char *child = g_strndup(path, inside_length + n);
                        g_autofree char *after = g_strconcat(child, "0", NULL); /* '/' + 1 */
                        const struct item *item = exact_item(manifest, child);

                        i = lower_bound(manifest, after);
                        if (item != NULL && item->directory)
                                continue; /* came under its own line */
                        entry = (struct listing_entry){
                                .directory = true, .exact = true, .name = child + inside_length};
                        r = fn(data, &entry);
                }
        }
        return r;
}
