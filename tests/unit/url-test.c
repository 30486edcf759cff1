/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <glib.h>
#include <string.h>

#include "plugins/common/netrc.h"
#include "plugins/common/url.h"

static void test_base(void) {
        static const struct {
                const char *url, *result; /* NULL: refused */
        } cases[] = {
                {"http://example.org", "http://example.org/"},
                {"http://example.org/a", "http://example.org/a/"},
                {"https://example.org:8443/a/b/", "https://example.org:8443/a/b/"},
                {"http://[::1]:80/x", "http://[::1]:80/x/"},
                {"http://example.org/a%20b", "http://example.org/a%20b/"},
                {"", NULL},
                {"example.org/x", NULL},
                {"/x", NULL},
                {"file:///etc", NULL},
                {"ftp://example.org/", NULL},
                {"gopher://example.org/", NULL},
                {"http://", NULL},
                {"http://u@example.org/", NULL},
                {"http://u:p@example.org/", NULL},
                {"http://:p@example.org/", NULL},
                {"http://example.org/?q", NULL},
                {"http://example.org/?", NULL},
                {"http://example.org/#f", NULL},
                {"http://example.org/a b", NULL},
                {"http://example.org/a\nb", NULL},
                {"http://example.org:99999/", NULL},
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *base = NULL;
                const char *detail = NULL;
                int r = url_parse_base(cases[i].url, &base, &detail);

                g_test_message("%s", cases[i].url);
                g_assert_cmpint(r, ==, cases[i].result ? 0 : -EINVAL);
                g_assert_cmpstr(base, ==, cases[i].result);
                if (r < 0)
                        g_assert_nonnull(detail);
        }
}

static void test_locator(void) {
        static const char *const good[] = {"", "a", "a/b c/d", "...", "a/.b", "%2e%2e", "\xff", "a/...b"};
        static const char *const bad[] = {".",   "..",   "/",    "/a",     "a/",   "a//b",
                                          "a/.", "a/..", "../a", "a/../b", "./a"};
        g_autofree char *longest = g_strnfill(255, 'x'), *longer = g_strnfill(256, 'x');

        for (size_t i = 0; i < G_N_ELEMENTS(good); i++)
                g_assert_true(url_locator_is_valid(good[i]));
        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
                g_assert_false(url_locator_is_valid(bad[i]));
        g_assert_true(url_locator_is_valid(longest));
        g_assert_false(url_locator_is_valid(longer));
}

static void test_join(void) {
        static const struct {
                const char *locator;
                gboolean directory;
                const char *url;
        } cases[] = {
                {"", FALSE, "http://h/p/"},
                {"", TRUE, "http://h/p/"},
                {"a", FALSE, "http://h/p/a"},
                {"a", TRUE, "http://h/p/a/"},
                {"a/b c", FALSE, "http://h/p/a/b%20c"},
                {"100%", FALSE, "http://h/p/100%25"},
                {"?#&+:@;=,!$'()*", FALSE,
                 "http://h/p/%3F%23%26%2B%3A%40%3B%3D%2C%21%24%27%28%29%2A"},
                {"-._~", FALSE, "http://h/p/-._~"},
                {"\xc3\xbc\xff\n", FALSE, "http://h/p/%C3%BC%FF%0A"},
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *url = url_join("http://h/p/", cases[i].locator, cases[i].directory);

                g_assert_cmpstr(url, ==, cases[i].url);
        }
}

static void test_decode(void) {
        static const struct {
                const char *text, *result; /* NULL: refused */
        } cases[] = {
                {"", ""},           {"abc", "abc"},     {"%41%7a", "Az"}, {"a%20b", "a b"},
                {"%c3%BC", "\xc3\xbc"}, {"a+b", "a+b"}, {"%25", "%"},     {"%2541", "%41"},
                {"%", NULL},        {"%4", NULL},       {"a%", NULL},     {"a%4", NULL},
                {"%zz", NULL},      {"%4g", NULL},      {"%00", NULL},    {"a%00b", NULL},
                {"%2f", NULL},      {"a%2Fb", NULL},    {"%%41", NULL},
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *decoded = NULL;
                int r = url_decode(cases[i].text, strlen(cases[i].text), &decoded);

                g_test_message("%s", cases[i].text);
                g_assert_cmpint(r, ==, cases[i].result ? 0 : -EINVAL);
                g_assert_cmpstr(decoded, ==, cases[i].result);
        }
        {
                g_autofree char *decoded = NULL;

                g_assert_cmpint(url_decode("a\0b", 3, &decoded), ==, -EINVAL);
        }
}

/* Every byte that may stand in a name comes back. */
static void test_round_trip(void) {
        char name[256];
        g_autofree char *url = NULL, *decoded = NULL;
        size_t n = 0;

        for (int c = 1; c < 256; c++)
                if (c != '/')
                        name[n++] = (char)c;
        name[n] = '\0';
        url = url_join("http://h/", name, FALSE);
        g_assert_cmpint(url_decode(url + strlen("http://h/"), strlen(url) - strlen("http://h/"), &decoded),
                        ==, 0);
        g_assert_cmpstr(decoded, ==, name);
}

static void test_origin(void) {
        g_assert_true(url_same_origin("http://h/a", "http://h/b"));
        g_assert_true(url_same_origin("http://H/a", "http://h:80/b"));
        g_assert_true(url_same_origin("https://h/a", "https://h:443/"));
        g_assert_true(url_same_origin("http://u:p@h/a", "http://h/"));
        g_assert_false(url_same_origin("http://h/a", "https://h/a"));
        g_assert_false(url_same_origin("http://h/a", "http://h:81/a"));
        g_assert_false(url_same_origin("http://h/a", "http://h.evil/a"));
        g_assert_false(url_same_origin("http://h/a", "http://h@evil/a"));
        g_assert_false(url_same_origin("http://h/a", "nonsense"));
}

static void test_resolve(void) {
        static const struct {
                const char *reference, *result; /* NULL: refused */
        } cases[] = {
                {"c", "http://h/a/c"},
                {"/c", "http://h/c"},
                {"../c", "http://h/c"},
                {"?q=1", "http://h/a/b?q=1"},
                {"//other/c", "http://other/c"},
                {"https://other/c#f", "https://other/c"},
                {"http://u:p@other/c", "http://other/c"},
                {"file:///etc/passwd", NULL},
                {"ftp://h/", NULL},
                {"http://h/a b", NULL},
                {"a\r\nX: y", NULL},
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *url = NULL;
                int r = url_resolve("http://h/a/b", cases[i].reference, &url);

                g_test_message("%s", cases[i].reference);
                g_assert_cmpint(r, ==, cases[i].result ? 0 : -EINVAL);
                g_assert_cmpstr(url, ==, cases[i].result);
        }
}

static void test_printable(void) {
        g_autofree char *a = url_printable("http://u:secret@h:81/x?y");
        g_autofree char *b = url_printable("http://secret:[");
        g_autofree char *c = url_printable("socks5h://u:secret@proxy:1080");

        g_assert_cmpstr(a, ==, "http://h:81/x?y");
        g_assert_null(strstr(b, "secret"));
        g_assert_null(strstr(c, "secret"));
}

static void test_netrc(void) {
        static const char text[] = "# a comment\n"
                                   "machine one.example login a password b\n"
                                   "machine two.example\n\tlogin \"c d\"\n\tpassword \"e\\\"f\\\\\"\n"
                                   "account x\n"
                                   "macdef init\ncd /tmp\nmachine evil.example login x\n\n"
                                   "machine ONE.example login second password second\n"
                                   "machine bare.example\n"
                                   "default login guest password mail\n"
                                   "machine after.example login z password z\n";
        static const struct {
                const char *host, *login, *password;
        } cases[] = {
                {"one.example", "a", "b"},
                {"ONE.EXAMPLE", "a", "b"},
                {"two.example", "c d", "e\"f\\"},
                {"bare.example", NULL, NULL},
                {"evil.example", "guest", "mail"},
                {"after.example", "guest", "mail"},
        };
        static const char *const malformed[] = {"machine", "machine h login", "machine h login \"x",
                                                "nonsense x", "machine h password \""};

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *login = NULL, *password = NULL;

                g_assert_cmpint(netrc_find(text, strlen(text), cases[i].host, &login, &password), ==, 0);
                g_assert_cmpstr(login, ==, cases[i].login);
                g_assert_cmpstr(password, ==, cases[i].password);
        }
        for (size_t i = 0; i < G_N_ELEMENTS(malformed); i++) {
                g_autofree char *login = NULL, *password = NULL;

                g_assert_cmpint(netrc_find(malformed[i], strlen(malformed[i]), "h", &login, &password),
                                ==, -EINVAL);
        }
        {
                g_autofree char *login = NULL, *password = NULL;

                g_assert_cmpint(netrc_find("machine a login b\n", 18, "other", &login, &password), ==,
                                -ENOENT);
                g_assert_cmpint(netrc_find("", 0, "other", &login, &password), ==, -ENOENT);
                g_assert_cmpint(netrc_find("a\0b", 3, "other", &login, &password), ==, -EINVAL);
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/url/base", test_base);
        g_test_add_func("/url/locator", test_locator);
        g_test_add_func("/url/join", test_join);
        g_test_add_func("/url/decode", test_decode);
        g_test_add_func("/url/round-trip", test_round_trip);
        g_test_add_func("/url/origin", test_origin);
        g_test_add_func("/url/resolve", test_resolve);
        g_test_add_func("/url/printable", test_printable);
        g_test_add_func("/netrc", test_netrc);
        return g_test_run();
}
