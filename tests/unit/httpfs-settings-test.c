/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>

#include "plugins/httpfs/settings.h"

static const char *from_strv(void *data, const char *key) {
        for (const char *const *p = data; p[0]; p += 2)
                if (g_str_equal(p[0], key))
                        return p[1];
        return NULL;
}

static int parse(struct settings *settings, const char *first, ...) {
        g_autoptr(GPtrArray) strings = g_ptr_array_new();
        g_autofree char *detail = NULL;
        va_list args;
        int r;

        va_start(args, first);
        for (const char *s = first; s; s = va_arg(args, const char *))
                g_ptr_array_add(strings, (gpointer)s);
        va_end(args);
        g_ptr_array_add(strings, NULL);
        r = settings_parse(from_strv, strings->pdata, settings, &detail);
        g_assert_cmpint(r < 0, ==, detail != NULL);
        if (r < 0) {
                g_test_message("%s", detail);
                g_assert_null(strstr(detail, "geheim"));
                g_assert_null(settings->url);
        }
        return r;
}

#define URL "url", "http://example.org/x"

static void test_defaults(void) {
        struct settings s;

        g_assert_cmpint(parse(&s, URL, NULL), ==, 0);
        g_assert_cmpstr(s.url, ==, "http://example.org/x/");
        g_assert_cmpint(s.listing, ==, SETTINGS_AUTO);
        g_assert_null(s.manifest);
        g_assert_null(s.authorization);
        g_assert_null(s.proxy);
        g_assert_null(s.cacert);
        g_assert_null(s.user_agent);
        g_assert_cmpuint(s.connect_timeout_ms, ==, 30000);
        g_assert_cmpuint(s.stall_timeout_ms, ==, 60000);
        g_assert_cmpuint(s.max_connections, ==, 32);
        g_assert_true(s.http2);
        g_assert_true(s.verify);
        settings_clear(&s);
}

static void test_all(void) {
        struct settings s;

        g_assert_cmpint(parse(&s, URL, "manifest", "m/files.jsonl", "username", "u", "password",
                              "p:w", "proxy", "http://proxy:3128", "cacert", "/etc/ca.pem", "verify",
                              "no", "connect_timeout", "1", "stall_timeout", "3600",
                              "max_connections", "256", "http2", "no", "user_agent", "me/1", NULL),
                        ==, 0);
        g_assert_cmpint(s.listing, ==, SETTINGS_MANIFEST);
        g_assert_cmpstr(s.manifest, ==, "m/files.jsonl");
        g_assert_cmpstr(s.authorization, ==, "Basic dTpwOnc=");
        g_assert_cmpstr(s.proxy, ==, "http://proxy:3128");
        g_assert_cmpuint(s.stall_timeout_ms, ==, 3600000);
        g_assert_cmpuint(s.max_connections, ==, 256);
        g_assert_false(s.http2);
        g_assert_false(s.verify);
        settings_clear(&s);

        g_assert_cmpint(parse(&s, URL, "bearer", "tok.en", "listing", "webdav", NULL), ==, 0);
        g_assert_cmpstr(s.authorization, ==, "Bearer tok.en");
        g_assert_cmpint(s.listing, ==, SETTINGS_WEBDAV);
        settings_clear(&s);

        /* Empty is absent. */
        g_assert_cmpint(parse(&s, URL, "bearer", "", "listing", "", "max_connections", "", NULL), ==, 0);
        settings_clear(&s);
}

static void test_refused(void) {
        static const char *const bad[][4] = {
                {"listing", "HTML"},
                {"listing", "manifest"},
                {"manifest", "../secret"},
                {"manifest", "/abs"},
                {"manifest", "a\nb"},
                {"manifest", "x", "listing", "json"},
                {"password", "geheim"},
                {"username", "a:b", "password", "geheim"},
                {"username", "a", "bearer", "geheim"},
                {"netrc", "/nonexistent", "bearer", "geheim"},
                {"bearer", "geheim x"},
                {"bearer", "geheim\r\nX: y"},
                {"user_agent", "a\r\nX: y"},
                {"proxy", "http://u:geheim@p\n"},
                {"netrc", "/nonexistent"},
                {"verify", "true"},
                {"http2", "1"},
                {"connect_timeout", "0"},
                {"connect_timeout", "3601"},
                {"connect_timeout", "-1"},
                {"connect_timeout", "5s"},
                {"max_connections", "257"},
                {"max_connections", "4294967297"},
        };
        struct settings s;

        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
                g_assert_cmpint(parse(&s, URL, bad[i][0], bad[i][1], bad[i][2], bad[i][3], NULL), ==,
                                -EINVAL);
        g_assert_cmpint(parse(&s, "listing", "html", NULL), ==, -EINVAL);
        g_assert_cmpint(parse(&s, "url", "http://u:geheim@h/", NULL), ==, -EINVAL);
}

static void test_netrc(void) {
        g_autofree char *dir = g_dir_make_tmp("settings-test-XXXXXX", NULL);
        g_autofree char *file = g_build_filename(dir, "netrc", NULL);
        struct settings s;

        g_assert_true(g_file_set_contents(file, "machine example.org login u password p:w\n", -1, NULL));
        g_assert_cmpint(parse(&s, URL, "netrc", file, NULL), ==, 0);
        g_assert_cmpstr(s.authorization, ==, "Basic dTpwOnc=");
        settings_clear(&s);
        g_assert_true(g_file_set_contents(file, "machine other login u password geheim\n", -1, NULL));
        g_assert_cmpint(parse(&s, URL, "netrc", file, NULL), ==, -EINVAL);
        g_assert_true(g_file_set_contents(file, "geheim\n", -1, NULL));
        g_assert_cmpint(parse(&s, URL, "netrc", file, NULL), ==, -EINVAL);
        g_unlink(file);
        g_rmdir(dir);
}

/* What is documented is what exists. */
static void test_info(void) {
        size_t n = 0;

        for (const struct cs_setting_info *info = settings_info; info->key; info++, n++) {
                g_assert_nonnull(info->help);
                g_assert_null(strchr(info->help, '\n'));
                g_assert_cmpint(info->required, ==, g_str_equal(info->key, "url"));
        }
        g_assert_cmpuint(n, ==, 15);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/httpfs-settings/defaults", test_defaults);
        g_test_add_func("/httpfs-settings/all", test_all);
        g_test_add_func("/httpfs-settings/refused", test_refused);
        g_test_add_func("/httpfs-settings/netrc", test_netrc);
        g_test_add_func("/httpfs-settings/info", test_info);
        return g_test_run();
}
