/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * listing-link — what a link in an index page names
 *
 * RFC 3986 resolution, cut down to the one question asked: is it a direct child of
 * this directory, and what is its name? Components are compared decoded, one by
 * one, so that "%61" is "a" but "%2F" is never a separator. Everything else is
 * either known furniture (parent, sort orders) or counted as leading elsewhere.
 */

#include "plugins/httpfs/listing.h"

#include <errno.h>
#include <glib.h>
#include <string.h>
#include <time.h>

#include "plugins/common/url.h"
#include "shared/names.h"

#define HREF_MAX 8192u

/* The path of "scheme://authority/path", or its end. */
static const char *path_of(const char *url) {
        const char *authority = strstr(url, "://");

        return authority ? authority + 3 + strcspn(authority + 3, "/?#") : url;
}

/* The length of "scheme:" in front, or 0. */
static size_t scheme_length(const char *href) {
        size_t n = 0;

        if (!g_ascii_isalpha(href[0]))
                return 0;
        while (g_ascii_isalnum(href[n]) || strchr("+-.", href[n] ? href[n] : ' '))
                n++;
        return href[n] == ':' ? n + 1 : 0;
}

static bool component_equal(const char *a, size_t a_length, const char *b, size_t b_length) {
        g_autofree char *x = NULL, *y = NULL;

        if (a_length == b_length && memcmp(a, b, a_length) == 0)
                return true;
        return url_decode(a, a_length, &x) >= 0 && url_decode(b, b_length, &y) >= 0 &&
               g_str_equal(x, y);
}

/* `path` (absolute) relative to the directory `base` (absolute, ends with '/'):
 * LINK_CHILD and what follows in *rest, LINK_IGNORE for base's parents, LINK_OUTSIDE. */
static enum listing_link below(const char *base, const char *path, const char **rest) {
        for (base++, path++; *base != '\0';) {
                size_t n = strcspn(base, "/"), m = strcspn(path, "/?#");

                if (m == 0 && path[0] != '/')
                        return LINK_IGNORE; /* it ended: a parent */
                if (path[m] != '/' || !component_equal(base, n, path, m))
                        return LINK_OUTSIDE;
                base += n + 1;
                path += m + 1;
        }
        *rest = path;
        return LINK_CHILD;
}

/* "../" any number of times, and no more. */
static bool is_parent(const char *href) {
        while (strncmp(href, "../", 3) == 0)
                href += 3;
        return *href == '\0' || g_str_equal(href, "..");
}

static enum listing_link child(const char *rest, char **ret_name) {
        size_t length = strcspn(rest, "?#");
        bool directory = false;
        g_autofree char *name = NULL;

        if (length == 0)
                return LINK_IGNORE; /* this page again, or sorted another way */
        if (rest[length] == '?')
                return LINK_OUTSIDE; /* a program's answer, not a file */
        while (length > 0 && g_ascii_isspace(rest[length - 1]))
                length--; /* layout, not part of the link */
        if (length == 0)
                return LINK_IGNORE;
        if (rest[length - 1] == '/') {
                directory = true;
                length--;
        }
        if (memchr(rest, '/', length) != NULL)
                return LINK_OUTSIDE;
        if (url_decode(rest, length, &name) < 0 || !name_is_component(name) ||
            !name_is_presentable(name))
                return LINK_BAD_NAME;
        *ret_name = g_steal_pointer(&name);
        return directory ? LINK_CHILD_DIRECTORY : LINK_CHILD;
}

enum listing_link listing_link(const char *url, const char *href, char **ret_name) {
        const char *rest = href;
        enum listing_link link;
        size_t scheme;

        *ret_name = NULL;
        while (g_ascii_isspace(*rest))
                rest++;
        if (strnlen(rest, HREF_MAX + 1) > HREF_MAX)
                return LINK_OUTSIDE;
        scheme = scheme_length(rest);
        if (scheme > 0 || strncmp(rest, "//", 2) == 0) {
                g_autofree char *whole = NULL;

                if (scheme == 0)
                        whole = g_strdup_printf("%.*s:%s", (int)strcspn(url, ":"), url, rest);
                else
                        whole = g_strdup(rest);
                if (strstr(whole, "://") == NULL || !url_same_origin(url, whole))
                        return LINK_OUTSIDE;
                rest = href + strlen(href) - strlen(path_of(whole));
                if (*rest != '/')
                        return LINK_IGNORE; /* the server's root */
        }
        if (*rest == '/') {
                link = below(path_of(url), rest, &rest);
                return link == LINK_CHILD ? child(rest, ret_name) : link;
        }
        if (is_parent(rest) && *rest != '\0')
                return LINK_IGNORE;
        if (strncmp(rest, "../", 3) == 0)
                return LINK_OUTSIDE;
        while (strncmp(rest, "./", 2) == 0)
                rest += 2;
        if (g_str_equal(rest, "."))
                return LINK_IGNORE;
        return child(rest, ret_name);
}

/* Dates -------------------------------------------------------------------- */

static bool digits(const char *s, int n, int *ret) {
        *ret = 0;
        for (int i = 0; i < n; i++) {
                if (!g_ascii_isdigit(s[i]))
                        return false;
                *ret = *ret * 10 + (s[i] - '0');
        }
        return true;
}

static bool month(const char *s, int *ret) {
        static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

        for (int i = 0; i < 12; i++)
                if (strncmp(s, names + 3 * i, 3) == 0) {
                        *ret = i + 1;
                        return true;
                }
        return false;
}

/* The three orders of a date at `s`; the length that was taken, or 0. */
static size_t date_at(const char *s, struct tm *tm) {
        int year, mon, day;

        if (digits(s, 2, &day) && s[2] == '-' && month(s + 3, &mon) && s[6] == '-' &&
            digits(s + 7, 4, &year)) {
                *tm = (struct tm){.tm_year = year - 1900, .tm_mon = mon - 1, .tm_mday = day};
                return 11;
        }
        if (!digits(s, 4, &year) || s[4] != '-')
                return 0;
        if (digits(s + 5, 2, &mon) && s[7] == '-' && digits(s + 8, 2, &day)) {
                *tm = (struct tm){.tm_year = year - 1900, .tm_mon = mon - 1, .tm_mday = day};
                return 10;
        }
        if (month(s + 5, &mon) && s[8] == '-' && digits(s + 9, 2, &day)) {
                *tm = (struct tm){.tm_year = year - 1900, .tm_mon = mon - 1, .tm_mday = day};
                return 11;
        }
        return 0;
}

bool listing_date(const char *text, int64_t *ret) {
        for (const char *s = text; *s; s++) {
                struct tm tm;
                size_t n;

                if (!g_ascii_isdigit(*s) || (s > text && g_ascii_isdigit(s[-1])))
                        continue;
                n = date_at(s, &tm);
                if (n == 0 || s[n] != ' ' || !digits(s + n + 1, 2, &tm.tm_hour) ||
                    s[n + 3] != ':' || !digits(s + n + 4, 2, &tm.tm_min))
                        continue;
                if (s[n + 6] == ':' && !digits(s + n + 7, 2, &tm.tm_sec))
                        continue;
                if (tm.tm_mon < 0 || tm.tm_mon > 11 || tm.tm_mday < 1 || tm.tm_mday > 31 ||
                    tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
                        continue;
                *ret = timegm(&tm);
                return true;
        }
        return false;
}
