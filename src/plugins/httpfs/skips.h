/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * skips — what of a listing was left out, by reason, for one line in the log
 *
 * Of some it is known that they are there: those are told as unknown (CS_KIND_UNKNOWN), and what is
 * here of them stays.
 */

#include <stdint.h>

enum skip {
        SKIP_NAME,      /* not a name that may stand here */
        SKIP_OUTSIDE,   /* a link to somewhere else */
        SKIP_DUPLICATE,
        SKIP_MALFORMED, /* without a name */
        SKIP_LONG,      /* the locator would be too long */
        SKIP_GONE,      /* 404, 410: it was in the list, and is there no more */
        SKIP_REFUSED,   /* there, and not for us: told as unknown, as is the next */
        SKIP_NONSENSE,  /* no size, or an answer that is none */
        SKIP_REASONS,
};

struct skips {
        uint64_t n[SKIP_REASONS];
        char *first; /* owned, printable */
};

void skips_count(struct skips *skips, enum skip why, const char *what);
void skips_clear(struct skips *skips);
void skips_add(struct skips *to, const struct skips *from);
/* Those that are not told as unknown. */
uint64_t skips_untold(const struct skips *skips);

/* "3 with a name that cannot exist here, 1 named twice; the first was "x"", to g_free(),
 * or NULL when nothing was skipped. */
char *skips_summary(const struct skips *skips);
