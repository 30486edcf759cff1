/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * url — locators to URLs and back
 *
 * Whole URLs are taken apart by libcurl's URL API, the same parser that later
 * connects, so that a check here and the transfer never disagree about where the
 * host ends. Paths below a base are put together and taken apart by hand: they
 * are many, and their encoding has to be the same each time.
 */

#include "plugins/common/url.h"

#include <curl/curl.h>
#include <errno.h>
#include <glib.h>
#include <stdint.h>
#include <string.h>

static void curl_string_free(char **s) {
        curl_free(*s);
}

#define auto_curl __attribute__((cleanup(curl_string_free)))

static void curlu_cleanup(CURLU **u) {
        curl_url_cleanup(*u);
}

#define auto_curlu __attribute__((cleanup(curlu_cleanup)))

static bool scheme_is_web(CURLU *u) {
        auto_curl char *scheme = NULL;

        if (curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK)
                return false;
        return g_str_equal(scheme, "http") || g_str_equal(scheme, "https");
}

static bool has_part(CURLU *u, CURLUPart part) {
        auto_curl char *value = NULL;

        return curl_url_get(u, part, &value, 0) == CURLUE_OK;
}

static bool has_controls(const char *s) {
        for (; *s; s++)
                if ((unsigned char)*s <= 0x20 || *s == 0x7f)
                        return true;
        return false;
}

int url_parse_base(const char *url, char **ret, const char **ret_detail) {
        auto_curlu CURLU *u = curl_url();
        auto_curl char *path = NULL, *whole = NULL;

        *ret = NULL;
        *ret_detail = "it is not a URL";
        if (u == NULL || strlen(url) > URL_MAX / 2 || has_controls(url))
                return -EINVAL;
        if (curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK || !scheme_is_web(u)) {
                *ret_detail = "it has to begin with http:// or https://";
                return -EINVAL;
        }
        if (has_part(u, CURLUPART_USER) || has_part(u, CURLUPART_PASSWORD)) {
                *ret_detail = "credentials belong into the settings username and password";
                return -EINVAL;
        }
        if (has_part(u, CURLUPART_QUERY) || has_part(u, CURLUPART_FRAGMENT) ||
            strpbrk(url, "?#") != NULL) {
                *ret_detail = "a query or a fragment has no place in it";
                return -EINVAL;
        }
        if (curl_url_get(u, CURLUPART_PATH, &path, 0) != CURLUE_OK)
                return -EINVAL;
        if (!g_str_has_suffix(path, "/")) {
                g_autofree char *with_slash = g_strconcat(path, "/", NULL);

                if (curl_url_set(u, CURLUPART_PATH, with_slash, 0) != CURLUE_OK)
                        return -EINVAL;
        }
        if (curl_url_get(u, CURLUPART_URL, &whole, 0) != CURLUE_OK)
                return -EINVAL;
        *ret = g_strdup(whole);
        return 0;
}

bool url_locator_is_valid(const char *locator) {
        const char *p = locator;

        if (*p == '\0')
                return true;
        for (;;) {
                size_t n = strcspn(p, "/");

                if (n == 0 || n > 255 || (n == 1 && p[0] == '.') ||
                    (n == 2 && p[0] == '.' && p[1] == '.'))
                        return false;
                if (p[n] == '\0')
                        return true;
                p += n + 1;
        }
}

static bool is_unreserved(unsigned char c) {
        return g_ascii_isalnum(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

char *url_join(const char *base, const char *locator, bool directory) {
        static const char hex[16] = "0123456789ABCDEF";
        size_t base_length = strlen(base), n = strlen(locator);
        char *url = g_malloc(base_length + 3 * n + 2), *q = url + base_length;

        memcpy(url, base, base_length);
        for (const unsigned char *p = (const unsigned char *)locator; *p; p++)
                if (is_unreserved(*p) || *p == '/') {
                        *q++ = (char)*p;
                } else {
                        *q++ = '%';
                        *q++ = hex[*p >> 4];
                        *q++ = hex[*p & 15];
                }
        if (directory && n > 0)
                *q++ = '/';
        *q = '\0';
        return url;
}

int url_decode(const char *s, size_t length, char **ret) {
        g_autofree char *decoded = g_try_malloc(length + 1);
        size_t n = 0;

        *ret = NULL;
        if (decoded == NULL)
                return -ENOMEM;
        for (size_t i = 0; i < length; i++) {
                int c = (unsigned char)s[i];

                if (c == '%') {
                        int high = length - i > 2 ? g_ascii_xdigit_value(s[i + 1]) : -1;
                        int low = length - i > 2 ? g_ascii_xdigit_value(s[i + 2]) : -1;

                        if (high < 0 || low < 0)
                                return -EINVAL;
                        c = high << 4 | low;
                        if (c == '/')
                                return -EINVAL;
                        i += 2;
                }
                if (c == '\0')
                        return -EINVAL;
                decoded[n++] = (char)c;
        }
        decoded[n] = '\0';
        *ret = g_steal_pointer(&decoded);
        return 0;
}

static void drop_user(CURLU *u) {
        curl_url_set(u, CURLUPART_USER, NULL, 0);
        curl_url_set(u, CURLUPART_PASSWORD, NULL, 0);
        curl_url_set(u, CURLUPART_OPTIONS, NULL, 0);
}

char *url_printable(const char *url) {
        auto_curlu CURLU *u = curl_url();
        auto_curl char *whole = NULL;

        if (u == NULL || curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK)
                return g_strdup("(malformed URL)");
        drop_user(u);
        if (curl_url_get(u, CURLUPART_URL, &whole, 0) != CURLUE_OK)
                return g_strdup("(malformed URL)");
        return g_strdup(whole);
}

static bool same_part(CURLU *a, CURLU *b, CURLUPart part, unsigned flags) {
        auto_curl char *x = NULL, *y = NULL;

        if (curl_url_get(a, part, &x, flags) != CURLUE_OK ||
            curl_url_get(b, part, &y, flags) != CURLUE_OK)
                return false;
        return g_ascii_strcasecmp(x, y) == 0;
}

bool url_same_origin(const char *a, const char *b) {
        auto_curlu CURLU *u = curl_url();
        auto_curlu CURLU *v = curl_url();

        if (u == NULL || v == NULL || curl_url_set(u, CURLUPART_URL, a, 0) != CURLUE_OK ||
            curl_url_set(v, CURLUPART_URL, b, 0) != CURLUE_OK)
                return false;
        return same_part(u, v, CURLUPART_SCHEME, 0) && same_part(u, v, CURLUPART_HOST, 0) &&
               same_part(u, v, CURLUPART_PORT, CURLU_DEFAULT_PORT);
}

int url_resolve(const char *base, const char *reference, char **ret) {
        auto_curlu CURLU *u = curl_url();
        auto_curl char *whole = NULL;

        *ret = NULL;
        if (u == NULL || strlen(reference) > URL_MAX || has_controls(reference))
                return -EINVAL;
        if (curl_url_set(u, CURLUPART_URL, base, 0) != CURLUE_OK ||
            curl_url_set(u, CURLUPART_URL, reference, 0) != CURLUE_OK || !scheme_is_web(u))
                return -EINVAL;
        drop_user(u);
        curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0);
        if (curl_url_get(u, CURLUPART_URL, &whole, 0) != CURLUE_OK || strlen(whole) > URL_MAX)
                return -EINVAL;
        *ret = g_strdup(whole);
        return 0;
}
