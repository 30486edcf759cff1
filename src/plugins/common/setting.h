/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * setting — what an administrator wrote, read and checked; for the settings.c of each module
 *
 * Every function returns 0, or -EINVAL with a sentence in *source->detail (to g_free()) that names the
 * key and what it may be, and never the value: that may be a secret. An empty value is an
 * absent one.
 */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef const char *(*setting_get_fn)(void *data, const char *key);

struct setting_source {
        setting_get_fn get;
        void *data;
        char **detail;
};

/* Says why, and is -EINVAL. */
int setting_refuse(struct setting_source *source, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* The value, or NULL when it is absent or empty. */
const char *setting_get(struct setting_source *source, const char *key);
/* Without control characters. */
bool setting_is_plain(const char *s);
/* A copy, or NULL; plain. */
int setting_text(struct setting_source *source, const char *key, char **ret);
int setting_number(struct setting_source *source, const char *key, uint32_t low, uint32_t high,
                   uint32_t fallback, uint32_t *ret);
/* "yes" or "no". */
int setting_bool(struct setting_source *source, const char *key, bool fallback, bool *ret);
/* As url_parse_base(). */
int setting_url(struct setting_source *source, const char *key, const char *fallback, char **ret);
/* Seconds, 1 to 3600, as milliseconds. */
int setting_timeout(struct setting_source *source, const char *key, uint32_t fallback_s, uint32_t *ret_ms);
