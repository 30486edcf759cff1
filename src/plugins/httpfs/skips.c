/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plugins/httpfs/skips.h"

#include <glib.h>

#include "shared/names.h"

void skips_count(struct skips *skips, enum skip why, const char *what) {
        char buffer[128];

        skips->n[why]++;
        if (skips->first == NULL)
                skips->first = g_strdup(name_printable(what, buffer, sizeof buffer));
}

void skips_clear(struct skips *skips) {
        g_free(skips->first);
        *skips = (struct skips){0};
}

void skips_add(struct skips *to, const struct skips *from) {
        for (int i = 0; i < SKIP_REASONS; i++)
                to->n[i] += from->n[i];
        if (to->first == NULL)
                to->first = g_strdup(from->first);
}

uint64_t skips_untold(const struct skips *skips) {
        uint64_t n = 0;

        for (int i = 0; i < SKIP_REASONS; i++)
                n += i == SKIP_REFUSED || i == SKIP_NONSENSE ? 0 : skips->n[i];
        return n;
}

char *skips_summary(const struct skips *skips) {
        static const char *const texts[SKIP_REASONS] = {
                [SKIP_NAME] = "with a name that cannot exist here",
                [SKIP_OUTSIDE] = "leading elsewhere",
                [SKIP_DUPLICATE] = "named twice",
                [SKIP_MALFORMED] = "malformed",
                [SKIP_LONG] = "with too long a path",
                [SKIP_GONE] = "not there any more",
                [SKIP_REFUSED] = "not given out by the server",
                [SKIP_NONSENSE] = "answered for with nonsense",
        };
        GString *s = g_string_new(NULL);

        for (int i = 0; i < SKIP_REASONS; i++)
                if (skips->n[i] > 0)
                        g_string_append_printf(s, "%s%" G_GUINT64_FORMAT " %s", s->len ? ", " : "",
                                               skips->n[i], texts[i]);
        if (s->len == 0) {
                g_string_free(s, TRUE);
                return NULL;
        }
        g_string_append_printf(s, "; the first was \"%s\"", skips->first);
        return g_string_free(s, FALSE);
}
