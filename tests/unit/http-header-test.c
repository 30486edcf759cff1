/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <glib.h>
#include <string.h>

#include "plugins/common/http-error.h"
#include "plugins/common/http.h"

static void test_number(void) {
        static const struct {
                const char *text;
                int r;
                uint64_t n;
        } cases[] = {
                {"0", 0, 0},
                {"42", 0, 42},
                {"007", 0, 7},
                {"9223372036854775807", 0, INT64_MAX},
                {"9223372036854775808", -EINVAL, 0},
                {"18446744073709551617", -EINVAL, 0},
                {"99999999999999999999999", -EINVAL, 0},
                {"", -EINVAL, 0},
                {"-1", -EINVAL, 0},
                {"+1", -EINVAL, 0},
                {" 1", -EINVAL, 0},
                {"1 ", -EINVAL, 0},
                {"1,1", -EINVAL, 0},
                {"0x10", -EINVAL, 0},
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                uint64_t n = 0;

                g_test_message("%s", cases[i].text);
                g_assert_cmpint(http_parse_number(cases[i].text, &n), ==, cases[i].r);
                if (cases[i].r == 0)
                        g_assert_cmpuint(n, ==, cases[i].n);
        }
}

static void test_date(void) {
        static const struct {
                const char *text;
                int r;
                int64_t seconds;
        } cases[] = {
                {"Sun, 06 Nov 1994 08:49:37 GMT", 0, 784111777},
                {"Sunday, 06-Nov-94 08:49:37 GMT", 0, 784111777},
                {"Sun Nov  6 08:49:37 1994", 0, 784111777},
                {"Wed Nov 16 08:49:37 1994", 0, 784975777},
                {"Thu, 01 Jan 1970 00:00:00 GMT", 0, 0},
                {"Wed, 31 Dec 1969 23:59:59 GMT", 0, -1},
                {"Fri, 31 Dec 9999 23:59:59 GMT", 0, INT64_C(253402300799)},
                {"Tue, 29 Feb 2028 00:00:00 GMT", 0, 1835395200},
                {"Sat, 31 Dec 2016 23:59:60 GMT", 0, 1483228800},
                {"Monday, 01-Jan-35 00:00:00 GMT", 0, 2051222400},
                {"Sun, 06 Nov 1994 08:49:37", -EINVAL, 0},
                {"Sun, 06 Nov 1994 08:49:37 CET", -EINVAL, 0},
                {"Sun, 06 Nov 1994 08:49:37 +0000", -EINVAL, 0},
                {"Sun, 6 Nov 1994 08:49:37 GMT", -EINVAL, 0},
                {"Sun, 31 Feb 1994 08:49:37 GMT", -EINVAL, 0},
                {"Sun, 00 Nov 1994 08:49:37 GMT", -EINVAL, 0},
                {"Sun, 06 Xxx 1994 08:49:37 GMT", -EINVAL, 0},
                {"Sun, 06 Nov 1994 24:49:37 GMT", -EINVAL, 0},
                {"Sun, 06 Nov 1994 08:60:37 GMT", -EINVAL, 0},
                {"Sun, 06 Nov 1994 08:49:61 GMT", -EINVAL, 0},
                {"Sun, 06 Nov 0000 08:49:37 GMT", -EINVAL, 0},
                {"1994-11-06T08:49:37Z", -EINVAL, 0},
                {"784111777", -EINVAL, 0},
                {"", -EINVAL, 0},
                {",", -EINVAL, 0},
                {", ", -EINVAL, 0},
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                int64_t seconds = 0;

                g_test_message("%s", cases[i].text);
                g_assert_cmpint(http_parse_date(cases[i].text, &seconds), ==, cases[i].r);
                if (cases[i].r == 0)
                        g_assert_cmpint(seconds, ==, cases[i].seconds);
        }
        for (int64_t t = 1; t < INT64_C(250000000000); t = t * 3 + 7) {
                char buffer[HTTP_DATE_SIZE];
                int64_t back;

                http_format_date(t, buffer);
                g_assert_cmpint(http_parse_date(buffer, &back), ==, 0);
                g_assert_cmpint(back, ==, t);
        }
}

static void test_retry_after(void) {
        const int64_t now = 784111777; /* Sun, 06 Nov 1994 08:49:37 GMT */
        static const struct {
                const char *text;
                uint32_t ms;
        } cases[] = {
                {"0", 0},
                {"1", 1000},
                {"120", 120000},
                {"3600", HTTP_RETRY_AFTER_MAX_MS},
                {"3601", HTTP_RETRY_AFTER_MAX_MS},
                {"4294968", HTTP_RETRY_AFTER_MAX_MS}, /* × 1000 is beyond 32 bits */
                {"99999999999999999999999", HTTP_RETRY_AFTER_MAX_MS},
                {"Sun, 06 Nov 1994 08:49:47 GMT", 10000},
                {"Sun, 06 Nov 1994 08:49:37 GMT", 0},
                {"Sun, 06 Nov 1994 08:00:00 GMT", 0},
                {"Fri, 31 Dec 9999 23:59:59 GMT", HTTP_RETRY_AFTER_MAX_MS},
                {"", 0},
                {"-5", 0},
                {"soon", 0},
                {"1.5", 0},
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_test_message("%s", cases[i].text);
                g_assert_cmpuint(http_parse_retry_after(cases[i].text, now), ==, cases[i].ms);
        }
}

static void test_content_range(void) {
        static const struct {
                const char *text;
                int r;
                gboolean has_range;
                uint64_t first, last, total;
        } cases[] = {
                {"bytes 0-0/1", 0, TRUE, 0, 0, 1},
                {"bytes 5-9/100", 0, TRUE, 5, 9, 100},
                {"Bytes 5-9/100", 0, TRUE, 5, 9, 100},
                {"bytes 5-9/*", 0, TRUE, 5, 9, UINT64_MAX},
                {"bytes */100", 0, FALSE, 0, 0, 100},
                {"bytes */0", 0, FALSE, 0, 0, 0},
                {"bytes 0-9223372036854775806/9223372036854775807", 0, TRUE, 0, INT64_MAX - 1, INT64_MAX},
                {"bytes 9-5/100", -EINVAL},
                {"bytes 5-100/100", -EINVAL},
                {"bytes 5-9", -EINVAL},
                {"bytes 5-9/", -EINVAL},
                {"bytes 5-/100", -EINVAL},
                {"bytes -9/100", -EINVAL},
                {"bytes */*", -EINVAL},
                {"bytes */", -EINVAL},
                {"bytes=5-9/100", -EINVAL},
                {"bytes  5-9/100", -EINVAL},
                {"bytes 5-9/100 ", -EINVAL},
                {"bytes 5-9/100, bytes 1-2/100", -EINVAL},
                {"items 5-9/100", -EINVAL},
                {"bytes 5-9/18446744073709551616", -EINVAL},
                {"bytes 99999999999999999999999999-9/100", -EINVAL},
                {"", -EINVAL},
                {"bytes ", -EINVAL},
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                struct http_range range;

                g_test_message("%s", cases[i].text);
                g_assert_cmpint(http_parse_content_range(cases[i].text, &range), ==, cases[i].r);
                if (cases[i].r < 0)
                        continue;
                g_assert_cmpint(range.has_range, ==, cases[i].has_range);
                g_assert_cmpuint(range.total, ==, cases[i].total);
                if (range.has_range) {
                        g_assert_cmpuint(range.first, ==, cases[i].first);
                        g_assert_cmpuint(range.last, ==, cases[i].last);
                }
        }
}

static void test_etag(void) {
        g_assert_true(http_etag_is_strong("\"abc\""));
        g_assert_true(http_etag_is_strong("\"\""));
        g_assert_true(http_etag_is_strong("\"\xff!#~\""));
        g_assert_false(http_etag_is_strong("W/\"abc\""));
        g_assert_false(http_etag_is_strong("w/\"abc\""));
        g_assert_false(http_etag_is_strong("abc"));
        g_assert_false(http_etag_is_strong("\""));
        g_assert_false(http_etag_is_strong(""));
        g_assert_false(http_etag_is_strong("\"a\"b\""));
        g_assert_false(http_etag_is_strong("\"a b\""));
        g_assert_false(http_etag_is_strong("\"a\r\nb\""));
        g_assert_false(http_etag_is_strong("\"a\x7f\""));
}

static void test_headers(void) {
        static const char block[] = "ETag\0\"x\"\0Empty\0\0content-length\0" "5\0etag\0second\0";
        struct http_response response = {.headers = block};

        g_assert_cmpstr(http_response_header(&response, "etag"), ==, "\"x\"");
        g_assert_cmpstr(http_response_header(&response, "EMPTY"), ==, "");
        g_assert_cmpstr(http_response_header(&response, "Content-Length"), ==, "5");
        g_assert_null(http_response_header(&response, "Con"));
        response.headers = "";
        g_assert_null(http_response_header(&response, "ETag"));
}

static void test_errors(void) {
        g_assert_cmpint(http_status_error(200), ==, 0);
        g_assert_cmpint(http_status_error(207), ==, 0);
        g_assert_cmpint(http_status_error(404), ==, -ENOENT);
        g_assert_cmpint(http_status_error(410), ==, -ENOENT);
        g_assert_cmpint(http_status_error(401), ==, -EACCES);
        g_assert_cmpint(http_status_error(407), ==, -EACCES);
        g_assert_cmpint(http_status_error(429), ==, -EAGAIN);
        g_assert_cmpint(http_status_error(503), ==, -EAGAIN);
        g_assert_cmpint(http_status_error(302), ==, -EPROTO);
        g_assert_cmpint(http_status_error(0), ==, -EPROTO);
        g_assert_cmpint(http_status_error(999), ==, -EPROTO);
        g_assert_cmpint(http_curl_error(CURLE_OK, 0), ==, 0);
        g_assert_cmpint(http_curl_error(CURLE_COULDNT_CONNECT, ECONNREFUSED), ==, -ENETUNREACH);
        g_assert_cmpint(http_curl_error(CURLE_COULDNT_CONNECT, ETIMEDOUT), ==, -ETIMEDOUT);
        g_assert_cmpint(http_curl_error(CURLE_PEER_FAILED_VERIFICATION, 0), ==, -EKEYREJECTED);
        g_assert_cmpint(http_curl_error(CURLE_PARTIAL_FILE, 0), ==, -ECONNRESET);
        g_assert_cmpint(http_curl_error(CURLE_FTP_WEIRD_PASS_REPLY, 0), ==, -EIO);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/http/number", test_number);
        g_test_add_func("/http/date", test_date);
        g_test_add_func("/http/retry-after", test_retry_after);
        g_test_add_func("/http/content-range", test_content_range);
        g_test_add_func("/http/etag", test_etag);
        g_test_add_func("/http/headers", test_headers);
        g_test_add_func("/http/errors", test_errors);
        return g_test_run();
}
