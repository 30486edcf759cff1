/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dispatcher/tree/conflict-name.h"

#include "cloudsync/engine.h"

#include <glib.h>
#include <string.h>
#include <unistd.h>

#define HOST_MAX 63u

static char *date_of(int64_t seconds) {
        g_autoptr(GDateTime) date = g_date_time_new_from_unix_utc(seconds);

        return date ? g_date_time_format(date, "%Y-%m-%d") : g_strdup("0000-00-00");
}

/* The first label of the host's name, without what no name should have. */
static char *host_label(const char *host) {
        char *label = g_strndup(host, MIN(strcspn(host, "."), HOST_MAX));

        for (char *p = label; *p; p++)
                if (*p == '/' || g_ascii_iscntrl(*p))
                        *p = '_';
        if (!*label) {
                g_free(label);
                label = g_strdup("localhost");
        }
        return label;
}

/* How much of the stem fits: whole characters, where it is UTF-8. */
static size_t cut(const char *stem, size_t length, size_t max) {
        if (length <= max)
                return length;
        length = max;
        while (length > 0 && length > max - 4 && ((unsigned char)stem[length] & 0xC0) == 0x80)
                length--;
        return length;
}

char *conflict_name(const char *name, const char *host, int64_t seconds, int64_t now, unsigned n) {
        g_autofree char *label = host_label(host), *date = date_of(seconds ? seconds : now), *mark = NULL;
        const char *dot = strrchr(name, '.');
        size_t length = strlen(name), extension;

        mark = n ? g_strdup_printf(" (%s's conflicted copy %s) (%u)", label, date, n)
                 : g_strdup_printf(" (%s's conflicted copy %s)", label, date);
        extension = dot && dot != name && strlen(dot) <= 32 ? strlen(dot) : 0; /* ".profile" has none */
        length = cut(name, length - extension, CS_NAME_MAX - strlen(mark) - extension);
        return g_strdup_printf("%.*s%s%s", (int)length, name, mark, extension ? dot : "");
}

bool conflict_name_is_one(const char *name) {
        static const char mark[] = "'s conflicted copy ", date[] = "dddd-dd-dd)";

        for (const char *p = name; (p = strstr(p, mark)) != NULL; p++) {
                size_t i;

                for (i = 0; i < sizeof date - 1; i++) {
                        char c = p[sizeof mark - 1 + i];
                        if (date[i] == 'd' ? !g_ascii_isdigit(c) : c != date[i])
                                break;
                }
                if (i == sizeof date - 1)
                        return true;
        }
        return false;
}

char *conflict_name_here(const char *name, int64_t seconds, unsigned n) {
        char host[256] = "";

        if (gethostname(host, sizeof host - 1) < 0)
                host[0] = '\0';
        return conflict_name(name, host, seconds, g_get_real_time() / G_USEC_PER_SEC, n);
}
