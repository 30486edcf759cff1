/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plugins/common/netrc.h"

#include <errno.h>
#include <glib.h>
#include <stdbool.h>
#include <string.h>

struct cursor {
        const char *p, *end;
};

/* The next word, or NULL at the end; *malformed for a quote that does not end. */
static char *next_word(struct cursor *c, bool *malformed) {
        GString *word;

        for (;;) {
                while (c->p < c->end && g_ascii_isspace(*c->p))
                        c->p++;
                if (c->p == c->end)
                        return NULL;
                if (*c->p != '#')
                        break;
                while (c->p < c->end && *c->p != '\n')
                        c->p++;
        }
        word = g_string_new(NULL);
        if (*c->p != '"') {
                while (c->p < c->end && !g_ascii_isspace(*c->p))
                        g_string_append_c(word, *c->p++);
                return g_string_free(word, FALSE);
        }
        for (c->p++; c->p < c->end && *c->p != '"'; c->p++) {
                if (*c->p == '\\' && c->p + 1 < c->end)
                        c->p++;
                g_string_append_c(word, *c->p);
        }
        if (c->p == c->end) {
                *malformed = true;
                g_string_free(word, TRUE);
                return NULL;
        }
        c->p++;
        return g_string_free(word, FALSE);
}

static void skip_macro(struct cursor *c) {
        const char *blank = c->p < c->end ? memmem(c->p, (size_t)(c->end - c->p), "\n\n", 2) : NULL;

        c->p = blank ? blank + 2 : c->end;
}

static void keep(char **place, char **value) {
        g_free(*place);
        *place = g_steal_pointer(value);
}

int netrc_find(const char *text, size_t length, const char *host, char **ret_login,
               char **ret_password) {
        struct cursor c = {text, text + length};
        g_autofree char *login = NULL, *password = NULL;
        bool found = false, ours = false, malformed = false;

        *ret_login = *ret_password = NULL;
        if (memchr(text, '\0', length) != NULL)
                return -EINVAL;
        for (;;) {
                g_autofree char *word = next_word(&c, &malformed);
                g_autofree char *value = NULL;

                if (word == NULL)
                        break;
                if (g_str_equal(word, "default")) {
                        if (found)
                                break;
                        found = ours = true;
                        continue;
                }
                value = next_word(&c, &malformed);
                if (value == NULL)
                        return -EINVAL;
                if (g_str_equal(word, "machine")) {
                        if (found) /* the first entry counts */
                                break;
                        found = ours = g_ascii_strcasecmp(value, host) == 0;
                } else if (g_str_equal(word, "login")) {
                        if (ours)
                                keep(&login, &value);
                } else if (g_str_equal(word, "password")) {
                        if (ours)
                                keep(&password, &value);
                } else if (g_str_equal(word, "macdef")) {
                        skip_macro(&c);
                } else if (!g_str_equal(word, "account")) {
                        return -EINVAL;
                }
        }
        if (malformed)
                return -EINVAL;
        if (!found)
                return -ENOENT;
        *ret_login = g_steal_pointer(&login);
        *ret_password = g_steal_pointer(&password);
        return 0;
}
