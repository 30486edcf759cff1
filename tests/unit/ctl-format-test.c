/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <glib.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ctl/format.h"

static void test_size(void) {
        static const struct {
                uint64_t bytes;
                const char *text;
        } table[] = {
                {0, "0 B"},
                {1023, "1023 B"},
                {1024, "1.0 KiB"},
                {1536, "1.5 KiB"},
                {1024 + 100, "1.1 KiB"},
                {1024 + 51, "1.0 KiB"},
                {1048575, "1.0 MiB"}, /* not 1024.0 KiB */
                {1047500, "1022.9 KiB"},
                {1048576, "1.0 MiB"},
                {UINT64_C(3) << 30, "3.0 GiB"},
                {(UINT64_C(3) << 40) + (UINT64_C(1) << 39), "3.5 TiB"},
                {INT64_MAX, "8.0 EiB"},
                {UINT64_MAX, "16.0 EiB"},
        };
        char buffer[FORMAT_SIZE_MAX];

        for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
                g_assert_cmpstr(format_size(table[i].bytes, buffer), ==, table[i].text);
}

static void test_count(void) {
        char buffer[FORMAT_COUNT_MAX];

        g_assert_cmpstr(format_count(0, buffer), ==, "0");
        g_assert_cmpstr(format_count(999, buffer), ==, "999");
        g_assert_cmpstr(format_count(1000, buffer), ==, "1,000");
        g_assert_cmpstr(format_count(123456, buffer), ==, "123,456");
        g_assert_cmpstr(format_count(UINT64_MAX, buffer), ==, "18,446,744,073,709,551,615");
}

static void test_duration(void) {
        char buffer[FORMAT_DURATION_MAX];

        g_assert_cmpstr(format_duration(0, buffer), ==, "0s");
        g_assert_cmpstr(format_duration(59, buffer), ==, "59s");
        g_assert_cmpstr(format_duration(60, buffer), ==, "1:00");
        g_assert_cmpstr(format_duration(3600 + 62, buffer), ==, "1:01:02");
        format_duration(UINT64_MAX, buffer); /* fits */
}

static void test_time(void) {
        char buffer[FORMAT_TIME_MAX];

        g_assert_cmpstr(format_time(0, buffer), ==, "1970-01-01 00:00");
        g_assert_cmpstr(format_time(1795640700, buffer), ==, "2026-11-25 21:05");
        g_assert_cmpstr(format_time(-1, buffer), ==, "1969-12-31 23:59");
        g_assert_cmpuint(strlen(format_time(INT64_MAX, buffer)), <, FORMAT_TIME_MAX);
}

static void test_mode(void) {
        char buffer[FORMAT_MODE_MAX];

        g_assert_cmpstr(format_mode(S_IFREG | 0644, buffer), ==, "-rw-r--r--");
        g_assert_cmpstr(format_mode(S_IFDIR | 01777, buffer), ==, "drwxrwxrwt");
        g_assert_cmpstr(format_mode(S_IFREG | 04755, buffer), ==, "-rwsr-xr-x");
        g_assert_cmpstr(format_mode(S_IFREG | 02640, buffer), ==, "-rw-r-S---");
        g_assert_cmpstr(format_mode(S_IFLNK | 0777, buffer), ==, "lrwxrwxrwx");
}

static void test_percent(void) {
        g_assert_cmpuint(format_percent(0, 0), ==, 100);
        g_assert_cmpuint(format_percent(0, 10), ==, 0);
        g_assert_cmpuint(format_percent(5, 10), ==, 50);
        g_assert_cmpuint(format_percent(UINT64_MAX - 1, UINT64_MAX), ==, 99); /* never early */
        g_assert_cmpuint(format_percent(11, 10), ==, 100);
}

static void test_name(void) {
        static const char *const table[][2] = {
                {"plain.txt", "plain.txt"},
                {"Grüße", "Grüße"},
                {"a\nb\x1b[31m", "a\\x0ab\\x1b[31m"},
                {"\xff\xfe", "\\xff\\xfe"},
                {"a\\x0a", "a\\\\x0a"}, /* not to be mistaken for a newline */
                {"\xc2\x9b"
                 "31m",
                 "\\xc2\\x9b"
                 "31m"}, /* CSI as one character */
                {"cut\xe2\x82", "cut\\xe2\\x82"},
        };

        for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
                g_autofree char *shown = format_name(table[i][0]);
                g_assert_cmpstr(shown, ==, table[i][1]);
        }
        g_autofree char *text = format_text("C:\\x \x1b");
        g_assert_cmpstr(text, ==, "C:\\x \\x1b");
}

static void test_name_json(void) {
        bool escaped;
        g_autofree char *plain = format_name_json("a\n\\b", &escaped);
        g_assert_cmpstr(plain, ==, "a\n\\b");
        g_assert_false(escaped);
        g_autofree char *odd = format_name_json("a\\\xff", &escaped);
        g_assert_cmpstr(odd, ==, "a\\\\\\xff");
        g_assert_true(escaped);
}

static void test_fit(void) {
        static const struct {
                const char *text;
                size_t width;
                const char *fitted;
        } table[] = {
                {"abc", 5, "abc  "},       {"abcde", 5, "abcde"}, {"abcdefghij", 7, "ab…ghij"},
                {"abc", 1, "…"},           {"abc", 0, ""},        {"日本語", 6, "日本語"},
                {"日本語", 8, "日本語  "},
        };

        for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
                g_autofree char *fitted = format_fit(table[i].text, table[i].width);
                g_assert_cmpstr(fitted, ==, table[i].fitted);
        }
        /* Whatever the text, exactly as wide as asked for. */
        for (size_t width = 0; width < 20; width++) {
                g_autofree char *fitted = format_fit("日本語 e\xcc\x81t\xff cetera と", width);
                g_assert_cmpuint(format_width(fitted), ==, width);
        }
}

static void test_progress(void) {
        g_autofree char *line = format_progress("docs/a.iso", 50, 100, 80);
        g_assert_cmpuint(format_width(line), <=, 80);
        g_assert_nonnull(strstr(line, "docs/a.iso"));
        g_assert_nonnull(strstr(line, " 50%"));
        g_assert_nonnull(strstr(line, "50 B / 100 B"));
        g_assert_nonnull(strstr(line, "[##"));

        for (size_t width = 0; width < 200; width++) {
                g_autofree char *any = format_progress("a/long/name/in/a/deep/folder.tar.gz",
                                                       UINT64_MAX - 1, UINT64_MAX, width);
                g_assert_cmpuint(format_width(any), <=, width);
        }
        g_autofree char *empty = format_progress("e", 0, 0, 80);
        g_assert_nonnull(strstr(empty, "100%"));
        g_assert_null(strchr(empty, '-')); /* a full bar */
}

static void test_parse_size(void) {
        static const struct {
                const char *text;
                int r;
                uint64_t size;
        } table[] = {
                {"0", 0, 0},
                {"4096", 0, 4096},
                {"512B", 0, 512},
                {"1k", 0, 1024},
                {"16M", 0, 16 << 20},
                {"1GiB", 0, 1 << 30},
                {"2TB", 0, UINT64_C(2) << 40},
                {"9223372036854775807", 0, INT64_MAX},
                {"9223372036854775808", -ERANGE, 0},
                {"99999999999999999999999", -ERANGE, 0},
                {"8388608T", -ERANGE, 0},
                {"", -EINVAL, 0},
                {"M", -EINVAL, 0},
                {"-1", -EINVAL, 0},
                {" 1", -EINVAL, 0},
                {"1.5G", -EINVAL, 0},
                {"1 G", -EINVAL, 0},
                {"1GiBs", -EINVAL, 0},
                {"1Gi", -EINVAL, 0},
                {"0x10", -EINVAL, 0},
        };

        for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
                uint64_t size = 0;
                g_test_message("%s", table[i].text);
                g_assert_cmpint(format_parse_size(table[i].text, &size), ==, table[i].r);
                g_assert_cmpuint(size, ==, table[i].size);
        }
}

int main(int argc, char **argv) {
        setenv("TZ", "UTC", 1);
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/ctl/format/size", test_size);
        g_test_add_func("/ctl/format/count", test_count);
        g_test_add_func("/ctl/format/duration", test_duration);
        g_test_add_func("/ctl/format/time", test_time);
        g_test_add_func("/ctl/format/mode", test_mode);
        g_test_add_func("/ctl/format/percent", test_percent);
        g_test_add_func("/ctl/format/name", test_name);
        g_test_add_func("/ctl/format/name-json", test_name_json);
        g_test_add_func("/ctl/format/fit", test_fit);
        g_test_add_func("/ctl/format/progress", test_progress);
        g_test_add_func("/ctl/format/parse-size", test_parse_size);
        return g_test_run();
}
