/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/tree/attic-name.h"

#include "cloudsync/engine.h"
#include "shared/names.h"

#include <glib.h>
#include <inttypes.h>
#include <string.h>

#define KEY_DIGITS 16u
#define SERIAL_DIGITS 8u
#define TYPE_DIGITS 8u
#define HANDLE_AT (KEY_DIGITS + 1 + SERIAL_DIGITS + 1 + TYPE_DIGITS + 1)

static uint64_t add(uint64_t hash, const char *s) {
        for (const unsigned char *p = (const unsigned char *)s; *p; p++)
                hash = (hash ^ *p) * 0x100000001b3u;
        return (hash ^ 0x100) * 0x100000001b3u; /* the end: "ab", "c" is not "a", "bc" */
}

uint64_t attic_key(const char *engine, const char *locator) {
        uint64_t x = add(add(0xcbf29ce484222325u, engine), locator);

        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
        return x ^ (x >> 31);
}

char *attic_name_make(uint64_t key, uint32_t serial, const struct handle *directory, const char *name) {
        GString *text = g_string_new(NULL);
        size_t room, length = strlen(name);

        g_string_printf(text, "%016" PRIx64 ".%08" PRIx32 ".%08" PRIx32 ".", key, serial,
                        (uint32_t)directory->type);
        for (uint32_t i = 0; i < directory->length; i++)
                g_string_append_printf(text, "%02x", directory->bytes[i]);
        g_string_append_c(text, '.');
        room = CS_NAME_MAX - text->len;
        if (length > room) {
                length = room;
                while (length > room - 4 && ((unsigned char)name[length] & 0xC0) == 0x80)
                        length--;
        }
        g_string_append_len(text, name, (gssize)length);
        return g_string_free(text, FALSE);
}

static bool parse_hex(const char *text, size_t digits, uint64_t *ret) {
        uint64_t value = 0;

        for (size_t i = 0; i < digits; i++) {
                int digit = g_ascii_xdigit_value(text[i]);
                if (digit < 0)
                        return false;
                value = value << 4 | (uint64_t)digit;
        }
        *ret = value;
        return text[digits] == '.';
}

bool attic_name_parse(const char *text, uint64_t *ret_key, struct handle *ret_directory,
                      const char **ret_name) {
        uint64_t serial, type;
        const char *p, *dot;

        if (!parse_hex(text, KEY_DIGITS, ret_key) ||
            !parse_hex(text + KEY_DIGITS + 1, SERIAL_DIGITS, &serial) ||
            !parse_hex(text + KEY_DIGITS + 1 + SERIAL_DIGITS + 1, TYPE_DIGITS, &type))
                return false;
        p = text + HANDLE_AT;
        dot = strchr(p, '.');
        if (!dot || (dot - p) % 2 != 0 || (size_t)(dot - p) / 2 > HANDLE_BYTES_MAX)
                return false;
        *ret_directory = (struct handle){.type = (int32_t)(uint32_t)type, .length = (uint32_t)(dot - p) / 2};
        for (uint32_t i = 0; i < ret_directory->length; i++) {
                int high = g_ascii_xdigit_value(p[2 * i]), low = g_ascii_xdigit_value(p[2 * i + 1]);
                if (high < 0 || low < 0)
                        return false;
                ret_directory->bytes[i] = (uint8_t)(high << 4 | low);
        }
        *ret_name = dot + 1;
        return name_is_component(*ret_name);
}
