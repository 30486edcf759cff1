/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* names: tables of what is and what is not */

#include <string.h>

#include <glib.h>

#include "shared/names.h"

static char *repeat(const char *s, size_t n) {
        GString *r = g_string_new(NULL);

        while (n--)
                g_string_append(r, s);
        return g_string_free(r, FALSE);
}

static void test_id(void) {
        static const char *const good[] = {"a", "httpfs", "a-b_c9", "z0"};
        static const char *const bad[] = {"",  "A",   "aB",    "1a", "-a",  "_a",      "a b",
                                          "a/", "../a", "a.so", "a\n", "\xc3\xa4", "a\xff"};
        g_autofree char *longest = repeat("a", 32), *too_long = repeat("a", 33);

        for (size_t i = 0; i < G_N_ELEMENTS(good); i++)
                g_assert_true(name_is_id(good[i]));
        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
                g_assert_false(name_is_id(bad[i]));
        g_assert_true(name_is_id(longest));
        g_assert_false(name_is_id(too_long));
        g_assert_false(name_is_id(NULL));
}

static void test_setting_key(void) {
        g_autofree char *longest = repeat("K", 64), *too_long = repeat("K", 65);

        g_assert_true(name_is_setting_key("Max-Requests_2.x"));
        g_assert_true(name_is_setting_key(longest));
        g_assert_false(name_is_setting_key(too_long));
        g_assert_false(name_is_setting_key(""));
        g_assert_false(name_is_setting_key("a=b"));
        g_assert_false(name_is_setting_key("a b"));
        g_assert_false(name_is_setting_key("[x]"));
        g_assert_false(name_is_setting_key(NULL));
}

static void test_component(void) {
        g_autofree char *longest = repeat("n", 255), *too_long = repeat("n", 256);

        g_assert_true(name_is_component("a"));
        g_assert_true(name_is_component("..."));
        g_assert_true(name_is_component(".a"));
        g_assert_true(name_is_component("..a"));
        g_assert_true(name_is_component("a\nb"));
        g_assert_true(name_is_component("\xff\xfe"));
        g_assert_true(name_is_component(longest));
        g_assert_false(name_is_component(too_long));
        g_assert_false(name_is_component(""));
        g_assert_false(name_is_component("."));
        g_assert_false(name_is_component(".."));
        g_assert_false(name_is_component("a/b"));
        g_assert_false(name_is_component("/"));

        g_assert_true(name_is_presentable("a b\xff"));
        g_assert_false(name_is_presentable("a\nb"));
        g_assert_false(name_is_presentable("\x1b[2J"));
        g_assert_false(name_is_presentable("\x7f"));
        g_assert_false(name_is_presentable(".."));
}

static void test_prefix(void) {
        static const char *const good[] = {"a", "a/b", "a/b/c", "..a/...", "m\xc3\xbcsik/x",
                                           ".cloudsyncd", "a/.cloudsync", "with space"};
        static const char *const bad[] = {"", "/", "/a", "a/", "a//b", ".", "..", "a/..", "a/../b",
                                          "./a", "a/.", "a\nb", "a\x7f", "\xff", ".cloudsync",
                                          ".cloudsync/x"};
        g_autofree char *component = repeat("c", 255), *too_long_component = repeat("c", 256);
        g_autofree char *longest = repeat("abcdefg/", 127), *full = NULL, *over = NULL;

        for (size_t i = 0; i < G_N_ELEMENTS(good); i++)
                g_assert_true(name_is_prefix(good[i]));
        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
                g_assert_false(name_is_prefix(bad[i]));
        g_assert_true(name_is_prefix(component));
        g_assert_false(name_is_prefix(too_long_component));
        full = g_strconcat(longest, "12345678", NULL);
        over = g_strconcat(longest, "123456789", NULL);
        g_assert_cmpuint(strlen(full), ==, NAME_PREFIX_MAX);
        g_assert_true(name_is_prefix(full));
        g_assert_false(name_is_prefix(over));
        g_assert_false(name_is_prefix(NULL));
}

static void test_has_prefix(void) {
        static const struct {
                const char *path, *prefix, *rest; /* NULL: no */
        } cases[] = {
                {"a/b/c", "a/b", "c"}, {"a/b", "a/b", ""},     {"a/bc", "a/b", NULL},
                {"a", "a/b", NULL},    {"a/b/c", "", "a/b/c"}, {"", "", ""},
                {"", "a", NULL},       {"a/b/c/d", "a", "b/c/d"},
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                const char *rest = "unset";

                g_assert_cmpint(name_has_prefix(cases[i].path, cases[i].prefix, &rest), ==,
                                cases[i].rest != NULL);
                if (cases[i].rest)
                        g_assert_cmpstr(rest, ==, cases[i].rest);
        }
}

static void test_printable(void) {
        char buffer[64], small[8];

        g_assert_cmpstr(name_printable("plain", buffer, sizeof(buffer)), ==, "plain");
        g_assert_cmpstr(name_printable("m\xc3\xbcsik", buffer, sizeof(buffer)), ==, "m\xc3\xbcsik");
        g_assert_cmpstr(name_printable("a\nb\x1b", buffer, sizeof(buffer)), ==, "a\\x0ab\\x1b");
        g_assert_cmpstr(name_printable("\xff\xc3", buffer, sizeof(buffer)), ==, "\\xff\\xc3");
        /* U+009B, a terminal's control sequence introducer */
        g_assert_cmpstr(name_printable("\xc2\x9b", buffer, sizeof(buffer)), ==, "\\xc2\\x9b");
        /* never cut inside of a character or an escape */
        g_assert_cmpstr(name_printable("123456\xc3\xbc", small, sizeof(small)), ==, "123456");
        g_assert_cmpstr(name_printable("1234\n", small, sizeof(small)), ==, "1234");
        g_assert_cmpstr(name_printable("1234567", small, sizeof(small)), ==, "1234567");
        g_assert_cmpstr(name_printable("12345678", small, sizeof(small)), ==, "1234567");
        g_assert_cmpstr(name_printable("x", small, 1), ==, "");
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/names/id", test_id);
        g_test_add_func("/names/setting-key", test_setting_key);
        g_test_add_func("/names/component", test_component);
        g_test_add_func("/names/prefix", test_prefix);
        g_test_add_func("/names/has-prefix", test_has_prefix);
        g_test_add_func("/names/printable", test_printable);
        return g_test_run();
}
