/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plugins/common/setting.h"

#include <errno.h>

#include "plugins/common/http.h"
#include "plugins/common/url.h"

int setting_refuse(struct setting_source *source, const char *format, ...) {
        va_list args;

        va_start(args, format);
        *source->detail = g_strdup_vprintf(format, args);
        va_end(args);
        return -EINVAL;
}

const char *setting_get(struct setting_source *source, const char *key) {
        const char *value = source->get(source->data, key);

        return value && *value ? value : NULL;
}

bool setting_is_plain(const char *s) {
        for (; *s; s++)
                if ((unsigned char)*s < 0x20 || *s == 0x7f)
                        return false;
        return true;
}

int setting_text(struct setting_source *source, const char *key, char **ret) {
        const char *value = setting_get(source, key);

        if (value != NULL && !setting_is_plain(value))
                return setting_refuse(source, "%s has control characters in it", key);
        *ret = g_strdup(value);
        return 0;
}

int setting_number(struct setting_source *source, const char *key, uint32_t low, uint32_t high,
                   uint32_t fallback, uint32_t *ret) {
        const char *value = setting_get(source, key);
        uint64_t n;

        *ret = fallback;
        if (value == NULL)
                return 0;
        if (http_parse_number(value, &n) < 0 || n < low || n > high)
                return setting_refuse(source, "%s has to be a number from %u to %u", key, low, high);
        *ret = (uint32_t)n;
        return 0;
}

int setting_bool(struct setting_source *source, const char *key, bool fallback, bool *ret) {
        const char *value = setting_get(source, key);

        *ret = fallback;
        if (value == NULL)
                return 0;
        if (!g_str_equal(value, "yes") && !g_str_equal(value, "no"))
                return setting_refuse(source, "%s has to be yes or no", key);
        *ret = g_str_equal(value, "yes");
        return 0;
}

int setting_url(struct setting_source *source, const char *key, const char *fallback, char **ret) {
        const char *value = setting_get(source, key), *why;

        if (url_parse_base(value ? value : fallback, ret, &why) < 0)
                return setting_refuse(source, "%s cannot be used: %s", key, why);
        return 0;
}

int setting_timeout(struct setting_source *source, const char *key, uint32_t fallback_s, uint32_t *ret_ms) {
        uint32_t seconds = 0;
        int r = setting_number(source, key, 1, 3600, fallback_s, &seconds);

        *ret_ms = seconds * 1000;
        return r;
}
