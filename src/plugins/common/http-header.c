/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * http-header — what header values say
 *
 * Pure: bytes and a clock in, numbers out. Each parser takes exactly what its
 * RFC 9110 section describes and nothing else: a value that is only almost right
 * comes from a server whose bytes are better not trusted.
 */

#include "plugins/common/http.h"

#include <errno.h>
#include <glib.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

int http_parse_number(const char *value, uint64_t *ret) {
        uint64_t n = 0;

        if (*value == '\0')
                return -EINVAL;
        for (; *value; value++) {
                if (!g_ascii_isdigit(*value))
                        return -EINVAL;
                n = n * 10 + (uint64_t)(*value - '0');
                if (n > INT64_MAX || (n > INT64_MAX / 10 && value[1]))
                        return -EINVAL;
        }
        *ret = n;
        return 0;
}

static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

static int month_from_name(const char *name) {
        for (int i = 0; i < 12; i++)
                if (g_ascii_strncasecmp(name, months[i], 3) == 0)
                        return i;
        return -1;
}

static int date_to_seconds(int year, int month, int day, int hour, int minute, int second,
                           int64_t *ret) {
        struct tm tm = {
                .tm_year = year - 1900,
                .tm_mon = month,
                .tm_mday = day,
                .tm_hour = hour,
                .tm_min = minute,
                .tm_sec = second,
        };

        /* 60: a leap second is a second that time_t does not have. */
        if (month < 0 || year < 1601 || day < 1 || day > 31 || hour > 23 || minute > 59 ||
            second > 60)
                return -EINVAL;
        *ret = timegm(&tm);
        /* timegm() moves 31 February into March. */
        return tm.tm_mday == day || second == 60 ? 0 : -EINVAL;
}

/* Two digits, or -1. */
static int two(const char *s) {
        if (!g_ascii_isdigit(s[0]) || !g_ascii_isdigit(s[1]))
                return -1;
        return (s[0] - '0') * 10 + (s[1] - '0');
}

static int clock_parse(const char *s, int *hour, int *minute, int *second) {
        if (strnlen(s, 8) < 8 || s[2] != ':' || s[5] != ':')
                return -EINVAL;
        *hour = two(s);
        *minute = two(s + 3);
        *second = two(s + 6);
        return *hour < 0 || *minute < 0 || *second < 0 ? -EINVAL : 0;
}

/* "06 Nov 1994 08:49:37 GMT", what follows "Sun, " */
static int imf_parse(const char *s, int64_t *ret) {
        int day, century, year, hour, minute, second;

        if (strlen(s) != 24 || s[2] != ' ' || s[6] != ' ' || s[11] != ' ' ||
            !g_str_equal(s + 20, " GMT"))
                return -EINVAL;
        day = two(s);
        century = two(s + 7);
        year = two(s + 9);
        if (day < 0 || century < 0 || year < 0 || clock_parse(s + 12, &hour, &minute, &second) < 0)
                return -EINVAL;
        return date_to_seconds(century * 100 + year, month_from_name(s + 3), day, hour, minute,
                               second, ret);
}

/* "06-Nov-94 08:49:37 GMT", what follows "Sunday, " (RFC 850) */
static int rfc850_parse(const char *s, int64_t *ret) {
        int day, year, hour, minute, second;

        if (strlen(s) != 22 || s[2] != '-' || s[6] != '-' || s[9] != ' ' ||
            !g_str_equal(s + 18, " GMT"))
                return -EINVAL;
        day = two(s);
        year = two(s + 7);
        if (day < 0 || year < 0 || clock_parse(s + 10, &hour, &minute, &second) < 0)
                return -EINVAL;
        return date_to_seconds(year + (year < 70 ? 2000 : 1900), month_from_name(s + 3), day, hour,
                               minute, second, ret);
}

/* "Sun Nov  6 08:49:37 1994" (asctime) */
static int asctime_parse(const char *s, int64_t *ret) {
        int day, century, year, hour, minute, second;

        if (strlen(s) != 24 || s[3] != ' ' || s[7] != ' ' || s[10] != ' ' || s[19] != ' ')
                return -EINVAL;
        day = s[8] == ' ' && g_ascii_isdigit(s[9]) ? s[9] - '0' : two(s + 8);
        century = two(s + 20);
        year = two(s + 22);
        if (day < 0 || century < 0 || year < 0 || clock_parse(s + 11, &hour, &minute, &second) < 0)
                return -EINVAL;
        return date_to_seconds(century * 100 + year, month_from_name(s + 4), day, hour, minute,
                               second, ret);
}

int http_parse_date(const char *value, int64_t *ret) {
        const char *comma = strchr(value, ',');

        if (comma == NULL)
                return asctime_parse(value, ret);
        if (comma[1] != ' ')
                return -EINVAL;
        return comma - value == 3 ? imf_parse(comma + 2, ret) : rfc850_parse(comma + 2, ret);
}

void http_format_date(int64_t seconds, char buffer[static HTTP_DATE_SIZE]) {
        static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
        time_t t = (time_t)CLAMP(seconds, INT64_C(-11644473600), INT64_C(253402300799));
        struct tm tm;

        gmtime_r(&t, &tm);
        g_snprintf(buffer, HTTP_DATE_SIZE, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[tm.tm_wday],
                   tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
                   tm.tm_sec);
}

uint32_t http_parse_retry_after(const char *value, int64_t now) {
        uint64_t seconds;
        int64_t date;

        if (http_parse_number(value, &seconds) < 0) {
                /* Digits only, and too many: the longest wait. */
                if (*value && strspn(value, "0123456789") == strlen(value))
                        return HTTP_RETRY_AFTER_MAX_MS;
                if (http_parse_date(value, &date) < 0 || date <= now)
                        return 0;
                seconds = (uint64_t)(date - now);
        }
        return (uint32_t)MIN(seconds, HTTP_RETRY_AFTER_MAX_MS / 1000) * 1000;
}

/* Digits up to `end`, then one byte `end`; returns what follows, or NULL. */
static const char *number_until(const char *s, char end, uint64_t *ret) {
        char digits[24];
        size_t n = strspn(s, "0123456789");

        if (n == 0 || n >= sizeof digits || s[n] != end)
                return NULL;
        memcpy(digits, s, n);
        digits[n] = '\0';
        if (http_parse_number(digits, ret) < 0)
                return NULL;
        return s + n + (end != '\0');
}

int http_parse_content_range(const char *value, struct http_range *ret) {
        struct http_range range = {.total = UINT64_MAX};

        if (g_ascii_strncasecmp(value, "bytes ", 6) != 0)
                return -EINVAL;
        value += 6;
        if (value[0] == '*' && value[1] == '/') {
                if (number_until(value + 2, '\0', &range.total) == NULL)
                        return -EINVAL;
                *ret = range;
                return 0;
        }
        range.has_range = true;
        value = number_until(value, '-', &range.first);
        if (value == NULL)
                return -EINVAL;
        value = number_until(value, '/', &range.last);
        if (value == NULL || range.last < range.first)
                return -EINVAL;
        if (!g_str_equal(value, "*") &&
            (number_until(value, '\0', &range.total) == NULL || range.last >= range.total))
                return -EINVAL;
        *ret = range;
        return 0;
}

bool http_etag_is_strong(const char *value) {
        size_t n = strlen(value);

        if (n < 2 || value[0] != '"' || value[n - 1] != '"')
                return false;
        /* etagc: 0x21, 0x23-0x7e, obs-text (RFC 9110 8.8.3) */
        for (size_t i = 1; i < n - 1; i++) {
                unsigned char c = (unsigned char)value[i];

                if (c <= 0x20 || c == '"' || c == 0x7f)
                        return false;
        }
        return true;
}

const char *http_response_header(const struct http_response *response, const char *name) {
        const char *p = response->headers;

        while (*p) {
                const char *value = p + strlen(p) + 1;

                if (g_ascii_strcasecmp(p, name) == 0)
                        return value;
                p = value + strlen(value) + 1;
        }
        return NULL;
}
