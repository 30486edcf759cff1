/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/format.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

const char *format_size(uint64_t bytes, char buffer[FORMAT_SIZE_MAX]) {
        static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};

        if (bytes < 1024) {
                snprintf(buffer, FORMAT_SIZE_MAX, "%u B", (unsigned)bytes);
                return buffer;
        }

        /* Tenths, rounded to nearest; what rounds up to 1024.0 belongs to the next unit. */
        unsigned unit = 0, shift = 10;
        uint64_t tenths;
        for (;;) {
                uint64_t whole = bytes >> shift, rest = bytes & ((UINT64_C(1) << shift) - 1);
                /* rest < 2^60, so this stays within 64 bits */
                uint64_t fraction = (rest * 10 + (UINT64_C(1) << (shift - 1))) >> shift;
                tenths = whole * 10 + fraction;
                if (tenths < 10240 || unit + 1 == G_N_ELEMENTS(units))
                        break;
                unit++;
                shift += 10;
        }
        snprintf(buffer, FORMAT_SIZE_MAX, "%u.%u %s", (unsigned)(tenths / 10),
                 (unsigned)(tenths % 10), units[unit]);
        return buffer;
}

const char *format_count(uint64_t n, char buffer[FORMAT_COUNT_MAX]) {
        char digits[24];
        int length = snprintf(digits, sizeof digits, "%" G_GUINT64_FORMAT, n);

        size_t at = 0;
        for (int i = 0; i < length; i++) {
                if (i > 0 && (length - i) % 3 == 0)
                        buffer[at++] = ',';
                buffer[at++] = digits[i];
        }
        buffer[at] = '\0';
        return buffer;
}

const char *format_duration(uint64_t seconds, char buffer[FORMAT_DURATION_MAX]) {
        uint64_t h = seconds / 3600;
        unsigned m = seconds / 60 % 60, s = seconds % 60;

        if (h > 0)
                snprintf(buffer, FORMAT_DURATION_MAX, "%" G_GUINT64_FORMAT ":%02u:%02u", h, m, s);
        else if (m > 0)
                snprintf(buffer, FORMAT_DURATION_MAX, "%u:%02u", m, s);
        else
                snprintf(buffer, FORMAT_DURATION_MAX, "%us", s);
        return buffer;
}

const char *format_time(int64_t seconds, char buffer[FORMAT_TIME_MAX]) {
        time_t t = seconds;
        struct tm tm;

        if (!localtime_r(&t, &tm) || strftime(buffer, FORMAT_TIME_MAX, "%Y-%m-%d %H:%M", &tm) == 0)
                snprintf(buffer, FORMAT_TIME_MAX, "%" G_GINT64_FORMAT, seconds);
        return buffer;
}

static char mode_type(unsigned mode) {
        switch (mode & S_IFMT) {
        case S_IFDIR:
                return 'd';
        case S_IFLNK:
                return 'l';
        case S_IFCHR:
                return 'c';
        case S_IFBLK:
                return 'b';
        case S_IFIFO:
                return 'p';
        case S_IFSOCK:
                return 's';
        default:
                return '-';
        }
}

const char *format_mode(unsigned mode, char buffer[FORMAT_MODE_MAX]) {
        static const char letters[] = "rwxrwxrwx";

        buffer[0] = mode_type(mode);
        for (unsigned i = 0; i < 9; i++)
                buffer[i + 1] = mode & (0400u >> i) ? letters[i] : '-';
        if (mode & S_ISUID)
                buffer[3] = mode & S_IXUSR ? 's' : 'S';
        if (mode & S_ISGID)
                buffer[6] = mode & S_IXGRP ? 's' : 'S';
        if (mode & S_ISVTX)
                buffer[9] = mode & S_IXOTH ? 't' : 'T';
        buffer[10] = '\0';
        return buffer;
}

unsigned format_percent(uint64_t done, uint64_t total) {
        if (done >= total)
                return 100;
        /* A double is exact enough for a whole percent; the clamp keeps 100 for "all". */
        unsigned percent = (unsigned)((double)done * 100 / (double)total);
        return MIN(percent, 99u);
}

enum escape {
        ESCAPE_CONTROL = 1 << 0,   /* control characters */
        ESCAPE_BACKSLASH = 1 << 1, /* the escape character itself */
};

/* Bytes that are not UTF-8 are always escaped. */
static char *escape(const char *text, unsigned what) {
        GString *out = g_string_new(NULL);

        for (const char *p = text; *p;) {
                gunichar c = g_utf8_get_char_validated(p, -1);
                bool invalid = c == (gunichar)-1 || c == (gunichar)-2;
                const char *next = invalid ? p + 1 : g_utf8_next_char(p);

                if (invalid || (what & ESCAPE_CONTROL && g_unichar_iscntrl(c)))
                        for (const char *byte = p; byte < next; byte++)
                                g_string_append_printf(out, "\\x%02x", (unsigned char)*byte);
                else if (what & ESCAPE_BACKSLASH && c == '\\')
                        g_string_append(out, "\\\\");
                else
                        g_string_append_len(out, p, next - p);
                p = next;
        }
        return g_string_free(out, FALSE);
}

char *format_name(const char *name) {
        return escape(name, ESCAPE_CONTROL | ESCAPE_BACKSLASH);
}

char *format_text(const char *text) {
        return escape(text, ESCAPE_CONTROL);
}

char *format_name_json(const char *name, bool *escaped) {
        *escaped = !g_utf8_validate(name, -1, NULL);
        return *escaped ? escape(name, ESCAPE_BACKSLASH) : g_strdup(name);
}

static size_t char_width(gunichar c) {
        if (g_unichar_iszerowidth(c))
                return 0;
        return g_unichar_iswide(c) ? 2 : 1;
}

size_t format_width(const char *text) {
        size_t width = 0;

        if (!g_utf8_validate(text, -1, NULL))
                return strlen(text);
        for (const char *p = text; *p; p = g_utf8_next_char(p))
                width += char_width(g_utf8_get_char(p));
        return width;
}

/* The longest head of `text` in at most `width` columns; returns its length in bytes. */
static size_t head_bytes(const char *text, size_t width) {
        const char *p = text;
        for (size_t used = 0; *p; p = g_utf8_next_char(p)) {
                used += char_width(g_utf8_get_char(p));
                if (used > width)
                        break;
        }
        return p - text;
}

/* The longest tail of `text` in at most `width` columns. */
static const char *tail_start(const char *text, size_t width) {
        size_t used = format_width(text);
        while (*text && used > width) {
                used -= char_width(g_utf8_get_char(text));
                text = g_utf8_next_char(text);
        }
        return text;
}

char *format_fit(const char *text, size_t width) {
        g_autofree char *valid = g_utf8_make_valid(text, -1);
        GString *out = g_string_new(NULL);

        if (format_width(valid) <= width)
                g_string_append(out, valid);
        else if (width > 0) {
                /* More of the end than of the beginning: the end of a path tells files apart. */
                size_t head = (width - 1) / 3;
                size_t bytes = head_bytes(valid, head);
                g_string_append_len(out, valid, bytes);
                g_string_append(out, "…");
                g_string_append(out, tail_start(valid + bytes, width - 1 - head));
        }
        for (size_t used = format_width(out->str); used < width; used++)
                g_string_append_c(out, ' ');
        return g_string_free(out, FALSE);
}

/* Below this the bar says nothing that the percentage does not. */
#define BAR_MIN 8u
#define BAR_MAX 30u
#define NAME_MIN 12u

char *format_progress(const char *name, uint64_t done, uint64_t total, size_t width) {
        char a[FORMAT_SIZE_MAX], b[FORMAT_SIZE_MAX];
        g_autofree char *tail =
                g_strdup_printf("%3u%%  %10s / %-10s", format_percent(done, total),
                                format_size(MIN(done, total), a), format_size(total, b));

        size_t used = strlen(tail) + 2;
        if (width < used + NAME_MIN) /* no room for both: the name and the percentage */
                return g_strdup_printf("%.*s", (int)MIN(width, (size_t)4), tail);

        size_t room = width - used, bar = 0;
        if (room >= NAME_MIN + BAR_MIN + 4)
                bar = MIN((room - 4) / 2, (size_t)BAR_MAX);
        size_t name_width = bar > 0 ? room - bar - 4 : room;
        g_autofree char *fitted = format_fit(name, name_width);
        if (bar == 0)
                return g_strdup_printf("%s  %s", fitted, tail);

        char cells[BAR_MAX + 1];
        size_t full = format_percent(done, total) * bar / 100;
        memset(cells, '#', full);
        memset(cells + full, '-', bar - full);
        cells[bar] = '\0';
        return g_strdup_printf("%s  [%s]  %s", fitted, cells, tail);
}

int format_parse_size(const char *text, uint64_t *ret) {
        uint64_t n = 0;
        const char *p = text;

        if (!g_ascii_isdigit(*p))
                return -EINVAL;
        for (; g_ascii_isdigit(*p); p++)
                if (__builtin_mul_overflow(n, UINT64_C(10), &n) ||
                    __builtin_add_overflow(n, (uint64_t)(*p - '0'), &n))
                        return -ERANGE;

        unsigned shift = 0;
        static const char units[] = "KMGT";
        const char *unit = *p ? strchr(units, g_ascii_toupper(*p)) : NULL;
        if (unit) {
                shift = 10 * (unsigned)(unit - units + 1);
                p++;
                if (p[0] == 'i' && p[1] == 'B')
                        p += 2;
                else if (*p == 'B')
                        p++;
        } else if (*p == 'B')
                p++;
        if (*p)
                return -EINVAL;
        if (n > (uint64_t)INT64_MAX >> shift)
                return -ERANGE;
        *ret = n << shift;
        return 0;
}
