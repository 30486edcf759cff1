/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * names — see names.h
 *
 * Bytes, not characters, except where a string travels over D-Bus or to a
 * terminal and has to be UTF-8. ASCII classes are spelled out: the locale must
 * not decide what an id is.
 */

#include <stdio.h>
#include <string.h>

#include <glib.h>

#include "shared/names.h"

static bool is_lower_or_digit(char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_control(char c) {
        return (unsigned char)c < 0x20 || c == 0x7f;
}

static bool has_control(const char *s) {
        for (; *s; s++)
                if (is_control(*s))
                        return true;
        return false;
}

bool name_is_id(const char *s) {
        size_t n = 0;

        if (!s || *s < 'a' || *s > 'z')
                return false;
        for (; s[n]; n++)
                if (n >= NAME_ID_MAX || !(is_lower_or_digit(s[n]) || s[n] == '-' || s[n] == '_'))
                        return false;
        return true;
}

bool name_is_setting_key(const char *s) {
        size_t n = 0;

        if (!s || !*s)
                return false;
        for (; s[n]; n++)
                if (n >= NAME_SETTING_KEY_MAX ||
                    !(is_lower_or_digit(s[n]) || (s[n] >= 'A' && s[n] <= 'Z') ||
                      strchr("._-", s[n])))
                        return false;
        return true;
}

/* The component of `n` bytes at `s`. */
static bool component_ok(const char *s, size_t n) {
        if (n == 0 || n > 255)
                return false;
        if (s[0] == '.' && (n == 1 || (n == 2 && s[1] == '.')))
                return false;
        return !memchr(s, '/', n);
}

bool name_is_component(const char *s) {
        return s && component_ok(s, strnlen(s, 256));
}

bool name_is_presentable(const char *s) {
        return name_is_component(s) && !has_control(s);
}

bool name_is_prefix(const char *s) {
        const char *rest;

        if (!s || strnlen(s, NAME_PREFIX_MAX + 1) > NAME_PREFIX_MAX)
                return false;
        if (has_control(s) || !g_utf8_validate(s, -1, NULL) ||
            name_has_prefix(s, ".cloudsync", &rest))
                return false;
        for (;;) {
                size_t n = strcspn(s, "/");

                if (!component_ok(s, n))
                        return false;
                if (!s[n])
                        return true;
                s += n + 1;
        }
}

bool name_has_prefix(const char *path, const char *prefix, const char **rest) {
        size_t n = strlen(prefix);

        if (n > 0) {
                if (strncmp(path, prefix, n) != 0 || (path[n] != '/' && path[n] != '\0'))
                        return false;
                path += n;
                if (*path == '/')
                        path++;
        }
        *rest = path;
        return true;
}

/* The bytes at `s` that may be shown as they are: one character, or 0. */
static size_t printable_length(const char *s) {
        gunichar c = g_utf8_get_char_validated(s, -1);

        if (c == (gunichar)-1 || c == (gunichar)-2 || g_unichar_iscntrl(c))
                return 0;
        return g_utf8_skip[(unsigned char)*s];
}

const char *name_printable(const char *s, char *buffer, size_t max) {
        static const char hex[] = "0123456789abcdef";
        size_t used = 0;

        if (max == 0)
                return buffer;
        while (*s) {
                size_t n = printable_length(s);

                if (used + (n ? n : 4) + 1 > max)
                        break;
                if (n) {
                        memcpy(buffer + used, s, n);
                        s += n;
                        used += n;
                } else {
                        unsigned char c = (unsigned char)*s++;

                        buffer[used++] = '\\';
                        buffer[used++] = 'x';
                        buffer[used++] = hex[c >> 4];
                        buffer[used++] = hex[c & 15];
                }
        }
        buffer[used] = '\0';
        return buffer;
}
