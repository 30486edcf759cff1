/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * format — numbers, times and names as people read them. Pure: bytes and
 * numbers in, text out; no I/O, no locale beyond the local time zone.
 */

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "0 B", "1023 B", "1.0 KiB", "12.3 MiB" … Returned in `buffer`. */
#define FORMAT_SIZE_MAX 16
const char *format_size(uint64_t bytes, char buffer[FORMAT_SIZE_MAX]);

/* "1234567" as "1,234,567". */
#define FORMAT_COUNT_MAX 32
const char *format_count(uint64_t n, char buffer[FORMAT_COUNT_MAX]);

/* Seconds as "42s", "3:07", "1:02:03". */
#define FORMAT_DURATION_MAX 32
const char *format_duration(uint64_t seconds, char buffer[FORMAT_DURATION_MAX]);

/* "2026-11-25 21:05", local time. */
#define FORMAT_TIME_MAX 32
const char *format_time(int64_t seconds, char buffer[FORMAT_TIME_MAX]);

/* "-rw-r--r--" for a st_mode. */
#define FORMAT_MODE_MAX 11
const char *format_mode(unsigned mode, char buffer[FORMAT_MODE_MAX]);

/* How much of `total` is `done`: 0 to 100, and 100 only when all of it is. */
unsigned format_percent(uint64_t done, uint64_t total);

/* A name for a terminal: control characters, and bytes that are not UTF-8, as \xNN; a
 * backslash as \\, so that no two names look the same. To be freed with g_free(). */
char *format_name(const char *name);

/* A sentence that came from elsewhere, made harmless: as above, backslashes as they are. */
char *format_text(const char *text);

/* A name for JSON, where only bytes that are not UTF-8 need it: a name that is UTF-8
 * comes back unchanged and *escaped is false, else its backslashes are doubled too. */
char *format_name_json(const char *name, bool *escaped);

/* Columns that `text` takes on a terminal: wide characters count two, combining ones none. */
size_t format_width(const char *text);

/* `text` in exactly `width` columns: padded with blanks, or its middle replaced by "…".
 * To be freed with g_free(). */
char *format_fit(const char *text, size_t width);

/* One line for a transfer, at most `width` columns and without a newline:
 *     NAME  [#########---------]  42%  12.3 MiB / 29.1 MiB
 * Narrow terminals lose the bar first. `total` may be 0 (an empty file): 100%.
 * To be freed with g_free(). */
char *format_progress(const char *name, uint64_t done, uint64_t total, size_t width);

/* "4096", "512K", "1GiB"; not "1.5G": a whole number with an optional binary unit
 * K, M, G or T, upper or lower case, that may be followed by "iB" or "B".
 * 0; -EINVAL; -ERANGE beyond INT64_MAX. */
int format_parse_size(const char *text, uint64_t *ret);
