/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What conflict copies are called. */

#include "dispatcher/tree/conflict-name.h"

#include <glib.h>
#include <string.h>

#define DAY 1650000000 /* 2022-04-15 */

static void expect(const char *name, const char *host, unsigned n, const char *want) {
        g_autofree char *got = conflict_name(name, host, DAY, 0, n);

        g_assert_cmpstr(got, ==, want);
        g_assert_true(conflict_name_is_one(got));
        g_assert_false(conflict_name_is_one(name));
}

static void test_names(void) {
        expect("report.txt", "desk", 0, "report (desk's conflicted copy 2022-04-15).txt");
        expect("report.txt", "desk.example.org", 0, "report (desk's conflicted copy 2022-04-15).txt");
        expect("report.txt", "desk", 1, "report (desk's conflicted copy 2022-04-15) (1).txt");
        expect("report.txt", "desk", 12, "report (desk's conflicted copy 2022-04-15) (12).txt");
        expect("report", "desk", 0, "report (desk's conflicted copy 2022-04-15)");
        expect("a.tar.gz", "desk", 0, "a.tar (desk's conflicted copy 2022-04-15).gz");
        expect(".profile", "desk", 0, ".profile (desk's conflicted copy 2022-04-15)");
        expect("end.", "desk", 0, "end (desk's conflicted copy 2022-04-15).");
        expect("r\xc3\xa9sum\xc3\xa9.odt", "d\xc3\xa9sk", 0,
               "r\xc3\xa9sum\xc3\xa9 (d\xc3\xa9sk's conflicted copy 2022-04-15).odt");
        expect("x", "a/b\n", 0, "x (a_b_'s conflicted copy 2022-04-15)");
        expect("x", "", 0, "x (localhost's conflicted copy 2022-04-15)");
        g_assert_false(conflict_name_is_one("x (desk's conflicted copy)"));
        g_assert_false(conflict_name_is_one("x (desk's conflicted copy 2022-04-1"));
        g_assert_false(conflict_name_is_one("x (desk's conflicted copy 2022-04-15"));
        g_assert_false(conflict_name_is_one(""));
}

static void test_dates(void) {
        g_autofree char *today = conflict_name("x", "h", 0, DAY, 0), *old = conflict_name("x", "h", -1, DAY, 0),
                        *odd = conflict_name("x", "h", INT64_MAX, DAY, 0);

        g_assert_cmpstr(today, ==, "x (h's conflicted copy 2022-04-15)");
        g_assert_cmpstr(old, ==, "x (h's conflicted copy 1969-12-31)");
        g_assert_nonnull(strstr(odd, "conflicted copy"));
}

/* At most 255 bytes, whole characters, the extension kept; two names of two numbers differ. */
static void test_lengths(void) {
        static const char *const characters[] = {"x", "\xc3\xa9", "\xe6\x97\xa5", "\xf0\x9f\x8e\x88"};

        for (unsigned i = 0; i < G_N_ELEMENTS(characters); i++)
                for (unsigned length = 1; length * strlen(characters[i]) <= 251; length++) {
                        g_autoptr(GString) name = g_string_new(NULL);
                        g_autofree char *got = NULL, *other = NULL, *host = g_strnfill(length % 80, 'h');

                        for (unsigned k = 0; k < length; k++)
                                g_string_append(name, characters[i]);
                        g_string_append(name, ".txt");
                        got = conflict_name(name->str, host, DAY, 0, 0);
                        other = conflict_name(name->str, host, DAY, 0, 99);
                        g_assert_cmpuint(strlen(got), <=, 255);
                        g_assert_cmpuint(strlen(other), <=, 255);
                        g_assert_cmpstr(got, !=, other);
                        g_assert_true(g_utf8_validate(got, -1, NULL));
                        g_assert_true(g_str_has_suffix(got, ".txt"));
                }
}

/* Bytes that are no UTF-8, and a dot that begins no extension. */
static void test_odd(void) {
        g_autofree char *bytes = g_strnfill(255, '\x80'), *dot = g_strnfill(255, 'e');
        g_autofree char *a = conflict_name(bytes, "h", DAY, 0, 0), *b = NULL;

        g_assert_cmpuint(strlen(a), <=, 255);
        dot[100] = '.';
        b = conflict_name(dot, "h", DAY, 0, 0);
        g_assert_cmpuint(strlen(b), ==, 255);
        g_assert_true(g_str_has_suffix(b, "2022-04-15)"));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/conflict-name/names", test_names);
        g_test_add_func("/conflict-name/dates", test_dates);
        g_test_add_func("/conflict-name/lengths", test_lengths);
        g_test_add_func("/conflict-name/odd", test_odd);
        return g_test_run();
}
