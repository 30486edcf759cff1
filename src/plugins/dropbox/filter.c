/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plugins/dropbox/filter.h"

#include <errno.h>
#include <fnmatch.h>
#include <glib.h>
#include <string.h>

struct pattern {
        char **parts; /* one, when it is not anchored */
        guint n;
        bool anchored;
};

struct filter {
        GArray *include, *exclude; /* of struct pattern */
};

static void pattern_clear(void *item) {
        g_strfreev(((struct pattern *)item)->parts);
}

static int pattern_parse(const char *text, struct pattern *ret) {
        g_autofree char *trimmed = g_strstrip(g_strdup(text));
        char *begin = trimmed;
        size_t length;

        ret->anchored = strchr(trimmed, '/') != NULL;
        begin += *begin == '/';
        length = strlen(begin);
        if (length > 0 && begin[length - 1] == '/')
                begin[length - 1] = '\0';
        ret->parts = g_strsplit(begin, "/", -1);
        ret->n = g_strv_length(ret->parts);
        for (guint i = 0; i < ret->n; i++)
                if (*ret->parts[i] == '\0')
                        return -EINVAL;
        return ret->n > 0 ? 0 : -EINVAL;
}

static int patterns_parse(const char *text, GArray **ret) {
        g_auto(GStrv) list = NULL;

        *ret = g_array_new(FALSE, FALSE, sizeof(struct pattern));
        g_array_set_clear_func(*ret, pattern_clear);
        if (text == NULL || *text == '\0')
                return 0;
        list = g_strsplit(text, ";", -1);
        for (guint i = 0; list[i] != NULL; i++) {
                struct pattern pattern = {0};
                int r;

                if (*list[i] == '\0' && list[i + 1] == NULL && i > 0)
                        break; /* one ';' at the end */
                r = pattern_parse(list[i], &pattern);
                g_array_append_val(*ret, pattern);
                if (r < 0)
                        return r;
        }
        return 0;
}

int filter_new(const char *include, const char *exclude, struct filter **ret) {
        struct filter *filter = g_new0(struct filter, 1);
        int r = patterns_parse(include, &filter->include);
        int q = patterns_parse(exclude, &filter->exclude);

        *ret = filter;
        if (r == 0 && q == 0)
                return 0;
        filter_free(filter);
        *ret = NULL;
        return -EINVAL;
}

void filter_free(struct filter *filter) {
        if (filter == NULL)
                return;
        g_array_unref(filter->include);
        g_array_unref(filter->exclude);
        g_free(filter);
}

static bool part_matches(const char *pattern, const char *name) {
        return fnmatch(pattern, name, FNM_CASEFOLD | FNM_NOESCAPE) == 0;
}

/* Does it match the entry with these components, or something above it? *ret_leads: or is the
 * entry above something that it could match? */
static bool pattern_matches(const struct pattern *pattern, char **parts, guint n, bool *ret_leads) {
        if (!pattern->anchored) {
                for (guint i = 0; i < n; i++)
                        if (part_matches(pattern->parts[0], parts[i]))
                                return true;
                *ret_leads = true;
                return false;
        }
        for (guint i = 0; i < pattern->n && i < n; i++)
                if (!part_matches(pattern->parts[i], parts[i]))
                        return false;
        if (n >= pattern->n)
                return true;
        *ret_leads = true;
        return false;
}

static bool any_matches(const GArray *patterns, char **parts, guint n, bool *ret_leads) {
        for (guint i = 0; i < patterns->len; i++)
                if (pattern_matches(&g_array_index(patterns, struct pattern, i), parts, n, ret_leads))
                        return true;
        return false;
}

bool filter_shows(const struct filter *filter, const char *path, bool folder) {
        g_auto(GStrv) parts = NULL;
        bool leads = false, ignored = false;
        guint n;

        if (filter->include->len == 0 && filter->exclude->len == 0)
                return true;
        parts = g_strsplit(path, "/", -1);
        n = g_strv_length(parts);
        if (any_matches(filter->exclude, parts, n, &ignored))
                return false;
        return filter->include->len == 0 || any_matches(filter->include, parts, n, &leads) ||
               (folder && leads);
}
