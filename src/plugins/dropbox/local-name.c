/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plugins/dropbox/local-name.h"

#include <cloudsync/engine.h>
#include <glib.h>
#include <string.h>

#include "shared/names.h"

#define EXTENSION_MAX 32u

/* Where the extension begins ('.'), or the end. ".profile" has none. */
static size_t stem_length(const char *name) {
        const char *dot = strrchr(name, '.');

        if (dot == NULL || dot == name || strlen(dot) > EXTENSION_MAX)
                return strlen(name);
        return (size_t)(dot - name);
}

/* The longest prefix of at most `max` bytes that ends with a whole character. */
static size_t cut(const char *s, size_t length, size_t max) {
        if (length <= max)
                return length;
        while (max > 0 && ((unsigned char)s[max] & 0xc0) == 0x80)
                max--;
        return max;
}

static char *with_suffix(const char *name, const char *suffix) {
        return suffix ? g_strdup_printf("%s.%s", name, suffix) : g_strdup(name);
}

char *local_name(const char *name, const char *path_lower, const char *suffix, bool *ret_changed) {
        g_autofree char *plain = with_suffix(name, suffix), *digest = NULL;
        size_t stem, length, tail;
        GString *s;

        *ret_changed = false;
        if (name_is_presentable(plain))
                return g_steal_pointer(&plain);
        *ret_changed = true;
        digest = g_compute_checksum_for_string(G_CHECKSUM_SHA256, path_lower, -1);
        stem = stem_length(plain);
        tail = strlen(plain) - stem;
        length = cut(plain, stem, CS_NAME_MAX - 9 - tail);
        s = g_string_new_len(plain, (gssize)length);
        g_string_append_printf(s, "~%.8s%s", digest, plain + stem);
        for (char *p = s->str; *p; p++)
                if ((unsigned char)*p < 0x20 || *p == 0x7f || *p == '/')
                        *p = '_';
        return g_string_free(s, FALSE);
}
